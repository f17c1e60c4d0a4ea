"""Shapes: distances, areas, normals and boundary nodes against closed forms, brute force and slow twins."""

import math
from fractions import Fraction
from itertools import combinations, pairwise

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.spatial import cKDTree
from scipy.special import ellipe, ellipeinc

from solvers.geometry import Ball, Boundary, Cuboid, Curve, Disk, Interval, LevelSet, Polygon, Rectangle
from solvers.geometry.segments import crossing
from solvers.geometry.surface import fibonacci_sphere

TURN = 2 * np.pi
CORNERS = np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 1.0], [1.0, 1.0], [1.0, 2.0], [0.0, 2.0]])


def flower(t):
    radius = 1 + 0.2 * np.cos(5 * TURN * t)
    return np.stack([radius * np.cos(TURN * t), radius * np.sin(TURN * t)], axis=1)


def flower_velocity(t):
    radius, slope = 1 + 0.2 * np.cos(5 * TURN * t), -np.sin(5 * TURN * t)
    cosine, sine = np.cos(TURN * t), np.sin(TURN * t)
    return TURN * np.stack([slope * cosine - radius * sine, slope * sine + radius * cosine], axis=1)


def flower_level(x):
    return np.hypot(*x.T) - 1 - 0.2 * np.cos(5 * np.arctan2(x[:, 1], x[:, 0]))


def ellipse(t):
    return np.stack([2 * np.cos(TURN * t), np.sin(TURN * t)], axis=1)


def ellipse_velocity(t):
    return TURN * np.stack([-2 * np.sin(TURN * t), np.cos(TURN * t)], axis=1)


def outward(velocity):
    return np.stack([velocity[:, 1], -velocity[:, 0]], axis=1) / np.linalg.norm(velocity, axis=1)[:, None]


def circle(center, radius):
    return lambda t: np.array(center) + radius * np.stack([np.cos(TURN * t), np.sin(TURN * t)], axis=1)


def chain(corners):
    corners = np.asarray(corners, dtype=float)

    def at(t):
        side = np.floor(t * len(corners)).astype(int)
        share = (t * len(corners) - side)[:, None]
        return corners[side] * (1 - share) + corners[(side + 1) % len(corners)] * share

    return at


SQUARE = [(-1, -0.5), (1, -0.5), (1, 0.5), (-1, 0.5)]
PLANE = {
    "disk": (lambda: Disk((0.3, -0.2), 1.5), [circle((0.3, -0.2), 1.5)]),
    "rectangle": (lambda: Rectangle((-1, -0.5), (1, 0.5)), [chain(SQUARE)]),
    "polygon": (lambda: Polygon(CORNERS), [chain(CORNERS)]),
    "polygon, clockwise": (lambda: Polygon(CORNERS[::-1]), [chain(CORNERS)]),
    "curve": (lambda: Curve(flower), [flower]),
    "curve, clockwise": (lambda: Curve(lambda t: flower(-t)), [flower]),
    "points": (lambda: Curve(ellipse(np.arange(900) / 900)), [ellipse]),
    "level set": (lambda: LevelSet(flower_level, (-1.4, -1.3), (1.3, 1.3)), [flower]),
    "ring": (lambda: LevelSet(lambda x: np.abs(np.hypot(*x.T) - 1) - 0.4, (-2, -2), (2, 2)), None),
    "holes": (lambda: Curve(ellipse) - Disk((0.8, 0.1), 0.3) - Rectangle((-1, -0.3), (-0.4, 0.2)), None),
}
BOUNDARIES = {
    "ring": [circle((0, 0), 0.6), circle((0, 0), 1.4)],
    "holes": [ellipse, circle((0.8, 0.1), 0.3), chain([(-1, -0.3), (-0.4, -0.3), (-0.4, 0.2), (-1, 0.2)])],
}
AREAS = {
    "disk": 2.25 * np.pi,
    "rectangle": 2.0,
    "polygon": 3.0,
    "polygon, clockwise": 3.0,
    "curve": 1.02 * np.pi,
    "curve, clockwise": 1.02 * np.pi,
    "points": 2 * np.pi,
    "level set": 1.02 * np.pi,
    "ring": np.pi * (1.4**2 - 0.6**2),
    "holes": np.pi * (2 - 0.09) - 0.3,
}
MADE = {}


@pytest.fixture(params=PLANE)
def named(request):
    if request.param not in MADE:
        MADE[request.param] = PLANE[request.param][0]()
    return request.param, MADE[request.param]


def paths(name):
    return PLANE[name][1] or BOUNDARIES[name]


def test_the_distance_is_that_of_the_nearest_of_many_boundary_points(named):
    name, shape = named
    chains = [path(np.arange(120_000) / 120_000) for path in paths(name)]  # corners included
    points, half = np.concatenate(chains), max(np.linalg.norm(np.diff(p, axis=0), axis=1).max() / 2 for p in chains)
    low, high = np.array(shape.lower), np.array(shape.upper)
    x = low + (high - low) * np.random.default_rng(1).uniform(-0.1, 1.1, (1500, 2))
    nearest, _ = cKDTree(points).query(x)
    distance = shape.signed_distance(x)
    # The point next to the foot is within half a step of it: nearest^2 <= d^2 + half^2 (1 + curvature d), with
    # curvatures up to 7. Splines through 900 points are off by 1e-9.
    tight = np.sqrt(np.maximum(nearest**2 - half**2 * (1 + 7 * nearest), 0))
    assert (np.abs(distance) <= nearest + 1e-8).all()
    assert (np.abs(distance) >= tight - 1e-5).all()
    near = nearest < 0.03
    assert near.sum() > 25
    assert (np.abs(distance) >= tight - 1e-8)[near].all()


def test_the_sign_tells_inside_from_outside(named):
    name, shape = named
    low, high = np.array(shape.lower), np.array(shape.upper)
    x = low + (high - low) * np.random.default_rng(2).uniform(-0.1, 1.1, (1500, 2))
    turns = np.zeros(len(x))
    for path in paths(name):
        # Winding number: the angle of the boundary as seen from x, summed.
        seen = path(np.arange(1200) / 1200)[None] - x[:, None]
        seen = seen[..., 0] + 1j * seen[..., 1]
        turns += np.abs(np.rint(np.angle(np.roll(seen, -1, axis=1) / seen).sum(axis=1) / TURN))
    clear = np.abs(shape.signed_distance(x)) > 1e-4
    assert ((shape.signed_distance(x) < 0) == (turns == 1))[clear].all()


def test_areas_are_those_of_closed_forms(named):
    name, shape = named
    assert shape.measure == pytest.approx(AREAS[name], rel=1e-9)


def test_boundary_nodes_satisfy_gausss_theorem(named):
    # Area = integral of x . n / 2: equal steps along smooth curves are the trapezoidal rule, along edges the midpoints.
    name, shape = named
    h = 0.01
    nodes = shape.boundary(h)
    area = 0.0
    for index in nodes.parts.values():
        x, n = nodes.points[index], nodes.normals[index]
        for component in components(x, 3 * h):
            gaps = np.linalg.norm(np.diff(x[component], axis=0), axis=1)
            length = arc_length(name, x[component]) or gaps.mean() * len(component)
            area += (x[component] * n[component]).sum() / 2 * length / len(component)
    assert area == pytest.approx(AREAS[name], rel=1e-6)


def components(x, reach):
    """Cut points that are ordered along several curves where they jump."""
    jumps = np.flatnonzero(np.linalg.norm(np.diff(x, axis=0), axis=1) > reach) + 1
    return np.split(np.arange(len(x)), jumps)


def arc_length(name, x):
    """Length of the smooth curve that x lies on, or None for a straight edge."""
    if np.abs(np.linalg.svd(x - x.mean(axis=0), compute_uv=False)[1]) < 1e-9:
        return None
    for path in paths(name):
        fine = path(np.arange(20_000) / 20_000)
        if cKDTree(fine).query(x[0])[0] < 1e-3:
            # The second difference corrects chords to arcs: both errors fall as n^-2.
            whole, half = (np.linalg.norm(np.diff(p, axis=0, append=p[:1]), axis=1).sum() for p in (fine, fine[::2]))
            return whole + (whole - half) / 3
    raise AssertionError("a node off every curve")


def test_every_node_lies_on_the_boundary_and_its_normal_points_out(named):
    _, shape = named
    nodes = shape.boundary(0.05)
    assert np.abs(shape.signed_distance(nodes.points)).max() < 1e-9
    for side in (1e-3, -1e-3):
        assert shape.signed_distance(nodes.points + side * nodes.normals) == pytest.approx(side, abs=1e-8)
    assert np.abs(np.linalg.norm(nodes.normals, axis=1) - 1).max() < 1e-12
    assert set(nodes.parts) == set(shape.parts)
    assert np.array_equal(np.sort(np.concatenate(list(nodes.parts.values()))), np.arange(len(nodes)))


def test_nodes_follow_a_variable_spacing(named):
    _, shape = named

    def spacing(x):
        return 0.02 + 0.02 * (x[:, 0] - shape.lower[0])

    nodes = shape.boundary(spacing)
    gaps = cKDTree(nodes.points).query(nodes.points, k=2)[0][:, 1] / spacing(nodes.points)
    # Half-steps on both sides of a right angle are 0.71 h apart, of a corner where an edge is rounded a bit less.
    assert 0.6 < gaps.min()
    assert gaps.max() < 1.1
    assert np.median(gaps) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("path", "velocity"), [(ellipse, ellipse_velocity), (flower, flower_velocity)], ids=["ellipse", "flower"]
)
def test_normals_and_offsets_of_curves_are_exact(path, velocity):
    t = np.random.default_rng(3).random(2000)
    normals, shift = outward(velocity(t)), np.random.default_rng(4).uniform(-0.05, 0.05, 2000)
    for shape in (Curve(path), Curve(path, velocity)):
        distance = shape.signed_distance(path(t) + shift[:, None] * normals)
        assert np.abs(distance - shift).max() < 1e-14
        nodes = shape.boundary(0.05)
        angle = np.arctan2(
            *(nodes.points / (path(np.array([0.0, 0.25])).max(axis=0) if path is ellipse else 1)).T[::-1]
        )
        assert np.abs(nodes.normals - outward(velocity(angle / TURN))).max() < 3e-12


def test_nodes_of_an_ellipse_are_equispaced_in_elliptic_integrals():
    nodes = Curve(ellipse, ellipse_velocity).boundary(0.1).points
    # The arc from the end of the minor axis, with modulus m = 1 - (1/2)^2: 2 E(phi, m).
    phi = np.unwrap(np.arctan2(nodes[:, 0] / 2, nodes[:, 1]))
    arcs = 2 * np.abs(np.diff(ellipeinc(phi, 0.75)))
    length = 8 * ellipe(0.75)
    assert len(nodes) == round(length / 0.1)
    assert np.abs(arcs - length / len(nodes)).max() < 1e-12 * length


@pytest.mark.parametrize("derivative", [None, flower_velocity])
def test_nodes_of_a_flower_are_equispaced_in_arclength(derivative):
    nodes = Curve(flower, derivative).boundary(0.25).points
    turn = np.append(np.unwrap(np.arctan2(nodes[:, 1], nodes[:, 0])) / TURN, 1.0)

    def speed(t):
        return np.linalg.norm(flower_velocity(np.array([t])))

    arcs = np.array([quad(speed, a, b, epsabs=1e-13)[0] for a, b in pairwise(turn)])
    assert np.ptp(arcs) < 1e-10 * arcs.sum()


def test_splines_through_points_converge_with_order_four_and_their_normals_with_three():
    errors = []
    for count in (32, 64, 128):
        nodes = Curve(ellipse(np.arange(count) / count)).boundary(0.05)
        off = np.abs((nodes.points[:, 0] / 2) ** 2 + nodes.points[:, 1] ** 2 - 1).max()
        exact = nodes.points / [4.0, 1.0]
        exact /= np.linalg.norm(exact, axis=1)[:, None]
        errors.append([off, np.abs(nodes.normals - exact).max()])
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (orders[:, 0] > 3.6).all()
    assert (orders[:, 1] > 2.6).all()
    assert errors[-1][0] < 1e-6


def test_a_level_set_may_be_given_its_gradient_or_not():
    nodes = {}
    for gradient in (None, lambda x: 2 * x * [0.25, 1.0]):
        shape = LevelSet(lambda x: x[:, 0] ** 2 / 4 + x[:, 1] ** 2 - 1, (-2.1, -1.2), (2.1, 1.2), gradient)
        nodes[gradient is None] = shape.boundary(0.1)
    assert np.abs(nodes[True].normals - nodes[False].normals).max() < 1e-10
    exact = nodes[False].points / [4.0, 1.0]
    assert np.abs(nodes[False].normals - exact / np.linalg.norm(exact, axis=1)[:, None]).max() < 1e-13
    arcs = np.diff(2 * ellipeinc(np.unwrap(np.arctan2(*(nodes[True].points / [2.0, 1.0]).T)), 0.75))
    assert np.ptp(np.abs(arcs)) < 1e-9


def test_a_level_set_finer_than_its_first_grid_is_traced_again():
    shape = LevelSet(flower_level, (-1.4, -1.3), (1.3, 1.3))
    nodes = shape.boundary(0.004)
    assert np.abs(flower_level(nodes.points)).max() < 1e-14
    assert len(nodes) == round(shape.curves[0].length / 0.004)


def test_several_components_are_all_found():
    centers = np.array([[-1.0, 0.0], [1.0, 0.5], [0.2, -1.0]])

    def level(x):
        return np.min([np.hypot(*(x - c).T) - 0.4 for c in centers], axis=0)

    shape = LevelSet(level, (-2, -2), (2, 2))
    assert len(shape.curves) == 3
    assert shape.measure == pytest.approx(3 * 0.16 * np.pi, rel=1e-9)
    x = np.random.default_rng(5).uniform(-2, 2, (2000, 2))
    assert shape.signed_distance(x) == pytest.approx(level(x), abs=1e-5)
    assert (np.abs(shape.signed_distance(x)) <= np.abs(level(x)) + 1e-9).all()


@pytest.mark.parametrize(("dimension", "measure"), [(1, 4.0), (2, 4 * np.pi), (3, 32 / 3 * np.pi), (4, 8 * np.pi**2)])
def test_balls_of_any_dimension(dimension, measure):
    ball = Ball((1.0,) * dimension, 2.0)
    assert ball.measure == pytest.approx(measure, rel=1e-14)
    assert ball.dimension == dimension
    x = np.random.default_rng(6).normal(size=(50, dimension)) * 2
    assert ball.signed_distance(x) == pytest.approx([math.dist(row, (1.0,) * dimension) - 2 for row in x], abs=1e-14)
    assert ball.lower == (-1.0,) * dimension
    assert ball.upper == (3.0,) * dimension


def test_an_interval_has_two_ends():
    shape = Interval(-1.0, 3.0)
    nodes = shape.boundary(0.5)
    assert nodes.points.tolist() == [[-1.0], [3.0]]
    assert nodes.normals.tolist() == [[-1.0], [1.0]]
    assert {name: index.tolist() for name, index in nodes.parts.items()} == {"x-": [0], "x+": [1]}
    assert (shape.measure, shape.lower, shape.upper) == (4.0, (-1.0,), (3.0,))
    gap = shape - Interval(0.0, 1.0)
    assert gap.boundary(0.2).parts.keys() == {"x-", "x+", "hole-x-", "hole-x+"}
    assert gap.boundary(0.2).normals.ravel().tolist() == [-1.0, 1.0, 1.0, -1.0]


def torus(x):
    return (np.hypot(x[:, 0], x[:, 1]) - 1) ** 2 + x[:, 2] ** 2 - 0.16


def torus_distance(x):
    return np.hypot(np.hypot(x[:, 0], x[:, 1]) - 1, x[:, 2]) - 0.4


@pytest.fixture(scope="module")
def ring():
    return LevelSet(torus, (-1.6, -1.6, -0.6), (1.6, 1.6, 0.6))


def test_a_surface_in_space_has_exact_distances_next_to_it_and_lower_bounds_beyond(ring):
    x = np.random.default_rng(7).uniform(-1.7, 1.7, (20_000, 3)) * [1, 1, 0.5]
    distance, exact = ring.signed_distance(x), torus_distance(x)
    near = np.abs(exact) < 0.1
    assert np.abs(distance - exact)[near].max() < 1e-11
    assert (np.abs(distance) <= np.abs(exact) + 1e-11).all()
    assert (np.abs(distance) >= 0.8 * np.abs(exact))[exact > 0.2].all()
    assert ((distance < 0) == (exact < 0)).all()
    assert ring.measure == pytest.approx(2 * np.pi**2 * 0.16, rel=2e-3)


@pytest.mark.parametrize("spacing", [0.1, lambda x: 0.06 + 0.03 * (x[:, 0] + 1.4)], ids=["constant", "variable"])
def test_nodes_on_a_surface_in_space_are_quasi_uniform(ring, spacing):
    nodes = ring.boundary(spacing)
    h = spacing(nodes.points) if callable(spacing) else np.full(len(nodes), spacing)
    gaps = cKDTree(nodes.points).query(nodes.points, k=2)[0][:, 1] / h
    assert np.abs(torus(nodes.points)).max() < 1e-12
    assert gaps.min() > 0.7
    assert np.median(gaps) == pytest.approx(0.9, abs=0.08)
    angle = np.random.default_rng(8).uniform(0, TURN, (2, 20_000))
    radius = 1 + 0.4 * np.cos(angle[0])
    surface = np.stack([radius * np.cos(angle[1]), radius * np.sin(angle[1]), 0.4 * np.sin(angle[0])], axis=1)
    hole = cKDTree(nodes.points).query(surface)[0] / (spacing(surface) if callable(spacing) else spacing)
    assert hole.max() < 0.85
    exact = np.array([torus_distance(nodes.points + 1e-4 * n) for n in (nodes.normals, -nodes.normals)])
    assert exact == pytest.approx(np.array([[1e-4], [-1e-4]]) * np.ones(len(nodes)), abs=1e-11)
    if not callable(spacing):
        assert len(nodes) == pytest.approx(4 * np.pi**2 * 0.4 / (3**0.5 / 2 * 0.01), rel=0.06)


def test_nodes_on_a_sphere_are_quasi_uniform():
    nodes = Ball((1.0, 2.0, 3.0), 2.0).boundary(0.2)
    gaps = cKDTree(nodes.points).query(nodes.points, k=2)[0][:, 1] / 0.2
    assert gaps.min() > 0.85
    assert gaps.max() < 1.0
    fine = np.array([1.0, 2.0, 3.0]) + 2 * fibonacci_sphere(50_001)
    assert cKDTree(nodes.points).query(fine)[0].max() / 0.2 < 0.71
    assert nodes.points == pytest.approx(np.array([1.0, 2.0, 3.0]) + 2 * nodes.normals, abs=1e-14)
    graded = Ball().boundary(lambda x: 0.05 + 0.1 * (1 + x[:, 2]))
    gaps = cKDTree(graded.points).query(graded.points, k=2)[0][:, 1] / (0.05 + 0.1 * (1 + graded.points[:, 2]))
    assert (gaps.min() > 0.65) & (gaps.max() < 1.15)


def test_faces_of_a_cuboid_hold_half_step_grids_and_gauss_theorem():
    box = Cuboid((0.0, 0.0, -1.0), (1.0, 2.0, 0.5))
    nodes = box.boundary(0.25)
    assert {name: len(index) for name, index in nodes.parts.items()} == {
        "x-": 48, "x+": 48, "y-": 24, "y+": 24, "z-": 32, "z+": 32
    }  # fmt: skip
    assert (nodes.points * nodes.normals).sum() * 0.25**2 / 3 == pytest.approx(box.measure, rel=1e-14)
    away = np.sort(np.minimum(nodes.points - box.lower, box.upper - nodes.points), axis=1)
    assert away[:, 0].max() == 0.0
    assert away[:, 1].min() == 0.125
    for number, name in enumerate(box.parts):
        expected = np.zeros(3)
        expected[number // 2] = (-1, 1)[number % 2]
        assert (nodes.normals[nodes.parts[name]] == expected).all()


def test_faces_of_a_cuboid_follow_a_variable_spacing():
    def spacing(x):
        return 0.06 + 0.08 * x[:, 0]

    nodes = Cuboid().boundary(spacing)
    h = spacing(nodes.points)
    gaps = cKDTree(nodes.points).query(nodes.points, k=2)[0][:, 1] / h
    away = np.sort(np.minimum(nodes.points, 1 - nodes.points), axis=1)
    assert (away[:, 1] / h).min() > 0.449
    # Across an edge 0.45 h from it on either side, where h differs by up to 4 %; within a face more.
    assert gaps.min() > 0.45 * 2**0.5 * 0.96
    for index in nodes.parts.values():
        face = nodes.points[index]
        assert (cKDTree(face).query(face, k=2)[0][:, 1] / spacing(face)).min() > 0.67
    assert np.median(gaps) == pytest.approx(0.9, abs=0.1)
    assert np.bincount(np.argsort(np.concatenate(list(nodes.parts.values())))).max() == 1


def test_distances_to_a_cuboid_are_those_to_faces_edges_and_corners():
    x = [[0.5, 0.5, 0.75], [2.0, 0.5, 0.5], [2.0, 2.0, 0.5], [2.0, 2.0, 2.0], [0.1, 0.5, 0.5]]
    assert Cuboid().signed_distance(np.array(x)) == pytest.approx([-0.25, 1.0, 2**0.5, 3**0.5, -0.1], abs=1e-15)


def test_no_node_of_a_polygon_is_nearer_to_a_corner_than_half_a_step():
    nodes = Polygon(CORNERS).boundary(0.1)
    for corner in CORNERS:
        assert np.linalg.norm(nodes.points - corner, axis=1).min() == pytest.approx(0.05, rel=1e-12)
    assert {name: len(index) for name, index in nodes.parts.items()} == dict(
        zip([f"edge{i}" for i in range(6)], [20, 10, 10, 10, 10, 20], strict=True)
    )
    assert (nodes.normals[nodes.parts["edge2"]] == [0.0, 1.0]).all()
    turned = Polygon(CORNERS[::-1]).boundary(0.1)
    assert sorted(map(tuple, turned.normals.round(12) + 0.0)) == sorted(map(tuple, nodes.normals.round(12) + 0.0))


def test_the_sign_holds_level_with_vertices():
    x = np.stack(np.meshgrid(*[np.arange(-1, 12) / 4 + 1e-3] * 2), axis=-1).reshape(-1, 2)
    for axis in (0, 1):
        level = x.copy()
        level[:, axis] = np.rint(4 * level[:, axis]) / 4
        low, high = level.min(axis=1), level.max(axis=1)
        inside, on = (low > 0) & (high < 2) & (low < 1), (low == 0) | (high == 2) | (low == 1)
        distance = Polygon(CORNERS).signed_distance(level)
        assert ((distance < 0) == inside)[~on].all()


@pytest.mark.parametrize("angle", [10, 30, 45])
def test_nodes_on_both_sides_of_a_sharp_corner_keep_apart(angle):
    wedge = Polygon([(0, 0), (3, 0), (3 * math.cos(math.radians(angle)), 3 * math.sin(math.radians(angle)))])
    nodes = wedge.boundary(0.05)
    gaps = cKDTree(nodes.points).query(nodes.points, k=2)[0][:, 1]
    assert gaps.min() > 0.49 * 0.05


def meets(p, q, r, s):
    """Whether two closed segments meet, in exact arithmetic."""

    def side(a, b, c):
        value = Fraction(b[0] - a[0]) * (c[1] - a[1]) - Fraction(b[1] - a[1]) * (c[0] - a[0])
        return (value > 0) - (value < 0)

    def between(a, b, c):
        return min(a[0], b[0]) <= c[0] <= max(a[0], b[0]) and min(a[1], b[1]) <= c[1] <= max(a[1], b[1])

    if side(p, q, r) != side(p, q, s) and side(r, s, p) != side(r, s, q):
        return True
    triples = ((p, q, r), (p, q, s), (r, s, p), (r, s, q))
    return any(side(a, b, c) == 0 and between(a, b, c) for a, b, c in triples)


def simple(corners):
    """Whether a polygon of integer corners does not meet itself, pair by pair."""
    edges = list(zip(corners, corners[1:] + corners[:1], strict=True))
    for i, j in combinations(range(len(edges)), 2):
        (a, b), (c, d) = edges[i], edges[j]
        if j - i not in (1, len(edges) - 1):
            if meets(a, b, c, d):
                return False
        else:
            joint, before, after = (b, a, d) if j == i + 1 else (a, b, c)
            u, v = ([z[k] - joint[k] for k in (0, 1)] for z in (before, after))
            if u[0] * v[1] == u[1] * v[0] and u[0] * v[0] + u[1] * v[1] > 0:
                return False
    return True


def test_polygons_that_meet_themselves_are_found_as_by_exact_arithmetic():
    rng, kinds = np.random.default_rng(9), [0, 0]
    while min(kinds) < 60:
        corners = [tuple(int(v) for v in row) for row in rng.integers(0, 6, (int(rng.integers(3, 8)), 2))]
        if any(a == b for a, b in zip(corners, corners[1:] + corners[:1], strict=True)):
            continue
        expected = simple(corners)
        kinds[expected] += 1
        assert (crossing(np.array(corners, dtype=float)) is None) == expected, corners


def test_holes_keep_their_parts_apart():
    shape = Rectangle((-2, -2), (2, 2)) - Disk(radius=0.5) - Rectangle((1, 1), (1.5, 1.5)) - Disk((-1, -1), 0.4)
    assert shape.parts[:5] == ("x-", "x+", "y-", "y+", "hole")
    assert shape.parts[5:] == ("hole2-x-", "hole2-x+", "hole2-y-", "hole2-y+", "hole3")
    nodes = shape.boundary(0.1)
    hole = nodes.parts["hole"]
    assert nodes.normals[hole] == pytest.approx(-2 * nodes.points[hole], abs=1e-14)
    assert (nodes.points[nodes.parts["hole2-x-"], 0] == 1.0).all()
    assert (nodes.normals[nodes.parts["hole2-x-"]] == [1.0, 0.0]).all()
    assert (Disk() - Disk(radius=0.5)).parts == ("outer", "hole")
    assert shape.measure == pytest.approx(16 - 0.25 - np.pi * (0.25 + 0.16), rel=1e-14)


def test_a_ball_with_a_hole_in_space():
    shell = Ball() - Ball(radius=0.4)
    nodes = shell.boundary(0.2)
    assert len(nodes.parts["outer"]) > 4 * len(nodes.parts["hole"]) > 0
    assert np.abs(shell.signed_distance(nodes.points)).max() < 1e-14
    assert shell.signed_distance(nodes.points - 0.05 * nodes.normals) == pytest.approx(-0.05, abs=1e-14)


def test_distances_of_many_points_are_quick_in_memory_too():
    # 20,000 points x 1,000 edges would be 160 MB an array: they are taken in pieces.
    import tracemalloc

    outline = flower(np.arange(1000) / 1000)
    x = np.random.default_rng(10).uniform(-1.3, 1.3, (20_000, 2))
    shape = Polygon(outline)
    tracemalloc.start()
    distance = shape.signed_distance(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6
    assert np.abs(distance - Curve(flower).signed_distance(x)).max() < 2e-4


THIN = {
    "interval": (lambda: Interval(), 1.5),
    "disk": (lambda: Disk(), 2.5),
    "ball": (lambda: Ball(radius=0.1), 0.3),
    "rectangle": (lambda: Rectangle((0, 0), (1, 0.1)), 0.15),
    "polygon": (lambda: Polygon([(0, 0), (2, 0), (2, 1), (1, 0.03), (0, 1)]), 0.1),
    "curve": (lambda: Curve(lambda t: ellipse(t) * [1.0, 0.2]), 0.39),
    "level set": (lambda: LevelSet(lambda x: (x**2 * [1, 400]).sum(axis=1) - 1, (-1.1, -0.2), (1.1, 0.2)), 0.09),
    "ring": (lambda: Disk() - Disk(radius=0.9), 0.15),
    "speck": (
        lambda: LevelSet(lambda x: np.minimum(np.hypot(*x.T) - 1, np.hypot(*(x - 2).T) - 0.1), (-2, -2), (3, 3)),
        0.2,
    ),
}


@pytest.mark.parametrize("name", THIN)
def test_a_domain_thinner_than_the_spacing_is_refused_and_a_finer_spacing_passes(name):
    make, spacing = THIN[name]
    shape = make()
    with pytest.raises(ValueError, match=r"thinner than the spacing.*use spacing <= "):
        shape.boundary(spacing)
    assert len(shape.boundary(spacing / 10)) > 1


def eight(t):
    return np.stack([np.sin(TURN * t), np.sin(2 * TURN * t)], axis=1)


def diamond(t):
    return np.stack([abs(np.cos(TURN * t)) * np.cos(TURN * t), abs(np.sin(TURN * t)) * np.sin(TURN * t)], axis=1)


OPEN = flower(np.arange(150) / 200)
LEVELS = ((-1.5, -1.5), (1.5, 1.5))
MISTAKES = [
    (lambda: Interval(1.0, 1.0), "finite low < high, came 1.0 and 1.0"),
    (lambda: Ball((0.0, np.nan)), "center: expected finite coordinates"),
    (lambda: Ball(radius=0.0), "radius: expected a positive finite number, came 0.0"),
    (lambda: Ball((0.0,) * 4).boundary(0.1), "boundary nodes in 2 or 3 dimensions, came 4"),
    (lambda: Disk((0.0,) * 3), r"use Ball\(center, radius\)"),
    (lambda: Disk(0.5), "came 0.5: a radius is given as radius="),
    (lambda: Cuboid((0.0,), (1.0,)), "use Interval in 1-D"),
    (lambda: Cuboid((0.0, 1.0), (1.0, 1.0)), "finite lower < upper on every axis"),
    (lambda: Rectangle((0.0,) * 3, (1.0,) * 3), "use Cuboid in 3-D"),
    (lambda: Polygon([(0, 0), (1, 1)]), "k >= 3, came .*add vertices"),
    (lambda: Polygon([(0, 0), (1, 1), (np.nan, 0)]), "remove the vertices that are nan"),
    (lambda: Polygon([(0, 0), (1, 0), (1, 0), (0, 1)]), "vertices 1 and 2 are the same point.*remove vertex 2"),
    (lambda: Polygon([(0, 0), (1, 0), (0, 1), (0, 0)]), "remove vertex 0.*without being repeated"),
    (lambda: Polygon([(0, 0), (1, 1), (1, 0), (0, 1)]), "edges 0 and 2 .* put the vertices in order"),
    (lambda: Polygon(flower(np.arange(200) / 200)).boundary(0.2), r"too short for the spacing 0.2.*Curve\(points\)"),
    (lambda: Curve(lambda t: np.stack([t, t * t], axis=1)), "the curve is open.*give a function of period 1"),
    (lambda: Curve(OPEN), "the curve is open: its last point.*repeat the first point"),
    (lambda: Curve(OPEN[:3]), "at least 4 different points, came 3"),
    (lambda: Curve(OPEN[[0, 1, 1, 2, 3]]), "points 1 and 2 are the same: remove one"),
    (lambda: Curve(np.zeros((5, 3))), r"expected finite points of shape \(k, 2\) or a function of t"),
    (lambda: Curve(lambda t: t), r"curve: expected finite values of shape \(256, 2\).*return np.stack"),
    (lambda: Curve(flower, lambda t: t), r"derivative: expected finite values"),
    (lambda: Curve(OPEN, flower_velocity), "the spline has its own"),
    (lambda: Curve(eight), "meets itself near .*expected a simple closed curve"),
    (lambda: Curve(lambda t: flower(t - np.sin(TURN * t) / TURN)), "stands still at t = 0.0000"),
    (lambda: Curve(diamond), "has a corner at t = .*use Polygon"),
    (lambda: Curve(lambda t: ellipse(t) * [1, 0.03]), "or a bend of a radius below .*round it off"),
    (lambda: LevelSet(flower_level, (-1,) * 4, (1,) * 4), "a box of 2 or 3 axes"),
    (lambda: LevelSet(flower_level, (-1, 1), (1, 1)), "finite lower < upper on every axis"),
    (lambda: LevelSet(flower_level, (-1, -1.5), (1.5, 1.5)), "touches its box.*enlarge lower and upper"),
    (lambda: LevelSet(lambda x: x[:, 0] ** 2 + 1, *LEVELS), "no zero contour.*must be negative inside"),
    (lambda: LevelSet(lambda x: (x**2).sum(axis=1) + 1, (-1,) * 3, (1,) * 3), "no zero contour.*negative inside"),
    (lambda: LevelSet(lambda x: (x**2).sum(axis=1) - 1, (-0.9,) * 3, (2,) * 3), "touches its box.*enlarge"),
    (lambda: LevelSet(lambda x: x, *LEVELS), "expected one finite value a point"),
    (lambda: LevelSet(lambda x: np.log(x[:, 0] + 1.5), *LEVELS), "with nan or infinity"),
    (lambda: LevelSet(flower_level, *LEVELS, lambda x: x[:, 0]), "gradient: expected finite values of shape"),
    (lambda: LevelSet(lambda x: np.sign(flower_level(x)), *LEVELS), "cannot be reached near .*expected a smooth"),
    (lambda: Disk() - Ball(), "a hole of dimension 2"),
    (lambda: Disk() - (Disk(radius=0.8) - Disk(radius=0.5)), "has holes itself.*use the pieces"),
    (lambda: Disk() - Disk((3.0, 0.0)), "lies outside of .*move it inside"),
    (lambda: Disk() - Disk(radius=2.0), "lies outside of "),
    (lambda: PLANE["ring"][0]() - Disk((0.0, 0.0), 1.0), "reaches round .*move or shrink the hole"),
    (lambda: Disk() - Disk((0.9, 0.0), 0.2), "sticks out of .* near .*move or shrink the hole"),
    (lambda: Disk() - Disk((0.5, 0.0), 0.5), "touches its boundary"),
    (lambda: Disk() - Disk(radius=0.2) - Disk((0.3, 0.0), 0.2), "hole 2, .* meets the hole .*move them apart"),
    (lambda: Disk() - Disk(radius=0.2) - Disk(radius=0.5), "hole 2, .* meets the hole"),
    (lambda: Disk().boundary(0.0), "spacing: expected positive finite values, came 0.0"),
    (lambda: Disk().boundary(np.nan), "spacing: expected positive finite values, came nan"),
    (lambda: Disk().boundary([0.1, 0.1]), r"one number or a function of x, came shape \(2,\)"),
    (lambda: Disk().boundary(lambda x: x), r"return spacing of x of shape \(n, 2\) as \(n,\)"),
    (lambda: Disk().boundary(lambda x: x[:, 0]), "spacing: expected positive finite values, came -1"),
    (lambda: Boundary(np.zeros((2, 2)), np.ones((2, 2)), {"a": [0, 1]}), "divide them by their length"),
    (lambda: Boundary(np.zeros((1, 2)), np.full((1, 2), np.nan), {"a": [0]}), "came length nan at boundary node 0"),
    (lambda: Boundary(np.zeros((2, 2)), np.ones((1, 2)), {"a": [0, 1]}), r"a normal for each \(m, d\) point"),
    (lambda: Boundary(np.eye(2), np.eye(2), {"a": [0], "b": [0, 1]}), "exactly one part, came"),
]


@pytest.mark.parametrize(("mistake", "expected"), MISTAKES, ids=[text[:30] for _, text in MISTAKES])
def test_mistakes_are_refused_with_what_to_change(mistake, expected):
    with np.errstate(invalid="ignore", divide="ignore"), pytest.raises(ValueError, match=expected):
        mistake()


def test_points_at_the_height_of_a_corner_have_the_right_sign():
    angles = np.pi / 2 + np.pi * np.arange(10) / 5
    radii = np.where(np.arange(10) % 2 == 0, 1.0, 0.4)
    star = Polygon(np.column_stack([radii * np.cos(angles), radii * np.sin(angles)]))
    heights = star.vertices[:, 1, None] + np.spacing(star.vertices[:, 1, None]) * np.arange(-3, 4) / 2
    outside = np.column_stack([np.full(heights.size, -2.9), heights.ravel()])
    assert (star.signed_distance(outside) > 1.8).all()
    ell = Polygon([(-1, -1), (1, -1), (1, 0), (0, 0), (0, 1), (-1, 1)])
    assert ell.signed_distance(np.array([[-2.9, -1.4e-17]]))[0] == pytest.approx(1.9)
