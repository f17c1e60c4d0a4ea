"""Linear Poisson on the disk: CPU seconds to an error, and the best error within a budget, for operators x optimizers.

Only training is timed: the weights of the stencils, which are found once, are listed apart, and errors are measured
outside the clock on finer nodes of their own.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch

from analyses.benchmarks.rbf_fd_judge import WIDTHS, Judge
from analyses.terminal import say
from solvers.discrete_solution import solve_on_nodes
from solvers.networks import MLP
from solvers.objective import Objective
from solvers.operators import RBFFD, AutoDiff, TangentProp
from solvers.operators.operator import Operator
from solvers.optimizers.lbfgs import LBFGS
from solvers.optimizers.levenberg_marquardt import LevenbergMarquardt
from solvers.optimizers.optimizer import Optimizer
from solvers.optimizers.schedule import Schedule
from solvers.optimizers.until import Evaluations
from solvers.problems import disk_poisson

NODES = 828
SEEDS = (0, 1, 2, 3, 4)
BUDGET_S = 60.0
LEAST_S = 0.02
SHARE = 0.01
"""The error is measured after each step that ends this long, or this share of the time, after the last measurement."""
THRESHOLDS = ("1e-2", "1e-3", "1e-4", "1e-5")
STARTING = 200
"""Evaluations of L-BFGS before Levenberg-Marquardt in the hybrid."""


@dataclass(frozen=True)
class Row:
    """What is trained how.

    Args:
        operator: of the derivatives.
        optimizer: of the loss.
        dtype: of network and points.
    """

    operator: Operator
    optimizer: Optimizer
    dtype: torch.dtype = torch.float64


def _hybrid() -> Schedule:
    return Schedule((LBFGS(), Evaluations(STARTING)), LevenbergMarquardt())


OPTIMIZERS: dict[str, Callable[[], Optimizer]] = {"L-BFGS": LBFGS, "LM": LevenbergMarquardt, "hybrid": _hybrid}
ORDERS = (3, 5, 6)
ROWS = {
    "vanilla L-BFGS": Row(AutoDiff(), LBFGS()),
    "vanilla32 L-BFGS": Row(AutoDiff(), LBFGS(), torch.float32),
    "vanilla LM": Row(AutoDiff(), LevenbergMarquardt()),
    "TangentProp L-BFGS": Row(TangentProp(), LBFGS()),
    "TangentProp LM": Row(TangentProp(), LevenbergMarquardt()),
} | {f"p={p} {name}": Row(RBFFD(p), make()) for p in ORDERS for name, make in OPTIMIZERS.items()}
"""Name -> row; vanilla is nested autograd in float64, vanilla32 in float32, p = ... is RBF-FD in float64."""


def prepared(row: Row, seed: int, count: int) -> Objective:
    """Return the loss of one run.

    Args:
        row: what is trained.
        seed: of the network.
        count: of interior and boundary nodes; only RBF-FD takes ghosts, and the equation on the boundary too.

    Returns:
        The objective.
    """
    problem, ghosts = disk_poisson(), int(isinstance(row.operator, RBFFD))
    points = problem.sample(interior=count, ghost_layers=ghosts).to(dtype=row.dtype)
    torch.manual_seed(seed)
    return Objective(problem, MLP(2, WIDTHS).to(row.dtype), row.operator, points)


def run(row: Row, seed: int, budget: float, count: int = NODES) -> dict[str, object]:
    """Train once, with the clock stopped while errors are measured.

    Args:
        row: what is trained.
        seed: of the network.
        budget: CPU seconds of training.
        count: of nodes.

    Returns:
        Seconds to each threshold (None where it was not reached), best error within the budget, its last improvements,
        evaluations, steps, and why it ended.
    """
    _warm(row, count)
    start = time.process_time()
    objective = prepared(row, seed, count)
    setup, judge, vector = time.process_time() - start, Judge(), objective.vector
    state, info = row.optimizer.init(vector), None
    spent, due, steps, track = 0.0, 0.0, 0, []
    gc.collect()
    while True:
        stopped = None if info is None else info.stopped
        over = stopped is not None or spent >= budget
        if spent >= due or over:
            track.append((spent, judge(vector)))
            due = max(spent + LEAST_S, (1 + SHARE) * spent)
        if over:
            break
        start = time.process_time()
        state, info = row.optimizer.step(objective, state)
        spent += time.process_time() - start
        steps += 1
    track = [(seconds, error) for seconds, error in track if seconds <= budget]
    return {
        "seed": seed,
        "budget": budget,
        "nodes": len(objective.points.rows),
        "setup_s": setup,
        "seconds_to": {name: first_below(track, float(name)) for name in THRESHOLDS},
        "best": min(error for _, error in track),
        "last": track[-1][1],
        "staircase": staircase(track),
        "evaluations": objective.evaluations,
        "steps": steps,
        "spent_s": spent,
        "stopped": stopped,
    }


@cache
def _warm(row: Row, count: int) -> None:
    """Make a step that does not count, which compiles what a process compiles once."""
    objective = prepared(row, 10_000, count)
    row.optimizer.step(objective, row.optimizer.init(objective.vector))


def first_below(track: Sequence[tuple[float, float]], threshold: float) -> float | None:
    """Return when an error was first at or below a threshold.

    Args:
        track: seconds and error, in order.
        threshold: relative error.

    Returns:
        Seconds, or None.

    Example:
        >>> first_below([(0.0, 1.0), (2.0, 0.01), (3.0, 0.02)], 0.01)
        2.0
    """
    return next((seconds for seconds, error in track if error <= threshold), None)


def staircase(track: Sequence[tuple[float, float]], factor: float = 0.9) -> list[list[float]]:
    """Return when the best error so far fell, by a factor at least.

    Args:
        track: seconds and error, in order.
        factor: of the last entry's error that the next one's must not exceed.

    Returns:
        Seconds and error, rounded.

    Example:
        >>> staircase([(0.0, 1.0), (1.0, 0.95), (2.0, 0.5), (3.0, 0.7)])
        [[0.0, 1.0], [2.0, 0.5]]
    """
    kept: list[list[float]] = []
    for seconds, error in track:
        if not kept or error <= factor * kept[-1][1]:
            kept.append([round(seconds, 3), float(f"{error:.4g}")])
    return kept


def floors(count: int) -> dict[str, dict[str, float]]:
    """Return the errors of the direct solutions, which no network trained on these nodes can be expected below.

    Args:
        count: of nodes.

    Returns:
        "p=3", ... -> relative l2 error at the nodes, and CPU seconds of a solve whose weights are known.
    """
    problem, found = disk_poisson(), {}
    points = problem.sample(interior=count)
    for order in ORDERS:
        solve_on_nodes(problem, points, RBFFD(order))
        start = time.process_time()
        solution = solve_on_nodes(problem, points, RBFFD(order))
        found[f"p={order}"] = {"rel_l2": solution.rel_l2, "seconds": time.process_time() - start}
    return found


def measure(
    names: Sequence[str],
    seeds: Sequence[int],
    budget: float,
    known: Sequence[dict[str, object]],
    keep_runs: Callable[[dict[str, object]], None],
    count: int = NODES,
) -> dict[str, object]:
    """Train all rows from all seeds, one run at a time: a seed's rows in random order, then the next seed's.

    Args:
        names: of `ROWS`.
        seeds: of the networks.
        budget: CPU seconds of each run.
        known: runs of earlier calls; those with the same row, seed, budget and nodes are not repeated.
        keep_runs: called with what there is after each run.
        count: of nodes.

    Returns:
        Floors and runs.
    """
    found: dict[str, object] = {"budget": budget, "nodes": count, "floors": floors(count), "runs": []}
    for seed in seeds:
        order = list(names)
        random.Random(seed).shuffle(order)
        for name in order:
            earlier = [own for own in known if _same(own, name, seed, budget, count)]
            own = earlier[0] if earlier else {"row": name, "count": count} | run(ROWS[name], seed, budget, count)
            found["runs"].append(own)
            times = ", ".join(f"{t} {_seconds(own['seconds_to'][t])}" for t in THRESHOLDS)
            again = "kept: " if earlier else ""
            say(f"{again}{name}, seed {seed}: {times} s; best {own['best']:.1e}; {own['stopped'] or ''}")
            keep_runs(found)
    return found


def _same(own: dict[str, object], name: str, seed: int, budget: float, count: int) -> bool:
    return (own["row"], own["seed"], own["budget"], own["count"]) == (name, seed, budget, count)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
