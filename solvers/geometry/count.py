"""The spacing that gives a wanted number of nodes."""

from __future__ import annotations

from numbers import Integral

import numpy as np

from solvers.geometry.boundary import Boundary
from solvers.geometry.lattice import CLIP, cell_volume, clipped_lattice, refuse_crowds
from solvers.geometry.shape import Shape

FEW = 5000
"""Count below which boundary nodes are counted at every trial spacing, and not scaled from one nearby."""
TRIES = 16
CLOSE, NEAR = 0.003, 0.01
"""Relative errors of a count below which no other spacing, and no other place of the lattice, is tried."""
SHIFTS = 8
"""Places of the lattice to try where faces, which take whole rows of nodes, let the count jump past the wanted one."""


def spacing_for(shape: Shape, count: int, shifts: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the spacing and the lattice's shift whose interior and boundary nodes come nearest to a number.

    Starts from h with count * (volume of a lattice place) = measure, and counts clipped places and boundary nodes at
    each trial: h <- h (total / count)^(1/d), or the middle of the bracket where that leaves it. Nothing is relaxed.

    Args:
        shape: to be filled.
        count: interior and boundary nodes together.
        shifts: (k, d), places of the lattice to try, in units of its blocks; the first one usually does.

    Returns:
        Spacing, and one of the shifts.

    Raises:
        ValueError: a count that is no integer, or too small for the shape's boundary, or above twenty million.

    Example:
        >>> from solvers.geometry import Disk
        >>> round(spacing_for(Disk(), 1000, np.zeros((1, 2)))[0], 3)
        0.061
    """
    if not isinstance(count, Integral) or isinstance(count, bool) or count < shape.dimension + 2:
        raise ValueError(f"expected count to be an integer of at least {shape.dimension + 2}, came {count!r}")
    refuse_crowds(float(count), shape, (shape.measure / count) ** (1 / shape.dimension))
    if shape.dimension == 1:
        ends = _few(shape, count, shape.measure / count).points
        return shape.measure / (count - len(ends) // 2), shifts[0]
    found = []
    for trial, shift in enumerate(shifts):
        found.append((*_searched(shape, count, shift), trial))
        if found[-1][0] <= NEAR * count:
            break
    _, spacing, trial = min(found)
    return spacing, shifts[trial]


def _searched(shape: Shape, count: int, shift: np.ndarray) -> tuple[float, float]:
    """Return the least error of a count and its spacing, for one place of the lattice; no node is relaxed for it."""
    dimension = shape.dimension
    spacing = (shape.measure / (count * cell_volume(dimension))) ** (1 / dimension)
    best, edge, fine, coarse = (np.inf, spacing), None, 0.0, np.inf
    for _ in range(TRIES):
        if edge is None or count < FEW or abs(np.log(spacing / edge[0])) > 0.02:
            edge = spacing, len(_few(shape, count, spacing).points)
        clip = CLIP[dimension] * spacing
        total = edge[1] * (edge[0] / spacing) ** (dimension - 1)
        total += len(clipped_lattice(shape, spacing, clip, clip, shift)[0])
        best = min(best, (abs(total - count), spacing))
        if best[0] <= CLOSE * count:
            break
        fine, coarse = (spacing, coarse) if total > count else (fine, spacing)
        spacing *= (total / count) ** (1 / dimension)
        if not fine < spacing < coarse:
            spacing = (fine + coarse) / 2
    return best


def _few(shape: Shape, count: int, spacing: float) -> Boundary:
    try:
        return shape.boundary(spacing)
    except ValueError as error:
        raise ValueError(f"count={count} is too small for this shape, give more: {error}") from error
