"""A claim of a paper as a row: what it says, what was measured over seeds, and what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from scipy import stats

HOLDS, NOISE, FAILS = "holds", "holds only below the noise floor", "does not hold"
UNDECIDED = "undecided"
VERDICTS = (HOLDS, NOISE, FAILS, UNDECIDED)

FEWEST = 8
"""Seeds below which a rank correlation decides nothing: three in a row have rho = 1 once in six."""

RESAMPLES = 2000
SEEDS, SETTINGS = "95 % over seeds", "least and largest setting"


@dataclass(frozen=True)
class Claim:
    """One row of a reproduction.

    Args:
        claim: what the paper says, in one sentence.
        setting: where it was measured.
        quantity: what was measured, with the direction in which the claim would move it.
        measured: its median.
        low: lower end of the interval.
        high: upper end.
        seeds: how many.
        verdict: one of `VERDICTS`.
        reason: one sentence with the number that decides.
        interval: what the interval is: `SEEDS`, the 95 % bootstrap interval over seeds, or `SETTINGS`.
        key: the setting as plain values, for who selects among rows.

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
    interval: str = SEEDS
    key: Mapping[str, object] = field(default_factory=dict)

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
        values: one a seed; NaN are left out, infinities count.

    Returns:
        Median, lower and upper end; the ends are those of the values below three of them, NaN without any.

    Cost: 9,999 resamples.

    Example:
        >>> median_interval([2.0, 2.0, 2.0, 2.0])
        (2.0, 2.0, 2.0)
    """
    finite = np.asarray(values, dtype=float)
    finite = finite[~np.isnan(finite)]
    if len(finite) == 0:
        return (float("nan"),) * 3
    median = float(np.median(finite))
    if len(finite) < 3:
        return median, float(finite.min()), float(finite.max())
    # Infinities have no standard error, which bootstrap computes too.
    with np.errstate(invalid="ignore"):
        found = stats.bootstrap((finite,), np.median, method="percentile", rng=np.random.default_rng(0))
    return median, float(found.confidence_interval.low), float(found.confidence_interval.high)


def rank_interval(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    """Return Spearman's rho over all entries and its 95 % interval, whole seeds resampled.

    Args:
        first: (seeds, cells); seeds with a value that is not finite in either are left out.
        second: as many.

    Returns:
        Rho, lower and upper end; NaN where fewer than eight seeds are left or one of the two is constant.

    Cost: 2,000 resamples.

    Example:
        >>> rank_interval(np.arange(16.0).reshape(8, 2), np.exp(np.arange(16.0)).reshape(8, 2))
        (1.0, 1.0, 1.0)
    """
    whole = np.isfinite(first).all(axis=1) & np.isfinite(second).all(axis=1)
    first, second = first[whole], second[whole]
    if len(first) < FEWEST:
        return (float("nan"),) * 3
    drawn = np.random.default_rng(0).integers(len(first), size=(RESAMPLES, len(first)))
    draws = np.concatenate([np.arange(len(first))[None], drawn])
    ranks = [stats.rankdata(values[draws].reshape(len(draws), -1), axis=1) for values in (first, second)]
    ranks = [rank - rank.mean(axis=1, keepdims=True) for rank in ranks]
    norms = np.sqrt((ranks[0] ** 2).sum(axis=1) * (ranks[1] ** 2).sum(axis=1))
    rho = np.divide((ranks[0] * ranks[1]).sum(axis=1), norms, out=np.full(len(draws), np.nan), where=norms > 0)
    if np.isnan(rho[0]):
        return (float("nan"),) * 3
    low, high = np.nanquantile(rho[1:], [0.025, 0.975])
    return float(round(rho[0], 12)), float(round(low, 12)), float(round(high, 12))
