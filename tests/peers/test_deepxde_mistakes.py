"""The DeepXDE callback where something is wrong: said clearly, or said once while the training goes on."""

import importlib
import os
import sys
import warnings

import numpy as np
import pytest
import torch

dde = pytest.importorskip("deepxde")

from dynamics import open_trajectory  # noqa: E402
from solvers.callbacks.deepxde import TrajectoryCallback  # noqa: E402


@pytest.fixture
def model():
    return made()


def made(seed=0):
    dde.config.set_random_seed(seed)
    line = dde.geometry.Interval(0, 1)
    ends = dde.icbc.DirichletBC(line, lambda x: 0, lambda x, on: on)
    data = dde.data.PDE(line, lambda x, u: dde.grad.hessian(u, x) - 1, ends, num_domain=12, num_boundary=2)
    found = dde.Model(data, dde.nn.FNN([1, 6, 1], "tanh", "Glorot uniform"))
    found.compile("adam", lr=1e-3, verbose=0)
    return found


def train(model, *callbacks, iterations=3, **options):
    return model.train(iterations=iterations, callbacks=list(callbacks), verbose=0, **options)


def status(path):
    """How the run ended, and the steps whose update is known: the state after the last one may have a row, too."""
    with open_trajectory(path) as trajectory:
        made = np.isfinite(trajectory["series/update_norm"].values)
        steps = trajectory["series/step"].values
        assert made[:-1].all() and len(set(np.diff(steps))) <= 1
        return trajectory.attrs["status"], trajectory.attrs["stop_reason"], steps[made].tolist()


def hooked(model):
    left = {"losses_train", "_train_sgd", "_train_pytorch_lbfgs"}
    return bool(left & {*vars(model), *vars(model.data)} or model.opt._optimizer_step_pre_hooks)


class Failing(dde.callbacks.Callback):
    """Ends the training in a step, or beside it."""

    def __init__(self, error, step, where="on_epoch_end"):
        super().__init__()
        self.error, self.step = error, step
        setattr(self, where, self.fail)

    def fail(self):
        if self.model.train_state.step == self.step:
            raise self.error


def test_another_backend(monkeypatch):
    monkeypatch.setattr(dde.backend, "backend_name", "jax")
    with pytest.raises(ValueError, match="came jax: set DDE_BACKEND=pytorch"):
        TrajectoryCallback("run.h5")


def test_without_deepxde_the_module_says_which_package_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "deepxde", None)
    for name in [name for name in sys.modules if name.startswith("solvers.callbacks.deepxde")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ModuleNotFoundError) as raised:
        importlib.import_module("solvers.callbacks.deepxde")
    assert raised.value.name == "deepxde"


def test_an_existing_file(tmp_path, model):
    path = tmp_path / "run.h5"
    path.write_text("somebody's")
    with pytest.raises(FileExistsError, match="overwrite"):
        train(model, TrajectoryCallback(path))
    assert path.read_text() == "somebody's" and not hooked(model)
    train(model, TrajectoryCallback(path, overwrite=True))
    assert status(path) == ("complete", "", [0, 1, 2])


def test_two_models(tmp_path, model):
    callback = TrajectoryCallback(tmp_path / "run.h5")
    train(model, callback)
    with pytest.raises(ValueError, match="make a TrajectoryCallback with a file of its own"):
        train(made(), callback)


def test_two_callbacks(tmp_path, model):
    pair = [TrajectoryCallback(tmp_path / "a.h5"), TrajectoryCallback(tmp_path / "b.h5")]
    with pytest.raises(ValueError, match="came 2: leave one"):
        train(model, *pair)
    assert not hooked(model) and not os.listdir(tmp_path)


@pytest.mark.parametrize("names", [["pde"], ["a", "a"], ["a", "b", "c"]])
def test_names_that_are_not_those_of_the_losses(tmp_path, model, names):
    with pytest.raises(ValueError, match="name them in DeepXDE's order, which is pde 1, bc 1 DirichletBC"):
        train(model, TrajectoryCallback(tmp_path / "run.h5", names=names))
    assert not hooked(model)


def test_names_of_variables_that_are_not_there(tmp_path, model):
    with pytest.raises(ValueError, match=r"expected 0 different names .* order of compile\(external"):
        train(model, TrajectoryCallback(tmp_path / "run.h5", coefficients=["nu"]))


def test_own_residuals_that_fail_are_the_users_mistake(tmp_path, model):
    with pytest.raises(ValueError, match="residuals that need no gradient"):
        train(model, TrajectoryCallback(tmp_path / "run.h5", residuals=lambda net, x: x.detach()))
    assert not hooked(model) and not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("where", "error", "told"),
    [
        ("on_epoch_end", KeyboardInterrupt(), ("interrupted", "KeyboardInterrupt")),
        ("on_batch_end", RuntimeError("no"), ("failed", "RuntimeError: no")),
    ],
)
def test_a_training_that_an_exception_ends(tmp_path, model, error, told, where):
    path = tmp_path / "run.h5"
    callback = TrajectoryCallback(path, strict=True)
    with pytest.raises(type(error)):
        train(model, callback, Failing(error, 3, where), iterations=9)
    assert status(path) == (*told, [0, 1, 2]) and not hooked(model)
    # The next one goes on with the file.
    train(model, callback, iterations=2)
    assert status(path) == ("complete", "", [0, 1, 2, 3, 4])


def test_an_exception_in_the_first_step_leaves_no_file(tmp_path, model):
    callback = TrajectoryCallback(tmp_path / "run.h5", strict=True)
    with pytest.raises(RuntimeError, match="no"):
        train(model, callback, Failing(RuntimeError("no"), 0, "on_batch_begin"))
    assert not os.listdir(tmp_path) and not hooked(model)
    train(model, callback)
    assert status(tmp_path / "run.h5")[0] == "complete"


def test_an_exception_in_the_first_step_of_a_later_training_keeps_the_file(tmp_path, model):
    callback = TrajectoryCallback(tmp_path / "run.h5", strict=True)
    train(model, callback)
    with pytest.raises(RuntimeError, match="no"):
        train(model, callback, Failing(RuntimeError("no"), 3, "on_batch_begin"))
    assert status(tmp_path / "run.h5") == ("failed", "RuntimeError: no", [0, 1, 2])
    train(model, callback)
    assert status(tmp_path / "run.h5") == ("complete", "", [0, 1, 2, 3, 4, 5])


def test_another_callback_that_fails_at_the_end(tmp_path, model):
    class Plot(dde.callbacks.Callback):
        def on_train_end(self):
            assert status(tmp_path / "run.h5") == ("complete", "", [0, 1, 2])
            raise RuntimeError("no display")

    callback = TrajectoryCallback(tmp_path / "run.h5", strict=True)
    with pytest.raises(RuntimeError, match="no display"):
        train(model, Plot(), callback)
    assert not hooked(model)
    model.compile("adam", lr=1e-3, verbose=0)
    train(model, callback)
    assert status(tmp_path / "run.h5") == ("complete", "", [0, 1, 2, 3, 4, 5])


@pytest.mark.parametrize("where", ["on_train_begin", "on_epoch_end"])
def test_a_model_that_is_compiled_within_its_training(tmp_path, model, where):
    class Again(dde.callbacks.Callback):
        def compile(self):
            if self.model.train_state.step in (0, 2):
                self.model.compile("adam", lr=1e-4, loss_weights=[1, 7], verbose=0)

    again = Again()
    setattr(again, where, again.compile)
    train(model, TrajectoryCallback(tmp_path / "run.h5", strict=True), again, iterations=4)
    assert status(tmp_path / "run.h5") == ("complete", "", [0, 1, 2, 3]) and not hooked(model)
    with open_trajectory(tmp_path / "run.h5") as trajectory:
        weights = trajectory["series/loss_weight"].values[:, 1].tolist()
    assert weights == ([7] * 5 if where == "on_train_begin" else [1, 1, 7, 7, 7])


def compiled(model, variables, optimizer="adam"):
    model.compile(optimizer, lr=1e-3, external_trainable_variables=variables, verbose=0)
    return model


def test_variables_that_the_optimizer_does_not_move(tmp_path, model):
    adam = torch.optim.Adam(model.net.parameters())
    with pytest.warns(RuntimeWarning, match="does not move nu, .* needs the variables among its own parameters"):
        train(compiled(model, dde.Variable(1.0), adam), TrajectoryCallback(tmp_path / "run.h5", coefficients=["nu"]))
    with open_trajectory(tmp_path / "run.h5") as trajectory:
        assert "coefficients" not in trajectory.children and "residuals" in trajectory.children


@pytest.mark.parametrize("first", [True, False])
def test_variables_that_are_forgotten_or_come_late(tmp_path, model, first):
    variable, callback = dde.Variable(1.0), TrajectoryCallback(tmp_path / "run.h5")
    train(compiled(model, variable if first else None), callback)
    begun, come = ("variable 1", "none") if first else ("none", "variable 1")
    with (
        pytest.warns(RuntimeWarning, match=f"began with, {begun}, came {come}, .*external_trainable_variables to each"),
        pytest.warns(RuntimeWarning, match="/parameters is not recorded from step 3"),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "attach: group_learning_rate of /series")
        train(compiled(model, None if first else variable), callback)
    assert status(tmp_path / "run.h5") == ("complete", "", [0, 1, 2, 3, 4, 5])


def test_an_optimizer_of_another_network_later(tmp_path, model):
    callback = TrajectoryCallback(tmp_path / "run.h5")
    train(model, callback)
    other = torch.nn.Linear(1, 1)
    model.compile(torch.optim.SGD([*other.parameters()], lr=0.1), verbose=0)
    with pytest.warns(RuntimeWarning, match="cannot be gone on with.*owns none"):
        train(model, callback)
    assert status(tmp_path / "run.h5")[2] == [0, 1, 2]


def test_a_training_that_stops_early(tmp_path, model):
    stop = dde.callbacks.EarlyStopping(min_delta=1e9, patience=2)
    train(model, stop, TrajectoryCallback(tmp_path / "run.h5", strict=True), iterations=50)
    assert status(tmp_path / "run.h5")[2][-1] == model.train_state.step - 1 < 49


def test_losses_that_another_callback_computes_are_none_of_ours(tmp_path, model):
    class Elsewhere(dde.callbacks.Callback):
        def on_epoch_end(self):
            self.model._outputs_losses(True, self.model.train_state.X_train / 2, None, None)
            self.model.stop_training = self.model.train_state.step == 3

    train(model, Elsewhere(), TrajectoryCallback(tmp_path / "run.h5", strict=True), iterations=9)
    with open_trajectory(tmp_path / "run.h5") as trajectory:
        # DeepXDE has shown nothing of the last state.
        assert trajectory["series/step"].values.tolist() == [0, 1, 2]
        assert np.unique(trajectory["series/loss"].values).size == 3


def test_a_loss_that_is_not_finite(tmp_path, model):
    class Spoil(dde.callbacks.Callback):
        def on_epoch_end(self):
            if self.model.train_state.step == 3:
                next(self.model.net.parameters()).data.fill_(float("nan"))

    train(model, Spoil(), TrajectoryCallback(tmp_path / "run.h5"), iterations=6)
    with open_trajectory(tmp_path / "run.h5") as trajectory:
        assert trajectory.attrs["status"] == "diverged"
        assert np.isnan(trajectory["series/loss"].values[3:]).all() and model.train_state.step == 6


def test_a_training_without_steps(tmp_path, model):
    callback = TrajectoryCallback(tmp_path / "run.h5", strict=True)
    for expected in (None, 3):
        with pytest.warns(RuntimeWarning, match="made no step, nothing is recorded"):
            train(model, callback, iterations=0)
        if expected is not None:
            assert status(tmp_path / "run.h5") == ("complete", "", [0, 1, 2])
        else:
            assert not os.listdir(tmp_path)
            train(model, callback)


def test_an_optimizer_that_deepxde_does_not_run(tmp_path, model):
    model.compile("L-BFGS-B", verbose=0)
    with pytest.warns(RuntimeWarning, match="DeepXDE's name of L-BFGS is 'L-BFGS'"):
        train(model, TrajectoryCallback(tmp_path / "run.h5", strict=True))
    assert not os.listdir(tmp_path) and not hooked(model)


def losses_of(model):
    return np.array(model.losshistory.loss_train), [p.detach().numpy() for p in model.net.parameters()]


def same(one, other):
    for a, b in zip(losses_of(one), losses_of(other), strict=True):
        np.testing.assert_equal(a, b)


def test_a_file_that_is_gone_stops_no_later_training(tmp_path, model):
    path, plain = tmp_path / "run.h5", made()
    for _ in range(2):
        train(plain)
    callback = TrajectoryCallback(path)
    torch.manual_seed(0)
    train(model, callback)
    path.unlink()
    with pytest.warns(RuntimeWarning, match="cannot be gone on with, nothing more is recorded"):
        train(model, callback)
    same(model, plain)
    # Said once.
    train(model, callback)
    strict = TrajectoryCallback(path, strict=True)
    train(model, strict)
    path.unlink()
    with pytest.raises(Exception, match="check the path"):
        train(model, strict)


class Closes(dde.callbacks.Callback):
    """Closes the recorder of another callback, as a full disk would."""

    def __init__(self, callback):
        super().__init__()
        self.callback = callback

    def on_epoch_end(self):
        if self.model.train_state.step == 2:
            self.callback._file.recorder.close("failed", "closed")


def test_a_closed_file_stops_no_training(tmp_path, model):
    plain = made()
    train(plain, iterations=6)
    callback = TrajectoryCallback(tmp_path / "run.h5")
    with pytest.warns(RuntimeWarning, match="the training goes on"):
        train(model, callback, Closes(callback), iterations=6)
    same(model, plain)
    assert status(tmp_path / "run.h5") == ("failed", "closed", [0, 1])
    with pytest.raises(ValueError, match="closed one"):
        strict = TrajectoryCallback(tmp_path / "strict.h5", strict=True)
        train(made(), strict, Closes(strict), iterations=6)


def test_a_full_disk_stops_no_training(tmp_path, model, monkeypatch):
    plain = made()
    train(plain, iterations=6)
    callback = TrajectoryCallback(tmp_path / "run.h5")

    class Full(dde.callbacks.Callback):
        def on_epoch_end(self):
            def full(*given):
                raise OSError(28, "No space left on device")

            monkeypatch.setattr(callback._file.recorder._file, "commit", full)

    with pytest.warns(RuntimeWarning, match="No space left on device"):
        train(model, callback, Full(), iterations=6)
    same(model, plain)


def test_terms_that_change_cost_only_themselves(tmp_path, model):
    usual = model.data.losses

    def more(*given, **named):
        found = usual(*given, **named)
        return found + found[:1] if model.train_state.step > 2 else found

    model.data.losses = more
    with pytest.warns(RuntimeWarning, match="the terms of the loss are not recorded from step 3"):
        train(model, TrajectoryCallback(tmp_path / "run.h5"), iterations=6)
    with open_trajectory(tmp_path / "run.h5") as trajectory:
        assert np.isfinite(trajectory["series/loss"].values[:6]).all()
        assert np.isfinite(trajectory["series/loss_raw"].values[:3]).all()


def test_a_restored_model_counts_as_deepxde_does(tmp_path, model):
    callback = TrajectoryCallback(tmp_path / "run.h5", strict=True)
    train(model, callback)
    saved = model.save(str(tmp_path / "model"))
    # In the same process DeepXDE's steps go on, and so does the file.
    train(model, callback, model_restore_path=saved)
    assert status(tmp_path / "run.h5")[2] == list(range(6)) and model.train_state.step == 6
    again = made(seed=5)
    again.restore(saved)
    train(again, TrajectoryCallback(tmp_path / "again.h5", strict=True))
    assert status(tmp_path / "again.h5")[2] == [0, 1, 2] and again.train_state.step == 3


def test_a_model_that_was_trained_before_starts_at_its_step(tmp_path, model):
    train(model, iterations=4)
    train(model, TrajectoryCallback(tmp_path / "run.h5", strict=True))
    assert status(tmp_path / "run.h5")[2] == [4, 5, 6]


def test_nothing_is_said_of_a_training_that_is_well(tmp_path, model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(model, TrajectoryCallback(tmp_path / "run.h5"))
