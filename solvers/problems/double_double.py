"""Numbers of 106 bits as unevaluated sums of two float64, for sums whose terms cancel."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

SPLITTER = 134217729.0
"""2^27 + 1: splits the 53 bits of a float64 into halves whose products are exact."""


def _sum(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a + b rounded, and exactly what rounding took away (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _product(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a b rounded, and exactly what rounding took away (Dekker)."""
    product = a * b
    a1, b1 = (SPLITTER * c - (SPLITTER * c - c) for c in (a, b))
    a2, b2 = a - a1, b - b1
    return product, ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2


@dataclass(frozen=True, eq=False)
class DoubleDouble:
    """A number, or an array of them, as high + low with |low| at most half a unit in the last place of high.

    Products and reciprocals are right to a relative error of some 1e-31, sums to that of their terms, as long as no
    product leaves 1e-290 .. 1e290; below, they are right to float64's own precision.

    Args:
        high: the nearest float64.
        low: what is left.

    References:
        T. J. Dekker, Numer. Math. 18 (1971); D. E. Knuth, The Art of Computer Programming 2, 4.2.2.

    Example:
        >>> third = DoubleDouble.of(Fraction(1, 3))
        >>> float((third * third * 9.0 + -1.0).high) == 0.0, 1 / 3 * (1 / 3) * 9 - 1
        (True, 0.0)
        >>> float((DoubleDouble(1e16) + 1.0 + -1e16).high), 1e16 + 1.0 - 1e16
        (1.0, 0.0)
    """

    high: np.ndarray | float
    low: np.ndarray | float = field(default=0.0)

    @classmethod
    def of(cls, number: Fraction) -> DoubleDouble:
        """Round a rational number.

        Args:
            number: exact.

        Returns:
            The nearest, but for a unit in the last of 106 bits.
        """
        high = float(number)
        return cls(high, float(number - Fraction(high)))

    def __getitem__(self, index) -> DoubleDouble:
        return DoubleDouble(self.high[index], self.low[index])

    def __add__(self, other: DoubleDouble | float) -> DoubleDouble:
        other = _wide(other)
        high, low = _sum(self.high, other.high)
        return DoubleDouble(*_sum(high, low + (self.low + other.low)))

    def __mul__(self, other: DoubleDouble | float) -> DoubleDouble:
        other = _wide(other)
        high, low = _product(self.high, other.high)
        return DoubleDouble(*_sum(high, low + (self.high * other.low + self.low * other.high)))

    def reciprocal(self) -> DoubleDouble:
        """Return 1 / z, by a Newton step from float64's.

        Returns:
            Of the same shape.
        """
        first = DoubleDouble(1.0 / self.high)
        return first + first * (self * first * -1.0 + 1.0)

    def __pow__(self, exponent: int) -> DoubleDouble:
        result, base = DoubleDouble(np.ones_like(self.high)), self
        while exponent:
            if exponent & 1:
                result = result * base
            exponent >>= 1
            base = base * base if exponent else base
        return result


def _wide(number: DoubleDouble | float) -> DoubleDouble:
    return number if isinstance(number, DoubleDouble) else DoubleDouble(number)
