"""Regions: the contract of a problem's domain on shapes, with and without time."""

import numpy as np
import pytest
import torch

from solvers.domain import Box
from solvers.geometry import Ball, Cuboid, Disk, Interval, Rectangle, Region

RING = Disk() - Disk((0.2, 0.0), 0.4)
STILL = Region(RING)
MOVING = Region(RING, time=(0.5, 2.0))


def rows(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_axes_limits_and_faces_are_those_of_the_shape_and_the_time():
    assert (STILL.axes, STILL.space, STILL.periodic) == (("x", "y"), ("x", "y"), ())
    assert (MOVING.axes, MOVING.space) == (("x", "y", "t"), ("x", "y"))
    assert (MOVING.lower, MOVING.upper) == ((-1.0, -1.0, 0.5), (1.0, 1.0, 2.0))
    assert STILL.faces == ("outer", "hole")
    assert Region(Ball()).axes == ("x", "y", "z")
    assert Region(Disk(), axes="rzt", time=(0, 1)).space == ("r", "z")


def test_outside_is_beyond_rounding_in_space_or_time():
    points = rows([1 + 1e-7, 0.0], [1 + 1e-5, 0.0], [0.2, 0.0], [0.6 - 1e-7, 0.0], [0.6 - 1e-5, 0.0], [-0.9, 0.0])
    expected = [False, True, True, False, True, False]
    assert STILL.outside(points).tolist() == expected
    for time, late in ((0.5, False), (2.0, False), (2.0 + 1e-7, False), (2.01, True), (0.4, True)):
        timed = torch.cat([points, torch.full((6, 1), time, dtype=torch.float64)], dim=1)
        assert MOVING.outside(timed).tolist() == [out or late for out in expected]
    assert STILL.outside(points.float()).dtype == torch.bool


def test_a_boundary_in_single_precision_is_still_on_the_boundary():
    region = Region(Disk((100.0, -50.0), 3.0))
    nodes = torch.from_numpy(region.shape.boundary(0.1).points)
    for points in (nodes, nodes.float()):
        assert not region.off_boundary(points).any()
        assert not region.outside(points).any()
    assert region.off_boundary(nodes + 1e-3).sum() > 0.9 * len(nodes)


def test_off_boundary_looks_at_space_alone():
    points = rows([1.0, 0.0, 0.5], [0.6, 0.0, 1.0], [0.8, 0.0, 2.0], [0.8, 0.0, 0.5])
    assert MOVING.off_boundary(points).tolist() == [False, False, True, True]


def test_slack_is_that_of_the_bounding_box():
    box = Box(("x", "y", "t"), (-1.0, -1.0, 0.5), (1.0, 1.0, 2.0))
    assert torch.equal(MOVING.slack(rows([0.0])), box.slack(rows([0.0])))


def test_a_grid_holds_the_closed_region_only():
    grid = MOVING.grid((41, 41, 3))
    box = Box(MOVING.axes, MOVING.lower, MOVING.upper).grid((41, 41, 3))
    x, y = box[:, 0].numpy(), box[:, 1].numpy()
    inside = (x**2 + y**2 <= 1 + 1e-9) & ((x - 0.2) ** 2 + y**2 >= 0.16 - 1e-9)
    assert torch.equal(grid, box[torch.from_numpy(inside)])


def test_nodes_are_those_of_scatter_with_the_letters_asked_for():
    points = Region(RING, axes="uv").sample(interior=300)
    assert points.axes == ("u", "v")
    assert sum(points.counts) == pytest.approx(300, abs=6)
    assert len(points.ghost) == len(points.boundary) == len(points.normals)
    assert set(points.parts) == {"outer", "hole"}
    assert not STILL.outside(points.rows).any()
    assert not STILL.off_boundary(points.boundary).any()
    assert STILL.outside(points.ghost).all()
    assert len(STILL.sample(interior=300, ghost_layers=2).ghost) == 2 * len(points.boundary)
    assert not torch.equal(STILL.sample(interior=300, seed=1).interior, points.interior)


def test_nodes_in_space_and_time_repeat_at_every_time():
    points = MOVING.sample(interior=200, times=[0.5, 1.0, 2.0])
    still = STILL.sample(interior=200)
    assert points.counts == (3 * len(still.interior), 3 * len(still.boundary), sum(still.counts))
    assert points.times.tolist() == [0.5, 1.0, 2.0]
    assert torch.equal(points.interior[: len(still.interior), :2], still.interior)
    assert MOVING.sample(interior=200).times.tolist() == np.linspace(0.5, 2.0, 25).tolist()


def test_random_points_fill_the_region_evenly():
    points = MOVING.sample(interior=4000, boundary=500, initial=1000, method="random")
    assert points.counts == (4000, 500, 1000)
    assert not MOVING.outside(points.rows).any()
    assert not MOVING.off_boundary(points.boundary).any()
    assert (points.initial[:, 2] == 0.5).all()
    x, t = points.interior[:, 0].numpy(), points.interior[:, 2].numpy()
    # The centroid of the ring is -0.2 * 0.16 / 0.84; the spread of x is about 0.54, of the time 1.5 / sqrt(12).
    assert x.mean() == pytest.approx(-0.2 * 0.16 / 0.84, abs=4 * 0.54 / 4000**0.5)
    assert t.mean() == pytest.approx(1.25, abs=4 * 0.433 / 4000**0.5)
    assert t.std() == pytest.approx(0.433, rel=0.05)
    assert points.boundary[:, 2].std() == pytest.approx(0.433, rel=0.1)
    # Perimeters 2 pi and 0.8 pi: 1 : 0.4, to one point a part, since points are drawn stretch by stretch.
    assert abs(len(points.parts["outer"]) - 500 / 1.4) <= 2
    assert np.array_equal(np.sort(torch.cat(list(points.parts.values())).numpy()), np.arange(500))
    outer = points.only("outer")
    assert torch.allclose(outer.normals[:, :2], outer.boundary[:, :2], atol=1e-12)
    assert (points.normals[:, 2] == 0).all()


def test_random_points_are_the_same_for_the_same_seed_alone():
    first, same, other = (MOVING.sample(interior=50, method="random", seed=seed) for seed in (3, 3, 4))
    for kind in ("interior", "boundary", "initial"):
        assert torch.equal(getattr(first, kind), getattr(same, kind))
        assert not torch.equal(getattr(first, kind), getattr(other, kind))


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        # Spacing s = (measure / n)^(1/d); perimeter / s, and with time the same at n^(1/(d+1)) times.
        (Region(Rectangle()), 4 * 30),
        (Region(Rectangle(), time=(0.0, 1.0)), 4 * 900 ** (2 / 3)),
        (Region(Interval(), time=(0.0, 1.0)), 2 * 30),
        (Region(Interval()), 2),
        (Region(Cuboid()), 6 * 900 ** (2 / 3)),
    ],
)
def test_the_boundary_gets_as_many_random_points_as_fit_the_spacing(region, expected):
    points = region.sample(interior=900, method="random")
    assert len(points.boundary) == pytest.approx(expected, rel=0.03)
    assert {name for name, index in points.parts.items() if len(index)} == set(region.faces)
    if region.time is not None:
        assert len(points.initial) == pytest.approx(900 ** (region.shape.dimension / len(region.axes)), abs=1)


def test_random_points_of_a_ball():
    points = Region(Ball((1.0, 0.0, 0.0), 2.0)).sample(interior=3000, boundary=300, method="random")
    radius = (points.interior - rows([1.0, 0.0, 0.0])).norm(dim=1).numpy()
    # Uniform in volume: (r / 2)^3 is uniform in [0, 1].
    assert ((radius / 2) ** 3).mean() == pytest.approx(0.5, abs=4 / 12**0.5 / 3000**0.5)
    assert len(points.boundary) == 300
    # Equal areas of z, which the spiral runs along: means of a stretched sequence hit the middle closely.
    assert points.boundary[:, 2].mean().item() == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize(
    ("mistake", "expected"),
    [
        (lambda: Region("disk"), "expected a shape of solvers.geometry, came 'disk'"),
        (lambda: Region(Disk(), time=(1.0, 1.0)), "time: expected a finite start < end"),
        (lambda: Region(Disk(), axes="xyz"), r"expected 2 different letters.*without time=\(start, end\)"),
        (lambda: Region(Disk(), axes="xx"), "expected 2 different letters"),
        (lambda: Region(Disk(), axes="xt"), "expected 2 different letters"),
        (lambda: Region(Disk(), axes="xy", time=(0, 1)), "2 different letters, then 't'"),
        (lambda: Region(Disk(), axes="txy", time=(0, 1)), "expected 't' as the last axis"),
        (lambda: STILL.sample(method="lhs"), "expected 'nodes' or 'random'"),
        (lambda: STILL.sample(interior=0), "at least one point of each kind"),
        (lambda: STILL.sample(boundary=0, method="random"), "at least one point of each kind"),
        (lambda: STILL.sample(boundary=10), "leave them out, or use method='random'"),
        (lambda: MOVING.sample(initial=10), "leave them out, or use method='random'"),
        (lambda: STILL.sample(times=[0.0]), "times: expected None for a region without time"),
        (lambda: MOVING.sample(times=[0.5], method="random"), "use method='nodes'"),
        (lambda: MOVING.sample(times=[0.0, 1.0]), "start at 0.5 and end by 2.0, came 0.0 to 1.0"),
        (lambda: MOVING.sample(times=[0.5, 3.0]), "start at 0.5 and end by 2.0"),
    ],
)
def test_mistakes_are_refused_with_what_to_change(mistake, expected):
    with pytest.raises(ValueError, match=expected):
        mistake()
