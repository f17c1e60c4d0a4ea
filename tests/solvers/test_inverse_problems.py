"""Problems with a coefficient to be found from noisy data: the data, what they allow, and that it is found."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from solvers import MLP, AutoDiff, LevenbergMarquardt, TangentProp, train
from solvers.optimizers import SSBroyden
from solvers.problems import inverse_burgers, inverse_heat, measured
from solvers.problems.burgers import cole_hopf
from solvers.problems.measurements import Measurements
from solvers.problems.noisy_data import NoisyData

SETTINGS = {"interior": 250, "boundary": 32, "initial": 32, "seed": 1}


def values_of(problem):
    """The measured values, as the residual of a field that is zero."""
    data = problem.conditions[-1]
    jet = {"": torch.zeros(len(problem.sets["data"]), 1, dtype=torch.float64)}
    return -data.residual(jet, problem.sets["data"], None, {})


def network(widths=(16, 16), seed=0):
    torch.manual_seed(seed)
    return MLP(2, list(widths))


# What was measured.


def test_noise_is_relative_to_the_spread_of_the_values_and_is_drawn_once():
    problem, again, other = inverse_heat(measurements=4000), inverse_heat(measurements=4000), inverse_heat(seed=1)
    clean, values = problem.solution(problem.sets["data"]), values_of(problem)
    noise = values - clean
    assert float(noise.std() / clean.std()) == pytest.approx(0.01, rel=0.05)
    assert float(noise.std()) == pytest.approx(problem.settings["deviation"], rel=0.05)
    assert abs(float(noise.mean())) < 4 * problem.settings["deviation"] / math.sqrt(4000)
    assert torch.equal(values, values_of(again)) and torch.equal(problem.sets["data"], again.sets["data"])
    assert not torch.equal(problem.sets["data"][:200], other.sets["data"])


def test_data_without_noise_are_the_solution():
    problem = inverse_burgers(measurements=30, noise=0.0)
    x, t = problem.sets["data"].numpy().T
    np.testing.assert_array_equal(values_of(problem).numpy()[:, 0], cole_hopf(x, t, 0.01 / math.pi))
    assert problem.settings["standard_error"] == {"viscosity": 0.0} and problem.settings["deviation"] == 0


def test_values_are_found_by_their_points_in_any_order_and_precision():
    problem = inverse_heat(measurements=50)
    points, values = problem.sets["data"], values_of(problem)
    known = Measurements(points, values)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    assert torch.equal(known(points[order]), values[order])
    single = known(points.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), values, rtol=1e-6, atol=0)
    assert known(points) is known(points), "looked up once a tensor"


def test_what_was_measured_twice_is_averaged():
    rng = np.random.default_rng(0)
    places = np.repeat(rng.random((5, 2)), 3, axis=0)[rng.permutation(15)]
    values = rng.normal(size=(15, 2))
    found = Measurements(places, values)(torch.from_numpy(places))
    expected = [[values[(places == place).all(axis=1), k].mean() for k in range(2)] for place in places]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-15)


def test_the_data_are_a_term_of_the_loss_with_their_weight():
    problem = inverse_heat(measurements=20, weight=0.5)
    condition = problem.conditions[-1]
    assert [c.name for c in problem.conditions] == ["boundary", "initial", "data"]
    assert (condition.where, condition.weight, condition.partials) == ("data", 0.5, ("",))
    run = train(problem, network((4,)), AutoDiff(), SSBroyden(), points=problem.sample(**SETTINGS), steps=1)
    assert math.isfinite(run.loss)


# What the data allow.


def test_the_standard_error_of_the_diffusivity_is_the_closed_forms():
    """du/dnu = -(k pi)^2 t u."""
    for mode in (1, 2):
        problem = inverse_heat(0.05, measurements=77, noise=0.03, seed=4, mode=mode)
        x = problem.sets["data"]
        slope = -((mode * math.pi) ** 2) * x[:, 1:] * problem.solution(x)
        clean = problem.solution(x)
        expected = 0.03 * float(clean.std(correction=0)) / float(slope.norm())
        assert problem.settings["standard_error"]["diffusivity"] == pytest.approx(expected, rel=1e-7)


def test_the_standard_error_is_the_spread_of_least_squares_over_many_draws():
    """400 draws of the noise, each fitted by nonlinear least squares on the closed form: 3.5 % of uncertainty."""
    problem = inverse_heat(noise=0.05)
    x, t = problem.sets["data"].numpy().T
    model = lambda nu: np.exp(-(math.pi**2) * nu * t) * np.sin(math.pi * x)  # noqa: E731
    rng = np.random.default_rng(7)
    found = []
    for _ in range(400):
        values = model(0.1) + problem.settings["deviation"] * rng.standard_normal(len(x))
        found.append(least_squares(lambda nu, values=values: model(nu) - values, 0.5).x[0])
    error = problem.settings["standard_error"]["diffusivity"]
    assert np.std(found) == pytest.approx(error, rel=0.11)
    assert abs(np.mean(found) - 0.1) < 4 * error / 20


def test_the_standard_error_of_the_viscosity_is_that_of_finer_differences():
    problem = inverse_burgers(measurements=60, seed=2)
    x, t = problem.sets["data"].numpy().T
    nu = 0.01 / math.pi
    u = [cole_hopf(x, t, nu * (1 + k * 1e-3)) for k in (-2, -1, 1, 2)]
    slope = (u[0] - 8 * u[1] + 8 * u[2] - u[3]) / (12e-3 * nu)
    expected = 0.01 * cole_hopf(x, t, nu).std() / np.linalg.norm(slope)
    assert problem.settings["standard_error"]["viscosity"] == pytest.approx(expected, rel=1e-6)


# That it is found.


@pytest.mark.parametrize("how", ["trained", "bounded", "eliminated"])
def test_the_diffusivity_is_found_as_well_as_the_data_allow(how):
    problem = inverse_heat(how=how)
    assert problem.coefficients[0].start == 0.5
    run = train(
        problem, network(), TangentProp(), SSBroyden(), points=problem.sample(**SETTINGS), steps=300, progress=False
    )
    error = problem.settings["standard_error"]["diffusivity"]
    assert abs(run.coefficients["diffusivity"] - 0.1) < 3 * error
    x, values = problem.sets["data"].numpy(), values_of(problem).numpy()[:, 0]
    model = lambda nu: np.exp(-(math.pi**2) * nu * x[:, 1]) * np.sin(math.pi * x[:, 0]) - values  # noqa: E731
    best = least_squares(model, 0.5).x[0]
    assert abs(run.coefficients["diffusivity"] - best) < 0.6 * error, "the network costs less than the noise"


@pytest.mark.parametrize("how", ["bounded", "eliminated"])
def test_the_viscosity_is_found_as_well_as_the_data_allow(how):
    problem = inverse_burgers(0.05, 300, bounds=(0.0, 1.0), how=how)
    points = problem.sample(interior=400, boundary=32, initial=48, seed=1)
    run = train(problem, network(), TangentProp(), SSBroyden(), points=points, steps=250, progress=False)
    error = problem.settings["standard_error"]["viscosity"]
    assert abs(run.coefficients["viscosity"] - 0.05) < 3 * error and error < 3e-3 * 0.05


def test_without_noise_the_diffusivity_is_found_to_more_digits():
    problem = inverse_heat(noise=0.0, measurements=50)
    run = train(
        problem,
        network(),
        TangentProp(),
        LevenbergMarquardt(),
        points=problem.sample(**SETTINGS),
        steps=60,
        progress=False,
    )
    assert abs(run.coefficients["diffusivity"] - 0.1) < 2e-6


def test_data_as_heavy_as_their_precision_make_the_estimate_too_small():
    """u then interpolates the noise, whose u_xx is too large; the docstring's ten draws show the same."""
    off = {}
    for weight in (1.0, 1e4):
        problem = inverse_heat(noise=0.1, weight=weight, how="eliminated")
        points = problem.sample(**SETTINGS)
        run = train(problem, network(), TangentProp(), SSBroyden(), points=points, steps=120, progress=False)
        off[weight] = (run.coefficients["diffusivity"] - 0.1) / problem.settings["standard_error"]["diffusivity"]
    assert abs(off[1.0]) < 3 and off[1e4] < -5


# Mistakes.


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"measurements": 1}, "a whole number of measurements, at least 2, came 1"),
        ({"measurements": 2.5}, "at least 2, came 2.5"),
        ({"noise": -0.1}, "noise from 0 on.*came -0.1: 0.01 is 1 %"),
        ({"noise": math.nan}, "noise from 0 on"),
        ({"diffusivity": -1.0}, "expected diffusivity > 0"),
        ({"diffusivity": math.nan}, "expected diffusivity > 0"),
        ({"diffusivity": 3.02}, "true value of diffusivity between its bounds, came 3.02.*change bounds"),
        ({"start": 4.0}, "start of diffusivity between its bounds, came 4.0.*change start or bounds"),
        ({"diffusivity": 1.0}, "start of diffusivity between its bounds, came 5.0"),
        ({"bounds": (0.2, 3.0)}, "true value of diffusivity between its bounds"),
        ({"how": "guessed"}, "expected how to be one of"),
        ({"weight": 0.0}, "expected a positive weight"),
        ({"seed": -1}, "a whole number from 0 on, came -1: the data must be repeatable"),
        ({"seed": None}, "the data must be repeatable"),
        ({"points": [[0.0, 0.5], [1.5, 0.5]]}, r"came 1 outside, such as \[1.5, 0.5\]: leave them out"),
        ({"points": [[0.0, 0.5], [0.5, math.nan]]}, "came 1 outside"),
        ({"points": [[0.5, 0.5]]}, "two measurements at least"),
        ({"points": [0.0, 0.5]}, r"shape \(n, 2\)"),
        ({"points": [[0.3, 0.0], [0.5, 0.0]]}, "measure inside the domain, after the initial time"),
    ],
)
def test_data_that_make_no_problem(options, said):
    with pytest.raises(ValueError, match=said):
        inverse_heat(**options)


def test_a_viscosity_that_the_reference_does_not_resolve_is_refused():
    with pytest.raises(ValueError, match=r"expected viscosity in \[1e-3, 10\]"):
        inverse_burgers(5e-4)


def test_points_of_ones_own_choice_are_measured():
    problem = inverse_heat(points=[[0.5, 1.0], [-0.5, 1.0], [0.25, 0.5]], measurements=7)
    assert problem.settings["measurements"] == 3 and problem.sets["data"].tolist()[2] == [0.25, 0.5]
    data = NoisyData.draw(lambda nu: inverse_heat(nu).solution, 0.1, problem.domain, 7, 0.0, 0, problem.sets["data"])
    assert torch.equal(data.values, problem.solution(problem.sets["data"]))


@pytest.mark.parametrize(
    ("points", "values", "said"),
    [
        ([[0.0]], [[1.0]], "two or more points"),
        ([[0.0], [1.0]], [[1.0]], "a row for each measurement"),
        ([[0.0], [1.0]], [1.0, 2.0], "as many values"),
        ([[0.0], [math.inf]], [[1.0], [2.0]], "leave these measurements out"),
        ([[0.0], [1.0]], [[1.0], [math.nan]], "leave these measurements out"),
    ],
)
def test_measurements_that_are_none(points, values, said):
    with pytest.raises(ValueError, match=said):
        measured(torch.tensor(points), torch.tensor(values))


def test_a_point_that_was_never_measured_is_an_error():
    known = Measurements(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([[1.0], [2.0]]))
    with pytest.raises(ValueError, match=r"came \[0.5, 0.5\], 7.1e-01 from the nearest of 2: .* or measure there"):
        known(torch.tensor([[1.0, 1.0], [0.5, 0.5]]))
    problem = inverse_heat(measurements=10)
    moved = problem.sample(interior=10)
    moved.sets["data"] = moved.sets["data"] * 0.99
    with pytest.raises(ValueError, match="where something was measured"):
        train(problem, network((4,)), AutoDiff(), SSBroyden(), points=moved, steps=1)
