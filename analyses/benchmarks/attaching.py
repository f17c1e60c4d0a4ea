"""The cost of an attachment to somebody else's loop: a plain PINN in torch, Adam and L-BFGS, with and without it.

Run as `python -m analyses.benchmarks.attaching [--quick] [--json FILE]`; about 5 minutes, 2 with --quick.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Optional

import torch
import typer
from torch import Tensor, nn

from analyses.benchmarks.interleaved import interleave
from analyses.benchmarks.machine import describe_machine
from analyses.terminal import keep, table
from dynamics import Recorder
from solvers.attaching.attach import attach
from solvers.attaching.block_gradients import AttachedBlocks

POINTS = 2000
BOUNDARY = 200
WIDTHS = (32, 32, 32)
BLOCKS = 64
RATE = 1e-3
PIECES = 40
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


class Contender:
    """One of the trainings that are compared, timed in pieces.

    Args:
        kind: of the optimizer.
        dtype: of everything.
        path: of the trajectory, or None for the loop as it was.
        with_residuals: attach the residual too, for gradients of blocks.
    """

    def __init__(self, kind: str, dtype: torch.dtype, path: Path | None = None, with_residuals: bool = False):
        self._training, self._stack, self._watched = Training(kind, dtype), ExitStack(), None
        self._path, self._with_residuals = path, with_residuals
        self.seconds = 0.0

    def begin(self) -> None:
        """Attach."""
        if self._path is not None:
            own = self._training
            more = {"residuals": residual, "points": own.points, "blocks": BLOCKS} if self._with_residuals else {}
            recorder = self._stack.enter_context(Recorder(self._path, overwrite=True))
            self._watched = self._stack.enter_context(attach(recorder, own.optimizer, own.model, **more))

    def steps(self, count: int) -> None:
        """Make some steps.

        Args:
            count: of the optimizer.
        """
        for _ in range(count):
            self._training.step(self._watched)

    def timed(self, part: Callable[..., None], *arguments: int) -> None:
        """Add the CPU time of a part.

        Args:
            part: to call.
            *arguments: of the call.
        """
        start = time.process_time()
        part(*arguments)
        self.seconds += time.process_time() - start

    def end(self) -> None:
        """Detach and close."""
        self._stack.close()


def overheads(kind: str, dtype: torch.dtype, steps: int, folder: Path) -> dict[str, object]:
    """Return the overhead of each way to attach: three trainings side by side, some steps of each in turn.

    What else the machine does in that time slows all of them alike. Attaching, the first measurements, the last and
    closing the file are part of it.

    Args:
        kind: of the optimizer.
        dtype: of everything.
        steps: of each training.
        folder: for the trajectories.

    Returns:
        CPU seconds of each and the overheads.
    """
    contenders = {
        "plain": Contender(kind, dtype),
        "three lines": Contender(kind, dtype, folder / "three-lines.h5"),
        "with residuals": Contender(kind, dtype, folder / "with-residuals.h5", with_residuals=True),
    }
    gc.collect()
    gc.disable()
    try:
        for each in contenders.values():
            each.timed(each.begin)
        order = list(contenders.values())
        for done in range(0, steps, steps // PIECES):
            for each in order:
                each.timed(each.steps, min(steps // PIECES, steps - done))
            order = order[1:] + order[:1]
        for each in contenders.values():
            each.timed(each.end)
    finally:
        gc.enable()
    seconds = {name: each.seconds for name, each in contenders.items()}
    plain = seconds["plain"]
    return {"seconds": seconds, **{name: took / plain - 1 for name, took in seconds.items() if name != "plain"}}


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
    loop: Callable[[], Tensor] = blocks._loop
    calls = {"a step of Adam": training.step, f"{BLOCKS} blocks": blocks, f"{BLOCKS} backward passes": loop}
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
        overheads("adam", torch.float32, PIECES, Path(name))
        for dtype in (torch.float32, torch.float64):
            precision = str(dtype).removeprefix("torch.")
            for kind, steps in (("adam", 200 if quick else 1000), ("lbfgs", 40)):
                found = overheads(kind, dtype, steps, Path(name))
                results[f"{kind}, {precision}"] = {"steps": steps, **found}
                for way in ("three lines", "with residuals"):
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
