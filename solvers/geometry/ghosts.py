"""Ghost nodes: one a boundary node and layer, outside of the shape."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from solvers.geometry.boundary import Boundary
from solvers.geometry.shape import Shape

CLOSEST = (0.5, 0.2)
"""Least distance of a ghost to any other node, in units of its first layer's offset (of h/2 where that is more); the
second where the first leaves no place."""
SHORTER = 0.04
"""Offset taken from a ghost that is in the way, a round, in units of the local spacing."""


def ghost_nodes(shape: Shape, boundary: Boundary, sizes: np.ndarray, layers: int, offset: float) -> np.ndarray:
    """Return ghosts at boundary + (offset + k) h normal, k = 0 .. layers - 1, drawn nearer where they are in the way.

    Behind re-entrant corners and in narrow gaps ghosts of different boundary nodes would meet, or land inside the
    shape. Such a ghost is drawn nearer to its boundary node, step by step (of two that meet, the one that is further
    out; both where they are equally far), until it is outside and at least 0.25 h from every other node (half the
    offset, where that is less), or 0.1 h where a notch leaves no more room.

    Args:
        shape: the domain.
        boundary: its m boundary nodes.
        sizes: (m,) local spacing h.
        layers: ghosts a boundary node.
        offset: of the first layer, in units of h.

    Returns:
        (layers * m, d), layer by layer, each in the order of the boundary nodes.

    Raises:
        ValueError: no place for a ghost, however near.
    """
    if not layers:
        return boundary.points[:0]
    count = len(sizes)
    own, layer = np.tile(np.arange(count), layers), np.repeat(np.arange(layers), count)
    size = sizes[own]
    reach, tight = layer + offset, np.zeros(layers * count, dtype=bool)
    while True:
        ghosts = boundary.points[own] + (reach * size)[:, None] * boundary.normals[own]
        closest = np.where(tight, *reversed(CLOSEST)) * min(offset, 0.5)
        least = closest * (layer + 1)
        movable = reach > least
        blocked = _in_the_way(shape, boundary.points, ghosts, closest * size, reach, movable)
        stuck = blocked & ~movable
        if not blocked.any():
            return ghosts
        if (stuck & tight).any():
            raise ValueError(_no_place(boundary, size, reach, stuck & tight))
        tight |= stuck
        reach = np.where(blocked, np.maximum(reach - SHORTER, least), reach)


def _in_the_way(shape: Shape, nodes, ghosts, closest, reach, movable) -> np.ndarray:
    """Return a mask of the ghosts that must move: inside, too near to a node, or the further one of a close pair."""
    rounding = 1 - 1e-9
    blocked = shape.signed_distance(ghosts) <= 0
    blocked |= cKDTree(nodes).query(ghosts)[0] < closest * rounding
    one, other = cKDTree(ghosts).query_pairs(float(closest.max()), output_type="ndarray").T
    apart = np.linalg.norm(ghosts[one] - ghosts[other], axis=1)
    close = apart < np.minimum(closest[one], closest[other]) * rounding
    one, other = one[close], other[close]
    first = movable[one] & (reach[one] >= reach[other])
    second = movable[other] & ((reach[other] >= reach[one]) | ~movable[one])
    blocked[one[first | ~second]] = True
    blocked[other[second]] = True
    return blocked


def _no_place(boundary: Boundary, size: np.ndarray, reach: np.ndarray, stuck: np.ndarray) -> str:
    ghost = int(np.flatnonzero(stuck)[0])
    layer, node = divmod(ghost, len(boundary.points))
    place = boundary.points[node].round(6).tolist()
    return (
        f"no place for the layer-{layer + 1} ghost of boundary node {node} at {place}: "
        f"even {reach[ghost] * size[ghost]:.3g} outward it is inside the domain or too near to another node "
        f"({int(stuck.sum())} such ghosts); use a smaller spacing (here {size[ghost]:.3g}), fewer ghost layers, or "
        "none (ghost_layers=0) behind a notch that is too sharp at any spacing"
    )
