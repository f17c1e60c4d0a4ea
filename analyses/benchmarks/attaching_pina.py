"""The cost of our callback in a training of PINA: the plain PINN of `attaching`, with and without it.

Run as `python -m analyses.benchmarks.attaching_pina [--quick] [--json FILE]`; about 2 minutes, half a minute with
--quick. Needs PINA and Lightning.
"""

from __future__ import annotations

import gc
import logging
import tempfile
import threading
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Optional

import torch
import typer
from lightning.pytorch.callbacks import Callback, LambdaCallback
from pina import Condition, LabelTensor, Trainer
from pina.equation import Equation
from pina.equation.zoo import FixedValue
from pina.operator import laplacian
from pina.problem import BaseProblem
from pina.solver import PhysicsInformedSingleModelSolver

from analyses.benchmarks.attaching import BOUNDARY, LIMITS, PIECES, POINTS, WIDTHS, Training, network
from analyses.benchmarks.machine import describe_machine
from analyses.terminal import keep, table
from solvers.callbacks.lightning import TrajectoryCallback

NAMES = ("plain", "recorded", "plain again")
"""The third shows how exact the comparison is."""


class Square(BaseProblem):
    """The problem of `attaching`, as PINA wants it."""

    input_variables, output_variables, conditions = ("x", "y"), ("u",), None

    def __init__(self):
        training = Training("adam", torch.float32)
        self.input_variables, self.output_variables = ["x", "y"], ["u"]
        inside, edge = (LabelTensor(points, ["x", "y"]) for points in (training.points, training.edge))
        self.conditions = {
            "pde": Condition(input=inside, equation=Equation(_poisson)),
            "boundary": Condition(input=edge, equation=FixedValue(0.0)),
        }
        super().__init__()


def _poisson(points: LabelTensor, u: LabelTensor) -> LabelTensor:
    source = torch.sin(torch.pi * points["x"]) * torch.sin(torch.pi * points["y"])
    return laplacian(u, points) + 2 * torch.pi**2 * source


class Turns:
    """Lets trainings, each in a thread of its own, run in turns, and counts the CPU time of each.

    Args:
        names: of the trainings, in the order of the turns.
        piece: steps of a turn.
    """

    def __init__(self, names: Sequence[str], piece: int):
        self._piece, self._failed = piece, False
        self._waiting = {name: threading.Semaphore(int(name == names[0])) for name in names}
        self._next = dict(zip(names, (*names[1:], names[0]), strict=True))
        self.seconds = dict.fromkeys(names, 0.0)

    def callback(self, name: str) -> Callback:
        """Return what makes a trainer take its turns.

        Args:
            name: of the training.

        Returns:
            The last one of the trainer's callbacks.
        """

        def begin(*hook: object) -> None:
            self._waiting[name].acquire()
            if self._failed:
                raise RuntimeError("another training failed")
            self.seconds[name] -= time.process_time()

        def end(*hook: object) -> None:
            self.seconds[name] += time.process_time()
            self._waiting[self._next[name]].release()

        def fail(*hook: object) -> None:
            self._failed = True
            self._waiting[self._next[name]].release()

        def change(trainer: Trainer, *hook: object) -> None:
            if trainer.global_step % self._piece == 0:
                end()
                begin()

        return LambdaCallback(on_fit_start=begin, on_train_batch_end=change, on_fit_end=end, on_exception=fail)


def seconds_of(names: Sequence[str], steps: int, path: Path) -> dict[str, float]:
    """Return the CPU time of trainings side by side, some steps of each in turn, from opening to closing the file.

    Args:
        names: of the trainings, "recorded" among them, in the order of the turns.
        steps: of each.
        path: of the trajectory.

    Returns:
        Seconds by name.
    """
    turns, threads = Turns(names, max(steps // PIECES, 1)), []
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    for name in names:
        own = [TrajectoryCallback(path, overwrite=True)] if name == "recorded" else []
        solver = PhysicsInformedSingleModelSolver(Square(), network(torch.float32))
        options = {"accelerator": "cpu", "enable_model_summary": False, **quiet}
        trainer = Trainer(solver, max_epochs=steps, callbacks=[*own, turns.callback(name)], **options)
        threads.append(threading.Thread(target=trainer.train))
    gc.collect()
    gc.disable()
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        gc.enable()
    return turns.seconds


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Fewer steps: about half a minute.")] = False,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Write the results here.")] = None,  # noqa: UP045
) -> dict[str, object]:
    """Measure, print a table, and return the results.

    Args:
        quick: fewer steps.
        json_file: where to keep the results.

    Returns:
        Times and overheads.
    """
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    steps = 400 if quick else 1000
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seconds_of(NAMES, 5, Path(folder) / "run.h5")
        seconds = seconds_of(NAMES, steps, Path(folder) / "run.h5")
    shares = {name: seconds[name] / seconds["plain"] - 1 for name in NAMES[1:]}
    machine = {"machine": describe_machine(), "points": POINTS, "boundary": BOUNDARY, "widths": WIDTHS}
    results = {**machine, "steps": steps, "limit": LIMITS["overhead"], "seconds": seconds, **shares}
    lines = [(f"{name}, {steps} steps", f"{share:+.1%}") for name, share in shares.items()]
    table(f"cost of the callback in PINA, 3x32, {POINTS} points", ("training", "CPU time"), lines)
    keep(results, json_file)
    return results


if __name__ == "__main__":
    typer.run(main)
