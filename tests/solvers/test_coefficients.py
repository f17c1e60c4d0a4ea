"""Unknown coefficients: trained, bounded or eliminated, in the loss, its derivatives, the record and the bounds."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear

from dynamics import open_trajectory
from solvers import LBFGS, MLP, AutoDiff, LevenbergMarquardt, ResidualBasedAttention, TangentProp, Torch, steps, train
from solvers.affine import Affine
from solvers.domain import Box
from solvers.elimination import Elimination
from solvers.objective import Objective
from solvers.problems import Coefficient, Problem
from solvers.problems.conditions import dirichlet

RATE = 0.7
HOW = ("trained", "bounded", "eliminated")


def decay(how="trained", low=0.0, high=2.0, start=1.2, residual=None):
    """u' + rate u = 0 with measurements of exp(-rate x): the rate is unknown."""

    def equation(jet, x, coefficients):
        return jet["x"] + coefficients["rate"] * jet[""]

    return Problem(
        "decay",
        Box(("x",), (0.0,), (2.0,)),
        ("", "x"),
        residual or equation,
        (dirichlet(lambda x: torch.exp(-RATE * x), name="data", where="data"),),
        (Coefficient("rate", start, low, high, how, RATE),),
        sets={"data": torch.linspace(0, 2, 9, dtype=torch.float64)[:, None]},
        sampling={"interior": 40},
    )


def network():
    torch.manual_seed(0)
    return MLP(1, [12]).double()


@pytest.mark.parametrize("operator", [AutoDiff(), TangentProp()], ids=repr)
@pytest.mark.parametrize("how", HOW)
def test_the_rate_is_found_from_measurements(how, operator):
    run = train(decay(how), network(), operator, LBFGS(), steps=150)
    assert run.coefficients["rate"] == pytest.approx(RATE, abs=2e-5)


@pytest.mark.parametrize("how", HOW)
def test_gradients_are_those_of_the_loss(how):
    """Central differences of the value, which for an eliminated rate is the minimum over it."""
    objective = Objective(decay(how), network(), TangentProp(), decay().sample(seed=0))
    start = objective.vector.clone()
    gradient = objective(objective.vector).gradient.clone()
    direction = torch.from_numpy(np.random.default_rng(0).normal(size=len(start)))
    ahead, behind = (float(objective(start + sign * 1e-6 * direction).value.detach()) for sign in (1, -1))
    assert (ahead - behind) / 2e-6 == pytest.approx(float(gradient @ direction), rel=1e-6)


@pytest.mark.parametrize("how", HOW)
def test_jacobian_directional_transposed_and_gram_agree(how):
    objective = Objective(decay(how), network(), TangentProp(), decay().sample(seed=0))
    evaluation = objective(objective.vector)
    jacobian, residual = evaluation.jacobian, evaluation.scaled_residual
    rng = np.random.default_rng(1)
    v, w = (torch.from_numpy(rng.normal(size=n)) for n in (jacobian.shape[1], jacobian.shape[0]))
    torch.testing.assert_close(evaluation.directional(v), jacobian @ v)
    torch.testing.assert_close(evaluation.transposed(w), jacobian.T @ w)
    torch.testing.assert_close(evaluation.gram, jacobian @ jacobian.T)
    torch.testing.assert_close(evaluation.gradient, 2 * jacobian.T @ residual)


def test_the_eliminated_rate_is_the_least_squares_optimum():
    objective = Objective(decay("eliminated"), network(), AutoDiff(), decay().sample(seed=0))
    evaluation = objective(objective.vector)
    jet = AutoDiff().plan(objective.equation_points, ["", "x"])(objective.network)
    u, slope = (jet[name].detach().numpy()[:, 0] for name in ("", "x"))
    assert evaluation.coefficients["rate"] == pytest.approx(float(np.clip(-u @ slope / (u @ u), 0, 2)), rel=1e-12)


def test_a_clipped_optimum_stays_on_its_bound_and_is_no_longer_projected_out():
    problem = decay("eliminated", low=3.0, high=4.0, start=3.0)
    objective = Objective(problem, network(), TangentProp(), problem.sample(seed=0))
    evaluation = objective(objective.vector)
    assert evaluation.coefficients["rate"] in (3.0, 4.0)
    free = replace(problem, coefficients=(Coefficient("rate", evaluation.coefficients["rate"], how="trained"),))
    held = Objective(free, objective.network, TangentProp(), problem.sample(seed=0))
    torch.testing.assert_close(evaluation.jacobian, held(held.vector).jacobian[:, :-1])


def test_several_eliminated_coefficients_within_their_bounds():
    """Against scipy's bounded least squares on all rows."""
    rng = np.random.default_rng(3)
    slopes, constant = rng.normal(size=(30, 3)), rng.normal(size=(30, 1))
    bounds = [(-0.05, 0.05), (-9.0, 9.0), (0.1, 0.2)]
    names = ("a", "b", "c")
    unknowns = {n: Coefficient(n, (low + high) / 2, low, high) for n, (low, high) in zip(names, bounds, strict=True)}
    part = Affine(torch.from_numpy(constant), {n: torch.from_numpy(slopes[:, [i]]) for i, n in enumerate(names)})
    found = Elimination(unknowns, [part], lambda number, rows: rows).values
    expected = lsq_linear(slopes, -constant[:, 0], list(zip(*bounds, strict=True)), tol=1e-14).x
    np.testing.assert_allclose([float(found[n]) for n in names], expected, atol=1e-7)


def test_two_coefficients_that_cannot_be_told_apart_are_refused():
    row = torch.ones(4, 1, dtype=torch.float64)
    part = Affine(row, {"a": row, "b": 2 * row})
    with pytest.raises(ValueError, match="eliminate one of them"):
        Elimination({n: Coefficient(n, 0.0) for n in "ab"}, [part], lambda number, rows: rows)


def test_a_residual_that_is_not_affine_is_refused():
    problem = decay("eliminated", residual=lambda jet, x, c: jet["x"] + c["rate"] * c["rate"] * jet[""])
    with pytest.raises(TypeError, match="how='trained' or how='bounded'"):
        train(problem, network(), TangentProp(), LBFGS(), steps=1)


def test_a_coefficient_that_the_residual_does_not_feel_stays_at_its_start():
    problem = decay("eliminated", residual=lambda jet, x, c: jet["x"] + c["rate"] * (0 * jet[""]))
    assert train(problem, network(), TangentProp(), LBFGS(), steps=1).coefficients["rate"] == 1.2


@pytest.mark.parametrize("how", HOW)
def test_every_step_is_recorded_with_its_bounds(tmp_path, how):
    path = tmp_path / "run.h5"
    found = [
        step.coefficients["rate"] for step in steps(decay(how), network(), TangentProp(), LBFGS(), steps=5, seed=0)
    ]
    run = train(decay(how), network(), TangentProp(), LBFGS(), steps=5, seed=0, record=path)
    with open_trajectory(path) as trajectory:
        assert trajectory["coefficients"]["value"].sel(coefficient="rate").values.tolist() == found
        known = json.loads(trajectory.attrs["config"])["problem"]["coefficients"]["rate"]
        assert known == {"start": 1.2, "low": 0.0, "high": 2.0, "how": how, "exact": RATE}
        assert trajectory["points"]["data"].shape == (9, 1)
    assert run.coefficients["rate"] == found[-1]
    assert len(set(found)) > 3


def test_bounds_hold_at_every_step():
    for how in HOW:
        problem = decay(how, low=0.9, high=1.3)
        adam = Torch(torch.optim.Adam, lr=0.2)
        values = [step.coefficients["rate"] for step in steps(problem, network(), TangentProp(), adam, steps=150)]
        assert all(0.9 <= value <= 1.3 for value in values), how
        assert values[-1] == pytest.approx(0.9, abs=2e-2), how


def test_under_attention_the_optimum_follows_the_weights():
    """The loss of each step is the minimum over the rate at that step's weights."""
    rule = ResidualBasedAttention(eta=0.5)
    problem, net = decay("eliminated"), network()
    for step in steps(problem, net, TangentProp(), Torch(torch.optim.Adam, lr=1e-2), attention=rule, steps=4):
        assert math.isfinite(step.loss)
    objective = Objective(problem, net, TangentProp(), problem.sample(seed=0))
    objective.attention = torch.linspace(0.1, 2, 40, dtype=torch.float64)
    jet = TangentProp().plan(objective.equation_points, ["", "x"])(net)
    u, slope = (objective.attention.numpy() * jet[name].detach().numpy()[:, 0] for name in ("", "x"))
    found = objective.begin_step().coefficients["rate"]
    assert found == pytest.approx(float(-u @ slope / (u @ u)), rel=1e-12)


def test_levenberg_marquardt_takes_an_eliminated_coefficient():
    run = train(decay("eliminated"), network(), TangentProp(), LevenbergMarquardt(), steps=40)
    assert run.coefficients["rate"] == pytest.approx(RATE, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("c", 0.5, 0.0, 1.0, "guessed"), "expected how to be one of trained, bounded, eliminated"),
        (("c", 2.0, 0.0, 1.0), "expected low <= start <= high"),
        (("c", 0.5, 0.0, math.inf, "bounded"), "give low and high"),
        (("c", 1.0, 0.0, 1.0, "bounded"), "with the start between them"),
    ],
)
def test_coefficients_that_make_no_sense(arguments, said):
    with pytest.raises(ValueError, match=said):
        Coefficient(*arguments)


def test_sets_have_names_of_their_own_and_lie_inside():
    with pytest.raises(ValueError, match="came 'boundary'"):
        replace(decay().sample(), sets={"boundary": np.zeros((1, 1))})
    far = replace(decay().sample(), sets={"data": np.full((2, 1), 9.0)})
    with pytest.raises(ValueError, match="data points lie outside"):
        train(decay(), network(), AutoDiff(), LBFGS(), points=far, steps=1)
