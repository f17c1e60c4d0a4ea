"""Whether a trained self-similar profile is a solution, judged without the exact one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

END = 0.05
"""Share of the interval next to either end where lambda counts as trapped: trapped runs sit at the ends themselves."""

LOSS = 1e-8
"""Largest loss of a finished run: 8 s of good runs leave 7e-10 and less, loud traps 1e-6 to 7e-4."""

PROBE_LOSS = 1e-5
"""Largest loss after some 2 s that makes a start worth going on with."""

CORRECTED_LOSS = 1e-16
"""Largest loss of a profile after the second stage: in 586 trials good ones ended at 1e-18 or below, others at 2e-7 or
above."""

BAR = 0.05
"""Widest bar of lambda, in half widths of the interval. In 76 runs made to be trapped good ones had 1e-4 and less,
unfinished ones up to 0.03, traps 0.4 and more; the loss alone does not tell: one trap without a second stage had 1e-8,
and the profile of a neighbouring k, in an interval that held both, 4e-28."""

TRIVIAL = 0.1
"""Largest |U| on a domain that reaches to |X| = 2, and largest |u_1|, of U = 0; a solution has 1 for both."""

EPS = 2.0**-52


@dataclass(frozen=True)
class Acceptance:
    """What is said of a trained profile.

    Args:
        accepted: whether it may be presented as a solution.
        bar: of |lambda - the lambda of a smooth profile|, from the profile's own coefficients at 0; infinite where
            they say nothing.
        reasons: why not, in words; empty where accepted.
    """

    accepted: bool
    bar: float
    reasons: tuple[str, ...]


def judge(
    k: int,
    lam: float,
    interval: tuple[float, float],
    loss: float,
    residual: Sequence[float],
    series: Sequence[float],
    largest: float,
    loss_limit: float = LOSS,
) -> Acceptance:
    """Judge a trained profile of -lam U + ((1 + lam) X + U) U' = R, odd, U(-2) = 1.

    A small loss is no proof. For every lam the odd profile X = -U - sign(U) |U|^(1 + 1/lam) solves the equation on
    either side of 0; at the ends lam = 1/(2k + 1), 1/(2k + 3) of the interval it is even smooth on either side, and a
    network that rounds the kink off has a loss as small as it likes. What separates it from a solution is at 0, where
    with normalised coefficients u_j = U^(j)(0)/j!, R_j, and m = 2k + 3,

        R_m = (lam (m - 1) - 1) u_m + (m + 1)(1 + u_1) u_m + sum_{2 < i < m - 1} (m + 1 - i) u_i u_{m + 1 - i}.

    A solution has u_1 = -1, then zeros, and u_m of order 1. With lam at an end the factor lam (m - 1) - 1 is +-lam,
    far from 0, and all later factors are of its size or above: R_m can only be small because u_m is, and R_j because
    u_j is. So a trapped network is the straight line -X near 0, u_m -> 0, or misses R_m by lam u_m; its kink lies
    farther out. No loss sees that; the quotient R_m / u_m does. Solved for lam, the equation above gives the bar

        |lam - 1/(m - 1)| <= (|R_m| + (m + 1)|1 + u_1||u_m| + |sum|) / ((m - 1)|u_m|) + rounding,

    which holds for every odd function and costs nothing: about half the interval in a trap, whatever its loss. Terms
    lost to noise, with u_m -> 0, make it wider still. The coefficients above m need no look of their own: at the lam
    of a solution, and with U(-2) = 1 in the loss, they follow from u_m.

    Args:
        k: which profile.
        lam: trained.
        interval: low and high limit of lam.
        loss: all terms, as trained, with the mean square of R and U(2) + 1 in it.
        residual: R_0 .. R_m at 0, normalised by j!; more are not read.
        series: u_0 .. u_m, of the network at 0, likewise.
        largest: max |U| on the domain, which reaches to |X| = 2.
        loss_limit: `LOSS` for a finished run, `PROBE_LOSS` for a start.

    Returns:
        The judgement; every reason that applies, not the first alone.

    Raises:
        ValueError: k < 0, an interval that is none, lam outside it, or too few coefficients.

    Example:
        >>> judge(0, 0.5, (1 / 3, 1.0), 1e-12, [0, 0, 0, 2e-8], [0, -1, 0, 1.0], 1.0)
        Acceptance(accepted=True, bar=1.000000177635684e-08, reasons=())
        >>> trapped = judge(0, 0.34, (1 / 3, 1.0), 1e-12, [0, 0, 0, -3.2e-5], [0, -1, 0, 1e-4], 1.0)
        >>> trapped.accepted, round(trapped.bar, 6)
        (False, 0.16)
    """
    low, high = interval
    order = 2 * k + 3
    _check(k, lam, low, high, len(residual), len(series), order)
    numbers = (lam, loss, largest, *residual[: order + 1], *series[: order + 1])
    if not all(math.isfinite(number) for number in numbers):
        return Acceptance(False, math.inf, ("not finite: lambda, the loss or a coefficient at 0 is infinite or NaN",))
    bar = _bar(residual, series, order)
    if empty := no_profile(k, low, high):
        return Acceptance(False, bar, (f"{empty}; this run ended at lambda = {lam:.6g} with loss {loss:.1e}",))
    half, reasons = 0.5 * (high - low), []
    if largest < TRIVIAL or abs(series[1]) < TRIVIAL:
        reasons.append(f"the trivial solution U = 0: max |U| = {largest:.1e}, U'(0) = {series[1]:.1e}")
    near = min(lam - low, high - lam)
    if near < END * (high - low):
        end = "lower" if lam - low < high - lam else "upper"
        reasons.append(f"trapped at the {end} end: lambda = {lam:.8g} of [{low:.8g}, {high:.8g}]")
    if loss > loss_limit:
        reasons.append(f"loss too high: {loss:.1e}, at most {loss_limit:.0e} is accepted")
    if bar > BAR * half:
        reasons.append(
            f"bar too wide: the coefficients at 0 leave lambda to {bar:.1e}, at most {BAR * half:.1e} is accepted; "
            f"u_{order} = {series[order]:.1e}, R_{order} = {residual[order]:.1e}"
        )
    return Acceptance(not reasons, bar, tuple(reasons))


def _check(k: int, lam: float, low: float, high: float, residuals: int, coefficients: int, order: int) -> None:
    if k < 0:
        raise ValueError(f"expected k = 0, 1, 2, ..., came {k}: the k-th smooth profile has lambda = 1/(2k + 2)")
    if not 0 < low < high < math.inf:
        raise ValueError(f"expected an interval with 0 < low < high, came ({low}, {high}): give (1/(2k+3), 1/(2k+1))")
    # NaN is no mistake of the caller's: it is judged below.
    if lam < low or lam > high:
        raise ValueError(f"expected lambda in [{low}, {high}], came {lam}: give the interval that it was trained in")
    if min(residuals, coefficients) <= order:
        raise ValueError(
            f"expected the orders 0 to {order} at 0, came {residuals} of the residual and {coefficients} of U: "
            f"take jets to order {order} = 2k + 3"
        )


def _bar(residual: Sequence[float], series: Sequence[float], order: int) -> float:
    """Return the bar of lambda; rounding is that of the order's largest products, some m eps |u_m|."""
    top = abs(series[order])
    if top == 0:
        return math.inf
    lower = abs(sum((order + 1 - i) * series[i] * series[order + 1 - i] for i in range(2, order)))
    missed = abs(residual[order]) + (order + 1) * abs(1 + series[1]) * top + lower
    rounding = 4 * (order + 1) * EPS / (order - 1)
    # u_m of denormal size: the quotient is no number any more.
    return missed / ((order - 1) * top) + rounding if (order - 1) * top > 1e-300 else math.inf


def no_profile(k: int, low: float, high: float) -> str:
    """Return why no smooth k-th profile can be found in an interval.

    Args:
        k: which profile.
        low: limit of lambda.
        high: limit of lambda.

    Returns:
        The evidence, empty where 1/(2k + 2) lies inside.

    Example:
        >>> no_profile(0, 0.26, 0.45)[:37], no_profile(0, 0.4, 0.6)
        ('no smooth profile in this interval: [', '')
    """
    if low <= 1 / (2 * k + 2) <= high:
        return ""
    others = [j for j in range(math.ceil(0.5 / high - 1), math.floor(0.5 / low - 1) + 1) if j >= 0]
    if others:
        held = f"k = {others[0]}" if len(others) == 1 else f"k = {others[0]} .. {others[-1]}"
        return (
            f"no smooth profile of this k in this interval: [{low:.8g}, {high:.8g}] does not hold 1/(2k + 2) = "
            f"{1 / (2 * k + 2):.8g}, but the profiles {held}"
        )
    return (
        f"no smooth profile in this interval: [{low:.8g}, {high:.8g}] holds none of 1/2, 1/4, 1/6, ..., so "
        f"lambda (j - 1) - 1 vanishes for no odd j, all coefficients above the first do, and U = -X misses U(-2) = 1"
    )
