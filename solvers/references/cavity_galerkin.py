"""Steady flow in a square: Galerkin's method for the stream function, Newton's for its equations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import lu_factor, lu_solve

from solvers.references.cavity_basis import ClampedBasis

CHORDS = 40
"""Newton steps at most: with one factorisation each divides the error by some thousands."""

RESIDUAL = 1e-11
"""Largest last step, of the largest coefficient."""


@dataclass(frozen=True, eq=False)
class Known:
    """What of the stream function is given: everything that does not vanish with its slope on the walls.

    Args:
        polynomial: (degree + 1, degree + 1) Legendre coefficients.
        slopes: x, y and Laplacian of the rest of it on the Gauss points, three arrays of shape (points, points).
        forcing: Re^-1 bilaplacian of the rest, less the curl of a body force, (points, points).
    """

    polynomial: np.ndarray
    slopes: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
    forcing: np.ndarray | None = None


class Cavity:
    """Re^-1 bilaplacian psi = psi_y (Laplacian psi)_x - psi_x (Laplacian psi)_y in the weak form.

    For each of the basis' products phi: int Laplacian psi (Laplacian phi / Re + psi_y phi_x - psi_x phi_y) = 0.

    Args:
        reynolds: Re.
        basis: of what is unknown.
        known: of the stream function.
    """

    def __init__(self, reynolds: float, basis: ClampedBasis, known: Known):
        self.reynolds, self.basis, self.known = reynolds, basis, known
        self._weights = np.outer(basis.weights, basis.weights)

    def stream(self, unknown: np.ndarray) -> np.ndarray:
        """Return the Legendre coefficients of the polynomial part of the stream function.

        Args:
            unknown: (size, size).

        Returns:
            (degree + 1, degree + 1).
        """
        return self.basis.coefficients @ unknown @ self.basis.coefficients.T + self.known.polynomial

    def residual(self, unknown: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Return the equations' residuals, and what the Jacobian is made from.

        Args:
            unknown: (size, size).

        Returns:
            (size, size) residuals; psi_x, psi_y and Laplacian psi on the Gauss points.
        """
        basis, weights = self.basis, self._weights
        value, slope, second = basis.values
        stream = self.stream(unknown)
        x, y, xx, yy = (basis.field(stream, *order) for order in ((1, 0), (0, 1), (2, 0), (0, 2)))
        spin = xx + yy
        stress = weights * spin / self.reynolds
        total = second.T @ stress @ value + value.T @ stress @ second
        if self.known.slopes is not None:
            x, y, spin = x + self.known.slopes[0], y + self.known.slopes[1], spin + self.known.slopes[2]
        if self.known.forcing is not None:
            total += value.T @ (weights * self.known.forcing) @ value
        total += slope.T @ (weights * spin * y) @ value - value.T @ (weights * spin * x) @ slope
        return total, (x, y, spin)

    def jacobian(self, fields: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
        """Return the derivatives of the residuals, in single precision.

        Each term is a sum over Gauss points of a function times products of 1-D basis functions; summed over y first,
        then over x, n^2 of them cost 12 points n^2 multiplications, n = size^2.

        Args:
            fields: psi_x, psi_y and Laplacian psi, as `residual` returns them.

        Returns:
            (size^2, size^2) float32.
        """
        x, y, spin = fields
        basis, size = self.basis, self.basis.size
        # (function, (derivatives of test and trial in x), (in y)).
        terms = (
            (y, (1, 2), (0, 0)),
            (y, (1, 0), (0, 2)),
            (-x, (0, 2), (1, 0)),
            (-x, (0, 0), (1, 2)),
            (spin, (1, 0), (0, 1)),
            (-spin, (0, 1), (1, 0)),
        )
        in_x, in_y = [], []
        for function, along, across in terms:
            in_x.append(self._products(*along).astype(np.float32))
            in_y.append(((self._weights * function) @ self._products(*across).reshape(len(x), -1)).astype(np.float32))
        for along, across in (((2, 2), (0, 0)), ((2, 0), (0, 2)), ((0, 2), (2, 0)), ((0, 0), (2, 2))):
            sums = [np.tensordot(basis.weights, self._products(*pair), 1) for pair in (along, across)]
            in_x.append((sums[0][None] / self.reynolds).astype(np.float32))
            in_y.append(sums[1].reshape(1, -1).astype(np.float32))
        in_x, in_y = np.concatenate(in_x), np.concatenate(in_y)
        out = np.empty((size,) * 4, dtype=np.float32)
        for k in range(size):
            out[k] = (in_x[:, k].T @ in_y).reshape(size, size, size).transpose(1, 0, 2)
        return out.reshape(size**2, size**2)

    def _products(self, test: int, trial: int) -> np.ndarray:
        """Return derivatives of test times trial functions, (points, size, size)."""
        return self.basis.values[test][:, :, None] * self.basis.values[trial][:, None, :]

    def solved(self, start: np.ndarray) -> np.ndarray:
        """Return the solution by Newton's method, with a factorisation kept for as long as it serves.

        The Jacobian and its factors are in single precision, residuals and solution in double: steps that divide the
        error by a thousand each reach double precision all the same, at half the time and memory.

        Args:
            start: (size, size).

        Returns:
            (size, size).

        Raises:
            ArithmeticError: no convergence.
        """
        unknown, factors, last = start, None, np.inf
        for _ in range(CHORDS):
            total, fields = self.residual(unknown)
            if factors is None:
                factors = lu_factor(self.jacobian(fields), overwrite_a=True, check_finite=False)
            step = lu_solve(factors, total.ravel().astype(np.float32), check_finite=False)
            length = float(np.abs(step).max())
            if not np.isfinite(length):
                break
            unknown = unknown - step.reshape(unknown.shape).astype(np.float64)
            if length < RESIDUAL * np.abs(unknown).max():
                return unknown
            if length > 0.1 * last or last == np.inf:
                factors = None
            last = length
        raise ArithmeticError(
            f"Newton's method does not converge at Re = {self.reynolds:g} with degree {self.basis.degree}: "
            f"start from a solution nearer to it, or raise the degree"
        )
