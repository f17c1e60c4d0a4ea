"""The paper's claims about random features, each decided by a stated rule on what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from analyses.reproduce.claims import FAILS, HOLDS, NOISE, UNDECIDED, Claim, median_interval, rank_interval
from analyses.reproduce.random_features import STEPS, Solve, Unrounded, agreeing, pairs

STEP = {"poisson-1d": 1e-3, "biharmonic-1d": 1e-2}
"""Where the single numbers of the table are taken: round-off and truncation are both visible there."""

COMMON_STEP = 1e-2
"""Where the two equations are compared with each other."""

CUTS = tuple(10.0**-power for power in range(2, 16))
BELOW = 1e-12
"""A cut below the floor of both steps and above that of exact derivatives."""

Exact = Mapping[tuple[str, float | None], Sequence[Unrounded]]
"""(problem, step) -> the system without rounding, one a seed."""


def feature_claims(solves: Sequence[Solve], exact: Exact) -> list[Claim]:
    """Return the rows of the table that random features decide.

    Args:
        solves: from `solve_all`.
        exact: from `unrounded`, for the steps of `STEP`, `COMMON_STEP` and exact derivatives.

    Returns:
        One row a claim, and a problem where it is about one.
    """
    rows = []
    for problem in STEP:
        rows += [large_values(solves, problem), small_values(solves, exact, problem), entropies(solves, problem)]
        rows += [residuals(solves, exact, problem), errors(solves, problem)]
    return [*rows, order_of_equation(solves, exact), prediction(solves)]


def _setting(problem: str, step: float) -> str:
    return f"{problem}, tanh, h = {step:g}"


def above(pair: tuple[Solve, Solve]) -> float:
    """Return the smallest cut that lies above the floors of both spectra.

    Args:
        pair: two solves.

    Returns:
        A cut of `CUTS`.
    """
    floor = max(solve.relative_floor for solve in pair)
    return min((cut for cut in CUTS if cut >= floor), default=1.0)


def _kept(values: np.ndarray, cut: float) -> int:
    return int((values >= cut * values[0]).sum())


def large_values(solves: Sequence[Solve], problem: str) -> Claim:
    """Decide whether AD and FD share the large singular values: at least 5 agree to 1 % in every seed.

    Args:
        solves: from `solve_all`.
        problem: its name.

    Returns:
        The row.
    """
    step = STEP[problem]
    counts = [agreeing(exact.values, difference.values) for exact, difference in pairs(solves, problem, step)]
    middle, low, high = median_interval(counts)
    coarse = median_interval([agreeing(a.values, b.values) for a, b in pairs(solves, problem, 0.1)])[0]
    reason = (
        f"{min(counts)} or more agree in every seed; {coarse:.0f} at h = 0.1, where truncation moves the first ones"
    )
    return Claim(
        "AD and FD have the same large singular values",
        _setting(problem, step),
        "leading values equal to 1 %",
        middle,
        low,
        high,
        len(counts),
        HOLDS if min(counts) >= 5 else FAILS,
        reason,
    )


def small_values(solves: Sequence[Solve], exact: Exact, problem: str) -> Claim:
    """Decide whether FD keeps more small singular values, and whether it still does without rounding.

    Args:
        solves: from `solve_all`.
        exact: the same systems without rounding.
        problem: its name.

    Returns:
        The row: it holds if FD keeps more also in exact arithmetic, holds below the noise floor if only in floating
        point.
    """
    step = STEP[problem]
    found = pairs(solves, problem, step)
    extra = [difference.kept(BELOW) - own.kept(BELOW) for own, difference in found]
    at = max(above(pair) for pair in found)
    shared = [difference.kept(at) - own.kept(at) for own, difference in found]
    true = [
        max(_kept(b.values, cut) - _kept(c.values, cut) for cut in CUTS)
        for b, c in zip(exact[problem, step], exact[problem, None], strict=True)
    ]
    middle, low, high = median_interval(extra)
    more, truly = low > 0, max(true) > 1
    reason = (
        f"in exact arithmetic FD keeps at most {max(true)} more at any cut ({len(true)} seeds); "
        f"above both floors (a = {at:.0e}) the counts differ by {max(map(abs, shared))} at most"
    )
    return Claim(
        "FD keeps more small singular values",
        _setting(problem, step),
        f"K_FD - K_AD at a = {BELOW:.0e}",
        middle,
        low,
        high,
        len(extra),
        HOLDS if more and truly else NOISE if more else FAILS,
        reason,
    )


def entropies(solves: Sequence[Solve], problem: str) -> Claim:
    """Decide whether the truncated entropy of AD is larger, below and above the floors.

    Args:
        solves: from `solve_all`.
        problem: its name.

    Returns:
        The row: it holds if H differs by more than 0.01 in the same direction above both floors too.
    """
    step = STEP[problem]
    found = pairs(solves, problem, step)
    gaps = [own.entropy(BELOW) - difference.entropy(BELOW) for own, difference in found]
    shared = [
        own.entropy(above(pair)) - difference.entropy(above(pair)) for pair in found for own, difference in [pair]
    ]
    undivided = [own.entropy(BELOW, None) - difference.entropy(BELOW, None) for own, difference in found]
    middle, low, high = median_interval(gaps)
    reason = (
        f"above both floors the difference is {np.median(shared):+.4f}; "
        f"not divided by log K it is {np.median(undivided):+.0e} even below"
    )
    real = median_interval(shared)[1] > 0.01
    return Claim(
        "the truncated entropy of AD is larger",
        _setting(problem, step),
        f"H_AD - H_FD at a = {BELOW:.0e}",
        middle,
        low,
        high,
        len(gaps),
        HOLDS if low > 0 and real else NOISE if low > 0 else FAILS,
        reason,
    )


def _decades(solves: Sequence[Solve], problem: str, step: float, name: str) -> list[float]:
    return [
        float(np.log10(getattr(difference, name) / getattr(own, name)))
        for own, difference in pairs(solves, problem, step)
    ]


def residuals(solves: Sequence[Solve], exact: Exact, problem: str) -> Claim:
    """Decide whether AD reaches the smaller training residual, and whether FD still does worse without rounding.

    Args:
        solves: from `solve_all`.
        exact: the same systems without rounding.
        problem: its name.

    Returns:
        The row: it holds if differences whose entries are rounded only once leave a residual 3 times that of exact
        derivatives, rounded in the same way.
    """
    step = STEP[problem]
    gaps = _decades(solves, problem, step, "residual")
    middle, low, high = median_interval(gaps)
    without = _unrounded_gaps(exact, problem, step)
    by_step = ", ".join(f"{np.median(_decades(solves, problem, h, 'residual')):+.1f} at {h:g}" for h in STEPS[problem])
    return Claim(
        "AD reaches the smaller training residual",
        _setting(problem, step),
        "log10 of own residual, FD over AD",
        middle,
        low,
        high,
        len(gaps),
        FAILS if low <= 0 else NOISE if max(without) < 3 else HOLDS,
        f"without rounding of the differences the ratio is {np.median(without):.2g} (at most {max(without):.2g}); "
        f"with it the gap grows as eps / h^m: {by_step}",
    )


def errors(solves: Sequence[Solve], problem: str) -> Claim:
    """Decide whether AD is closer to the solution: what a user wants to know, and the own residual does not tell.

    Args:
        solves: from `solve_all`.
        problem: its name.

    Returns:
        The row; it holds if the error is smaller at every step.
    """
    best = []
    for seed_pairs in zip(*(pairs(solves, problem, h) for h in STEPS[problem]), strict=True):
        own = seed_pairs[0][0]
        best.append(float(np.log10(min(difference.error for _, difference in seed_pairs) / own.error)))
    middle, low, high = median_interval(best)
    reached = {h: np.median([b.error for _, b in pairs(solves, problem, h)]) for h in STEPS[problem]}
    steps = ", ".join(f"{error:.0e} at {h:g}" for h, error in reached.items())
    return Claim(
        "AD is closer to the solution",
        f"{problem}, tanh, FD at the best of its steps",
        "log10 of relative L2 error, FD over AD",
        middle,
        low,
        high,
        len(best),
        HOLDS if low > 0 else FAILS,
        f"FD pays truncation, then round-off: {steps}",
    )


def order_of_equation(solves: Sequence[Solve], exact: Exact) -> Claim:
    """Decide whether the advantage of AD grows with the order of the equation, and whether it would without rounding.

    Args:
        solves: from `solve_all`.
        exact: the same systems without rounding.

    Returns:
        The row: it holds if without rounding, too, the residual gap of the biharmonic equation is 3 times Poisson's.
    """
    step, both = COMMON_STEP, ("poisson-1d", "biharmonic-1d")
    second, fourth = (_decades(solves, problem, step, "residual") for problem in both)
    gaps = [b - a for a, b in zip(second, fourth, strict=True)]
    middle, low, high = median_interval(gaps)
    floors = [float(np.median([b.relative_floor for _, b in pairs(solves, problem, step)])) for problem in both]
    without = [np.median(_unrounded_gaps(exact, problem, step)) for problem in both]
    return Claim(
        "the advantage of AD grows with the order of the equation",
        f"tanh, h = {step:g}",
        "log10 of the residual gap, biharmonic over Poisson",
        middle,
        low,
        high,
        len(gaps),
        FAILS if low <= 0 else HOLDS if without[1] > 3 * without[0] else NOISE,
        f"it grows with the floors, eps / h^4 against eps / h^2: {floors[1]:.0e} against {floors[0]:.0e} of sigma_1; "
        f"without rounding the residuals of FD are {without[1]:.2g} and {without[0]:.2g} times those of AD",
    )


def _unrounded_gaps(exact: Exact, problem: str, step: float) -> list[float]:
    systems = zip(exact[problem, None], exact[problem, step], strict=True)
    return [difference.residual / own.residual for own, difference in systems]


def prediction(solves: Sequence[Solve]) -> Claim:
    """Decide whether the truncated entropy predicts the residual: over everything, and among equal noise floors.

    Args:
        solves: from `solve_all`.

    Returns:
        The row: it holds if the rank correlation is below -0.5 within exact derivatives too, with its whole interval;
        below the noise floor if only over everything; it is undecided with fewer than eight seeds.
    """
    cells = [pairs(solves, "poisson-1d", step) for step in STEPS["poisson-1d"]]
    seeds = [[found[0][0], *(difference for _, difference in found)] for found in zip(*cells, strict=True)]
    entropy = np.array([[solve.entropy(BELOW) for solve in row] for row in seeds])
    residual = np.array([[solve.residual for solve in row] for row in seeds])
    pooled, low, high = rank_interval(entropy, residual)
    within = rank_interval(entropy[:, :1], residual[:, :1])
    verdict = UNDECIDED
    if np.isfinite(pooled):
        verdict = FAILS if high > -0.5 else HOLDS if within[2] < -0.5 else NOISE
    return Claim(
        "the truncated entropy predicts the residual",
        f"poisson-1d, tanh, AD and all steps, a = {BELOW:.0e}",
        "rank correlation of H and residual",
        pooled,
        low,
        high,
        len(seeds),
        verdict,
        "among exact derivatives alone it is {:+.2f} [{:+.2f}, {:+.2f}]; ".format(*within)
        + "pooled it tells steps from one another, by their noise",
    )
