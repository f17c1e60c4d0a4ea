"""Measured round-off: against long double arithmetic, injected noise, and functions that have none."""

import numpy as np
import pytest
import torch

from solvers import RBFFD, AutoDiff, FiniteDifference, Points, RandomFeatures, Sine, TangentProp
from solvers.noise import _moved, noise_norm, redraw
from solvers.problems import heat


def line(count=80, dtype=torch.float64):
    return Points(torch.linspace(-1, 1, count, dtype=torch.float64)[:, None].to(dtype))


def second(features, operator):
    return lambda points: operator.plan(points, ["xx"])(features.features)["xx"].detach()


@pytest.mark.parametrize("activation", [torch.nn.Tanh, Sine])
@pytest.mark.parametrize("scale", [1.0, 10.0])
@pytest.mark.parametrize("operator", [AutoDiff(), TangentProp(), *map(FiniteDifference, (0.1, 1e-2, 1e-4))], ids=str)
def test_the_noise_has_the_size_that_long_doubles_show(activation, scale, operator):
    features, points = RandomFeatures(1, 40, activation, scale, seed=1), line()
    x, w, b = (value.numpy().astype(np.longdouble) for value in (points.interior, features.weight[:, 0], features.bias))
    function = np.sin if activation is Sine else np.tanh
    if operator.exact:
        value = function(x * w + b)
        truth = w**2 * (-value if activation is Sine else -2 * value * (1 - value**2))
    else:
        h = np.longdouble(operator.step)
        truth = sum(c * function((x + k * h) * w + b) for k, c in ((-1, 1), (0, -2), (1, 1))) / h**2
    error = np.linalg.norm((second(features, operator)(points).numpy() - truth).astype(float), 2)
    assert 0.5 < noise_norm(redraw(second(features, operator), points)) / error < 2.5


def test_the_noise_of_single_precision_is_that_against_double():
    features, points = RandomFeatures(1, 40, torch.nn.Tanh, 5.0, seed=2).float(), line(dtype=torch.float32)
    operator = FiniteDifference(0.1)
    single = second(features, operator)(points).double()
    noise = noise_norm(redraw(second(features, operator), points).double())
    double = second(features.double(), operator)(line().to(dtype=torch.float32).to(dtype=torch.float64))
    assert 0.5 < noise / float(torch.linalg.matrix_norm(single - double, 2)) < 2


def test_independent_noise_is_returned_at_its_own_size():
    generator = torch.Generator().manual_seed(5)
    points = line(2000)
    sample = redraw(lambda at: 1e-3 * torch.randn(2000, 5, generator=generator, dtype=torch.float64), points)
    assert float(sample.square().mean().sqrt()) == pytest.approx(1e-3, rel=0.05)


def test_a_cubic_without_rounding_has_only_rounding():
    """Third differences of x^2 vanish; what is left is the rounding of values of size 1."""
    noise = redraw(lambda at: at.interior**2, line())
    assert float(noise.abs().max()) < 4 * np.finfo(np.float64).eps


def test_all_kinds_of_points_are_displaced_and_kept_apart():
    points = Points(torch.rand(4, 2).double(), boundary=torch.rand(3, 2).double(), axes=("x", "y"))
    seen = []
    redraw(lambda at: seen.append(at) or at.rows, points)
    assert [at.counts for at in seen] == [(4, 3, 0)] * 4
    moves = torch.stack([at.rows - points.rows for at in seen])
    assert torch.equal(moves[0], torch.zeros(7, 2, dtype=torch.float64))
    assert float(moves.abs().max()) < 2e-8
    assert torch.allclose(moves[2], 2 * moves[1], rtol=1e-4) and (moves[1] != 0).all()
    assert len(moves[1][:4, 0].unique()) == 4, "each point by its own factor"


def test_the_norm_is_scaled_from_some_rows_to_all():
    generator = torch.Generator().manual_seed(6)
    noise = torch.randn(600, 50, generator=generator, dtype=torch.float64)
    assert noise_norm(noise) == pytest.approx(float(torch.linalg.matrix_norm(noise, 2)), rel=1e-12)
    assert noise_norm(noise[:40], 600) == pytest.approx(noise_norm(noise), rel=0.1)
    assert noise_norm(noise.T) == pytest.approx(noise_norm(noise), rel=1e-12)
    assert noise_norm(1e-200 * noise) == pytest.approx(1e-200 * noise_norm(noise), rel=1e-10)


def test_degenerate_samples_have_a_norm_too():
    assert noise_norm(torch.zeros(3, 2)) == 0.0
    assert noise_norm(torch.zeros(0, 2)) == 0.0
    assert np.isnan(noise_norm(torch.tensor([[1.0, float("nan")]])))


def test_nodes_at_several_times_stay_nodes_at_several_times():
    problem = heat()
    points = problem.sample(interior=20, times=[0.0, 0.3, 1.0], method="nodes")
    moved = _moved(points, torch.tensor([1e-8, 1e-8], dtype=torch.float64))
    plan = RBFFD().plan(moved, ["xx", "t"])
    assert plan.points.counts == points.counts
    assert (moved.times - points.times).min() >= 1e-8
    for kind in ("interior", "boundary", "initial"):
        change = getattr(moved, kind) - getattr(points, kind)
        assert change.min() > 0.99e-8 and change.max() < 2.01e-8
    noise = redraw(lambda at: RBFFD().plan(at, ["xx"])(lambda x: 1e4 + x[:, :1])["xx"], points)
    assert 0 < float(noise.abs().max()) < 1e-2
