"""Held-out points and the reference's own residual, against direct computations and known closed forms."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from dynamics import open_trajectory
from dynamics.format import KNOWN
from solvers import Torch, train
from solvers.cadence import Every
from solvers.domain import Box
from solvers.networks import MLP
from solvers.objective import Objective
from solvers.operators import AutoDiff, FiniteDifference
from solvers.probes import Moment
from solvers.probes.held_out import HELD_OUT_SEED, held_out
from solvers.probes.reference import Without, reference_residual
from solvers.problems import PROBLEMS, burgers, heat, helmholtz, kdv, poisson_1d
from solvers.problems.conditions import dirichlet
from solvers.problems.problem import Coefficient


def moment_of(problem, operator=None, dtype=torch.float64):
    method = {} if isinstance(problem.domain, Box) else {"method": "random"}
    points = problem.sample(interior=30, boundary=8, initial=6, **method).to(dtype=dtype)
    network = MLP(len(problem.axes), [6, 5], problem.components).to(dtype)
    objective = Objective(problem, network, operator or AutoDiff(), points)
    return Moment(0, objective, objective.begin_step(), torch.zeros(30, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("problem", [helmholtz((1, 1)), burgers(0.1)], ids=["helmholtz", "burgers"])
def test_it_measures_the_residual_where_it_does_not_train(problem, dtype):
    moment = moment_of(problem, dtype=dtype)
    told = held_out(points=40).measure(moment)
    elsewhere = problem.sample(interior=40, boundary=8, initial=6, seed=HELD_OUT_SEED).to(dtype=dtype)
    other = Objective(problem, moment.objective.network, AutoDiff(), elsewhere)
    assert told["held_out_loss"] == pytest.approx(float(other(other.vector).raw[0]), rel=1e-5)
    assert told["held_out_loss"] != pytest.approx(float(moment.evaluation.raw[0]), rel=1e-3)
    field = moment.objective.network(moment.objective.points.interior).detach().double().numpy()[:, 0]
    assert told["field_mean"] == pytest.approx(field.mean(), rel=1e-12)
    assert told["field_std"] == pytest.approx(field.std(), rel=1e-12)
    assert set(told) <= set(KNOWN["series"])


def test_it_takes_the_trainings_own_derivatives():
    coarse = moment_of(helmholtz((1, 1)), FiniteDifference(step=0.3))
    same = coarse.objective
    exact = replace(coarse, objective=Objective(same.problem, same.network, AutoDiff(), same.points))
    told = [held_out().measure(moment)["held_out_loss"] for moment in (coarse, exact)]
    assert told[0] != pytest.approx(told[1], rel=1e-4)


def test_one_probe_serves_two_runs_and_changes_nothing():
    probe, first, second = held_out(), moment_of(helmholtz((1, 1))), moment_of(helmholtz((2, 1)))
    before = first.objective.vector.clone()
    assert probe.measure(first) == probe.measure(first) == held_out().measure(first)
    assert probe.measure(second) == held_out().measure(second)
    assert torch.equal(before, first.objective.vector) and first.objective.evaluations == 0


def test_no_points_are_refused():
    with pytest.raises(ValueError, match="at least one held-out point, came 0"):
        held_out(points=0)


FORWARD = sorted(name for name, problem in PROBLEMS.items() if not (problem().coefficients or problem().observed))


@pytest.mark.parametrize("name", sorted(set(FORWARD) - {"allen-cahn", "burgers", "kdv"}))
def test_every_solution_satisfies_its_problem(name):
    problem = PROBLEMS[name]()
    told = reference_residual().measure(moment_of(problem))
    # Differences of order 4 leave 1e-5 of a second derivative and 1e-4 of a fourth; these are squares.
    bound = 1e-8 if "bilaplacian" in problem.partials or name == "multiscale-poisson" else 1e-10
    assert (np.array(told["residual"]) < bound * np.array(told["scale"])).all()


@pytest.mark.parametrize("problem", [burgers(), kdv()], ids=lambda problem: problem.name)
def test_a_steep_solution_is_told_from_a_wrong_one(problem):
    told = reference_residual().measure(moment_of(problem))
    assert told["residual"][0] < 0.01 * told["scale"][0]


def test_a_turned_sign_leaves_twice_the_term():
    problem = helmholtz((1, 1), wavenumber=1.0)
    turned = replace(problem, residual=lambda jet, x, c: problem.residual(jet, x, c) - 2 * jet["laplacian"])
    told = reference_residual().measure(moment_of(turned))
    # r = -2 lap u, its largest part is -lap u: the ratio of mean squares is 4, at any points.
    assert told["residual"][0] / told["scale"][0] == pytest.approx(4.0, rel=1e-8)
    assert told["residual"][1] < 1e-20 * told["scale"][1]


def test_wrong_data_show_in_their_own_term():
    problem = heat(0.1)
    wrong = replace(problem, conditions=(dirichlet(0.5), problem.conditions[1]))
    told = reference_residual().measure(moment_of(wrong))
    assert told["residual"][1] == pytest.approx(0.25, rel=1e-12)
    # No part of the condition is as large as the field: mean square of e^(-k t) sin(pi x), k = pi^2 / 10, in the
    # inner 0.9 of the box, by the closed form of its integral.
    k, low, high = math.pi**2 / 10, 0.05, 0.95
    in_time = (math.exp(-2 * k * low) - math.exp(-2 * k * high)) / (2 * k * (high - low))
    in_space = 0.5 - math.sin(2 * math.pi * 0.9) / (4 * math.pi * 0.9)
    assert told["scale"][1] == pytest.approx(in_time * in_space, rel=0.02)
    assert told["residual"][0] < 1e-10 * told["scale"][0] and told["residual"][2] < 1e-20


def test_what_cannot_be_evaluated_is_not_told():
    problem = poisson_1d()
    sixth = replace(problem, partials=("xxxxxx",), residual=lambda jet, x, c: jet["xxxxxx"])
    told = reference_residual().measure(moment_of(sixth))
    assert np.isnan(told["residual"][0]) and np.isnan(told["scale"][0]) and told["residual"][1] < 1e-20
    nowhere = replace(problem, solution=lambda x: torch.full((len(x), 1), math.nan, dtype=x.dtype))
    told = reference_residual().measure(moment_of(nowhere))
    assert np.isnan(told["residual"]).all() and np.isnan(told["scale"]).all()


def test_it_needs_a_solution_and_known_coefficients():
    for lacking, said in (
        (replace(poisson_1d(), solution=None), "a solution"),
        (replace(poisson_1d(), coefficients=(Coefficient("k", 1.0),)), "known coefficients"),
    ):
        with pytest.raises(ValueError, match=f"a problem with {said} for reference_residual"):
            reference_residual().measure(moment_of(lacking))


def test_a_jet_without_a_partial():
    moment = moment_of(helmholtz((1, 1)))
    jet = moment.objective.plan(moment.objective.network)
    without = Without(jet, ("laplacian",))
    assert torch.equal(without[""], jet[""]) and not without["laplacian"].any()


def test_both_are_recorded(tmp_path):
    train(
        heat(0.1),
        MLP(2, [6]),
        AutoDiff(),
        Torch(torch.optim.Adam, lr=1e-3),
        steps=5,
        probes=(held_out(every=Every(2)), reference_residual()),
        record=tmp_path / "run.h5",
        progress=False,
    )
    with open_trajectory(tmp_path / "run.h5") as tree:
        assert np.flatnonzero(np.isfinite(tree["series/held_out_loss"].values)).tolist() == [0, 2, 4, 5]
        assert list(tree["reference"]["term"].values.astype(str)) == ["interior", "boundary", "initial"]
        assert tree["reference"]["step"].values.tolist() == [0, 5]
        assert (tree["reference/residual"][0] < 1e-10 * tree["reference/scale"][0]).all()
