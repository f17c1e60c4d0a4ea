"""Self-similar Burgers profiles: errors, evaluations and CPU seconds of `find_profile`, beside Chebyshev + Newton.

Run as `python -m analyses.benchmarks.profiles [--k 0 1] [--seeds 10] [--backend taylor] [--plain] [--quick]
[--json FILE]`. By default k = 0 .. 6, 10 seeds (5 from k = 4 on), and 100 runs that try the acceptance; half an hour.
--quick takes one seed of k = 0, 1. Set OMP_NUM_THREADS=1 for one core. Each profile's first seed bears the compiling.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Optional

import numpy as np
import torch
import typer
from torch import nn

from analyses.benchmarks.machine import describe_machine
from analyses.benchmarks.profile_acceptance import try_acceptance
from analyses.reproduce import chebyshev_profile
from analyses.terminal import keep, say, table
from solvers.operators import TangentProp
from solvers.problems.self_similar_profile import SelfSimilarProfile
from solvers.profile import find_profile

BACKENDS = ("fused", "taylor")
LARGEST, MANY, FEW, HIGH = 6, 10, 5, 4
"""Default: k = 0 .. LARGEST, MANY seeds, FEW of them from k = HIGH on."""
BARS = {
    "lambda <= 2e-8": ("lambda_error", 2e-8),
    "<= 1e-7": ("lambda_error", 1e-7),
    "<= 1e-11": ("lambda_error", 1e-11),
}
BARS |= {"U <= 1e-7": ("u_error", 1e-7), "<= 1e-10": ("u_error", 1e-10)}
"""Column -> what is to stay below what."""
COSTS = ("evaluations", "cpu_seconds", "starts")
SECONDS = {"fused": 10.0, "taylor": 60.0}
HIGH_SECONDS, MOST = 20.0, 7_000
TEST_POINTS = np.linspace(-2.0, 2.0, 4001)


def u_error(network: nn.Module, k: int) -> float:
    """Return the largest deviation from the exact profile.

    Args:
        network: U, float64.
        k: which profile.

    Returns:
        max |U - exact| over 4001 points of [-2, 2].

    Example:
        >>> round(u_error(lambda x: -x, 0), 6)
        1.0
    """
    with torch.no_grad():
        found = network(torch.from_numpy(TEST_POINTS)[:, None])[:, 0].numpy()
    return float(np.abs(found - SelfSimilarProfile.smooth(k)(TEST_POINTS)).max())


def solve(k: int, seed: int, backend: str = "fused", second_stage: bool = True) -> dict[str, object]:
    """Find a profile and measure it.

    Args:
        k: which.
        seed: of all starts.
        backend: of the first stage; the second is torch's own in any case.
        second_stage: whether there is one.

    Returns:
        Absolute errors, and what it took; rejected starts are counted.
    """
    profile = find_profile(k, seed, second_stage=second_stage, operator=TangentProp(backend=backend))
    exact = 1 / (2 * k + 2)
    return {
        "k": k,
        "seed": seed,
        "lambda_error": abs(profile.coefficient - exact),
        "u_error": u_error(profile.network, k),
        "evaluations": profile.evaluations,
        "cpu_seconds": profile.seconds,
        "backend": backend,
        "accepted": profile.accepted,
        "starts": profile.starts,
        "bar": profile.acceptance.bar,
        "first_lambda_error": abs(profile.first - exact),
        "loss": profile.loss,
    }


def show(rows: Sequence[dict[str, object]]) -> None:
    """Print medians, worst values and how many runs stay within each bar.

    Args:
        rows: from `solve`.
    """
    ks = sorted({row["k"] for row in rows})
    groups = {k: [row for row in rows if row["k"] == k] for k in ks}
    errors = ("first_lambda_error", "lambda_error", "u_error", "bar")
    lines = [(str(k), *_middle_and_worst(own, errors)) for k, own in groups.items()]
    table("median / worst over seeds", ("k", "|lambda error|, 1st stage", "at the end", "|U error|", "bar"), lines)
    lines = [
        (str(k), f"{sum(row['accepted'] for row in own)}/{len(own)}", *_middle_and_worst(own, COSTS))
        for k, own in groups.items()
    ]
    table("median / worst over seeds", ("k", "accepted", *COSTS), lines)
    lines = [(str(k), *_within(own)) for k, own in groups.items()]
    table("accepted runs within the bars", ("k", *BARS, "evaluations, CPU s"), lines)


def _middle_and_worst(rows: Sequence[dict[str, object]], names: Sequence[str]) -> Iterator[str]:
    for name in names:
        values, form = [row[name] for row in rows], ",.4g" if name in COSTS else ".1e"
        yield f"{statistics.median(values):{form}} / {max(values):{form}}"


def _within(rows: Sequence[dict[str, object]]) -> list[str]:
    """Return how many of a profile's runs are within each bar, and within the cost."""
    good = [row for row in rows if row["accepted"]]
    counts = [sum(row[name] <= bar for row in good) for name, bar in BARS.values()]
    cheap = sum(row["evaluations"] <= MOST and row["cpu_seconds"] <= _seconds(row) for row in good)
    return [f"{count}/{len(rows)}" for count in (*counts, cheap)]


def _seconds(row: dict[str, object]) -> float:
    limit = SECONDS[row["backend"]]
    return max(limit, HIGH_SECONDS) if row["k"] >= HIGH else limit


def main(
    more: Annotated[Optional[list[int]], typer.Argument(hidden=True)] = None,  # noqa: UP045
    k: Annotated[Optional[list[int]], typer.Option("--k", help="Profiles, --k 0 1.")] = None,  # noqa: UP045
    seeds: Annotated[Optional[int], typer.Option(min=1, help="Of each profile.")] = None,  # noqa: UP045
    backend: Annotated[str, typer.Option(help="Of the first stage: fused, or taylor, torch alone.")] = "fused",
    plain: Annotated[bool, typer.Option("--plain", help="Without the second stage.")] = False,
    acceptance: Annotated[bool, typer.Option(help="Try the acceptance in 100 runs.")] = True,
    quick: Annotated[bool, typer.Option("--quick", help="One seed of k = 0, 1: some seconds.")] = False,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Write the results here.")] = None,  # noqa: UP045
) -> dict[str, object]:
    """Measure, print the tables, and return the results.

    Args:
        more: values of k after the first.
        k: profiles.
        seeds: of each.
        backend: of the first stage.
        plain: without the second stage.
        acceptance: whether to try the acceptance.
        quick: one seed of k = 0, 1, and four runs for the acceptance.
        json_file: where to keep the results, after each profile.

    Returns:
        A row a run, the baseline and the trials of the acceptance.

    Raises:
        typer.BadParameter: an unknown backend, or k < 0.
    """
    if backend not in BACKENDS:
        raise typer.BadParameter(f"expected {' or '.join(BACKENDS)}, came {backend!r}", param_hint="--backend")
    ks = [*(k or []), *(more or [])] or list(range(2 if quick else LARGEST + 1))
    if min(ks) < 0:
        raise typer.BadParameter(f"expected k = 0, 1, 2, ..., came {min(ks)}", param_hint="--k")
    rows: list[dict[str, object]] = []
    results = {"machine": describe_machine(), "threads": os.environ.get("OMP_NUM_THREADS", "all"), "profiles": rows}
    for each in ks:
        count = 1 if quick else seeds or (FEW if each >= HIGH else MANY)
        for seed in range(count):
            rows.append(solve(each, seed, backend, not plain))
            _tell(rows[-1])
        keep(results, json_file)
    baseline = chebyshev_profile.measure(ks)
    results["baseline"] = [{"exponent": method, **asdict(found)} for method, found in baseline]
    keep(results, json_file)
    show(rows)
    chebyshev_profile.show(baseline)
    say("The condition of smoothness at 0 selects lambda: without it a small residual says nothing about lambda.")
    if acceptance:
        begin = time.process_time()
        results["acceptance"] = {**try_acceptance(4 if quick else None), "cpu_seconds": time.process_time() - begin}
    keep(results, json_file)
    return results


def _tell(row: dict[str, object]) -> None:
    errors = f"|lambda error| {row['lambda_error']:.1e}, |U error| {row['u_error']:.1e}"
    cost = f"{row['evaluations']:,} evaluations, {row['cpu_seconds']:.1f} s"
    say(f"k = {row['k']}, seed {row['seed']}: {errors}, {cost}" + ("" if row["accepted"] else ", not accepted"))


if __name__ == "__main__":
    typer.run(main)
