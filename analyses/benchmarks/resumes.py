"""Resumes at random steps: every stream of a run that was cut off and resumed against one that was not, bit for bit.

Run as `python -m analyses.benchmarks.resumes [--count 50] [--fresh 5] [--quick] [--json FILE]`; about 15 minutes, 1
with --quick.

A run is cut off some steps after its checkpoint, whose rows are then in the file already. In process it is abandoned
there, with nothing more written; in a fresh process it kills itself (SIGKILL), and another process resumes it.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Optional

import h5py
import numpy as np
import torch
import typer
from torch.optim.lr_scheduler import StepLR

from analyses.benchmarks.machine import describe_machine
from analyses.terminal import keep, table
from dynamics import Recorder
from solvers import (
    LBFGS,
    MLP,
    SSBFGS,
    Every,
    GaussNewton,
    LevenbergMarquardt,
    Schedule,
    SSBroyden,
    TangentProp,
    Torch,
    problems,
    steps,
    train,
)
from solvers.optimizers import Optimizer, Steps
from solvers.probes import standard_probes

OPTIMIZERS: dict[str, Callable[[], Optimizer]] = {
    "Adam": lambda: Torch(torch.optim.Adam, lr=1e-2),
    "Adam, StepLR": lambda: Torch(torch.optim.Adam, lr=1e-2, scheduler=partial(StepLR, step_size=7, gamma=0.7)),
    "AdamW": lambda: Torch(torch.optim.AdamW, lr=1e-2),
    "SGD, momentum": lambda: Torch(torch.optim.SGD, lr=1e-4, momentum=0.9),
    "torch L-BFGS": lambda: Torch(torch.optim.LBFGS, lr=0.5, max_iter=3),
    "torch L-BFGS, Wolfe": lambda: Torch(torch.optim.LBFGS, max_iter=3, line_search_fn="strong_wolfe"),
    "LBFGS": lambda: LBFGS(history=8),
    "SSBroyden": lambda: SSBroyden(),
    "SSBFGS": lambda: SSBFGS(),
    "LevenbergMarquardt": lambda: LevenbergMarquardt(),
    "GaussNewton": lambda: GaussNewton(rcond=1e-6),
    "Schedule Adam, LBFGS, LM": lambda: Schedule(
        (Torch(torch.optim.Adam, lr=1e-2), Steps(13)), (LBFGS(history=8), Steps(14)), LevenbergMarquardt()
    ),
}
WALL_CLOCK = ("time", "seconds")
STEPS, BEYOND = 40, 6


@dataclass(frozen=True)
class At:
    """One step.

    Args:
        step: which.
    """

    step: int

    def due(self, step: int) -> bool:
        """Return whether this is it.

        Args:
            step: optimizer step, from 0.

        Returns:
            True at one step.
        """
        return step == self.step


def setting(name: str) -> tuple[tuple, dict[str, object]]:
    """Return a training, made anew from its seed.

    Args:
        name: of the optimizer.

    Returns:
        Arguments and options of `steps` and `train`.
    """
    torch.manual_seed(0)
    problem, optimizer = problems.poisson_1d(), OPTIMIZERS[name]()

    def probes(objective):
        return standard_probes(objective, 4, optimizer, Every(4))

    points = problem.sample(interior=30, seed=0)
    return (problem, MLP(1, [8, 8]), TangentProp(), optimizer), {"points": points, "probes": probes}


def uninterrupted(name: str, path: str) -> int:
    """Train without a stop.

    Args:
        name: of the optimizer.
        path: of the new trajectory.

    Returns:
        The updates it made, fewer where the optimizer stopped.
    """
    given, options = setting(name)
    return train(*given, **options, steps=STEPS, record=path, progress=False).step


def cut_off(name: str, path: str, step: int, stop: int, kill: bool = False) -> None:
    """Train with a checkpoint at one step, and end without a word after a later one.

    Args:
        name: of the optimizer.
        path: of the new trajectory.
        step: of the checkpoint.
        stop: the last one.
        kill: end the whole process.
    """
    given, options = setting(name)
    with Recorder(path) as recorder:
        run = steps(*given, **options, steps=STEPS, record=recorder, checkpoint=At(step))
        while next(run).step < stop:
            pass
        if kill:
            # What comes after the checkpoint shall be there to be superseded.
            recorder.sync()
            os.kill(os.getpid(), signal.SIGKILL)
        # Closed first: where the loop is left while its file is open, another checkpoint would be taken.
        recorder.close("interrupted")
        run.close()


def resume(name: str, path: str) -> None:
    """Go on to the end.

    Args:
        name: of the optimizer.
        path: of the trajectory.
    """
    # What an interpreter that has done other things would have left behind.
    given, options = setting(name)
    torch.manual_seed(random.randrange(2**31))
    np.random.seed(random.randrange(2**31))  # noqa: NPY002
    train(*given, **options, steps=STEPS, record=path, resume=True, progress=False)


def streams(path: str) -> dict[str, tuple]:
    """Return everything that a trajectory records but wall-clock times.

    Args:
        path: of a closed trajectory.

    Returns:
        Type, shape and bytes by name of the dataset.
    """
    found: dict[str, tuple] = {}

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and "/" in name and name.rsplit("/", 1)[1] not in WALL_CLOCK:
            array = np.asarray(item[()])
            held = repr(array.tolist()).encode() if array.dtype == object else array.tobytes()
            found[name] = (str(array.dtype), array.shape, held)

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return found


def departures(first: str, second: str) -> list[str]:
    """Return the datasets in which two trajectories differ.

    Args:
        first: path.
        second: path.

    Returns:
        Names; none where they are equal to the last bit.
    """
    one, other = streams(first), streams(second)
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def in_a_process(call: str) -> int:
    """Call a function of this module in a new interpreter.

    Args:
        call: such as "resume('Adam', 'run.h5')".

    Returns:
        Its exit code, negative for a signal.
    """
    code = f"import torch; torch.set_num_threads(1); from analyses.benchmarks import resumes; resumes.{call}"
    return subprocess.run([sys.executable, "-c", code], check=False).returncode


def one(name: str, reference: str, done: int, path: str, draw: random.Random, fresh: bool) -> list[str]:
    """Cut off a run at a random step, resume it and compare.

    Args:
        name: of the optimizer.
        reference: path of the uninterrupted run.
        done: updates that it made.
        path: of the new trajectory.
        draw: the steps.
        fresh: both in processes of their own.

    Returns:
        What differs.
    """
    step = draw.randint(1, done - 1)
    stop = min(step + draw.randrange(BEYOND), done - 1)
    if fresh:
        killed = in_a_process(f"cut_off({name!r}, {path!r}, {step}, {stop}, kill=True)")
        if killed != -signal.SIGKILL or in_a_process(f"resume({name!r}, {path!r})"):
            return [f"a process failed at step {step}"]
    else:
        cut_off(name, path, step, stop)
        resume(name, path)
    return departures(reference, path)


def main(
    count: Annotated[int, typer.Option(min=1, help="Resumes of each optimizer.")] = 50,
    fresh: Annotated[int, typer.Option(min=0, help="Of which in processes of their own.")] = 5,
    quick: Annotated[bool, typer.Option("--quick", help="3 of each, 1 in a process of its own.")] = False,
    only: Annotated[Optional[list[str]], typer.Option(help="Names of optimizers; default: all.")] = None,  # noqa: UP045
    seed: Annotated[int, typer.Option(help="Of the steps.")] = 0,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Write the results here.")] = None,  # noqa: UP045
) -> dict[str, object]:
    """Cut off, resume, compare, print a table, and return the results.

    Args:
        count: resumes of each optimizer.
        fresh: of which the process is killed, and another one resumes.
        quick: few of them.
        only: names of optimizers.
        seed: of the steps.
        json_file: where to keep the results.

    Returns:
        Counts and departures by optimizer.
    """
    torch.set_num_threads(1)
    count, fresh = (3, min(fresh, 1)) if quick else (count, min(fresh, count))
    results: dict[str, object] = {"machine": describe_machine(), "steps": STEPS, "seed": seed}
    lines, draw = [], random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        for name in only or OPTIMIZERS:
            reference = os.path.join(folder, f"{len(lines)}.h5")
            done = uninterrupted(name, reference)
            found: list[tuple[bool, list[str]]] = []
            for number in range(count):
                alone = number < fresh
                path = os.path.join(folder, f"{len(lines)}-{number}.h5")
                found.append((alone, one(name, reference, done, path, draw, alone)))
            results[name] = _counted(found)
            lines.append((name, str(done), *(results[name][key] for key in ("in process", "fresh process", "all"))))
    heads = ("optimizer", "steps", "in process", "killed, fresh process", "bit-identical")
    table("resumes at random steps, all streams compared bitwise", heads, lines)
    keep(results, json_file)
    return results


def _counted(found: list[tuple[bool, list[str]]]) -> dict[str, object]:
    """Return "x of y" of each kind, and the first departures."""
    kinds = {
        "in process": [names for alone, names in found if not alone],
        "fresh process": [names for alone, names in found if alone],
        "all": [names for _, names in found],
    }
    counts = {kind: f"{sum(not names for names in each)} of {len(each)}" for kind, each in kinds.items()}
    return {**counts, "departures": [names[:5] for _, names in found if names][:5]}


if __name__ == "__main__":
    typer.run(main)
