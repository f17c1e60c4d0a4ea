"""Nodes of variable density, before they are relaxed."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np

from solvers.geometry.lattice import cell_volume, refuse_crowds
from solvers.geometry.shape import Shape

Sizes = Callable[[np.ndarray], np.ndarray]
"""The spacing at each point, (n, d) -> (n,)."""
SHARE = {2: 0.25, 3: 0.5}
"""Largest part of a node that a leaf of the tree may hold."""
ROOTS = {2: 32, 3: 8}
"""Cells along the longest edge of the bounding box that the tree starts from."""


def graded(shape: Shape, spacing: Sizes, clip: float, shift: np.ndarray) -> np.ndarray:
    """Return nodes whose density follows 1 / spacing^d, deeper than `clip` * spacing below the boundary.

    The bounding box is halved along every axis until a leaf holds less than a quarter of a node (half of one in
    space); leaves are put in Morton order, in which neighbours in space stay close, and every leaf where the running
    sum of their shares passes a half-integer gives a node. Any cell of the tree so holds its share of nodes to within
    one at either end.

    Args:
        shape: in the plane or in space.
        spacing: (n, d) -> (n,).
        clip: least depth, in units of the local spacing.
        shift: (d,) in [0, 1), of the tree.

    Returns:
        (n, d) nodes, in Morton order.

    Raises:
        ValueError: more than twenty million leaves.
    """
    centres, edges, keys, depth = _leaves(shape, spacing, clip, shift)
    sizes = spacing(centres)
    inside = -shape.signed_distance(centres) - clip * sizes
    inside[((centres <= shape.lower) | (centres >= shape.upper)).any(axis=1)] = -np.inf
    share = (inside > 0) * (edges / sizes) ** shape.dimension / cell_volume(shape.dimension)
    order = np.argsort(keys << (shape.dimension * (depth.max() - depth)), kind="stable")
    running = np.cumsum(share[order])
    picked = order[np.searchsorted(running, np.arange(0.5, running[-1]))]
    return centres[picked]


def _leaves(shape: Shape, spacing: Sizes, clip: float, shift: np.ndarray):
    """Return centres, edges, Morton keys and levels of the tree's leaves that reach into the shape."""
    dimension = shape.dimension
    lower, extent = np.array(shape.lower), np.array(shape.upper) - np.array(shape.lower)
    edge = extent.max() / ROOTS[dimension]
    counts = np.ceil(extent / edge).astype(int) + 1
    corners = np.array(list(product(*map(range, counts))))
    keys = np.zeros(len(corners), dtype=np.int64)
    for bit in range(int(counts.max()).bit_length()):
        for axis in range(dimension):
            keys |= ((corners[:, axis] >> bit) & 1) << (dimension * bit + axis)
    centres = lower + (corners + 0.5 - shift) * edge
    octants = np.array(list(product((0, 1), repeat=dimension)))
    digits = octants @ (1 << np.arange(dimension))
    found, level = [], 0
    while len(centres):
        sizes = spacing(centres)
        inside = -shape.signed_distance(centres) > clip * sizes - edge * np.sqrt(dimension)
        centres, keys, sizes = centres[inside], keys[inside], sizes[inside]
        full = edge**dimension > SHARE[dimension] * cell_volume(dimension) * sizes**dimension
        found.append((centres[~full], np.full((~full).sum(), edge), keys[~full], np.full((~full).sum(), level)))
        leaves = (edge / sizes[full]) ** dimension / (SHARE[dimension] * cell_volume(dimension))
        refuse_crowds(sum(len(part[0]) for part in found) + leaves.sum(), shape, sizes.min(initial=np.inf))
        edge, level = edge / 2, level + 1
        centres = (centres[full][:, None] + (octants - 0.5) * edge).reshape(-1, dimension)
        keys = ((keys[full][:, None] << dimension) + digits).ravel()
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))
