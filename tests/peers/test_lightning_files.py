"""Files of Lightning trainings: begun, gone on with, interrupted; and what goes wrong."""

import os

import numpy as np
import pytest
import torch

from dynamics import open_trajectory

lightning = pytest.importorskip("lightning.pytorch")
from solvers.callbacks.lightning import TrajectoryCallback  # noqa: E402
from tests.peers.test_lightning import Duel, Sines, X, batches, bits, fit, pytestmark, read, trainer  # noqa: E402

__all__ = ["pytestmark"]


def status(path):
    with open_trajectory(path) as trajectory:
        return trajectory.attrs["status"], trajectory.attrs.get("stop_reason", "")


def checkpointed(folder, epochs, at, path="run.h5"):
    """Train and leave a checkpoint of a step on the way."""

    class Saving(lightning.Callback):
        def on_train_batch_end(self, trained, *more):
            if trained.global_step == at:
                trained.save_checkpoint(folder / "at.ckpt")

    fit(Sines(), TrajectoryCallback(folder / path, strict=True), Saving(), epochs=epochs)


@pytest.mark.parametrize(("first", "at"), [(3, 3), (5, 3)])
def test_a_training_goes_on_from_a_checkpoint_in_its_file(tmp_path, first, at):
    whole = fit(Sines(), TrajectoryCallback(tmp_path / "whole.h5"))
    checkpointed(tmp_path, first, at)
    run_id = read(tmp_path / "run.h5")["attrs"]["run_id"]
    module = Sines()
    trainer(TrajectoryCallback(tmp_path / "run.h5", strict=True)).fit(module, batches(), ckpt_path=tmp_path / "at.ckpt")
    assert torch.equal(bits(whole), bits(module))
    expected, found = read(tmp_path / "whole.h5"), read(tmp_path / "run.h5")
    assert found["attrs"]["run_id"] == run_id and status(tmp_path / "run.h5") == ("complete", "")
    for name in ("loss", "loss_raw", "gradient_norm", "evaluations", "step"):
        np.testing.assert_array_equal(found["series"][name], expected["series"][name])
    np.testing.assert_array_equal(found["parameters"].value[-1], expected["parameters"].value[-1])


def test_a_training_goes_on_in_a_new_file_where_the_old_one_is_elsewhere(tmp_path):
    checkpointed(tmp_path, 3, 3)
    for path in (tmp_path / "second.h5", tmp_path / "run.h5"):
        trainer(TrajectoryCallback(path, strict=True)).fit(Sines(), batches(), ckpt_path=tmp_path / "at.ckpt")
        if path.name == "second.h5":
            found = read(path)
            assert found["series"].step.values.tolist() == [3, 4, 5]
            assert found["series"].evaluations.values.tolist() == [4, 5, 6]
            assert read(tmp_path / "run.h5")["attrs"]["run_id"] in found["attrs"]["config"]
    os.replace(tmp_path / "second.h5", tmp_path / "run.h5")
    with pytest.raises(FileExistsError):
        trainer(TrajectoryCallback(tmp_path / "run.h5")).fit(Sines(), batches(), ckpt_path=tmp_path / "at.ckpt")


def test_a_callback_goes_on_from_a_checkpoint_with_another_module(tmp_path):
    own = TrajectoryCallback(tmp_path / "run.h5", strict=True)
    first, module = trainer(own, epochs=3), Sines()
    first.fit(module, batches())
    first.save_checkpoint(tmp_path / "at.ckpt")
    trainer(own).fit(Sines(), batches(), ckpt_path=tmp_path / "at.ckpt")
    assert read(tmp_path / "run.h5")["series"].step.values.tolist() == list(range(6))


def test_a_checkpoint_without_our_entry_begins_a_file(tmp_path):
    plain = trainer(epochs=3)
    plain.fit(Sines(), batches())
    plain.save_checkpoint(tmp_path / "at.ckpt")
    trainer(TrajectoryCallback(tmp_path / "run.h5", strict=True)).fit(
        Sines(), batches(), ckpt_path=tmp_path / "at.ckpt"
    )
    assert read(tmp_path / "run.h5")["series"].step.values.tolist() == [0, 1, 2]


def test_a_search_for_the_rate_is_not_recorded(tmp_path):
    class Searched(Sines):
        def __init__(self):
            super().__init__()
            self.lr = 1e-3

        def configure_optimizers(self):
            return torch.optim.Adam(self.net.parameters(), self.lr)

    found = []
    for own in ([], [TrajectoryCallback(tmp_path / "run.h5", strict=True)]):
        searching = lightning.callbacks.LearningRateFinder(num_training_steps=8)
        module = Searched()
        trainer(*own, searching, default_root_dir=tmp_path).fit(module, batches(4))
        found.append((module.lr, bits(module)))
    assert found[0][0] == found[1][0] and torch.equal(found[0][1], found[1][1])
    series = read(tmp_path / "run.h5")["series"]
    assert series.step.values.tolist() == list(range(36)) and (series.learning_rate.values == found[0][0]).all()


def test_segments_go_on_too(tmp_path):
    checkpointed(tmp_path, 4, 3, "run.segments")
    own = TrajectoryCallback(tmp_path / "run.segments", strict=True)
    trainer(own).fit(Sines(), batches(), ckpt_path=tmp_path / "at.ckpt")
    assert read(tmp_path / "run.segments")["series"].step.values.tolist() == list(range(6))


def test_a_second_fit_goes_on_and_another_module_does_not(tmp_path):
    callback, module = TrajectoryCallback(tmp_path / "run.h5", strict=True), Sines()
    fit(module, callback, epochs=2)
    fit(module, callback, epochs=3)
    assert read(tmp_path / "run.h5")["series"].step.values.tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(FileExistsError):
        fit(Sines(), callback)


def test_a_fit_that_nobody_could_end_is_ended_by_the_next(tmp_path):
    class Hiding(lightning.Callback):
        def on_exception(self, trained, module, error):
            raise RuntimeError("hidden")

    module = Sines(fail=ValueError("a user's mistake"))
    callback = TrajectoryCallback(tmp_path / "run.h5", strict=True)
    with pytest.raises(RuntimeError, match="hidden"):
        fit(module, Hiding(), callback)
    module.fail = None
    fit(module, callback, epochs=2)
    assert read(tmp_path / "run.h5")["series"].step.values.tolist() == [0, 1, 2, 3, 4]


def test_an_existing_file_is_refused_before_the_first_step(tmp_path):
    (tmp_path / "run.h5").write_text("mine")
    module = Sines()
    before = bits(module).clone()
    with pytest.raises(FileExistsError):
        fit(module, TrajectoryCallback(tmp_path / "run.h5"))
    assert torch.equal(bits(module), before) and (tmp_path / "run.h5").read_text() == "mine"
    fit(module, TrajectoryCallback(tmp_path / "run.h5", overwrite=True))
    assert read(tmp_path / "run.h5")["series"].step.size == 6


def test_a_development_run_records_nothing(tmp_path):
    fit(Sines(), TrajectoryCallback(tmp_path / "run.h5"), fast_dev_run=True)
    assert os.listdir(tmp_path) == []


def test_a_process_that_is_not_the_first_records_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(lightning.Trainer, "is_global_zero", False)
    fit(Sines(), TrajectoryCallback(tmp_path / "run.h5"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("error", "left", "told"),
    [(ValueError("a user's mistake"), ValueError, "failed"), (KeyboardInterrupt(), SystemExit, "interrupted")],
)
def test_an_exception_leaves_a_file_that_says_so(tmp_path, error, left, told):
    module = Sines(fail=error)
    with pytest.raises(left):
        fit(module, TrajectoryCallback(tmp_path / "run.h5", strict=True))
    assert status(tmp_path / "run.h5")[0] == told and type(error).__name__ in status(tmp_path / "run.h5")[1]
    # What an exception leaves is no state after a step.
    found = read(tmp_path / "run.h5")
    assert found["series"].step.values.tolist() == [0, 1, 2] and found["parameters"].step.values.tolist() == [0]
    assert not module.trainer.optimizers[0]._optimizer_step_pre_hooks
    module.fail = None
    plain = fit(Sines(), epochs=3)
    assert torch.equal(bits(plain), bits(module))


def test_an_early_stop_is_said(tmp_path):
    class Stopping(lightning.Callback):
        def on_train_epoch_end(self, trained, module):
            trained.should_stop = trained.current_epoch == 1

    fit(Sines(), TrajectoryCallback(tmp_path / "run.h5"), Stopping())
    assert status(tmp_path / "run.h5") == ("complete", "trainer.should_stop was set")


class Breaking(lightning.Callback):
    """Does something at the third step."""

    def __init__(self, act):
        self.act = act

    def on_train_batch_end(self, trained, *more):
        if trained.global_step == 3:
            self.act()


def test_a_closed_file_does_not_stop_the_training(tmp_path):
    plain = fit(Sines())
    callback = TrajectoryCallback(tmp_path / "run.h5")
    with pytest.warns(RuntimeWarning, match="the training goes on, strict=True raises") as said:
        module = fit(Sines(), callback, Breaking(lambda: callback._recording.file.recorder.close()))
    assert torch.equal(bits(plain), bits(module))
    assert [each.category for each in said].count(RuntimeWarning) == 1
    assert read(tmp_path / "run.h5")["series"].step.values.tolist() == [0, 1, 2]
    strict = TrajectoryCallback(tmp_path / "strict.h5", strict=True)
    with pytest.raises(ValueError, match="record before close"):
        fit(Sines(), strict, Breaking(lambda: strict._recording.file.recorder.close()))


def test_a_full_disk_does_not_stop_the_training(tmp_path, monkeypatch):
    plain = fit(Sines())
    callback = TrajectoryCallback(tmp_path / "run.h5")

    def fill():
        def full(*arguments):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(callback._recording.file.recorder._file, "commit", full)
        monkeypatch.setattr(callback._recording.file.recorder._file, "sync", full)

    with pytest.warns(RuntimeWarning, match=r"No space left on device.*the training goes on") as said:
        module = fit(Sines(), callback, Breaking(fill))
    assert torch.equal(bits(plain), bits(module))
    assert [each.category for each in said].count(RuntimeWarning) == 1


def test_wrong_arguments_say_what_to_do(tmp_path):
    with pytest.raises(ValueError, match=r'write TrajectoryCallback\("run.h5"\)'):
        TrajectoryCallback(None)
    with pytest.raises(ValueError, match="leave it out for 0"):
        TrajectoryCallback(tmp_path / "run.h5", optimizer=-1)
    module = Sines()
    with pytest.raises(ValueError, match="came 1: they are counted from 0"):
        fit(module, TrajectoryCallback(tmp_path / "run.h5", optimizer=1))
    assert not os.path.exists(tmp_path / "run.h5")
    with pytest.raises(ValueError, match="expected residuals with a graph"):
        fit(module, TrajectoryCallback(tmp_path / "run.h5", residuals=lambda m, x: m(x).detach(), points=X))
    fit(module, TrajectoryCallback(tmp_path / "run.h5"))
    with pytest.raises(ValueError, match=r"write terms=\['pde_loss'\]"):
        TrajectoryCallback(tmp_path / "other.h5", terms="pde_loss")
    with pytest.raises(ValueError, match="leave condition= out, and pass residuals= and points="):
        fit(module, TrajectoryCallback(tmp_path / "other.h5", condition="inside"))
    with pytest.raises(ValueError, match=r"Duel, whose manual optimisation .* leave terms= out"):
        fit(Duel(), TrajectoryCallback(tmp_path / "other.h5", terms=["later_loss"]))
    with pytest.raises(ValueError, match=r"self.log\('edge_loss', ..., on_step=True\) in training_step"):
        fit(module, TrajectoryCallback(tmp_path / "term.h5", terms=["edge_loss"], strict=True))


def test_a_term_that_is_not_logged_is_said_once(tmp_path):
    with pytest.warns(RuntimeWarning, match=r"terms of the loss are not recorded .* came 'edge_loss'") as said:
        fit(Sines(), TrajectoryCallback(tmp_path / "run.h5", terms=["edge_loss", "pde_loss"]))
    assert [each.category for each in said].count(RuntimeWarning) == 1
    found = read(tmp_path / "run.h5")["series"]
    assert np.isfinite(found.loss.values).all() and "loss_raw" not in found


def test_a_second_callback_of_one_optimizer_is_refused(tmp_path):
    with pytest.raises(RuntimeError, match="more than one stateful callback of type `TrajectoryCallback`"):
        trainer(*(TrajectoryCallback(tmp_path / f"{number}.h5") for number in (0, 1)))


@pytest.mark.filterwarnings("ignore:.*configure_optimizers.* returned `None`")
def test_a_module_without_an_optimizer_is_refused(tmp_path):
    class Still(Sines):
        def configure_optimizers(self):
            return None

    with pytest.raises(ValueError, match="return one from configure_optimizers, or leave this callback out"):
        fit(Still(), TrajectoryCallback(tmp_path / "run.h5"))
    assert os.listdir(tmp_path) == []


def test_the_trainer_of_the_other_package_does_too(tmp_path):
    other = pytest.importorskip("pytorch_lightning")

    class Sine(other.LightningModule):
        weight, fail = 1.0, None

        def __init__(self):
            super().__init__()
            self.net = Sines().net

        training_step = Sines.training_step

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters())

    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    found = []
    for own in ([], [TrajectoryCallback(tmp_path / "run.h5", strict=True)]):
        module, path = Sine(), tmp_path / f"{len(own)}.ckpt"
        first = other.Trainer(max_epochs=3, accelerator="cpu", enable_model_summary=False, callbacks=own, **quiet)
        first.fit(module, batches())
        first.save_checkpoint(path)
        second = other.Trainer(max_epochs=5, accelerator="cpu", enable_model_summary=False, callbacks=own, **quiet)
        second.fit(module, batches(), ckpt_path=path)
        found.append(bits(module))
    assert torch.equal(*found)
    series = read(tmp_path / "run.h5")["series"]
    assert series.step.values.tolist() == list(range(5))
    assert series.term.values.astype(str).tolist() == ["pde_loss", "bc_loss"]
