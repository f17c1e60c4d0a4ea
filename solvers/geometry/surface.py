"""Quasi-uniform nodes on surfaces in space: thinning of dense points, then repulsion along the surface."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial import cKDTree

HEXAGON = 3**0.5 / 2
"""Area of a node's cell in units of h^2, in the hexagonal lattice of spacing h."""
JAMMED = 0.705
"""Thinning radius over spacing at which random packing of points thrice as dense has as many nodes as the lattice."""
NEIGHBOURS = 7
STRIDE = 0.06


def fibonacci_sphere(count: int) -> np.ndarray:
    """Return points of the unit sphere on a spiral: equal areas in z, the golden angle in longitude.

    Args:
        count: how many.

    Returns:
        (count, 3).

    Example:
        >>> fibonacci_sphere(5)[:, 2].round(12).tolist()
        [0.8, 0.4, 0.0, -0.4, -0.8]
    """
    index = np.arange(count)
    z = 1 - (2 * index + 1) / count
    angle = index * (np.pi * (3 - 5**0.5))
    radius = np.sqrt(1 - z * z)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)


def thin(points: np.ndarray, spacing: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return a subset of dense points no two of which are nearer than 0.705 h.

    Points are visited in a fixed random order; each that is still there removes its neighbours. The count is that of
    the hexagonal lattice of spacing h, to some per cent.

    Args:
        points: (n, d), at least some five times as dense as the result.
        spacing: (n, d) -> (n,).

    Returns:
        (k, d). Cost: a neighbour query for each point that is kept.
    """
    tree, radius = cKDTree(points), JAMMED * spacing(points)
    alive, kept = np.ones(len(points), dtype=bool), []
    for at in np.random.default_rng(0).permutation(len(points)):
        if alive[at]:
            kept.append(at)
            alive[tree.query_ball_point(points[at], radius[at])] = False
    return points[np.sort(kept)]


def spread(
    points: np.ndarray,
    spacing: Callable[[np.ndarray], np.ndarray],
    project: Callable[[np.ndarray], np.ndarray],
    sweeps: int = 25,
    images: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """Return the points after sweeps of repulsion between neighbours, each followed by projection to the surface.

    A sweep moves x_i by 0.06 h sum_j (h / d_ij)^4 (x_i - x_j) / d_ij over its 6 neighbours, at most by 0.1 h.

    Args:
        points: (n, d) on the surface.
        spacing: (n, d) -> (n,).
        project: (n, d) -> (n, d), to the surface.
        sweeps: how many.
        images: (n, d) -> (k, d), further points that repel, such as mirror images beyond an edge.

    Returns:
        (n, d).
    """
    near = min(NEIGHBOURS, len(points))
    for sweep in range(sweeps):
        h = spacing(points)[:, None]
        others = points if images is None else np.concatenate([points, images(points)])
        distance, neighbour = cKDTree(others).query(points, k=near)
        away = points[:, None] - others[neighbour[:, 1:]]
        gap = np.maximum(distance[:, 1:, None], 1e-3 * h[:, None])
        push = (away / gap * (h[:, None] / gap) ** 4).sum(axis=1)
        move = STRIDE * (1 - sweep / sweeps) * h * push
        length = np.linalg.norm(move, axis=1, keepdims=True)
        points = project(points + move * np.minimum(1, 0.1 * h / np.maximum(length, 1e-300)))
    return points
