"""Random and local features: what is drawn, the partition of unity, derivatives by every operator, what is refused."""

import mpmath
import numpy as np
import pytest
import torch
from torch import nn

from solvers import solve_least_squares
from solvers.networks import Gaussian, LocalFeatures, RandomFeatures, Sine
from solvers.operators import AutoDiff, FiniteDifference, TangentProp
from solvers.points import Points
from solvers.problems import poisson_1d

PARTIALS = ("", "x", "y", "xy", "xx", "yyy", "xxyy", "xxxx", "bilaplacian")


def somewhere(count, inputs, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (count, inputs)))


@pytest.fixture(autouse=True)
def without_graphs():
    with torch.no_grad():
        yield


# What is drawn.


def test_each_axis_has_its_scale_and_the_bias_the_largest():
    network = RandomFeatures(2, 20_000, scale=(2.0, 8.0))
    assert float(network.weight[:, 0].abs().max()) == pytest.approx(2.0, rel=1e-3)
    assert float(network.weight[:, 1].abs().max()) == pytest.approx(8.0, rel=1e-3)
    assert float(network.bias.abs().max()) == pytest.approx(8.0, rel=1e-3)
    assert network.weight.std(dim=0).tolist() == pytest.approx([2 / 3**0.5, 8 / 3**0.5], rel=0.02)


def test_normal_features_have_their_scales_as_deviations():
    network = RandomFeatures(2, 20_000, scale=(2.0, 8.0), distribution="normal")
    drawn = torch.cat([network.weight, network.bias[:, None]], dim=1)
    assert drawn.std(dim=0).tolist() == pytest.approx([2.0, 8.0, 8.0], rel=0.02)
    assert drawn.mean(dim=0).abs().max() < 0.2
    # A normal variable is beyond two deviations in 4.55 per cent of all cases, a uniform one never.
    assert float((drawn[:, 0].abs() > 4.0).double().mean()) == pytest.approx(0.0455, abs=0.006)


def test_one_scale_for_all_axes_draws_what_it_always_drew():
    one, each = RandomFeatures(3, 50, scale=2.0, seed=4), RandomFeatures(3, 50, scale=(2.0, 2.0, 2.0), seed=4)
    assert torch.equal(one.weight, each.weight) and torch.equal(one.bias, each.bias)
    generator = torch.Generator().manual_seed(4)
    draw = 2 * (2 * torch.rand(50, 4, generator=generator, dtype=torch.float64) - 1)
    assert torch.equal(one.weight, draw[:, :3])


# Local features.


@pytest.mark.parametrize(("cells", "overlap"), [((1, 1), 0.3), ((4, 3), 0.3), ((2, 5), 0.05), ((3, 1), 2.0)])
def test_windows_sum_to_one_and_their_derivatives_to_nothing(cells, overlap):
    network = LocalFeatures(2, 1, cells=cells, lower=(0.0, -2.0), upper=(3.0, 1.0), overlap=overlap)
    points = Points(somewhere(40, 2) * torch.tensor([1.5, 1.5]) + torch.tensor([1.5, -0.5]), axes="xy")

    def windows(x):
        return network.window(x) + 0 * network.argument(x)

    jet = AutoDiff().plan(points, PARTIALS)(windows)
    assert jet[""].shape == (40, cells[0] * cells[1])
    assert torch.allclose(jet[""].sum(dim=1), torch.ones(40).double(), rtol=0, atol=1e-15 * sum(cells))
    for name in PARTIALS[1:]:
        assert float(jet[name].sum(dim=1).abs().max()) <= 1e-13 * max(1.0, float(jet[name].abs().max()))


def test_a_window_is_one_inside_its_cell_and_nothing_elsewhere():
    network = LocalFeatures(2, 2, cells=(3, 2), overlap=0.02)
    centres = [[-2 / 3, -0.5], [-2 / 3, 0.5], [0.0, -0.5], [0.0, 0.5], [2 / 3, -0.5], [2 / 3, 0.5]]
    inside = network.window(torch.tensor(centres, dtype=torch.float64))
    expected = torch.eye(6).repeat_interleave(2, dim=1).double()
    assert torch.allclose(inside, expected, rtol=0, atol=1e-14)


def test_local_features_are_the_formula():
    """Cell by cell and feature by feature, from the same draw, with sigmoids in place of tanh."""
    lower, upper, cells = (0.0, -1.0), (2.0, 3.0), (2, 3)
    network = LocalFeatures(
        2, 4, cells=cells, lower=lower, upper=upper, activation=Sine, scale=(3.0, 1.0), seed=2, overlap=0.4
    )
    drawn = RandomFeatures(2, 24, Sine, scale=(3.0, 1.0), seed=2)
    x = (somewhere(10, 2) + 1) / 2 * torch.tensor([2.0, 4.0]) + torch.tensor([0.0, -1.0])
    found = network.features(x).numpy()
    w, b, x = drawn.weight.numpy(), drawn.bias.numpy(), x.numpy()
    half = [0.5, 2 / 3]

    def step(value, edge, axis):
        if edge <= lower[axis]:
            return 1.0
        return 0.0 if edge >= upper[axis] - 1e-9 else 1 / (1 + np.exp(-2 * (value - edge) / (0.4 * half[axis])))

    for i in range(10):
        for cell in range(6):
            places = (cell // 3, cell % 3)
            window, local = 1.0, []
            for axis in range(2):
                left = lower[axis] + 2 * half[axis] * places[axis]
                window *= step(x[i, axis], left, axis) - step(x[i, axis], left + 2 * half[axis], axis)
                local.append((x[i, axis] - left - half[axis]) / half[axis])
            for j in range(4 * cell, 4 * cell + 4):
                expected = window * np.sin(w[j] @ np.array(local) + b[j])
                assert found[i, j] == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_one_cell_is_no_cell():
    local, plain = LocalFeatures(2, 9, cells=1, scale=2.0), RandomFeatures(2, 9, scale=2.0)
    x = somewhere(5, 2)
    assert torch.allclose(local.features(x), plain.features(x), rtol=1e-14, atol=1e-15)
    assert isinstance(local, RandomFeatures) and local.coefficient.shape == (9, 1)


# Derivatives.


@pytest.mark.parametrize("activation", [nn.Tanh, Sine, Gaussian])
@pytest.mark.parametrize("backend", ["auto", "layerwise", "taylor"])
@pytest.mark.parametrize(
    "make",
    [
        lambda a: RandomFeatures(2, 17, a, scale=(2.0, 3.0), distribution="normal"),
        lambda a: LocalFeatures(2, 6, cells=(3, 2), activation=a, scale=2.0),
    ],
    ids=["global", "local"],
)
def test_taylor_propagation_and_nested_differentiation_agree(make, backend, activation):
    network = make(activation)
    points = Points(somewhere(20, 2), axes="xy")
    exact = AutoDiff().plan(points, PARTIALS)(network.features)
    found = TangentProp(backend=backend).plan(points, PARTIALS)(network.features)
    for name in PARTIALS:
        assert torch.allclose(found[name], exact[name], rtol=1e-10, atol=1e-11 * float(exact[name].abs().max()))


@pytest.mark.parametrize("order", [1, 2, 4])
def test_derivatives_of_a_local_feature_in_thirty_digits(order):
    network = LocalFeatures(1, 1, cells=3, scale=3.0, seed=1, overlap=0.3)
    x, j = 0.21, 1
    w, b = (mpmath.mpf(float(t)) for t in (network.weight[j, 0], network.bias[j]))
    with mpmath.workdps(30):
        width = mpmath.mpf(float(network.width_0))
        left, right = (mpmath.mpf(float(edge)) for edge in network.edges_0)

        def feature(s):
            window = (mpmath.tanh((s - left) / width) - mpmath.tanh((s - right) / width)) / 2
            return window * mpmath.tanh(w * s + b)

        expected = float(mpmath.diff(feature, mpmath.mpf(x), order))
    letters = "x" * order
    for operator in (TangentProp(), AutoDiff()):
        found = operator.plan(Points([[x]]), [letters])(network.features)[letters][0, j]
        assert float(found) == pytest.approx(expected, rel=1e-11)


def test_finite_differences_of_local_features_converge():
    network, points = LocalFeatures(1, 5, cells=3, scale=2.0), Points(somewhere(8, 1))
    exact = AutoDiff().plan(points, ["xx"])(network.features)["xx"]
    errors = [
        float((FiniteDifference(step=h, order=4).plan(points, ["xx"])(network.features)["xx"] - exact).abs().max())
        for h in (2e-2, 1e-2, 5e-3)
    ]
    assert np.polyfit(np.log([2e-2, 1e-2, 5e-3]), np.log(errors), 1)[0] > 3.7


def oscillating(features) -> float:
    problem = poisson_1d(16)
    points = problem.sample(interior=600, method="grid")
    return solve_least_squares(problem, features, TangentProp(), points=points, weights="balanced", rcond=1e-15).rel_l2


def test_cells_let_features_of_a_moderate_scale_follow_an_oscillation():
    """u = sin(16 pi x): globally a scale of 4 knows no such wave number, in 16 cells each has one wave."""
    alone = oscillating(RandomFeatures(1, 288, Sine, scale=4.0))
    local = oscillating(LocalFeatures(1, 18, cells=16, activation=Sine, scale=4.0))
    assert local < 1e-9 and alone > 0.1


# What is refused.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomFeatures(1, 5, distribution="cauchy"), "unknown distribution 'cauchy'; expected one of uniform"),
        (lambda: RandomFeatures(2, 5, scale=(1.0,)), r"one for each of 2 axes, came \(1.0,\)"),
        (lambda: RandomFeatures(2, 5, scale=(1.0, -1.0)), "scale > 0"),
        (lambda: RandomFeatures(1, 5, scale=float("nan")), "scale > 0 and finite"),
        (lambda: RandomFeatures(1, 5, scale=float("inf")), "scale > 0 and finite"),
        (lambda: RandomFeatures(0, 5), "inputs as an integer >= 1, came 0"),
        (lambda: RandomFeatures(1, 2.5), "features as an integer >= 1, came 2.5"),
        (lambda: RandomFeatures(1, 5, "relu"), "module class such as torch.nn.Tanh, came 'relu'"),
        (lambda: LocalFeatures(1, 0), "features as an integer >= 1"),
        (lambda: LocalFeatures(1, 5, cells=0), "cells as integers >= 1, came 0"),
        (lambda: LocalFeatures(1, 5, cells=2.5), "cells as integers"),
        (lambda: LocalFeatures(2, 5, cells=(2, 2, 2)), "cells as one number or one for each of 2 axes"),
        (lambda: LocalFeatures(2, 5, lower=(0.0, 1.0), upper=(1.0, 1.0)), "finite lower < upper on every axis"),
        (lambda: LocalFeatures(1, 5, lower=0.0, upper=float("inf")), "finite lower < upper"),
        (lambda: LocalFeatures(1, 5, overlap=0.0), "positive finite overlap, came 0.0"),
        (lambda: LocalFeatures(1, 5, distribution="t"), "unknown distribution"),
    ],
)
def test_features_that_mean_nothing_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_grid_is_asked_for_where_its_spacing_is_the_step():
    scattered = poisson_1d().sample(interior=9)
    with pytest.raises(ValueError, match=r"uniform grid.*'x'.*method='grid'"):
        FiniteDifference.of_grid(scattered)
    oblong = Points(np.stack(np.meshgrid([0.0, 0.1, 0.2], [0.0, 0.3, 0.6]), axis=-1).reshape(-1, 2), axes="xy")
    with pytest.raises(ValueError, match="same spacing along every axis"):
        FiniteDifference.of_grid(oblong)
    with pytest.raises(ValueError, match="1 places along 'x'"):
        FiniteDifference.of_grid(Points([[0.5]]))
    assert FiniteDifference.of_grid(Points([[0.0], [0.25], [0.5]]), order=4) == FiniteDifference(step=0.25, order=4)
