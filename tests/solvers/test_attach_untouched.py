"""Training with an attachment is, to the last bit, training without; and afterwards there is no trace of it."""

import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from dynamics import Recorder
from solvers.attaching.attach import attach
from solvers.cadence import Every

X = torch.linspace(-1, 1, 30, dtype=torch.float64)[:, None]

OPTIMIZERS = {
    "adam": lambda p: torch.optim.Adam(p, lr=1e-2),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.1),
    "sgd": lambda p: torch.optim.SGD(p, lr=1e-2, momentum=0.9, nesterov=True),
    "lbfgs": lambda p: torch.optim.LBFGS(p, max_iter=7, line_search_fn="strong_wolfe"),
    "lbfgs plain": lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=4),
}


class Own(nn.Module):
    """A network with dropout, batch statistics, and noise of three global generators."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Dropout(0.2), nn.BatchNorm1d(8), nn.Linear(8, 1))
        self.double()

    def forward(self, x):
        return self.inner(x) + 1e-3 * (random.random() + np.random.rand())  # noqa: NPY002


def residual(model, points):
    u = model(points)
    (slope,) = torch.autograd.grad(u.sum(), points, create_graph=True)
    return slope - u


def rude(model):
    """Terms of code that does everything it should not."""
    model.eval()
    value = (model(X) * torch.rand(()) + random.random() + np.random.rand()).square().mean()  # noqa: NPY002
    value.backward(retain_graph=True)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return {"rude": value, "zero": value.detach() * 0}


def train(name, recorder=None, loops=5, **options):
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    model = Own()
    optimizer = OPTIMIZERS[name](model.parameters())

    def closure():
        optimizer.zero_grad(set_to_none=False)
        u = model(X)
        loss = (u - X.sin()).square().mean() + 0.01 * torch.rand((), dtype=torch.float64) * u.square().mean()
        loss.backward()
        return loss

    def loop():
        for _ in range(loops):
            if name.startswith("lbfgs"):
                optimizer.step(closure)
            else:
                closure()
                optimizer.step()

    watched = None
    if recorder is None:
        loop()
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with attach(recorder, optimizer, model, **options(model) if callable(options) else options) as watched:
                loop()
    return model, optimizer, watched


def state(model, optimizer):
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    kept |= {f"{name}.grad": p.grad.clone() for name, p in model.named_parameters()}
    kept["torch"] = torch.get_rng_state()
    flags = [(p.requires_grad, p.is_leaf) for p in model.parameters()], [m.training for m in model.modules()]
    words = random.getstate(), np.random.get_state()[1].tolist(), np.random.get_state()[2]  # noqa: NPY002
    return kept, (flags, words, str(optimizer.state_dict()["param_groups"]))


def same(one, other):
    assert one[1] == other[1]
    assert one[0].keys() == other[0].keys()
    for name, value in one[0].items():
        assert torch.equal(value, other[0][name]), name


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("what", ["nothing", "points", "terms"])
def test_no_number_changes(tmp_path, name, what, monkeypatch):
    plain = state(*train(name)[:2])
    options = {"every": Every(1)}
    if what == "points":
        options |= {"points": X, "residuals": residual, "blocks": 3}
    if what == "terms":
        options["terms"] = lambda: rude(model_of[0])
    model_of = []
    made = Own.__init__
    monkeypatch.setattr(Own, "__init__", lambda self: (made(self), model_of.append(self))[0])
    with Recorder(tmp_path / "run.h5") as recorder:
        model, optimizer, watched = train(name, recorder, **options)
    assert watched.step > 4
    same(plain, state(model, optimizer))
    if what == "points":
        streams = recorder.committed
        assert {"series", "gradients", "residuals", "homogeneity", "compression", "parameters"} <= set(streams)
        assert streams["gradients"] == 6


def hooks(model, optimizer):
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    found = [getattr(module, name) for module in model.modules() for name in names]
    found += [getattr(optimizer, name) for name in vars(optimizer) if name.endswith("_hooks")]
    found += [p._backward_hooks or () for p in model.parameters()]
    found += [p._post_accumulate_grad_hooks or () for p in model.parameters()]
    return sum(len(each) for each in found)


@pytest.mark.parametrize("options", [{}, {"points": X, "residuals": residual, "blocks": 3}])
def test_no_trace_is_left(tmp_path, options):
    model = Own()
    optimizer = torch.optim.Adam(model.parameters())
    before = [set(vars(thing)) for thing in (optimizer, *model.modules())]
    step = optimizer.step
    with Recorder(tmp_path / "run.h5") as recorder:
        watched = attach(recorder, optimizer, model, **options)
        assert hooks(model, optimizer) >= 2
        for _ in range(3):
            optimizer.zero_grad()
            loss = model(X).square().mean()
            loss.backward()
            watched.terms(loss=loss)
            optimizer.step()
        parameters = [p.detach().clone() for p in model.parameters()]
        watched.detach()
        watched.detach()
        assert hooks(model, optimizer) == 0
        assert before == [set(vars(thing)) for thing in (optimizer, *model.modules())]
        assert optimizer.step == step
        assert all(map(torch.equal, parameters, model.parameters()))
        rows = dict(recorder.sync())
        optimizer.step()
        watched.terms(loss=1.0)
        assert recorder.sync() == rows
    assert type(watched).__name__ == "Attachment"


def test_no_graph_and_no_parameter_outlives_the_attachment(tmp_path):
    import gc
    import weakref

    model = Own()
    optimizer = torch.optim.Adam(model.parameters())
    with Recorder(tmp_path / "run.h5") as recorder, attach(recorder, optimizer, model) as watched:
        loss = model(X).square().mean()
        loss.backward()
        watched.terms(loss=loss)
        node = weakref.ref(loss)
        del loss
        gc.collect()
        assert node() is None
        optimizer.step()
    gone = weakref.ref(model), weakref.ref(optimizer)
    del model, optimizer, watched
    gc.collect()
    assert [each() for each in gone] == [None, None]


def test_the_other_hooks_of_the_user_run_in_their_order(tmp_path):
    model, order = Own(), []
    optimizer = torch.optim.Adam(model.parameters())
    optimizer.register_step_pre_hook(lambda *call: order.append("before"))
    with Recorder(tmp_path / "run.h5") as recorder, attach(recorder, optimizer, model) as watched:
        optimizer.register_step_post_hook(lambda *call: order.append("after"))
        loss = model(X).square().mean()
        loss.backward()
        watched.terms(loss=loss)
        optimizer.step()
    assert order == ["before", "after"]
    assert len(optimizer._optimizer_step_pre_hooks) == len(optimizer._optimizer_step_post_hooks) == 1
