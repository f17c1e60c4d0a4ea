"""Nearest nodes of targets, and the checks that nodes are fit to be searched."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np
from scipy.spatial import cKDTree

CHUNK = 4096
"""Targets searched at a time: bounds the memory of distances and 64-bit indices."""

MANY = 2048
"""Nodes from which the compiled search pays for being compiled, 0.2 s once a process."""

COINCIDENT = 1e-8
"""Part of the mean spacing below which two nodes count as one: their weights cancel to eight digits or more."""


def nearest(
    nodes: np.ndarray, targets: np.ndarray, size: int, label: Callable[[int], str] = "node {}".format
) -> np.ndarray:
    """Return the nearest nodes of every target, by rising distance, the same in every call.

    Among nodes equally far, which come first and which are left out depends on all nodes but not on the other targets;
    the order of accuracy does not. Compiled from 2048 nodes on, where llvmlite is installed. Cost: O(N n log M).

    Args:
        nodes: (M, d) float64 coordinates, no two coincident.
        targets: (N, d) float64 coordinates, nodes themselves or not.
        size: n, the number of neighbours.
        label: number of a node -> its name for error messages.

    Returns:
        (N, n) int32 indices into `nodes`.

    Raises:
        ValueError: fewer nodes than neighbours, or coincident nodes.

    Example:
        >>> nearest(np.arange(6.0)[:, None], np.array([[2.1]]), 3).tolist()
        [[2, 3, 1]]
    """
    if not 1 <= size <= len(nodes):
        raise ValueError(f"expected 1 to {len(nodes)} neighbours, as many as there are nodes, came {size}")
    _refuse_coincident(nodes, label)
    if len(nodes) >= MANY and importlib.util.find_spec("llvmlite"):
        from solvers.kernels.neighbours import nearest_nodes

        return nearest_nodes(nodes, targets, size)
    tree = cKDTree(nodes, leafsize=32)
    index = np.empty((len(targets), size), dtype=np.int32)
    for start in range(0, len(targets), CHUNK):
        found = tree.query(targets[start : start + CHUNK], k=size)[1]
        index[start : start + CHUNK] = found.reshape(-1, size)
    return index


def _refuse_coincident(nodes: np.ndarray, label: Callable[[int], str]) -> None:
    """Refuse nodes that coincide: such a pair is next to each other along any direction."""
    dimension = nodes.shape[1]
    spacing = float((nodes.max(axis=0) - nodes.min(axis=0)).max()) / len(nodes) ** (1 / dimension)
    # Roots of primes are independent over the rationals: no two nodes of a lattice share a place along them.
    along = nodes @ np.sqrt([2.0, 3.0, 5.0, 7.0][:dimension])
    order, reach = np.argsort(along, kind="stable"), 5 * COINCIDENT * spacing
    along, pairs, apart = along[order], np.empty((0, 2), dtype=np.int64), 1
    while not len(pairs) and apart < len(nodes):
        close = np.flatnonzero(along[apart:] - along[:-apart] <= reach)
        if not len(close):
            break
        pairs = np.sort(np.stack([order[close], order[close + apart]], axis=1), axis=1)
        pairs = pairs[np.linalg.norm(nodes[pairs[:, 0]] - nodes[pairs[:, 1]], axis=1) <= COINCIDENT * spacing]
        apart += 1
    if len(pairs):
        first, second = min(map(tuple, pairs.tolist()))
        raise ValueError(
            f"{label(first)} and {label(second)} coincide at {place(nodes[first])} ({len(pairs)} such pairs at least): "
            f"remove one of each pair, or move it by a good part of the spacing {spacing:.3g}"
        )


def place(point: np.ndarray) -> str:
    """Return a point's coordinates for a message.

    Args:
        point: (d,) coordinates.

    Returns:
        Text such as "(0.5, 1)".
    """
    return "(" + ", ".join(f"{x:.6g}" for x in point) + ")"
