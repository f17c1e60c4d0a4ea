"""Random-feature least squares: assembly, weights, solution, spectrum and its floor, Gauss-Newton, files, refusals."""

import dataclasses
import math
import warnings

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from dynamics import open_trajectory, validate
from dynamics.spectra import spectrum_floor
from solvers import (
    AutoDiff,
    FiniteDifference,
    LocalFeatures,
    Points,
    RandomFeatures,
    Sine,
    TangentProp,
    solve_least_squares,
)
from solvers.collocation import collocation, linearise, terms_of, weights_of
from solvers.collocation_spectrum import CollocationSpectrum
from solvers.domain import Box
from solvers.functions import log, tanh
from solvers.gauss_newton import gauss_newton
from solvers.noise import entry_floor, redraw
from solvers.problems import (
    biharmonic_1d,
    biharmonic_2d,
    burgers,
    heat,
    helmholtz,
    nonlinear_poisson_1d,
    nonlinear_poisson_2d,
    poisson_1d,
    poisson_2d,
)
from solvers.problems.conditions import dirichlet
from solvers.regression import solve_regression

PI = math.pi


def test_the_system_equals_one_assembled_by_hand():
    problem, features = poisson_1d(2), RandomFeatures(1, 12, scale=3.0, seed=3)
    problem = dataclasses.replace(problem, conditions=(dirichlet(0.5), dirichlet(name="again", where="x+")))
    problem = dataclasses.replace(
        problem, conditions=(dataclasses.replace(problem.conditions[0], weight=9.0), problem.conditions[1])
    )
    points = problem.sample(interior=10)
    system = collocation(problem, features, AutoDiff(), points)
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


def test_normal_conditions_are_assembled_with_their_signs():
    features = RandomFeatures(1, 5, activation=Sine, seed=3)
    problem = biharmonic_1d()
    system = collocation(problem, features, AutoDiff(), problem.sample(interior=4))
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
    system = collocation(problem, RandomFeatures(1, 30), AutoDiff(), points)
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
        assert solution.spectrum.svd_floor == pytest.approx(spectrum_floor(s, (62, 30)), rel=1e-10)
        assert solution.floor == solution.spectrum.svd_floor + solution.spectrum.entry_floor


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
def test_the_floor_is_the_round_off_of_the_matrix(activation, scale, problem, left_side, steps, order):
    features = RandomFeatures(len(problem.axes), 80, activation, scale=scale, seed=2)
    points = problem.sample(interior=200, boundary=8, method="grid")
    for step in steps:
        operator = FiniteDifference(step=step, order=order)
        system = collocation(problem, features, operator, points)
        spectrum = spectrum_of(problem, features, operator, points)
        exact = left_side(exact_arithmetic(system, features))
        noise = np.linalg.norm((system.matrix[: system.rows["interior"]].numpy() - exact).astype(float), 2)
        # Rounded weights of order 4 add a smooth error, which third differences do not see.
        assert (0.4 if order == 4 else 0.9) * noise <= spectrum.entry_floor <= 5 * noise


def spectrum_of(problem, features, operator, points, weights=None):
    system = collocation(problem, features, operator, points, weights)
    regression = solve_regression(system.matrix, system.right)
    at = torch.zeros(system.matrix.shape[1], 1, dtype=torch.float64)
    factors = weights or {name: 1.0 for name in system.rows}
    return CollocationSpectrum.of(regression, problem, features, operator, points, factors, at)


def test_the_floor_of_a_weighted_system_is_that_of_its_weighted_rows():
    features, points = RandomFeatures(1, 30), poisson_1d().sample(interior=60)
    plain, heavy = (
        spectrum_of(poisson_1d(), features, FiniteDifference(step=1e-4), points, {"interior": 1.0, "boundary": weight})
        for weight in (1.0, 1e20)
    )
    assert heavy.entry_floor == pytest.approx(1e10 * spectrum_of_values(features, points), rel=0.8)
    assert heavy.entry_floor > 10 * plain.entry_floor


def spectrum_of_values(features, points):
    """Floor of the boundary rows alone: values of the features, rounded."""
    ends = points.only("boundary")
    return entry_floor(redraw(lambda at: features.features(at.rows).detach(), ends))


def test_below_the_floor_differences_have_values_that_exact_derivatives_have_not():
    exact = solve_least_squares(poisson_1d(), RandomFeatures(1, 50), AutoDiff())
    noisy = solve_least_squares(poisson_1d(), RandomFeatures(1, 50), FiniteDifference(step=1e-5))
    assert noisy.floor > 100 * exact.floor
    below = noisy.singular_values[noisy.singular_values < noisy.floor]
    assert len(below) > 10
    assert float(below.min()) > 10 * float(exact.singular_values.min())


def test_truncation_is_the_change_of_each_value_and_unknown_below_the_floor():
    features, points, step = RandomFeatures(1, 40, scale=2.0), poisson_1d().sample(interior=80, method="grid"), 0.02
    spectrum = spectrum_of(poisson_1d(), features, FiniteDifference(step=step), points)
    exact = np.linalg.svd(collocation(poisson_1d(), features, AutoDiff(), points).matrix.numpy(), compute_uv=False)
    assert np.allclose(spectrum.exact_values.numpy(), exact, rtol=1e-9, atol=1e-13 * exact[0])
    truncation, values = spectrum.truncation.numpy(), spectrum.values.numpy()
    known = values > 30 * spectrum.floor
    assert known.sum() > 10
    assert np.allclose(truncation[known], np.abs(values - exact)[known], rtol=0.1, atol=3 * spectrum.floor)
    assert np.array_equal(np.isnan(truncation), values <= spectrum.floor)
    assert np.isnan(truncation).any()
    halved = spectrum_of(poisson_1d(), features, FiniteDifference(step=step / 2), points).truncation.numpy()
    assert halved[:5] == pytest.approx(truncation[:5] / 4, rel=0.02)


def test_exact_operators_have_no_truncation():
    spectrum = spectrum_of(poisson_1d(), RandomFeatures(1, 20), TangentProp(), poisson_1d().sample(interior=40))
    assert not spectrum.truncation.any() and torch.equal(spectrum.exact_values, spectrum.values)
    assert set(spectrum.row()) == {"singular_value", "floor", "entry_floor", "seconds"}


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
    system = collocation(poisson_1d(), RandomFeatures(1, 20), operator, points)
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
        assert float(spectra["floor"][0]) == solution.spectrum.svd_floor
        assert float(spectra["entry_floor"][0]) == solution.spectrum.entry_floor > 0
        assert float(spectra["seconds"][0]) > 0
        assert ("truncation" in spectra) == ("exact_singular_value" in spectra) == (not operator.exact)
        if not operator.exact:
            assert np.array_equal(spectra["truncation"][0], solution.spectrum.truncation.numpy(), equal_nan=True)
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


# Weights.


def test_weights_multiply_the_squared_residuals():
    problem, features = biharmonic_1d(), RandomFeatures(1, 6, Sine, seed=3)
    points = problem.sample(interior=7)
    plain = collocation(problem, features, AutoDiff(), points)
    weighted = collocation(problem, features, AutoDiff(), points, {"slope": 9.0, "interior": 0.25})
    factors = torch.tensor([0.5] * 7 + [1.0] * 2 + [3.0] * 2, dtype=torch.float64)[:, None]
    assert torch.equal(weighted.matrix, factors * plain.matrix)
    assert torch.allclose(weighted.right, factors * plain.right, rtol=1e-15)


def test_balanced_terms_have_longest_rows_of_one_length():
    problem, features = biharmonic_2d(), RandomFeatures(2, 20, Sine, scale=4.0)
    points = problem.sample(interior=40, boundary=16)
    system = collocation(problem, features, AutoDiff(), points, "balanced")
    plain = collocation(problem, features, AutoDiff(), points)
    longest = [float(rows.norm(dim=1).max()) for rows in system.matrix.split(list(system.rows.values()))]
    assert longest == pytest.approx([longest[0]] * 3, rel=1e-13)
    assert torch.equal(system.matrix[:40], plain.matrix[:40])
    blocks = dict(zip(plain.rows, np.split(plain.matrix.numpy(), [40, 56]), strict=True))
    factors = weights_of(
        problem, "balanced", terms_of(problem, features, AutoDiff(), points), torch.zeros(20, 1).double()
    )
    rows = {name: np.linalg.norm(part, axis=1).max() for name, part in blocks.items()}
    assert factors == pytest.approx({name: (rows["interior"] / own) ** 2 for name, own in rows.items()}, rel=1e-12)


def test_weights_of_the_caller_replace_those_of_the_problem_term_by_term(tmp_path):
    problem = poisson_1d()
    problem = dataclasses.replace(problem, conditions=(dataclasses.replace(problem.conditions[0], weight=100.0),))
    options = {"points": problem.sample(interior=30, method="grid"), "record": tmp_path / "run.h5"}
    solution = solve_least_squares(problem, RandomFeatures(1, 5), AutoDiff(), weights={"interior": 2.0}, **options)
    assert solution.weights == {"interior": 2.0, "boundary": 100.0}
    with open_trajectory(solution.path) as trajectory:
        series = trajectory["series"].isel(step=0)
        assert series["loss_weight"].values.tolist() == [2.0, 100.0]
        assert float(series["loss_raw"][0]) == pytest.approx(solution.residual**2, rel=1e-12)
        total = float((series["loss_raw"] * series["loss_weight"]).sum())
        assert float(series["loss"]) == pytest.approx(total, rel=1e-12)


def test_a_weight_of_nothing_leaves_the_term_out():
    points = poisson_1d().sample(interior=40, method="grid")
    solution = solve_least_squares(
        poisson_1d(), RandomFeatures(1, 30, Sine, scale=4.0), AutoDiff(), points=points, weights={"boundary": 0}
    )
    # -u'' = f alone: any straight line may be added.
    assert solution.residual < 1e-8 and solution.rel_l2 > 1e-3


# At points that need not lie in the domain.


@pytest.mark.parametrize(
    "operator", [AutoDiff(), FiniteDifference(step=1e-2), TangentProp()], ids=lambda o: type(o).__name__
)
def test_collocation_takes_points_outside_the_domain_and_a_solve_does_not(operator):
    problem, features = poisson_1d(), RandomFeatures(1, 4, Sine, scale=2.0)
    inside = problem.sample(interior=5)
    outside = dataclasses.replace(inside, interior=inside.interior + 3.0, boundary=inside.boundary * 1.5)
    system = collocation(problem, features, operator, outside, {"boundary": 4.0})
    second = features.weight[:, 0] ** 2 * features.features(outside.interior)
    assert torch.allclose(system.matrix[:5], second, rtol=1e-3 if not operator.exact else 1e-12, atol=1e-4)
    assert torch.allclose(system.matrix[5:], 2 * features.features(outside.boundary), rtol=1e-13)
    with pytest.raises(ValueError, match="outside the domain"):
        solve_least_squares(problem, features, operator, points=outside)


@pytest.mark.parametrize("make", [lambda: RandomFeatures(2, 12, scale=2.0), lambda: LocalFeatures(2, 4, cells=(3, 1))])
def test_every_operator_assembles_the_same_system(make):
    problem, features = biharmonic_2d(), make()
    points = problem.sample(interior=9, boundary=8)
    exact = collocation(problem, features, AutoDiff(), points).matrix
    for backend in ("auto", "taylor"):
        assert torch.allclose(
            collocation(problem, features, TangentProp(backend=backend), points).matrix, exact, rtol=1e-11, atol=1e-11
        )
    near = collocation(problem, features, FiniteDifference(step=1e-2, order=4), points).matrix
    assert float((near - exact).norm()) < 1e-2 * float(exact.norm())


def test_grid_differences_use_the_neighbouring_nodes():
    problem, features = poisson_1d(), RandomFeatures(1, 6, scale=2.0)
    points = problem.sample(interior=19, method="grid")
    system = collocation(problem, features, FiniteDifference.of_grid(points), points)
    nodes = features.features(torch.linspace(-1, 1, 21, dtype=torch.float64)[:, None])
    expected = -(nodes[2:] - 2 * nodes[1:-1] + nodes[:-2]) / 0.01
    assert torch.allclose(system.matrix[:19], expected, rtol=1e-10, atol=1e-12)


# Gauss-Newton.


def small_burgers():
    problem, features = burgers(0.1), RandomFeatures(2, 7, Sine, scale=2.0, seed=5)
    return problem, features, problem.sample(interior=11, boundary=4, initial=3)


def test_a_nonlinear_residual_is_linearised_as_by_hand():
    problem, features, points = small_burgers()
    c = torch.linspace(-1, 2, 7, dtype=torch.float64)[:, None]
    terms = terms_of(problem, features, TangentProp(), points)
    system = linearise(terms, {"interior": 4.0, "boundary": 1.0, "initial": 9.0}, c)
    w, z = features.weight.numpy(), features.argument(points.interior).numpy()
    phi, slope, a = np.sin(z), np.cos(z), c.numpy()
    u, u_x = phi @ a, slope * w[:, 0] @ a
    u_t, u_xx = slope * w[:, 1] @ a, -phi * w[:, 0] ** 2 @ a
    jacobian = slope * w[:, 1] + u * slope * w[:, 0] + u_x * phi + 0.1 * phi * w[:, 0] ** 2
    residual = u_t + u * u_x - 0.1 * u_xx
    assert np.allclose(system.matrix[:11].numpy(), 2 * jacobian, rtol=1e-12, atol=1e-12)
    assert np.allclose(system.right[:11].numpy(), 2 * (jacobian @ a - residual), rtol=1e-11, atol=1e-11)
    start = features.features(points.initial).numpy()
    assert np.allclose(system.matrix[-3:].numpy(), 3 * start, rtol=1e-13)
    assert np.allclose(system.right[-3:].numpy(), -3 * np.sin(PI * points.initial[:, :1].numpy()), atol=1e-13)


def test_gauss_newton_finds_the_least_squares_of_scipy():
    problem, features, points = small_burgers()
    terms = terms_of(problem, features, AutoDiff(), points)

    def residual(c):
        return torch.cat([term.residual(torch.from_numpy(c)[:, None]) for term in terms])[:, 0].numpy()

    theirs = least_squares(residual, np.zeros(7), xtol=1e-15, ftol=1e-15, gtol=1e-15)
    ours = solve_least_squares(problem, features, AutoDiff(), points=points)
    assert ours.stopped == "converged" and ours.iterations > 2
    found = residual(ours.network.coefficient.detach().numpy()[:, 0])
    # They stop where the residual no longer falls: its square is flat there to the square of the coefficients' error.
    assert float(found @ found) == pytest.approx(2 * theirs.cost, rel=1e-3)


def test_gauss_newton_goes_on_while_a_step_is_worth_it_and_no_longer():
    """At a minimum that is not 0 convergence is linear: the first full step below 1e-4 of the residual is the last."""
    problem, features, points = small_burgers()
    terms, weights = terms_of(problem, features, AutoDiff(), points), {"interior": 1.0, "boundary": 1.0, "initial": 1.0}
    taken = list(gauss_newton(terms, weights, torch.zeros(7, 1, dtype=torch.float64)))
    sizes = [math.sqrt(sum(float(part.square().sum()) for part in it.residuals.values())) for it in taken]
    drops = 1 - np.array(sizes[1:]) / np.array(sizes[:-1])
    assert len(taken) > 3 and taken[-1].stopped == "converged" and all(it.stopped is None for it in taken[:-1])
    assert np.all(drops[:-1] >= 1e-4) and 0 <= drops[-1] < 1e-4 and taken[-1].length == 1.0


@pytest.mark.parametrize("method", ["svd", "qr", "tikhonov"])
@pytest.mark.parametrize(
    ("problem", "features", "points"),
    [
        (nonlinear_poisson_1d(), RandomFeatures(1, 60, Sine, scale=6.0), {"interior": 120}),
        (
            nonlinear_poisson_2d(strength=4.0),
            RandomFeatures(2, 150, Sine, scale=4.0),
            {"interior": 400, "boundary": 120},
        ),
    ],
    ids=["1-D", "2-D"],
)
def test_a_nonlinear_poisson_equation_is_solved(problem, features, points, method):
    points = problem.sample(**points)
    solution = solve_least_squares(
        problem, features, TangentProp(), points=points, weights="balanced", method=method, rcond=1e-15
    )
    assert solution.rel_l2 < (1e-12 if len(problem.axes) == 1 else 1e-5)
    assert 3 <= solution.iterations < 20 and solution.stopped in ("round-off", "converged")
    features.coefficient.data.zero_()


def test_burgers_is_solved_by_gauss_newton():
    problem = burgers(0.1)
    points = problem.sample(interior=900, boundary=80, initial=80)
    features = RandomFeatures(2, 300, Sine, scale=(30.0, 10.0))
    solution = solve_least_squares(problem, features, TangentProp(), points=points, weights="balanced", rcond=1e-14)
    assert solution.rel_l2 < 1e-3 and solution.iterations < 20


def test_a_nonlinear_condition_is_met():
    """u' = 0 on (-1, 1) with u^3 + u = 10 at the left end: u = 2."""
    cubic = dirichlet(name="cubic", where="x-")
    cubic = dataclasses.replace(cubic, residual=lambda jet, x, normals, coefficients: jet[""] ** 3 + jet[""] - 10)
    problem = dataclasses.replace(
        poisson_1d(),
        partials=("x",),
        residual=lambda jet, x, coefficients: jet["x"],
        conditions=(cubic,),
        solution=lambda x: 2 + 0 * x,
    )
    solution = solve_least_squares(problem, RandomFeatures(1, 20, scale=2.0), AutoDiff())
    assert solution.rel_l2 < 1e-10 and solution.iterations > 3


def saturating(start):
    """tanh(u) = 0 at every point: Newton's method overshoots from |u| > 1.09."""
    problem = dataclasses.replace(
        poisson_1d(), partials=("",), residual=lambda jet, x, coefficients: tanh(jet[""]), conditions=(), solution=None
    )
    features = RandomFeatures(1, 3, Sine)
    features.weight.zero_()
    features.bias.fill_(PI / 2)
    features.coefficient.data.fill_(start / 3)
    return problem, features


def test_a_step_that_overshoots_is_halved(tmp_path):
    problem, features = saturating(2.0)
    points = problem.sample(interior=5)
    solution = solve_least_squares(problem, features, AutoDiff(), points=points, record=tmp_path / "run.h5")
    assert float(solution.network.coefficient.detach().sum().abs()) < 1e-12
    with open_trajectory(solution.path) as trajectory:
        series = trajectory["series"]
        loss = series["loss"].values
        assert np.all(np.diff(loss) <= 0) and loss[0] < math.tanh(2.0) ** 2
        evaluations = np.diff(series["evaluations"].values, prepend=1)
        assert evaluations[0] > 1, "the first step is too long"
        assert len(series["step"]) == solution.iterations


def test_a_residual_whose_slope_is_wrong_is_stuck():
    problem, features = saturating(0.0)
    # Its value is u - 1, its derivative is said to be -1.
    residual = lambda jet, x, coefficients: 2 * jet[""].detach() - jet[""] - 1  # noqa: E731
    problem = dataclasses.replace(problem, residual=residual)
    solution = solve_least_squares(problem, features, AutoDiff(), points=problem.sample(interior=5))
    assert (solution.stopped, solution.iterations, solution.residual) == ("stuck", 1, 1.0)
    assert not features.coefficient.detach().any()


def test_gauss_newton_starts_from_the_features_own_coefficients():
    problem = nonlinear_poisson_1d(strength=50.0)
    points, features = problem.sample(interior=80), RandomFeatures(1, 40, Sine, scale=5.0)
    first = solve_least_squares(problem, features, AutoDiff(), points=points, rcond=1e-14)
    again = solve_least_squares(problem, features, AutoDiff(), points=points, rcond=1e-14)
    assert first.iterations > 4 and again.iterations <= 2
    assert again.rel_l2 < 1e-9


def test_the_number_of_iterations_is_a_limit():
    problem = nonlinear_poisson_1d(strength=50.0)
    solution = solve_least_squares(problem, RandomFeatures(1, 40, Sine, scale=5.0), AutoDiff(), iterations=2)
    assert (solution.iterations, solution.stopped) == (2, "iterations")


def test_linear_problems_take_one_solve_wherever_the_coefficients_are():
    features = RandomFeatures(1, 40, Sine, scale=5.0)
    features.coefficient.data.fill_(1e6)
    solution = solve_least_squares(poisson_1d(), features, AutoDiff())
    assert (solution.iterations, solution.stopped) == (1, "linear")
    assert solution.rel_l2 < 1e-12


def test_every_gauss_newton_step_is_in_the_file(tmp_path):
    problem, features = nonlinear_poisson_1d(), RandomFeatures(1, 25, Sine, scale=5.0)
    points = problem.sample(interior=50)
    solution = solve_least_squares(
        problem, features, TangentProp(), points=points, method="qr", record=tmp_path / "run.h5", weights="balanced"
    )
    assert validate(solution.path) == []
    at = torch.zeros(25, 1, dtype=torch.float64)
    with open_trajectory(solution.path) as trajectory:
        count = solution.iterations
        assert "Gauss-Newton, column-pivoted QR" in str(trajectory.attrs["config"])
        spectra, values = trajectory["spectra"], trajectory["parameters/value"].values
        assert spectra["singular_value"].shape == (count, 25) and values.shape == (count, 25)
        assert (spectra["seconds"].values > 0).all() and (spectra["entry_floor"].values > 0).all()
        for step in range(count):
            system = linearise(terms_of(problem, features, TangentProp(), points), solution.weights, at)
            expected = np.linalg.svd(system.matrix.numpy(), compute_uv=False)
            assert np.allclose(spectra["singular_value"].values[step], expected, rtol=1e-9, atol=1e-13 * expected[0])
            at = torch.from_numpy(values[step])[:, None]
        assert np.array_equal(values[-1], solution.network.coefficient.detach().numpy()[:, 0])
        errors = trajectory["series/rel_l2"].values
        assert errors[-1] == solution.rel_l2 < 1e-3 * errors[0]


def test_space_time_is_one_least_squares_problem():
    points = heat().sample(interior=300, boundary=60, initial=60)
    solution = solve_least_squares(
        heat(), RandomFeatures(2, 150, Sine, scale=4.0), TangentProp(), points=points, weights="balanced", rcond=1e-14
    )
    assert solution.rel_l2 < 1e-7 and solution.stopped == "linear"


# Bad input.


def test_a_residual_that_is_not_finite_at_the_start_is_refused():
    problem = dataclasses.replace(
        poisson_1d(), partials=("",), residual=lambda jet, x, coefficients: log(jet[""]), solution=None
    )
    with pytest.raises(ValueError, match=r"not finite at the features' own coefficients.*set features.coefficient"):
        solve_least_squares(problem, RandomFeatures(1, 10), AutoDiff())


def test_several_equations_a_point_are_refused():
    problem = dataclasses.replace(
        poisson_1d(), residual=lambda jet, x, coefficients: torch.cat([jet["xx"], jet["xx"]], dim=1), solution=None
    )
    with pytest.raises(ValueError, match="'interior' has 2 equations a point"):
        solve_least_squares(problem, RandomFeatures(1, 10), AutoDiff())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "SVD"}, "unknown method 'SVD'; expected one of svd, qr, tikhonov"),
        ({"rcond": True}, "0 <= rcond < 1"),
        ({"rcond": "small"}, "0 <= rcond < 1"),
        ({"method": "tikhonov", "rcond": -1e-3}, "0 <= rcond < 1"),
        ({"weights": "equal"}, "mapping term -> factor, 'balanced' or None, came 'equal'"),
        ({"weights": {"bondary": 1.0}}, "no term 'bondary' to weight; expected one of interior, boundary"),
        ({"weights": {"boundary": -1.0}}, "weight >= 0 for the term 'boundary', came -1.0"),
        ({"weights": {"boundary": math.nan}}, "finite weight"),
        ({"weights": {"boundary": math.inf}}, "finite weight"),
        ({"weights": {"boundary": "10"}}, "finite weight"),
        ({"iterations": 0}, "iterations as an integer >= 1, came 0"),
        ({"iterations": 2.5}, "iterations as an integer >= 1"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        solve_least_squares(poisson_1d(), RandomFeatures(1, 5), AutoDiff(), **options)


def test_more_features_than_rows_is_said():
    points = poisson_1d().sample(interior=8, method="grid")
    with pytest.warns(RuntimeWarning, match="20 features meet 10 rows"):
        solution = solve_least_squares(poisson_1d(), RandomFeatures(1, 20, scale=5.0), AutoDiff(), points=points)
    assert solution.residual < 1e-10 and len(solution.singular_values) == 10
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solve_least_squares(poisson_1d(), RandomFeatures(1, 10), AutoDiff(), points=points)


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


def test_features_of_other_inputs_and_weights_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"has 1 axes, the features have 2 inputs: make them with RandomFeatures\(1"):
        solve_least_squares(poisson_1d(), RandomFeatures(2, 5), AutoDiff())
    with pytest.raises(ValueError, match="expected weights as a mapping term -> factor, 'balanced' or None, came 5"):
        solve_least_squares(poisson_1d(), RandomFeatures(1, 5), AutoDiff(), weights=5)


def test_a_solution_prints_in_a_few_lines():
    assert len(repr(solve_least_squares(poisson_1d(), RandomFeatures(1, 50), AutoDiff()))) < 400


@pytest.mark.parametrize("strength", [1e-4, 1e-8])
def test_a_weak_nonlinearity_is_solved_and_not_left_in_the_residual(strength):
    solution = solve_least_squares(
        nonlinear_poisson_1d(strength=strength), RandomFeatures(1, 100, Sine, scale=10.0), TangentProp()
    )
    assert solution.iterations > 1 and solution.stopped != "linear"
    assert solution.rel_l2 < 1e-12
