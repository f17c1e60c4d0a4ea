"""The cost of our callback in a training of PINA: the plain PINN of `attaching`, with and without it.

Run as `python -m analyses.benchmarks.attaching_pina [--quick] [--json FILE]`; 2 minutes, 1 with --quick. Needs PINA.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Optional

import torch
import typer
from lightning.pytorch.callbacks import LambdaCallback
from pina import Condition, LabelTensor, Trainer
from pina.equation import Equation
from pina.equation.zoo import FixedValue
from pina.operator import laplacian
from pina.problem import BaseProblem
from pina.solver import PhysicsInformedSingleModelSolver

from analyses.benchmarks.attaching import LIMITS, PIECES, POINTS, Training, network
from analyses.benchmarks.machine import describe_machine
from analyses.benchmarks.turns import Training as Turning
from analyses.benchmarks.turns import in_turns, overheads
from analyses.terminal import keep, table
from solvers.callbacks.lightning import TrajectoryCallback

AXES = ["x", "y"]
NAMES = ("plain", "recorded", "plain again")

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


def training(steps: int, path: Path | None) -> Turning:
    """Return a fit for `in_turns`, from opening to closing its file.

    Args:
        steps: of the optimizer.
        path: of the trajectory, or None.

    Returns:
        The fit.
    """
    solver = PhysicsInformedSingleModelSolver(Square(), network(torch.float32))

    def run(turn: Callable[[], None]) -> None:
        own = [] if path is None else [TrajectoryCallback(path, overwrite=True)]
        following = LambdaCallback(on_train_batch_end=lambda *hook: turn())
        Trainer(solver, max_epochs=steps, accelerator="cpu", callbacks=[*own, following], **QUIET).train()

    return run


def seconds_of(steps: int, path: Path) -> dict[str, float]:
    """Return the CPU time of three fits side by side.

    Args:
        steps: of each.
        path: of the trajectory.

    Returns:
        Seconds by name.
    """
    files = dict(zip(NAMES, (None, path, None), strict=True))
    return in_turns({name: training(steps, file) for name, file in files.items()}, max(steps // PIECES, 1))


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
    shares = overheads(seconds)
    results = {"machine": describe_machine(), "steps": steps, "limits": LIMITS, "seconds": seconds, **shares}
    lines = [(name, f"{share:+.1%}") for name, share in shares.items()]
    table(f"cost of the callback in PINA, 3x32, {POINTS} points, {steps} steps", ("training", "CPU time"), lines)
    keep(results, json_file)
    return results


if __name__ == "__main__":
    typer.run(main)
