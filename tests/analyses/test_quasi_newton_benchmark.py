"""The benchmark of quasi-Newton methods runs, its ansatz is the equation's, and what it counts is right."""

import json
import math
from dataclasses import replace
from functools import partial

import pytest
import torch
import typer

from analyses.benchmarks import quasi_newton
from analyses.benchmarks.correction_features import InWindow, OddLayered
from analyses.benchmarks.hard_conditions import compile_factored, factored, splits
from analyses.benchmarks.marching import At, Marched, march
from analyses.benchmarks.quasi_newton_recipes import RECIPES, periodic
from solvers import LBFGS, MLP, AutoDiff, Points, TangentProp
from solvers.functions import cos, exp, sin
from solvers.networks import HardBoundary, PeriodicFeatures, RandomFeatures, Sine
from solvers.objective import Objective
from solvers.problems import heat, helmholtz, kdv
from solvers.scoring import Score

XT = torch.tensor([[0.3, 0.2], [-0.8, 0.7], [0.1, 0.95]], dtype=torch.float64)


def test_a_product_shares_its_derivatives_by_leibniz():
    assert sorted(splits("xxt")) == sorted(
        [("", "xxt", 1), ("x", "xt", 2), ("xx", "t", 1), ("t", "xx", 1), ("xt", "x", 2), ("xxt", "", 1)]
    )
    assert splits("") == [("", "", 1)]


@pytest.mark.parametrize("problem", [kdv(), heat(), helmholtz((1, 2))], ids=lambda problem: problem.name)
def test_the_residual_of_the_factor_is_that_of_the_product(problem):
    torch.manual_seed(0)
    network = MLP(2, [7, 5]).double()

    def distance(x):
        return x[:, 1:] * exp(-x[:, :1])

    def lift(x):
        return cos(2 * x[:, :1]) * (1 + x[:, 1:])

    posed = factored(problem, distance, lift)
    points = Points(XT, axes=problem.axes)
    found = posed.residual(TangentProp().plan(points, posed.partials)(network), points.interior, {})
    whole = AutoDiff().plan(points, problem.partials)(HardBoundary(network, distance, lift))
    expected = problem.residual(whole, points.interior, {})
    assert (found - expected).abs().max() < 1e-12 * expected.abs().max()
    assert posed.conditions == () and posed.domain.periodic == ()


def test_a_solution_divided_by_its_distance_solves_the_problem_of_the_factor():
    problem = helmholtz((1, 2))
    posed = factored(problem, lambda x: sin(math.pi * x[:, :1]))
    points = Points(XT, axes=problem.axes)
    jet = TangentProp().plan(points, posed.partials)(lambda x: sin(2 * math.pi * x[:, 1:]))
    assert float(posed.residual(jet, points.interior, {}).abs().max()) < 1e-12


@pytest.mark.parametrize("even", [False, True])
def test_a_periodic_network_is_periodic_with_its_derivatives(even):
    torch.manual_seed(0)
    network = periodic([6], 2, even).double()
    rows = torch.tensor([[-1.0, 0.4], [1.0, 0.4], [-0.3, 0.4], [0.3, 0.4]], dtype=torch.float64)
    jet = TangentProp().plan(Points(rows, axes="xt"), ("", "x", "xxx"))(network)
    for name in ("", "x", "xxx"):
        assert torch.allclose(jet[name][0], jet[name][1], rtol=1e-9, atol=1e-9)
    assert torch.equal(jet[""][2], jet[""][3]) == even
    assert PeriodicFeatures(2, 3).width == 7


def test_pieces_meet_and_are_taken_by_their_windows():
    def first(x):
        return x[:, :1] + x[:, 1:]

    second = HardBoundary(lambda x: 0 * x[:, :1] + 3, lambda x: x[:, 1:] - 0.5, At(first, 0.5))
    found = Marched([0.5, 1.0], [first, second], [second, first])
    rows = torch.tensor([[0.2, 0.1], [0.2, 0.5], [0.2, 0.9]], dtype=torch.float64)
    assert found(rows).flatten().tolist() == pytest.approx([0.3, 0.7, 0.7 + 1.2])
    assert found.uncorrected(rows)[2].item() == pytest.approx(1.1)
    odd = Marched([0.5, 1.0], [first, second], mirrored=True)
    rows = torch.tensor([[-0.2, 0.1], [-0.2, 0.9], [0.0, 0.3]], dtype=torch.float64)
    assert odd(rows).flatten().tolist() == pytest.approx([-0.3, -0.7 - 1.2, 0.0])


@pytest.mark.parametrize("name", RECIPES)
def test_the_conditions_hold_before_anything_is_learnt(name):
    recipe = replace(quasi_newton.quickened(RECIPES[name]), evaluations=2, soft=0.0)
    problem = recipe.problem()
    found = march(recipe, LBFGS, seed=0)
    points = problem.sample(interior=1, boundary=20, initial=9)
    for condition in problem.conditions:
        # The even lift of Allen-Cahn has a kink at x = 1, which is why its first window is soft.
        if name == "allen-cahn" and condition.name == "periodic_x":
            continue
        own = points.only(condition.where)
        jet = AutoDiff().plan(own, condition.partials)(found)
        assert float(condition.residual(jet, own.rows, own.normals, {}).detach().abs().max()) < 1e-9


def test_the_march_spends_its_evaluations_and_descends():
    recipe = replace(quasi_newton.quickened(RECIPES["kdv"]), evaluations=40, correction=None)
    short, long = (march(recipe, LBFGS, seed=0, share=share) for share in (0.05, 1.0))
    assert 2 * 40 <= long.evaluations < 2 * 40 + 20
    assert short.evaluations < 12
    assert long.losses[0] < short.losses[0]
    seam = torch.tensor([[-0.4, 0.5], [0.9, 0.5]], dtype=torch.float64)
    assert torch.equal(long.pieces[0](seam), long.pieces[1](seam))
    assert long.ends == [0.5, 1.0] and long.status == "complete" and long.seconds > 0


def test_a_helmholtz_run_gets_near_the_solution():
    easier = partial(helmholtz, (1, 1))
    recipe = replace(RECIPES["helmholtz"], problem=easier, points=128, evaluations=200)
    smooth = lambda columns, low, high, seed: RandomFeatures(2, columns, Sine, scale=6.0, seed=seed)  # noqa: E731
    second = replace(RECIPES["helmholtz"].correction, features=smooth, columns=200, points=500)
    recipe = replace(recipe, correction=second)
    found = march(recipe, quasi_newton.OPTIMIZERS["SSBroyden"], seed=0)
    score = Score(recipe.problem(), torch.empty(0, dtype=torch.float64))
    assert 1e-9 < score(found.uncorrected).rel_l2 < 1e-3
    assert score(found).rel_l2 < 1e-7 and found.corrected[0] < 1e-6 * found.losses[0]
    assert 0 < found.correcting < found.seconds and len(found.steps) == 1 and 1 <= found.steps[0] <= 8


def test_the_features_keep_the_symmetry_that_they_promise():
    torch.manual_seed(0)
    odd = OddLayered(20, [0.1], 0.25, 0.5)
    torch.nn.init.normal_(odd.features.coefficient)
    rows = torch.tensor([[0.3, 0.3], [-0.3, 0.3], [0.0, 0.4]], dtype=torch.float64)
    u = odd(rows).flatten().tolist()
    assert u[0] == pytest.approx(-u[1], rel=1e-12) and abs(u[0]) > 0.01 and u[2] == pytest.approx(0, abs=1e-14)
    assert InWindow(0.25, 0.5)(rows)[:, 1].tolist() == pytest.approx([-0.6, -0.6, 0.2])
    ends = torch.tensor([[0.7, 0.25], [0.7, 0.5]], dtype=torch.float64)
    assert InWindow(0.25, 0.5)(ends).tolist() == [[0.7, -1.0], [0.7, 1.0]]


@pytest.mark.parametrize("name", ["burgers", "helmholtz"])
def test_compiled_residuals_are_those_of_torch(name):
    recipe, torch_only = quasi_newton.quickened(RECIPES[name]), []
    problem = recipe.problem()
    torch.manual_seed(0)
    posed = factored(problem, lambda x: x[:, :1] * (1 - x[:, 1:] ** 2), lambda x: cos(x[:, :1] + x[:, 1:]))
    network, points = (
        recipe.network().double(),
        Points(posed.domain.scale(torch.rand(50, 2, dtype=torch.float64)), axes=problem.axes),
    )
    for compiled in (False, True):
        objective = Objective(posed, network, TangentProp(), points)
        if compiled:
            assert compile_factored(objective).compiled is not None
        evaluation = objective(objective.vector)
        torch_only.append((evaluation.residual.detach().clone(), evaluation.gradient.clone()))
    for plain, fast in zip(*torch_only, strict=True):
        assert (plain - fast).abs().max() < 1e-12 * plain.abs().max()


def test_a_network_that_is_no_chain_stays_with_torch():
    posed = factored(kdv(), lambda x: x[:, 1:])
    objective = Objective(posed, periodic([6], 2).double(), TangentProp(), Points(XT, axes="xt"))
    assert compile_factored(objective).compiled is None


def test_an_early_end_is_told():
    recipe = quasi_newton.quickened(RECIPES["helmholtz"])
    found = march(recipe, lambda: LBFGS(tolerance_gradient=1e9), seed=0)
    assert found.status == "gradient below tolerance_gradient = 1e+09"


def test_a_loss_that_is_not_finite_ends_the_march():
    recipe = replace(quasi_newton.quickened(RECIPES["kdv"]), start=lambda x: x[:, :1] * math.inf)
    found = march(recipe, LBFGS, seed=0)
    assert found.status == "diverged in window 1" and len(found.pieces) == 1


def test_the_quick_run_keeps_what_it_returns(tmp_path):
    results = quasi_newton.main(quick=True, problems=["burgers,helmholtz"], json_file=tmp_path / "results.json")
    assert json.loads((tmp_path / "results.json").read_text()) == json.loads(json.dumps(results))
    assert [(row["problem"], row["optimizer"]) for row in results["rows"]] == [
        (problem, optimizer) for problem in ("burgers", "helmholtz") for optimizer in quasi_newton.OPTIMIZERS
    ]
    for row in results["rows"]:
        windows = 2 if row["problem"] == "burgers" else 1
        assert 30 * windows <= row["evaluations"] < 30 * windows + 20 and row["rel_l2"] < 10 and row["seconds"] > 0
        assert row["floor"] < 1e-10 and row["status"] == "complete" and row["parameters"] > 100


@pytest.mark.parametrize("given", [{"problems": ["heat"]}, {"optimizers": ["SSBroyden,BFGS"]}])
def test_unknown_names_are_refused(given):
    with pytest.raises(typer.BadParameter, match=r"expected .* of .*, came '(heat|BFGS)'"):
        quasi_newton.main(quick=True, **given)
