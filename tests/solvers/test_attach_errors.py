"""Bad input is named at once; what goes wrong later is said once, and never stops or changes the training."""

import errno

import numpy as np
import pytest
import torch
from torch import nn

from dynamics import Recorder, open_trajectory
from solvers.attaching.attach import attach
from solvers.cadence import Every

X = torch.linspace(-1, 1, 20, dtype=torch.float64)[:, None]


def network():
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 1)).double()


@pytest.fixture
def recorder(tmp_path):
    recorder = Recorder(tmp_path / "run.h5")
    yield recorder
    recorder.close()


def loop(model, optimizer, watched=None, spoil=lambda step: None, steps=6, told=lambda step, loss: {"loss": loss}):
    for step in range(steps):
        spoil(step)
        optimizer.zero_grad()
        loss = (model(X) - X.cos()).square().mean()
        loss.backward()
        if watched is not None:
            watched.terms(**told(step, loss))
        optimizer.step()
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def plain(steps=6):
    model = network()
    return loop(model, torch.optim.Adam(model.parameters(), lr=1e-2), steps=steps)


def adam(model):
    return torch.optim.Adam(model.parameters(), lr=1e-2)


def no_space(*call, **named):
    raise OSError(errno.ENOSPC, "No space left on device")


def failing(model, points):
    failing.calls += 1
    if failing.calls > 4:
        raise ZeroDivisionError("of the residual")
    return model(points)


def shrinking(model, points):
    failing.calls += 1
    return model(points) if failing.calls < 5 else model(points)[:-1]


def attached(recorder, model, optimizer, case, **options):
    failing.calls = 0
    residuals = {"residual fails": failing, "residual shrinks": shrinking}.get(case)
    options |= {} if residuals is None else {"residuals": residuals, "points": X, "blocks": 2}
    return attach(recorder, optimizer, model, every=Every(1), **options)


def told(case):
    def of(step, loss):
        if case == "other terms" and step > 2:
            return {"loss": loss, "new": loss}
        if case == "a term that is none" and step > 2:
            return {"loss": torch.ones(3)}
        return {"loss": loss}

    return of


CASES = {
    "full disk": "nothing more is recorded from step 3 on .*No space left",
    "closed": "nothing more is recorded from step 3 on .*closed one",
    "residual fails": "/(residuals|homogeneity|gradients) is not recorded from step . on .*of the residual",
    "residual shrinks": "/(residuals|homogeneity|gradients) is not recorded from step . on .*one row for each",
    "other terms": "terms of the loss are not recorded from step 3 on .*came 'new'",
    "a term that is none": "terms of the loss are not recorded from step 3 on .*take the mean",
}


@pytest.mark.parametrize("case", CASES)
def test_what_goes_wrong_is_said_and_the_training_goes_on(recorder, monkeypatch, case):
    model = network()
    optimizer = adam(model)

    def spoil(step):
        if step == 3 and case == "full disk":
            monkeypatch.setattr(recorder, "record", no_space)
        if step == 3 and case == "closed":
            recorder.close()

    with pytest.warns(RuntimeWarning, match=CASES[case]) as said:
        with attached(recorder, model, optimizer, case) as watched:
            found = loop(model, optimizer, watched, spoil, told=told(case))
    assert torch.equal(found, plain())
    messages = [str(each.message) for each in said]
    assert len(messages) == len({message.split(" not recorded")[0] for message in messages})
    assert len(messages) == 1 or case.startswith("residual")
    assert all("the training goes on" in message for message in messages)
    assert all(each.filename == __file__ for each in said)
    assert not optimizer._optimizer_step_pre_hooks and not optimizer._optimizer_step_post_hooks
    monkeypatch.undo()
    recorder.close()
    with open_trajectory(recorder.path) as trajectory:
        rows = 3 if case in ("full disk", "closed") else 6
        assert trajectory["series"]["step"].values.tolist()[:rows] == list(range(rows))
        assert len(trajectory["series"]["step"]) == rows
        assert np.isfinite(trajectory["series/update_norm"].values).all()


@pytest.mark.parametrize("case", CASES)
def test_strict_raises(recorder, monkeypatch, case):
    model = network()
    optimizer = adam(model)

    def spoil(step):
        if step == 3 and case == "full disk":
            monkeypatch.setattr(recorder, "record", no_space)
        if step == 3 and case == "closed":
            recorder.close()

    with pytest.raises((OSError, ValueError, ZeroDivisionError)):
        with attached(recorder, model, optimizer, case, strict=True) as watched:
            loop(model, optimizer, watched, spoil, told=told(case))
    assert not optimizer._optimizer_step_pre_hooks
    monkeypatch.undo()


def test_nan_everywhere_is_data(recorder):
    model = network()
    optimizer = adam(model)

    def spoil(step):
        if step == 2:
            with torch.no_grad():
                model[0].weight.fill_(torch.nan)

    with attach(recorder, optimizer, model, lambda m, x: m(x) - x, points=X, every=Every(1), blocks=2) as watched:
        loop(model, optimizer, watched, spoil, steps=4)
    recorder.close()
    with open_trajectory(recorder.path) as trajectory:
        assert trajectory["series/loss"].isnull().values.tolist() == [False, False, True, True]
        assert trajectory["gradients/mean_norm_total"].isnull().values.tolist()[:4] == [False, False, True, True]


def test_parameters_that_join_later_cost_their_own_stream_only(recorder):
    model, other = network(), nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = adam(model)

    def spoil(step):
        if step == 3:
            optimizer.add_param_group({"params": [other]})

    with pytest.warns(RuntimeWarning, match="/parameters is not recorded from step 3"):
        with attach(recorder, optimizer, model, every=Every(1)) as watched:
            loop(model, optimizer, watched, spoil)
    recorder.close()
    with open_trajectory(recorder.path) as trajectory:
        assert len(trajectory["series"]["step"]) == 6 and len(trajectory["parameters"]["step"]) == 3


def test_a_step_that_never_comes_is_said(recorder):
    model = network()
    with pytest.warns(RuntimeWarning, match="no step was seen, nothing is recorded: attach the optimizer whose step"):
        with attach(recorder, adam(model), model):
            pass


def test_an_error_of_the_loop_is_not_covered_up(recorder):
    model = network()
    with pytest.raises(KeyError, match="own"):
        with attach(recorder, adam(model), model):
            raise KeyError("own")


def test_two_attachments_on_one_optimizer(recorder):
    model = network()
    optimizer = adam(model)
    with attach(recorder, optimizer, model) as watched:
        with pytest.raises(ValueError, match=r"came Adam that has one: detach\(\) that first, or make"):
            attach(recorder, optimizer, model)
        loop(model, optimizer, watched, steps=2)
        assert len(optimizer._optimizer_step_pre_hooks) == 1
    attach(recorder, optimizer, model).__exit__(KeyError, KeyError(), None)


def refused(recorder, match, *arguments, model=None, **options):
    model = model or network()
    optimizer = options.pop("optimizer", None) or adam(model)
    with pytest.raises(ValueError, match=match):
        attach(recorder, optimizer, model, *arguments, **options)
    assert not optimizer._optimizer_step_pre_hooks
    assert not any(module._forward_hooks for module in model.modules())


def test_bad_input_is_named_at_once(recorder):
    def identity(model, points):
        return model(points)

    refused(recorder, "owns none of those of Sequential: attach the optimizer that trains", optimizer=adam(network()))
    refused(recorder, "pass points=, a tensor", identity)
    refused(
        recorder,
        r"came torch.Size|came cpu and torch.float32: pass points.to\('cpu', torch.float64\)",
        identity,
        points=X.float(),
    )
    refused(recorder, "came meta and", identity, points=X.to("meta"))
    refused(recorder, r"came shape \(20,\): stack the axes", identity, points=X[:, 0])
    refused(recorder, "came list: stack the axes", identity, points=X.tolist())
    refused(recorder, r"came shape \(19, 1\): compute them from the points", lambda m, x: m(x)[1:], points=X)
    refused(recorder, "came NoneType: compute them", lambda m, x: None, points=X)
    refused(recorder, "need no gradient: call the model that is passed", lambda m, x: m(x).detach(), points=X)
    refused(recorder, "at least 2 points for gradients of blocks", identity, points=X[:1])
    refused(recorder, "at least 2 blocks, came 1", identity, points=X, blocks=1)
    refused(recorder, "came one of 'gradient': name one of them", every={"gradient": Every(1)})
    refused(recorder, r"came 5: write Every\(10\)", every=5)
    refused(recorder, "came \\['7'\\]: choose among 0, 1, 2", activations=["7"])
    refused(recorder, "came \\[\\]: choose among", activations=lambda name: False, points=X)
    refused(None, "came None: write `with Recorder")
    refused("run.h5", "came 'run.h5': write `with Recorder")


def test_a_recorder_that_gave_up_by_itself_is_left_alone(tmp_path, monkeypatch, recwarn):
    model = network()
    optimizer = adam(model)
    with Recorder(tmp_path / "own.h5", strict=False, commit_every=0.0) as recorder:
        with attach(recorder, optimizer, model) as watched:
            found = loop(
                model, optimizer, watched, lambda step: monkeypatch.setattr(recorder._file, "commit", no_space)
            )
    assert torch.equal(found, plain())
    assert len(recwarn) == 1 and "No space left" in str(recwarn[0].message)


def test_a_closed_recorder_is_refused(recorder):
    recorder.record("series", 0, loss=1.0)
    recorder.close()
    refused(recorder, r"came a closed one: attach before close\(\)")


def test_terms_are_checked(recorder):
    model = network()
    with attach(recorder, adam(model), model, strict=True) as watched:
        with pytest.raises(ValueError, match="term 'pde', came shape \\(3,\\): take the mean"):
            watched.terms(pde=torch.ones(3))
        with pytest.raises(ValueError, match="term 'pde', came str"):
            watched.terms(pde="small")
        with pytest.raises(ValueError, match="came one of 'bc': name a loss for it too"):
            watched.terms(weights={"bc": 1.0}, pde=1.0)
        loop(model, watched._optimizer, watched, steps=1)


def test_an_array_without_axes_is_a_loss(recorder):
    model = network()
    optimizer = adam(model)
    with attach(recorder, optimizer, model, strict=True) as watched:
        loop(model, optimizer, watched, told=lambda step, loss: {"pde": loss.detach().numpy()})
        with pytest.raises(ValueError, match="term 'pde', came shape \\(1,\\): take the mean"):
            watched.terms(pde=np.ones(1))
    recorder.close()
    with open_trajectory(recorder.path) as trajectory:
        loss = trajectory["series/loss"].values
    assert loss[0] == (network()(X) - X.cos()).square().mean().item() and np.isfinite(loss[:6]).all()


@pytest.mark.parametrize("name", ["residuals", "terms", "errors"])
def test_what_shall_be_a_function_is_one(recorder, name):
    refused(recorder, f"expected {name} as a function, came Tensor: write {name}=lambda", points=X, **{name: X})


def test_parameters_beside_the_model_are_said_how_to_train(recorder):
    own = {name: value.detach().clone().requires_grad_() for name, value in network().named_parameters()}
    match = r"for torch.func, train the model's own, params = dict\(model.named_parameters\(\)\)"
    refused(recorder, match, optimizer=torch.optim.Adam(own.values()))


def test_a_cadence_that_fails_is_the_recordings_affair(recorder):
    class Failing:
        def due(self, step):
            if step > 2:
                raise ArithmeticError("of the cadence")
            return True

    model = network()
    optimizer = adam(model)
    with pytest.warns(RuntimeWarning, match="of the cadence"):
        with attach(recorder, optimizer, model, every=Failing()) as watched:
            found = loop(model, optimizer, watched)
    assert torch.equal(found, plain())


def test_steps_of_a_closure_without_a_loss_are_recorded(recorder):
    model = network()
    optimizer = adam(model)

    def closure():
        optimizer.zero_grad()
        model(X).square().mean().backward()

    with pytest.warns(RuntimeWarning, match="the loss is not known"), attach(recorder, optimizer, model):
        for _ in range(2):
            optimizer.step(closure)
    recorder.close()
    with open_trajectory(recorder.path) as trajectory:
        assert "loss" not in trajectory["series"] and (trajectory["series/gradient_norm"].values > 0).all()
