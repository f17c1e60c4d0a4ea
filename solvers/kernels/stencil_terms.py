"""Radial functions and monomials of a stencil, as functions of vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from operator import add, mul

from solvers.kernels.vectors import Vector
from solvers.polyharmonic import Alpha, radial_partial


def dot(left: Sequence[Vector], right: Sequence[Vector]) -> Vector:
    """Return an inner product.

    Args:
        left: one vector an axis.
        right: one vector an axis.

    Returns:
        The sum of products.
    """
    return reduce(add, [a * b for a, b in zip(left, right, strict=True)])


def root(square: Vector) -> Vector:
    """Return the square root.

    Args:
        square: of a length.

    Returns:
        The length.
    """
    return square._call("llvm.sqrt")


def monomial(power: Alpha, point: Sequence[Vector], known: dict[Alpha, Vector]) -> Vector:
    """Return y^power, from one of lower degree where that is known, and remember it.

    Args:
        power: exponent of each axis.
        point: y.
        known: those computed before.

    Returns:
        The product.
    """
    if power not in known:
        axis = next((a for a, p in enumerate(power) if p), None)
        if axis is None:
            known[power] = point[0].constant(1.0)
        else:
            lower = (*power[:axis], power[axis] - 1, *power[axis + 1 :])
            known[power] = monomial(lower, point, known) * point[axis] if any(lower) else point[axis]
    return known[power]


def radial_side(scaled: dict[Alpha, Vector], exponent: int, y: Sequence[Vector]) -> Vector:
    """Return sum_alpha scaled_alpha d^alpha r^m at y; it is 0 at y = 0.

    Args:
        scaled: multi-index -> factor.
        exponent: m.
        y: from a node to the target.

    Returns:
        The sum.
    """
    square = dot(y, y)
    length, total, known = root(square), square.constant(0.0), {}
    positive = square.builder.fcmp_ordered(">", square.value, total.value)
    inverse = (1.0 / square)._select(positive, 1.0 / square, 0.0)
    for alpha, factor in scaled.items():
        for coefficient, beta, power in radial_partial(alpha, exponent):
            # r^k = r (r^2)^((k - 1) / 2), k odd.
            step = square if power > 0 else inverse
            radial = reduce(mul, [step] * abs((power - 1) // 2), length)
            total = (factor * coefficient * monomial(beta, y, known)).fma(radial, total)
    return total


def shift_side(scaled: dict[Alpha, Vector], shift: Sequence[float], y: Sequence[Vector], e: Sequence[Vector]) -> Vector:
    """Return sum_alpha scaled_alpha d^alpha sum_k g_k (y . e)^k, derived in e.

    Args:
        scaled: multi-index -> factor.
        shift: g_k.
        y: a node.
        e: the target.

    Returns:
        The sum.
    """
    product, total, known = dot(y, e), y[0].constant(0.0), {}
    for alpha, factor in scaled.items():
        order = sum(alpha)
        terms = [g * math.perm(k, order) for k, g in enumerate(shift)][order:]
        if terms:
            total = (factor * monomial(alpha, y, known)).fma(product.polynomial(terms), total)
    return total
