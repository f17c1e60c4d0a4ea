"""The solution of the Korteweg-de Vries equation, from its modes in space and in time."""

from __future__ import annotations

import numpy as np
from numpy.polynomial.chebyshev import chebvander


class KdVSolution:
    """u(x, t) = Re sum_nk c_nk T_n(2t - 1) exp(i k pi x) on 0 <= t <= 1, 2-periodic in x.

    Args:
        coefficients: c, (orders, modes, 2) float64: real and imaginary parts.

    Example:
        >>> standing = np.zeros((1, 2, 2))
        >>> standing[0, 1, 0] = 1
        >>> KdVSolution(standing)(np.array([0.0, 1.0]), np.array([0.3, 0.3])).tolist()
        [1.0, -1.0]
    """

    def __init__(self, coefficients: np.ndarray):
        self.coefficients = coefficients[..., 0] + 1j * coefficients[..., 1]
        self.wave = np.pi * np.arange(coefficients.shape[1])

    def __call__(self, x: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Return u.

        Args:
            x: positions, 1-D.
            t: times in [0, 1], of the same shape.

        Returns:
            u, of the same shape.
        """
        solution = np.empty(len(x))
        times, group = np.unique(t, return_inverse=True)
        order = np.argsort(group, kind="stable")
        ends = np.searchsorted(group[order], np.arange(len(times) + 1))
        for index, modes in enumerate(self.at(times)):
            rows = order[ends[index] : ends[index + 1]]
            solution[rows] = (np.exp(1j * np.outer(x[rows], self.wave)) @ modes).real
        return solution

    def at(self, times: np.ndarray) -> np.ndarray:
        """Return the modes c with u(x, t) = Re sum_k c_k exp(i k pi x).

        Args:
            times: (n,) in [0, 1].

        Returns:
            (n, modes) complex.
        """
        return chebvander(2 * np.asarray(times, dtype=np.float64) - 1, len(self.coefficients) - 1) @ self.coefficients
