"""The recipe of a stencil: polynomial degree, spline exponent and number of nodes."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb


@dataclass(frozen=True)
class Recipe:
    """What a stencil is made of.

    A spline r^m is conditionally positive definite of order (m + 1)/2, so that with polynomials of degree
    l >= (m - 1)/2 the weights are unique on every set of nodes on which these polynomials are independent.

    Args:
        dimension: d, the number of coordinates.
        degree: l, of the polynomials that the weights reproduce.
        exponent: m, of the spline r^m, odd.
        size: n, the number of nodes of a stencil.

    Raises:
        ValueError: an even exponent, a degree too low for it, or fewer nodes than polynomials.

    Example:
        >>> Recipe(dimension=2, degree=4, exponent=5, size=31).monomials
        15
    """

    dimension: int
    degree: int
    exponent: int
    size: int

    def __post_init__(self):
        if self.dimension < 1 or self.degree < 0:
            raise ValueError(f"expected at least one coordinate and a degree >= 0, came {self}")
        if self.exponent < 1 or self.exponent % 2 == 0:
            raise ValueError(
                f"expected an odd exponent m of the spline r^m, came {self.exponent}: use {self.exponent + 1}, or None "
                f"in Recipe.of for the usual one"
            )
        if self.exponent > 2 * self.degree + 1:
            raise ValueError(
                f"r^{self.exponent} needs polynomials of degree {(self.exponent - 1) // 2} or more for unique weights, "
                f"came degree {self.degree}: raise it, or use an exponent <= {2 * self.degree + 1}"
            )
        if self.size < self.monomials:
            raise ValueError(
                f"expected at least as many nodes in a stencil as polynomials of degree {self.degree} in "
                f"{self.dimension}-D ({self.monomials}), came {self.size}: {2 * self.monomials + 1} are usual"
            )

    @property
    def monomials(self) -> int:
        """C(l + d, d), the number of monomials of degree l or less."""
        return comb(self.degree + self.dimension, self.dimension)

    @classmethod
    def of(
        cls, order: int, derivative: int, dimension: int, *, exponent: int | None = None, size: int | None = None
    ) -> Recipe:
        """Return the recipe whose error falls as h^order for a derivative of a given order.

            l = order + derivative - 1,   m = max(5, l if odd else l - 1),   n = 2 C(l + d, d) + 1

        (Shankar & Fogelson 2018; Sharma & Shankar 2022 let m start at 3, which is 2-4 times less accurate). Degrees 0
        and 1, of interpolation alone, have m = 1 and 3: above, weights need not be unique.

        Args:
            order: p, of the error, at least 1.
            derivative: theta, the highest order of a partial; 0 interpolates.
            dimension: d, the number of coordinates.
            exponent: m, another odd one.
            size: n, another number of nodes, at least C(l + d, d).

        Returns:
            The recipe.

        Raises:
            ValueError: an order below 1, a derivative below 0, or numbers that make no recipe.

        Example:
            >>> Recipe.of(order=5, derivative=2, dimension=2)
            Recipe(dimension=2, degree=6, exponent=5, size=57)
        """
        if order < 1 or derivative < 0 or dimension < 1:
            raise ValueError(
                f"expected order >= 1, derivative >= 0 and dimension >= 1, came {order=}, {derivative=}, {dimension=}"
            )
        degree = order + derivative - 1
        if exponent is None:
            exponent = min(max(5, degree - (degree + 1) % 2), 2 * degree + 1)
        return cls(dimension, degree, exponent, 2 * comb(degree + dimension, dimension) + 1 if size is None else size)
