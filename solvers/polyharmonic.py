"""Polyharmonic splines r^m with odd m, their partial derivatives, and the monomials that go with them."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from itertools import combinations_with_replacement

import numpy as np

Alpha = tuple[int, ...]
"""A multi-index: the number of derivatives along each axis."""

Term = tuple[float, Alpha, int]
"""Coefficient c, powers beta and power k of the term c y^beta r^k."""


@lru_cache(maxsize=256)
def radial_partial(alpha: Alpha, exponent: int) -> tuple[Term, ...]:
    """Return the terms of a partial derivative of r^m, r = |y|.

        d^alpha r^m = sum c y^beta r^k,  |beta| + k = m - |alpha| > 0 in every term, so that all vanish at r = 0.

    Repeats d_i (y^beta r^k) = beta_i y^(beta - e_i) r^k + k y^(beta + e_i) r^(k - 2); k stays odd, hence never 0, and
    may become negative where beta > 0. Cost: O(d^2 |alpha|) terms once, then from memory.

    Args:
        alpha: derivatives along each axis.
        exponent: m, odd and above |alpha|.

    Returns:
        Terms (c, beta, k), by falling k.

    Raises:
        ValueError: an even exponent, a negative entry, or more derivatives than r^m has at the origin.

    Example:
        >>> radial_partial((2, 0), 5)
        ((5.0, (0, 0), 3), (15.0, (2, 0), 1))
    """
    if exponent < 1 or exponent % 2 == 0:
        raise ValueError(
            f"expected an odd exponent m = 1, 3, 5, ... of r^m, came {exponent}: even powers are polynomials"
        )
    if not alpha or min(alpha) < 0:
        raise ValueError(f"expected a number of derivatives >= 0 along each axis, came {alpha}")
    if sum(alpha) >= exponent:
        raise ValueError(
            f"r^{exponent} has no continuous derivative {alpha} at r = 0: use an exponent of at least "
            f"{sum(alpha) + 1 + sum(alpha) % 2}"
        )
    terms = {((0,) * len(alpha), exponent): 1}
    for axis, count in enumerate(alpha):
        for _ in range(count):
            terms = _derived(terms, axis)
    ordered = sorted(terms.items(), key=lambda item: (-item[0][1], item[0][0]))
    return tuple((float(c), beta, k) for (beta, k), c in ordered if c)


def _derived(terms: dict[tuple[Alpha, int], int], axis: int) -> dict[tuple[Alpha, int], int]:
    """Return d/dy_axis of a sum of terms."""
    derived = defaultdict(int)
    for (beta, k), c in terms.items():
        raised = (*beta[:axis], beta[axis] + 1, *beta[axis + 1 :])
        derived[raised, k - 2] += c * k
        if beta[axis]:
            lowered = (*beta[:axis], beta[axis] - 1, *beta[axis + 1 :])
            derived[lowered, k] += c * beta[axis]
    return derived


@lru_cache(maxsize=64)
def _monomials(dimension: int, degree: int) -> np.ndarray:
    rows = [
        [axes.count(axis) for axis in range(dimension)]
        for total in range(degree + 1)
        for axes in combinations_with_replacement(range(dimension), total)
    ]
    table = np.array(rows, dtype=np.int64)
    table.flags.writeable = False
    return table


def monomials(dimension: int, degree: int) -> np.ndarray:
    """Return the exponents of all monomials up to a total degree.

    Args:
        dimension: d, the number of coordinates.
        degree: l, the largest total degree.

    Returns:
        (C(l + d, d), d) int64 exponents, by rising total degree, the constant first; read-only.

    Raises:
        ValueError: no coordinate, or a negative degree.

    Example:
        >>> monomials(2, 2).tolist()
        [[0, 0], [1, 0], [0, 1], [2, 0], [1, 1], [0, 2]]
    """
    if dimension < 1 or degree < 0:
        raise ValueError(f"expected at least one coordinate and a degree >= 0, came {dimension=}, {degree=}")
    return _monomials(dimension, degree)
