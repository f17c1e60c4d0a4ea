"""Weights of stencils on scattered nodes: neighbours, solution, and a check of every row."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from solvers.polyharmonic import monomials
from solvers.stencils import cache as disk
from solvers.stencils.inputs import checked_index, checked_operators, checked_points, refuse_too_few
from solvers.stencils.moments import moment_error
from solvers.stencils.neighbours import nearest, place
from solvers.stencils.recipe import Recipe
from solvers.stencils.twin import Operator, unchecked_weights

TOLERANCE = 1e-8
"""Largest error of a derivative of a polynomial, in the stencil's own units, above which its weights are refused."""

OUTSIDE = 0.5
"""Distance to the nearest node of a stencil over that to its farthest, from which a target is outside of the nodes."""


def stencil_weights(
    nodes: np.ndarray,
    targets: np.ndarray,
    recipe: Recipe,
    operators: Sequence[Operator],
    index: np.ndarray | None = None,
    label: Callable[[int], str] | None = None,
    *,
    cache: str | Path | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the stencils of targets and the weights of several operators, from one factorisation each.

        (L_k u)(target_i) ~ sum_j weights[k, i, j] u(nodes[index[i, j]])

    exact for polynomials of degree l, with an error O(h^(l + 1 - theta)) for smooth u and L of order theta (RBF-FD:
    polyharmonic splines r^m with polynomials). Solved by the compiled kernel, row by row again by LU where that gives
    up; every row is then tested on polynomials, and one that fails is an error, never a least-squares fit. Cost:
    (n + q)^3 / 3 operations a stencil, q = C(l + d, d), and 8 K N n bytes.

    Args:
        nodes: (M, d) coordinates; numbers of other types are converted to float64, which is exact.
        targets: (N, d) coordinates, nodes themselves or not.
        recipe: of the stencils.
        operators: K of them, each alpha -> coefficient: {(2, 0): 1.0, (0, 2): 1.0} is the Laplacian of the plane, and
            {(0, 0): 1.0} interpolates.
        index: (N, n) nodes of each stencil, or None for the nearest ones.
        label: number of a target -> its name for error messages, or None.
        cache: a directory where weights are kept between runs, or None.

    Returns:
        (N, n) int32 indices and (K, N, n) float64 weights.

    Raises:
        ValueError: coordinates that are not finite or do not fit the recipe, coincident or too few nodes, an operator
            of higher order than the polynomials, or stencils whose nodes do not determine the derivatives.

    Example:
        >>> x = np.linspace(0.0, 1.0, 21)[:, None]
        >>> index, weights = stencil_weights(x, x, Recipe.of(6, 2, 1), [{(2,): 1.0}])
        >>> second = (weights[0] * np.exp(x[index, 0])).sum(axis=1)
        >>> bool(np.abs(second - np.exp(x[:, 0])).max() < 1e-6)
        True
    """
    nodes, targets = checked_points("nodes", nodes, recipe), checked_points("targets", targets, recipe)
    operators = checked_operators(operators, recipe)
    index = checked_index(index, nodes, targets, recipe)
    key = None
    if cache is not None:
        key = disk.weights_key(nodes, targets, recipe, operators, index)
        if (found := disk.load(cache, key)) is not None:
            return found
    if index is None:
        refuse_too_few(len(nodes), recipe, operators)
        index = nearest(nodes, targets, recipe.size)
    weights, bad = _solved(nodes, targets, index, recipe, operators)
    _refuse_singular(np.flatnonzero(bad), nodes, targets, index, recipe, label)
    if key is not None:
        disk.store(cache, key, index, weights)
    return index, weights


def _solved(
    nodes: np.ndarray, targets: np.ndarray, index: np.ndarray, recipe: Recipe, operators: Sequence[Operator]
) -> tuple[np.ndarray, np.ndarray]:
    """Return weights, and which rows neither the kernel nor LU could solve."""
    powers = monomials(recipe.dimension, recipe.degree)
    compiled = _compiled()
    if compiled is None:
        weights = unchecked_weights(nodes, targets, index, recipe.exponent, powers, operators)
        return weights, _failed(nodes, targets, index, recipe, operators, weights)
    weights, solved = compiled(nodes, targets, index, recipe.exponent, powers, operators)
    # The kernel tests its own rows by moments about the nodes' middle, which say nothing of a target far outside.
    bad = ~solved
    off = np.flatnonzero((nodes[index[:, 0]] != targets).any(axis=1))
    bad[off] |= _failed(nodes, targets[off], index[off], recipe, operators, weights[:, off])
    if again := np.flatnonzero(bad).tolist():
        part = unchecked_weights(nodes, targets[again], index[again], recipe.exponent, powers, operators)
        weights[:, again] = part
        bad[again] = _failed(nodes, targets[again], index[again], recipe, operators, part)
    return weights, bad


def _failed(nodes, targets, index, recipe: Recipe, operators, weights) -> np.ndarray:
    """Return which rows do not differentiate polynomials; NaN fails."""
    return ~(moment_error(nodes, targets, index, recipe.degree, operators, weights) <= TOLERANCE)


@lru_cache(maxsize=1)
def _compiled():
    """Return the compiled solver, or None where it cannot be compiled, and say so once."""
    if find_spec("llvmlite") is None:
        warnings.warn(
            "llvmlite is not installed: weights of stencils are found by numpy, which is about ten times slower; "
            "install it with `pip install llvmlite`",
            RuntimeWarning,
            stacklevel=4,
        )
        return None
    from solvers.kernels.stencils import compiled_weights

    return compiled_weights


def _refuse_singular(
    bad: np.ndarray,
    nodes: np.ndarray,
    targets: np.ndarray,
    index: np.ndarray,
    recipe: Recipe,
    label: Callable[[int], str] | None,
) -> None:
    if not len(bad):
        return
    first = int(bad[0])
    name = f"target {first}" if label is None else label(first)
    distance = np.linalg.norm(nodes[index[first]] - targets[first], axis=1)
    far = f" Its nearest node is {distance.min():.3g} away: evaluate amid the nodes, or add some there."
    far = far if distance.min() > OUTSIDE * distance.max() else ""
    others = f", and those of {len(bad) - 1} other targets" if len(bad) > 1 else ""
    raise ValueError(
        f"the stencil of {name} at {place(targets[first])} is singular{others}: its {index.shape[1]} nodes do not "
        f"determine polynomials of degree {recipe.degree}, as where they lie on few lines, planes or curves. Use more "
        f"nodes in a stencil, a lower order, ghost nodes outside the boundary, or nodes nowhere nearly coincident.{far}"
    )
