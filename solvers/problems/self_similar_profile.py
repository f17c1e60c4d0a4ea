"""Self-similar blow-up profiles of Burgers' equation: values and derivatives to float64's last digits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np

from solvers.problems.double_double import DoubleDouble

HIGHEST = 24
"""Order of the highest derivative: its terms cancel to 1e-9 of their size, which 106 bits afford."""

NEWTON_STEPS = 60
"""More than enough: from above, Newton's method on a convex function needs 5 to 10."""


@dataclass(frozen=True)
class SelfSimilarProfile:
    """The odd profile U(X) of X = -U - sign(U) |U|^p, U(-2) = 1, which solves -lam U + ((1 + lam) X + U) U' = 0.

    p = 1 + 1/lam, and the general solution X = -U - C sign(U) |U|^p has C = 1 by U(-2) = 1. U is smooth where p is an
    odd integer, that is lam = 1/(2k + 2) and p = 2k + 3. Else U = -X + sign(X) |X|^p + ... has at 0 the derivatives
    below order p alone. Of these, even p (lam = 1/(2k + 1) and 1/(2k + 3), the ends between which the k-th smooth
    profile is searched) are smooth on either side of 0.

    With V = -U, X = V + V^p > 0 and w = V^(p - 1), the derivatives are V^(j) = V^(1 - j) N_j(w) / (1 + p w)^(2j - 1):

        N_1 = 1,  N_{j+1} = (1 - j)(1 + p w) N_j + (p - 1) w ((1 + p w) N_j' - (2j - 1) p N_j).

    The polynomials are exact rationals, so those powers of V that cancel at 0 are not there; but their signs alternate,
    and near a zero of a derivative the terms are 1e9 times the sum. So V, w and the sums have 106 bits where p is an
    integer: then the relative error of every derivative is that of rounding it to float64. Elsewhere V^p has 53 bits,
    and 1e-13 is what is left up to order 18.

    Args:
        exponent: p > 1.

    Raises:
        ValueError: an exponent that is not above 1, or not finite.

    References:
        J. Eggers and M. A. Fontelos, Nonlinearity 22 (2009), section 2.

    Example:
        >>> U = SelfSimilarProfile.smooth(0)
        >>> U([-2.0, 0.0, 2.0]).tolist(), U([0.0], order=3).tolist()
        ([1.0, 0.0, -1.0], [6.0])
        >>> U.lam, round(U.radius, 3)
        (0.5, 0.385)
    """

    exponent: float

    def __post_init__(self):
        if not 1 < self.exponent < math.inf:
            raise ValueError(
                f"expected an exponent p = 1 + 1/lambda above 1, came {self.exponent}: give lambda > 0, for the k-th "
                f"smooth profile SelfSimilarProfile.smooth(k)"
            )

    @classmethod
    def smooth(cls, k: int) -> SelfSimilarProfile:
        """Return the k-th smooth profile, lam = 1/(2k + 2): X = -U - U^(2k + 3).

        Args:
            k: 0 is the stable profile, the others are unstable.

        Returns:
            The profile.

        Raises:
            ValueError: k that is no integer from 0 on.
        """
        if k != int(k) or k < 0:
            raise ValueError(f"expected k = 0, 1, 2, ..., came {k}: the k-th smooth profile has lambda = 1/(2k + 2)")
        return cls(2 * int(k) + 3)

    @classmethod
    def of(cls, lam: float) -> SelfSimilarProfile:
        """Return the profile of any lam > 0, smooth or not.

        Args:
            lam: 1/(p - 1); an integer p that it misses by rounding alone is taken for meant.

        Returns:
            The profile.

        Raises:
            ValueError: lam that is not positive and finite.

        Example:
            >>> SelfSimilarProfile.of(1 / 49).exponent
            50
        """
        if not 0 < lam < math.inf:
            raise ValueError(f"expected a positive lambda, came {lam}: smooth profiles have 1/2, 1/4, 1/6, ...")
        exponent = 1 + 1 / lam
        whole = round(exponent)
        return cls(whole if abs(exponent - whole) <= 4 * np.finfo(float).eps * exponent else exponent)

    @property
    def lam(self) -> float:
        """The exponent of self-similarity, 1/(p - 1)."""
        return 1 / (self.exponent - 1)

    @property
    def is_smooth(self) -> bool:
        """Whether U has all derivatives at 0."""
        return self.exponent % 2 == 1

    @property
    def radius(self) -> float:
        """Distance |X_s| of the singularities nearest to 0, where dX/dU = 0: (1 - 1/p) p^(-1/(p - 1)).

        For smooth profiles it is the radius of convergence of the Taylor series about 0.
        """
        return (1 - 1 / self.exponent) * self.exponent**-self.lam

    def __call__(self, x: np.ndarray, order: int = 0) -> np.ndarray:
        """Return U, or a derivative d^order U / dX^order.

        Args:
            x: X, real, any shape.
            order: 0 to 24.

        Returns:
            float64, of the same shape; NaN at 0 where that derivative does not exist.

        Raises:
            ValueError: points that are not finite, or an order out of reach.
        """
        return self._coefficient(self._root(_checked(x, order)), x, order) * math.factorial(order)

    def coefficients(self, x: np.ndarray, order: int) -> np.ndarray:
        """Return the normalised Taylor coefficients U^(j)/j!, j = 0 .. order.

        Args:
            x: X, real, any shape.
            order: 0 to 24; costs about order^2 operations of 106 bits a point, 2001 points to order 18 some 50 ms.

        Returns:
            (order + 1, *x.shape) float64; NaN at 0 where a derivative does not exist.

        Raises:
            ValueError: points that are not finite, or an order out of reach.

        Example:
            >>> SelfSimilarProfile.smooth(1).coefficients(0.0, 9).tolist()
            [0.0, -1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -5.0]
        """
        root = self._root(_checked(x, order))
        return np.stack([self._coefficient(root, x, j) for j in range(order + 1)])

    def _root(self, size: np.ndarray) -> DoubleDouble:
        """Return V of V + V^p = |x|, by Newton's method between bounds; of 106 bits where p is an integer."""
        p = self.exponent
        # One of the terms is at least |x|/2, none is above |x|. F is convex: from above, Newton's method never crosses.
        low = np.minimum(size / 2, (size / 2) ** (1 / p))
        high = np.minimum(size, size ** (1 / p))
        root = high
        for _ in range(NEWTON_STEPS):
            power = root ** (p - 1)
            value = root * (1 + power) - size
            low, high = np.where(value <= 0, root, low), np.where(value >= 0, root, high)
            step = root - value / (1 + p * power)
            moved = np.where((low <= step) & (step <= high), step, 0.5 * (low + high))
            done, root = np.all(abs(moved - root) <= np.finfo(float).eps * root), moved
            if done:
                break
        root = DoubleDouble(root, np.zeros_like(root))
        if p != int(p):
            return root
        value = root ** int(p) + root + -size
        return root + -value.high / (1 + p * root.high ** (p - 1))

    def _coefficient(self, root: DoubleDouble, x: np.ndarray, order: int) -> np.ndarray:
        """Return U^(order)/order! from V of |x|."""
        x, p = np.asarray(x, dtype=np.float64), self.exponent
        if order == 0:
            return -np.copysign(root.high, x) + 0.0
        power = root ** int(p - 1) if p == int(p) else DoubleDouble(root.high ** (p - 1), np.zeros_like(root.high))
        near = p * power.high <= 1
        result = np.empty(root.high.shape)
        result[near] = self._near(root[near], power[near], order)
        result[~near] = self._far(root[~near], power[~near], order)
        if not (self.is_smooth or order < p):
            result[root.high == 0] = np.nan
        return -result * np.where((x < 0) & (order % 2 == 0), -1.0, 1.0) + 0.0

    def _near(self, root: DoubleDouble, power: DoubleDouble, order: int) -> np.ndarray:
        """Return V^(j)/j! for p w <= 1, as V^e (1 + p w)^(1 - 2j) times a polynomial in w that is not 0 at 0."""
        terms, p = _numerator(Fraction(self.exponent), order), self.exponent
        first = next(i for i, term in enumerate(terms) if term)
        rest = _horner(terms[first:], power) * (power * p + 1.0).reciprocal() ** (2 * order - 1)
        exponent = first * (p - 1) + 1 - order
        if p == int(p):
            return (rest * root**exponent).high
        with np.errstate(divide="ignore", over="ignore"):
            return rest.high * root.high**exponent

    def _far(self, root: DoubleDouble, power: DoubleDouble, order: int) -> np.ndarray:
        """Return V^(j)/j! for p w > 1, as (w / (V s))^(j - 1) s^(-j), s = 1 + p w, times a polynomial in 1/w."""
        terms, inverse = _numerator(Fraction(self.exponent), order), (power * self.exponent + 1.0).reciprocal()
        slope = power * inverse * root.reciprocal()
        return (_horner(terms[::-1], power.reciprocal()) * slope ** (order - 1) * inverse**order).high


def _checked(x: np.ndarray, order: int) -> np.ndarray:
    """Return |x|."""
    if order != int(order) or not 0 <= order <= HIGHEST:
        raise ValueError(f"expected an order from 0 to {HIGHEST}, came {order}: higher derivatives are not offered")
    size = abs(np.asarray(x, dtype=np.float64))
    if not np.isfinite(size).all():
        raise ValueError(f"expected finite points, came {int((~np.isfinite(size)).sum())} that are not: remove them")
    return size


def _horner(terms: tuple[Fraction, ...], at: DoubleDouble) -> DoubleDouble:
    result = DoubleDouble(np.zeros_like(at.high), np.zeros_like(at.high))
    for term in reversed(terms):
        result = result * at + DoubleDouble.of(term)
    return result


@lru_cache(maxsize=1024)
def _numerator(p: Fraction, order: int) -> tuple[Fraction, ...]:
    """Return the coefficients of N_order / order!, from the lowest, without the zeros above the highest."""
    if order == 1:
        return (Fraction(1),)
    j, before = order - 1, _numerator(p, order - 1)
    result = [Fraction(0)] * order
    for i, term in enumerate(before):
        result[i] += term * (1 - j + (p - 1) * i) / order
        result[i + 1] += term * p * (1 - j + (p - 1) * (i - 2 * j + 1)) / order
    return tuple(result)
