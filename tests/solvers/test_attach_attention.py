"""Residual-based attention in a loop of one's own: its file is that of `solvers.train` on the same problem."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import solvers
from dynamics import (
    Recorder,
    attention_statistics,
    detect_phases,
    diagnose,
    gradient_snr,
    open_trajectory,
    residual_homogeneity,
)
from solvers import Every, ResidualBasedAttention, attach
from solvers.attaching.block_gradients import AttachedBlocks
from solvers.probes import standard_probes

STEPS, BLOCKS = 60, 8
POINTS = solvers.Points(interior=np.linspace(-1, 1, 41)[:, None], boundary=np.array([[-1.0], [1.0]]))
X = POINTS.interior


def poisson(model, points):
    u = model(points)
    (slope,) = torch.autograd.grad(u.sum(), points, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), points, create_graph=True)
    return -curvature - torch.pi**2 * torch.sin(torch.pi * points)


def by_mean_slope(model, points):
    """Rows that depend on one another, which only a backward pass a block gets right."""
    (slope,) = torch.autograd.grad(model(points).sum(), points, create_graph=True)
    return slope - slope.mean()


def by_hand(path, model, rule, conditions, **options):
    """The loop of a user: ten lines, and what he tells."""
    adam = torch.optim.Adam(model.parameters(), lr=1e-2)
    attention, x = rule, X.clone().requires_grad_()
    weights, kept = attention.start(x), []
    with (
        Recorder(path) as recorder,
        attach(
            recorder, adam, model, poisson, points=x, attention=lambda: weights, attention_rule=attention,
            blocks=BLOCKS, **options,
        ) as watched,
    ):  # fmt: skip
        for _ in range(STEPS):
            r = poisson(model, x)
            weights = attention.update(weights, r)
            pde, raw = attention.loss(weights, r), r.square().mean()
            told = {"interior": raw, **({"boundary": model(POINTS.boundary).square().mean()} if conditions else {})}
            loss = pde + told.get("boundary", 0.0)
            adam.zero_grad()
            loss.backward()
            watched.terms(weights={"interior": (pde / raw).item()}, **told)
            kept.append(weights)
            adam.step()
    return kept


@pytest.fixture(scope="module", params=["inside, conditions", "outside, none"])
def pair(request, tmp_path_factory):
    """The files of both loops."""
    folder = tmp_path_factory.mktemp("pair")
    conditions = "conditions" in request.param
    rule = ResidualBasedAttention(eta=0.01, initialisation=2, inside="inside" in request.param)
    problem = solvers.problems.poisson_1d()
    problem = problem if conditions else replace(problem, conditions=())
    torch.manual_seed(0)
    model = solvers.MLP(1, [12, 12]).double()
    twin = copy.deepcopy(model)
    solvers.train(
        problem, twin, solvers.AutoDiff(), solvers.Torch(torch.optim.Adam, lr=1e-2), points=POINTS, steps=STEPS,
        attention=rule, record=folder / "ours.h5", progress=False,
        probes=lambda objective: standard_probes(objective, blocks=BLOCKS, every=Every(1)),
    )  # fmt: skip
    kept = by_hand(folder / "by hand.h5", model, rule, conditions, every=Every(1))
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)
    with open_trajectory(folder / "ours.h5") as ours, open_trajectory(folder / "by hand.h5") as hand:
        yield ours, hand, kept, conditions


def close(ours, hand, rows=STEPS, rtol=1e-7):
    ours, hand = np.asarray(ours)[:rows], np.asarray(hand)[:rows]
    assert ours.shape == hand.shape and len(ours) == rows and np.isfinite(ours).all()
    np.testing.assert_allclose(hand, ours, rtol=rtol, atol=1e-9 * np.abs(ours).max())


def test_the_series_is_ours(pair):
    ours, hand, *_ = pair
    for name in (
        "loss",
        "loss_raw",
        "loss_weight",
        "gradient_norm",
        "update_norm",
        "parameter_norm",
        "learning_rate",
    ):
        close(ours["series"][name], hand["series"][name])
    assert hand["series"].term.values.tolist() == ours["series"].term.values.tolist()


def test_points_residuals_and_weights_are_ours(pair):
    ours, hand, kept, _ = pair
    assert hand["points/interior"].values.tolist() == ours["points/interior"].values.tolist()
    assert hand["residuals/attention"].attrs == ours["residuals/attention"].attrs
    close(ours["residuals/residual"], hand["residuals/residual"], STEPS + 1)
    close(ours["residuals/attention"], hand["residuals/attention"])
    assert hand["residuals/attention"].values[:STEPS].tolist() == torch.stack(kept).tolist()
    # After the last step the loop updates no more: what is recorded is what it has.
    assert hand["residuals/attention"].values[STEPS].tolist() == kept[-1].tolist()


def test_the_homogeneity_is_ours(pair):
    ours, hand, *_ = pair
    assert hand["homogeneity"]["quantity"].values.tolist() == ours["homogeneity"]["quantity"].values.tolist()
    assert hand["homogeneity"].attrs == ours["homogeneity"].attrs
    for name in ("cell_mean", "cell_rms"):
        close(ours["homogeneity"][name], hand["homogeneity"][name])
    close(residual_homogeneity(ours).phi, residual_homogeneity(hand).phi)


def test_the_gradients_are_ours(pair):
    ours, hand, _, conditions = pair
    assert hand["gradients"]["layer"].values.tolist() == ours["gradients"]["layer"].values.tolist()
    mean = "interior_mean_norm" if conditions else "mean_norm"
    for name, own in ((mean, "mean_norm"), ("std_norm", "std_norm")):
        close(ours["gradients"][name], hand["gradients"][own], rtol=1e-6)
    if not conditions:
        for name in ("rms_norm", "block_norm", "gram"):
            close(ours["gradients"][name], hand["gradients"][name], rtol=1e-6)
    close(gradient_snr(ours).snr_interior, gradient_snr(hand).snr, rtol=1e-6)
    assert hand["gradients"].attrs["loss"] == ("mean((lambda r)^2)" if conditions else "mean(lambda r^2)")
    assert hand["gradients"].attrs["way"] == "stacked"


def test_the_analyzers_say_the_same(pair):
    ours, hand, _, conditions = pair
    found, known = attention_statistics(hand), attention_statistics(ours)
    assert found.attrs == known.attrs and found.attrs["used"] == 1
    for name in known.data_vars:
        close(known[name], found[name])
    if not conditions:
        phases = [detect_phases(one) for one in (ours, hand)]
        assert set(phases[0].data_vars) == set(phases[1].data_vars)
        for name, known in phases[0].data_vars.items():
            if known.dtype.kind == "f":
                np.testing.assert_allclose(phases[1][name], known, rtol=1e-6)
            else:
                assert phases[1][name].values.tolist() == known.values.tolist()
    names = [{each.name for each in diagnose(one)} - {"wrong_reference"} for one in (ours, hand)]
    assert names[0] == names[1]


def run(path, attention, points=X, residuals=poisson, steps=2, model=None, **options):
    model = model or solvers.MLP(1, [4]).double()
    adam = torch.optim.Adam(model.parameters(), lr=1e-2)
    with (
        Recorder(path) as recorder,
        attach(
            recorder, adam, model, residuals, points=points, attention=attention, every=Every(1), blocks=4, **options
        ) as watched,
    ):
        for _ in range(steps):
            loss = model(X).square().mean()
            adam.zero_grad()
            loss.backward()
            watched.terms(loss=loss)
            adam.step()
    return model


def test_trained_weights_are_recorded(tmp_path):
    torch.manual_seed(1)
    model = solvers.MLP(1, [4]).double()
    adam = torch.optim.Adam(model.parameters(), lr=1e-2)
    own = nn.Parameter(torch.rand(41, 1, dtype=torch.float64) - 0.1)
    ascent = torch.optim.SGD([own], lr=0.5, maximize=True)
    kept, norms = [], []
    x = X.clone().requires_grad_()
    with (
        Recorder(tmp_path / "run.h5") as recorder,
        attach(
            recorder, adam, model, poisson, points=X, every=Every(1), blocks=41,
            attention=lambda: own, attention_rule={"name": "SA-PINN", "form": "mean(lambda r^2)"},
        ) as watched,
    ):  # fmt: skip
        for _ in range(3):
            adam.zero_grad()
            ascent.zero_grad()
            loss = (own * poisson(model, x).square()).mean()
            loss.backward()
            watched.terms(loss=loss)
            kept.append(own.detach().flatten().tolist())
            norms.append(torch.cat([p.grad.flatten() for n, p in model.named_parameters() if n.endswith("weight")]))
            adam.step()
            ascent.step()
    assert own.requires_grad and own.grad is not None
    with open_trajectory(tmp_path / "run.h5") as found:
        assert found["residuals/attention"].values[:3].tolist() == kept and len(set(map(tuple, kept))) == 3
        assert attention_statistics(found).attrs["form"] == "mean(lambda r^2)"
        # The mean over all blocks is the gradient of the loss, negative weights included.
        known = [float(each.norm()) for each in norms]
        np.testing.assert_allclose(found["gradients/mean_norm_total"][:3], known, rtol=1e-9)


@pytest.mark.parametrize("way", ["stacked", "func", "loop"])
def test_every_way_weighs_the_squares(way):
    model = solvers.MLP(1, [4]).double()
    weights = torch.rand(41, dtype=torch.float64)
    name = next(name for name, _ in model.named_parameters() if name.endswith("weight"))

    def residuals(model, points):
        if way == "stacked":
            return poisson(model, points)
        if way == "func":

            def u(x):
                return model(x[None])[0, 0]

            return torch.func.vmap(torch.func.hessian(u))(points)[:, :, 0]
        return by_mean_slope(model, points)

    blocks = AttachedBlocks(residuals, model, [name], X, 8, weigh=lambda: weights)
    found = blocks()
    assert blocks.way == way
    for row in range(8):
        points, own = (each[row * 5 : row * 5 + 5] for each in (blocks._points, weights[blocks._order]))
        r = residuals(model, points.clone().requires_grad_())
        loss = (own[:, None] * r.square()).sum() / 5
        (known,) = torch.autograd.grad(loss, [dict(model.named_parameters())[name]])
        torch.testing.assert_close(found[row], known.flatten(), rtol=1e-9, atol=1e-12)


def test_the_way_is_chosen_where_the_weights_begin_as_zero():
    model, weights = solvers.MLP(1, [4]).double(), torch.zeros(41, dtype=torch.float64)
    name = next(name for name, _ in model.named_parameters() if name.endswith("weight"))
    blocks = AttachedBlocks(by_mean_slope, model, [name], X, 8, weigh=lambda: weights)
    assert not blocks().any() and blocks.way == "loop"


def test_attention_alone_is_recorded_without_a_residual(tmp_path):
    run(tmp_path / "run.h5", lambda: X[:, 0].abs(), residuals=None)
    with open_trajectory(tmp_path / "run.h5") as found:
        assert "residual" not in found["residuals"] and "gradients" not in found
        assert found["homogeneity"]["quantity"].values.tolist() == ["attention"]
        statistics = attention_statistics(found)
        assert np.allclose(statistics["mean"], X.abs().mean()) and statistics.attrs["form"] == "mean((lambda r)^2)"


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"attention": torch.ones(41)}, "came Tensor: write attention=lambda: weights"),
        ({"attention": lambda: torch.ones(40)}, r"shape \(41,\), one for each of points=, came shape \(40,\)"),
        ({"attention": lambda: torch.ones(41, 2)}, r"came shape \(41, 2\): return those of the points"),
        ({"attention": lambda: 1.0}, "came float: return those of the points"),
        ({"attention": lambda: torch.ones(41), "points": None}, "expected points for the attention, came none"),
        ({"attention": None, "attention_rule": {}}, "expected attention beside its rule"),
        ({"attention": lambda: torch.ones(41), "attention_rule": 3}, "a ResidualBasedAttention or a dict, came int"),
        (
            {"attention": lambda: torch.ones(41), "attention_rule": {"form": "mean(m r^2)"}},
            "came 'mean\\(m r\\^2\\)': where the loss has mean\\(m\\(lambda\\) r\\^2\\), pass m\\(lambda\\)",
        ),
    ],
)
def test_bad_attention_is_refused(tmp_path, options, match):
    options = {"residuals": None, **options}
    with pytest.raises(ValueError, match=match):
        run(tmp_path / "run.h5", options.pop("attention"), **options)


def test_weights_that_change_in_number_are_said_and_the_training_goes_on(tmp_path):
    lengths = iter([41, 41] + [30] * 50)
    with pytest.warns(RuntimeWarning, match=r"is not recorded from step . .*came shape \(30,\)") as said:
        run(tmp_path / "run.h5", lambda: torch.ones(next(lengths)), residuals=None, steps=4)
    assert {str(each.message).split(" is not")[0] for each in said} == {"attach: /residuals", "attach: /homogeneity"}
    assert len(said) == 2
    with open_trajectory(tmp_path / "run.h5") as found:
        assert len(found["series/loss"]) == 4
