"""The moments of weights: whether they differentiate polynomials exactly, as they must."""

from __future__ import annotations

from collections.abc import Sequence
from math import factorial

import numpy as np

from solvers.stencils.neighbours import CHUNK
from solvers.stencils.twin import Operator

OFFSET = 0.6
"""Constant b of the ridges b + a.y and b - a.y with |a| = 1 - b: at every node both are positive, one at least b."""


def moment_error(
    nodes: np.ndarray,
    targets: np.ndarray,
    index: np.ndarray,
    degree: int,
    operators: Sequence[Operator],
    weights: np.ndarray,
) -> np.ndarray:
    """Return by how much the weights of each stencil miss the derivatives of polynomials.

        | sum_j w_j q(x_j) - (L q)(target) | / max_alpha |c_alpha| h^-|alpha|,   q(x) = (b + a.(x - target) / h)^l

    with h the stencil's radius: the error in the stencil's own units, where 0 < q <= 1. A ridge polynomial has every
    monomial of degree <= l, so that two of generic direction, a and -a, miss an error only if it is orthogonal to
    both; they cost n (d + log l) operations where all moments cost n C(l + d, d). Singular stencils show here, whose
    LU factors are seldom exactly singular: their weights are of the order of 1 / eps.

    Args:
        nodes: (M, d) float64 coordinates.
        targets: (N, d) float64 coordinates.
        index: (N, n) indices of the nodes of each stencil.
        degree: l.
        operators: K operators.
        weights: (K, N, n) float64.

    Returns:
        (N,) errors, the largest of all operators; NaN where a weight is.

    Example:
        >>> x = np.array([[-1.0], [0.0], [1.0]])
        >>> w = np.array([[[1.0, -2.0, 1.0]], [[-0.5, 0.1, 0.5]]])
        >>> operators = [{(2,): 1.0}, {(1,): 1.0}]
        >>> moment_error(x, x[1:2], np.array([[0, 1, 2]]), 2, operators, w).round(6).tolist()
        [0.036]
    """
    errors = np.zeros(len(targets))
    for start in range(0, len(targets), CHUNK):
        rows = slice(start, start + CHUNK)
        offsets = nodes.take(index[rows], axis=0) - targets[rows, None]
        radius = np.sqrt(np.einsum("bnd,bnd->bn", offsets, offsets).max(axis=1))
        radius[radius == 0] = 1.0
        slope = (offsets @ _direction(targets.shape[1])) / radius[:, None]
        for sign in (1.0, -1.0):
            direction = sign * _direction(targets.shape[1])
            values = _power(OFFSET + sign * slope, degree)
            for operator, operator_weights in zip(operators, weights, strict=True):
                exact, scale = _ridge_derivative(operator, direction, degree, radius)
                error = np.abs(np.einsum("bn,bn->b", operator_weights[rows], values) - exact) / scale
                errors[rows] = np.maximum(errors[rows], error)
    return errors


def _direction(dimension: int) -> np.ndarray:
    """Return a vector of length 1 - b that no lattice or axis knows."""
    vector = np.sqrt(2.0 + np.arange(dimension)) % 1 + 0.3
    return vector * ((1 - OFFSET) / np.linalg.norm(vector))


def _power(values: np.ndarray, exponent: int) -> np.ndarray:
    """Return values^exponent by squaring, which is several times faster than `**`."""
    result = np.ones_like(values) if exponent == 0 else None
    while exponent:
        if exponent % 2:
            result = values if result is None else result * values
        exponent //= 2
        values = values * values if exponent else values
    return result


def _ridge_derivative(
    operator: Operator, direction: np.ndarray, degree: int, radius: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return L (b + a.y / h)^l at y = 0, and the size of the operator's largest term in units of h."""
    exact, scale = np.zeros_like(radius), np.zeros_like(radius)
    for alpha, coefficient in operator.items():
        order = sum(alpha)
        factor = coefficient * radius ** -float(order)
        falling = factorial(degree) / factorial(degree - order) * OFFSET ** (degree - order)
        exact += factor * (falling * float(np.prod(direction ** np.array(alpha))))
        np.maximum(scale, np.abs(factor), out=scale)
    return exact, scale
