"""Steps of anybody's optimizer: what is recorded of them, against loops that compute the same by hand."""

import json
import math
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from dynamics import Recorder, open_trajectory
from dynamics.format import Stream
from dynamics.validation import departures
from solvers.attaching.attach import attach
from solvers.cadence import Every

X = torch.linspace(-1, 1, 24, dtype=torch.float64)[:, None]


def network(widths=(6, 5)):
    sizes = [1, *widths]
    hidden = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.Tanh())]
    return nn.Sequential(*hidden, nn.Linear(sizes[-1], 1)).double()


def losses(model):
    return (model(X) - torch.sin(3 * X)).square().mean(), model(X[:1]).square().mean()


def norm_of(tensors):
    return math.sqrt(sum(float(t.detach().double().square().sum()) for t in tensors))


def copies(model):
    return [p.detach().clone() for p in model.parameters()]


def read(path):
    with open_trajectory(path) as trajectory:
        return {
            name: trajectory[name].to_dataset().load() for name in trajectory.children if name not in ("late", "points")
        } | {"attrs": dict(trajectory.attrs)}


def adam_loop(path, model, optimizer, steps=6, **options):
    """The loop of anybody, and by hand what its rows should hold."""
    rows = []
    with Recorder(path) as recorder, attach(recorder, optimizer, model, **options) as watched:
        for _ in range(steps):
            optimizer.zero_grad()
            pde, bc = losses(model)
            (pde + 10 * bc).backward()
            watched.terms(weights={"bc": 10.0}, pde=pde, bc=bc)
            before = copies(model)
            row = [(pde + 10 * bc).item(), pde.item(), bc.item(), norm_of([p.grad for p in model.parameters()])]
            optimizer.step()
            moved = [p - b for p, b in zip(model.parameters(), before, strict=True)]
            rows.append([*row, norm_of(moved), norm_of(before)])
    return np.array(rows)


@pytest.mark.parametrize("factory", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.RMSprop])
def test_a_row_of_the_series_is_the_state_before_the_step(tmp_path, factory):
    model = network()
    expected = adam_loop(tmp_path / "run.h5", model, factory(model.parameters(), lr=1e-2))
    found = read(tmp_path / "run.h5")["series"]
    assert found.step.values.tolist() == list(range(6))
    assert found.term.values.astype(str).tolist() == ["pde", "bc"]
    scalars = [found[name].values for name in ("loss", "gradient_norm", "update_norm", "parameter_norm")]
    np.testing.assert_allclose(scalars, expected[:, [0, 3, 4, 5]].T, rtol=1e-12)
    np.testing.assert_allclose(found.loss_raw, expected[:, 1:3], rtol=1e-12)
    assert (found.loss_weight.values == [1.0, 10.0]).all()
    assert (found.learning_rate.values == 1e-2).all()
    assert found.evaluations.values.tolist() == [1, 2, 3, 4, 5, 6]


def test_the_file_says_what_was_trained(tmp_path):
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    adam_loop(tmp_path / "run.h5", model, optimizer, steps=2, scheduler=scheduler, points=X)
    with open_trajectory(tmp_path / "run.h5") as trajectory:
        config = str(trajectory.attrs["config"])
        assert "Adam(lr=0.01" in config and "ExponentialLR" in config and "0.weight" in config
        assert trajectory.attrs["dtype"] == "float64"
        assert trajectory["points/interior"].values.tolist() == X.tolist()
        assert trajectory["points"]["axis"].values.astype(str).tolist() == ["x"]
    assert departures(str(tmp_path / "run.h5")) == []


def test_rates_of_a_scheduler_and_of_several_groups(tmp_path):
    model, factor = network(), nn.Parameter(torch.ones((), dtype=torch.float64))
    groups = [{"params": model.parameters(), "lr": 1e-2}, {"params": [factor], "lr": 1e-1}]
    optimizer = torch.optim.SGD(groups)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    with Recorder(tmp_path / "run.h5") as recorder, attach(recorder, optimizer, model) as watched:
        for _ in range(3):
            optimizer.zero_grad()
            loss = losses(model)[0] * factor
            loss.backward()
            watched.terms(loss=loss)
            optimizer.step()
            scheduler.step()
    found = read(tmp_path / "run.h5")
    assert found["series"].learning_rate.values.tolist() == [1e-2, 5e-3, 2.5e-3]
    assert found["series"].group_learning_rate.values.tolist() == [[1e-2, 1e-1], [5e-3, 5e-2], [2.5e-3, 2.5e-2]]
    assert "external.1.0" in found["parameters"].attrs["names"] and "0.weight" in found["parameters"].attrs["names"]
    assert found["parameters"].value.shape[1] == sum(p.numel() for p in model.parameters()) + 1


def lbfgs_loop(path, model, steps=3, keyword=False, **options):
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=12, line_search_fn="strong_wolfe")
    seen = []

    def closure():
        # Zeroed in place, a gradient stays the same tensor.
        optimizer.zero_grad(set_to_none=not keyword)
        loss = losses(model)[0]
        loss.backward()
        seen.append((len(starts) - 1, loss.item(), norm_of([p.grad for p in model.parameters()]), copies(model)))
        return loss

    starts, returned = [], []
    with Recorder(path) as recorder, attach(recorder, optimizer, model, **options):
        for _ in range(steps):
            starts.append(copies(model))
            returned.append(optimizer.step(closure=closure) if keyword else optimizer.step(closure))
    counted = optimizer.state[next(model.parameters())]["func_evals"]
    return seen, starts, counted, returned


@pytest.mark.parametrize("keyword", [False, True])
def test_every_evaluation_of_lbfgs_is_seen(tmp_path, keyword):
    model = network()
    seen, starts, counted, returned = lbfgs_loop(tmp_path / "run.h5", model, keyword=keyword)
    found = read(tmp_path / "run.h5")
    rows = found["evaluations"]
    assert len(rows.evaluation) == counted == len(seen) > 30
    assert rows.step.values.tolist() == [step for step, *_ in seen]
    np.testing.assert_allclose(rows.loss, [loss for _, loss, *_ in seen], rtol=1e-14)
    np.testing.assert_allclose(rows.gradient_norm, [size for *_, size, _ in seen], rtol=1e-12)
    away = [norm_of([a - b for a, b in zip(at, starts[step], strict=True)]) for step, _, _, at in seen]
    np.testing.assert_allclose(rows.step_length, away, rtol=1e-12, atol=1e-15)
    series = found["series"]
    # The state before each step, and last that after all of them, whose loss the closure has seen.
    last = next(loss for _, loss, _, at in reversed(seen) if all(map(torch.equal, at, model.parameters())))
    np.testing.assert_allclose(series.loss, [*(loss.item() for loss in returned), last], rtol=1e-14)
    assert series.step.values.tolist() == [0, 1, 2, 3]
    assert series.evaluations.values[-1] == counted
    assert np.isnan(series.update_norm.values[-1]) and not np.isnan(series.gradient_norm.values[-1])


def test_adam_with_a_closure_has_no_rows_of_evaluations(tmp_path):
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    kept = []

    def closure():
        optimizer.zero_grad()
        loss = losses(model)[0]
        loss.backward()
        kept.append(loss.item())
        return loss

    with Recorder(tmp_path / "run.h5") as recorder, attach(recorder, optimizer, model):
        for _ in range(4):
            optimizer.step(closure)
    found = read(tmp_path / "run.h5")
    assert found["series"].loss.values.tolist() == kept
    assert found["evaluations"].sizes["evaluation"] == 0


def test_a_closure_without_backward_has_no_gradient_norm(tmp_path):
    class NoBackward(torch.optim.Optimizer):
        """Takes gradients itself, as NNCG does, twice a step."""

        def step(self, closure):
            for _ in range(2):
                loss = closure()
                parameters = self.param_groups[0]["params"]
                for p, g in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                    p.data -= 0.1 * g
            return loss

    model = network()
    optimizer = NoBackward(model.parameters(), {})
    losses(model)[0].backward()  # An old gradient is no gradient of these evaluations.
    with Recorder(tmp_path / "run.h5") as recorder, attach(recorder, optimizer, model):
        for _ in range(3):
            optimizer.step(lambda: losses(model)[0])
    found = read(tmp_path / "run.h5")
    assert len(found["evaluations"].evaluation) == 6
    assert np.isnan(found["evaluations"].gradient_norm).all() and np.isfinite(found["evaluations"].loss).all()
    assert np.isnan(found["series"].gradient_norm).all() and (found["series"].update_norm.values > 0).all()
    assert np.isnan(found["series"].learning_rate).all()


def test_terms_told_in_a_closure_are_those_of_the_steps_beginning(tmp_path):
    model = network()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=6, line_search_fn="strong_wolfe")
    firsts, told = [], []

    def closure():
        optimizer.zero_grad()
        pde, bc = losses(model)
        (pde + 2 * bc).backward()
        watched.terms(weights={"bc": 2.0}, pde=pde, bc=bc)
        told.append([pde.item(), bc.item()])
        return pde + 2 * bc

    with Recorder(tmp_path / "run.h5") as recorder, attach(recorder, optimizer, model) as watched:
        for _ in range(2):
            firsts.append(len(told))
            optimizer.step(closure)
    found = read(tmp_path / "run.h5")["series"]
    assert firsts[1] > 3
    np.testing.assert_allclose(found.loss_raw[:2], [told[first] for first in firsts], rtol=1e-14)
    assert (found.loss_weight.values[:2] == [1.0, 2.0]).all()


def test_an_accumulated_gradient_is_one_step(tmp_path):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    with Recorder(tmp_path / "run.h5") as recorder, attach(recorder, optimizer, model) as watched:
        for _ in range(2):
            optimizer.zero_grad()
            parts = []
            for rows in X.split(8):
                loss = (model(rows) - torch.sin(3 * rows)).square().mean()
                (loss / 3).backward()
                watched.terms(data=loss)
                parts.append(loss.item())
            optimizer.step()
    found = read(tmp_path / "run.h5")["series"]
    assert found.step.values.tolist() == [0, 1]
    assert found.loss.values[-1] == pytest.approx(np.mean(parts), rel=1e-14)


@pytest.mark.parametrize("fused", [False, True])
def test_a_scaled_gradient_is_recorded_without_its_scale(tmp_path, fused):
    model = network().float()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    x, sizes, made = X.float(), [], []
    with Recorder(tmp_path / "run.h5") as recorder, attach(recorder, optimizer, model) as watched:
        for step in range(4):
            optimizer.zero_grad()
            loss = (model(x) - 1).square().mean()
            factor = math.inf if step == 1 else 1.0
            scaler.scale(loss * factor).backward()
            sizes.append(norm_of([p.grad / scaler.get_scale() for p in model.parameters()]))
            before = copies(model)
            watched.terms(loss=loss)
            scaler.step(optimizer)
            scaler.update()
            made.append(not all(map(torch.equal, before, model.parameters())))
    assert made == [True, False, True, True]
    found = read(tmp_path / "run.h5")["series"]
    if fused:
        # The optimizer is called and skips the update itself.
        assert not np.isfinite(found.gradient_norm.values[1]) and found.update_norm.values[1] == 0
        np.testing.assert_allclose(found.gradient_norm.values[[0, 2, 3]], np.array(sizes)[[0, 2, 3]], rtol=1e-5)
    else:
        np.testing.assert_allclose(found.gradient_norm, np.array(sizes)[[0, 2, 3]], rtol=1e-5)


def test_a_compiled_model_is_measured_by_the_module_inside(tmp_path):
    model = network()
    compiled = torch.compile(model, backend="eager")
    optimizer = torch.optim.Adam(compiled.parameters(), lr=1e-2)
    with (
        Recorder(tmp_path / "heard.h5") as recorder,
        pytest.warns(RuntimeWarning, match="no step was seen"),
        attach(recorder, optimizer, compiled),
    ):
        # Nothing listens: a hook would be compiled into the graph.
        assert not any(module._forward_hooks for module in model.modules())
    with Recorder(tmp_path / "run.h5") as recorder, attach(recorder, optimizer, compiled, points=X) as watched:
        for _ in range(3):
            optimizer.zero_grad()
            loss = losses(compiled)[0]
            loss.backward()
            watched.terms(loss=loss)
            optimizer.step()
    found = read(tmp_path / "run.h5")
    assert "_orig_mod" not in found["parameters"].attrs["names"]
    assert found["compression"].layer.values.astype(str).tolist() == ["1", "3"]
    assert len(found["series"].loss) == 3


def test_a_class_that_calls_its_parents_step_makes_one_row(tmp_path):
    torch.optim.Adam([torch.zeros(1)])  # From here on torch runs hooks within Adam's own step, too.

    class Twice(torch.optim.Adam):
        def step(self, closure=None):
            super().step(closure)
            with torch.no_grad():
                model[0].weight.mul_(0.9)

    model = network()
    expected = adam_loop(tmp_path / "run.h5", model, Twice(model.parameters(), lr=1e-2))
    found = read(tmp_path / "run.h5")["series"]
    np.testing.assert_allclose(found.update_norm, expected[:, 4], rtol=1e-12)
    assert found.evaluations.values.tolist() == [1, 2, 3, 4, 5, 6]


def test_an_error_in_the_closure_is_the_callers_and_the_step_is_none(tmp_path):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    bad, kept = iter([False, True, False, False]), []

    def closure():
        if next(bad):
            raise ArithmeticError("of the user")
        optimizer.zero_grad()
        loss = losses(model)[0]
        loss.backward()
        kept.append(loss.item())
        return loss

    with Recorder(tmp_path / "run.h5") as recorder, attach(recorder, optimizer, model):
        optimizer.step(closure)
        with pytest.raises(ArithmeticError, match="of the user"):
            optimizer.step(closure)
        optimizer.step(closure)
        optimizer.step(closure)
    found = read(tmp_path / "run.h5")["series"]
    assert found.step.values.tolist() == [0, 1, 2] and (found.update_norm.values > 0).all()
    assert found.loss.values.tolist() == kept and len(kept) == 3


def test_adam_then_lbfgs_in_one_file(tmp_path):
    model = network()
    adam = torch.optim.Adam(model.parameters(), lr=1e-2)
    lbfgs = torch.optim.LBFGS(model.parameters(), max_iter=5)

    def closure():
        lbfgs.zero_grad()
        loss = losses(model)[0]
        loss.backward()
        return loss

    # Each row is written at once, so that the layout is fixed long before the second optimizer begins.
    with (
        Recorder(tmp_path / "run.h5", commit_every=0.0) as recorder,
        attach(recorder, adam, model) as watched,
        attach(recorder, lbfgs, model) as after,
    ):
        for _ in range(4):
            adam.zero_grad()
            loss = losses(model)[0]
            loss.backward()
            watched.terms(loss=loss)
            adam.step()
        assert after.step == watched.step == 4
        for _ in range(2):
            lbfgs.step(closure)
    found = read(tmp_path / "run.h5")
    assert found["series"].step.values.tolist() == [0, 1, 2, 3, 4, 5]
    assert set(found["evaluations"].step.values.tolist()) == {4, 5}
    with open_trajectory(tmp_path / "run.h5") as trajectory:
        optimizer = json.loads(trajectory.attrs["config"])["optimizer"]
    assert optimizer.startswith("Adam(lr=0.01,") and "), then LBFGS(lr=1, max_iter=5," in optimizer
    assert (np.diff(found["series"].loss.values) < 0).all()


def test_one_after_the_other_goes_on_in_steps(tmp_path):
    model = network()
    with Recorder(tmp_path / "run.h5") as recorder:
        for first in (0, 3):
            optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
            with attach(recorder, optimizer, model, every=Every(100)) as watched:
                assert watched.step == (first and 4)
                for _ in range(3):
                    optimizer.zero_grad()
                    loss = losses(model)[0]
                    loss.backward()
                    watched.terms(loss=loss)
                    optimizer.step()
    found = read(tmp_path / "run.h5")
    assert found["series"].step.values.tolist() == [0, 1, 2, 4, 5, 6]
    assert found["parameters"].step.values.tolist() == [0, 3, 4, 7]


def test_a_run_that_goes_on_begins_at_the_step_that_is_named(tmp_path):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    adam_loop(tmp_path / "run.h5", model, optimizer, steps=3)
    with (
        Recorder.reopen(tmp_path / "run.h5", {"series": 3, "parameters": 1, "compression": 1}) as recorder,
        attach(recorder, optimizer, model, first=3) as watched,
    ):
        optimizer.zero_grad()
        pde, bc = losses(model)
        pde.backward()
        watched.terms(pde=pde, bc=bc)
        optimizer.step()
    assert read(tmp_path / "run.h5")["series"].step.values.tolist() == [0, 1, 2, 3]


def test_an_unknown_loss_is_said_once_and_the_rest_is_recorded(tmp_path):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    with (
        Recorder(tmp_path / "run.h5") as recorder,
        pytest.warns(RuntimeWarning, match=r"watched\.terms\(loss=loss\)") as said,
        attach(recorder, optimizer, model),
    ):
        for _ in range(4):
            optimizer.zero_grad()
            losses(model)[0].backward()
            optimizer.step()
    assert len(said) == 1 and said[0].filename == __file__
    found = read(tmp_path / "run.h5")["series"]
    assert "loss" not in found and np.isfinite(found.gradient_norm).all() and len(found.step) == 4


def test_terms_that_are_asked_for_now_and_then(tmp_path):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    calls, kept = [], []

    def terms():
        calls.append(watched.step)
        return dict(zip(("pde", "bc"), losses(model), strict=True))

    with Recorder(tmp_path / "run.h5") as recorder, attach(recorder, optimizer, model, terms=terms) as watched:
        for _ in range(45):
            optimizer.zero_grad()
            pde, bc = losses(model)
            (pde + bc).backward()
            kept.append((pde + bc).item())
            optimizer.step()
    assert calls[:3] == [0, 20, 40] and len(calls) == 4
    found = read(tmp_path / "run.h5")["series"]
    known = np.flatnonzero(np.isfinite(found.loss.values))
    assert found.step.values[known].tolist() == [0, 20, 40, 45]
    np.testing.assert_allclose(found.loss.values[known[:3]], np.array(kept)[[0, 20, 40]], rtol=1e-14)
    assert float(found.loss_raw[-1].sum()) == pytest.approx(sum(losses(model)).item(), rel=1e-14)


def test_weights_that_are_not_known_are_not_made_up(tmp_path):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    factors = iter((1.0, 7.0))

    def closure():
        optimizer.zero_grad()
        pde, bc = losses(model)
        loss = pde + next(factors) * bc
        loss.backward()
        watched.terms(pde=pde, bc=bc)
        return loss

    with Recorder(tmp_path / "run.h5") as recorder, attach(recorder, optimizer, model) as watched:
        for _ in range(2):
            optimizer.step(closure)
    found = read(tmp_path / "run.h5")["series"]
    assert found.loss_weight.values[0].tolist() == [1.0, 1.0] and np.isnan(found.loss_weight.values[1]).all()
    assert found.loss.values[1] == pytest.approx(found.loss_raw.values[1] @ [1.0, 7.0], rel=1e-14)


def test_a_loss_that_is_not_finite_ends_as_diverged(tmp_path):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    with Recorder(tmp_path / "run.h5") as recorder, attach(recorder, optimizer, model) as watched:
        for step in range(3):
            optimizer.zero_grad()
            loss = losses(model)[0] * (math.nan if step == 2 else 1.0)
            loss.backward()
            watched.terms(loss=loss)
            optimizer.step()
    with open_trajectory(tmp_path / "run.h5") as trajectory:
        assert b"diverged" in trajectory["status"].values.tobytes()
        assert trajectory["series/loss"].isnull().values.tolist() == [False, False, True]


def test_a_process_that_is_not_the_first_records_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    with attach(None, optimizer, model) as watched:
        watched.terms(loss=1.0)
        assert not optimizer._optimizer_step_pre_hooks
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    with pytest.raises(ValueError, match="came None: write"):
        attach(None, optimizer, model)


def test_streams_that_the_user_declared_stay(tmp_path):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    streams = [Stream("series", coords={"term": ["pde", "bc"]}, attrs={"own": 1})]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with (
            Recorder(tmp_path / "run.h5", streams=streams) as recorder,
            attach(recorder, optimizer, model) as watched,
        ):
            for _ in range(2):
                optimizer.zero_grad()
                pde, bc = losses(model)
                pde.backward()
                watched.terms(pde=pde, bc=bc)
                optimizer.step()
    assert read(tmp_path / "run.h5")["series"].attrs["own"] == 1


def test_a_step_within_a_step_has_a_row_of_its_own(tmp_path):
    model = network()
    outer, inner = (torch.optim.SGD(model.parameters(), lr=rate) for rate in (1e-2, 1e-3))

    def closure():
        outer.zero_grad()
        loss = losses(model)[0]
        loss.backward()
        watched.terms(loss=loss)
        inner.step()
        return loss

    with (
        Recorder(tmp_path / "run.h5") as recorder,
        attach(recorder, outer, model),
        attach(recorder, inner, model) as watched,
    ):
        for _ in range(2):
            outer.step(closure)
    found = read(tmp_path / "run.h5")["series"]
    assert found.step.values.tolist() == [0, 1, 2, 3] and found.learning_rate.values.tolist() == [1e-3, 1e-2] * 2
