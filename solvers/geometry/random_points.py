"""Independent uniform points of a region: inside, on its boundary and at its first time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from solvers.geometry.boundary import Boundary
from solvers.geometry.shape import Shape
from solvers.points import Points

if TYPE_CHECKING:
    from solvers.geometry.region import Region

DENSE = 16
"""Boundary points from which one is drawn at random."""
FINER = {1: 1, 2: 8, 3: 3}
"""Spacing of interior points over that at which boundary points are counted, so that few shapes are too thin for it."""


def random_points(region: Region, interior: int, boundary: int | None, initial: int | None, seed: int) -> Points:
    """Return points drawn independently and uniformly; those of the boundary are spread along it.

    Args:
        region: a shape, and a time interval where there is one.
        interior: number of interior points.
        boundary: number of boundary points; None takes as many as are spaced like the interior ones. In one dimension
            without time always the two ends.
        initial: number of points at the initial time; None likewise.
        seed: of the draws.

    Returns:
        Points with normals and parts, without ghosts.
    """
    rng, shape = np.random.default_rng(seed), region.shape
    dimension, timed = shape.dimension, region.time is not None
    # With time, n points are spaced like n^(d / (d+1)) places in space at n^(1 / (d+1)) times.
    places = interior ** (dimension / (dimension + timed))
    spacing = (shape.measure / places) ** (1 / dimension)
    finer = FINER[dimension]
    walls = shape.boundary(spacing / finer)
    if boundary is None:
        boundary = max(1, round(len(walls) / finer ** (dimension - 1) * interior / places))
    if dimension == 1:
        chosen = np.arange(boundary if timed else 2) % 2
    else:
        walls = _dense(shape, walls, spacing / finer, DENSE * boundary)
        # One of each stretch of neighbouring points: no part is over- or underrepresented by more than one stretch.
        chosen = np.floor((np.arange(boundary) + rng.random(boundary)) * (len(walls) / boundary)).astype(int)
    start = None
    if timed:
        start = _inside(shape, max(1, round(places)) if initial is None else initial, rng)
        start = np.column_stack([start, np.full(len(start), region.time[0])])
    return Points(
        interior=_at_random_times(region, _inside(shape, interior, rng), rng),
        boundary=_at_random_times(region, walls.points[chosen], rng),
        initial=start,
        normals=np.pad(walls.normals[chosen], ((0, 0), (0, int(timed)))),
        parts={name: np.flatnonzero(np.isin(chosen, index)) for name, index in walls.parts.items()},
        axes=region.axes,
    )


def _dense(shape: Shape, walls: Boundary, spacing: float, count: int) -> Boundary:
    """Return at least so many boundary points, ordered along each part."""
    while len(walls) < count:
        spacing /= 1.1 * (count / len(walls)) ** (1 / (shape.dimension - 1))
        walls = shape.boundary(spacing)
    return walls


def _inside(shape: Shape, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return independent uniform points of the shape, by rejection from its box."""
    lower, upper = np.array(shape.lower), np.array(shape.upper)
    share = shape.measure / np.prod(upper - lower)
    found = np.empty((0, len(lower)))
    while len(found) < count:
        drawn = lower + (upper - lower) * rng.random((int(1.1 * (count - len(found)) / share) + 16, len(lower)))
        found = np.concatenate([found, drawn[shape.signed_distance(drawn) < 0]])
    return found[:count]


def _at_random_times(region: Region, places: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if region.time is None:
        return places
    return np.column_stack([places, rng.uniform(*region.time, len(places))])
