"""Random features: error and time of each problem, beside 30 lines of scipy and finite differences at their best step.

Run as `python -m analyses.benchmarks.random_features [--quick] [--json FILE]` with OMP_NUM_THREADS=1; about 5 minutes,
20 s with --quick. Errors are those of the problem's test grid, off the collocation points; times are CPU seconds of
sampling, assembly and solution on one core, without the first call, which compiles kernels and is kept apart.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Optional

import numpy as np
import scipy.linalg
import torch
import typer

from analyses.benchmarks.interleaved import clock, interleave
from analyses.benchmarks.machine import describe_machine
from analyses.terminal import keep, say, table
from solvers import FiniteDifference, Points, RandomFeatures, Sine, TangentProp, problems, solve_least_squares
from solvers.networks import LocalFeatures
from solvers.problems import Problem
from solvers.scoring import Score

RCOND = 1e-15
STEPS = (0.2, 0.1, 0.05, 0.03, 0.02, 0.01, 5e-3, 2e-3, 1e-3)
WAVES = 32


@dataclass(frozen=True)
class Setting:
    """One problem with the numbers that a sweep found good, and its goal.

    Args:
        problem: with its solution.
        features: M.
        scale: of the sine features.
        points: options of `problem.sample`, or the shape of a Chebyshev grid.
        method: of the solution.
        error: goal, largest or relative L2 error.
        seconds: goal.
    """

    problem: Problem
    features: int
    scale: float | tuple[float, ...]
    points: dict[str, object] | tuple[int, int]
    method: str
    error: float
    seconds: float


PLATE = {"interior": 784, "boundary": 200, "method": "lhs"}
ROD = {"interior": 784, "boundary": 100, "initial": 100, "method": "lhs"}
SETTINGS = {
    "poisson-1d": Setting(problems.poisson_1d(), 100, 6.0, {"interior": 200, "method": "grid"}, "svd", 1e-12, 0.1),
    "poisson-2d": Setting(problems.poisson_2d(), 400, 6.0, PLATE, "svd", 1e-13, 1.0),
    "helmholtz": Setting(
        problems.helmholtz((1, 4)),
        700,
        (6.0, 18.0),
        {"interior": 1444, "boundary": 240, "method": "lhs"},
        "svd",
        1e-12,
        2.0,
    ),
    "biharmonic-2d": Setting(problems.biharmonic_2d(), 400, 6.0, PLATE, "svd", 1e-12, 2.0),
    "heat": Setting(problems.heat(), 400, 6.0, ROD, "svd", 1e-8, 10.0),
    "nonlinear-poisson-2d": Setting(problems.nonlinear_poisson_2d(), 400, 6.0, PLATE, "svd", 1e-8, 10.0),
    "burgers": Setting(problems.burgers(0.1), 1300, (55.0, 22.0), (66, 40), "qr", 1e-8, 10.0),
}
QUICK = ("poisson-1d", "poisson-2d", "heat")


def chebyshev_points(problem: Problem, shape: tuple[int, int]) -> Points:
    """Return a grid of Chebyshev points of the first kind in space-time: dense at the faces, where errors are largest.

    Args:
        problem: with the axes x and t.
        shape: points along x and along t; the faces and the initial time take as many.

    Returns:
        Points in float64.

    Example:
        >>> chebyshev_points(problems.burgers(0.1), (5, 4)).counts
        (20, 8, 5)
    """
    x, t = (-np.cos(np.pi * (np.arange(count) + 0.5) / count) for count in shape)
    low, high = (np.array(limits) for limits in (problem.domain.lower, problem.domain.upper))

    def inside(first, second):
        unit = np.stack(np.broadcast_arrays(first, second), axis=-1).reshape(-1, 2)
        return low + (unit + 1) / 2 * (high - low)

    sides = np.r_[inside(-1.0, t), inside(1.0, t)]
    normals = np.repeat([[-1.0, 0.0], [1.0, 0.0]], len(t), axis=0)
    parts = {"x-": torch.arange(len(t)), "x+": torch.arange(len(t), 2 * len(t))}
    return Points(inside(x[:, None], t), sides, inside(x, -1.0), None, normals, parts, axes=problem.axes)


def draw(setting: Setting, seed: int) -> Points:
    """Return the collocation points of a setting.

    Args:
        setting: of the problem.
        seed: of random ones.

    Returns:
        The points.
    """
    if isinstance(setting.points, tuple):
        return chebyshev_points(setting.problem, setting.points)
    return setting.problem.sample(seed=seed, **setting.points)


def ours(setting: Setting, seed: int, operator=None, method: str | None = None):
    """Sample, assemble and solve, without scoring.

    Args:
        setting: of the problem.
        seed: of points and features.
        operator: exact by default.
        method: the setting's by default.

    Returns:
        The solution.
    """
    features = RandomFeatures(len(setting.problem.axes), setting.features, Sine, scale=setting.scale, seed=seed)
    return solve_least_squares(
        replace(setting.problem, solution=None),
        features,
        operator or TangentProp(),
        points=draw(setting, seed),
        weights="balanced",
        method=method or setting.method,
        rcond=RCOND,
    )


def score(problem: Problem, network: Callable) -> dict[str, float]:
    """Return both errors of a network.

    Args:
        problem: with its solution.
        network: (n, axes) -> (n, 1).

    Returns:
        `rel_l2` and `max_error`.
    """
    errors = Score(problem, torch.zeros(1, dtype=torch.float64))(network)
    return {"rel_l2": errors.rel_l2, "max_error": errors.max_error}


# The peer: what a numerical analyst writes for one problem in an afternoon, with sines differentiated by hand. It knows
# no other activation, operator or problem, records nothing, and draws the same points and features.


def scipy_peer(name: str, setting: Setting, seed: int) -> Callable:
    """Solve a problem by numpy and `scipy.linalg.lstsq` (gelsd) alone.

    Args:
        name: of the setting.
        setting: of the problem.
        seed: of points and features.

    Returns:
        The network, as a function of tensors.
    """
    points = draw(setting, seed)
    inside, sides, initial = (part.numpy() for part in (points.interior, points.boundary, points.initial))
    axes = inside.shape[1]
    scales = np.array(setting.scale if isinstance(setting.scale, tuple) else (setting.scale,) * axes)
    drawn = np.random.default_rng(seed).uniform(-1, 1, (setting.features, axes + 1)) * [*scales, scales.max()]
    w, b = drawn[:, :axes], drawn[:, axes]
    square, z = (w**2).sum(axis=1), inside @ w.T + b
    phi, value = np.sin(z), setting.problem.solution(points.interior).numpy()[:, 0]
    blocks = [np.sin(np.r_[sides, initial] @ w.T + b)]
    rights = [setting.problem.solution(torch.from_numpy(np.r_[sides, initial])).numpy()[:, 0]]

    def solve(matrix, right):
        scaled = [np.linalg.norm(matrix, axis=1).max() / np.linalg.norm(block, axis=1).max() for block in blocks]
        whole = np.vstack([matrix, *(s * block for s, block in zip(scaled, blocks, strict=True))])
        known = np.concatenate([right, *(s * given for s, given in zip(scaled, rights, strict=True))])
        return scipy.linalg.lstsq(whole, known, cond=RCOND, check_finite=False)[0]

    if name.startswith("poisson"):
        c = solve(square * phi, math.pi**2 * axes * value)
    elif name == "helmholtz":
        c = solve((1 - square) * phi, (1 - 17 * math.pi**2) * value)
    elif name == "biharmonic-2d":
        normals = points.normals.numpy()
        blocks.append(np.cos(sides @ w.T + b) * (normals @ w.T))
        along = [np.cos(math.pi * sides[:, i]) * np.sin(math.pi * sides[:, 1 - i]) for i in (0, 1)]
        rights.append(math.pi * (normals[:, 0] * along[0] + normals[:, 1] * along[1]))
        c = solve(square**2 * phi, 4 * math.pi**4 * value)
    elif name == "heat":
        c = solve(w[:, 1] * np.cos(z) + 0.1 * w[:, 0] ** 2 * phi, np.zeros(len(z)))
    elif name == "nonlinear-poisson-2d":
        c = np.zeros(len(w))
        for _ in range(6):
            u = phi @ c
            c = solve(square * phi + 3 * u[:, None] ** 2 * phi, 2 * math.pi**2 * value + value**3 + 2 * u**3)
    else:
        c, slope = np.zeros(len(w)), np.cos(z)
        x, linear = w[:, 0] * slope, w[:, 1] * slope + 0.1 * w[:, 0] ** 2 * phi
        for _ in range(5):
            u, u_x = phi @ c, x @ c
            c = solve(linear + u[:, None] * x + u_x[:, None] * phi, u * u_x)
    return lambda rows: torch.from_numpy(np.sin(rows.numpy() @ w.T + b) @ c)[:, None]


def measure(name: str, setting: Setting, seeds: int, budget: float, steps: tuple[float, ...]) -> dict[str, object]:
    """Measure one problem: errors over the seeds, times in interleaved rounds, finite differences at their best step.

    Args:
        name: of the setting.
        setting: of the problem.
        seeds: their number.
        budget: CPU seconds of the rounds.
        steps: of finite differences to choose from.

    Returns:
        Plain values for JSON.
    """
    problem, other = setting.problem, "svd" if setting.method == "qr" else "qr"
    first = clock(lambda: ours(setting, 0))[0]
    found: dict[str, list] = {"ours": [], "peer": [], "finite_differences": [], other: []}
    seconds: dict[str, list] = {name: [] for name in found}

    def best_step(operator) -> float:
        return score(problem, ours(setting, 0, operator).network)["rel_l2"]

    operators = [FiniteDifference(step=step, order=order) for step in steps for order in (2, 4)]
    best = min((operator for operator in operators if _reaches(operator, setting)), key=best_step)
    calls = {
        "ours": lambda seed: ours(setting, seed).network,
        "peer": lambda seed: scipy_peer(name, setting, seed),
        "finite_differences": lambda seed: ours(setting, seed, best).network,
        other: lambda seed: ours(setting, seed, method=other).network,
    }
    for seed in range(seeds):
        for method, call in calls.items():
            kept = []
            seconds[method].append(clock(lambda call=call, seed=seed, kept=kept: kept.append(call(seed)))[0])
            found[method].append(score(problem, kept[0]))
    timings = interleave({method: lambda call=call: call(0) for method, call in calls.items()}, budget)
    solution = ours(setting, 0)
    entry: dict[str, object] = {
        "settings": {
            "features": setting.features,
            "scale": setting.scale,
            "points": setting.points,
            "rows": solution.spectrum.regression.shape[0],
            "rcond": RCOND,
            "weights": "balanced",
        },
        "goal": {"error": setting.error, "seconds": setting.seconds},
        "first_call_cpu_s": first,
        "iterations": solution.iterations,
        "stopped": solution.stopped,
        "rank": solution.rank,
        "best_difference": {"step": best.step, "order": best.order},
        "methods": {},
    }
    for method, scores in found.items():
        entry["methods"][method] = {
            "method": setting.method if method in ("ours", "finite_differences") else method,
            **{key: statistics.median(s[key] for s in scores) for key in scores[0]},
            "worst_rel_l2": max(s["rel_l2"] for s in scores),
            "cpu_s_by_seed": seconds[method],
            "seeds": scores,
            "timing": timings[method].as_json(),
        }
    milliseconds = {method: timing.as_json()["cpu_ms"] for method, timing in timings.items()}
    entry["ratio_to_peer"] = milliseconds["ours"] / milliseconds["peer"]
    mine = entry["methods"]["ours"]
    entry["reached"] = mine["rel_l2"] <= setting.error and milliseconds["ours"] / 1e3 <= setting.seconds
    return entry


def _reaches(operator: FiniteDifference, setting: Setting) -> bool:
    """Whether a step leaves digits above round-off for the problem's highest derivative."""
    try:
        operator.plan(draw(setting, 0).only("interior"), setting.problem.partials)
    except ValueError:
        return False
    return True


def local_gain(features: int, seeds: int) -> list[dict[str, object]]:
    """Compare features of the whole interval with features in cells at the same M, for u = sin(32 pi x).

    Args:
        features: M.
        seeds: their number.

    Returns:
        One entry an activation and kind, with the median error at each scale.
    """
    problem = problems.poisson_1d(WAVES)
    points = problem.sample(interior=2 * features, method="grid")

    def error(make: Callable[[int], RandomFeatures]) -> float:
        return statistics.median(
            solve_least_squares(
                problem, make(seed), TangentProp(), points=points, weights="balanced", rcond=RCOND
            ).rel_l2
            for seed in range(seeds)
        )

    entries = []
    for activation, cells in product((torch.nn.Tanh, Sine), (1, 16, 32)):
        kind = RandomFeatures if cells == 1 else partial(LocalFeatures, cells=cells)
        by_scale = {}
        for scale in (10.0, 20.0, 40.0, 80.0, 120.0, 160.0) if cells == 1 else (1.0, 2.0, 4.0, 6.0, 8.0):
            make = partial(kind, 1, features // cells, activation=activation, scale=scale)
            by_scale[scale] = error(lambda seed, make=make: make(seed=seed))
        entries.append({"activation": activation.__name__, "cells": cells, "rel_l2_by_scale": by_scale})
    return entries


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Three problems, two seeds: about 20 s.")] = False,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Write the results here.")] = None,  # noqa: UP045
) -> dict[str, object]:
    """Measure, print two tables, and return the results.

    Args:
        quick: three problems and two seeds.
        json_file: where to keep the results.

    Returns:
        Every problem's entry, and the comparison of local with global features.
    """
    torch.set_num_threads(1)
    names = QUICK if quick else tuple(SETTINGS)
    seeds, budget, steps = (2, 0.2, (0.1, 0.01)) if quick else (5, 3.0, STEPS)
    results: dict[str, object] = {"machine": describe_machine(), "seeds": seeds, "problems": {}}
    lines = []
    for name in names:
        chosen = steps if name != "burgers" else tuple(step for step in steps if 2e-3 <= step <= 0.02)
        entry = results["problems"][name] = measure(name, SETTINGS[name], seeds, budget, chosen)
        mine, peer, differences = (entry["methods"][method] for method in ("ours", "peer", "finite_differences"))
        lines.append(
            (
                name,
                f"{mine['rel_l2']:.1e} ({mine['max_error']:.1e})",
                f"{mine['timing']['cpu_ms'] / 1e3:.3f} s",
                f"{peer['rel_l2']:.1e}",
                f"{peer['timing']['cpu_ms'] / 1e3:.3f} s",
                f"{differences['rel_l2']:.1e} (h = {entry['best_difference']['step']:g})",
            )
        )
        say(f"{name}: {'reached' if entry['reached'] else 'NOT reached'}")
    header = ("problem", "relative L2 (max)", "time", "scipy", "time", "differences at best")
    table("random features, medians", header, lines)
    results["local"] = local_gain(160 if quick else 640, 1 if quick else 3)
    rows = []
    for entry in results["local"]:
        scale, error = min(entry["rel_l2_by_scale"].items(), key=lambda pair: pair[1])
        rows.append((entry["activation"], str(entry["cells"]), f"{error:.1e}", f"{scale:g}"))
    table(f"u = sin({WAVES} pi x), best of the scales", ("activation", "cells", "relative L2", "scale"), rows)
    keep(results, json_file)
    return results


if __name__ == "__main__":
    typer.run(main)
