"""The cost of our callback in a training of PINA: the plain PINN of `attaching`, with and without it.

Run as `python -m analyses.benchmarks.attaching_pina [--quick] [--json FILE]`; 2 minutes, 1 with --quick. Needs PINA.
"""

from __future__ import annotations

import logging
import tempfile
import threading
import time
import warnings
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

from analyses.benchmarks.attaching import LIMITS, PIECES, POINTS, Training, network
from analyses.benchmarks.machine import describe_machine
from analyses.terminal import keep, table
from solvers.callbacks.lightning import TrajectoryCallback

AXES = ["x", "y"]
NAMES = ("plain", "recorded", "plain again")
"""The third shows how exact the comparison is."""

QUIET = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)


class Square(BaseProblem):
    """The problem of `attaching`, as PINA wants it."""

    input_variables, output_variables, conditions = AXES, ["u"], None

    def __init__(self):
        training = Training("adam", torch.float32)
        inside, edge = (LabelTensor(points, AXES) for points in (training.points, training.edge))
        boundary = Condition(input=edge, equation=FixedValue(0.0))
        self.conditions = {"pde": Condition(input=inside, equation=Equation(_poisson)), "boundary": boundary}
        super().__init__()


def _poisson(points: LabelTensor, u: LabelTensor) -> LabelTensor:
    source = torch.sin(torch.pi * points["x"]) * torch.sin(torch.pi * points["y"])
    return laplacian(u, points) + 2 * torch.pi**2 * source


def in_turns(piece: int, seconds: dict[str, float]) -> list[Callback]:
    """Return a callback each for trainings in threads of their own, which run in turns.

    Args:
        piece: steps of a turn.
        seconds: CPU time of each by name, added to.

    Returns:
        The last callback of each trainer.
    """
    turns = {name: threading.Semaphore(int(name == NAMES[0])) for name in NAMES}

    def taking_turns(name: str, following: str) -> Callback:
        def begin(*hook: object) -> None:
            turns[name].acquire()
            seconds[name] -= time.process_time()

        def end(*hook: object) -> None:
            seconds[name] += time.process_time()
            turns[following].release()

        def change(trainer: Trainer, *hook: object) -> None:
            if trainer.global_step % piece == 0:
                end()
                begin()

        return LambdaCallback(on_fit_start=begin, on_train_batch_end=change, on_fit_end=end)

    return [taking_turns(*pair) for pair in zip(NAMES, (*NAMES[1:], NAMES[0]), strict=True)]


def seconds_of(steps: int, path: Path) -> dict[str, float]:
    """Return the CPU time of trainings side by side, some steps of each in turn, from opening to closing the file.

    Args:
        steps: of each.
        path: of the trajectory.

    Returns:
        Seconds by name.
    """
    seconds, threads = dict.fromkeys(NAMES, 0.0), []
    for name, turns in zip(NAMES, in_turns(max(steps // PIECES, 1), seconds), strict=True):
        own = [TrajectoryCallback(path, overwrite=True)] if name == "recorded" else []
        solver = PhysicsInformedSingleModelSolver(Square(), network(torch.float32))
        trainer = Trainer(solver, max_epochs=steps, accelerator="cpu", callbacks=[*own, turns], **QUIET)
        threads.append(threading.Thread(target=trainer.train, daemon=True))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seconds


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Fewer steps: about a minute.")] = False,
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
        seconds_of(5, Path(folder) / "run.h5")
        seconds = seconds_of(steps, Path(folder) / "run.h5")
    shares = {name: seconds[name] / seconds["plain"] - 1 for name in NAMES[1:]}
    results = {"machine": describe_machine(), "steps": steps, "limits": LIMITS, "seconds": seconds, **shares}
    lines = [(name, f"{share:+.1%}") for name, share in shares.items()]
    table(f"cost of the callback in PINA, 3x32, {POINTS} points, {steps} steps", ("training", "CPU time"), lines)
    keep(results, json_file)
    return results


if __name__ == "__main__":
    typer.run(main)
