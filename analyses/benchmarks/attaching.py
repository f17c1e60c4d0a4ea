"""The cost of an attachment to somebody else's loop: a plain PINN in torch, Adam and L-BFGS, with and without it.

Run as `python -m analyses.benchmarks.attaching [--quick] [--json FILE]`; about 6 minutes, 40 s with --quick.
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


def seconds_of(kind: str, dtype: torch.dtype, steps: int, path: Path | None, with_residuals: bool) -> float:
    """Return the CPU time of a training.

    Args:
        kind: of the optimizer.
        dtype: of everything.
        steps: of the optimizer.
        path: of the trajectory, or None.
        with_residuals: attach the residual too, for gradients of blocks.

    Returns:
        Seconds.
    """
    training = Training(kind, dtype)
    more = {"residuals": residual, "points": training.points, "blocks": BLOCKS} if with_residuals else {}
    gc.collect()
    gc.disable()
    try:
        start = time.process_time()
        with ExitStack() as stack:
            watched = None
            if path is not None:
                recorder = stack.enter_context(Recorder(path, overwrite=True))
                watched = stack.enter_context(attach(recorder, training.optimizer, training.model, **more))
            for _ in range(steps):
                training.step(watched)
        return time.process_time() - start
    finally:
        gc.enable()


def overheads(kind: str, dtype: torch.dtype, steps: int, pairs: int, folder: Path) -> dict[str, object]:
    """Return the overhead of each way to attach, in pairs whose order alternates.

    Args:
        kind: of the optimizer.
        dtype: of everything.
        steps: of each training.
        pairs: number.
        folder: for the trajectories.

    Returns:
        Way -> overheads of all pairs and their median.
    """
    found: dict[str, list[float]] = {"three lines": [], "with residuals": []}
    for number in range(pairs):
        for way, rows in found.items():
            times = {}
            for recorded in (number % 2 == 0, number % 2 == 1):
                path = folder / "run.h5" if recorded else None
                times[recorded] = seconds_of(kind, dtype, steps, path, way == "with residuals")
            rows.append(times[True] / times[False] - 1)
    return {way: {"median": statistics.median(rows), "pairs": rows} for way, rows in found.items()}


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
    quick: Annotated[bool, typer.Option("--quick", help="Fewer steps and pairs: about 40 s.")] = False,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Write the results here.")] = None,  # noqa: UP045
) -> dict[str, object]:
    """Measure, print a table, and return the results.

    Args:
        quick: fewer steps and pairs.
        json_file: where to keep the results.

    Returns:
        Medians and every pair.
    """
    torch.set_num_threads(1)
    results: dict[str, object] = {"machine": describe_machine(), "points": POINTS, "widths": WIDTHS, "limits": LIMITS}
    lines = []
    with tempfile.TemporaryDirectory() as name:
        seconds_of("adam", torch.float32, 3, Path(name) / "run.h5", True)
        for dtype in (torch.float32, torch.float64):
            precision = str(dtype).removeprefix("torch.")
            for kind, steps in (("adam", 200 if quick else 1000), ("lbfgs", 10 if quick else 20)):
                found = overheads(kind, dtype, steps, 1 if quick else 2, Path(name))
                results[f"{kind}, {precision}"] = {"steps": steps, **found}
                for way, row in found.items():
                    lines.append((f"{kind}, {precision}, {way}, {steps} steps", f"{row['median']:+.1%}"))
            cost = block_cost(dtype, 4.0 if quick else 10.0)
            results[f"blocks, {precision}"] = cost
            for name_of, ratio in cost["ratios"].items():
                lines.append((f"{name_of}, {precision}", f"{ratio:.2f} steps"))
    table(f"cost of an attachment, 3x32, {POINTS} points", ("what", "CPU time"), lines)
    keep(results, json_file)
    return results


if __name__ == "__main__":
    typer.run(main)
