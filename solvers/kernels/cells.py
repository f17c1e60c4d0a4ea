"""Nodes sorted by the cells of a grid, and the size of cells that suits a search of n neighbours."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter

WIDTH = 1.12
"""Side of a cell over the radius of a ball of n nodes: what is nearer than a side lies in the cells around."""

TRIAL = 8
"""Nodes in a cell of the grid that measures the density."""

LARGEST = 2**24
"""Cells of a grid at most; they are widened where there would be more."""

FLAT = 1e-3
"""Least extent along an axis, relative to the largest, of nodes that a grid of cubes suits."""

SPARSE = 4
"""Least number of nodes over neighbours of a search that cells make faster."""


def suited(nodes: np.ndarray, size: int) -> bool:
    """Return whether cells are fit to search nodes by: there are many, and they fill a box of all dimensions.

    Args:
        nodes: (M, d) float64.
        size: n, neighbours wanted.

    Returns:
        Whether they are.

    Example:
        >>> suited(np.zeros((5000, 2)), 21)
        False
    """
    if nodes.shape[1] > 3 or len(nodes) < SPARSE * size:
        return False
    extent = nodes.max(axis=0) - nodes.min(axis=0)
    # Within these limits neither squared distances nor volumes leave the range of numbers.
    return bool(1e-90 < FLAT * extent.max() <= extent.min() and np.abs(nodes).max() < 1e90)


@dataclass(frozen=True)
class Cells:
    """A grid of cells and the nodes in them.

    Args:
        frame: (d + 1,) float64, the grid's lower corner, then the side of its cells.
        shape: (d,) int64, cells along each axis.
        order: (M,) nodes by rising cell, the last axis fastest.
        starts: (cells + 1,) int64, where each cell's nodes begin in `order`.
    """

    frame: np.ndarray
    shape: np.ndarray
    order: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, nodes: np.ndarray, side: float) -> Cells:
        """Sort nodes into cells.

        Args:
            nodes: (M, d) float64.
            side: of a cell.

        Returns:
            The grid.

        Example:
            >>> Cells.of(np.array([[0.5], [2.5], [0.0]]), 1.0).starts.tolist()
            [0, 2, 2, 3]
        """
        lower, upper = nodes.min(axis=0), nodes.max(axis=0)
        while np.prod(np.floor((upper - lower) / side) + 1) > LARGEST:
            side *= 2
        frame = np.append(lower, side)
        shape = np.floor((upper - lower) / side).astype(np.int64) + 1
        flat = np.ravel_multi_index(tuple(_cells(nodes, frame, shape).T), tuple(shape))
        counts = np.bincount(flat, minlength=int(np.prod(shape)))
        return cls(frame, shape, np.argsort(flat, kind="stable"), np.concatenate([[0], np.cumsum(counts)]))

    def cells(self, points: np.ndarray) -> np.ndarray:
        """Return the cells of points, the nearest ones of points outside.

        Args:
            points: (N, d) float64.

        Returns:
            (N, d) int64.
        """
        return _cells(points, self.frame, self.shape)

    def flat(self, cells: np.ndarray) -> np.ndarray:
        """Return the numbers of cells.

        Args:
            cells: (N, d) int64.

        Returns:
            (N,) int64.
        """
        return np.ravel_multi_index(tuple(cells.T), tuple(self.shape))


def _cells(points: np.ndarray, frame: np.ndarray, shape: np.ndarray) -> np.ndarray:
    return np.clip(np.floor((points - frame[:-1]) / frame[-1]), 0, shape - 1).astype(np.int64)


def sides(nodes: np.ndarray, targets: np.ndarray, size: int) -> np.ndarray:
    """Return for each target the side of the cells to search it by, one of a few powers of two apart.

    The density is that of the densest cell around, so that it does not fall towards a boundary.

    Args:
        nodes: (M, d) float64.
        targets: (N, d) float64.
        size: n, neighbours wanted.

    Returns:
        (N,) float64.

    Example:
        >>> x = np.linspace(0.0, 1.0, 1001)[:, None]
        >>> side = sides(x, x, 21)
        >>> bool((side == side[0]).all() and 0.01 < side[0] < 0.015)
        True
    """
    dimension = nodes.shape[1]
    extent = nodes.max(axis=0) - nodes.min(axis=0)
    volume = np.prod(extent)
    grid = Cells.of(nodes, (volume * TRIAL / len(nodes)) ** (1 / dimension))
    counts = maximum_filter(np.diff(grid.starts).reshape(grid.shape), size=3)
    density = np.maximum(counts, 1) / grid.frame[-1] ** dimension
    ball = math.pi ** (dimension / 2) / math.gamma(dimension / 2 + 1)
    wanted = (WIDTH * (size / (ball * density)) ** (1 / dimension)).ravel()[grid.flat(grid.cells(targets))]
    usual = np.median(wanted)
    return usual * 2.0 ** np.round(np.log2(wanted / usual))
