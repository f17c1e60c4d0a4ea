"""Errors and times of the SVD drivers: against certified singular values, over sizes and kinds of matrices.

Run as `python -m analyses.benchmarks.drivers [--quick] [--json FILE]`; about 3 minutes, 5 s with --quick. Set
OMP_NUM_THREADS=1 for one core.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Optional

import numpy as np
import typer

from analyses.benchmarks.interleaved import interleave
from analyses.benchmarks.machine import describe_machine
from analyses.terminal import keep, table
from dynamics.certified import certified_singular_values
from dynamics.drivers import EPS, decompose, error_constant
from dynamics.tall import tall_singular_values

DRIVERS = ("gesdd", "gesvd", "pivoted", "jacobi", "tsqr")
SIZES = {(10, 10): 20, (1000, 3): 5, (40, 24): 10, (24, 40): 10, (60, 60): 5, (200, 20): 5, (100, 50): 5, (100, 100): 2}
"""(m, n) -> seeds."""
LARGEST = ((200, 200), 1)
TIMED = ((100, 50), (256, 256), (2000, 100))


def matrices(rows: int, columns: int, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Make one matrix of each kind.

    Args:
        rows: m.
        columns: n.
        seed: of all of them.

    Yields:
        Kind and (m, n) matrix.
    """
    generator = np.random.default_rng(seed)
    few = min(rows, columns)
    normal = generator.standard_normal
    yield "random", normal((rows, columns))
    left, right = (np.linalg.qr(normal((size, few)))[0] for size in (rows, columns))
    yield "graded", (left * 10.0 ** -np.linspace(0, 20, few)) @ right.T
    yield "scaled columns", normal((rows, columns)) * generator.permutation(10.0 ** -np.linspace(0, 24, columns))
    yield "scaled rows", normal((rows, columns)) * generator.permutation(10.0 ** -np.linspace(0, 24, rows))[:, None]
    z = np.linspace(-1, 1, rows)[:, None] * generator.uniform(-6, 6, columns) + generator.uniform(-3, 3, columns)
    yield "tanh features", -2 * np.tanh(z) / np.cosh(z) ** 2
    yield "Hilbert", 1 / (np.arange(rows)[:, None] + np.arange(columns) + 1.0)
    rank = max(few // 3, 1)
    yield "rank deficient", normal((rows, rank)) @ normal((rank, columns))
    yield "nearly constant", 1 + 1e-3 * normal((rows, columns))


def blocks_of(matrix: np.ndarray) -> list[np.ndarray]:
    """Cut the tall side of a matrix into blocks of half as many rows as columns: more blocks than any file would have.

    Args:
        matrix: (m, n).

    Returns:
        (rows, min(m, n)) blocks.
    """
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    step = max(tall.shape[1] // 2, 1)
    return [tall[start : start + step] for start in range(0, len(tall), step)]


def errors(matrix: np.ndarray) -> dict[str, dict[str, float]]:
    """Measure every driver on a matrix.

    Args:
        matrix: (m, n).

    Returns:
        Driver -> largest error in units of eps sigma_1, its estimate p in the same unit, and, where a relative bound is
        claimed, the largest relative error in units of eps times the condition.
    """
    exact = certified_singular_values(matrix)
    found = {}
    for driver in DRIVERS:
        if driver == "tsqr":
            blocks = blocks_of(matrix)
            values, condition = tall_singular_values(blocks), np.inf
            constant = error_constant(matrix.shape) + 0.1 * len(blocks)
        else:
            result = decompose(matrix, driver)
            values, condition, constant = result.values, result.condition, result.constant
        row = {"error": float(np.abs(values - exact).max() / (EPS * exact[0])), "estimate": constant}
        if condition < 1e6:
            row["relative"] = float((np.abs(values - exact) / exact).max() / (EPS * condition))
        found[driver] = row
    return found


def accuracy(sizes: dict[tuple[int, int], int]) -> list[dict[str, object]]:
    """Measure errors over sizes, seeds and kinds.

    Args:
        sizes: (m, n) -> number of seeds.

    Returns:
        A row for each size and kind: driver -> the worst over seeds of error, estimate / error and relative error.
    """
    rows = []
    for (m, n), seeds in sizes.items():
        collected: dict[str, list] = {}
        for seed in range(seeds):
            for kind, matrix in matrices(m, n, seed):
                collected.setdefault(kind, []).append(errors(matrix))
        for kind, measured in collected.items():
            row: dict[str, object] = {"m": m, "n": n, "kind": kind, "seeds": seeds}
            for driver in DRIVERS:
                each = [found[driver] for found in measured]
                worst = max(one["error"] for one in each)
                relative = [one["relative"] for one in each if "relative" in one]
                row[driver] = {"error": worst, "estimate_over_error": each[0]["estimate"] / worst if worst else None}
                row[driver] |= {"relative": max(relative)} if relative else {}
            rows.append(row)
    return rows


def times(sizes: tuple[tuple[int, int], ...], budget: float) -> list[dict[str, object]]:
    """Time the drivers in interleaved rounds on normal matrices.

    Args:
        sizes: (m, n) of each.
        budget: seconds for each.

    Returns:
        A row for each size: driver -> timing.
    """
    rows = []
    for m, n in sizes:
        matrix = np.random.default_rng(0).standard_normal((m, n))
        calls = {driver: partial(decompose, matrix, driver) for driver in DRIVERS if driver != "tsqr"}
        calls["tsqr"] = partial(tall_singular_values, [matrix])
        timings = interleave(calls, budget)
        rows.append({"m": m, "n": n} | {driver: timing.as_json() for driver, timing in timings.items()})
    return rows


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes and few seeds: about 5 s.")] = False,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Write the results here.")] = None,  # noqa: UP045
) -> dict[str, object]:
    """Measure, print a table, and return the results.

    Args:
        quick: small sizes and few seeds.
        json_file: where to keep the results.

    Returns:
        Errors and times.
    """
    sizes = {(10, 10): 2, (40, 24): 2} if quick else SIZES | {LARGEST[0]: LARGEST[1]}
    found = accuracy(sizes)
    timed = times(TIMED[:1] if quick else TIMED, 0.2 if quick else 10.0)
    results = {
        "machine": describe_machine(),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "errors": found,
        "times": timed,
    }
    lines = []
    for driver in DRIVERS:
        rows = [row[driver] for row in found]
        covered = min(row["estimate_over_error"] for row in rows if row["estimate_over_error"])
        relative = max((row["relative"] for row in rows if "relative" in row), default=float("nan"))
        cost = timed[-1][driver]["cpu_ms"] / timed[-1]["gesdd"]["cpu_ms"]
        worst = max(row["error"] for row in rows)
        lines.append((driver, f"{worst:.1f}", f"{covered:.1f}", f"{relative:.1f}", f"{cost:.1f}"))
    m, n = timed[-1]["m"], timed[-1]["n"]
    head = ("driver", "largest error / (eps sigma_1)", "least estimate / error", "relative error / (eps kappa)")
    table("SVD drivers", (*head, f"time / gesdd, {m} x {n}"), lines)
    keep(results, json_file)
    return results


if __name__ == "__main__":
    typer.run(main)
