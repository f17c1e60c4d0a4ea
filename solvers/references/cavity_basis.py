"""Polynomials that vanish with their slopes at both ends of [0, 1], and the quadrature that goes with them."""

from __future__ import annotations

import numpy as np
from numpy.polynomial import legendre


def legendre_partial(degree: int, x: np.ndarray, order: int) -> np.ndarray:
    """Return derivatives of the Legendre polynomials P_0 ... P_degree of 2x - 1.

    Args:
        degree: the highest.
        x: places in [0, 1], 1-D.
        order: of the derivative in x.

    Returns:
        (places, degree + 1).

    Example:
        >>> legendre_partial(2, np.array([1.0]), 1).tolist()
        [[0.0, 2.0, 6.0]]
    """
    slopes = legendre.legder(np.eye(degree + 1), order, scl=2.0) if order else np.eye(degree + 1)
    return legendre.legvander(2 * x - 1, len(slopes) - 1) @ slopes


class ClampedBasis:
    """The N - 3 polynomials of degree <= N with f = f' = 0 at 0 and 1, orthonormal in f'', on Gauss points.

    Each is a sum of three Legendre polynomials (J. Shen, SIAM J. Sci. Comput. 15 (1994)).

    Args:
        degree: N, at least 4.
        points: Gauss points; None takes 3 N / 2 + 4, which integrates products of three exactly.
    """

    def __init__(self, degree: int, points: int | None = None):
        nodes, weights = legendre.leggauss(points or 3 * degree // 2 + 4)
        self.degree, self.size = degree, degree - 3
        self.x, self.weights = (nodes + 1) / 2, weights / 2
        self.coefficients = np.zeros((degree + 1, self.size))
        k = np.arange(self.size)
        scale = 1 / np.sqrt(2.0 * (2 * k + 3) ** 2 * (2 * k + 5))
        for step, factor in ((0, 1.0), (2, -2 * (2 * k + 5) / (2 * k + 7)), (4, (2 * k + 3) / (2 * k + 7))):
            self.coefficients[k + step, k] = scale * factor
        # On [-1, 1] the second derivatives are orthonormal; on half the length they are 2^(3/2) as large.
        self.coefficients /= 2**1.5
        self.legendre = [legendre_partial(degree, self.x, order) for order in range(4)]
        self.values = [table @ self.coefficients for table in self.legendre[:3]]

    def field(self, coefficients: np.ndarray, i: int, j: int) -> np.ndarray:
        """Return a partial of a sum of P_m(2x - 1) P_n(2y - 1) on the tensor grid of Gauss points.

        Args:
            coefficients: (degree + 1, degree + 1).
            i: order of the derivative in x.
            j: order of the derivative in y.

        Returns:
            (points, points), x first.
        """
        return self.legendre[i] @ coefficients @ self.legendre[j].T

    def projected(self, values: np.ndarray) -> np.ndarray:
        """Return the coefficients of the function of this basis that is nearest to some values in L2.

        Args:
            values: (points, points) on the tensor grid.

        Returns:
            (size, size).
        """
        root = np.sqrt(self.weights)[:, None]
        inverse = np.linalg.pinv(root * self.values[0]) * root.T
        return inverse @ values @ inverse.T

    def interpolated(self, x_part: np.ndarray, y_part: np.ndarray) -> np.ndarray:
        """Return the Legendre coefficients of a product of two polynomials of degree <= N.

        Args:
            x_part: (points,) values of the factor in x at the Gauss points.
            y_part: (points,) values of the factor in y.

        Returns:
            (degree + 1, degree + 1).
        """
        factor = (2 * np.arange(self.degree + 1) + 1)[:, None] * (self.legendre[0] * self.weights[:, None]).T
        return np.outer(factor @ x_part, factor @ y_part)
