"""An unknown scalar of a problem, found together with the solution."""

from __future__ import annotations

import math
from dataclasses import dataclass

HOW = ("trained", "bounded", "eliminated")


@dataclass(frozen=True)
class Coefficient:
    """An unknown scalar that is found beside the network: an inverse variable.

    Args:
        name: how the residual looks it up.
        start: initial value.
        low: lower bound.
        high: upper bound.
        how: "trained": an entry of the flat vector, put back onto its bounds after each step; within a step the loss
            sees the nearest value inside, and the gradient is 0 where a descent would leave them. "bounded": the entry
            is w, the value (low + high) / 2 + (high - low) / 2 tanh(w), whose gradient vanishes at the bounds.
            "eliminated": the residual is affine in it, and each evaluation takes its least-squares optimum within the
            bounds (variable projection, G. Golub, V. Pereyra, SIAM J. Numer. Anal. 10 (1973) 413-432): no entry, no
            learning rate, and the gradient of the rest is the partial one.
        exact: its true value where that is known, for the record; NaN where not.

    Raises:
        ValueError: an unknown `how`, a start outside the bounds or not finite, "bounded" without finite bounds around
            the start.

    Example:
        >>> round(Coefficient("nu", 0.25, 0.0, 1.0, "bounded").entry, 6)
        -0.549306
    """

    name: str
    start: float
    low: float = float("-inf")
    high: float = float("inf")
    how: str = "trained"
    exact: float = math.nan

    def __post_init__(self):
        if self.how not in HOW:
            raise ValueError(f"{self.name}: expected how to be one of {', '.join(HOW)}, came {self.how!r}")
        if not (self.low <= self.start <= self.high and math.isfinite(self.start)):
            raise ValueError(
                f"{self.name}: expected low <= start <= high with a finite start, came {self.low}, {self.start}, "
                f"{self.high}"
            )
        finite = math.isfinite(self.low) and math.isfinite(self.high)
        if self.how == "bounded" and not (finite and self.low < self.start < self.high):
            raise ValueError(
                f"{self.name}: how='bounded' needs finite bounds with the start between them, came {self.low}, "
                f"{self.start}, {self.high}: give low and high, or use how='trained'"
            )

    @property
    def entry(self) -> float:
        """What the flat vector holds at the start; the start itself where it is trained."""
        return math.atanh((self.start - self.middle) / self.half) if self.how == "bounded" else self.start

    @property
    def middle(self) -> float:
        """Middle of the bounds."""
        return (self.low + self.high) / 2

    @property
    def half(self) -> float:
        """Half the distance of the bounds."""
        return (self.high - self.low) / 2
