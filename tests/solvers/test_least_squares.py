"""Random-feature least squares: assembly, solution, spectrum and its floor, the recorded file, refusals."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from dynamics import open_trajectory, validate
from solvers import AutoDiff, FiniteDifference, Points, RandomFeatures, Sine, solve_least_squares
from solvers.domain import Box
from solvers.least_squares import assemble
from solvers.problems import biharmonic_1d, burgers, helmholtz, poisson_1d, poisson_2d
from solvers.problems.conditions import dirichlet

PI = math.pi


def test_the_system_equals_one_assembled_by_hand():
    problem, features = poisson_1d(2), RandomFeatures(1, 12, scale=3.0, seed=3)
    problem = dataclasses.replace(problem, conditions=(dirichlet(0.5), dirichlet(name="again", where="x+")))
    problem = dataclasses.replace(
        problem, conditions=(dataclasses.replace(problem.conditions[0], weight=9.0), problem.conditions[1])
    )
    points = problem.sample(interior=10)
    system = assemble(problem, features, AutoDiff(), points)
    w, b = features.weight.numpy()[:, 0], features.bias.numpy()
    x = points.interior.numpy()
    t = np.tanh(x * w + b)
    second = -2 * t * (1 - t**2) * w**2
    ends = np.tanh(np.array([[-1.0], [1.0]]) * w + b)
    expected = np.vstack([-second, 3 * ends, ends[1:]])
    assert np.allclose(system.matrix.numpy(), expected, rtol=1e-12, atol=1e-12)
    right = np.vstack([4 * PI**2 * np.sin(2 * PI * x), [[1.5], [1.5], [0.0]]])
    assert np.allclose(system.right.numpy(), right, rtol=1e-12, atol=1e-12)
    assert system.rows == {"interior": 10, "boundary": 2, "again": 1}
    assert system.operator_floor == 0


def test_normal_conditions_are_assembled_with_their_signs():
    features = RandomFeatures(1, 5, activation=Sine, seed=3)
    problem = biharmonic_1d()
    system = assemble(problem, features, AutoDiff(), problem.sample(interior=4))
    w, b = features.weight.numpy()[:, 0], features.bias.numpy()
    slopes = np.array([[-1.0], [1.0]]) * w * np.cos(np.array([[-1.0], [1.0]]) * w + b)
    assert np.allclose(system.matrix[-2:].numpy(), slopes, rtol=1e-13)
    assert np.allclose(system.right[-2:].numpy(), [[PI], [-PI]], rtol=1e-13)


def test_exact_derivatives_solve_poisson_to_ten_digits():
    solution = solve_least_squares(poisson_1d(), RandomFeatures(1, 200, scale=3.0), AutoDiff())
    assert solution.rel_l2 <= 1e-10
    assert solution.residual < 1e-7
    assert solution.exact_residual == solution.residual
    grid = torch.linspace(-0.93, 0.87, 50, dtype=torch.float64)[:, None]
    with torch.no_grad():
        error = solution.network(grid) - torch.sin(PI * grid)
    assert float(error.abs().max()) < 1e-9


@pytest.mark.parametrize("problem", [poisson_2d(), helmholtz((1, 1)), biharmonic_1d()], ids=lambda p: p.name)
def test_other_linear_problems_are_solved(problem):
    features = RandomFeatures(len(problem.axes), 150, scale=2.0)
    points = problem.sample(interior=400, boundary=120, method="grid")
    solution = solve_least_squares(problem, features, AutoDiff(), points=points)
    assert solution.rel_l2 < 1e-3
    assert solution.max_error < 1e-2


@pytest.mark.parametrize("order", [2, 4])
def test_the_error_of_finite_differences_follows_their_step(order):
    steps = np.array([0.2, 0.1, 0.05])
    errors, residuals = [], []
    for step in steps:
        features = RandomFeatures(1, 200, scale=3.0)
        solution = solve_least_squares(poisson_1d(), features, FiniteDifference(step=step, order=order))
        errors.append(solution.rel_l2)
        residuals.append(solution.exact_residual)
        assert solution.residual < solution.exact_residual / 10
    assert np.polyfit(np.log(steps), np.log(errors), 1)[0] > order - 0.3
    assert np.polyfit(np.log(steps), np.log(residuals), 1)[0] > order - 0.3


def test_the_spectrum_is_that_of_the_system_and_the_solution_is_the_truncated_one():
    problem, points = poisson_1d(), poisson_1d().sample(interior=60, method="grid")
    system = assemble(problem, RandomFeatures(1, 30), AutoDiff(), points)
    for rcond in (None, 1e-6, 1e-2):
        solution = solve_least_squares(problem, RandomFeatures(1, 30), AutoDiff(), points=points, rcond=rcond)
        u, s, vt = np.linalg.svd(system.matrix.numpy(), full_matrices=False)
        assert np.allclose(solution.singular_values.numpy(), s, rtol=1e-10, atol=1e-13 * s[0])
        cut = 2.0**-52 * 62 if rcond is None else rcond
        kept = s > cut * s[0]
        assert solution.rank == kept.sum()
        if rcond is not None:
            expected = vt[kept].T @ ((u[:, kept].T @ system.right.numpy()) / s[kept, None])
            found = solution.network.coefficient.detach().numpy()
            assert np.allclose(found, expected, rtol=1e-6, atol=1e-8 * np.abs(expected).max())
        assert solution.floor == pytest.approx(2.0**-52 * 62 * s[0], rel=1e-10)


# The floor of the spectrum.


def exact_arithmetic(system, features):
    """The assembled interior derivatives once more in extended precision, from the same points and weights."""
    rows, weight, bias = (t.numpy().astype(np.longdouble) for t in (system.plan.rows, features.weight, features.bias))
    function = np.sin if isinstance(features.activation, Sine) else np.tanh
    values = function(rows @ weight.T + bias).reshape(-1, system.rows["interior"], len(bias))
    partials = np.tensordot(system.plan.weights.numpy().astype(np.longdouble), values, axes=1)
    return dict(zip(system.plan.singles, partials, strict=True))


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="long double is double here")
@pytest.mark.parametrize("activation", [torch.nn.Tanh, Sine])
@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0, 10.0])
@pytest.mark.parametrize(
    ("problem", "left_side", "steps"),
    [
        (poisson_1d(), lambda partials: -partials["xx"], (1e-5, 1e-3, 1e-1)),
        (biharmonic_1d(), lambda partials: partials["xxxx"], (1e-3, 1e-2, 1e-1)),
        (poisson_2d(), lambda partials: -partials["xx"] - partials["yy"], (1e-5, 1e-1)),
    ],
    ids=["poisson-1d", "biharmonic-1d", "poisson-2d"],
)
@pytest.mark.parametrize("order", [2, 4])
def test_the_floor_bounds_the_round_off_of_the_matrix_within_a_factor_of_ten(
    activation, scale, problem, left_side, steps, order
):
    features = RandomFeatures(len(problem.axes), 80, activation, scale=scale, seed=2)
    points = problem.sample(interior=200, boundary=8, method="grid")
    for step in steps:
        system = assemble(problem, features, FiniteDifference(step=step, order=order), points)
        exact = left_side(exact_arithmetic(system, features))
        noise = np.linalg.norm((system.matrix[: system.rows["interior"]].numpy() - exact).astype(float), 2)
        assert noise <= system.operator_floor <= 10 * noise


def test_the_floor_of_a_solution_is_the_larger_of_both():
    features = RandomFeatures(1, 50)
    exact = solve_least_squares(poisson_1d(), features, AutoDiff())
    noisy = solve_least_squares(poisson_1d(), RandomFeatures(1, 50), FiniteDifference(step=1e-5))
    points = poisson_1d().sample(interior=100, boundary=100, method="grid")
    system = assemble(poisson_1d(), RandomFeatures(1, 50), FiniteDifference(step=1e-5), points)
    assert noisy.floor == system.operator_floor > 100 * exact.floor
    below = noisy.singular_values[noisy.singular_values < noisy.floor]
    # Below the floor finite differences have singular values that exact derivatives do not: they are round-off.
    assert len(below) > 10
    assert float(below.min()) > 10 * float(exact.singular_values.min())


# The file.


@pytest.mark.parametrize("operator", [AutoDiff(), FiniteDifference(step=1e-3)], ids=["autodiff", "central-2"])
def test_the_file_holds_the_solution(operator, tmp_path):
    path = tmp_path / "run.h5"
    points = poisson_1d().sample(interior=40, method="grid")
    solution = solve_least_squares(
        poisson_1d(), RandomFeatures(1, 20), operator, points=points, rcond=1e-9, record=path, config={"note": "mine"}
    )
    assert solution.path == path
    assert validate(path) == []
    system = assemble(poisson_1d(), RandomFeatures(1, 20), operator, points)
    residual = (system.matrix @ solution.network.coefficient.detach() - system.right)[:, 0].numpy()
    with open_trajectory(path) as trajectory:
        assert trajectory.attrs["status"] == "complete"
        assert trajectory.attrs["dtype"] == "float64"
        for word in ("poisson-1d", type(operator).__name__, "RandomFeatures", "rcond=1e-09", "mine", '"rank"'):
            assert word in str(trajectory.attrs["config"])
        series, spectra = trajectory["series"].isel(step=0), trajectory["spectra"]
        assert series["term"].values.tolist() == ["interior", "boundary"]
        raw = [np.mean(residual[:40] ** 2), np.mean(residual[40:] ** 2)]
        assert series["loss_raw"].values == pytest.approx(raw, rel=1e-6)
        assert float(series["loss"]) == pytest.approx(sum(raw), rel=1e-6)
        assert float(series["rel_l2"]) == solution.rel_l2
        assert float(series["max_error"]) == solution.max_error
        assert float(series["exact_loss"]) == pytest.approx(solution.exact_residual**2)
        assert np.array_equal(spectra["singular_value"].values[0], solution.singular_values.numpy())
        assert float(spectra["floor"][0]) == pytest.approx(2.0**-52 * 42 * float(solution.singular_values[0]))
        assert float(spectra.attrs["operator_floor"]) == system.operator_floor
        assert spectra.attrs["driver"] == "gesdd"
        assert (int(spectra.attrs["rows"]), int(spectra.attrs["columns"])) == (42, 20)
        assert trajectory["residuals/residual"].values[0] == pytest.approx(residual[:40], rel=1e-6, abs=1e-12)
        coefficient = solution.network.coefficient.detach().numpy()[:, 0]
        assert np.array_equal(trajectory["parameters/value"].values[0], coefficient)
        assert float(series["parameter_norm"]) == pytest.approx(np.linalg.norm(coefficient))
        assert np.array_equal(trajectory["points/interior"].values, points.interior.numpy())


def test_raw_losses_are_recorded_without_the_weights_of_their_terms(tmp_path):
    problem = poisson_1d()
    problem = dataclasses.replace(problem, conditions=(dataclasses.replace(problem.conditions[0], weight=100.0),))
    solution = solve_least_squares(problem, RandomFeatures(1, 4), AutoDiff(), record=tmp_path / "run.h5")
    with torch.no_grad():
        ends = solution.network(torch.tensor([[-1.0], [1.0]], dtype=torch.float64))
    with open_trajectory(solution.path) as trajectory:
        series = trajectory["series"].isel(step=0)
        assert float(series["loss_raw"][1]) == pytest.approx(float(ends.square().mean()), rel=1e-9)
        assert series["loss_weight"].values.tolist() == [1.0, 100.0]
        total = float((series["loss_raw"] * series["loss_weight"]).sum())
        assert float(series["loss"]) == pytest.approx(total, rel=1e-12)


def test_a_path_that_exists_is_refused(tmp_path):
    path = tmp_path / "run.h5"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        solve_least_squares(poisson_1d(), RandomFeatures(1, 10), AutoDiff(), record=path)
    assert path.read_bytes() == b"precious"
    solve_least_squares(poisson_1d(), RandomFeatures(1, 10), AutoDiff(), record=path, overwrite=True)
    assert validate(path) == []


# Bad input.


def test_a_nonlinear_problem_is_refused():
    points = burgers().sample(interior=30, boundary=8, initial=8)
    with pytest.raises(ValueError, match=r"burgers is not linear in u \(term 'interior'\).*use train"):
        solve_least_squares(burgers(), RandomFeatures(2, 10), AutoDiff(), points=points)


def test_a_nonlinear_condition_is_refused():
    condition = dirichlet(name="square")
    nonlinear = dataclasses.replace(condition, residual=lambda jet, x, normals, coefficients: jet[""] ** 2)
    problem = dataclasses.replace(poisson_1d(), conditions=(nonlinear,))
    with pytest.raises(ValueError, match="term 'square'"):
        solve_least_squares(problem, RandomFeatures(1, 10), AutoDiff())


def test_a_problem_without_a_solution_has_no_error():
    problem = dataclasses.replace(poisson_1d(), solution=None)
    solution = solve_least_squares(problem, RandomFeatures(1, 10), AutoDiff())
    assert math.isnan(solution.rel_l2)
    assert math.isnan(solution.max_error)


def test_points_outside_the_domain_and_absent_devices_are_refused():
    with pytest.raises(ValueError, match="outside the domain"):
        solve_least_squares(poisson_1d(), RandomFeatures(1, 5), AutoDiff(), points=Points([[3.0]], boundary=[[1.0]]))
    with pytest.raises(ValueError, match="unknown device"):
        solve_least_squares(poisson_1d(), RandomFeatures(1, 5), AutoDiff(), device="gpu")


def test_affine_residuals_of_another_box_are_linear():
    """u' + 2 u = 3 on (0, 2), u(0) = 1: u = 3/2 - e^{-2x} / 2; a right side that is a constant."""
    problem = dataclasses.replace(
        poisson_1d(),
        domain=Box(("x",), (0.0,), (2.0,)),
        partials=("x", ""),
        residual=lambda jet, x, coefficients: jet["x"] + 2 * jet[""] - 3,
        conditions=(dirichlet(1.0, where="x-"),),
        solution=lambda x: 1.5 - torch.exp(-2 * x) / 2,
    )
    assert solve_least_squares(problem, RandomFeatures(1, 80, scale=2.0), AutoDiff()).rel_l2 < 1e-8


@pytest.mark.cuda
@pytest.mark.parametrize("operator", [AutoDiff(), FiniteDifference(step=1e-2)], ids=["autodiff", "central-2"])
def test_cuda_solves_as_the_cpu_does(operator, cuda):
    here, there = (
        solve_least_squares(poisson_1d(), RandomFeatures(1, 60, scale=3.0), operator, rcond=1e-10, device=device)
        for device in ("cpu", cuda)
    )
    kept = here.singular_values > 1e-8 * here.singular_values[0]
    assert torch.allclose(here.singular_values[kept], there.singular_values.cpu()[kept], rtol=1e-6)
    assert there.rel_l2 == pytest.approx(here.rel_l2, rel=0.5, abs=1e-9)
