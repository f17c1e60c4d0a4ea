"""Problems on disks, balls and domains with holes: closed forms, data, their points, and bad options."""

import math
from dataclasses import replace

import numpy as np
import pytest
import sympy
import torch

from solvers import MLP, Torch, steps
from solvers.domain import Box
from solvers.geometry import Rectangle, scatter
from solvers.operators import RBFFD, AutoDiff
from solvers.problems import (
    Problem,
    allen_cahn,
    ball_poisson,
    biharmonic_2d,
    disk_heat,
    disk_nonlinear_poisson,
    disk_plate,
    disk_poisson,
    heat,
    helmholtz,
    holed_poisson,
    poisson_1d,
    poisson_2d,
)
from solvers.problems.exact_robin import exact_robin
from solvers.problems.manufactured_wave import Wave

X, Y, Z, T = sympy.symbols("x y z t")
SPACE = {2: (X, Y), 3: (X, Y, Z)}


def wave(k, dimension=2):
    product = sympy.sin(k * X) * sympy.cos(k * Y)
    return product * sympy.cos(k * Z) if dimension == 3 else product


def laplacian(u, dimension=2):
    return sum(sympy.diff(u, axis, 2) for axis in SPACE[dimension])


def plate(mode, radius):
    return (1 - (-1) ** mode * sympy.cos(mode * sympy.pi * (X**2 + Y**2) / radius**2)) / 2


# Problem, its solution in symbols, and the equation in symbols: what the residual of any u must be.
K = 1.5 * math.pi
CASES = {
    "disk-poisson": (
        disk_poisson(1.5, 2.0, 3.0, 1.25),
        1 + wave(K),
        lambda u: laplacian(u) - laplacian(wave(K)),
    ),
    "disk-nonlinear-poisson": (
        disk_nonlinear_poisson(1.5, 2.0, 3.0, 1.25),
        1 + wave(K),
        lambda u: laplacian(u) - sympy.exp(u) - laplacian(wave(K)) + sympy.exp(1 + wave(K)),
    ),
    "disk-heat": (
        disk_heat(1.5, 2.0, 3.0, 1.25),
        1 + wave(K) * sympy.sin(sympy.pi * T),
        lambda u: (
            sympy.diff(u - wave(K) * sympy.sin(sympy.pi * T), T) - laplacian(u - wave(K) * sympy.sin(sympy.pi * T))
        ),
    ),
    "disk-plate": (disk_plate(1, 1.25), plate(1, 1.25), lambda u: laplacian(laplacian(u - plate(1, 1.25)))),
    "disk-plate, two rings": (disk_plate(2), plate(2, 1), lambda u: laplacian(laplacian(u - plate(2, 1)))),
    "holed-poisson": (
        holed_poisson(1.5, petals=3),
        1 + wave(K),
        lambda u: laplacian(u) - laplacian(wave(K)),
    ),
    "ball-poisson": (
        ball_poisson(1.5, 2.0, 3.0, 1.25),
        1 + wave(K, 3),
        lambda u: laplacian(u, 3) - laplacian(wave(K, 3), 3),
    ),
}
every_case = pytest.mark.parametrize(("problem", "solution", "equation"), CASES.values(), ids=CASES)


def function(expression, dimension, timed):
    axes = (*SPACE[dimension], *((T,) if timed else ()))
    numbers = sympy.lambdify(axes, expression, "numpy")

    def of(x):
        return torch.as_tensor(numbers(*x.detach().numpy().T) * np.ones(len(x)))[:, None]

    return of


def differentiable(problem):
    """A network's stand-in that is no solution: every condition sees its value and slope."""
    return lambda x: torch.exp(0.3 * x[:, :1] + 0.2 * x[:, 1:2]) * (1 + 0.1 * x[:, -1:])


def other(problem):
    last = T if "t" in problem.axes else SPACE[problem.domain.shape.dimension][-1]
    return sympy.exp(0.3 * X + 0.2 * Y) * (1 + 0.1 * last)


def residuals(problem, points, network):
    """Residual of the equation and of each condition, by name, with exact derivatives."""
    inside = points.only("interior")
    found = {"equation": problem.residual(AutoDiff().plan(inside, problem.partials)(network), inside.interior, {})}
    for condition in problem.conditions:
        own = points.only(condition.where)
        jet = AutoDiff().plan(own, condition.partials)(network)
        found[condition.name] = condition.residual(jet, own.rows, own.normals, {})
    return {name: residual.detach() for name, residual in found.items()}


@every_case
def test_the_solution_is_the_one_in_the_docstring_and_solves_the_problem(problem, solution, equation):
    points = problem.sample(interior=40, boundary=24, method="random", seed=1)
    problem.check(points)
    d, timed = problem.domain.shape.dimension, "t" in problem.axes
    expected = function(solution, d, timed)(points.rows)
    assert torch.allclose(problem.solution(points.rows), expected, rtol=0, atol=1e-14)
    found = residuals(problem, points, problem.solution)
    assert set(found) == {"equation", *(condition.name for condition in problem.conditions)}
    size = (2 * math.pi) ** (4 if "plate" in problem.name else 2) * 30
    assert float(found.pop("equation").abs().max()) < 1e-15 * size
    assert all(float(residual.abs().max()) < 2e-14 for residual in found.values())
    assert problem.solution_floor == 1e-15


@every_case
def test_another_function_leaves_what_the_equation_says(problem, solution, equation):
    points = problem.sample(interior=40, boundary=24, method="random", seed=2)
    d, timed = problem.domain.shape.dimension, "t" in problem.axes
    found = residuals(problem, points, differentiable(problem))
    expected = function(equation(other(problem)), d, timed)(points.interior)
    assert torch.allclose(found["equation"], expected, rtol=1e-12, atol=1e-11)


ROBIN = [name for name in CASES if "plate" not in name and "holed" not in name]


@pytest.mark.parametrize("name", ROBIN)
def test_the_rim_asks_for_twice_the_slope_and_three_times_the_value(name):
    problem, solution, _ = CASES[name]
    points = problem.sample(interior=40, boundary=24, method="random", seed=3)
    d, timed = problem.domain.shape.dimension, "t" in problem.axes
    off = other(problem) - solution
    # On a sphere about the origin n = x / radius.
    radial = sum(axis * sympy.diff(off, axis) for axis in SPACE[d]) / 1.25
    expected = function(2 * radial + 3 * off, d, timed)(points.boundary)
    found = residuals(problem, points, differentiable(problem))
    assert torch.allclose(found["boundary"], expected, rtol=1e-11, atol=1e-11)


def test_the_hole_asks_for_another_condition_than_the_flower():
    problem, solution, _ = CASES["holed-poisson"]
    points = problem.sample(interior=300)
    off = other(problem) - solution
    # Out of the domain is into the hole: n = -(x - center) / radius.
    inward = -((X - 0.2) * sympy.diff(off, X) + (Y + 0.1) * sympy.diff(off, Y)) / 0.3
    found = residuals(problem, points, differentiable(problem))
    hole, outer = points.only("hole").boundary, points.only("outer").boundary
    assert len(hole) + len(outer) == len(points.boundary)
    expected = function(inward + (2 + X + Y) * off, 2, False)(hole)
    assert torch.allclose(found["hole"], expected, rtol=1e-11, atol=1e-11)
    assert torch.allclose(found["outer"], function(off, 2, False)(outer), rtol=1e-11, atol=1e-11)
    angle = torch.atan2(outer[:, 1], outer[:, 0])
    assert torch.allclose(outer.norm(dim=1), 1 + 0.15 * torch.cos(3 * angle), rtol=0, atol=1e-9)
    assert torch.allclose((hole - hole.new_tensor([0.2, -0.1])).norm(dim=1), hole.new_tensor(0.3))


def test_the_plate_is_clamped_and_of_height_one():
    for mode in (1, 2, 3):
        problem = disk_plate(mode)
        r = torch.linspace(-1, 1, 2001, dtype=torch.float64)
        u = problem.solution(torch.stack([r, 0 * r], dim=1))[:, 0]
        assert float(u.max()) == pytest.approx(1, abs=1e-5) and float(u.min()) == pytest.approx(0, abs=1e-12)
        # u and u' vanish at the rim, so u falls as the square of the distance from it.
        assert float(u[-1]) == 0 and float(u[-2]) < 2 * (mode * math.pi * 1e-3) ** 2
    points = disk_plate().sample(interior=60, boundary=12, method="random")
    found = residuals(disk_plate(), points, lambda x: x[:, :1] ** 2)
    assert torch.allclose(found["boundary"], points.boundary[:, :1] ** 2)
    assert torch.allclose(found["slope"], 2 * points.boundary[:, :1] ** 2)


def test_the_papers_solutions():
    x = torch.tensor([[0.3, -0.4, 0.7]], dtype=torch.float64)
    steady = 1 + math.sin(0.3 * math.pi) * math.cos(-0.4 * math.pi)
    for problem in (disk_poisson(), disk_nonlinear_poisson(), holed_poisson()):
        assert problem.solution(x[:, :2]).item() == pytest.approx(steady, rel=1e-15)
    forced = 1 + (steady - 1) * math.sin(0.7 * math.pi)
    assert disk_heat().solution(x).item() == pytest.approx(forced, rel=1e-15)
    for problem in (disk_poisson(), disk_nonlinear_poisson(), disk_heat()):
        assert problem.settings == {"frequency": 1.0, "alpha": 1.0, "beta": 1.0, "radius": 1.0}


def test_nodes_come_with_the_layers_and_times_that_the_problem_needs():
    for problem, layers in ((disk_poisson(), 1), (disk_plate(), 2), (holed_poisson(), 1), (ball_poisson(), 1)):
        points = problem.sample(interior=300)
        problem.check(points)
        assert problem.ghost_layers == layers and len(points.ghost) == layers * len(points.boundary)
        assert abs(len(points.interior) + len(points.boundary) - 300) <= 12
    assert len(disk_plate().sample(interior=300, ghost_layers=0).ghost) == 0
    points = disk_heat().sample(interior=200)
    assert torch.allclose(points.times, torch.linspace(0, 1, 25, dtype=torch.float64), rtol=0, atol=1e-15)
    assert len(points.interior) + len(points.boundary) == 25 * len(points.initial)
    assert disk_heat().sample(interior=200, times=[0.0, 0.5]).times.tolist() == [0.0, 0.5]
    assert disk_plate().sample(interior=50, method="random").counts[0] == 50


def test_layers_are_counted_on_each_part():
    plain = holed_poisson()
    outer, hole = plain.conditions
    twice = replace(plain, conditions=(outer, hole, replace(hole, name="again", where=("hole", "outer"))))
    assert plain.ghost_layers == 1 and twice.ghost_layers == 2 and biharmonic_2d().ghost_layers == 2
    assert heat().ghost_layers == 1 and replace(plain, conditions=()).ghost_layers == 0


@pytest.mark.parametrize("problem", [poisson_1d(), poisson_2d(), heat(), biharmonic_2d()], ids=lambda p: p.name)
def test_a_box_has_nodes_too(problem):
    points = problem.sample(interior=150, method="nodes")
    problem.check(points)
    assert sorted(points.parts) == sorted(problem.domain.faces)
    assert len(points.ghost) == problem.ghost_layers * len(points.boundary)
    assert (points.times is not None) == ("t" in problem.axes)
    for face, index in points.parts.items():
        axis = problem.axes.index(face[0])
        limit = (problem.domain.upper if face[1] == "+" else problem.domain.lower)[axis]
        assert torch.allclose(points.boundary[index, axis], torch.tensor(limit, dtype=torch.float64))


def test_boxes_without_nodes_are_named():
    with pytest.raises(ValueError, match="periodic in x, and nodes are not: use method='lhs' or 'grid'"):
        allen_cahn().sample(interior=100, method="nodes")
    first = Problem("wave", Box(("t", "x"), (0.0, 0.0), (1.0, 1.0)), ("t",), lambda jet, x, c: jet["t"])
    with pytest.raises(ValueError, match="nodes need the time as the last axis, came t, x"):
        first.sample(interior=100, method="nodes")


def test_points_that_lie_elsewhere_are_refused():
    problem = disk_poisson()
    points = problem.sample(interior=200)
    with pytest.raises(ValueError, match=r"2 interior points lie outside the domain of disk-poisson .*such as \[0.8"):
        problem.check(replace(points, interior=torch.tensor([[0.8, 0.7], [0.9, 0.9]], dtype=torch.float64)))
    inward = replace(points, boundary=0.9 * points.boundary)
    with pytest.raises(ValueError, match=f"{len(points.boundary)} boundary points of disk-poisson lie inside"):
        problem.check(inward)
    hole = holed_poisson()
    nodes = hole.sample(interior=300)
    with pytest.raises(ValueError, match="1 interior points lie outside the domain of holed-poisson"):
        hole.check(replace(nodes, interior=torch.tensor([[0.2, -0.1]], dtype=torch.float64)))
    late = disk_heat().sample(interior=100)
    with pytest.raises(ValueError, match=r"initial points of disk-heat must have t = 0\.0"):
        disk_heat().check(replace(late, initial=late.initial + torch.tensor([0, 0, 0.5], dtype=torch.float64)))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: disk_poisson(frequency=0), "positive, finite frequency, came 0"),
        (lambda: disk_heat(frequency=float("inf")), "positive, finite frequency, came inf"),
        (lambda: ball_poisson(frequency=True), "positive, finite frequency, came True"),
        (lambda: disk_poisson(alpha=-1.0), r"expected alpha >= 0 and finite .* so that u is unique, came -1.0"),
        (lambda: disk_nonlinear_poisson(beta=0.0), r"expected beta > 0 and finite .* so that u is unique, came 0.0"),
        (lambda: ball_poisson(beta="1"), "expected beta > 0 and finite .* came '1'"),
        (lambda: disk_poisson(radius=-1.0), "radius: expected a positive finite number, came -1.0"),
        (lambda: disk_plate(mode=0), "positive integer mode"),
        (lambda: holed_poisson(petals=2.5), "integer number of petals from 0 to 12, came 2.5"),
        (lambda: holed_poisson(petals=13), "integer number of petals from 0 to 12, came 13"),
        (lambda: holed_poisson(radius=2.0), "hole 1"),
        (lambda: holed_poisson(center=(0.9, 0.0)), "hole 1.* sticks out"),
    ],
)
def test_bad_options_are_named(make, expected):
    with pytest.raises(ValueError, match=expected):
        make()


def test_a_round_flower_and_factors_that_vary_are_fine():
    assert holed_poisson(petals=0).domain.shape.outer.measure == pytest.approx(math.pi * 1.15**2, rel=1e-6)
    condition = exact_robin(Wave(), Wave().gradient, alpha=lambda x: x[:, :1], beta=lambda x: x[:, 1:2])
    points = disk_poisson().sample(interior=100).only("boundary")
    jet = AutoDiff().plan(points, condition.partials)(lambda x: 0 * x[:, :1])
    x, y = points.boundary.T
    k = math.pi
    slope = k * (x * torch.cos(k * x) * torch.cos(k * y) - y * torch.sin(k * x) * torch.sin(k * y))
    expected = -(x * slope + y * (1 + torch.sin(k * x) * torch.cos(k * y)))
    assert torch.allclose(condition.residual(jet, points.rows, points.normals, {})[:, 0].detach(), expected)


@pytest.mark.parametrize(
    ("problem", "layers"), [(poisson_2d(), 0), (helmholtz((1, 1)), 1)], ids=["poisson", "helmholtz"]
)
def test_box_problems_train_on_scattered_nodes(problem, layers):
    nodes = scatter(Rectangle((-1.0, -1.0), (1.0, 1.0)), count=150, ghost_layers=layers)
    torch.manual_seed(0)
    adam, losses = Torch(torch.optim.Adam, lr=1e-2), []
    for step in steps(problem, MLP(2, [20, 20]), RBFFD(order=3), adam, points=nodes.points(), steps=60):
        losses.append(step.loss)
    assert losses[-1] < losses[0] / 3


@pytest.mark.parametrize("make", [holed_poisson, disk_heat])
def test_normals_that_lead_inwards_are_refused(make):
    problem = make()
    points = problem.sample(interior=200)
    problem.check(points)
    normals = points.normals.clone()
    normals[5] *= -1
    with pytest.raises(ValueError, match=r"1 normals of .* lead inwards, such as that of boundary point 5: .*turn"):
        problem.check(replace(points, normals=normals))
