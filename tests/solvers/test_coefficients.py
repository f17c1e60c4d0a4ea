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


def unknowns(*coefficients):
    return {c.name: c for c in coefficients}


def plain(number, rows):
    return rows


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("optimizer", [LBFGS(), LevenbergMarquardt()], ids=lambda o: type(o).__name__)
def test_a_coefficient_on_its_bound_does_not_stop_the_rest(optimizer, how):
    """The least loss with rate >= 0.9 lies at the bound, where the network still has to be fitted to it."""
    run = train(decay(how, low=0.9, high=1.3), network(), TangentProp(), optimizer, steps=150)
    assert run.coefficients["rate"] == pytest.approx(0.9, abs=1e-4)
    assert run.loss < 3.5e-3


def test_derivatives_at_a_bound_are_those_of_a_coefficient_that_is_held_there():
    problem = decay("trained", low=0.9, high=1.3, start=0.9)
    for compiled in (True, False):
        objective = Objective(problem, network(), TangentProp(), problem.sample(seed=0), compiled=compiled)
        start, place = objective.vector.clone(), len(objective.vector) - 1
        at = objective(objective.vector)
        value, gradient = float(at.value.detach()), at.gradient.clone()
        assert gradient[place] == 0
        jacobian = at.jacobian
        assert not jacobian[:, place].any()
        torch.testing.assert_close(2 * jacobian.T @ at.scaled_residual, gradient)
        v, w = torch.ones(jacobian.shape[1]).double(), torch.ones(jacobian.shape[0]).double()
        torch.testing.assert_close(at.directional(v), jacobian @ v)
        torch.testing.assert_close(at.transposed(w), jacobian.T @ w)
        start[place] = 0.5
        beyond = objective(start)
        assert float(beyond.value.detach()) == value
        assert beyond.coefficients["rate"] == 0.9
        torch.testing.assert_close(beyond.gradient, gradient)
        # On the other bound the descent leads inwards.
        start[place] = 1.3
        assert objective(start).gradient[place] > 0


def test_bounds_that_hold_nothing_cost_no_evaluation():
    """A line search ends where the next step begins."""
    counts = []
    for low, high in ((-math.inf, math.inf), (-50.0, 50.0)):
        found = steps(decay(low=low, high=high), network(), TangentProp(), LBFGS(), steps=12)
        counts.append([step.evaluations for step in found])
    assert counts[0] == counts[1]


def test_divergence_with_several_eliminated_coefficients_is_a_status():
    def equation(jet, x, coefficients):
        return jet["x"] + coefficients["rate"] * jet[""] + coefficients["source"]

    rates = Coefficient("rate", 1.0, 0.0, 2.0, "eliminated"), Coefficient("source", 0.0, -1.0, 1.0, "eliminated")
    problem = replace(decay(residual=equation), coefficients=rates)
    for operator in (TangentProp(), AutoDiff()):
        run = train(problem, network(), operator, Torch(torch.optim.SGD, lr=1e6), steps=40)
        assert run.status == "diverged"
    found = train(problem, network(), TangentProp(), LBFGS(), steps=20, dtype=torch.float32)
    assert found.status == "complete"


def test_units_do_not_decide_whether_coefficients_are_told_apart():
    a, b, constant = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 20, 1)))
    scaled = Affine(constant, {"a": a, "b": 1e-9 * b})
    found = Elimination(unknowns(Coefficient("a", 0.0), Coefficient("b", 0.0)), [scaled], plain).values
    expected = np.linalg.lstsq(torch.cat([a, b], 1).numpy(), -constant[:, 0].numpy(), rcond=None)[0]
    np.testing.assert_allclose([float(found["a"]), 1e-9 * float(found["b"])], expected, rtol=1e-9)


def test_coefficients_that_nothing_feels_or_that_have_no_room_stay_and_the_others_are_found():
    a, b, constant = torch.from_numpy(np.random.default_rng(1).normal(size=(3, 20, 1)))
    part = Affine(constant, {"a": a, "b": b, "c": torch.zeros_like(a)})
    known = unknowns(Coefficient("a", 0.0), Coefficient("b", 0.3, 0.3, 0.3), Coefficient("c", 0.7))
    elimination = Elimination(known, [part], plain)
    rest, free = (constant + 0.3 * b)[:, 0].numpy(), a[:, 0].numpy()
    assert [float(elimination.values[n]) for n in "bc"] == [0.3, 0.7]
    assert float(elimination.values["a"]) == pytest.approx(-(free @ rest) / (free @ free), rel=1e-12)
    rows = torch.eye(20, dtype=torch.float64)
    expected = rows - a @ a.T / (a.T @ a)
    torch.testing.assert_close(elimination.projected(rows), expected)


def test_a_coefficient_that_nothing_feels_is_not_projected_out():
    zero = torch.zeros(4, 1, dtype=torch.float64)
    alone = Elimination(unknowns(Coefficient("a", 0.5)), [Affine(zero + 1, {"a": zero})], plain)
    rows = torch.eye(4, dtype=torch.float64)
    assert torch.equal(alone.projected(rows), rows)


def test_slopes_that_become_multiples_later_take_the_nearest_optimum():
    row = torch.ones(4, 1, dtype=torch.float64)
    known = unknowns(Coefficient("a", 1.0), Coefficient("b", 1.0))
    found = Elimination(known, [Affine(-8 * row, {"a": row, "b": row})], plain, refuse=False)
    assert [float(found.values[n]) for n in "ab"] == pytest.approx([4.0, 4.0])
    rows = torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(found.projected(rows), rows - 0.25)


def test_several_optima_on_their_bounds_lie_there_exactly():
    rng = np.random.default_rng(5)
    a, b, constant = torch.from_numpy(rng.normal(size=(3, 20, 1)) * [[[3.0]], [[7.0]], [[1.0]]])
    known = unknowns(Coefficient("a", 5.0, 1 / 3, 9.0), Coefficient("b", 5.0, 1 / 7, 9.0))
    elimination = Elimination(known, [Affine(constant, {"a": a, "b": b})], plain)
    assert [float(elimination.values[n]) for n in "ab"] == [1 / 3, 1 / 7]
    rows = torch.eye(20, dtype=torch.float64)
    assert torch.equal(elimination.projected(rows), rows)


@pytest.mark.parametrize(
    ("residual", "error", "said"),
    [
        (
            lambda jet, x, c: jet["x"] + c["rat"] * jet[""],
            KeyError,
            r"the problem has rate: declare Coefficient\('rat'",
        ),
        (lambda jet, x, c: jet["x"] + c["rate"].sin() * jet[""], AttributeError, r"came \.sin of rate"),
        (lambda jet, x, c: jet["x"] + math.exp(c["rate"]) * jet[""], TypeError, "the number that rate has"),
        (lambda jet, x, c: jet["x"] + (c["rate"] > 0) * jet[""], TypeError, "a comparison of rate"),
        (lambda jet, x, c: jet["x"] + (2.0 if c["rate"] else 1.0) * jet[""], TypeError, "a condition on rate"),
    ],
)
def test_residuals_that_use_a_coefficient_wrongly_are_told_how_to(residual, error, said):
    with pytest.raises(error, match=said):
        train(decay("eliminated", residual=residual), network(), TangentProp(), LBFGS(), steps=1)


def test_columns_of_an_affine_residual_can_be_taken():
    problem = decay("eliminated", residual=lambda jet, x, c: (jet["x"] + c["rate"] * jet[""])[:, 0:1])
    one, other = (Objective(p, network(), AutoDiff(), p.sample(seed=0)) for p in (problem, decay("eliminated")))
    assert one(one.vector).coefficients == other(other.vector).coefficients


def test_coefficients_and_sets_of_a_problem_are_checked_when_it_is_made():
    with pytest.raises(ValueError, match="coefficients with names of their own, came rate, rate"):
        replace(decay(), coefficients=(Coefficient("rate", 1.0), Coefficient("rate", 2.0)))
    with pytest.raises(ValueError, match="finite start"):
        Coefficient("rate", math.inf)
    arrays = replace(decay(), sets={"data": np.linspace(0, 2, 9)[:, None]})
    assert torch.equal(arrays.sets["data"], decay().sets["data"])
