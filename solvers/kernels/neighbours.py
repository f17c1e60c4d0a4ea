"""Nearest nodes of many targets, by cells and compiled code."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial import cKDTree

from solvers.kernels.candidates import MOST
from solvers.kernels.cells import Cells, sides, suited
from solvers.kernels.compiler import Compiled, host
from solvers.kernels.instructions import POINTER
from solvers.kernels.neighbour_program import SEARCH, NeighbourProgram
from solvers.kernels.sorting_network import STEP, networks
from solvers.kernels.threads import share

RINGS = (1, 2, 3)
"""Rings of cells that are searched, the next for the targets that the last left, as beside boundaries."""

LARGEST = 256
"""Neighbours at most: beyond, a k-d tree serves as well."""

FEW = 1024
"""Targets below which another thread costs more than it saves."""


class Search(NamedTuple):
    """Nodes and targets, and the neighbours found so far.

    Args:
        nodes: (M, d) float64; among equally far ones the first comes first.
        names: (M,) int32, by which nodes are named in the index.
        targets: (N, d) float64.
        index: (N, n) int32.
        found: (N,) bool, the rows that are filled.
    """

    nodes: np.ndarray
    names: np.ndarray
    targets: np.ndarray
    index: np.ndarray
    found: np.ndarray


class NeighbourKernel:
    """The compiled search in one dimension.

    Args:
        dimension: d.
    """

    def __init__(self, dimension: int):
        self.program = NeighbourProgram(dimension, host().format(64))
        types = {"search": [ctypes.c_void_p if kind is POINTER else ctypes.c_int64 for kind in SEARCH]}
        self._compiled = Compiled(self.program.module, types)

    def search(self, search: Search, cells: Cells, rows: np.ndarray, rings: int) -> None:
        """Find the nearest nodes of some targets, where they lie within so many rings of cells.

        Args:
            search: what is sought; rows that are found are filled in.
            cells: of its nodes.
            rows: (R,) int64 targets, sorted by cell.
            rings: of cells around a target's.
        """
        program, size = self.program, search.index.shape[1]
        limit = size + size // 2 + STEP
        most = -(-limit // STEP) * STEP
        targets = search.targets[rows]
        where = cells.cells(targets)
        groups = _groups(cells.flat(where), program.format.lanes)
        threads = max(1, min(torch.get_num_threads(), len(targets) // FEW))
        step = program.format.bytes
        scratch, kept = program.scratch(most) * step, 4 * MOST
        memory = np.empty(threads * (scratch + kept) + step, dtype=np.uint8)
        aligned = -(-memory.ctypes.data // step) * step
        nodes, numbers = np.ascontiguousarray(search.nodes[cells.order].T), cells.order.astype(np.int32)
        tables = (cells.starts, cells.shape, targets, where, groups, cells.frame, *networks(most))
        given = [array.ctypes.data for array in (nodes, numbers, *tables)]
        results = [array.ctypes.data for array in (search.names, rows, search.index, search.found)]
        mask = (1 << (len(numbers) - 1).bit_length()) - 1

        def run(thread: int) -> None:
            at = aligned + thread * (scratch + kept)
            part = [len(groups) * thread // threads, len(groups) * (thread + 1) // threads]
            sizes = [len(numbers), rings, size, limit, most, mask, *part]
            self._compiled.functions["search"](*given, at, at + scratch, *results, *sizes)

        share(threads, run)


@lru_cache(maxsize=4)
def neighbour_kernel(dimension: int) -> NeighbourKernel:
    """Return the compiled search, which is made at the first call, in 0.05 s.

    Args:
        dimension: d.

    Returns:
        The kernel.
    """
    return NeighbourKernel(dimension)


def _groups(cells: np.ndarray, lanes: int) -> np.ndarray:
    """Return first target and number of targets of the groups that a run of one cell is cut into."""
    run = np.flatnonzero(np.concatenate([[True], cells[1:] != cells[:-1]]))
    length = np.diff(np.append(run, len(cells)))
    inside = np.arange(len(cells)) - np.repeat(run, length)
    first = np.flatnonzero(inside % lanes == 0)
    return np.stack([first, np.diff(np.append(first, len(cells)))], axis=1)


def nearest_nodes(nodes: np.ndarray, targets: np.ndarray, size: int) -> np.ndarray:
    """Return the nearest nodes of every target, by rising distance.

    Nodes whose squared distances agree to about 1e-10 count as equally far, and come in one arbitrary order of all
    nodes, whatever the targets: lattices cut their last shell here and there. The same cut everywhere would leave all
    stencils lopsided alike, and the errors of second-order derivatives would add up. What three rings of cells do
    not hold, as far outside the nodes, is left to a k-d tree. Cost: O(N n log^2 n), 4 to 8 times faster than
    `scipy.spatial.cKDTree` on evenly spaced nodes.

    Args:
        nodes: (M, d) float64.
        targets: (N, d) float64.
        size: n, at most M.

    Returns:
        (N, n) int32 indices into `nodes`.

    Raises:
        ValueError: more neighbours than nodes, or coordinates that are not finite or huge.

    Example:
        >>> nearest_nodes(np.arange(6.0)[:, None], np.array([[2.1], [4.9]]), 3).tolist()
        [[2, 3, 1], [5, 4, 3]]
    """
    nodes, targets = (np.ascontiguousarray(array, dtype=np.float64) for array in (nodes, targets))
    if not 1 <= size <= len(nodes):
        raise ValueError(f"expected 1 to {len(nodes)} neighbours, as many as there are nodes, came {size}")
    # A sum is not finite where a number is not, and a square overflows from 1e154 on.
    if not max(np.abs(nodes).sum(), np.abs(targets).sum()) < 1e150:
        raise ValueError("expected finite coordinates, below 1e150 in size, came others: leave them out or scale them")
    index, found = np.empty((len(targets), size), dtype=np.int32), np.zeros(len(targets), dtype=bool)
    if size <= LARGEST and len(targets) and suited(nodes, size):
        order = np.random.default_rng(0).permutation(len(nodes))
        _by_cells(Search(nodes[order], order.astype(np.int32), targets, index, found))
    left = np.flatnonzero(~found)
    if len(left):
        index[left] = cKDTree(nodes).query(targets[left], k=size)[1].reshape(-1, size)
    return index


def _by_cells(search: Search) -> None:
    side = sides(search.nodes, search.targets, search.index.shape[1])
    kernel = neighbour_kernel(search.nodes.shape[1])
    for width in np.unique(side):
        cells = Cells.of(search.nodes, width)
        rows = np.flatnonzero(side == width)
        rows = rows[np.argsort(cells.flat(cells.cells(search.targets[rows])), kind="stable")]
        for rings in RINGS:
            if len(rows):
                kernel.search(search, cells, rows, rings)
                rows = rows[~search.found[rows]]
