"""Writers killed at random moments: what was committed must be there, bit for bit, and the run must go on from it.

Run as `python -m analyses.benchmarks.crashes [--quick] [--json FILE]`; some ten minutes, 30 s with --quick. Every
trial is a process of its own, ended by SIGKILL at a random moment: while it appends rows to a trajectory, while it
trains and writes checkpoints. A power failure is another matter: `Recorder.sync`, which every checkpoint calls, waits
for the disk.
"""

from __future__ import annotations

import os
import shutil
import signal
import struct
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Optional

import numpy as np
import torch
import typer

from analyses.benchmarks.machine import describe_machine
from analyses.terminal import keep, table
from dynamics import Recorder, open_trajectory, validate
from dynamics.format import Stream, Variable
from solvers import MLP, AutoDiff, Every, Torch, problems, train
from solvers.probes import parameters

COUNT = struct.Struct("<q")
LATEST = 0.12
"""Seconds after which the last writer is killed, from the moment that its file is there."""
TRAINED = 1.0
"""Likewise, of trainings."""
CLOCKS = ("time", "seconds")


def killed(child: Callable[[int], None], path: Path, delay: float) -> bytes:
    """Run a function in a process of its own and kill it while it writes.

    Args:
        child: gets the end of a pipe to write to; it should not return in time.
        path: of the trajectory that it makes.
        delay: seconds from the file's first bytes to the death of its writer.

    Returns:
        What it wrote into the pipe.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            child(writing)
        finally:
            os._exit(1)
    os.close(writing)
    while not (path.exists() and path.stat().st_size) and os.waitpid(pid, os.WNOHANG) == (0, 0):
        time.sleep(0.001)
    time.sleep(delay)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    said = b""
    while part := os.read(reading, 1 << 16):
        said += part
    os.close(reading)
    return said


def write_rows(path: Path, pipe: int) -> None:
    """Append rows that are functions of their step, as fast as possible, and tell each commit once it is made.

    Args:
        path: of the new trajectory.
        pipe: for the number of committed rows of the series.
    """
    told = 0
    snapshots = Stream("snapshots", [Variable("value", ("entry",))], {"entry": 3000})
    with Recorder(path, streams=[snapshots, Stream("evaluations")], commit_every=0.002) as recorder:
        for step in range(10**9):
            recorder.record("series", step, **scalars(step))
            if step % 3 == 0:
                recorder.record("snapshots", step, value=snapshot(step))
            for _ in range(step % 4):
                recorder.record("evaluations", step, loss=float(step))
            committed = recorder.committed.get("series", 0)
            if committed > told:
                told = committed
                os.write(pipe, COUNT.pack(told))


def scalars(step: int) -> dict[str, float]:
    """Return the scalars of a step; one of them has no column when the layout is fixed.

    Args:
        step: 0 or above.

    Returns:
        Values by name.
    """
    values = {"loss": 1.0 / (step + 1), "learning_rate": float(step)}
    return values | ({"appeared": float(step**2)} if step >= 40 else {})


def snapshot(step: int) -> np.ndarray:
    """Return the array of a step.

    Args:
        step: 0 or above.

    Returns:
        (3000,) float64.
    """
    return np.arange(3000) * 0.5 + step


def departures(path: Path, least: int) -> list[str]:
    """Compare a trajectory with what was recorded.

    Args:
        path: of the trajectory.
        least: rows of the series that were committed for certain.

    Returns:
        What is wrong, empty if nothing is.
    """
    try:
        with open_trajectory(path) as tree:
            step = tree["series/step"].values
            found = [] if len(step) >= least else [f"{len(step)} rows of {least} committed"]
            found += [] if np.array_equal(step, np.arange(len(step))) else ["steps of the series"]
            for name, values in _expected(step).items():
                if name in tree["series"] and not np.array_equal(tree[f"series/{name}"], values, equal_nan=True):
                    found.append(f"series/{name}")
            taken = tree["snapshots/step"].values
            expected = np.stack([snapshot(int(each)) for each in taken]) if len(taken) else np.empty((0, 3000))
            same = len(taken) == 0 or np.array_equal(tree["snapshots/value"], expected)
            found += [] if same and np.array_equal(taken, 3 * np.arange(len(taken))) else ["snapshots"]
            counted = tree["evaluations/step"].values
            repeated = np.repeat(np.arange(10**5), np.arange(10**5) % 4)[: len(counted)]
            found += [] if np.array_equal(counted, repeated) else ["evaluations"]
        return found + validate(path)
    except Exception as error:  # Whatever it is, the file could not be read.
        return [f"unreadable: {type(error).__name__}: {error}"]


def _expected(step: np.ndarray) -> dict[str, np.ndarray]:
    rows = [scalars(int(each)) for each in step]
    return {name: np.array([row.get(name, np.nan) for row in rows]) for name in ("loss", "learning_rate", "appeared")}


def goes_on(path: Path) -> list[str]:
    """Resume a trajectory behind the rows that it has.

    Args:
        path: of the trajectory.

    Returns:
        What is wrong, empty if nothing is.
    """
    try:
        with open_trajectory(path) as tree:
            rows = {name: len(node["step"]) for name, node in tree.children.items() if "step" in node.variables}
        with Recorder.reopen(path, rows) as recorder:
            for step in range(rows["series"], rows["series"] + 5):
                recorder.record("series", step, **scalars(step))
        return departures(path, rows["series"] + 5)
    except Exception as error:  # Whatever it is, the run could not go on.
        return [f"not resumable: {type(error).__name__}: {error}"]


def writer_trial(folder: Path, rng: np.random.Generator) -> list[str]:
    """Kill one writer and look at what it leaves.

    Args:
        folder: for the trajectory.
        rng: draws the moment.

    Returns:
        What is wrong, empty if nothing is.
    """
    path = folder / "run.h5"
    said = killed(lambda pipe: write_rows(path, pipe), path, rng.uniform(0, LATEST))
    least = COUNT.unpack(said[-COUNT.size :])[0] if said else 0
    return departures(path, least) or goes_on(path)


def training(path: Path, steps: int, **options: object) -> None:
    """Train a small network, the same way each time.

    Args:
        path: of the trajectory.
        steps: in all.
        **options: of `train`.
    """
    torch.manual_seed(0)
    problem, network = problems.poisson_1d(), MLP(1, [6, 6])
    adam = Torch(torch.optim.Adam, lr=1e-2)
    measured = [parameters(Every(5))]
    train(problem, network, AutoDiff(), adam, steps=steps, record=path, probes=measured, progress=False, **options)


def checkpoint_trial(steps: int = 40) -> Callable[[Path, np.random.Generator], list[str]]:
    """Return the trial that kills a training between and in its checkpoints, and resumes it.

    Args:
        steps: of the training that is not killed, and of the resumed one.

    Returns:
        A function of a folder and a generator.
    """
    with tempfile.TemporaryDirectory() as folder:
        training(Path(folder) / "whole.h5", steps)
        whole = _streams(Path(folder) / "whole.h5")

    def trial(folder: Path, rng: np.random.Generator) -> list[str]:
        path = folder / "run.h5"

        killed(lambda pipe: training(path, steps, checkpoint=Every(1)), path, rng.uniform(0, TRAINED))
        if not list(folder.glob("run.h5.checkpoint-*.npz")):
            return _different(path, whole, prefix=True)
        try:
            found = _different(path, whole, prefix=True)
            training(path, steps, resume=True)
        except Exception as error:  # Whatever it is, the run could not go on.
            return [f"not resumable: {type(error).__name__}: {error}"]
        return found + _different(path, whole, prefix=False) + validate(path)

    return trial


def _streams(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Read all that does not depend on the clock."""
    with open_trajectory(path) as tree:
        nodes = {name: node.to_dataset() for name, node in tree.children.items() if "step" in node.variables}
        return {
            name: {key: node[key].values for key in node.variables if key not in CLOCKS and "step" in node[key].dims}
            for name, node in nodes.items()
        }


def _different(path: Path, whole: dict[str, dict[str, np.ndarray]], prefix: bool) -> list[str]:
    """Name the variables whose rows are not the first ones, or not all, of the uninterrupted training."""
    try:
        found = _streams(path)
    except Exception as error:  # Whatever it is, the file could not be read.
        return [f"unreadable: {type(error).__name__}: {error}"]
    wrong = [] if prefix or set(found) == set(whole) else ["streams"]
    for stream, variables in found.items():
        for name, values in variables.items():
            expected = whole[stream].get(name, np.empty(0))
            if (
                prefix and len(values) == 0
            ):  # A variable that nothing was ever written to is shown until there are rows.
                continue
            if not np.array_equal(values, expected[: len(values)] if prefix else expected, equal_nan=True):
                wrong.append(f"{stream}/{name}")
    return wrong


def trials(name: str, trial: Callable, count: int, seed: int) -> dict[str, object]:
    """Do a kind of trial many times.

    Args:
        name: for the record.
        trial: takes a folder and a generator, returns what is wrong.
        count: of trials.
        seed: of the moments.

    Returns:
        The counts, and how often each fault was seen.
    """
    rng = np.random.default_rng(seed)
    faults: Counter[str] = Counter()
    sound = 0
    start = time.perf_counter()
    for _ in range(count):
        folder = Path(tempfile.mkdtemp())
        try:
            found = trial(folder, rng)
        finally:
            shutil.rmtree(folder)
        sound += not found
        faults.update(found)
    seconds = time.perf_counter() - start
    return {"trial": name, "count": count, "sound": sound, "faults": dict(faults), "seconds": round(seconds, 1)}


def main(
    quick: Annotated[bool, typer.Option("--quick", help="20 trials of each kind.")] = False,
    seed: int = 0,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Keep the results.")] = None,  # noqa: UP045
) -> list[dict[str, object]]:
    """Kill writers and count what is lost.

    Args:
        quick: few trials.
        seed: of the moments of death.
        json_file: for the results.

    Returns:
        The counts by kind of trial.
    """
    torch.set_num_threads(1)
    rows = [
        trials("writer", writer_trial, 20 if quick else 500, seed),
        trials("training, with checkpoints", checkpoint_trial(), 20 if quick else 100, seed),
    ]
    cells = [(row["trial"], f"{row['sound']} of {row['count']}", str(row["faults"] or "none")) for row in rows]
    table("killed at a random moment while writing", ("process", "rows intact, run goes on", "faults"), cells)
    keep({"machine": describe_machine(), "trials": rows}, json_file)
    return rows


if __name__ == "__main__":
    typer.run(main)
