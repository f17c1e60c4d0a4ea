"""The cost of the DeepXDE callback: whole trainings of a plain PINN, with and without it in turn.

Run as `DDE_BACKEND=pytorch python -m analyses.benchmarks.attaching_deepxde [--quick] [--json FILE]`; about 5 minutes,
1 with --quick.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Optional

import deepxde as dde
import torch
import typer
from torch import Tensor

from analyses.benchmarks.attaching import BOUNDARY, LIMITS, PIECES, POINTS, RATE, WIDTHS
from analyses.benchmarks.machine import describe_machine
from analyses.benchmarks.turns import Training as Turning
from analyses.benchmarks.turns import in_turns, overheads
from analyses.terminal import keep, table
from solvers.callbacks.deepxde import TrajectoryCallback

ITERATIONS = 200
"""Of a step of L-BFGS, of which DeepXDE makes 1000."""


def equation(points: Tensor, u: Tensor) -> Tensor:
    """Return u_xx + u_yy + 2 pi^2 sin(pi x) sin(pi y) in DeepXDE's way.

    Args:
        points: (n, 2).
        u: (n, 1).

    Returns:
        (n, 1).
    """
    source = 2 * torch.pi**2 * torch.sin(torch.pi * points[:, :1]) * torch.sin(torch.pi * points[:, 1:])
    return dde.grad.hessian(u, points, i=0, j=0) + dde.grad.hessian(u, points, i=1, j=1) + source


class AfterStep(dde.callbacks.Callback):
    """Calls something after each step.

    Args:
        call: without arguments.
    """

    def __init__(self, call: Callable[[], None]):
        super().__init__()
        self._call = call

    def on_batch_end(self) -> None:
        """Call it."""
        self._call()


def training(kind: str, steps: int, path: Path | None) -> Turning:
    """Return a training for `in_turns`, from opening to closing its file.

    Args:
        kind: "adam" or "L-BFGS".
        steps: of the optimizer, of 200 iterations each for L-BFGS.
        path: of the trajectory, or None.

    Returns:
        The training.
    """
    dde.config.set_random_seed(0)
    square = dde.geometry.Rectangle([0, 0], [1, 1])
    edge = dde.icbc.DirichletBC(square, lambda x: 0, lambda x, on_boundary: on_boundary)
    data = dde.data.PDE(square, equation, edge, num_domain=POINTS - BOUNDARY, num_boundary=BOUNDARY)
    model = dde.Model(data, dde.nn.FNN([2, *WIDTHS, 1], "tanh", "Glorot uniform"))
    limits = {"maxiter": steps * ITERATIONS, "iter_per_step": ITERATIONS, "fun_per_step": ITERATIONS * 5 // 4}
    dde.optimizers.config.LBFGS_options.update(limits)
    model.compile(kind, lr=RATE if kind == "adam" else None, loss_weights=[1, 10], verbose=0)

    def run(turn: Callable[[], None]) -> None:
        own = [] if path is None else [TrajectoryCallback(path, overwrite=True)]
        model.train(iterations=steps, callbacks=[*own, AfterStep(turn)], verbose=0)

    return run


def costs(kind: str, precision: str, steps: int, path: Path) -> dict[str, object]:
    """Return the overhead of the callback.

    Args:
        kind: of the optimizer.
        precision: float32 or float64.
        steps: of each training.
        path: of the trajectory.

    Returns:
        CPU seconds of each and the overheads.
    """
    dde.config.real.set_float64() if precision == "float64" else dde.config.real.set_float32()
    torch.set_default_dtype(getattr(torch, precision))
    files = {"plain": None, "recorded": path, "plain again": None}
    seconds = in_turns({name: training(kind, steps, file) for name, file in files.items()}, max(steps // PIECES, 1))
    return {"steps": steps, "seconds": seconds, **overheads(seconds)}


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
    results: dict[str, object] = {"machine": describe_machine(), "deepxde": dde.__version__, "limits": LIMITS}
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.h5"
        costs("adam", "float32", 3, path)
        for precision in ("float32", "float64"):
            for kind, steps in (("adam", 200 if quick else 1000), ("L-BFGS", 1 if quick else 3)):
                results[f"{kind}, {precision}"] = found = costs(kind, precision, steps, path)
                for name in ("recorded", "noise"):
                    lines.append((f"{kind}, {precision}, {steps} steps, {name}", f"{found[name]:+.1%}"))
    table(f"cost of the DeepXDE callback, 3x32, {POINTS} points", ("training", "CPU time"), lines)
    keep(results, json_file)
    return results


if __name__ == "__main__":
    typer.run(main)
