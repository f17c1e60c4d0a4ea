"""What the dense SSBFGS and SSBroyden cost beside the loss, against plain numpy and scipy's BFGS; how low each gets.

Run as `python -m analyses.benchmarks.self_scaled [--quick] [--json FILE]`, with OMP_NUM_THREADS=1 and
OPENBLAS_NUM_THREADS=1: the times are those of one core. About 5 minutes, 6 s with --quick. scipy's BFGS is measured
over fewer evaluations, and left out at 3,000 parameters: it updates by two products of n x n matrices, seconds there.
A matrix is updated once an iteration, so that a search of more evaluations hides its cost: their number stands beside.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Optional

import numpy as np
import scipy.optimize
import torch
import typer
from torch import Tensor

from analyses.benchmarks.clocked import Clocked, Enough, Loss, steps
from analyses.benchmarks.machine import describe_machine
from analyses.benchmarks.optimizer_losses import chained_rosenbrock, poisson_network
from analyses.benchmarks.plain_ssbfgs import PlainSSBFGS
from analyses.terminal import keep, say, table
from solvers.optimizers import LBFGS, SSBFGS, Optimizer, SSBroyden

# No test of their own may end a run: the evaluations do.
UNTESTED = {"tolerance_gradient": 0.0, "tolerance_step": 0.0, "tolerance_change": 0.0}
OURS: Mapping[str, Callable[[], Optimizer]] = MappingProxyType(
    {
        "SSBFGS": partial(SSBFGS, **UNTESTED),
        "SSBroyden": partial(SSBroyden, **UNTESTED),
        "numpy SSBFGS": partial(PlainSSBFGS, **UNTESTED),
        "LBFGS": partial(LBFGS, history=100, **UNTESTED),
    }
)
"""Name -> function that makes the optimizer."""
SCIPY = "scipy BFGS"
TIMED = ("SSBFGS", "SSBroyden", "numpy SSBFGS", SCIPY)
TRAINED = ("SSBFGS", "SSBroyden", "LBFGS", SCIPY)
EVALUATIONS = MappingProxyType({522: 400, 1_274: 400, 3_000: 120})
"""Parameters -> evaluations of a timed run."""
EVALUATIONS_SCIPY = MappingProxyType({522: 200, 1_274: 40})
"""The same for scipy's BFGS, which is left out elsewhere; its update costs the same from the first on."""
LEFT_OUT = "scipy's BFGS updates by two products of n x n matrices, 4 n^3 flops: seconds an evaluation"


@dataclass(eq=False)
class Run:
    """A run of an optimizer on a clocked loss.

    Args:
        clocked: the loss with its times.
        ends: evaluations made at the end of each iteration.
        stopped: why the optimizer ended it; empty where the evaluations did.
    """

    clocked: Clocked
    ends: list[int] = field(default_factory=list)
    stopped: str = ""

    @property
    def evaluations(self) -> int:
        """Those made."""
        return len(self.clocked.left)

    def share(self, skipped: int) -> float:
        """Return the evaluations an iteration.

        Args:
            skipped: first evaluations that are left out.

        Returns:
            Mean; NaN without an iteration.
        """
        iterations = sum(end > skipped for end in self.ends)
        return (self.evaluations - skipped) / iterations if iterations else float("nan")

    def iterated(self, _at: np.ndarray | None = None) -> None:
        """Note the end of an iteration."""
        self.ends.append(self.evaluations)


def scipys(run: Run, vector: Tensor) -> str:
    """Run scipy's BFGS.

    Args:
        run: its loss may end it.
        vector: start, updated in place.

    Returns:
        Why it stopped.
    """

    def both(x: np.ndarray) -> tuple[float, np.ndarray]:
        vector.copy_(torch.from_numpy(x))
        value, gradient = run.clocked(vector)
        # A copy: scipy keeps the gradient, and a loss may write the next one over it.
        return value, gradient.numpy().copy()

    limits = {"gtol": 0.0, "maxiter": 10**9}
    start = vector.numpy().copy()
    return scipy.optimize.minimize(both, start, jac=True, method="BFGS", callback=run.iterated, options=limits).message


def perform(name: str, loss: Loss, vector: Tensor, evaluations: int) -> Run:
    """Run an optimizer for a number of evaluations, or until it stops.

    Args:
        name: of `OURS`, or `SCIPY`.
        loss: vector -> value and gradient.
        vector: start, updated in place.
        evaluations: of the run.

    Returns:
        The run.
    """
    run = Run(Clocked(loss, evaluations))
    try:
        if name == SCIPY:
            run.stopped = scipys(run, vector)
        else:
            for info in steps(OURS[name](), run.clocked, vector):
                run.iterated()
                run.stopped = info.stopped or ""
    except Enough:
        pass
    return run


def overheads(evaluations: Mapping[int, int], evaluations_scipy: Mapping[int, int], rounds: int) -> list[dict]:
    """Measure the CPU time between evaluations, in rounds of random order.

    Args:
        evaluations: number of parameters -> evaluations of a run; its second half is measured.
        evaluations_scipy: the same for scipy's BFGS, which is left out at any other size.
        rounds: of all optimizers.

    Returns:
        A row a size and optimizer: milliseconds an evaluation, every round's and their median; where one is left out,
        why.
    """
    counts = {(name, size): count for size, count in evaluations.items() for name in TIMED if name != SCIPY}
    counts |= {(SCIPY, size): count for size, count in evaluations_scipy.items()}
    runs: dict[tuple[str, int], list[Run]] = {case: [] for case in counts}
    order, shuffle = list(counts), random.Random(0).shuffle
    for _ in range(rounds):
        shuffle(order)
        for name, size in order:
            start = torch.linspace(-1.2, 1.0, size, dtype=torch.float64)
            runs[name, size].append(perform(name, chained_rosenbrock, start, counts[name, size]))
    return [_timed(name, size, runs.get((name, size), ())) for size in evaluations for name in TIMED]


def _timed(name: str, size: int, runs: list[Run] | tuple[()]) -> dict[str, object]:
    """Return the row of an optimizer at a size, from its runs."""
    row: dict[str, object] = {"optimizer": name, "parameters": size}
    if not runs:
        return row | {"left_out": LEFT_OUT}
    skipped = runs[0].clocked.evaluations // 2
    values = [1e3 * run.clocked.overhead(skipped) for run in runs]
    return row | {
        "evaluations": runs[0].evaluations,
        "evaluations_an_iteration": runs[0].share(skipped),
        "ms": statistics.median(values),
        "rounds_ms": [round(value, 4) for value in values],
    }


def network_losses(seeds: int, evaluations: int) -> list[dict[str, object]]:
    """Train a 2x20 network on the Poisson equation on an interval from the same starts.

    Args:
        seeds: number of starts, from seed 0.
        evaluations: of each run.

    Returns:
        A row a seed and optimizer: lowest loss, evaluations made, CPU seconds, and why a run ended before its
        evaluations did.
    """
    rows: list[dict[str, object]] = []
    for seed in range(seeds):
        for name in TRAINED:
            loss, vector = poisson_network(seed)
            start = time.process_time()
            run = perform(name, loss, vector, evaluations)
            seconds = time.process_time() - start
            row = {"optimizer": name, "seed": seed, "loss": run.clocked.lowest, "evaluations": run.evaluations}
            rows.append(row | {"seconds": seconds, "stopped": run.stopped})
    return rows


def _show(times: list[dict[str, object]], losses: list[dict[str, object]], evaluations: int) -> None:
    """Print a table of the times and one of the losses."""
    cells: dict[object, list[str]] = {}
    for row in times:
        cell = f"{row['ms']:.3f} ({row['evaluations_an_iteration']:.1f})" if "ms" in row else "left out"
        cells.setdefault(row["parameters"], []).append(cell)
    lines = [(f"{size:,}", *found) for size, found in cells.items()]
    title = "dense methods beside the loss, CPU milliseconds an evaluation (evaluations an iteration)"
    table(title, ("parameters", *TIMED), lines)
    for size in dict.fromkeys(row["parameters"] for row in times if "left_out" in row):
        say(f"left out at {size:,}: {LEFT_OUT}\n")
    cells = {}
    for row in losses:
        early = f" ({row['evaluations']:,})" if row["stopped"] else ""
        cells.setdefault(row["seed"], []).append(f"{row['loss']:.1e}{early}")
    lines = [(str(seed), *found) for seed, found in cells.items()]
    title = f"loss of a Poisson network after {evaluations:,} evaluations (or as many as it took to stop)"
    table(title, ("seed", *TRAINED), lines)


def main(
    quick: Annotated[bool, typer.Option("--quick", help="One size, one seed, few evaluations: about 5 s.")] = False,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Write the results here.")] = None,  # noqa: UP045
) -> dict[str, object]:
    """Measure, print two tables, and return the results.

    Args:
        quick: one size and one seed.
        json_file: where to keep the results.

    Returns:
        Every round's times, every seed's losses.
    """
    timed, timed_scipy, rounds = ({522: 40}, {522: 16}, 1) if quick else (EVALUATIONS, EVALUATIONS_SCIPY, 3)
    seeds, evaluations = (1, 40) if quick else (5, 2_000)
    times = overheads(timed, timed_scipy, rounds)
    losses = network_losses(seeds, evaluations)
    results: dict[str, object] = {
        "machine": describe_machine() | {"scipy": scipy.__version__},
        "threads": {name: os.environ.get(name, "all") for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")},
        "overheads": times,
        "losses": losses,
    }
    _show(times, losses, evaluations)
    keep(results, json_file)
    return results


if __name__ == "__main__":
    typer.run(main)
