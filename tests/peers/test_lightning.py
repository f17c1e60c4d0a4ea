"""Any LightningModule's training as our callback records it, against loops by hand and trainings without it."""

import copy
import math
import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from dynamics import open_trajectory
from dynamics.validation import departures

lightning = pytest.importorskip("lightning.pytorch")
from solvers.callbacks.lightning import TrajectoryCallback  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
    pytest.mark.filterwarnings("ignore:The number of training batches:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*You defined a `validation_step` but have no:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*litlogger.*"),
]

X = torch.linspace(-1, 1, 24)[:, None]


def parts_of(net, x):
    return (net(x) - torch.sin(3 * x)).square().mean(), net(x[:1]).square().mean()


class Sines(lightning.LightningModule):
    """Two losses, of which the second counts `weight` times."""

    def __init__(self, optimizer=torch.optim.Adam, weight=1.0, fail=None, **options):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
        self.make, self.weight, self.fail, self.options = optimizer, weight, fail, options

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, number):
        if self.fail is not None and self.trainer.global_step == 3:
            raise self.fail
        pde, bc = parts_of(self.net, batch)
        loss = pde + self.weight * bc
        self.log_dict({"pde_loss": pde, "bc_loss": bc, "train_loss": loss, "size": loss / 2})
        return loss

    def validation_step(self, batch, number):
        self.log("val_loss", parts_of(self.net, batch)[0])

    def configure_optimizers(self):
        return self.make(self.net.parameters(), **{"lr": 1e-2, **self.options})


def trainer(*callbacks, epochs=6, **options):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        enable_model_summary=False,
        callbacks=list(callbacks),
        **{**quiet, "log_every_n_steps": 1, **options},
    )


def batches(rows=24):
    return torch.utils.data.DataLoader(X, batch_size=rows)


def fit(module, *callbacks, rows=24, **options):
    trainer(*callbacks, **options).fit(module, batches(rows))
    return module


def bits(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def read(path):
    with open_trajectory(path) as trajectory:
        names = [name for name in trajectory.children if name not in ("late", "points")]
        return {name: trajectory[name].to_dataset().load() for name in names} | {"attrs": dict(trajectory.attrs)}


def norm_of(tensors):
    return math.sqrt(sum(float(t.detach().double().square().sum()) for t in tensors))


LBFGS = {"optimizer": torch.optim.LBFGS, "lr": 1.0, "max_iter": 8, "line_search_fn": "strong_wolfe"}


@pytest.mark.parametrize(
    ("made", "options"),
    [
        ({}, {}),
        (LBFGS, {}),
        ({}, {"precision": "bf16-mixed"}),
        ({}, {"precision": "64-true"}),
        ({}, {"rows": 4, "accumulate_grad_batches": 3, "gradient_clip_val": 0.1}),
    ],
)
def test_no_number_of_the_training_changes(tmp_path, made, options):
    plain = fit(Sines(**made), **options)
    watched = fit(Sines(**made), TrajectoryCallback(tmp_path / "run.h5", strict=True), **options)
    assert torch.equal(bits(plain), bits(watched))
    assert departures(str(tmp_path / "run.h5")) == []


def test_a_row_is_what_the_same_loop_by_hand_computes(tmp_path):
    fit(Sines(), TrajectoryCallback(tmp_path / "run.h5", strict=True))
    module, rows = Sines(), []
    optimizer = module.configure_optimizers()
    for _ in range(6):
        optimizer.zero_grad()
        pde, bc = parts_of(module.net, X)
        (pde + bc).backward()
        before = [p.detach().clone() for p in module.parameters()]
        row = [(pde + bc).item(), pde.item(), bc.item(), norm_of([p.grad for p in module.parameters()])]
        optimizer.step()
        rows.append([*row, norm_of([p - b for p, b in zip(module.parameters(), before, strict=True)])])
    found = read(tmp_path / "run.h5")
    series = found["series"]
    assert series.term.values.astype(str).tolist() == ["pde_loss", "bc_loss"]
    columns = [series.loss, *series.loss_raw.values.T, series.gradient_norm, series.update_norm]
    np.testing.assert_allclose(np.array(columns).T, rows, rtol=1e-6)
    assert (series.loss_weight.values == 1).all() and (series.learning_rate.values == 1e-2).all()
    assert series.step.values.tolist() == list(range(6))
    assert found["parameters"].attrs["names"].count("net.0.weight") == 1
    assert found["compression"].layer.values.astype(str).tolist() == ["net.1"]


def test_every_evaluation_of_lbfgs_is_recorded(tmp_path):
    module = Sines(**LBFGS)
    counted = []
    seen = lightning.callbacks.LambdaCallback(
        on_train_end=lambda t, m: counted.append(t.optimizers[0].state[next(m.parameters())]["func_evals"])
    )
    fit(module, TrajectoryCallback(tmp_path / "run.h5", strict=True), seen)
    found = read(tmp_path / "run.h5")
    assert len(found["evaluations"].loss) == counted[0] > 6
    # The last row is the state that the last step ended at, whose loss the line search knows.
    assert found["series"].step.values.tolist() == list(range(7))
    assert float(found["series"].loss[-1]) == pytest.approx(sum(parts_of(module.net, X)).item(), rel=1e-5)
    raw = found["series"].loss_raw.values[:6]
    np.testing.assert_allclose(raw.sum(axis=1), found["series"].loss.values[:6], rtol=1e-6)


def test_the_parts_of_an_accumulated_gradient_are_one_step(tmp_path):
    module = Sines(weight=10.0)
    fit(module, TrajectoryCallback(tmp_path / "run.h5", strict=True), rows=4, accumulate_grad_batches=3, epochs=1)
    found = read(tmp_path / "run.h5")["series"]
    by_hand = [parts_of(Sines().net, part) for part in X[:12].split(4)]
    pde, bc = (sum(each).item() / 3 for each in zip(*by_hand, strict=True))
    assert found.step.values.tolist() == [0, 1]
    np.testing.assert_allclose(found.loss_raw[0], [pde, bc], rtol=1e-6)
    assert float(found.loss[0]) == pytest.approx(pde + 10 * bc, rel=1e-6)


def test_a_clipped_gradient_is_the_one_that_the_optimizer_gets(tmp_path):
    fit(Sines(), TrajectoryCallback(tmp_path / "run.h5"), gradient_clip_val=1e-3)
    assert read(tmp_path / "run.h5")["series"].gradient_norm.values == pytest.approx(1e-3, rel=1e-4)


def test_weights_that_are_not_logged_are_not_made_up_and_terms_can_be_chosen(tmp_path):
    fit(Sines(weight=10.0), TrajectoryCallback(tmp_path / "run.h5"))
    found = read(tmp_path / "run.h5")["series"]
    assert np.isnan(found.loss_weight.values).all()
    np.testing.assert_allclose(found.loss_raw.values @ [1, 10], found.loss, rtol=1e-5)
    fit(Sines(), TrajectoryCallback(tmp_path / "chosen.h5", terms=["size"]))
    assert read(tmp_path / "chosen.h5")["series"].term.values.astype(str).tolist() == ["size"]
    weights = {"bc_loss": 10.0, "pde_loss": 1.0}
    fit(Sines(weight=10.0), TrajectoryCallback(tmp_path / "told.h5", terms=weights, strict=True))
    told = read(tmp_path / "told.h5")["series"]
    assert (told.loss_weight.values == [10, 1]).all() and told.term.values.astype(str).tolist() == list(weights)
    np.testing.assert_allclose((told.loss_raw * told.loss_weight).sum("term"), told.loss, rtol=1e-6)


def test_a_term_that_a_step_does_not_log_is_not_known_there(tmp_path):
    class Sparse(Sines):
        def training_step(self, batch, number):
            pde, bc = parts_of(self.net, batch)
            self.log("pde_loss", pde)
            if self.current_epoch % 2 == 0:
                self.log("bc_loss", bc)
            return pde + bc

    fit(Sparse(), TrajectoryCallback(tmp_path / "run.h5", strict=True))
    raw = read(tmp_path / "run.h5")["series"].loss_raw.values
    assert np.isfinite(raw).tolist() == [[True, True], [True, False]] * 3


def test_residuals_and_solution_of_the_users_own(tmp_path):
    def residuals(model, x):
        (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        return slope - 3 * torch.cos(3 * x)

    start = residuals(Sines(), X.clone().requires_grad_(True)).detach()[:, 0]
    callback = TrajectoryCallback(
        tmp_path / "run.h5", residuals=residuals, points=X.double(), solution=lambda x: torch.sin(3 * x), strict=True
    )
    fit(Sines(), callback)
    found = read(tmp_path / "run.h5")
    np.testing.assert_allclose(found["residuals"].residual.values[0], start, rtol=1e-5)
    error = ((Sines()(X) - torch.sin(3 * X)).norm() / torch.sin(3 * X).norm()).item()
    assert float(found["series"].rel_l2[0]) == pytest.approx(error, rel=1e-5)
    assert found["gradients"].attrs["blocks"] == 24


def test_rates_of_a_scheduler(tmp_path):
    class Scheduled(Sines):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.1)]

    fit(Scheduled(), TrajectoryCallback(tmp_path / "run.h5"))
    found = read(tmp_path / "run.h5")
    assert found["series"].learning_rate.values == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4])
    assert '"scheduler": "StepLR"' in found["attrs"]["config"]


class Duel(lightning.LightningModule):
    """Two networks that are stepped in turn by hand."""

    def __init__(self, wrapped=True):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.wrapped = nn.Linear(1, 1), nn.Linear(1, 2), wrapped
        self.automatic_optimization = False

    def training_step(self, batch, number):
        for optimizer, net, sign in zip(self.optimizers(), (self.first, self.second), (1, -1), strict=True):
            optimizer.zero_grad()
            self.manual_backward(sign * net(batch).square().mean())
            (optimizer if self.wrapped else optimizer.optimizer).step()
        self.log("later_loss", 1.0)

    def configure_optimizers(self):
        return torch.optim.Adam(self.first.parameters(), 1e-2), torch.optim.SGD(self.second.parameters(), 1e-3)


@pytest.mark.parametrize("wrapped", [True, False])
def test_each_of_two_optimizers_has_a_file(tmp_path, wrapped):
    plain = fit(Duel(wrapped))
    own = [TrajectoryCallback(tmp_path / f"{n}.h5", optimizer=n, strict=True) for n in (0, 1)]
    assert torch.equal(bits(plain), bits(fit(Duel(wrapped), *own)))
    first, second = (read(tmp_path / f"{n}.h5") for n in (0, 1))
    for found, net, rate, sign in ((first, "first", 1e-2, 1), (second, "second", 1e-3, -1)):
        series, linear = found["series"], getattr(Duel(), net)
        loss = sign * linear(X).square().mean()
        gradients, loss = torch.autograd.grad(loss, list(linear.parameters())), loss.detach()
        assert series.step.values.tolist() == list(range(6)) and (series.learning_rate.values == rate).all()
        assert float(series.loss[0]) == pytest.approx(loss.item(), rel=1e-6)
        assert float(series.gradient_norm[0]) == pytest.approx(norm_of(gradients), rel=1e-6)
        assert found["parameters"].sizes["parameter"] == sum(p.numel() for p in linear.parameters())


def test_adam_and_lbfgs_of_the_same_parameters_are_one_training(tmp_path):
    class Both(Sines):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 1e-2), torch.optim.LBFGS(self.parameters(), max_iter=4)

        def training_step(self, batch, number):
            adam, lbfgs = self.optimizers()

            def closure():
                adam.zero_grad()
                loss = parts_of(self.net, batch)[0]
                self.manual_backward(loss)
                return loss

            if self.current_epoch < 3:
                closure()
                adam.step()
            else:
                lbfgs.step(closure=closure)

    plain = fit(Both())
    assert torch.equal(bits(plain), bits(fit(Both(), TrajectoryCallback(tmp_path / "run.h5", strict=True))))
    found = read(tmp_path / "run.h5")
    assert found["series"].step.values.tolist() == list(range(6))
    assert np.isfinite(found["series"].loss.values).all() and set(found["evaluations"].step.values) == {3, 4, 5}
    assert (np.diff(found["series"].loss.values) < 0).all()


def test_a_compiled_module_is_recorded_without_listening(tmp_path):
    class Silent(Sines):
        def training_step(self, batch, number):
            return sum(parts_of(self.net, batch))

    compiled = torch.compile(Silent(), backend="eager")
    trainer(TrajectoryCallback(tmp_path / "run.h5", strict=True)).fit(compiled, batches())
    found = read(tmp_path / "run.h5")
    assert found["series"].step.size == 6 and "compression" not in found
    torch._dynamo.reset()


def test_logs_validation_and_checkpoints_stay_as_they_are(tmp_path):
    texts, kept = [], []
    for recorded in (False, True):
        folder = tmp_path / str(recorded)
        own = [TrajectoryCallback(folder / "run.h5", strict=True)] if recorded else []
        logger = lightning.loggers.CSVLogger(folder, name="", version="")
        watched = trainer(*own, logger=logger)
        watched.fit(Sines(), batches(), batches())
        metrics = watched.validate(watched.lightning_module, batches(), verbose=False)
        texts.append([*(folder / "metrics.csv").read_text().splitlines()[:12], str(metrics)])
        watched.save_checkpoint(tmp_path / "last.ckpt")
        kept.append(torch.load(tmp_path / "last.ckpt", weights_only=True))
    assert texts[0] == texts[1] and len(texts[0]) > 6
    weights = [found["state_dict"] for found in kept]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert kept[0]["callbacks"] == {} and len(kept[1]["callbacks"]) == 1
    assert read(tmp_path / "True" / "run.h5")["series"].step.size == 6


def test_copies_and_pickles_in_the_middle_of_a_training(tmp_path):
    copies = []

    class Copying(lightning.Callback):
        def on_train_epoch_end(self, trained, module):
            copies.append(pickle.loads(pickle.dumps(copy.deepcopy(module))))
            copy.deepcopy(trained)

    callback = TrajectoryCallback(tmp_path / "run.h5", strict=True)
    module = fit(Sines(), callback, Copying(), epochs=2)
    assert torch.equal(bits(copies[-1]), bits(module)) and not torch.equal(bits(copies[0]), bits(module))
    again = pickle.loads(pickle.dumps(callback))
    assert again.state_dict() == callback.state_dict() != {} and copy.deepcopy(callback).state_key == callback.state_key
    assert all(not each._forward_hooks for each in module.modules())


def test_the_layers_hear_without_a_pass_of_ours(tmp_path):
    calls = []
    module = Sines()
    module.net.register_forward_hook(lambda *call: calls.append(1))
    fit(module, TrajectoryCallback(tmp_path / "run.h5", strict=True))
    # Two in each step: the losses of the user.
    assert len(calls) == 12
    assert all(a > b for a, b in pairwise(read(tmp_path / "run.h5")["series"].loss.values))
