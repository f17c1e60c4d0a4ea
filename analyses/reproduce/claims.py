"""A claim of a paper as a row: what it says, what was measured over seeds, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy import stats

HOLDS, NOISE, FAILS = "holds", "holds only below the noise floor", "does not hold"
VERDICTS = (HOLDS, NOISE, FAILS)


@dataclass(frozen=True)
class Claim:
    """One row of a reproduction.

    Args:
        claim: what the paper says, in one sentence.
        setting: where it was measured.
        quantity: what was measured, with the direction in which the claim would move it.
        measured: its median over seeds.
        low: lower end of the 95 % bootstrap interval of the median.
        high: upper end.
        seeds: how many.
        verdict: one of `VERDICTS`.
        reason: one sentence with the number that decides.

    Raises:
        ValueError: another verdict.

    Example:
        >>> Claim("AD is exact", "poisson-1d", "error", 1e-13, 1e-14, 1e-12, 16, HOLDS, "by construction").verdict
        'holds'
    """

    claim: str
    setting: str
    quantity: str
    measured: float
    low: float
    high: float
    seeds: int
    verdict: str
    reason: str

    def __post_init__(self):
        if self.verdict not in VERDICTS:
            raise ValueError(f"expected a verdict among {VERDICTS}, came {self.verdict!r}")

    def plain(self) -> dict[str, object]:
        """Return the row as JSON can hold it.

        Returns:
            Field -> value.
        """
        return asdict(self)


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median and its 95 % interval by the percentile bootstrap over seeds.

    Args:
        values: one a seed; those that are not finite are left out.

    Returns:
        Median, lower and upper end; the ends are those of the values below three of them, NaN without any.

    Cost: 9,999 resamples.

    Example:
        >>> median_interval([2.0, 2.0, 2.0, 2.0])
        (2.0, 2.0, 2.0)
    """
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    if len(finite) == 0:
        return (float("nan"),) * 3
    median = float(np.median(finite))
    if len(finite) < 3:
        return median, float(finite.min()), float(finite.max())
    found = stats.bootstrap((finite,), np.median, method="percentile", rng=np.random.default_rng(0))
    return median, float(found.confidence_interval.low), float(found.confidence_interval.high)


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Spearman's rank correlation of two samples, NaN where one of them is constant.

    Args:
        first: values.
        second: as many.

    Returns:
        In [-1, 1].

    Example:
        >>> rank_correlation([1.0, 2.0, 3.0], [10.0, 20.0, 15.0])
        0.5
    """
    pairs = np.array([first, second], dtype=float)
    pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
    if pairs.shape[1] < 3 or (np.ptp(pairs, axis=1) == 0).any():
        return float("nan")
    return float(stats.spearmanr(*pairs).statistic)


def share(values: Sequence[float], test: Callable[[float], bool]) -> float:
    """Return the share of values that pass a test.

    Args:
        values: numbers.
        test: value -> bool.

    Returns:
        In [0, 1], NaN without values.

    Example:
        >>> share([1.0, 2.0], lambda value: value > 1)
        0.5
    """
    return float(np.mean([test(value) for value in values])) if len(values) else float("nan")
