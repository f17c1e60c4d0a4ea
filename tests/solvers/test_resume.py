"""Resumed trainings: every stream to the last bit that of a run that never stopped, or a refusal that says why not."""

import dataclasses
import errno
import os
import random
import shutil
import signal
from functools import partial
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from dynamics import Recorder, open_trajectory, validate
from dynamics.file.claim import RecorderError
from dynamics.file.lock import LockedError
from solvers import (
    LBFGS,
    MLP,
    RBFFD,
    SSBFGS,
    AutoDiff,
    Every,
    FiniteDifference,
    GaussNewton,
    LevenbergMarquardt,
    Probe,
    ResidualBasedAttention,
    Schedule,
    SSBroyden,
    TangentProp,
    Torch,
    checkpoint_file,
    identity,
    probes,
    steps,
    train,
)
from solvers.checkpoint import Checkpoint, path_at, paths_beside
from solvers.checkpoint_file import CheckpointError
from solvers.optimizers import StepInfo, Steps
from solvers.problems import disk_poisson, poisson_1d
from solvers.spectra_probe import jacobian_spectrum
from solvers.step_boundary import step_boundary
from tests.solvers.test_coefficients import decay

COUNT = 10
ADAM = Torch(torch.optim.Adam, lr=1e-2)
OPTIMIZERS = {
    "adam": ADAM,
    "adam-step-lr": Torch(torch.optim.Adam, lr=1e-2, scheduler=partial(lr_scheduler.StepLR, step_size=3)),
    "adamw": Torch(torch.optim.AdamW, lr=1e-2),
    "sgd": Torch(torch.optim.SGD, lr=1e-3, momentum=0.9),
    "torch-lbfgs": Torch(torch.optim.LBFGS, lr=0.5, max_iter=3),
    "torch-lbfgs-wolfe": Torch(torch.optim.LBFGS, max_iter=3, line_search_fn="strong_wolfe"),
    "lbfgs": LBFGS(history=4),
    "ssbroyden": SSBroyden(),
    "ssbfgs": SSBFGS(),
    "levenberg-marquardt": LevenbergMarquardt(),
    "gauss-newton": GaussNewton(rcond=1e-6),
    "schedule": Schedule((ADAM, Steps(4)), (LBFGS(), Steps(3)), LevenbergMarquardt()),
}
OFTEN = (probes.parameters(Every(1)), probes.errors(Every(4)))


def setting(problem=None, network=None, operator=None, optimizer=ADAM, points=None, **options):
    torch.manual_seed(3)
    problem = problem or poisson_1d()
    network = network() if network else MLP(len(problem.axes), [5, 4])
    points = points(problem) if points else problem.sample(interior=20, seed=0)
    options = {"probes": OFTEN, "points": points} | options
    return (problem, network, operator or TangentProp(), optimizer), options


def run(path, count=COUNT, **given):
    more = {
        name: given.pop(name) for name in ("resume", "checkpoint", "anyway", "strict", "overwrite") if name in given
    }
    arguments, options = setting(**given)
    return train(*arguments, **options, steps=count, record=path, progress=False, **more)


def streams(path):
    found = {}
    with h5py.File(path) as file:
        for group in file.values():
            for name, dataset in group.items() if isinstance(group, h5py.Group) else ():
                if name not in ("time", "seconds"):
                    values = dataset[()]
                    values = np.array(values.tolist(), "S") if values.dtype == object else np.asarray(values)
                    found[dataset.name] = (values.dtype, values.shape, values.tobytes())
    return found


def equal(one, other):
    first, second = streams(one), streams(other)
    different = [name for name in first.keys() | second.keys() if first.get(name) != second.get(name)]
    assert not different, different
    return first


def resumed_equals_uninterrupted(tmp_path, at=(5,), **given):
    """Whole, and in parts that end at some steps: a later step of the whole run goes on from the last of each."""
    whole = tmp_path / "whole.h5"
    finished = run(whole, **given)
    assert not os.path.exists(path_at(str(whole), finished.step))
    for step in at:
        path = tmp_path / f"part-{step}.h5"
        run(path, step, checkpoint=1e9, **given)
        torch.manual_seed(step)
        again = run(path, resume=True, **given)
        assert (again.step, again.status, again.reason) == (finished.step, finished.status, finished.reason)
        equal(whole, path)
    return streams(whole)


# To the last bit.


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_on_as_if_it_had_not_stopped(tmp_path, name):
    found = resumed_equals_uninterrupted(tmp_path, (4, 8) if name == "schedule" else (6,), optimizer=OPTIMIZERS[name])
    assert ("/evaluations/loss" in found) == (OPTIMIZERS[name].many_evaluations and name != "gauss-newton")
    assert found["/parameters/value"][1][0] == COUNT + 1


@pytest.mark.parametrize(
    ("attention", "dtype"), [(ResidualBasedAttention(0.9, 0.1), torch.float64), (None, torch.float32)], ids=str
)
@pytest.mark.parametrize(
    ("operator", "optimizer"),
    [(AutoDiff(), "lbfgs"), (FiniteDifference(), "adam")],
    ids=repr,
)
def test_operators_precisions_and_attention(tmp_path, operator, optimizer, attention, dtype):
    given = {"operator": operator, "optimizer": OPTIMIZERS[optimizer], "attention": attention, "dtype": dtype}
    resumed_equals_uninterrupted(tmp_path, **given)


def test_stencils_are_built_again_on_the_same_nodes(tmp_path):
    def nodes(problem):
        return problem.sample(interior=120, method="nodes")

    given = {
        "problem": disk_poisson(),
        "points": nodes,
        "operator": RBFFD(order=3),
        "optimizer": OPTIMIZERS["schedule"],
    }
    resumed_equals_uninterrupted(tmp_path, **given)


@pytest.mark.parametrize(
    ("how", "optimizer"),
    [
        ("trained", "adam"),
        ("trained", "lbfgs"),
        ("bounded", "schedule"),
        ("eliminated", "lbfgs"),
        ("eliminated", "adam"),
    ],
)
def test_unknown_coefficients(tmp_path, how, optimizer):
    # The upper bound is soon reached; the optimum of an eliminated one shall be off its bounds.
    problem = decay(how, -50.0, 50.0) if how == "eliminated" else decay(how, high=1.21)
    given = {"problem": problem, "probes": OFTEN[:1], "points": lambda p: p.sample(interior=20, seed=0)}
    # The optimum of an eliminated one depends on the weights.
    given["attention"] = ResidualBasedAttention(0.9, 0.1) if optimizer == "adam" else None
    resumed_equals_uninterrupted(tmp_path, (6,), optimizer=OPTIMIZERS[optimizer], **given)


class Dropout(torch.nn.Module):
    """Draws random numbers, counts in a buffer, and has a parameter that is not trained."""

    def __init__(self):
        super().__init__()
        self.first, self.last, self.drop = torch.nn.Linear(1, 8), torch.nn.Linear(8, 1), torch.nn.Dropout(0.2)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64), persistent=False)
        self.scale = torch.nn.Parameter(torch.rand(8) + 0.5, requires_grad=False)

    def forward(self, x):
        if self.training:
            self.calls += 1
        size = 1 + 0.01 * (self.calls % 5)
        return self.last(self.drop(torch.tanh(self.first(x))) * self.scale * size)


@pytest.mark.parametrize("optimizer", ["adam", "torch-lbfgs", "lbfgs"])
def test_a_network_that_draws_random_numbers_and_counts(tmp_path, optimizer):
    given = {
        "network": Dropout,
        "operator": AutoDiff(),
        "probes": (probes.parameters(Every(1)),),
        "optimizer": OPTIMIZERS[optimizer],
    }
    resumed_equals_uninterrupted(tmp_path, (6,), **given)


class Drawing(Torch):
    """Adam, and a push that comes from the generators of numpy and Python."""

    def step(self, objective, state):
        state, info = super().step(objective, state)
        state.vector.add_(1e-3 * (np.random.rand() + random.gauss(0, 1)))  # noqa: NPY002
        return state, info


def test_generators_of_numpy_and_python_go_on(tmp_path):
    def seeded(path, *given, **options):
        np.random.seed(1)  # noqa: NPY002
        random.seed(1)
        return run(path, *given, optimizer=Drawing(torch.optim.Adam, lr=1e-2), **options)

    seeded(tmp_path / "whole.h5")
    seeded(tmp_path / "part.h5", 5, checkpoint=1e9)
    seeded(tmp_path / "part.h5", resume=True)
    equal(tmp_path / "whole.h5", tmp_path / "part.h5")


def test_every_probe_measures_the_same_after_a_resume(tmp_path):
    def chosen(objective):
        often = [jacobian_spectrum(6, Every(7)), probes.activations(4, Every(7)), probes.lr_cut(2, every=Every(7))]
        return [*probes.standard_probes(objective, 4, ADAM, Every(5)), *often]

    found = resumed_equals_uninterrupted(tmp_path, (3,), probes=chosen, operator=FiniteDifference())
    assert {"/spectra_all/singular_value", "/lr_cut/rate", "/reference/residual"} <= found.keys()


TORCH = ("ASGD", "Adadelta", "Adafactor", "Adagrad", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop")
SCHEDULERS = {
    "multi-step": partial(lr_scheduler.MultiStepLR, milestones=[2, 5, 5, 9]),
    "one-cycle": partial(lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=30),
    "restarts": partial(lr_scheduler.CosineAnnealingWarmRestarts, T_0=4),
    "lambda": partial(lr_scheduler.LambdaLR, lr_lambda=lambda count: 1 / (1 + count)),
    "cyclic": partial(lr_scheduler.CyclicLR, base_lr=1e-3, max_lr=0.1, step_size_up=3, cycle_momentum=False),
    "linear": partial(lr_scheduler.LinearLR, total_iters=5),
    "sequential": lambda adam: lr_scheduler.SequentialLR(
        adam, [lr_scheduler.ConstantLR(adam), lr_scheduler.ExponentialLR(adam, 0.9)], [5]
    ),
    "chained": lambda adam: lr_scheduler.ChainedScheduler([lr_scheduler.ExponentialLR(adam, 0.9)], adam),
}


@pytest.mark.parametrize(
    "optimizer",
    [
        *(Torch(getattr(torch.optim, name), lr=1e-2) for name in TORCH),
        *(Torch(torch.optim.Adam, lr=1e-2, amsgrad=True, scheduler=make) for make in SCHEDULERS.values()),
    ],
    ids=[*TORCH, *SCHEDULERS],
)
def test_torchs_optimizers_and_schedulers_are_restored_to_the_last_bit(tmp_path, optimizer):
    dtype = torch.float64

    def bowl(vector):
        scale = torch.arange(1, 6, dtype=dtype)
        return SimpleNamespace(value=(scale * vector**2).sum(), gradient=2 * scale * vector)

    state = optimizer.init(torch.linspace(-1, 2, 5, dtype=dtype))
    for _ in range(4):
        state, _ = optimizer.step(bowl, state)
    path = str(tmp_path / "state.npz")
    Checkpoint(4, "a", {}, None, {}, {}, state.to_arrays()).write(path)
    other = optimizer.from_arrays(Checkpoint.read(path).state, torch.zeros(5, dtype=dtype))
    for _ in range(8):
        state, info = optimizer.step(bowl, state)
        other, same = optimizer.step(bowl, other)
        assert torch.equal(state.vector, other.vector) and info == same


def test_a_torch_state_is_a_copy():
    state = ADAM.init(torch.ones(3))
    arrays = [state.to_arrays()]
    for _ in range(2):
        state, _ = ADAM.step(lambda vector: SimpleNamespace(value=vector.sum(), gradient=torch.ones(3)), state)
        arrays.append(state.to_arrays())
    moments = [taken["optimizer"]["state"][0]["exp_avg"].tolist() for taken in arrays[1:]]
    assert moments[0] != moments[1] and [taken["vector"][0] == 1 for taken in arrays] == [True, False, False]


def test_a_torch_state_of_another_training_is_refused():
    arrays = ADAM.init(torch.ones(3)).to_arrays()
    with pytest.raises(ValueError, match="expected a state of 4 parameters, came one of 3: restore with the network"):
        ADAM.from_arrays(arrays, torch.ones(4))
    with pytest.raises(ValueError, match=r"expected a state for scheduler=.*StepLR.*, came none: restore"):
        OPTIMIZERS["adam-step-lr"].from_arrays(arrays, torch.ones(3))
    state = Torch(torch.optim.Adam, scheduler=lambda adam: SimpleNamespace(step=print)).init(torch.ones(3))
    with pytest.raises(ValueError, match="expected a scheduler with state_dict"):
        state.to_arrays()


def test_taking_checkpoints_changes_nothing(tmp_path):
    for name, checkpoint in (("without", None), ("each-step", Every(1)), ("each-moment", 1e-9)):
        given = {
            "network": Dropout,
            "operator": AutoDiff(),
            "optimizer": OPTIMIZERS["schedule"],
            "probes": (probes.parameters(Every(1)),),
        }
        np.random.seed(2)  # noqa: NPY002
        last = run(tmp_path / f"{name}.h5", checkpoint=checkpoint, **given).step
    equal(tmp_path / "without.h5", tmp_path / "each-step.h5")
    equal(tmp_path / "without.h5", tmp_path / "each-moment.h5")
    assert [step for step, _ in paths_beside(str(tmp_path / "each-step.h5"))] == [last, last - 1]


def test_a_run_that_its_optimizer_ended_ends_there_again(tmp_path):
    loose = LBFGS(tolerance_gradient=0.3)
    found = run(tmp_path / "whole.h5", 200, optimizer=loose)
    assert "below tolerance_gradient" in found.reason and found.step < 200
    run(tmp_path / "part.h5", 100, optimizer=loose, checkpoint=1e9)
    assert run(tmp_path / "part.h5", 200, optimizer=loose, resume=True).reason == found.reason
    equal(tmp_path / "whole.h5", tmp_path / "part.h5")


def test_resumed_twice_and_a_damaged_checkpoint_passed_over(tmp_path):
    run(tmp_path / "whole.h5")
    path = tmp_path / "part.h5"
    run(path, 4, checkpoint=1e9)
    run(path, 9, resume=True, checkpoint=Every(3))
    kept = paths_beside(str(path))
    assert [step for step, _ in kept] == [9, 6]
    with open(kept[0][1], "r+b") as file:
        file.truncate(os.path.getsize(kept[0][1]) - 40)
    with pytest.warns(UserWarning, match=r"checkpoint-9.npz: .* going on from .*checkpoint-6.npz instead"):
        run(path, resume=True)
    equal(tmp_path / "whole.h5", path)


def test_a_run_in_segments(tmp_path):
    run(tmp_path / "whole.segments")
    run(tmp_path / "part.segments", 4, checkpoint=1e9)
    run(tmp_path / "part.segments", resume=True)
    with open_trajectory(tmp_path / "whole.segments") as whole, open_trajectory(tmp_path / "part.segments") as part:
        for name in ("series/loss", "series/rel_l2", "parameters/value"):
            assert whole[name].values.tobytes() == part[name].values.tobytes()


# The caller's own loop, and ways out of it.


def abandoned(path, stop, checkpoint, **given):
    """A run that is cut off after a step: rows are in the file, nothing more is written."""
    arguments, options = setting(**given)
    with Recorder(path, commit_every=0.0) as recorder:
        found = steps(*arguments, **options, steps=COUNT, record=recorder, checkpoint=checkpoint)
        while next(found).step < stop:
            pass
        recorder.close("interrupted")
        found.close()


def test_rows_after_the_checkpoint_are_superseded(tmp_path):
    run(tmp_path / "whole.h5")
    abandoned(tmp_path / "part.h5", 9, Every(6))
    assert streams(tmp_path / "part.h5")["/series/loss"][1] == (10,)
    arguments, options = setting()
    found = [step.step for step in steps(*arguments, **options, steps=COUNT, record=tmp_path / "part.h5", resume=True)]
    assert validate(tmp_path / "part.h5") == []
    assert found == list(range(6, COUNT + 1))
    equal(tmp_path / "whole.h5", tmp_path / "part.h5")


@pytest.mark.parametrize("way", ["break", "error"])
def test_a_loop_that_is_left_leaves_a_checkpoint(tmp_path, way):
    run(tmp_path / "whole.h5")
    arguments, options = setting()
    try:
        with Recorder(tmp_path / "part.h5") as recorder:
            for step in steps(*arguments, **options, steps=COUNT, record=recorder, checkpoint=1e9):
                if step.step == 4:
                    assert way == "break", "the caller's own mistake"
                    break
    except AssertionError:
        pass
    assert [step for step, _ in paths_beside(str(tmp_path / "part.h5"))] == [5]
    arguments, options = setting()
    for step in steps(*arguments, **options, steps=COUNT, record=tmp_path / "part.h5", resume=True, checkpoint=1e9):
        if step.step == 8:
            break
    with h5py.File(tmp_path / "part.h5") as file:
        assert (file["status"][()], file["stop_reason"][()]) == (b"interrupted", b"left after step 8")
    assert [step for step, _ in paths_beside(str(tmp_path / "part.h5"))] == [9, 5]
    run(tmp_path / "part.h5", resume=True)
    equal(tmp_path / "whole.h5", tmp_path / "part.h5")


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_waits_for_the_end_of_the_step_and_nothing_is_lost(tmp_path, number, error):
    asked = []

    def ask(moment):
        if moment.step == 4 and not asked:
            asked.append(os.kill(os.getpid(), number))
        return {}

    given = {"probes": [*OFTEN, Probe("asked", {}, ask, Every(1))]}
    with pytest.raises(error):
        run(tmp_path / "part.h5", checkpoint=1e9, **given)
    assert [step for step, _ in paths_beside(str(tmp_path / "part.h5"))] == [5]
    run(tmp_path / "part.h5", resume=True, **given)
    run(tmp_path / "whole.h5", **given)
    equal(tmp_path / "whole.h5", tmp_path / "part.h5")


def test_a_second_signal_does_not_wait():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), step_boundary() as boundary:
        os.kill(os.getpid(), signal.SIGINT)
        assert boundary is not None
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("waited")
    assert signal.getsignal(signal.SIGINT) is before


def test_a_run_that_diverges_leaves_no_checkpoint_of_that(tmp_path):
    found = run(tmp_path / "run.h5", 50, optimizer=Torch(torch.optim.SGD, lr=1e6), checkpoint=Every(1))
    assert found.status == "diverged"
    steps_kept = [step for step, _ in paths_beside(str(tmp_path / "run.h5"))]
    assert steps_kept == [found.step - 1, found.step - 2]
    again = run(tmp_path / "run.h5", 50, optimizer=Torch(torch.optim.SGD, lr=1e6), resume=True)
    assert (again.status, again.step) == ("diverged", found.step)


@pytest.mark.parametrize("strict", [True, False])
def test_a_full_disk_says_what_is_safe(tmp_path, monkeypatch, strict):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint_file, "sync_directory", full)
    path = tmp_path / "run.h5"
    if strict:
        with pytest.raises(RecorderError, match=r"run.h5.checkpoint-5.npz: .*No space left on device.*free space"):
            run(path, checkpoint=Every(5))
        assert streams(path)["/series/loss"][1] == (5,)
        return
    with pytest.warns(RuntimeWarning, match="checkpoint-5.npz: .*; the training goes on") as said:
        assert run(path, checkpoint=Every(5), strict=False).status == "complete"
    assert len(said) == 1


class Halving:
    """An optimizer whose state nobody can write down."""

    many_evaluations = False

    def init(self, vector):
        return SimpleNamespace(vector=vector)

    def step(self, objective, state):
        state.vector.mul_(0.5)
        return state, StepInfo()


def test_a_state_that_no_checkpoint_can_hold_is_refused_before_the_first_step(tmp_path):
    with pytest.raises(ValueError, match=r"expected an optimizer with from_arrays.* came Halving: give it both, or"):
        run(tmp_path / "run.h5", optimizer=Halving(), checkpoint=1.0)
    lost = Torch(torch.optim.Adam, scheduler=lambda adam: SimpleNamespace(step=print, state_dict=lambda: {"x": print}))
    with pytest.raises(ValueError, match=r"optimizer\.scheduler\.x: expected numbers, text"):
        run(tmp_path / "run.h5", optimizer=lost, checkpoint=1.0)
    assert not os.listdir(tmp_path)


# Refusals.


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ended")
    run(folder / "part.h5", 6, checkpoint=1e9)
    return folder


@pytest.fixture
def part(ended, tmp_path):
    shutil.copytree(ended, tmp_path, dirs_exist_ok=True)
    return tmp_path / "part.h5"


def blocks(count):
    return lambda objective: [*OFTEN, probes.block_gradients(count, every=Every(5))]


def otherwise(jet, x, coefficients):
    return -1.5 * jet["xx"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seed": 1}, "came another: seed: was 0, now 1"),
        ({"dtype": torch.float32}, "came another: dtype: was float64, now float32"),
        ({"optimizer": Torch(torch.optim.Adam, lr=2e-2)}, r"optimizer: was Torch\(Adam, lr=0.01\), now .*lr=0.02"),
        ({"optimizer": LBFGS()}, r"optimizer: was Torch\(Adam, lr=0.01\), now LBFGS"),
        ({"operator": FiniteDifference()}, "operator.name: was TangentProp, now FiniteDifference"),
        ({"network": lambda: MLP(1, [5, 7])}, r"network.parameters.*: was \[4, 5\], now \[7, 5\]"),
        ({"network": lambda: MLP(1, [5, 4]).eval()}, r"network.evaluating: was \[\], now"),
        ({"attention": ResidualBasedAttention()}, "attention: was null, now"),
        ({"points": lambda p: p.sample(interior=20, seed=1)}, "points.interior: was 20 points, digest"),
        ({"points": lambda p: p.sample(interior=21, seed=0)}, "points.interior: was 20 .* now 21 points"),
        ({"problem": decay()}, "problem.name: was poisson-1d, now decay"),
        ({"probes": OFTEN[:1]}, r"probes.series\(rel_l2, max_error, error_band\): was Every\(n=4\), now absent"),
        ({"probes": [OFTEN[0], probes.errors(Every(5))]}, r"probes.series.*: was Every\(n=4\), now Every\(n=5\)"),
        ({"problem": dataclasses.replace(poisson_1d(), residual=otherwise)}, "expected the loss .* came .*residual,"),
        ({"count": 5}, "expected at least 6 steps, which are made, came steps=5"),
    ],
)
def test_another_training_is_refused_and_the_file_untouched(part, given, message):
    before = part.read_bytes(), sorted(os.listdir(part.parent))
    with pytest.raises(CheckpointError, match=rf"part.h5.checkpoint-6.npz: .*{message}"):
        run(part, resume=True, **given)
    assert (part.read_bytes(), sorted(os.listdir(part.parent))) == before


def test_probes_of_the_same_cadence_that_measure_something_else_are_refused(tmp_path):
    run(tmp_path / "run.h5", 6, checkpoint=1e9, probes=blocks(4))
    with pytest.raises(CheckpointError, match=r"streams.gradients.*: was 4, now 5.* resume with the probes"):
        run(tmp_path / "run.h5", resume=True, probes=blocks(5))


def test_other_versions_and_threads_are_refused_unless_accepted(part, monkeypatch, tmp_path):
    monkeypatch.setattr(identity, "versions", lambda: {"pinnscope": "9.9", "torch": torch.__version__})
    with pytest.raises(CheckpointError, match=r"versions.pinnscope: was .*, now 9.9.*anyway=True \(--anyway\)"):
        run(part, resume=True)
    assert run(part, resume=True, anyway=True).status == "complete"
    run(tmp_path / "whole.h5")
    equal(tmp_path / "whole.h5", part)


def test_a_machine_that_rounds_otherwise_is_refused_unless_accepted(part):
    path = path_at(str(part), 6)
    found = Checkpoint.read(path)
    dataclasses.replace(found, loss=found.loss * (1 + 1e-15)).write(path)
    with pytest.raises(CheckpointError, match=r"this machine rounds otherwise; .*anyway=True"):
        run(part, resume=True)
    assert run(part, resume=True, anyway=True).status == "complete"


def test_a_state_that_does_not_fit_is_refused(part):
    path = path_at(str(part), 6)
    found = Checkpoint.read(path)
    dataclasses.replace(found, state={**found.state, "vector": torch.zeros(3)}).write(path)
    with pytest.raises(CheckpointError, match=r"checkpoint-6.npz: expected the state of this training, came another"):
        run(part, resume=True)


def test_the_trajectory_must_be_that_of_the_checkpoint(part):
    with pytest.raises(CheckpointError, match=r"nothing to resume: .*none.h5: expected a trajectory, came no file"):
        run(part.parent / "none.h5", resume=True)
    run(part, 3, overwrite=True)
    with pytest.raises(CheckpointError, match="came one of another run: the trajectory was replaced"):
        run(part, resume=True)
    run(part, 3, overwrite=True, checkpoint=1e9)
    assert [step for step, _ in paths_beside(str(part))] == [3], "those of the run that was replaced are gone"


def test_a_run_without_checkpoints_cannot_be_resumed(tmp_path):
    run(tmp_path / "run.h5", 6)
    with pytest.raises(CheckpointError, match=r"there is none: record with checkpoint=60.0, or run again"):
        run(tmp_path / "run.h5", resume=True)


def test_two_cannot_resume_the_same_run(part):
    rows = Checkpoint.read(path_at(str(part), 6)).rows
    with Recorder.reopen(part, rows), pytest.raises(LockedError, match="is being written by"):
        run(part, resume=True)
    assert run(part, resume=True).status == "complete"


def test_a_run_that_another_process_has_gone_on_with_is_not_cut_back(part):
    arguments, options = setting()
    slow = steps(*arguments, **options, steps=7, record=part, resume=True)
    run(part, resume=True, checkpoint=1e9)
    with pytest.raises(CheckpointError, match=r"another process has gone on with this run; resume it again"):
        next(slow)
    assert streams(part)["/series/loss"][1] == (COUNT + 1,)


@pytest.mark.parametrize("name", ["part.h5", "part.segments"])
def test_a_checkpoint_behind_rows_that_are_lost_is_passed_over(tmp_path, name):
    path = tmp_path / name
    run(tmp_path / f"whole{path.suffix}")
    run(path, 9, checkpoint=Every(3))
    assert [step for step, _ in paths_beside(str(path))] == [9, 6]
    Recorder.reopen(path, Checkpoint.read(path_at(str(path), 6)).rows).close("interrupted")
    message = r"checkpoint-9.npz: expected 9 rows of series in .*, came 6; going on from .*checkpoint-6.npz instead"
    with pytest.warns(UserWarning, match=message):
        run(path, resume=True)
    with open_trajectory(tmp_path / f"whole{path.suffix}") as whole, open_trajectory(path) as part:
        assert whole["series/loss"].values.tobytes() == part["series/loss"].values.tobytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"record": None, "checkpoint": 60.0}, "checkpoint=60.0 without a trajectory to stand beside"),
        ({"record": None, "resume": True}, "expected the path of the trajectory to resume, came record=None"),
        ({"record": "run.h5", "checkpoint": -1}, "expected checkpoint=60.0 for one every 60 seconds"),
        ({"record": "run.h5", "resume": True, "overwrite": True}, "resume=True goes on, overwrite=True begins anew"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(options, message):
    arguments, given = setting()
    with pytest.raises(ValueError, match=message):
        train(*arguments, **given, steps=3, **options)


def test_lines_name_what_is_absent_and_nan_is_itself():
    was = {"a": float("nan"), "b": {"c": 1}, "d": 1}
    assert identity.differences(was, {"a": float("nan"), "b": {}, "d": 1.0}) == [
        "b.c: was 1, now absent",
        "d: was 1, now 1.0",
    ]
