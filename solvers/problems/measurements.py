"""Measured values as a condition: what was found at listed points, looked up by the points themselves."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from solvers.problems.problem import Condition

ROUNDING = 4 * torch.finfo(torch.float32).eps
"""How far a row may lie from where it was measured, over the largest coordinate: points may have been in float32."""


@dataclass(frozen=True, eq=False)
class Measurements:
    """Values at listed points, given back for any rows of these points in any order, also in float32.

    What was measured several times at one point is averaged: a sum of squares differs from that of all of them by a
    constant.

    Args:
        points: (n, axes), where something was measured.
        values: (n, components), what.

    Raises:
        ValueError: fewer than two points, other shapes, values that are not finite, or when asked for a point that was
            never measured.

    Cost: a search in a tree once for each tensor of rows, then a look-up.

    Example:
        >>> found = Measurements(torch.tensor([[0.0], [0.1], [0.1]]), torch.tensor([[1.0], [2.0], [4.0]]))
        >>> found(torch.tensor([[0.1], [0.0]])).flatten().tolist()
        [3.0, 1.0]
    """

    points: Tensor
    values: Tensor
    _known: WeakIdKeyDictionary = field(default_factory=WeakIdKeyDictionary, init=False, repr=False)

    def __post_init__(self):
        points, values = (np.asarray(given, np.float64) for given in (self.points, self.values))
        if points.ndim != 2 or values.ndim != 2 or len(points) != len(values) or len(points) < 2:
            raise ValueError(
                f"expected two or more points (n, axes) and as many values (n, components), came {points.shape} and "
                f"{values.shape}: give a row for each measurement"
            )
        if not (np.isfinite(points).all() and np.isfinite(values).all()):
            raise ValueError("expected finite points and values, came some that are not: leave these measurements out")
        places, row, count = np.unique(points, axis=0, return_inverse=True, return_counts=True)
        sums = np.zeros((len(places), values.shape[1]))
        np.add.at(sums, row.reshape(-1), values)
        object.__setattr__(self, "_tree", cKDTree(places))
        object.__setattr__(self, "_means", torch.from_numpy(sums / count[:, None]))

    def __call__(self, rows: Tensor) -> Tensor:
        """Return what was measured at rows.

        Args:
            rows: (m, axes), some of the points.

        Returns:
            (m, components) in the rows' dtype, on their device.

        Raises:
            ValueError: a row where nothing was measured.
        """
        if rows not in self._known:
            self._known[rows] = self._found(rows)
        return self._known[rows]

    def _found(self, rows: Tensor) -> Tensor:
        asked = rows.detach().cpu().double().numpy()
        distance, index = self._tree.query(asked)
        far = distance > ROUNDING * max(1.0, np.abs(self._tree.data).max())
        if far.any():
            first = int(np.flatnonzero(far)[0])
            raise ValueError(
                f"expected points where something was measured, came {asked[first].tolist()}, {distance[first]:.1e} "
                f"from the nearest of {self._tree.n}: draw points with problem.sample(), which has them as a set, or "
                f"measure there"
            )
        return self._means[index].to(rows)


def measured(
    points: Tensor, values: Tensor, *, name: str = "data", where: str = "data", weight: float = 1.0
) -> Condition:
    """Return the condition u = what was measured, on a set of points; the problem's `sets` names it.

    Args:
        points: (n, axes), n >= 2.
        values: (n, components).
        name: of the loss term.
        where: name of the set in `Problem.sets`.
        weight: of the term in the loss.

    Returns:
        The condition, whose residual is u - value.

    Raises:
        ValueError: points and values that `Measurements` refuses.

    Example:
        >>> measured(torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [3.0]])).where
        'data'
    """
    known = Measurements(points, values)
    return Condition(name, where, ("",), lambda jet, x, normals, coefficients: jet[""] - known(x), weight)
