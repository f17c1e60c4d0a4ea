"""Equispaced nodes of a domain on the line."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from solvers.geometry.boundary import Boundary
from solvers.geometry.shape import Shape

SAMPLES = 2001


def line_nodes(shape: Shape, boundary: Boundary, spacing: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return the interior nodes between the boundary points of a domain on the line.

    A segment of L = integral of ds / h(s) spacings gets round(L) - 1 nodes, at equal steps of that integral.

    Args:
        shape: on the line.
        boundary: its boundary points.
        spacing: (n, 1) -> (n,).

    Returns:
        (n, 1), increasing.
    """
    ends = np.sort(boundary.points[:, 0])
    middles = (ends[1:] + ends[:-1]) / 2
    found = [np.empty(0)]
    for segment in np.flatnonzero(shape.signed_distance(middles[:, None]) < 0):
        line = np.linspace(ends[segment], ends[segment + 1], SAMPLES)
        rate = 1 / spacing(line[:, None])
        length = np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) / 2 * np.diff(line))])
        cells = max(1, round(length[-1]))
        steps = np.linspace(0.0, 1.0, cells + 1)[1:-1]
        if np.ptp(rate) == 0:
            found.append(line[0] + steps * (line[-1] - line[0]))
        else:
            found.append(np.interp(steps * length[-1], length, line))
    return np.concatenate(found)[:, None]
