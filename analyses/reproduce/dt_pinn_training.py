"""Train one arm for a number of seconds, and measure its error with the clock stopped."""

from __future__ import annotations

import gc
import time
import warnings
from dataclasses import dataclass, field

import numpy as np
import torch

from analyses.reproduce.dt_pinn_ground import Ground
from analyses.reproduce.dt_pinn_settings import DISCRETE, WIDTHS, Arm
from solvers.networks import MLP
from solvers.objective import Objective
from solvers.optimizers.lbfgs import LBFGS

FIRST_LOG, LOG_GROWTH = 0.05, 1.06
"""Seconds of the first measurement, and from one to the next: 6 % is how well a time is resolved."""


@dataclass(frozen=True)
class Trained:
    """One training.

    Args:
        study: its name.
        count: of nodes asked for, in space.
        arm: how derivatives were taken.
        seed: of the weights.
        budget: seconds given.
        setup: seconds before the first step: stencils, code generation, the first evaluation.
        stopped: why the optimizer ended before, or "".
        seconds: of training alone at each measurement.
        iterations: of L-BFGS until then.
        evaluations: of loss and gradient until then; the first is made before the clock starts.
        errors: relative L2.
    """

    study: str
    count: int
    arm: Arm
    seed: int
    budget: float
    setup: float
    stopped: str
    seconds: list[float]
    iterations: list[int]
    evaluations: list[int]
    errors: list[float]


@dataclass(eq=False)
class Stopwatch:
    """CPU seconds within its `with` blocks, added up; wall seconds on a CUDA device, whose work it waits for.

    Garbage is collected between the blocks: a collection takes as long as ten steps, and would hit arms by chance.
    """

    device: str
    total: float = 0.0
    _since: float = field(default=0.0, init=False)

    def _now(self) -> float:
        if self.device == "cpu":
            return time.process_time()
        torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def __enter__(self) -> Stopwatch:
        gc.disable()
        self._since = self._now()
        return self

    def __exit__(self, *raised: object) -> None:
        self.total += self._now() - self._since
        gc.enable()


def train_arm(ground: Ground, arm: Arm, seed: int) -> Trained:
    """Train a network of 4x50 by L-BFGS until the seconds are used up or the loss falls no further.

    Only optimizer steps are on the clock: neither errors nor what a plan prepares once.

    Args:
        ground: nodes and budget.
        arm: how derivatives are taken.
        seed: of the weights, the same for every arm.

    Returns:
        The measurements.
    """
    torch.manual_seed(seed)
    budget, setup, watch = ground.study.budget(ground.count), Stopwatch(ground.device), Stopwatch(ground.device)
    network = MLP(len(ground.problem.axes), WIDTHS).to(ground.device, arm.dtype)
    with setup, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        points = ground.points(ghosts=arm.method == DISCRETE).to(ground.device, arm.dtype)
        objective = Objective(ground.problem, network, arm.operator, points)
        optimizer = LBFGS()
        state = optimizer.init(objective.vector)
        _ = objective(objective.vector).gradient
    log: list[tuple[float, int, int, float]] = [(0.0, 0, objective.evaluations, ground.error(network, arm.dtype))]
    due, iterations, stopped = FIRST_LOG, 0, None
    while stopped is None and watch.total < budget:
        with watch:
            state, info = optimizer.step(objective, state)
        iterations, stopped = iterations + 1, info.stopped
        if watch.total >= min(due, budget) or stopped is not None:
            due = max(due, watch.total) * LOG_GROWTH
            error = ground.error(network, arm.dtype)
            log.append((watch.total, iterations, objective.evaluations, error))
    columns = [list(column) for column in zip(*log, strict=True)]
    seconds, errors = ([float(f"{value:.5g}") for value in column] for column in (columns[0], columns[3]))
    return Trained(
        ground.study.name,
        ground.count,
        arm,
        seed,
        budget,
        setup.total,
        stopped or "",
        seconds,
        columns[1],
        columns[2],
        errors,
    )


def lowest(run: Trained, iterations: float = np.inf) -> int:
    """Return where a run's error is lowest.

    Args:
        run: a training.
        iterations: beyond which nothing counts.

    Returns:
        Index of the measurement.

    Example:
        >>> run = Trained("linear", 9, Arm("DT", 64, 2), 0, 1, 0, "", [0, 1, 2], [0, 5, 9], [0, 6, 11], [1, 0.2, 0.1])
        >>> lowest(run), lowest(run, 7)
        (2, 1)
    """
    errors = np.where(np.asarray(run.iterations) <= iterations, run.errors, np.inf)
    return int(np.argmin(np.nan_to_num(errors, nan=np.inf)))


def reaches(run: Trained, error: float) -> int | None:
    """Return where a run first reaches an error.

    Args:
        run: a training.
        error: relative L2.

    Returns:
        Index of the measurement, or None.
    """
    found = np.flatnonzero(np.asarray(run.errors) <= error)
    return int(found[0]) if len(found) else None
