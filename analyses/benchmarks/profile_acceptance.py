"""100 trained self-similar profiles, many of them in traps: does the acceptance tell them apart?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from analyses.terminal import say, table
from solvers.problems.self_similar_profile import SelfSimilarProfile
from solvers.profile import find_profile
from solvers.profile_search import Candidate

GOOD = 1e-7
"""Largest |lambda error| of a good candidate."""
TRAPPED = 0.01
"""Smallest |lambda error| of a trapped one, in half widths of the k-th interval: between the two is unfinished."""
TEST_POINTS = np.linspace(-2.0, 2.0, 401)


@dataclass(frozen=True)
class Trial:
    """One start of a search.

    Args:
        kind: what provokes a trap.
        k: which profile.
        seed: of the start.
        second_stage: whether there is one.
        orders: of the smoothness condition, empty for the default.
        evaluations: of the first stage, or None.
        interval: of lambda, or None for the k-th.
    """

    kind: str
    k: int
    seed: int
    second_stage: bool
    orders: tuple[int, ...] = ()
    evaluations: int | None = None
    interval: tuple[float, float] | None = None


def trials() -> Iterator[Trial]:
    """Make the 100 trials: defaults, orders too few, wide intervals, short first stages, with and without a second.

    Yields:
        Trials.

    Example:
        >>> len(list(trials())), len({trial.k for trial in trials()})
        (100, 5)
    """
    for seed in range(100, 105):
        for k in range(5):
            yield Trial("default", k, seed, True)
            if (k + seed) % 2:
                yield Trial("first stage of 40", k, seed, True, evaluations=40)
            else:
                # The traps at 1/(2k + 1) and 1/(2k + 3) now lie inside, where lambda alone tells nothing.
                yield Trial("wide interval", k, seed, True, interval=(0.9 / (2 * k + 3), 1.1 / (2 * k + 1)))
            if k < 3:
                yield Trial("order m alone", k, seed, True, orders=(2 * k + 3,))
            else:
                yield Trial("orders to m + 2", k, seed, True, orders=tuple(range(1, 2 * k + 6)))
    for seed in range(200, 205):
        for k in range(5):
            fewer = (2 * k + 3,) if seed % 2 else ()
            yield Trial("order m alone, plain" if fewer else "plain", k, seed, False, fewer, 1500)


def measured(trial: Trial) -> dict[str, object]:
    """Run a trial: a single start, every candidate of which is judged.

    Args:
        trial: to run.

    Returns:
        Its settings, and per candidate the true error of lambda and of U, the loss, the bar and the verdict.
    """
    found = find_profile(
        trial.k,
        trial.seed,
        interval=trial.interval,
        orders=trial.orders or None,
        evaluations=trial.evaluations,
        second_stage=trial.second_stage,
        starts=1,
    )
    return {**vars(trial), "candidates": [_row(trial.k, candidate) for candidate in found.judged]}


def _row(k: int, candidate: Candidate) -> dict[str, object]:
    with torch.no_grad():
        u = candidate.network(torch.from_numpy(TEST_POINTS)[:, None])[:, 0].numpy()
    half, error = 1 / ((2 * k + 1) * (2 * k + 3)), abs(candidate.coefficient - 1 / (2 * k + 2))
    return {
        "truth": "good" if error <= GOOD else "trapped" if not error < TRAPPED * half else "unfinished",
        "accepted": candidate.acceptance.accepted,
        "lambda_error": error,
        "u_error": float(np.abs(u - SelfSimilarProfile.smooth(k)(TEST_POINTS)).max()),
        "loss": candidate.loss,
        "bar": candidate.acceptance.bar,
        "reasons": list(candidate.acceptance.reasons),
    }


def counted(rows: Sequence[dict[str, object]]) -> dict[str, int]:
    """Count what the acceptance got right and wrong.

    Args:
        rows: from `measured`.

    Returns:
        Runs; candidates by truth and verdict; runs that present a trapped candidate as a solution; runs that reject a
        good one twice.

    Example:
        >>> good, bad = {"truth": "good", "accepted": False}, {"truth": "trapped", "accepted": False}
        >>> counts = counted([{"candidates": [bad, good, good]}, {"candidates": [bad]}])
        >>> counts["trapped runs presented as solutions"], counts["good runs rejected twice"]
        (0, 1)
    """
    found = [[(one["truth"], one["accepted"]) for one in row["candidates"]] for row in rows]
    counts = {"runs": len(rows)}
    for truth in ("good", "unfinished", "trapped"):
        for accepted, verdict in ((True, "accepted"), (False, "rejected")):
            counts[f"{truth} candidates {verdict}"] = sum(each.count((truth, accepted)) for each in found)
    counts["trapped runs presented as solutions"] = sum(("trapped", True) in each for each in found)
    counts["good runs rejected twice"] = sum(each.count(("good", False)) >= 2 for each in found)
    return counts


def try_acceptance(most: int | None = None) -> dict[str, object]:
    """Run the trials and print what the acceptance made of them.

    Args:
        most: trials, or None for all.

    Returns:
        Counts and runs.
    """
    rows = []
    for number, trial in enumerate(list(trials())[:most], 1):
        rows.append(measured(trial))
        last = rows[-1]["candidates"][-1]
        verdict = "accepted" if last["accepted"] else "rejected"
        say(f"acceptance {number}: k = {trial.k}, {trial.kind}, seed {trial.seed}: {last['truth']}, {verdict}")
    counts = counted(rows)
    table("the acceptance", ("count", ""), [(name, str(count)) for name, count in counts.items()])
    return {"counts": counts, "runs": rows}
