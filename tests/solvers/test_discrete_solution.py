"""The direct solve: orders, exactness on polynomials, slow twins in dense algebra, time, Newton's method, refusals."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import scipy.sparse
import torch

from solvers.discrete_solution import solve_on_nodes
from solvers.discrete_system import RADAU, STAGES
from solvers.domain import Box
from solvers.functions import exp
from solvers.geometry import Disk, scatter
from solvers.newton import SparseNewton
from solvers.operators import RBFFD, AutoDiff
from solvers.points import Points
from solvers.problems import (
    Coefficient,
    Problem,
    allen_cahn,
    ball_poisson,
    disk_heat,
    disk_nonlinear_poisson,
    disk_plate,
    disk_poisson,
    heat,
    holed_poisson,
    poisson_1d,
    poisson_2d,
)
from solvers.problems.conditions import dirichlet, initial_value, normal_slope


def slope(problem, order, counts, substeps=1, **options):
    """Order of convergence: least-squares slope of log error over log h, h ~ count^(-1/d)."""
    sizes, errors = [], []
    for count in counts:
        points = problem.sample(interior=count, **options)
        steps = 1 if points.times is None else len(points.times)
        sizes.append(((len(points.interior) + len(points.boundary)) / steps) ** (-1 / problem.domain.shape.dimension))
        errors.append(solve_on_nodes(problem, points, RBFFD(order=order), substeps=substeps).rel_l2)
    return float(np.polyfit(np.log(sizes), np.log(errors), 1)[0])


@pytest.mark.parametrize("order", [2, 3, 4, 5, 6])
def test_the_error_falls_with_the_order_on_the_disk(order):
    # Low orders scatter from one node set to the next: over four sizes 1.9 to 2.6 for order 2.
    assert slope(disk_poisson(), order, (400, 800, 1600, 3200) if order < 5 else (400, 800, 1600)) > order - 0.3


def test_the_error_falls_with_the_order_where_the_equation_is_nonlinear():
    assert slope(disk_nonlinear_poisson(), 5, (400, 800, 1600)) > 4.7


@pytest.mark.parametrize("order", [2, 3, 4])
def test_the_error_falls_with_the_order_around_a_hole(order):
    assert slope(holed_poisson(), order, (1000, 2000, 4000)) > order - 0.3


@pytest.mark.parametrize("order", [2, 3])
def test_the_error_falls_with_the_order_in_the_ball(order):
    assert slope(ball_poisson(0.5), order, (500, 1000, 2000)) > order - 0.3


def test_order_four_is_worth_its_name_in_the_ball():
    # Its slope is 2.0, 2.3 and 3.0 from 1,000 to 8,000 nodes, h = 0.2 to 0.1: too coarse to show an order.
    points = ball_poisson(0.5).sample(interior=1000)
    third, fourth = (solve_on_nodes(ball_poisson(0.5), points, RBFFD(order=order)).rel_l2 for order in (3, 4))
    assert fourth < third / 4


@pytest.mark.parametrize("order", [2, 3, 4])
def test_the_error_of_the_plate_falls_with_the_order(order):
    assert slope(disk_plate(), order, (500, 1000, 2000, 4000)) > order - 0.3


@pytest.mark.parametrize("order", [2, 4])
def test_the_error_of_the_heat_equation_falls_with_the_order_in_space(order):
    assert slope(disk_heat(), order, (300, 600, 1200), substeps=8, times=np.linspace(0, 1, 3)) > order - 0.3


def exact(name, partials, residual, conditions, solution, **fields):
    """A problem on the unit disk; what it is for is that stencils of enough degree solve it to round-off."""
    return replace(
        disk_poisson(),
        name=name,
        partials=partials,
        residual=residual,
        conditions=conditions,
        solution=solution,
        **fields,
    )


def test_a_plate_under_a_uniform_load_is_solved_to_round_off():
    # Clamped, bilaplacian u = 64: u = (1 - r^2)^2, of degree 4 (Timoshenko), which every stencil reproduces.
    def solution(x):
        return (1 - (x**2).sum(dim=1, keepdim=True)) ** 2

    load = exact(
        "load", ("bilaplacian",), lambda jet, x, c: jet["bilaplacian"] - 64, (dirichlet(), normal_slope()), solution
    )
    found = solve_on_nodes(load, load.sample(interior=300), RBFFD(order=4))
    assert found.rel_l2 < 1e-9 and found.residual < 1e-9


@pytest.mark.parametrize("layers", [0, 1])
def test_a_polynomial_with_dirichlet_values_is_solved_to_round_off_with_and_without_ghosts(layers):
    def solution(x):
        return x[:, :1] ** 3 - 3 * x[:, :1] * x[:, 1:2] ** 2 + 2

    harmonic = exact("harmonic", ("laplacian",), lambda jet, x, c: jet["laplacian"], (dirichlet(solution),), solution)
    points = harmonic.sample(interior=200, ghost_layers=layers)
    found = solve_on_nodes(harmonic, points, RBFFD(order=3))
    rows = torch.cat([points.interior, points.boundary])
    assert found.rel_l2 < 1e-11 and found.values.shape == (1, len(rows), 1)
    assert torch.allclose(found.values[0], solution(rows), rtol=0, atol=1e-10)


def dense_parts(points, order):
    """The matrices of equation and Robin rows, dense: columns interior, boundary, ghost."""
    operator = RBFFD(order=order)
    laplacian = operator.plan(points.only("equation"), ["laplacian"]).matrix("laplacian").toarray()
    edge = operator.plan(points.only("boundary"), ["", "n"])
    return laplacian, edge.combine({"n": 1.0, "": 1.0}).toarray()


def test_linear_and_nonlinear_solutions_are_those_of_dense_algebra():
    nodes = disk_poisson().sample(interior=120)
    inside = torch.cat([nodes.interior, nodes.boundary])
    laplacian, edge = dense_parts(nodes, 3)
    x, y = inside.numpy().T
    wave = np.sin(np.pi * x) * np.cos(np.pi * y)
    x, y = nodes.boundary.numpy().T
    along = np.pi * (x * np.cos(np.pi * x) * np.cos(np.pi * y) - y * np.sin(np.pi * x) * np.sin(np.pi * y))
    data = along + 1 + np.sin(np.pi * x) * np.cos(np.pi * y)
    linear = np.linalg.solve(np.vstack([laplacian, edge]), np.concatenate([-2 * np.pi**2 * wave, data]))
    found = solve_on_nodes(disk_poisson(), nodes, RBFFD(order=3))
    assert np.allclose(found.values[0, :, 0], linear[: len(inside)], rtol=0, atol=1e-10)
    error = np.linalg.norm(linear[: len(inside)] - 1 - wave) / np.linalg.norm(1 + wave)
    assert found.rel_l2 == pytest.approx(error, rel=1e-6) and found.iterations <= 3

    def residual(u):
        equation = laplacian @ u - np.exp(u[: len(inside)]) + 2 * np.pi**2 * wave + np.exp(1 + wave)
        return np.concatenate([equation, edge @ u - data])

    nonlinear = scipy.optimize.root(residual, linear, tol=1e-13).x
    found = solve_on_nodes(disk_nonlinear_poisson(), nodes, RBFFD(order=3))
    assert np.allclose(found.values[0, :, 0], nonlinear[: len(inside)], rtol=0, atol=1e-8)
    assert 3 <= found.iterations <= 8 and found.residual < 1e-11


def test_the_points_may_be_in_float32():
    points = disk_poisson().sample(interior=200)
    found = [solve_on_nodes(disk_poisson(), p, RBFFD(order=3)) for p in (points, points.to(dtype=torch.float32))]
    assert found[1].values.dtype == torch.float64
    # Rounding decides between nodes of the lattice that are equally far, so the stencils are not all the same.
    assert 2 / 3 < found[0].rel_l2 / found[1].rel_l2 < 3 / 2


def test_two_components_are_solved_together():
    # Laplace u + v = 4 + x, Laplace v = 0, u = r^2, v = x.
    def residual(jet, x, coefficients):
        u, v = jet["laplacian"][:, :1] + jet[""][:, 1:] - 4 - x[:, :1], jet["laplacian"][:, 1:]
        return torch.cat([u, v], dim=1)

    def solution(x):
        return torch.cat([(x**2).sum(dim=1, keepdim=True), x[:, :1]], dim=1)

    both = exact("both", ("", "laplacian"), residual, (dirichlet(solution),), solution, components=2)
    found = solve_on_nodes(both, both.sample(interior=150), RBFFD(order=3))
    assert found.values.shape[2] == 2 and found.rel_l2 < 1e-11


def line(count, times=None, ghosts=()):
    """Equispaced nodes of (-1, 1), at several times where asked for."""
    x = np.linspace(-1, 1, count)[:, None]
    kinds = {"interior": x[1:-1], "boundary": x[[0, -1]], "ghost": np.array(ghosts).reshape(-1, 1)}
    if times is None:
        return Points(**kinds, normals=[[-1.0], [1.0]], parts={"x-": [0], "x+": [1]})
    kinds = {
        name: np.column_stack([np.tile(rows, (len(times), 1)), np.repeat(times, len(rows))])
        for name, rows in kinds.items()
    }
    start = np.column_stack([np.concatenate([x[1:-1], x[[0, -1]]]), np.full(count, times[0])])
    parts = {face: 2 * np.arange(len(times)) + i for i, face in enumerate(("x-", "x+"))}
    normals = np.tile([[-1.0, 0.0], [1.0, 0.0]], (len(times), 1))
    return Points(**kinds, initial=start, normals=normals, parts=parts, times=torch.from_numpy(times), axes=("x", "t"))


def test_a_decay_in_time_is_that_of_the_matrix_exponential():
    times = np.array([0.0, 0.1, 0.25, 0.5])
    points = line(21, times)
    plan = RBFFD(order=4).plan(line(21).only("interior"), ["xx"])
    inner = 0.3 * plan.matrix("xx").toarray()[:, :19]
    start = np.sin(np.pi * np.linspace(-1, 1, 21)[1:-1])
    found = solve_on_nodes(heat(0.3), points, RBFFD(order=4), substeps=8)
    for row, time in enumerate(times):
        expected = scipy.linalg.expm(time * inner) @ start
        assert np.allclose(found.values[row, :19, 0], expected, rtol=0, atol=1e-8)
        assert np.allclose(found.values[row, 19:, 0], 0, rtol=0, atol=1e-12)


def test_ghosts_under_given_values_are_found_from_the_equation_at_the_boundary():
    times = np.linspace(0, 0.5, 6)
    h = 2 / 40
    plain = solve_on_nodes(heat(0.3), line(41, times), RBFFD(order=4))
    ghosts = solve_on_nodes(heat(0.3), line(41, times, [-1 - h / 2, 1 + h / 2]), RBFFD(order=4))
    assert plain.rel_l2 < 1e-4 and ghosts.rel_l2 < 1e-4
    assert torch.isfinite(ghosts.values).all() and ghosts.values.shape == plain.values.shape


def test_the_error_in_time_is_far_below_that_in_space_and_falls_with_smaller_steps():
    problem, operator = disk_heat(), RBFFD(order=5)
    points = problem.sample(interior=300)
    found = [solve_on_nodes(problem, points, operator, substeps=substeps) for substeps in (1, 2)]
    assert found[0].values.shape[0] == 25
    change = torch.linalg.vector_norm(found[0].values - found[1].values) / torch.linalg.vector_norm(found[1].values)
    assert float(change) < 1e-2 * found[0].rel_l2
    coarse = problem.sample(interior=300, times=np.linspace(0, 1, 3))
    reference = solve_on_nodes(problem, coarse, operator, substeps=16).values
    errors = [
        float((solve_on_nodes(problem, coarse, operator, substeps=substeps).values - reference).abs().max())
        for substeps in (1, 2, 4)
    ]
    # Order 5, less what values at the boundary that change in time cost a formula of stage order 3.
    assert errors[0] > 8 * errors[1] > 64 * errors[2]


def test_a_nonlinear_equation_in_time():
    # u_t = u_xx - u^2 + f with u = e^-t cos(x).
    def solution(x):
        return torch.exp(-x[:, 1:2]) * torch.cos(x[:, :1])

    def residual(jet, x, coefficients):
        u = solution(x)
        return jet["t"] - jet["xx"] + jet[""] ** 2 - u**2

    box = Box(("x", "t"), (-1.0, 0.0), (1.0, 1.0))
    reaction = Problem(
        "reaction", box, ("", "t", "xx"), residual, (dirichlet(solution), initial_value(solution)), solution=solution
    )
    found = solve_on_nodes(reaction, line(31, np.linspace(0, 1, 6)), RBFFD(order=5))
    assert found.rel_l2 < 1e-6 and found.iterations >= 3


def test_the_radau_formula_is_the_collocation_at_its_stages():
    # Collocation: the row i integrates the k-th Lagrange polynomial from 0 to c_i, so all polynomials to degree 2.
    for power in range(3):
        assert np.allclose(RADAU @ STAGES**power, STAGES ** (power + 1) / (power + 1), rtol=0, atol=1e-14)
    # The last row is a quadrature of degree 4: the order is 5.
    assert RADAU[2] @ STAGES**4 == pytest.approx(1 / 5, abs=1e-14)


def test_a_linear_problem_in_time_is_factored_once(monkeypatch):
    made = []
    factorise = SparseNewton._factorise
    monkeypatch.setattr(SparseNewton, "_factorise", lambda self, matrix: (made.append(1), factorise(self, matrix))[1])
    solve_on_nodes(heat(0.3), line(21, np.linspace(0, 1, 9)), RBFFD(order=4), substeps=3)
    # One for the values at the start, one for all 24 steps.
    assert len(made) == 2


def diagonal(function, slope):
    matrix = lambda v: scipy.sparse.diags_array(slope(v), format="csr")  # noqa: E731
    return SimpleNamespace(residual=function, matrix=matrix)


def test_newton_keeps_its_factors_while_they_serve():
    newton = SparseNewton("root")
    linear = diagonal(lambda v: 3 * v - 6, lambda v: np.full(2, 3.0))
    assert newton.solve(linear, np.zeros(2)).values.tolist() == [2.0, 2.0] and newton.factorisations == 1
    assert newton.solve(linear, np.ones(2)).iterations == 2 and newton.factorisations == 1
    square = diagonal(lambda v: v**2 - 9, lambda v: 2 * v)
    root = newton.solve(square, np.full(2, 2.0))
    assert np.allclose(root.values, 3, rtol=0, atol=1e-14) and newton.factorisations > 2 and root.iterations <= 8
    assert root.residual < 1e-12


def test_newton_starts_where_nothing_is_left():
    root = SparseNewton("root").solve(diagonal(lambda v: v, np.ones_like), np.zeros(3))
    assert root.values.tolist() == [0, 0, 0] and root.residual == 0 and root.iterations == 1


@pytest.mark.parametrize(
    ("function", "slope", "start", "expected"),
    [
        (lambda v: v**2 + 1, lambda v: 2 * v, 0.7, "root: Newton's method has not converged after 30 steps.*take more"),
        (lambda v: np.exp(v**2) - 0.5, lambda v: 1e-3 + 0 * v, 1.0, "left the finite numbers after 1 steps"),
        (lambda v: v - 1, lambda v: 0 * v, 1.5, "the discretisation is singular"),
    ],
)
def test_newton_gives_up(function, slope, start, expected):
    with np.errstate(over="ignore"), pytest.raises(ValueError, match=expected):
        SparseNewton("root").solve(diagonal(function, slope), np.full(2, start))


def test_an_equation_without_a_solution_does_not_converge():
    # Bratu: u'' + c e^u = 0 with u(+-1) = 0 has no solution above c = 0.878.
    def bratu(strength):
        residual = lambda jet, x, c: jet["xx"] + strength * exp(jet[""])  # noqa: E731
        return replace(poisson_1d(), partials=("", "xx"), residual=residual, solution=None)

    found = solve_on_nodes(bratu(0.8), line(41), RBFFD(order=4))
    assert math.isnan(found.rel_l2) and found.residual < 1e-10
    with np.errstate(over="ignore"), pytest.raises(ValueError, match=r"not converged|finite numbers|singular"):
        solve_on_nodes(bratu(1.5), line(41), RBFFD(order=4))


@pytest.mark.parametrize("layers", [0, 2])
def test_other_numbers_of_ghosts_are_refused(layers):
    points = disk_poisson().sample(interior=200, ghost_layers=layers)
    equations = len(points.interior) + (2 if layers else 1) * len(points.boundary)
    unknowns = equations + layers // 2 * len(points.boundary)
    if not layers:
        # Without ghosts a Robin condition is as many equations as boundary nodes: a square system, one-sided.
        assert solve_on_nodes(disk_poisson(), points, RBFFD(order=4)).rel_l2 < 0.1
        return
    expected = f"{equations} equations and {unknowns} unknowns: give one layer of ghost nodes for each boundary"
    with pytest.raises(ValueError, match=expected):
        solve_on_nodes(disk_poisson(), points, RBFFD(order=3))
    with pytest.raises(ValueError, match="disk-plate: expected as many equations as unknowns"):
        solve_on_nodes(disk_plate(), disk_plate().sample(interior=200, ghost_layers=1), RBFFD(order=2))


@pytest.mark.parametrize("order", [2, 5])
@pytest.mark.parametrize("count", [200, 1500])
def test_slopes_alone_are_singular(order, count):
    slopes = replace(disk_poisson(), conditions=(normal_slope(),))
    with pytest.raises(ValueError, match=r"singular.*give a condition on u itself where there are slopes alone"):
        solve_on_nodes(slopes, slopes.sample(interior=count), RBFFD(order=order))


def test_requests_that_make_no_system_are_refused():
    points = disk_poisson().sample(interior=100)
    with pytest.raises(ValueError, match=r"expected RBFFD\(...\).* came AutoDiff"):
        solve_on_nodes(disk_poisson(), points, AutoDiff())
    unknown = replace(disk_poisson(), coefficients=(Coefficient("k", 1.0),))
    with pytest.raises(ValueError, match=r"disk-poisson has unknown coefficients.*give them values"):
        solve_on_nodes(unknown, points, RBFFD())
    for substeps in (0, 1.5, True):
        with pytest.raises(ValueError, match=f"expected substeps to be 1, 2, ..., came {substeps}"):
            solve_on_nodes(disk_poisson(), points, RBFFD(), substeps=substeps)
    scattered = disk_heat().sample(interior=100, method="random")
    with pytest.raises(ValueError, match=r"disk-heat: expected points that are nodes x times: problem.sample"):
        solve_on_nodes(disk_heat(), scattered, RBFFD())
    timed = line(21, np.linspace(0, 1, 3))
    with pytest.raises(ValueError, match="expected one initial value a node, 21 in all, came 5"):
        solve_on_nodes(heat(), replace(timed, initial=timed.initial[:5]), RBFFD(order=3))
    with pytest.raises(ValueError, match="lie outside the domain of disk-poisson"):
        solve_on_nodes(disk_poisson(), replace(points, interior=2 * points.interior), RBFFD())


def test_pairs_of_points_are_refused():
    problem = allen_cahn()
    times = np.linspace(0, 0.2, 3)
    with pytest.raises(ValueError, match="one row a point, came pairs of points: RBF-FD has no periodic nodes"):
        solve_on_nodes(problem, line(21, times), RBFFD(order=3))


def test_boxes_are_solved_on_scattered_nodes():
    for layers in (0, 1):
        points = poisson_2d().sample(interior=400, method="nodes", ghost_layers=layers)
        assert solve_on_nodes(poisson_2d(), points, RBFFD(order=4)).rel_l2 < 1e-2
    assert solve_on_nodes(disk_poisson(), scatter(Disk(), count=400).points(), RBFFD(order=5)).rel_l2 < 1e-4
