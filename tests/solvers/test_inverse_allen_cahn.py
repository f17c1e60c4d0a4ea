"""The inverse problem of Allen-Cahn: what the data allow, and that the coefficients are found."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from solvers import MLP, FiniteDifference, TangentProp, train
from solvers.optimizers import SSBroyden
from solvers.points import Points
from solvers.problems import allen_cahn
from solvers.problems.inverse_allen_cahn import COARSE, inverse_allen_cahn
from solvers.references.allen_cahn_solution import AllenCahnSolution

TRUE = {"diffusion": 1e-3, "reaction": 5.0}


def values_of(problem):
    data = problem.conditions[-1]
    jet = {"": torch.zeros(len(problem.sets["data"]), 1, dtype=torch.float64)}
    return -data.residual(jet, problem.sets["data"], None, {})


@pytest.mark.parametrize("unknown", ["diffusion", "reaction", "both"])
def test_the_residual_is_least_at_the_truth(unknown):
    """The residual is affine in the unknowns: their least-squares optimum on the solution, by differences."""
    problem = inverse_allen_cahn(unknown=unknown, measurements=10)
    rows = problem.domain.scale(torch.from_numpy(np.random.default_rng(1).random((200, 2)) * 0.96 + 0.02))
    jet = FiniteDifference(step=1e-3, order=4).plan(Points(rows, axes="xt"), problem.partials)(problem.solution)
    names = [coefficient.name for coefficient in problem.coefficients]

    def residual(guess):
        return problem.residual(jet, rows, dict(zip(names, guess, strict=True)))[:, 0].numpy()

    zero = residual(np.zeros(len(names)))
    slopes = np.stack([residual(row) - zero for row in np.eye(len(names))], axis=1)
    found = np.linalg.lstsq(slopes, -zero, rcond=None)[0]
    np.testing.assert_allclose(found, [TRUE[name] for name in names], rtol=2e-4)


def test_both_are_found_from_the_data_within_their_bars():
    problem = inverse_allen_cahn(unknown="both", measurements=400)
    values, places = values_of(problem).numpy()[:, 0], problem.sets["data"].numpy().T

    def misfit(scaled):
        solution = AllenCahnSolution.solved(1e-3 * scaled[0], 5.0 * scaled[1], COARSE)
        return (solution(*places) - values) / problem.settings["deviation"]

    fit = least_squares(misfit, [1.1, 0.99], diff_step=1e-4, xtol=1e-4)
    bars = np.array([problem.settings["standard_error"][name] / true for name, true in TRUE.items()])
    assert (np.abs(fit.x - 1) < 3 * bars).all()
    np.testing.assert_allclose(np.sqrt(np.diag(np.linalg.inv(fit.jac.T @ fit.jac))), bars, rtol=0.05)


def test_two_unknowns_have_wider_bars_than_one():
    bars = {of: inverse_allen_cahn(unknown=of).settings["standard_error"] for of in ("diffusion", "reaction", "both")}
    for name in TRUE:
        assert bars[name][name] < bars["both"][name] < 1.1 * bars[name][name]


def test_a_bar_falls_with_the_noise_and_the_measurements():
    def bar(**options):
        return inverse_allen_cahn(**options).settings["standard_error"]["diffusion"]

    assert bar(noise=0.02) == pytest.approx(2 * bar(), rel=1e-9) and bar(noise=0.0) == 0
    assert bar(measurements=16000) == pytest.approx(bar() / 4, rel=0.15)
    assert bar(diffusion=1e-4) / 1e-4 > 5 * bar() / 1e-3


def test_the_data_are_the_reference_with_noise():
    problem, clean = inverse_allen_cahn(measurements=2000), inverse_allen_cahn(measurements=2000, noise=0.0)
    exact = allen_cahn(1e-3).solution(problem.sets["data"])
    assert torch.equal(values_of(clean), exact)
    assert float((values_of(problem) - exact).std()) == pytest.approx(problem.settings["deviation"], rel=0.05)


def test_a_short_training_finds_both():
    problem = inverse_allen_cahn(0.1, 1.0, "both", measurements=300, how="eliminated")
    torch.manual_seed(0)
    points = problem.sample(interior=200, boundary=32, initial=64, seed=1)
    run = train(problem, MLP(2, [12, 12]), TangentProp(), SSBroyden(), points=points, steps=150, progress=False)
    assert run.coefficients["diffusion"] == pytest.approx(0.1, rel=0.15)
    assert run.coefficients["reaction"] == pytest.approx(1.0, rel=0.2)


def test_it_says_what_is_unknown():
    diffusion, both = (
        inverse_allen_cahn(),
        inverse_allen_cahn(unknown="both", start=(2e-3, 4.0), bounds=((0, 1), (1, 9))),
    )
    assert diffusion.name == "inverse-allen-cahn" and diffusion.equation == "u_t = D u_xx + 5 (u - u^3), D unknown"
    assert both.equation == "u_t = D u_xx + r (u - u^3), D and r unknown" and len(both.equation) <= 44
    assert inverse_allen_cahn(unknown="reaction").equation == "u_t = 0.001 u_xx + r (u - u^3), r unknown"
    assert diffusion.settings["unknown"] == "diffusion" and both.settings["diffusion"] == 1e-3
    assert diffusion.reference.key == both.reference.key == allen_cahn(1e-3).reference.key
    assert [(c.start, c.low, c.high, c.exact) for c in both.coefficients] == [(2e-3, 0, 1, 1e-3), (4.0, 1, 9, 5.0)]
    assert [(c.start, c.low, c.high) for c in diffusion.coefficients] == [(5e-3, 0, 1)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"unknown": "rate"}, "one of diffusion, reaction, both, came 'rate': name one of them"),
        ({"diffusion": 1.0}, r"diffusion in \[1e-06, 0.1\]"),
        ({"reaction": math.nan}, r"reaction in \[1, 5.5\]"),
        ({"unknown": ["diffusion", "reaction"]}, "came .*diffusion.*: name one of them"),
        ({"start": (1e-3, 5.0)}, "start for diffusion, came .*: give one$"),
        ({"unknown": "both", "start": 1e-3}, "start for diffusion and reaction, came 0.001: give a sequence"),
        ({"unknown": "both", "start": (1e-3,)}, "a sequence with one for each"),
        ({"unknown": "both", "bounds": (0.0, 1.0)}, "bounds for diffusion and reaction.*one for each"),
        ({"bounds": (0.01, 0.1)}, "true value of diffusion between its bounds.*change bounds"),
        ({"unknown": "reaction", "start": 60.0}, "start of reaction between its bounds"),
        ({"measurements": 1}, "at least 2, came 1"),
        ({"noise": -1.0}, "noise from 0 on"),
        ({"points": [[0.3, 0.0], [0.5, 0.0]]}, "after the initial time"),
        ({"points": [[0.5, 2.0], [0.5, 0.1]]}, "came 1 outside"),
        ({"unknown": "both", "points": [[0.5, 0.5], [0.5, 0.5]]}, "measure at other places and times too"),
    ],
)
def test_mistakes(options, said):
    with pytest.raises(ValueError, match=said):
        inverse_allen_cahn(**options)
