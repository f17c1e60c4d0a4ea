"""Stencils that are translates of each other, as those of a lattice are: their weights are found once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from solvers.stencils.neighbours import CHUNK

SAMPLE = 256
"""Stencils, evenly spread, by which `worth_it` decides."""

FEWEST = 2048
"""Stencils below which nothing is gained."""

SMALLEST = 40
"""Nodes of a stencil below which it is solved about as fast as it is compared."""

ROUNDING = 16.0
"""Units in the last place of the largest coordinate by which offsets of translates may differ."""


@dataclass(frozen=True)
class Translates:
    """Stencils sorted into classes of translates.

    Args:
        representative: (R,) one stencil of each class.
        member: (N,) the class of each stencil.
        order: (N, n) for each stencil the places of its nodes in an order common to its class.
    """

    representative: np.ndarray
    member: np.ndarray
    order: np.ndarray

    def expand(self, weights: np.ndarray) -> np.ndarray:
        """Return the weights of all stencils from those of the representatives.

        Args:
            weights: (K, R, n) float64.

        Returns:
            (K, N, n) float64.
        """
        order = self.order[self.representative].astype(np.intp)
        common = np.take_along_axis(weights, order[None], axis=2)
        every = np.empty((len(weights), *self.order.shape))
        for start in range(0, len(self.member), CHUNK):
            rows = slice(start, start + CHUNK)
            place = self.order[rows].astype(np.intp)
            for full, part in zip(every, common, strict=True):
                np.put_along_axis(full[rows], place, part[self.member[rows]], axis=1)
        return every


def worth_it(nodes: np.ndarray, targets: np.ndarray, index: np.ndarray) -> bool:
    """Return whether a sample of the stencils has fewer than half as many classes as members.

    Args:
        nodes: (M, d) float64 coordinates.
        targets: (N, d) float64 coordinates.
        index: (N, n) int32 indices.

    Returns:
        False where there are too few stencils, or too small ones, to gain by it.
    """
    if len(targets) < FEWEST or index.shape[1] < SMALLEST:
        return False
    rows = np.linspace(0, len(targets) - 1, SAMPLE).astype(np.intp)
    return 2 * len(find_translates(nodes, targets[rows], index[rows]).representative) < SAMPLE


def find_translates(nodes: np.ndarray, targets: np.ndarray, index: np.ndarray) -> Translates:
    """Sort stencils into classes equal up to translation and the order of their nodes.

    Offsets are hashed on a fine grid, then compared with those of the class's representative: all agree to 16 units in
    the last place of the largest coordinate, the rounding of the coordinates themselves. On a lattice of 20,000 nodes
    and for an error of order 4 weights then differ from each stencil's own by up to 2e-11 of the largest; one unit in
    the last place of the coordinates changes them by 3e-11, another order of the nodes in LU by 1e-11. A stencil whose
    rounding straddles the grid merely becomes a class of its own.

    Args:
        nodes: (M, d) float64 coordinates.
        targets: (N, d) float64 coordinates.
        index: (N, n) int32 indices of the nodes of each stencil.

    Returns:
        The classes.

    Example:
        >>> x = np.array([[0.0], [1.0], [2.0], [3.0], [4.5]])
        >>> found = find_translates(x, x[1:4], np.array([[0, 1, 2], [3, 2, 1], [2, 3, 4]]))
        >>> len(found.representative), found.order.tolist()
        (2, [[0, 1, 2], [2, 1, 0], [0, 1, 2]])
    """
    hashes, order = _hashed(nodes, targets, index)
    _, representative, member = np.unique(hashes, return_index=True, return_inverse=True)
    apart = np.flatnonzero(~_equal(nodes, targets, index, order, representative[member]))
    member[apart] = len(representative) + np.arange(len(apart))
    return Translates(np.concatenate([representative, apart]), member, order)


def _hashed(nodes: np.ndarray, targets: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a hash of each stencil's set of offsets, and the order of its nodes by packed offsets."""
    count, size = index.shape
    dimension = nodes.shape[1]
    bits = min(30, 62 // dimension)
    every = np.concatenate([nodes, targets])
    reach = float((every.max(axis=0) - every.min(axis=0)).max())
    # Half a step beside the grid that offsets of a lattice would share with it, whose rounding could fall on two sides.
    scale, shift = (2.0 ** (bits - 1) - 2) / (reach or 1.0), 2.0 ** (bits - 1) + 0.317
    place = (np.uint64(1) << np.arange(0, bits * dimension, bits, dtype=np.uint64)).astype(np.int64)
    factors = np.random.default_rng(0).integers(1, 2**62, size) * 2 + 1
    hashes, order = np.empty(count, dtype=np.int64), np.empty((count, size), dtype=np.int16)
    for start in range(0, count, CHUNK):
        rows = slice(start, start + CHUNK)
        offsets = (nodes.take(index[rows], axis=0) - targets[rows, None]) * scale
        offsets += shift
        packed = offsets.astype(np.int64) @ place
        order[rows] = sort = np.argsort(packed, axis=1)
        hashes[rows] = np.take_along_axis(packed, sort, axis=1) @ factors
    return hashes, order


def _equal(
    nodes: np.ndarray, targets: np.ndarray, index: np.ndarray, order: np.ndarray, others: np.ndarray
) -> np.ndarray:
    """Return whether each stencil is the translate of another one to rounding."""
    coordinates = max(np.abs(nodes).max(initial=0.0), np.abs(targets).max(initial=0.0))
    tolerance = ROUNDING * np.finfo(np.float64).eps * coordinates
    equal = np.empty(len(targets), dtype=bool)
    for start in range(0, len(targets), CHUNK):
        rows = slice(start, start + CHUNK)
        other = others[rows]
        own = _offsets(nodes, targets[rows], index[rows], order[rows])
        differences = np.abs(own - _offsets(nodes, targets[other], index[other], order[other]))
        equal[rows] = (differences <= tolerance).all(axis=(1, 2))
    return equal


def _offsets(nodes: np.ndarray, targets: np.ndarray, index: np.ndarray, order: np.ndarray) -> np.ndarray:
    return nodes.take(np.take_along_axis(index, order.astype(np.intp), axis=1), axis=0) - targets[:, None]
