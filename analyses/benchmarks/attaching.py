"""The cost of an attachment to somebody else's loop: a plain PINN in torch, Adam and L-BFGS, with and without it.

Run as `python -m analyses.benchmarks.attaching [--quick] [--json FILE]`; about 5 minutes, 2 with --quick.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Optional

import torch
import typer
from torch import Tensor, nn

from analyses.benchmarks.interleaved import interleave
from analyses.benchmarks.machine import describe_machine
from analyses.benchmarks.turns import Training as Turning
from analyses.benchmarks.turns import in_turns, overheads
from analyses.terminal import keep, table
from dynamics import Recorder
from solvers.attaching.attach import attach
from solvers.attaching.block_gradients import AttachedBlocks

POINTS = 2000
BOUNDARY = 200
WIDTHS = (32, 32, 32)
BLOCKS = 64
RATE = 1e-3
PIECES = 100
"""Turns of each training."""

MOST_ITERATIONS = 20
"""Of a step of L-BFGS."""

LIMITS = {"overhead": 0.1, "blocks": 2.0}
"""Share of the time of a training, and steps a measurement of block gradients, that are aimed at."""


def network(dtype: torch.dtype) -> nn.Sequential:
    """Return the plain network, three hidden layers of 32 tanh.

    Args:
        dtype: of its parameters.

    Returns:
        The network.
    """
    sizes = (2, *WIDTHS)
    hidden = [part for a, b in zip(sizes, WIDTHS, strict=False) for part in (nn.Linear(a, b), nn.Tanh())]
    return nn.Sequential(*hidden, nn.Linear(WIDTHS[-1], 1)).to(dtype)


def residual(model: nn.Module, points: Tensor) -> Tensor:
    """Return u_xx + u_yy + 2 pi^2 sin(pi x) sin(pi y) as most people write it.

    Args:
        model: (n, 2) -> (n, 1).
        points: (n, 2), with `requires_grad`.

    Returns:
        (n, 1).
    """
    u = model(points)
    (slope,) = torch.autograd.grad(u.sum(), points, create_graph=True)
    (by_x,) = torch.autograd.grad(slope[:, 0].sum(), points, create_graph=True)
    (by_y,) = torch.autograd.grad(slope[:, 1].sum(), points, create_graph=True)
    source = 2 * torch.pi**2 * torch.sin(torch.pi * points[:, :1]) * torch.sin(torch.pi * points[:, 1:])
    return by_x[:, :1] + by_y[:, 1:] + source


class Training:
    """Somebody's loop: a Poisson problem on the unit square.

    Args:
        kind: "adam" or "lbfgs".
        dtype: of everything.
        seed: of weights and points.
    """

    def __init__(self, kind: str, dtype: torch.dtype, seed: int = 0):
        torch.manual_seed(seed)
        self.model = network(dtype)
        self.points = torch.rand(POINTS, 2, dtype=dtype)
        self.edge = torch.rand(BOUNDARY, 2, dtype=dtype)
        self.edge[:, 0] = self.edge[:, 0].round()
        parameters = self.model.parameters()
        limits = {"max_iter": MOST_ITERATIONS, "line_search_fn": "strong_wolfe"}
        self.closed = kind == "lbfgs"
        self.optimizer = torch.optim.LBFGS(parameters, **limits) if self.closed else torch.optim.Adam(parameters, RATE)

    def terms(self) -> dict[str, Tensor]:
        """Return both losses.

        Returns:
            By name.
        """
        pde = residual(self.model, self.points.clone().requires_grad_(True)).square().mean()
        return {"pde": pde, "boundary": self.model(self.edge).square().mean()}

    def step(self, watched=None) -> None:
        """Make one step of the optimizer.

        Args:
            watched: the attachment, or None.
        """

        def closure() -> Tensor:
            self.optimizer.zero_grad()
            terms = self.terms()
            loss = terms["pde"] + 10 * terms["boundary"]
            loss.backward()
            if watched is not None:
                watched.terms(weights={"boundary": 10.0}, **terms)
            return loss

        if self.closed:
            self.optimizer.step(closure)
        else:
            closure()
            self.optimizer.step()


def training(kind: str, dtype: torch.dtype, steps: int, path: Path | None, with_residuals: bool = False) -> Turning:
    """Return a training for `in_turns`, from opening to closing its file.

    Args:
        kind: of the optimizer.
        dtype: of everything.
        steps: of the optimizer.
        path: of the trajectory, or None for the loop as it was.
        with_residuals: attach the residual too, for gradients of blocks.

    Returns:
        The training.
    """
    own = Training(kind, dtype)
    more = {"residuals": residual, "points": own.points, "blocks": BLOCKS} if with_residuals else {}

    def run(turn: Callable[[], None]) -> None:
        with ExitStack() as stack:
            watched = None
            if path is not None:
                recorder = stack.enter_context(Recorder(path, overwrite=True))
                watched = stack.enter_context(attach(recorder, own.optimizer, own.model, **more))
            for _ in range(steps):
                own.step(watched)
                turn()

    return run


def costs(kind: str, dtype: torch.dtype, steps: int, folder: Path) -> dict[str, object]:
    """Return the overhead of each way to attach.

    Args:
        kind: of the optimizer.
        dtype: of everything.
        steps: of each training.
        folder: for the trajectories.

    Returns:
        CPU seconds of each and the overheads.
    """
    seconds = in_turns(
        {
            "plain": training(kind, dtype, steps, None),
            "three lines": training(kind, dtype, steps, folder / "three-lines.h5"),
            "with residuals": training(kind, dtype, steps, folder / "with-residuals.h5", with_residuals=True),
            "plain again": training(kind, dtype, steps, None),
        },
        max(steps // PIECES, 1),
    )
    return {"steps": steps, "seconds": seconds, **overheads(seconds)}


def block_cost(dtype: torch.dtype, budget: float) -> dict[str, object]:
    """Return what the gradients of 64 blocks cost, in steps of Adam, each way.

    Args:
        dtype: of everything.
        budget: CPU seconds of all measurements.

    Returns:
        Way -> ratio of CPU times, and the times.
    """
    training = Training("adam", dtype)
    names = [name for name, _ in training.model.named_parameters() if name.endswith("weight")]
    blocks = AttachedBlocks(residual, training.model, names, training.points, BLOCKS)
    blocks()
    calls: dict[str, Callable[[], object]] = {
        "a step of Adam": training.step,
        f"{BLOCKS} blocks": blocks,
        f"{BLOCKS} backward passes": lambda: blocks._loop(None),
    }
    timings = interleave(calls, budget)
    step = statistics.median(timings["a step of Adam"].cpu)
    ratios = {name: statistics.median(timing.cpu) / step for name, timing in timings.items()}
    return {"way": blocks.way, "ratios": ratios, "timings": {n: timing.as_json() for n, timing in timings.items()}}


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Fewer steps: about 2 minutes.")] = False,
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
    results: dict[str, object] = {"machine": describe_machine(), "points": POINTS, "widths": WIDTHS, "limits": LIMITS}
    lines = []
    with tempfile.TemporaryDirectory() as name:
        costs("adam", torch.float32, 3, Path(name))
        for dtype in (torch.float32, torch.float64):
            precision = str(dtype).removeprefix("torch.")
            for kind, steps in (("adam", 200 if quick else 1000), ("lbfgs", 40)):
                results[f"{kind}, {precision}"] = found = costs(kind, dtype, steps, Path(name))
                for way in ("three lines", "with residuals", "noise"):
                    lines.append((f"{kind}, {precision}, {way}, {steps} steps", f"{found[way]:+.1%}"))
            cost = block_cost(dtype, 4.0 if quick else 10.0)
            results[f"blocks, {precision}"] = cost
            for name_of, ratio in cost["ratios"].items():
                lines.append((f"{name_of}, {precision}", f"{ratio:.2f} steps"))
    table(f"cost of an attachment, 3x32, {POINTS} points", ("what", "CPU time"), lines)
    keep(results, json_file)
    return results


if __name__ == "__main__":
    typer.run(main)
