"""Loops of every kind: what an attachment makes of what their owners do beside training."""

import copy
import io
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from dynamics import Recorder, open_trajectory
from solvers.attaching.attach import attach
from solvers.attaching.owned import flat
from solvers.cadence import Every

X = torch.linspace(-1, 1, 16, dtype=torch.float64)[:, None]


def network():
    torch.manual_seed(7)
    return nn.Sequential(nn.Linear(1, 5), nn.Tanh(), nn.Linear(5, 1)).double()


def residual(model, points):
    u = model(points)
    (slope,) = torch.autograd.grad(u.sum(), points, create_graph=True)
    return slope - u


def losses(model):
    return residual(model, X.clone().requires_grad_()).square().mean(), (model(X[:1]) - 1).square().mean()


def loop(model, optimizer, watched=None, steps=5, between=lambda step: None, step=None, told=True):
    for number in range(steps):
        between(number)
        model.zero_grad()
        pde, bc = losses(model)
        (pde + bc).backward()
        if watched is not None and told:
            watched.terms(pde=pde, bc=bc)
        (step or optimizer.step)()
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def sgd(model, rate=1e-2):
    return torch.optim.SGD(model.parameters(), lr=rate)


OTHERS = {
    "radam": torch.optim.RAdam,
    "rprop": torch.optim.Rprop,
    "nadam": torch.optim.NAdam,
    "adafactor": torch.optim.Adafactor,
    "fused": lambda p: torch.optim.Adam(p, fused=True),
    "differently": lambda p: torch.optim.Adam(p, lr=torch.tensor(1e-2)),
    "muon": lambda p: torch.optim.Muon([each for each in p if each.ndim == 2]),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_optimizers_train_as_without(tmp_path, name):
    model = network()
    plain = loop(model, OTHERS[name](model.parameters()))
    model = network()
    optimizer = OTHERS[name](model.parameters())
    options = {"points": X, "residuals": residual, "blocks": 3, "every": Every(1)}
    with Recorder(tmp_path / "run.h5") as recorder, attach(recorder, optimizer, model, **options) as watched:
        assert torch.equal(plain, loop(model, optimizer, watched))
    with open_trajectory(tmp_path / "run.h5") as found:
        assert np.isfinite(found["series/gradient_norm"]).all() and len(found["series/loss"]) == 5
        assert (found["series/update_norm"].values[1:] > 0).all() and len(found["gradients/gram"]) == 6


def test_what_the_loop_knows_changes_nothing_either(tmp_path):
    nu = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))

    def rude(*points):
        torch.rand(3)
        model.eval()
        nu.requires_grad_(False)
        return X[:, 0].abs() if not points else points[0].exp()

    def train(recorder=None):
        nu.grad = None
        with torch.no_grad():
            nu.fill_(0.5)
        adam = torch.optim.Adam([*model.parameters(), nu])
        options = {
            "points": X, "residuals": residual, "blocks": 3, "every": Every(1), "coefficients": {"nu": nu},
            "attention": rude, "solution": rude,
        }  # fmt: skip
        kept = []

        def noise(step):
            (nu * torch.rand(())).backward()
            kept.append(nu.grad.item())

        torch.manual_seed(3)
        if recorder is None:
            return loop(model, adam, between=noise), kept, nu.item()
        with attach(recorder, adam, model, **options) as watched:
            return loop(model, adam, watched, between=noise), kept, nu.item()

    model = network()
    plain = train()
    model = network()
    with Recorder(tmp_path / "run.h5") as recorder:
        found = train(recorder)
    assert torch.equal(found[0], plain[0]) and found[1:] == plain[1:] and nu.requires_grad and model.training


class NotSetUp(torch.optim.Optimizer):
    def __init__(self, parameters):
        self.param_groups, self.state, self.defaults = [{"params": list(parameters)}], {}, {}


class Duck:
    def __init__(self, parameters):
        self.param_groups = [{"params": list(parameters)}]


@pytest.mark.parametrize(
    ("optimizer", "model", "match"),
    [
        (Duck, network, "came Duck, which has no step hooks: attach the torch optimizer that it holds"),
        (NotSetUp, network, r"came NotSetUp without step hooks: call super\(\).__init__\(params, defaults\)"),
        (torch.optim.SGD, lambda: network().forward, "a torch.nn.Module, came method: pass the module; several as"),
        (torch.optim.SGD, lambda: nn.Sequential(nn.LazyLinear(2)), "lazy ones: call the model once before attach"),
    ],
)
def test_what_cannot_be_attached_to(tmp_path, optimizer, model, match):
    found = model()
    parameters = found.parameters() if isinstance(found, nn.Module) else network().parameters()
    with Recorder(tmp_path / "run.h5") as recorder, pytest.raises(ValueError, match=match):
        attach(recorder, optimizer(parameters), found)


def test_a_compiled_step_is_left_alone(tmp_path, monkeypatch):
    """What the hooks did while it is traced would become part of it."""
    model = network()
    plain = loop(model, sgd(model))
    model = network()
    optimizer = sgd(model)

    def step():
        with monkeypatch.context() as tracing:
            tracing.setattr(torch.compiler, "is_compiling", lambda: True)
            tracing.setattr(watched._writer, "begin", None)
            optimizer.step()

    with (
        Recorder(tmp_path / "run.h5") as recorder,
        pytest.warns(RuntimeWarning, match=r"leave that call out of torch\.compile"),
        attach(recorder, optimizer, model, strict=True) as watched,
    ):
        assert torch.equal(plain, loop(model, optimizer, watched, step=step))


def test_a_model_compiled_in_place_is_measured_as_it_was_written(tmp_path):
    shapes = []

    def backend(graph, examples):
        shapes.extend(tuple(each.shape) for each in examples if each.ndim == 2 and each.shape[1] == 1)
        return graph.forward

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()

        def forward(self, x):
            return 1 + self.inner(x)

    model = Own()
    model.compile(backend=backend, dynamic=False)
    optimizer = sgd(model)
    with (
        Recorder(tmp_path / "run.h5") as recorder,
        attach(recorder, optimizer, model, residual, points=X[:7], every=Every(1), blocks=2) as watched,
    ):
        for _ in range(2):
            optimizer.zero_grad()
            loss = model(X).square().mean()
            loss.backward()
            watched.terms(loss=loss)
            optimizer.step()
    assert model._compiled_call_impl is not None and (16, 1) in shapes and (7, 1) not in shapes
    with open_trajectory(tmp_path / "run.h5") as found:
        assert len(found["compression"]["step"]) == len(found["gradients"]["step"]) == 3


def test_bfloat16_is_recorded_as_float32(tmp_path):
    model = network().bfloat16()
    options = {"points": X.bfloat16(), "residuals": residual, "blocks": 2}
    optimizer = sgd(model)
    with Recorder(tmp_path / "run.h5") as recorder, attach(recorder, optimizer, model, **options) as watched:
        loss = model(X.bfloat16()).square().mean()
        loss.backward()
        watched.terms(loss=loss)
        before = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
        optimizer.step()
    with open_trajectory(tmp_path / "run.h5") as found:
        assert found["parameters/value"].values[0].tolist() == before.tolist()
        assert found["residuals/residual"].dtype == np.float32 and np.isfinite(found["gradients/gram"]).all()


@pytest.mark.parametrize("first", [1, 2])
def test_a_group_that_is_added_later_costs_its_rates_alone(tmp_path, first):
    model = network()
    spare = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    groups = [{"params": [model[0].weight]}, {"params": [spare], "lr": 0.5}][:first]
    optimizer = torch.optim.SGD(groups, lr=1e-2)

    def add(step):
        if step == 2:
            optimizer.add_param_group({"params": [model[2].weight], "lr": 1e-3})

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with Recorder(tmp_path / "run.h5", commit_every=0.0) as recorder:
            with attach(recorder, optimizer, model, every=Every(1)) as watched:
                loop(model, optimizer, watched, between=add)
    messages = [str(each.message) for each in said]
    assert len(messages) == 2 and "/parameters is not recorded from step 2" in messages[0]
    assert "group_learning_rate of /series is not recorded from step 2" in messages[1]
    assert "add groups before" in messages[1]
    with open_trajectory(tmp_path / "run.h5") as found:
        assert np.isfinite(found["series/loss_raw"]).all() and len(found["series/loss"]) == 5
        if first == 2:
            assert found["series/group_learning_rate"].values[:2].tolist() == [[1e-2, 0.5]] * 2
            assert np.isnan(found["series/group_learning_rate"].values[2:]).all()


def test_terms_that_come_late_cost_themselves_alone(tmp_path):
    model = network()
    optimizer = sgd(model)
    kept = []

    def tell(step):
        if step > 2:
            watched.terms(pde=torch.tensor(2.0), bc=3.0)
        kept.append(step > 2)

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with Recorder(tmp_path / "run.h5", commit_every=0.0) as recorder:
            with attach(recorder, optimizer, model) as watched:
                loop(model, optimizer, watched, between=tell, told=False)
    messages = [str(each.message) for each in said]
    assert len(messages) == 2 and "the loss is not known" in messages[0]
    assert "loss_raw, loss_weight of /series is not recorded from step 3" in messages[1]
    assert "tell all terms from the first step on" in messages[1]
    with open_trajectory(tmp_path / "run.h5") as found:
        assert np.isfinite(found["series/gradient_norm"]).all() and len(found["series/gradient_norm"]) == 5
        assert found["series/loss"].values[3:].tolist() == [5.0, 5.0] and np.isnan(found["series/loss"][:3]).all()
        assert "loss_raw" not in found["series"]


def test_what_was_told_is_what_the_loss_was_then(tmp_path):
    model = network()
    optimizer = sgd(model)
    kept = []
    with Recorder(tmp_path / "run.h5") as recorder, attach(recorder, optimizer, model) as watched:
        for _ in range(2):
            optimizer.zero_grad()
            pde, bc = losses(model)
            watched.terms({"pde loss": pde, "Größe, ∂u": bc, "weights": 0.25}, weights={"weights": torch.ones(1)})
            kept.append([pde.item(), bc.item(), 0.25])
            total = pde
            total += bc
            total.backward()
            optimizer.step()
    with open_trajectory(tmp_path / "run.h5") as found:
        assert found["series/loss_raw"].values.tolist() == kept
        assert found["series"]["term"].values.astype(str).tolist() == ["pde loss", "Größe, ∂u", "weights"]


@pytest.mark.parametrize("name", ["run.h5", "run.segments"])
@pytest.mark.parametrize("own", [False, True], ids=["attached", "own rows"])
def test_an_lbfgs_that_is_attached_behind_other_rows(tmp_path, name, own):
    """Behind another attachment all is recorded; behind rows of the user's own its evaluations are lost, alone."""
    model = network()
    adam, lbfgs = torch.optim.Adam(model.parameters()), torch.optim.LBFGS(model.parameters(), max_iter=4)
    kept = []

    def closure():
        model.zero_grad()
        loss = sum(losses(model))
        loss.backward()
        kept.append(loss.item())
        return loss

    firsts = []
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with Recorder(tmp_path / name, commit_every=0.0) as recorder:
            for step in range(3 if own else 0):
                recorder.record("mine", step, number=1.0)
            if not own:
                with attach(recorder, adam, model) as watched:
                    loop(model, adam, watched, steps=3)
            with attach(recorder, lbfgs, model):
                for _ in range(3):
                    firsts.append(len(kept))
                    lbfgs.step(closure)
    messages = [str(each.message) for each in said]
    with open_trajectory(tmp_path / name) as found:
        losses_seen = found["series/loss"].values[-3:]
        if not own or name.endswith("segments"):
            assert not messages and found["evaluations/loss"].values.tolist() == kept
        else:
            assert "/evaluations is not recorded" in messages[0] and "attach before rows are recorded" in messages[0]
            assert "evaluations" not in found and not any("/series" in message for message in messages)
    assert losses_seen.tolist() == [kept[first] for first in firsts]


def test_a_distributed_model_is_measured_without_its_peers(tmp_path, monkeypatch):
    """A measurement that communicated would wait for processes that do not measure, for ever."""
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        model = nn.parallel.DistributedDataParallel(network())
        optimizer = sgd(model)
        calls, forward = [], type(model).forward
        monkeypatch.setattr(type(model), "forward", lambda self, x: (calls.append(len(x)), forward(self, x))[1])
        options = {"points": X[:9], "residuals": residual, "blocks": 3, "every": Every(1)}
        with Recorder(tmp_path / "run.h5") as recorder, attach(recorder, optimizer, model, **options) as watched:
            for _ in range(3):
                optimizer.zero_grad()
                loss = model(X).square().mean()
                loss.backward()
                watched.terms(loss=loss)
                optimizer.step()
        assert calls == [16] * 3
    finally:
        torch.distributed.destroy_process_group()
    with open_trajectory(tmp_path / "run.h5") as found:
        assert len(found["series/loss"]) == 3 and len(found["gradients/gram"]) == 4
        assert "module." not in found["parameters"].attrs["names"]


def test_copies_and_pickles_know_nothing_of_it(tmp_path):
    model = network()
    optimizer = sgd(model)
    plain = copy.deepcopy((model, optimizer))
    with Recorder(tmp_path / "run.h5") as recorder, attach(recorder, optimizer, model, points=X) as watched:
        loop(model, optimizer, watched, steps=2)
        twin, own = copy.deepcopy((model, optimizer))
        loop(twin, own, steps=3)
        assert watched.step == 2 and not own._optimizer_step_pre_hooks and not own._optimizer_step_post_hooks
        file = io.BytesIO()
        torch.save((model, optimizer, optimizer.state_dict()), file)
        assert b"attaching" not in file.getvalue()
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        loop(model, optimizer, watched, steps=3)
    assert torch.equal(loop(*plain), loop(twin, own, steps=0)) and torch.equal(
        loop(*plain, steps=0), loop(model, optimizer, steps=0)
    )
    with open_trajectory(tmp_path / "run.h5") as found:
        assert len(found["series/loss"]) == 5


def test_terms_told_after_the_last_step_are_those_of_the_last_state(tmp_path):
    model = network()
    optimizer = sgd(model)
    with Recorder(tmp_path / "run.h5") as recorder, attach(recorder, optimizer, model) as watched:
        loop(model, optimizer, watched, steps=2)
        pde, bc = losses(model)
        watched.terms(weights={"bc": 2.0}, pde=pde, bc=bc)
    with open_trajectory(tmp_path / "run.h5") as found:
        assert found["series"]["step"].values.tolist() == [0, 1, 2]
        assert found["series/loss_raw"].values[2].tolist() == [pde.item(), bc.item()]
        assert found["series/loss"].values[2] == pytest.approx((pde + 2 * bc).item(), rel=1e-14)
        assert np.isfinite(found["series/loss"]).all()


def test_parameters_of_every_kind_as_one_vector():
    real, sparse = torch.tensor([1.0, 2.0]), torch.tensor([[0.0, 3.0]]).to_sparse()
    pair = torch.tensor([4.0 + 5.0j])
    assert flat([real, sparse]).tolist() == [1, 2, 0, 3]
    assert flat([real, pair]).tolist() == [1, 2, 4, 5] and flat([pair]).tolist() == [4, 5]
    alone = torch.ones(2, 2)
    assert flat([alone]).data_ptr() != alone.data_ptr()
    assert flat([alone.half(), real]).dtype == torch.float32
