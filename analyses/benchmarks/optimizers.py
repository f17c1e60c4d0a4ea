"""What L-BFGS costs beside the loss: ours, torch.optim.LBFGS and scipy's L-BFGS-B; and how low each gets.

Run as `python -m analyses.benchmarks.optimizers [--quick] [--json FILE]`; about 10 minutes, 5 s with --quick. Set
OMP_NUM_THREADS=1 for one core.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Optional

import numpy as np
import scipy.optimize
import torch
import typer
from torch import Tensor

from analyses.benchmarks.machine import describe_machine
from analyses.terminal import keep, table
from solvers.networks import MLP
from solvers.objective import Objective
from solvers.operators import AutoDiff
from solvers.optimizers.lbfgs import LBFGS
from solvers.problems import poisson_1d

Loss = Callable[[Tensor], tuple[float, Tensor]]
"""Vector -> value and gradient."""
SIZES = (522, 7_851, 50_000)
"""Parameters: MLPs of 2x20 and 4x50 hidden units, and a larger one."""
HISTORIES = (10, 100)


class Enough(Exception):
    """The evaluations are used up."""


@dataclass(eq=False)
class Clocked:
    """A loss that takes the CPU time between its evaluations, and ends the run after some of them.

    Args:
        loss: vector -> value and gradient.
        evaluations: after which the run ends.
        entered: CPU seconds at the beginning of each evaluation.
        left: CPU seconds at the end of each.
        lowest: value seen.
    """

    loss: Loss
    evaluations: int
    entered: list[float] = field(default_factory=list)
    left: list[float] = field(default_factory=list)
    lowest: float = float("inf")

    def __call__(self, vector: Tensor) -> tuple[float, Tensor]:
        """Evaluate.

        Args:
            vector: (parameters,).

        Returns:
            Value and gradient.

        Raises:
            Enough: all evaluations are made.
        """
        self.entered.append(time.process_time())
        if len(self.entered) > self.evaluations:
            raise Enough
        value, gradient = self.loss(vector)
        self.lowest = min(self.lowest, value)
        self.left.append(time.process_time())
        return value, gradient

    def overhead(self, skipped: int) -> float:
        """Return what the optimizer took an evaluation.

        Args:
            skipped: first evaluations that are left out, while the history fills.

        Returns:
            Mean CPU seconds.
        """
        gaps = [entered - left for entered, left in zip(self.entered[1:], self.left, strict=False)][skipped:]
        return statistics.fmean(gaps)


def chained_rosenbrock(vector: Tensor) -> tuple[float, Tensor]:
    """Return a cheap loss that takes many iterations, sum of 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2, and its gradient.

    Args:
        vector: (parameters,).

    Returns:
        Value and gradient.

    Example:
        >>> chained_rosenbrock(torch.tensor([0.0, 1.0], dtype=torch.float64))
        (101.0, tensor([ -2., 200.], dtype=torch.float64))
    """
    head, bend, away = vector[:-1], vector[1:] - vector[:-1] ** 2, 1 - vector[:-1]
    gradient = torch.zeros_like(vector)
    gradient[:-1] = -400 * head * bend - 2 * away
    gradient[1:] += 200 * bend
    return float(100 * bend @ bend + away @ away), gradient


def ours(loss: Loss, vector: Tensor, history: int) -> None:
    """Run our L-BFGS, sharing the evaluation at an unchanged vector as training does.

    Args:
        loss: that ends the run.
        vector: start, updated in place.
        history: pairs.
    """
    latest: list = [None, None]

    def objective(at: Tensor) -> SimpleNamespace:
        if latest[0] != at._version:
            value, gradient = loss(at)
            latest[:] = at._version, SimpleNamespace(value=torch.tensor(value), gradient=gradient)
        return latest[1]

    optimizer = LBFGS(history=history, tolerance_gradient=0.0, tolerance_change=0.0)
    state, info = optimizer.init(vector), None
    while info is None or info.stopped is None:
        state, info = optimizer.step(objective, state)


def torchs(loss: Loss, vector: Tensor, history: int) -> None:
    """Run torch.optim.LBFGS.

    Args:
        loss: that ends the run.
        vector: start, updated in place.
        history: pairs.
    """
    options = {"lr": 1.0, "history_size": history, "line_search_fn": "strong_wolfe"}
    limits = {"max_iter": 10**9, "max_eval": 10**9, "tolerance_change": 0.0, "tolerance_grad": 0.0}
    optimizer = torch.optim.LBFGS([vector], **options, **limits)

    def closure() -> float:
        value, vector.grad = loss(vector)
        return value

    optimizer.step(closure)


def scipys(loss: Loss, vector: Tensor, history: int) -> None:
    """Run scipy's L-BFGS-B.

    Args:
        loss: that ends the run.
        vector: start, updated in place.
        history: pairs.
    """

    def both(x: np.ndarray) -> tuple[float, np.ndarray]:
        vector.copy_(torch.from_numpy(x))
        value, gradient = loss(vector)
        return value, gradient.numpy()

    limits = {"maxfun": 10**9, "maxiter": 10**9, "ftol": 0.0, "gtol": 0.0}
    scipy.optimize.minimize(
        both, vector.numpy().copy(), jac=True, method="L-BFGS-B", options={"maxcor": history} | limits
    )


OPTIMIZERS = {"ours": ours, "torch": torchs, "scipy": scipys}


def clocked(name: str, loss: Loss, vector: Tensor, history: int, evaluations: int) -> Clocked:
    """Run an optimizer for a number of evaluations, or until it stops.

    Args:
        name: of `OPTIMIZERS`.
        loss: vector -> value and gradient.
        vector: start, updated in place.
        history: pairs.
        evaluations: of the run.

    Returns:
        The loss with its times.
    """
    found = Clocked(loss, evaluations)
    try:
        OPTIMIZERS[name](found, vector, history)
    except Enough:
        pass
    return found


def overheads(sizes: tuple[int, ...], evaluations: int, rounds: int) -> list[dict[str, object]]:
    """Measure the CPU time between evaluations, in rounds of random order.

    Args:
        sizes: numbers of parameters.
        evaluations: of a run; its second half is measured.
        rounds: of all optimizers.

    Returns:
        A row a size, history and optimizer: milliseconds an evaluation, every round's and their median.
    """
    cases = [(name, size, history) for size in sizes for history in HISTORIES for name in OPTIMIZERS]
    seconds: dict[tuple[str, int, int], list[float]] = {case: [] for case in cases}
    order, shuffle = list(cases), random.Random(0).shuffle
    for _ in range(rounds):
        shuffle(order)
        for name, size, history in order:
            start = torch.linspace(-1.2, 1.0, size, dtype=torch.float64)
            found = clocked(name, chained_rosenbrock, start, history, evaluations)
            seconds[name, size, history].append(found.overhead(evaluations // 2))
    return [
        {
            "optimizer": name,
            "parameters": size,
            "history": history,
            "ms": 1e3 * statistics.median(values),
            "rounds_ms": [round(1e3 * value, 4) for value in values],
        }
        for (name, size, history), values in seconds.items()
    ]


def network_losses(seeds: int, evaluations: int) -> list[dict[str, object]]:
    """Train a 2x20 network on the Poisson equation on an interval from the same starts.

    Args:
        seeds: number of starts.
        evaluations: of each run.

    Returns:
        A row a seed and optimizer: lowest loss, evaluations made and CPU seconds.
    """
    rows: list[dict[str, object]] = []
    for seed in range(seeds):
        for name in OPTIMIZERS:
            torch.manual_seed(seed)
            problem = poisson_1d()
            points = problem.sample(interior=64, boundary=2, seed=seed)
            objective = Objective(problem, MLP(1, [20, 20]).double(), AutoDiff(), points)

            def loss(vector: Tensor, objective: Objective = objective) -> tuple[float, Tensor]:
                evaluation = objective(vector)
                return float(evaluation.value.detach()), evaluation.gradient

            start = time.process_time()
            found = clocked(name, loss, objective.vector, 100, evaluations)
            seconds = time.process_time() - start
            rows.append(
                {
                    "optimizer": name,
                    "seed": seed,
                    "loss": found.lowest,
                    "evaluations": len(found.left),
                    "seconds": seconds,
                }
            )
    return rows


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
    sizes, evaluations, rounds = (SIZES[:1], 60, 1) if quick else (SIZES, 400, 3)
    seeds, steps = (1, 60) if quick else (5, 2_000)
    times = overheads(sizes, evaluations, rounds)
    losses = network_losses(seeds, steps)
    results: dict[str, object] = {
        "machine": describe_machine(),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "overheads": times,
        "losses": losses,
    }
    columns = ("parameters", "history", *OPTIMIZERS)
    found = {(row["parameters"], row["history"], row["optimizer"]): row["ms"] for row in times}
    lines = [
        (f"{size:,}", str(history), *(f"{found[size, history, name]:.3f}" for name in OPTIMIZERS))
        for size in sizes
        for history in HISTORIES
    ]
    table("L-BFGS beside the loss, CPU milliseconds an evaluation", columns, lines)
    reached = {(row["seed"], row["optimizer"]): row["loss"] for row in losses}
    lines = [(str(seed), *(f"{reached[seed, name]:.1e}" for name in OPTIMIZERS)) for seed in range(seeds)]
    table(f"loss of a Poisson network after {steps:,} evaluations, history 100", ("seed", *OPTIMIZERS), lines)
    keep(results, json_file)
    return results


if __name__ == "__main__":
    typer.run(main)
