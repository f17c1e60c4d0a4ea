"""A second way to the flow in a cavity, to compare with: Chebyshev collocation of the equation as it stands."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.polynomial import Polynomial


def clamped_differentiation(count: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return matrices of derivatives of polynomials that vanish with their slopes at both ends of [0, 1].

    Such a polynomial is x (1 - x) q with q(0) = q(1) = 0; q is interpolated at Chebyshev points (L. N. Trefethen,
    Spectral Methods in MATLAB, 2000, program 38).

    Args:
        count: N, one less than Chebyshev points.

    Returns:
        (N - 1,) inner points, rising; five (N - 1, N - 1) matrices, from values to derivatives of orders 0 to 4.
    """
    x = (1 - np.cos(np.pi * np.arange(count + 1) / count)) / 2
    weights = (-1.0) ** np.arange(count + 1)
    weights[[0, -1]] /= 2
    gaps = x[:, None] - x + np.eye(count + 1)
    first = weights / weights[:, None] / gaps
    first -= np.diag(first.sum(axis=1))
    powers = [np.eye(count + 1)]
    for _ in range(4):
        powers.append(first @ powers[-1])
    inner = x[1:-1]
    q = [power[1:-1, 1:-1] / (inner * (1 - inner)) for power in powers]
    bump, slope = (inner * (1 - inner))[:, None], (1 - 2 * inner)[:, None]
    matrices = [np.eye(count - 1)]
    for order in range(1, 5):
        # Leibniz: (w q)^(m) = w q^(m) + m w' q^(m-1) + m (m - 1) / 2 w'' q^(m-2), w'' = -2.
        matrix = bump * q[order] + order * slope * q[order - 1]
        matrices.append(matrix - order * (order - 1) * q[order - 2] if order > 1 else matrix)
    return inner, matrices


def collocated_velocity(
    reynolds: float,
    lid: Polynomial,
    count: int,
    start: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    iterations: int = 20,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the velocity of a cavity at the Chebyshev points, of a lid that is at rest with its slope at the corners.

    Re^-1 bilaplacian psi = psi_y Laplacian psi_x - psi_x Laplacian psi_y holds at the inner points, by Newton's method
    with the full Jacobian.

    Args:
        reynolds: Re.
        lid: its speed, a polynomial with double zeros at 0 and 1.
        count: N; (N - 1)^2 unknowns; 64 takes 6 s and 0.6 GB with a good start.
        start: stream function (x, y) -> values to begin with, or None for rest.
        iterations: of Newton's method at most.

    Returns:
        (points,) x, (points,) y and (points, 2) velocity.

    Raises:
        ArithmeticError: no convergence.
    """
    inner, d = clamped_differentiation(count)
    x, y = np.meshgrid(inner, inner, indexing="ij")
    given = _Given(lid, inner)
    free = np.zeros_like(x) if start is None else start(x.ravel(), y.ravel()).reshape(x.shape) - given(0, 0)
    for _ in range(iterations):

        def at(i: int, j: int, free: np.ndarray = free) -> np.ndarray:
            return d[i] @ free @ d[j].T + given(i, j)

        velocity = at(0, 1), -at(1, 0)
        spin_x, spin_y = at(3, 0) + at(1, 2), at(2, 1) + at(0, 3)
        viscous = (at(4, 0) + 2 * at(2, 2) + at(0, 4)) / reynolds
        residual = viscous - velocity[0] * spin_x - velocity[1] * spin_y
        step = np.linalg.solve(_jacobian(d, reynolds, velocity, spin_x, spin_y), residual.ravel())
        free = free - step.reshape(free.shape)
        if np.abs(step).max() < 1e-10 * np.abs(free).max():
            break
    else:
        raise ArithmeticError(f"no convergence at Re = {reynolds:g}: give a stream function to start from")
    u, v = d[0] @ free @ d[1].T + given(0, 1), -(d[1] @ free @ d[0].T) - given(1, 0)
    return x.ravel(), y.ravel(), np.stack([u.ravel(), v.ravel()], axis=1)


class _Given:
    """lid(x) y^2 (y - 1) and its partials: at rest on the walls, with the lid's speed on the lid."""

    def __init__(self, lid: Polynomial, inner: np.ndarray):
        depth = Polynomial([0.0, 0.0, -1.0, 1.0])
        self._tables = [[part.deriv(m)(inner) if m else part(inner) for m in range(5)] for part in (lid, depth)]

    def __call__(self, i: int, j: int) -> np.ndarray:
        return np.outer(self._tables[0][i], self._tables[1][j])


def _jacobian(d: list[np.ndarray], reynolds: float, velocity, spin_x: np.ndarray, spin_y: np.ndarray) -> np.ndarray:
    """Return the derivative of the residuals, rows and columns with y fastest."""
    out = (np.kron(d[4], d[0]) + 2 * np.kron(d[2], d[2]) + np.kron(d[0], d[4])) / reynolds
    out -= velocity[0].reshape(-1, 1) * (np.kron(d[3], d[0]) + np.kron(d[1], d[2]))
    out -= velocity[1].reshape(-1, 1) * (np.kron(d[2], d[1]) + np.kron(d[0], d[3]))
    out -= spin_x.reshape(-1, 1) * np.kron(d[0], d[1]) - spin_y.reshape(-1, 1) * np.kron(d[1], d[0])
    return out
