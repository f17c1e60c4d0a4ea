"""What weights are asked of, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np

from solvers.stencils.neighbours import place
from solvers.stencils.recipe import Recipe
from solvers.stencils.twin import Operator


def checked_points(name: str, points: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Return coordinates in float64, contiguous.

    Args:
        name: for the message.
        points: (n, d) numbers; float32 and integers are converted, which is exact.
        recipe: whose dimension they must have.

    Returns:
        (n, d) float64 coordinates.

    Raises:
        ValueError: another shape or type, or a coordinate that is not finite.
    """
    points = np.asarray(points)
    if points.dtype.kind not in "fiu" or points.ndim != 2 or points.shape[1] != recipe.dimension:
        raise ValueError(
            f"{name}: expected real numbers of shape (n, {recipe.dimension}) for this recipe, "
            f"came {points.dtype} of shape {points.shape}"
        )
    points = np.ascontiguousarray(points, dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(bad):
        raise ValueError(
            f"{name}: expected finite coordinates, came {place(points[bad[0]])} at row {bad[0]} and {len(bad) - 1} "
            f"more such rows: remove them"
        )
    return points


def checked_operators(operators: Sequence[Operator], recipe: Recipe) -> list[dict[tuple[int, ...], float]]:
    """Return operators with integer multi-indices and float coefficients.

    Args:
        operators: alpha -> coefficient, one or more.
        recipe: whose polynomials they must not annihilate.

    Returns:
        The operators.

    Raises:
        ValueError: none, an empty one, a multi-index that does not fit, a coefficient that is not finite, or an order
            above the polynomials' degree or that the spline does not have.
    """
    if not operators:
        raise ValueError("expected at least one operator such as {(2, 0): 1.0, (0, 2): 1.0}, came none")
    checked = []
    for operator in operators:
        if not operator or not all(np.isfinite(float(c)) for c in operator.values()):
            raise ValueError(f"expected an operator {{alpha: finite coefficient, ...}}, came {operator!r}")
        for alpha in operator:
            if len(alpha) != recipe.dimension or any(int(a) != a or a < 0 for a in alpha):
                raise ValueError(
                    f"expected {recipe.dimension} numbers of derivatives >= 0, one an axis, came {tuple(alpha)}"
                )
            if sum(alpha) > recipe.degree:
                raise ValueError(
                    f"polynomials of degree {recipe.degree} have no derivative {tuple(alpha)} of order {sum(alpha)}: "
                    f"use Recipe.of(order, derivative={sum(alpha)}, dimension={recipe.dimension})"
                )
            if sum(alpha) >= recipe.exponent:
                raise ValueError(
                    f"r^{recipe.exponent} has no continuous derivative {tuple(alpha)} of order {sum(alpha)}: use an "
                    f"exponent of {sum(alpha) + 1 + sum(alpha) % 2} or more"
                )
        checked.append({tuple(map(int, alpha)): float(c) for alpha, c in operator.items()})
    return checked


def checked_index(
    index: np.ndarray | None, nodes: np.ndarray, targets: np.ndarray, recipe: Recipe
) -> np.ndarray | None:
    """Return given stencils as int32.

    Args:
        index: (N, n) indices into `nodes`, or None.
        nodes: (M, d) coordinates.
        targets: (N, d) coordinates.
        recipe: with the number of polynomials.

    Returns:
        (N, n) int32 indices, or None.

    Raises:
        ValueError: another shape, too few nodes in a stencil, an index out of range, or a node twice.
    """
    if index is None:
        return None
    index = np.asarray(index)
    if index.dtype.kind not in "iu" or index.ndim != 2 or len(index) != len(targets):
        raise ValueError(
            f"index: expected integers of shape ({len(targets)}, n), one row a target, came {index.dtype} of shape "
            f"{index.shape}"
        )
    if index.shape[1] < recipe.monomials:
        raise ValueError(
            f"index: expected {recipe.monomials} nodes or more in a stencil for polynomials of degree {recipe.degree}, "
            f"came {index.shape[1]}: use more nodes or a lower order"
        )
    if index.size and not 0 <= index.min() <= index.max() < len(nodes):
        raise ValueError(f"index: expected 0 to {len(nodes) - 1}, came {index.min()} to {index.max()}")
    twice = np.flatnonzero((np.diff(np.sort(index, axis=1), axis=1) == 0).any(axis=1))
    if len(twice):
        raise ValueError(f"index: expected every node once in a stencil, came one twice in row {twice[0]}: remove it")
    return np.ascontiguousarray(index, dtype=np.int32)


def refuse_too_few(count: int, recipe: Recipe, operators: Sequence[Operator]) -> None:
    """Refuse a stencil larger than the set of nodes, and say what would fit.

    Args:
        count: number of nodes.
        recipe: of the stencils.
        operators: for their order.

    Raises:
        ValueError: fewer nodes than a stencil has.
    """
    if recipe.size <= count:
        return
    theta = max(sum(alpha) for operator in operators for alpha in operator)
    order = 0
    while 2 * comb(order + theta + recipe.dimension, recipe.dimension) + 1 <= count:
        order += 1
    advice = f"the largest order that fits is {order}" if order else "no order fits"
    raise ValueError(
        f"a stencil of {recipe.size} nodes is larger than the set of {count} nodes: {advice} for derivatives of order "
        f"{theta} in {recipe.dimension}-D; use it, or more nodes"
    )
