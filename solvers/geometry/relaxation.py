"""Relaxation: nodes repel each other until their spacing is even."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial import cKDTree

NEIGHBOURS = {2: 8, 3: 20}
RANGE = 1.5
"""Distance beyond which two nodes do not feel each other, in units of the spacing: between the first and the second
shell of a hexagonal lattice, where a longer force would favour clumps and a shorter one leave holes."""
STEP = {2: 0.2, 3: 0.12}
LONGEST = 0.1
"""Longest move of a node in one sweep, in units of the spacing."""
STALE = 3
"""Sweeps between two searches for neighbours: a node moves by less than a third of the spacing meanwhile."""


def relax(
    free: np.ndarray,
    fixed: np.ndarray,
    spacing: Callable[[np.ndarray], np.ndarray],
    signed_distance: Callable[[np.ndarray], np.ndarray],
    *,
    sweeps: int = 40,
    wall: float = 0.5,
) -> np.ndarray:
    """Move nodes so that they keep away from each other, from fixed nodes and from the boundary.

    A sweep moves node i along sum_j (1/q_ij - 1/1.5)_+ (x_i - x_j) / |x_i - x_j|, q_ij = |x_i - x_j| / h: the forces of
    a logarithmic energy, cut off between the lattice's first two shells. Steps shrink linearly to nothing.

    Args:
        free: (n, d) nodes that move.
        fixed: (m, d) nodes that do not.
        spacing: (k, d) -> (k,), the local h.
        signed_distance: of the shape, (k, d) -> (k,).
        sweeps: number of them.
        wall: a move that would end nearer than this to the boundary, in units of h, is not made.

    Returns:
        (n, d) moved nodes, in the order of `free`.

    Cost: O((n + m) log(n + m)) a neighbour search, every third sweep; 4 us a node and sweep in 2-D.
    """
    count, dimension = free.shape
    nodes = np.concatenate([free, fixed])
    near = min(NEIGHBOURS[dimension], len(nodes) - 1)
    if not count or not near:
        return free
    room = np.zeros(count)
    sizes = np.empty(len(nodes))
    sizes[count:] = spacing(fixed) if len(fixed) else 0.0
    for sweep in range(sweeps):
        if sweep % STALE == 0:
            index = cKDTree(nodes).query(nodes[:count], k=near + 1)[1][:, 1:]
            sizes[:count] = spacing(nodes[:count])
            own = sizes[:count]
            pair = (own[:, None] + sizes[index]) / 2
            weight = STEP[dimension] * own[:, None] * (pair / own[:, None]) ** (dimension - 1)
        move = (1 - sweep / sweeps) * _force(nodes, index, pair, weight)
        length = np.linalg.norm(move, axis=1)
        move *= np.minimum(1.0, LONGEST * own / np.maximum(length, 1e-300))[:, None]
        target = nodes[:count] + move
        room -= np.minimum(length, LONGEST * own)
        close = np.flatnonzero(room < 0)
        room[close] = -signed_distance(target[close]) - wall * own[close]
        blocked = close[room[close] < 0]
        target[blocked] = nodes[blocked]
        nodes[:count] = target
    return nodes[:count]


def _force(nodes: np.ndarray, index: np.ndarray, pair: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the weighted sum of the forces of each node's neighbours."""
    apart = nodes[: len(index), None] - nodes[index]
    length = np.sqrt(np.einsum("ijk,ijk->ij", apart, apart))
    ratio = np.maximum(length / pair, 1e-6)
    strength = np.maximum(1 / ratio - 1 / RANGE, 0.0)
    return np.einsum("ij,ijk->ik", weight * strength / np.maximum(length, 1e-300), apart)
