"""The zero contour of a function of the plane as smooth closed curves."""

from __future__ import annotations

import contourpy
import numpy as np

from solvers.geometry.curve import Curve
from solvers.geometry.field import Field
from solvers.geometry.path import path_of_points

MOST = 1 << 14
ACCURATE = 1e-10
"""Distance between the spline and the contour, over the size of the box, at which samples are dense enough."""


def zero_contours(field: Field, lower: np.ndarray, upper: np.ndarray, step: float) -> list[Curve]:
    """Return the closed components of f = 0 in a box.

    Contours of a uniform grid, projected onto f = 0 by Newton's method, then equispaced in arclength and projected
    again until a periodic cubic spline through them lies on f = 0 to 1e-10 of the box.

    Args:
        field: f, negative inside.
        lower: lower corner of the box, (2,).
        upper: upper corner.
        step: of the grid; features below it are lost.

    Returns:
        One curve a component.

    Raises:
        ValueError: no zero contour in the box, or one that leaves it.
    """
    counts = np.ceil((upper - lower) / step).astype(int) + 1
    lines = [np.linspace(low, high, count) for low, high, count in zip(lower, upper, counts, strict=True)]
    grid = np.stack(np.meshgrid(*lines, indexing="xy"), axis=-1)
    values = field(grid.reshape(-1, 2)).reshape(grid.shape[:2])
    refuse_border(values)
    # A grid point where f is exactly 0 would be a contour vertex of several cells at once.
    values = np.where(values == 0, np.finfo(float).tiny, values)
    found = contourpy.contour_generator(*lines, values).lines(0.0)
    return [_smooth(field, line, step) for line in found]


def refuse_border(values: np.ndarray) -> None:
    """Refuse values on a grid whose negative region is empty or reaches the grid's border.

    Args:
        values: f on a grid, any number of axes.

    Raises:
        ValueError: no negative value, or one on the border.

    Example:
        >>> refuse_border(np.array([1.0, -1.0, 1.0]))
    """
    if not (values < 0).any():
        raise ValueError(
            f"the level set has no zero contour in its box: f is {values.min():.3g} at least on a grid of "
            f"{values.shape} points; f must be negative inside the domain and positive outside, and the domain no "
            f"thinner than the grid"
        )
    for axis in range(values.ndim):
        if (np.take(values, [0, -1], axis=axis) <= 0).any():
            raise ValueError(
                f"the level set touches its box: f <= 0 somewhere on a face of axis {axis}; enlarge lower and upper "
                f"so that f > 0 on the whole face"
            )


def _smooth(field: Field, line: np.ndarray, step: float) -> Curve:
    """Return the curve of one contour, with as many samples as its shape needs."""
    points = _equispaced(line, max(32, int(2 * _length(line) / step)))
    points = _on_contour(field, points)
    count = max(256, len(points))
    while True:
        for _ in range(2):
            path = path_of_points(points)
            t = np.interp(np.arange(count) / count, _share(path), np.linspace(0, 1, 8 * len(points) + 1))
            points = _on_contour(field, path.position(t))
        path = path_of_points(points)
        middle = path.position((path.knots[:-1] + path.knots[1:]) / 2)
        off = np.abs(field(middle)) / np.linalg.norm(field.gradient(middle), axis=1)
        if off.max() <= ACCURATE * field.size or count >= MOST:
            return Curve(points)
        count *= 2


def _share(path) -> np.ndarray:
    """Return the part of the length up to 8 places between each two of a path's knots."""
    fine = path.position(np.linspace(0, 1, 8 * (len(path.knots) - 1) + 1))
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(fine, axis=0), axis=1))])
    return along / along[-1]


def _on_contour(field: Field, points: np.ndarray) -> np.ndarray:
    landed = field.project(points)
    if np.isnan(landed).any():
        where = points[np.isnan(landed).any(axis=1)][0].tolist()
        raise ValueError(
            f"the level set's zero contour cannot be reached near {where}: expected a smooth function whose gradient "
            f"does not vanish there (max and min of functions make corners: use Difference or Polygon)"
        )
    return landed


def _length(line: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())


def _equispaced(line: np.ndarray, count: int) -> np.ndarray:
    """Return points at equal steps along a closed chain of segments."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    at = np.arange(count) * (along[-1] / count)
    return np.stack([np.interp(at, along, line[:, axis]) for axis in range(2)], axis=1)
