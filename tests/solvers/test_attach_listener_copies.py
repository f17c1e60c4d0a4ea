"""Copies and pickles of a model that is being listened to."""

import copy
import io

import pytest
import torch
from torch import nn

from dynamics import Recorder
from solvers.attaching.attach import attach
from solvers.attaching.listener import Listener
from solvers.cadence import Every


def test_a_model_that_is_listened_to_is_copied_and_pickled_as_it_is(tmp_path):
    model = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with (
        Recorder(tmp_path / "run.h5") as recorder,
        attach(recorder, optimizer, model, every={"compression": Every(1)}) as watched,
    ):
        for _ in range(2):
            twin, file = copy.deepcopy(model), io.BytesIO()
            torch.save(model, file)
            assert not any(module._forward_hooks for module in twin.modules())
            assert b"attaching" not in file.getvalue()
            twin(torch.ones(500, 1))
            loss = model(torch.ones(3, 1)).square().mean()
            loss.backward()
            watched.terms(loss=loss)
            optimizer.step()
            assert len(watched._listener._heard) == 0
    assert not nn.modules.module._global_forward_hooks


class Awkward(torch.Tensor):
    """As some packages' tensors of labelled columns: no copy of a slice."""

    def clone(self, **how):
        raise AttributeError("no labels")


class Fragile(nn.Tanh):
    def forward(self, x):
        return super().forward(x).as_subclass(Awkward)


def test_tensors_of_another_kind_are_heard():
    model = nn.Sequential(nn.Linear(1, 3), Fragile())
    listener = Listener(model, ["1"])
    listener.begin()
    model(torch.ones(4, 1))
    assert set(listener.measure()) == {"saturation", "row_entropy", "neuron_entropy", "extreme"}


def test_what_cannot_be_heard_is_said_and_the_pass_goes_on(monkeypatch):
    model = nn.Sequential(nn.Linear(1, 3), nn.Tanh())
    listener = Listener(model, None)
    monkeypatch.setitem(Listener._take.__globals__, "activation_range", lambda module: 1 // 0)
    listener.begin()
    assert model(torch.ones(4, 1)).shape == (4, 3)
    with pytest.raises(ValueError, match=r"by zero; pass points="):
        listener.measure()


def test_the_order_of_the_layers_is_the_models_whichever_ran_first():
    model = nn.ModuleDict({"maker": nn.Sequential(nn.Linear(1, 2), nn.Tanh()), "judge": nn.Sequential(nn.ReLU())})
    listener = Listener(model, None)
    for first, then in (("maker", "judge"), ("judge", "maker")):
        listener.begin()
        model[first](torch.ones(4, 1))
        model[then](torch.ones(4, 1))
        assert len(listener.measure()["saturation"]) == 2
        assert list(listener.declare().coords["layer"]) == ["maker.1", "judge.0"]
