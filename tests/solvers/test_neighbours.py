"""The compiled search of nearest nodes, beside a k-d tree: every kind of node set, ties, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from solvers.kernels import neighbours
from solvers.kernels.cells import Cells, suited
from solvers.kernels.compiler import host
from solvers.kernels.neighbours import NeighbourKernel, nearest_nodes
from solvers.kernels.sorting_network import merge_exchange, networks


def lattice(d, per_axis, jitter=0.0):
    grid = np.stack(np.meshgrid(*[np.arange(float(per_axis))] * d, indexing="ij"), axis=-1).reshape(-1, d)
    return (grid + np.random.default_rng(0).uniform(-jitter, jitter, grid.shape)) / per_axis


def random_points(count, d, seed=1):
    return np.random.default_rng(seed).random((count, d))


def agree(nodes, targets, size):
    """Distances are those of a k-d tree, no node comes twice, and the order is by distance."""
    index = nearest_nodes(nodes, targets, size)
    exact = cKDTree(nodes).query(targets, size)[0].reshape(len(targets), size)
    found = np.sqrt(((nodes[index] - targets[:, None]) ** 2).sum(axis=-1))
    assert index.dtype == np.int32 and index.shape == (len(targets), size)
    assert np.abs(found - exact).max() <= 1e-10 * exact.max()
    assert (np.diff(np.sort(index, axis=1), axis=1) > 0).all()


@pytest.mark.parametrize(
    ("d", "per_axis", "size"), [(1, 2000, 11), (2, 60, 21), (2, 60, 43), (3, 16, 71), (3, 16, 113)]
)
@pytest.mark.parametrize("jitter", [0.0, 0.35])
def test_even_nodes(d, per_axis, size, jitter):
    nodes = lattice(d, per_axis, jitter)
    agree(nodes, nodes, size)
    if jitter:
        assert np.array_equal(nearest_nodes(nodes, nodes, size), cKDTree(nodes).query(nodes, size)[1])


@pytest.mark.parametrize(
    ("nodes", "targets", "size"),
    [
        (random_points(4000, 2), random_points(2000, 2, 2), 43),
        (random_points(4000, 2), 3 * random_points(500, 2, 2) - 1, 43),
        (random_points(4000, 2) ** 3, random_points(1000, 2, 2) ** 3, 43),
        (random_points(4000, 3) ** 2, random_points(500, 3, 2), 113),
        (np.concatenate([random_points(3000, 2), 1e-3 * random_points(3000, 2, 2)]), random_points(500, 2, 3), 43),
        (np.concatenate([random_points(5000, 2), [[1e6, 1e6]]]), random_points(300, 2, 2), 43),
        (np.concatenate([random_points(20000, 2), [[1e6, 1e6]]]), random_points(300, 2, 2), 43),
        (random_points(4000, 2) + 1e6, random_points(500, 2, 2) + 1e6, 21),
        (1e-12 * random_points(4000, 2), 1e-12 * random_points(500, 2, 2), 21),
        (random_points(4000, 2), random_points(500, 2, 2), 1),
        (random_points(4000, 2), random_points(200, 2, 2), 256),
        (random_points(4000, 2), random_points(50, 2, 2), 300),
        (random_points(43, 2), random_points(50, 2, 2), 43),
        (random_points(1, 2), random_points(3, 2, 2), 1),
        (random_points(1000, 2) * [1.0, 0.0], random_points(100, 2, 2), 21),
        (random_points(2000, 1) * [1.0, 1.0], random_points(100, 2, 2), 21),
        (np.ones((100, 2)), random_points(5, 2), 21),
        (random_points(1000, 4), random_points(50, 4, 2), 21),
    ],
    ids=lambda value: "" if isinstance(value, np.ndarray) else str(value),
)
def test_other_nodes(nodes, targets, size):
    agree(nodes, targets, size)


def test_the_last_shell_of_a_lattice_is_not_cut_alike_everywhere():
    nodes = np.random.default_rng(0).permutation(lattice(2, 40))
    index = nearest_nodes(nodes, nodes, 31)
    inside = np.abs(nodes - nodes.mean(axis=0)).max(axis=1) < 0.35 * np.ptp(nodes[:, 0])
    offsets = (nodes[index] - nodes[:, None])[inside].mean(axis=1)
    # Lopsided one by one, not as a whole: the mean over m stencils falls as m^-1/2.
    one = np.linalg.norm(offsets, axis=1).mean()
    assert np.linalg.norm(offsets.mean(axis=0)) < 4 * one / np.sqrt(len(offsets))
    assert one > 0
    some = np.arange(0, len(nodes), 7)
    assert np.array_equal(nearest_nodes(nodes, nodes[some], 31), index[some])


def test_cells_find_every_node_and_the_tree_is_not_asked(monkeypatch):
    monkeypatch.setattr(neighbours, "cKDTree", None)
    for nodes, size in ((lattice(2, 100, 0.35), 43), (lattice(3, 20, 0.35), 71)):
        nearest_nodes(nodes, nodes, size)


def test_threads_and_narrower_vectors_change_nothing(monkeypatch):
    nodes = lattice(2, 70, 0.3)
    wide = nearest_nodes(nodes, nodes, 43)
    torch.set_num_threads(3)
    try:
        assert np.array_equal(nearest_nodes(nodes, nodes, 43), wide)
    finally:
        torch.set_num_threads(1)
    for vector_bytes in (32, 16):
        narrow = replace(host(), vector_bytes=min(vector_bytes, host().vector_bytes))
        monkeypatch.setattr(neighbours, "host", lambda narrow=narrow: narrow)
        monkeypatch.setattr(neighbours, "neighbour_kernel", NeighbourKernel)
        assert np.array_equal(nearest_nodes(nodes, nodes, 43), wide)


def test_no_targets_have_no_neighbours():
    assert nearest_nodes(lattice(2, 9), np.zeros((0, 2)), 5).shape == (0, 5)


@pytest.mark.parametrize(
    ("nodes", "size", "expected"),
    [
        (np.zeros((4, 2)), 5, "expected 1 to 4 neighbours"),
        (np.zeros((4, 2)), 0, "expected 1 to 4 neighbours"),
        ([[0.0, np.nan], [1.0, 1.0]], 1, "leave them out or scale them"),
        ([[0.0, np.inf], [1.0, 1.0]], 1, "leave them out or scale them"),
        ([[0.0, 1e200], [1.0, 1.0]], 1, "leave them out or scale them"),
    ],
)
def test_what_cannot_be_searched_is_refused(nodes, size, expected):
    with pytest.raises(ValueError, match=expected):
        nearest_nodes(nodes, np.zeros((1, 2)), size)


def test_a_grid_holds_every_node_in_its_cell():
    nodes = random_points(500, 3)
    grid = Cells.of(nodes, 0.21)
    assert np.array_equal(np.sort(grid.order), np.arange(500)) and grid.starts[-1] == 500
    low = nodes.min(axis=0) + 0.21 * grid.cells(nodes)
    assert (nodes - low >= -1e-15).all() and (nodes - low <= 0.21 + 1e-15).all()
    assert np.array_equal(
        np.repeat(np.arange(len(grid.starts) - 1), np.diff(grid.starts)), grid.flat(grid.cells(nodes))[grid.order]
    )
    assert np.prod(Cells.of(nodes, 1e-9).shape) <= 2**24


def test_cells_are_left_alone_where_a_tree_is_better():
    assert suited(random_points(400, 2), 43)
    assert not suited(random_points(100, 2), 43)
    assert not suited(random_points(400, 4), 43)
    assert not suited(random_points(400, 2) * [1.0, 1e-4], 43)
    assert not suited(random_points(400, 2) * 1e-100, 43)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 8, 13, 16])
def test_a_network_sorts_every_sequence_of_zeros_and_ones(size):
    keys = np.arange(2**size)[:, None] >> np.arange(size) & 1
    for first, second in merge_exchange(size):
        keys[:, [first, second]] = np.sort(keys[:, [first, second]], axis=1)
    assert (np.diff(keys, axis=1) >= 0).all()


def test_networks_lie_in_one_table():
    table, starts = networks(24)
    for step in range(4):
        assert np.array_equal(table[starts[step] : starts[step + 1]], merge_exchange(8 * step))
