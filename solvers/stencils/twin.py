"""Weights of stencils by batched LU factorisation in numpy: the slow twin of the compiled solver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import factorial, prod

import numpy as np

from solvers.polyharmonic import radial_partial

Operator = Mapping[tuple[int, ...], float]
"""A differential operator with constant coefficients: sum c_alpha d^alpha as alpha -> c_alpha."""

ENTRIES = 2**21
"""Entries of the saddle matrices solved at a time: 16 MB, and as much again for their factors."""


def batched_weights(
    nodes: np.ndarray,
    targets: np.ndarray,
    index: np.ndarray,
    exponent: int,
    powers: np.ndarray,
    operators: Sequence[Operator],
) -> np.ndarray:
    """Return the weights w with sum_j w_j u(x_j) = L u(target) for every operator L and every stencil.

        [A  P] [w     ]   [L phi(x - x_j)]     A_ij = phi(x_i - x_j), phi = r^m,
        [P' 0] [lambda] = [L q           ]     P_jk = q_k(x_j), q_k the monomials

    at x = target, in coordinates shifted to the target and divided by the stencil's radius h, where a term of an
    operator becomes c_alpha h^-|alpha| d^alpha. All operators share one factorisation. Cost: (n + q)^3 2/3 operations
    a stencil; memory is bounded however many there are.

    Args:
        nodes: (M, d) float64 coordinates.
        targets: (N, d) float64 coordinates, where derivatives are wanted.
        index: (N, n) indices of the nodes of each stencil.
        exponent: m, odd.
        powers: (q, d) exponents of the monomials.
        operators: K operators; {(0,) * d: 1.0} interpolates.

    Returns:
        (K, N, n) float64 weights.

    Raises:
        ValueError: a singular stencil.

    Example:
        >>> from solvers.polyharmonic import monomials
        >>> x = np.array([[-0.5], [0.0], [0.5]])
        >>> batched_weights(x, x[1:2], np.array([[0, 1, 2]]), 3, monomials(1, 2), [{(2,): 1.0}]).round(12).tolist()
        [[[4.0, -8.0, 4.0]]]
    """
    weights = unchecked_weights(nodes, targets, index, exponent, powers, operators)
    singular = np.flatnonzero(~np.isfinite(weights).all(axis=(0, 2)))
    if len(singular):
        raise ValueError(
            f"the saddle systems of {len(singular)} stencils are singular, the first that of target {singular[0]}: "
            f"use more nodes in a stencil, or polynomials of a lower degree"
        )
    return weights


def unchecked_weights(
    nodes: np.ndarray,
    targets: np.ndarray,
    index: np.ndarray,
    exponent: int,
    powers: np.ndarray,
    operators: Sequence[Operator],
) -> np.ndarray:
    """Return the same weights, with NaN where elimination meets a zero pivot.

    Args:
        nodes: (M, d) float64 coordinates.
        targets: (N, d) float64 coordinates.
        index: (N, n) indices of the nodes of each stencil.
        exponent: m, odd.
        powers: (q, d) exponents of the monomials.
        operators: K operators.

    Returns:
        (K, N, n) float64 weights.
    """
    count, size = index.shape
    weights = np.empty((len(operators), count, size))
    chunk = max(1, ENTRIES // (size + len(powers)) ** 2)
    for start in range(0, count, chunk):
        rows = slice(start, start + chunk)
        offsets, radius = scaled_offsets(nodes, targets[rows], index[rows])
        saddle = _saddle(offsets, exponent, powers)
        right = _right(offsets, radius, exponent, powers, operators)
        weights[:, rows] = np.moveaxis(_solve(saddle, right)[:, :size], 2, 0)
    return weights


def scaled_offsets(nodes: np.ndarray, targets: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each stencil's nodes about its target in units of its radius.

    Args:
        nodes: (M, d) coordinates.
        targets: (N, d) coordinates.
        index: (N, n) indices of the nodes of each stencil.

    Returns:
        (N, n, d) offsets, the longest of length 1, and the (N,) radii h.
    """
    offsets = nodes.take(index, axis=0) - targets[:, None]
    radius = np.sqrt(np.einsum("bnd,bnd->bn", offsets, offsets).max(axis=1))
    radius[radius == 0] = 1.0
    return offsets / radius[:, None, None], radius


def monomial_values(offsets: np.ndarray, powers: np.ndarray) -> np.ndarray:
    """Return the monomials at points.

    Args:
        offsets: (..., d) points.
        powers: (q, d) exponents.

    Returns:
        (..., q) values.

    Example:
        >>> monomial_values(np.array([2.0, 3.0]), np.array([[0, 0], [2, 1]])).tolist()
        [1.0, 12.0]
    """
    values = np.ones((*offsets.shape[:-1], len(powers)))
    for axis, highest in enumerate(powers.max(axis=0)):
        power = np.ones(offsets.shape[:-1])
        for exponent in range(1, highest + 1):
            power = power * offsets[..., axis]
            values[..., powers[:, axis] == exponent] *= power[..., None]
    return values


def _saddle(offsets: np.ndarray, exponent: int, powers: np.ndarray) -> np.ndarray:
    size = offsets.shape[1]
    difference = offsets[:, :, None] - offsets[:, None]
    squared = np.einsum("bijd,bijd->bij", difference, difference)
    saddle = np.zeros((len(offsets), size + len(powers), size + len(powers)))
    saddle[:, :size, :size] = squared ** (exponent // 2) * np.sqrt(squared)
    saddle[:, :size, size:] = monomial_values(offsets, powers)
    saddle[:, size:, :size] = saddle[:, :size, size:].swapaxes(1, 2)
    return saddle


def _right(
    offsets: np.ndarray, radius: np.ndarray, exponent: int, powers: np.ndarray, operators: Sequence[Operator]
) -> np.ndarray:
    """Return the operators of the splines and of the monomials at the target, (N, n + q, K)."""
    count, size, _ = offsets.shape
    right = np.zeros((count, size + len(powers), len(operators)))
    for column, operator in enumerate(operators):
        for alpha, coefficient in operator.items():
            factor = coefficient * radius ** -float(sum(alpha))
            right[:, :size, column] += factor[:, None] * _partial_of_spline(-offsets, alpha, exponent)
            right[:, size:, column] += np.outer(factor, monomial_derivatives(powers, alpha))
    return right


def monomial_derivatives(powers: np.ndarray, alpha: tuple[int, ...]) -> np.ndarray:
    """Return d^alpha of the monomials at the origin: alpha! for y^alpha, otherwise 0.

    Args:
        powers: (q, d) exponents.
        alpha: derivatives along each axis.

    Returns:
        (q,) values.
    """
    return (powers == alpha).all(axis=1) * float(prod(map(factorial, alpha)))


def _partial_of_spline(y: np.ndarray, alpha: tuple[int, ...], exponent: int) -> np.ndarray:
    """Return d^alpha r^m at y as r^(m - |alpha|) times a polynomial in y / r, which is safe at r = 0."""
    r = np.sqrt(np.einsum("...d,...d->...", y, y))
    unit = y / np.where(r > 0, r, 1.0)[..., None]
    terms = radial_partial(tuple(alpha), exponent)
    angular = monomial_values(unit, np.array([beta for _, beta, _ in terms])) @ np.array([c for c, _, _ in terms])
    return angular * r ** (exponent - sum(alpha))


def _solve(saddle: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve all systems at once; where one is exactly singular, halve until it stands alone and give it NaN."""
    try:
        return np.linalg.solve(saddle, right)
    except np.linalg.LinAlgError:
        if len(saddle) == 1:
            return np.full_like(right, np.nan)
    half = len(saddle) // 2
    return np.concatenate([_solve(saddle[:half], right[:half]), _solve(saddle[half:], right[half:])])
