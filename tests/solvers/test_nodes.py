"""Scattered nodes: where they lie, how even they are, their ghosts, and their collocation points."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist, pdist

from solvers.geometry import Ball, Boundary, Cuboid, Curve, Disk, Interval, LevelSet, Polygon, Rectangle, scatter
from solvers.geometry.ghosts import _in_the_way, ghost_nodes
from solvers.geometry.graded import graded
from solvers.geometry.lattice import cell_volume, clipped_lattice
from solvers.geometry.line_nodes import line_nodes
from solvers.geometry.quality import fill_distance, neighbour_distances
from solvers.geometry.relaxation import relax

TURN = 2 * np.pi * np.linspace(0, 1, 20000, endpoint=False)


def circle(radius, x=0.0, y=0.0):
    return np.stack([x + radius * np.cos(TURN), y + radius * np.sin(TURN)], axis=1)


def petals(angle):
    return 1 + 0.2 * np.cos(5 * angle)


ELL = [(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)]


def in_ell(x):
    return (x > 0).all(axis=1) & (x < 2).all(axis=1) & (x < 1).any(axis=1)


def ell_outline():
    ends = np.array(ELL, dtype=float)
    steps = np.linspace(0, 1, 2000, endpoint=False)[:, None]
    return np.concatenate([a + steps * (b - a) for a, b in zip(ends, np.roll(ends, -1, axis=0), strict=True)])


# name -> shape, is x inside, dense points of its boundary: both written down without the shape's own code.
PLANE = {
    "disk": (Disk(), lambda x: np.hypot(*x.T) < 1, circle(1.0)),
    "flower": (
        LevelSet(lambda x: np.hypot(x[:, 0], x[:, 1]) - petals(np.arctan2(x[:, 1], x[:, 0])), (-1.5, -1.5), (1.5, 1.5)),
        lambda x: np.hypot(*x.T) < petals(np.arctan2(x[:, 1], x[:, 0])),
        circle(1.0) * petals(TURN)[:, None],
    ),
    "ellipse with a hole": (
        Curve(lambda t: np.stack([1.5 * np.cos(2 * np.pi * t), np.sin(2 * np.pi * t)], axis=1)) - Disk((0.4, 0.1), 0.3),
        lambda x: ((x[:, 0] / 1.5) ** 2 + x[:, 1] ** 2 < 1) & (np.hypot(x[:, 0] - 0.4, x[:, 1] - 0.1) > 0.3),
        np.concatenate([circle(1.0) * [1.5, 1.0], circle(0.3, 0.4, 0.1)]),
    ),
    "L": (Polygon(ELL), in_ell, ell_outline()),
}


# The sides of the L are whole numbers of this.
H = 0.0625


@pytest.fixture(params=PLANE, scope="module")
def plane(request):
    shape, inside, outline = PLANE[request.param]
    return request.param, scatter(shape, spacing=H), inside, outline


def test_interior_nodes_are_inside_and_keep_off_the_boundary(plane):
    _, nodes, inside, outline = plane
    assert inside(nodes.interior).all()
    assert cdist(nodes.interior, outline).min() > 0.49 * H


def test_ghosts_are_outside_one_a_boundary_node_and_keep_off_everything(plane):
    name, nodes, inside, _ = plane
    assert nodes.ghost.shape == nodes.boundary.shape
    assert not inside(nodes.ghost).any()
    everything = np.concatenate([nodes.inside, nodes.ghost])
    assert nodes.ghost_separation == pytest.approx(pdist(everything).min(), rel=1e-12)
    assert nodes.ghost_separation >= (0.25 if name == "L" else 0.35) * H * (1 - 1e-9)
    offsets = np.linalg.norm(nodes.ghost - nodes.boundary, axis=1) / H
    assert offsets.max() < 0.5 + 1e-9
    assert (offsets < 0.5 - 1e-9).sum() == (2 if name == "L" else 0)


def test_separation_and_fill_are_those_of_the_best_known_recipe(plane):
    name, nodes, _, _ = plane
    # Facing half-steps next to a right angle are sqrt(1/2) h apart.
    assert nodes.separation > (0.7 if name == "L" else 0.8) * H
    assert nodes.fill < 0.78 * H
    assert nodes.mesh_ratio < (2.1 if name == "L" else 1.9)


def test_on_the_disk_separation_and_fill_beat_one_and_a_half_over_the_root_of_the_count():
    for seed in range(3):
        nodes = scatter(Disk(), count=3185, seed=seed)
        root = math.sqrt(len(nodes.inside))
        assert nodes.separation * root > 1.53
        assert nodes.fill * root < 1.46
        assert nodes.mesh_ratio < 1.9


def test_separation_and_fill_agree_with_all_pairs_and_with_a_dense_grid(plane):
    _, nodes, inside, _ = plane
    assert nodes.separation == pytest.approx(pdist(nodes.inside).min(), rel=1e-12)
    line = np.arange(-1.6, 2.1, 0.004)
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    grid = grid[inside(grid)]
    sampled = max(cdist(part, nodes.inside).min(axis=1).max() for part in np.array_split(grid, 100))
    # No place is further than half a diagonal from the grid.
    assert sampled <= nodes.fill + 1e-12
    assert nodes.fill <= sampled + 0.002 * math.sqrt(2)


def test_deep_nodes_are_at_places_of_one_hexagonal_lattice(plane):
    _, nodes, _, outline = plane
    deep = nodes.interior[cdist(nodes.interior, outline).min(axis=1) > 3.1 * H]
    assert len(deep) > 0.35 * len(nodes.interior)
    basis = H * np.array([[1.0, 0.0], [0.5, math.sqrt(0.75)]])
    steps = (deep - deep[0]) @ np.linalg.inv(basis)
    assert np.abs(steps - steps.round()).max() < 1e-11
    assert nodes.lattice > 0.1 * len(nodes.interior)
    last = nodes.interior[-nodes.lattice :]
    assert cdist(last, outline).min() > 5 * H
    counts = (cdist(last, nodes.inside) < H * (1 + 1e-9)).sum(axis=1)
    assert (counts == 7).all()


@pytest.mark.parametrize("name", PLANE)
def test_halving_the_spacing_quadruples_the_nodes(name):
    counts = [len(scatter(PLANE[name][0], spacing=h, ghost_layers=0).inside) for h in (0.08, 0.04, 0.02)]
    for few, many in pairwise(counts):
        assert many / few == pytest.approx(4, rel=0.03)


@pytest.mark.parametrize("count", [100, 828, 5000])
@pytest.mark.parametrize("shape", [*(PLANE[name][0] for name in PLANE), Rectangle(), Ball(), Interval(-1.0, 2.0)])
def test_a_count_is_met(shape, count):
    nodes = scatter(shape, count=count, ghost_layers=0)
    exact = shape.dimension == 1 or (count == 100 and isinstance(shape, Ball))
    assert abs(len(nodes.inside) - count) <= (0 if exact else max(2, 0.01 * count))


def test_nodes_in_space():
    h = 0.12
    nodes = scatter(Ball(), spacing=h)
    assert np.linalg.norm(nodes.interior, axis=1).max() < 1 - 0.49 * h
    assert np.allclose(nodes.ghost, (1 + 0.5 * h) * nodes.boundary, rtol=0, atol=1e-14)
    assert nodes.separation == pytest.approx(pdist(nodes.inside).min(), rel=1e-12)
    # Rows that keep the lattice's order would be 0.80 h apart, and cost stencils at the surface their order.
    assert nodes.separation > 0.72 * h
    assert 0.75 * h < nodes.fill < 0.86 * h
    deep = nodes.interior[np.linalg.norm(nodes.interior, axis=1) < 1 - 3.1 * h]
    cube = 2 * h / math.sqrt(3)
    steps = (deep - deep[0]) / (cube / 2)
    odd = steps.round() % 2
    assert len(deep) > 200
    assert np.abs(steps - steps.round()).max() < 1e-10
    assert (odd == odd[:, :1]).all()


def test_nodes_in_space_with_edges_and_a_hole():
    box = scatter(Cuboid((0.0, 0.0, 0.0), (1.0, 1.5, 1.0)), spacing=0.125)
    assert (box.interior > 0.49 * 0.125).all()
    assert (box.interior < np.array([1.0, 1.5, 1.0]) - 0.49 * 0.125).all()
    assert box.separation > 0.7 * 0.125
    assert box.fill < 0.9 * 0.125
    shell = scatter(Ball() - Ball((0.0, 0.0, 0.0), 0.4), spacing=0.15)
    radii = np.linalg.norm(shell.interior, axis=1)
    assert radii.min() > 0.4 + 0.49 * 0.15
    assert radii.max() < 1 - 0.49 * 0.15
    assert set(np.linalg.norm(shell.ghost, axis=1).round(12)) == {1.075, 0.325}


def test_nodes_on_the_line_are_equispaced():
    nodes = scatter(Interval(-1.0, 2.0), spacing=0.3)
    assert np.allclose(nodes.interior[:, 0], np.linspace(-1, 2, 11)[1:-1], rtol=0, atol=1e-14)
    assert sorted(nodes.ghost[:, 0]) == pytest.approx([-1.15, 2.15])
    assert nodes.separation == pytest.approx(0.3)
    assert nodes.fill == pytest.approx(0.15)


def test_several_segments_of_the_line_leave_the_gap_free():
    nodes = scatter(Interval(0.0, 1.0) - Interval(0.4, 0.6), spacing=0.1, ghost_layers=1)
    assert np.allclose(nodes.interior[:, 0], [0.1, 0.2, 0.3, 0.7, 0.8, 0.9], rtol=0, atol=1e-14)
    assert nodes.fill == pytest.approx(0.05)


def test_a_linear_spacing_on_the_line_gives_a_geometric_sequence():
    ends = Boundary(np.array([[0.0], [1.0]]), np.array([[-1.0], [1.0]]), {"ends": np.arange(2)})
    found = line_nodes(Interval(0.0, 1.0), ends, lambda x: 0.01 + 0.1 * x[:, 0])[:, 0]
    cells = round(math.log(11) / 0.1)
    expected = 0.1 * (11 ** (np.arange(1, cells) / cells) - 1)
    assert np.allclose(found, expected, rtol=0, atol=1e-5)


def test_the_same_arguments_give_the_same_nodes_and_another_seed_gives_others():
    density = {"spacing": lambda x: 0.05 + 0.1 * x[:, 0] ** 2}
    for options in ({"count": 500}, density):
        one, same, other = (scatter(Disk(), seed=seed, **options) for seed in (1, 1, 2))
        for kind in ("interior", "boundary", "ghost"):
            assert np.array_equal(getattr(one, kind), getattr(same, kind))
        assert cdist(one.interior, other.interior).min(axis=1).max() > 0.1 * one.spacing


@pytest.mark.parametrize("clip", [0.31, 0.63])
@pytest.mark.parametrize("name", ["ellipse with a hole", "L"])
def test_clipping_by_blocks_keeps_the_places_that_clipping_one_by_one_keeps(name, clip):
    shape, h, shift = PLANE[name][0], 0.03, np.array([0.312, 0.817])
    places, depth = clipped_lattice(shape, h, clip * h, 3 * h, shift)
    i, j = np.meshgrid(np.arange(-200, 200), np.arange(-200, 200))
    basis = h * np.array([[1.0, 0.0], [0.5, math.sqrt(0.75)]])
    every = np.stack([i.ravel(), j.ravel()], axis=1) @ basis + places[0]
    every = every[((every > shape.lower) & (every < shape.upper)).all(axis=1)]
    wanted = every[shape.signed_distance(every) < -clip * h]
    assert len(wanted) == len(places)
    assert cdist(wanted, places).min(axis=1).max() < 1e-12
    true = -shape.signed_distance(places)
    looked = np.isfinite(depth)
    assert np.allclose(depth[looked], true[looked], rtol=0, atol=1e-12)
    assert (true[~looked] > 3 * h).all()
    assert (~looked).sum() > 300


def test_the_volume_of_a_place_is_that_of_the_lattice():
    for shape, h in ((Rectangle((0.0, 0.0), (30.0, 30.0)), 0.3), (Cuboid((0.0,) * 3, (9.0,) * 3), 0.15)):
        places, _ = clipped_lattice(shape, h, 0.0, 0.0, np.zeros(shape.dimension))
        assert len(places) * cell_volume(shape.dimension) * h**shape.dimension == pytest.approx(shape.measure, rel=0.03)


def steep(x):
    return 0.012 * (1 + 8 * np.hypot(x[:, 0] - 0.3, x[:, 1]))


def test_a_variable_spacing_is_followed_in_the_plane():
    nodes = scatter(Disk(), spacing=steep)
    sizes = steep(nodes.inside)
    assert sizes.max() / sizes.min() > 8
    gaps = neighbour_distances(nodes.inside) / sizes
    assert np.array_equal(gaps, nodes.gaps())
    assert ((gaps > 0.7) & (gaps < 1.4)).mean() >= 0.99
    assert gaps.min() > 0.65
    assert (1 - np.hypot(*nodes.interior.T) > 0.49 * steep(nodes.interior)).all()
    # Polar integral of 1 / (0.866 h^2) about (0.3, 0), on a grid.
    line = (np.arange(-500, 500) + 0.5) / 500
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    grid = grid[np.hypot(*grid.T) < 1]
    wanted = 4e-6 * (1 / (math.sqrt(0.75) * steep(grid) ** 2)).sum()
    assert len(nodes.inside) == pytest.approx(wanted, rel=0.04)
    holes = cdist(grid[::41], nodes.inside).min(axis=1) / steep(grid[::41])
    assert holes.max() < 1.05
    assert np.allclose(np.linalg.norm(nodes.ghost - nodes.boundary, axis=1), 0.5 * steep(nodes.boundary), rtol=1e-12)
    assert nodes.spacing == pytest.approx(np.median(steep(nodes.interior)))


def test_a_variable_spacing_is_followed_in_space():
    def spacing(x):
        return 0.05 * (1 + 3 * (x**2).sum(axis=1))

    nodes = scatter(Ball(), spacing=spacing)
    gaps = nodes.gaps()
    assert ((gaps > 0.7) & (gaps < 1.4)).mean() >= 0.99
    assert gaps.min() > 0.6


def test_the_tree_gives_every_quarter_its_share_before_relaxation():
    nodes = graded(Disk(), lambda x: np.where(x[:, 0] < 0, 0.02, 0.04), 0.0, np.array([0.2, 0.7]))
    share = math.pi / 2 / math.sqrt(0.75)
    assert (nodes[:, 0] < 0).sum() == pytest.approx(share / 0.02**2, rel=0.03)
    assert (nodes[:, 0] > 0).sum() == pytest.approx(share / 0.04**2, rel=0.03)


def test_the_tree_gives_every_cell_its_share_to_within_one_at_either_end():
    nodes = graded(Rectangle(), lambda x: 0.01 * (1 + 3 * x[:, 0]), 0.0, np.zeros(2))
    edges = np.linspace(0, 1, 9)
    found = np.histogram2d(nodes[:, 0], nodes[:, 1], bins=[edges, edges])[0]
    # Integral of dx dy / (0.866 h^2) over a column, an eighth of it a cell.
    wanted = np.diff(-1 / (3 * (1 + 3 * edges))) / (math.sqrt(0.75) * 0.01**2) / 8
    assert np.abs(found - wanted[:, None]).max() < 2.5


def test_two_nodes_part_along_their_line_until_they_are_out_of_reach():
    pair = np.array([[0.0, 0.0], [0.1, 0.05]])
    moved = relax(pair, np.empty((0, 2)), lambda x: np.ones(len(x)), lambda x: np.full(len(x), -9.0), sweeps=200)
    assert np.allclose(moved.mean(axis=0), pair.mean(axis=0))
    apart = moved[1] - moved[0]
    assert apart[1] / apart[0] == pytest.approx(0.5)
    assert 1.3 < np.linalg.norm(apart) <= 1.5


def test_a_node_among_fixed_ones_moves_to_their_middle_and_never_beyond_the_wall():
    hexagon = np.stack([np.cos(TURN[:: len(TURN) // 6][:6]), np.sin(TURN[:: len(TURN) // 6][:6])], axis=1)
    start = np.array([[0.3, -0.1]])
    ones = lambda x: np.ones(len(x))  # noqa: E731
    free = relax(start, hexagon, ones, lambda x: np.full(len(x), -9.0), sweeps=200)
    assert np.abs(free).max() < 1e-3
    # Inside is x > -0.25: with a wall of 0.5 h nothing may come nearer than x = 0.25.
    held = relax(start, hexagon, ones, lambda x: -0.25 - x[:, 0], sweeps=200)
    assert 0.25 <= held[0, 0] < 0.3
    alone = relax(start, np.empty((0, 2)), ones, lambda x: np.full(len(x), -9.0))
    assert np.array_equal(alone, start)


def test_fill_of_a_lattice_is_its_covering_radius():
    line = np.arange(12) / 2
    cubic = np.stack(np.meshgrid(line, line, line), axis=-1).reshape(-1, 3)
    both = np.concatenate([cubic, cubic + 0.25])
    assert fill_distance(both, Cuboid((1.0,) * 3, (4.0,) * 3)) == pytest.approx(0.5 * math.sqrt(5) / 4, rel=1e-12)
    # A cell's centre is 1/4 sqrt(3) from the corners: the plain cubic lattice is full of cospherical corners.
    assert fill_distance(cubic, Cuboid((1.0,) * 3, (4.0,) * 3)) == pytest.approx(0.25 * math.sqrt(3), rel=1e-12)


def test_further_ghost_layers_are_a_spacing_apart_and_in_order():
    nodes = scatter(Disk(), spacing=0.2, ghost_layers=3, ghost_offset=0.25)
    layers = nodes.ghost.reshape(3, -1, 2)
    for k, layer in enumerate(layers):
        assert np.allclose(layer, (1 + 0.2 * (0.25 + k)) * nodes.boundary, rtol=0, atol=1e-14)
    assert scatter(Disk(), spacing=0.2, ghost_layers=0).ghost.shape == (0, 2)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_ghosts_behind_a_re_entrant_corner_make_room_for_each_other(layers):
    nodes = scatter(Polygon(ELL), spacing=0.1, ghost_layers=layers)
    assert nodes.ghost.shape == (layers * len(nodes.boundary), 2)
    assert not in_ell(nodes.ghost).any()
    assert nodes.ghost_separation >= 0.025 * (1 - 1e-9)
    own = np.tile(nodes.boundary, (layers, 1))
    outward = ((nodes.ghost - own) * np.tile(nodes.normals, (layers, 1))).sum(axis=1)
    assert np.allclose(np.linalg.norm(nodes.ghost - own, axis=1), outward)
    full = 0.1 * (np.repeat(np.arange(layers), len(nodes.boundary)) + 0.5)
    shortened = outward < full - 1e-9
    near = np.linalg.norm(own - [1.0, 1.0], axis=1) < 0.1 * (layers + 1)
    assert shortened.any()
    assert not shortened[~near].any()


def channel(width):
    right = 1 + width
    return Polygon([(0, 0), (2 + width, 0), (2 + width, 2), (right, 2), (right, 1), (1, 1), (1, 2), (0, 2)])


def test_ghosts_in_a_narrow_gap_are_drawn_nearer_or_refused():
    nodes = scatter(channel(0.08), spacing=0.1)
    assert nodes.ghost_separation >= 0.025 * (1 - 1e-9)
    nodes = scatter(channel(0.06), spacing=0.1)
    assert 0.01 * (1 - 1e-9) <= nodes.ghost_separation < 0.025
    offsets = np.linalg.norm(nodes.ghost - nodes.boundary, axis=1)
    inside = (np.abs(nodes.boundary[:, 0] - 1.03) < 0.04) & (nodes.boundary[:, 1] > 0.9)
    assert np.allclose(offsets[~inside], 0.05)
    assert (offsets[inside] >= 0.01 * (1 - 1e-9)).all()
    with pytest.raises(ValueError, match=r"layer-\d ghost of boundary node \d+ at .*smaller spacing .*fewer ghost"):
        scatter(channel(0.06), spacing=0.1, ghost_layers=5)


@pytest.mark.parametrize("half", [60, 40, 25, 15])
def test_ghosts_in_a_sharp_notch_find_a_place(half):
    width = math.tan(math.radians(half))
    notched = Polygon([(-3, -1), (3, -1), (3, 1), (width, 1), (0, 0), (-width, 1), (-3, 1)])
    nodes = scatter(notched, spacing=0.1)
    assert nodes.ghost_separation >= 0.01 * (1 - 1e-9)
    in_notch = nodes.ghost[:, 1] > np.abs(nodes.ghost[:, 0]) / width
    below, beside = nodes.ghost[:, 1] < -1, np.abs(nodes.ghost[:, 0]) > 3
    assert (in_notch | below | beside | (nodes.ghost[:, 1] > 1)).all()


class Empty:
    """A shape that nothing is inside of."""

    def signed_distance(self, x):
        return np.ones(len(x))


@pytest.mark.parametrize("second", [[0.5, 0.26], [0.1, 0.5]])
def test_a_ghost_keeps_off_another_ghost_and_another_boundary_node(second):
    points, normals = np.array([[0.0, 0.0], second]), np.array([[0.0, 1.0], [-1.0 if second[0] > 0.2 else 1.0, 0.0]])
    ghosts = ghost_nodes(Empty(), Boundary(points, normals, {"all": np.arange(2)}), np.ones(2), 1, 0.5)
    assert pdist(ghosts)[0] >= 0.25 * (1 - 1e-9)
    assert cdist(ghosts, points).min() >= 0.25 * (1 - 1e-9)


@pytest.mark.parametrize(
    ("reach", "movable", "expected"),
    [
        ([0.5, 0.4], [True, True], [True, False]),
        ([0.4, 0.4], [True, True], [True, True]),
        ([0.5, 0.4], [False, True], [False, True]),
        ([0.4, 0.5], [True, False], [True, False]),
    ],
)
def test_of_two_close_ghosts_the_further_one_moves_unless_it_cannot(reach, movable, expected):
    pair, far = np.array([[0.0, 0.0], [0.1, 0.0]]), np.array([[9.0, 9.0]])
    assert _in_the_way(Empty(), far, pair, np.full(2, 0.25), np.array(reach), np.array(movable)).tolist() == expected


def test_points_hold_the_nodes_in_their_order():
    nodes = scatter(PLANE["ellipse with a hole"][0], spacing=0.2)
    points = nodes.points()
    assert points.axes == ("x", "y")
    assert points.times is None
    for kind in ("interior", "boundary", "ghost", "normals"):
        assert np.array_equal(getattr(points, kind).numpy(), getattr(nodes, kind))
    assert sorted(points.parts) == sorted(nodes.parts)
    assert points.counts[2] == 0
    assert nodes.points(axes="uv", ghosts=False).axes == ("u", "v")
    assert len(nodes.points(ghosts=False).ghost) == 0


def test_points_at_several_times_are_nodes_by_times_time_slowest():
    nodes = scatter(PLANE["ellipse with a hole"][0], spacing=0.2, ghost_layers=2)
    times = [0.5, 0.75, 2.0]
    points = nodes.points(times=times)
    assert points.axes == ("x", "y", "t")
    assert points.times.dtype == torch.float64
    assert points.times.tolist() == times
    for kind in ("interior", "boundary", "ghost"):
        steps = getattr(points, kind).numpy().reshape(3, -1, 3)
        for step, time in zip(steps, times, strict=True):
            assert np.array_equal(step[:, :2], getattr(nodes, kind))
            assert (step[:, 2] == time).all()
    assert np.array_equal(points.initial.numpy()[:, :2], nodes.inside)
    assert (points.initial[:, 2] == 0.5).all()
    assert torch.equal(points.normals[:, 2], torch.zeros(len(points.boundary)).double())
    assert np.array_equal(points.normals.numpy().reshape(3, -1, 3)[2, :, :2], nodes.normals)
    hole = points.only("hole").boundary.numpy()
    assert np.allclose(np.hypot(hole[:, 0] - 0.4, hole[:, 1] - 0.1), 0.3)
    assert [time for time in times for _ in nodes.parts["hole"]] == hole[:, 2].tolist()
    assert nodes.points(axes="xyt", times=times).axes == ("x", "y", "t")


def test_one_line_says_how_many_and_how_even():
    nodes = scatter(Disk(), spacing=0.1)
    counts = f"{len(nodes.interior)} interior, {len(nodes.boundary)} boundary, {len(nodes.ghost)} ghost"
    separation, fill = nodes.separation / 0.1, nodes.fill / 0.1
    assert repr(nodes) == f"Nodes({counts}; h = 0.1, separation {separation:.2f} h, fill {fill:.2f} h)"
    assert "h(x), median" in repr(scatter(Disk(), spacing=lambda x: 0.2 + 0.1 * x[:, 0]))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "give either spacing or count"),
        ({"spacing": 0.1, "count": 50}, "give either spacing or count"),
        ({"spacing": 0.0}, "positive finite"),
        ({"spacing": -1.0}, "positive finite"),
        ({"spacing": math.nan}, "positive finite"),
        ({"spacing": math.inf}, "positive finite"),
        ({"spacing": "fine"}, r"spacing to be a number or a function .* came 'fine'"),
        ({"spacing": 5.0}, "thinner than .*use spacing <="),
        ({"spacing": 1e-7}, "use a spacing .* times as large"),
        ({"spacing": lambda x: np.full(len(x), 5e-4)}, "use a spacing .* times as large"),
        ({"spacing": lambda x: x}, "one value a point"),
        ({"spacing": lambda x: x[:, 0]}, "positive finite"),
        ({"count": 3}, "count to be an integer of at least 4, came 3"),
        ({"count": 100.0}, "count to be an integer"),
        ({"count": 10**9}, "use a spacing .* times as large"),
        ({"count": 4}, "use spacing <= .*or a larger count"),
        ({"spacing": 0.2, "ghost_layers": -1}, "ghost_layers to be 0, 1, 2"),
        ({"spacing": 0.2, "ghost_layers": 1.5}, "ghost_layers to be 0, 1, 2"),
        ({"spacing": 0.2, "ghost_offset": 0.0}, r"ghost_offset in \(0, 2\] spacings, came 0.0; the usual one is 0.5"),
        ({"spacing": 0.2, "ghost_offset": math.nan}, "ghost_offset in"),
    ],
)
def test_bad_arguments_say_what_to_change(options, expected):
    with pytest.raises(ValueError, match=expected):
        scatter(Disk(), **options)


def test_a_count_too_small_for_the_boundary_says_so():
    with pytest.raises(ValueError, match=r"count=5 is too small for this shape, give more: .*thinner"):
        scatter(Rectangle((0.0, 0.0), (10.0, 0.5)), count=5)


def test_a_fourth_dimension_is_refused():
    with pytest.raises(ValueError, match="1, 2 or 3 dimensions, came a shape in 4"):
        scatter(Ball((0.0,) * 4, 1.0), spacing=0.3)


@pytest.mark.parametrize(("shape", "spacing"), [(Disk(), 1.2), (Rectangle(), 0.9), (Interval(), 0.8), (Ball(), 1.7)])
def test_the_spacing_named_for_a_thin_domain_leaves_interior_nodes(shape, spacing):
    with pytest.raises(ValueError, match=r"thinner than h: .*use spacing <=") as error:
        scatter(shape, spacing=spacing)
    named = float(str(error.value).split("<=")[1].split(",")[0])
    assert 0.1 < named < spacing
    for seed in range(5):
        assert len(scatter(shape, spacing=named, seed=seed).interior) > 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"axes": "x"}, "2 letters without 't'"),
        ({"axes": "xt"}, r"without 't' \(give times=...\)"),
        ({"axes": "txy", "times": [0.0]}, "2 letters, then 't'"),
        ({"axes": "xy", "times": [0.0]}, "2 letters, then 't'"),
        ({"times": [1.0, 0.0]}, "increasing finite numbers.*linspace"),
        ({"times": []}, "increasing finite numbers"),
        ({"times": [0.0, math.inf]}, "increasing finite numbers"),
        ({"times": [[0.0, 1.0]]}, "increasing finite numbers"),
    ],
)
def test_axes_and_times_that_do_not_fit_are_refused(options, expected):
    with pytest.raises(ValueError, match=expected):
        scatter(Disk(), spacing=0.3).points(**options)
