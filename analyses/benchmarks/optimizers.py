"""What L-BFGS costs beside the loss: ours, torch.optim.LBFGS and scipy's L-BFGS-B; and how low each gets.

Run as `python -m analyses.benchmarks.optimizers [--quick] [--json FILE]`; about 10 minutes, 5 s with --quick. Set
OMP_NUM_THREADS=1 for one core.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from pathlib import Path
from typing import Annotated, Optional

import numpy as np
import scipy.optimize
import torch
import typer
from torch import Tensor

from analyses.benchmarks.clocked import Clocked, Enough, Loss, steps
from analyses.benchmarks.machine import describe_machine
from analyses.benchmarks.optimizer_losses import chained_rosenbrock, poisson_network
from analyses.terminal import keep, table
from solvers.optimizers.lbfgs import LBFGS

SIZES = (522, 7_851, 50_000)
"""Parameters: MLPs of 2x20 and 4x50 hidden units, and a larger one."""
HISTORIES = (10, 100)


def ours(loss: Loss, vector: Tensor, history: int) -> None:
    """Run our L-BFGS.

    Args:
        loss: that ends the run.
        vector: start, updated in place.
        history: pairs.
    """
    optimizer = LBFGS(history=history, tolerance_gradient=0.0, tolerance_change=0.0)
    for _ in steps(optimizer, loss, vector):
        pass


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
            loss, vector = poisson_network(seed)
            start = time.process_time()
            found = clocked(name, loss, vector, 100, evaluations)
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
