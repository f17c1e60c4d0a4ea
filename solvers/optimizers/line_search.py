"""Line search for the strong Wolfe conditions, which knows rounding and survives values that are not finite."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Trial:
    """One point of the line.

    Args:
        step: distance t along the direction.
        value: phi(t).
        slope: phi'(t).
    """

    step: float
    value: float
    slope: float

    @property
    def finite(self) -> bool:
        """Whether value and slope are numbers."""
        return math.isfinite(self.value) and math.isfinite(self.slope)


@dataclass(frozen=True)
class Search:
    """Where a line search ended.

    Args:
        trial: the accepted point; the start where there is none.
        evaluations: of phi and phi'.
        status: "wolfe"; "approximate": the same read from the slopes, the values differ by rounding only;
            "decrease": lower, but no slope flat enough was found; "failed": nothing lower was found.
    """

    trial: Trial
    evaluations: int
    status: str


@dataclass(frozen=True)
class StrongWolfe:
    r"""Search for t > 0 with sufficient decrease and a flat enough slope.

    $$ \phi(t) \le \phi(0) + c_1 t \phi'(0), \qquad |\phi'(t)| \le c_2 |\phi'(0)| $$

    A bracket [low, high] is grown by cubic extrapolation, then shrunk by cubic interpolation, bisected where that is
    slow. Where |phi(t) - phi(0)| < noise |phi(0)| the first condition is also read from the slopes,
    phi'(t) <= (2 c_1 - 1) phi'(0), the same for a quadratic and not drowned in the rounding of the values.

    Args:
        decrease: c_1.
        curvature: c_2.
        noise: rounding of a value, over the value at 0.
        max_evaluations: of one search.

    Source: J. Nocedal, S. J. Wright, Numerical Optimization, 2nd ed., algorithms 3.5, 3.6; the approximate condition:
        W. W. Hager, H. Zhang, SIAM J. Optim. 16 (2005) 170-192, eq. 4.1.

    Cost: one value and slope a trial; 1 for a step of the right length.

    Example:
        >>> def along(t):
        ...     return Trial(t, (t - 3.0) ** 2, 2 * (t - 3.0))
        >>> StrongWolfe()(along, along(0.0), step=0.1)
        Search(trial=Trial(step=1.0, value=4.0, slope=-4.0), evaluations=2, status='wolfe')
    """

    decrease: float = 1e-4
    curvature: float = 0.9
    noise: float = 0.0
    max_evaluations: int = 25

    def __call__(self, along: Callable[[float], Trial], start: Trial, step: float, smallest: float = 0.0) -> Search:
        """Search from a first step.

        Args:
            along: t -> the trial there.
            start: the trial at 0, whose slope is negative.
            step: first t.
            smallest: width of the bracket that ends the search.

        Returns:
            The accepted trial; where the conditions were not met, the lowest with sufficient decrease, or the start.
        """
        low, high, before, widths = start, None, start, [math.inf, math.inf]
        count = 0
        while count < self.max_evaluations:
            trial = along(step)
            count += 1
            status = self._status(trial, start)
            if status is None or trial.value > low.value + self.noise * abs(start.value):
                high = trial
            elif abs(trial.slope) <= self.curvature * abs(start.slope):
                return Search(trial, count, status)
            else:
                ahead = math.inf if high is None else high.step - low.step
                high = low if trial.slope * ahead >= 0 else high
                before, low = low, trial
            if high is None:
                step = _extrapolated(before, low)
                continue
            width = abs(high.step - low.step)
            if width <= smallest:
                break
            slow = width > 2 / 3 * widths[0]
            widths = [widths[1], width]
            step = self._between(low, high, slow, start)
        return Search(low, count, "decrease") if low.value < start.value else Search(start, count, "failed")

    def _status(self, trial: Trial, start: Trial) -> str | None:
        """Return how a trial shows sufficient decrease, None where it does not."""
        if not trial.finite:
            return None
        if trial.value <= start.value + self.decrease * trial.step * start.slope:
            return "wolfe"
        # phi(t) - phi(0) = t (phi'(0) + phi'(t)) / 2 for a quadratic: the first condition, divided by t.
        level = abs(trial.value - start.value) < self.noise * abs(start.value)
        return "approximate" if level and trial.slope <= (2 * self.decrease - 1) * start.slope else None

    def _between(self, low: Trial, high: Trial, slow: bool, start: Trial) -> float:
        """Return the next trial's step inside the bracket, a tenth of it off both ends."""
        width = high.step - low.step
        if not high.finite:
            # Nothing is known there but that it is too far: leave its neighbourhood fast.
            return low.step + (0.1 if low.step == 0 else 0.5) * width
        level = abs(high.value - low.value) <= self.noise * abs(start.value)
        found = None if slow else (_secant if level else _cubic)(low, high)
        if found is None or not math.isfinite(found):
            return low.step + 0.5 * width
        return low.step + min(max((found - low.step) / width, 0.1), 0.9) * width


def _cubic(a: Trial, b: Trial) -> float | None:
    """Return the minimiser of the cubic through two values and slopes."""
    # p(t) with p'(t) quadratic; its discriminant is d1^2 - a' b', and the root where p'' > 0 is the minimum.
    d1 = a.slope + b.slope - 3 * (a.value - b.value) / (a.step - b.step)
    square = d1 * d1 - a.slope * b.slope
    if not 0 <= square < math.inf:
        return None
    d2 = math.copysign(math.sqrt(square), b.step - a.step)
    bottom = b.slope - a.slope + 2 * d2
    return None if bottom == 0 else b.step - (b.step - a.step) * (b.slope + d2 - d1) / bottom


def _secant(a: Trial, b: Trial) -> float | None:
    """Return where the line through two slopes is 0."""
    return None if a.slope == b.slope else (a.step * b.slope - b.step * a.slope) / (b.slope - a.slope)


def _extrapolated(before: Trial, low: Trial) -> float:
    """Return a step beyond `low`, where the function still falls."""
    found = _cubic(before, low)
    # The cubic's minimum lies behind `low` where the slope grows steeper: then the longest step is tried.
    wanted = found if found is not None and found > low.step else math.inf
    return min(max(wanted, 1.5 * low.step), 10 * low.step)
