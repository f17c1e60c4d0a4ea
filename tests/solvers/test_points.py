"""Boxes and collocation points: validation, sampling, faces, normals, periodic pairs, parts."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers.domain import Box
from solvers.points import Points, sample

SQUARE = Box(("x", "y"), (-1.0, 2.0), (1.0, 5.0))
STRIP = Box(("x", "t"), (-1.0, 0.25), (1.0, 1.0), periodic=("x",))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((("x", "y"), (0.0,), (1.0, 1.0)), "one letter, lower and upper limit an axis"),
        ((("x", "x"), (0.0, 0.0), (1.0, 1.0)), "one letter, lower and upper limit an axis"),
        ((("x",), (1.0,), (1.0,)), "lower < upper"),
        ((("x",), (1.0,), (0.0,)), "lower < upper"),
    ],
)
def test_a_box_that_is_none_is_refused(arguments, expected):
    with pytest.raises(ValueError, match=expected):
        Box(*arguments)


def test_a_box_scales_the_unit_cube_and_knows_its_faces():
    unit = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.5, 0.25]], dtype=torch.float64)
    assert SQUARE.scale(unit).tolist() == [[-1.0, 2.0], [1.0, 5.0], [0.0, 2.75]]
    assert SQUARE.faces == ("x-", "x+", "y-", "y+")
    assert STRIP.faces == ("x-", "x+")
    assert STRIP.space == ("x",)


def test_outside_forgives_single_precision_and_nothing_else():
    near = torch.tensor([[1.0 + 1e-7, 5.0], [1.0 + 1e-5, 3.0], [0.0, 1.999], [0.0, 3.0]], dtype=torch.float64)
    assert SQUARE.outside(near).tolist() == [False, True, True, False]
    assert SQUARE.outside(torch.tensor([[1.0000001, 3.0]])).tolist() == [False]


def test_a_grid_includes_the_faces_last_axis_fastest():
    grid = SQUARE.grid((3, 4))
    expected = [[x, y] for x in (-1.0, 0.0, 1.0) for y in (2.0, 3.0, 4.0, 5.0)]
    assert np.allclose(grid.numpy(), expected, rtol=0, atol=1e-15)
    assert grid.dtype == torch.float64


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"interior": np.zeros(3)}, r"interior: expected shape \(n, 2\).*came \(3,\)"),
        ({"interior": np.zeros((3, 1))}, r"interior: expected shape \(n, 2\).*came \(3, 1\)"),
        ({"interior": np.zeros((3, 2)), "boundary": np.zeros((2, 3))}, "boundary: expected shape"),
        ({"interior": [[0.0, np.nan]]}, "interior: expected finite"),
        ({"interior": torch.zeros(3, 2, dtype=torch.int64)}, "interior: expected finite floating-point"),
        ({"interior": np.zeros((3, 2)), "ghost": [[np.inf, 0.0]]}, "ghost: expected finite"),
        (
            {"interior": np.zeros((3, 2)), "boundary": np.zeros((2, 2)), "normals": np.ones((1, 2))},
            r"one normal a boundary point \(2\), came 1",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(fields, expected):
    with pytest.raises(ValueError, match=expected):
        Points(**fields, axes=("x", "y"))


def test_arrays_become_float64_and_absent_kinds_are_empty():
    points = Points(interior=[[1, 2]], initial=np.zeros((3, 2), np.float32), axes="xt")
    assert points.interior.dtype == points.initial.dtype == torch.float64
    assert points.counts == (1, 0, 3)
    assert points.axes == ("x", "t")
    for kind in (points.boundary, points.ghost, points.normals):
        assert kind.shape == (0, 2)


def test_rows_leave_ghosts_out():
    points = Points([[1.0]], boundary=[[2.0]], initial=[[3.0]], ghost=[[4.0]])
    assert points.rows.tolist() == [[1.0], [2.0], [3.0]]


def test_another_dtype_keeps_everything_else():
    points = sample(STRIP, interior=5, boundary=4, initial=3).to(dtype=torch.float32)
    assert {getattr(points, kind).dtype for kind in ("interior", "boundary", "initial", "normals")} == {torch.float32}
    assert points.axes == ("x", "t")
    assert points.parts["x+"].tolist() == [2, 3]


def test_only_takes_one_kind_or_the_named_parts_in_their_order():
    points = sample(SQUARE, interior=6, boundary=8)
    assert points.only("interior").counts == (6, 0, 0)
    assert points.only("boundary").counts == (0, 8, 0)
    assert torch.equal(points.only("boundary").normals, points.normals)
    both = points.only(("y+", "x-"))
    assert torch.equal(both.boundary, torch.cat([points.boundary[6:8], points.boundary[0:2]]))
    assert both.normals.tolist() == [[0.0, 1.0]] * 2 + [[-1.0, 0.0]] * 2


def test_only_keeps_points_without_normals():
    points = Points(np.zeros((1, 1)), boundary=[[0.0], [1.0]], parts={"left": torch.tensor([0])})
    assert points.only("left").boundary.tolist() == [[0.0]]
    assert points.only("left").normals.shape == (0, 1)


@pytest.mark.parametrize(
    "indices", [[2, 0], (2, 0), np.array([2, 0]), torch.tensor([2, 0])], ids=lambda i: type(i).__name__
)
def test_parts_are_any_indices_of_the_boundary(indices):
    points = Points(np.zeros((1, 1)), boundary=[[0.0], [1.0], [2.0]], parts={"some": indices, "none": []})
    assert points.only("some").boundary.tolist() == [[2.0], [0.0]]
    assert points.only("none").counts == (0, 0, 0)


@pytest.mark.parametrize("index", [3, -1])
def test_indices_beyond_the_boundary_are_refused(index):
    with pytest.raises(ValueError, match=rf"part 'some': expected indices of 3 boundary points, came \[0, {index}\]"):
        Points(np.zeros((1, 1)), boundary=[[0.0], [1.0], [2.0]], parts={"some": [0, index]})


def test_an_unknown_part_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no part 'z\+'.*\['x\+', 'x-', 'y\+', 'y-'\]"):
        sample(SQUARE, interior=4).only("z+")


@settings(max_examples=25, deadline=None)
@given(
    method=st.sampled_from(["lhs", "grid"]),
    box=st.sampled_from(
        [SQUARE, STRIP, Box(("x",), (2.0,), (3.0,)), Box(("x", "y", "t"), (0.0,) * 3, (1.0, 2.0, 3.0))]
    ),
    interior=st.integers(1, 60),
    boundary=st.integers(1, 60),
    seed=st.integers(0, 5),
)
def test_every_sample_lies_where_it_says(method, box, interior, boundary, seed):
    points = sample(box, interior=interior, boundary=boundary, initial=7, method=method, seed=seed)
    lower, upper = torch.tensor(box.lower).double(), torch.tensor(box.upper).double()
    assert not box.outside(points.rows).any()
    assert ((points.interior >= lower) & (points.interior <= upper)).all()
    if method == "lhs":
        assert len(points.interior) == interior
    assert ("t" in box.axes) == (len(points.initial) > 0)
    if "t" in box.axes:
        assert (points.initial[:, box.axes.index("t")] == box.lower[box.axes.index("t")]).all()
    assert sorted(points.parts) == sorted(box.faces)
    assert torch.cat([points.parts[face] for face in box.faces]).tolist() == list(range(len(points.boundary)))
    for face, index in points.parts.items():
        axis = box.axes.index(face[0])
        limit, sign = (box.upper, 1.0) if face[1] == "+" else (box.lower, -1.0)
        assert len(index) > 0
        assert torch.allclose(points.boundary[index, axis], torch.tensor(limit[axis]).double(), rtol=1e-15)
        outward = torch.zeros(len(index), len(box.axes), dtype=torch.float64)
        outward[:, axis] = sign
        assert torch.equal(points.normals[index], outward)


def test_the_faces_of_a_periodic_axis_are_paired():
    points = sample(STRIP, interior=4, boundary=20)
    lower, upper = (points.boundary[points.parts[face]] for face in ("x-", "x+"))
    assert torch.equal(lower[:, 1], upper[:, 1])
    assert len(lower[:, 1].unique()) == 10
    free = sample(Box(("x", "t"), (-1.0, 0.25), (1.0, 1.0)), interior=4, boundary=20)
    assert not torch.equal(free.boundary[free.parts["x-"], 1], free.boundary[free.parts["x+"], 1])


def test_a_latin_hypercube_has_one_point_in_every_slice():
    points = sample(SQUARE, interior=50)
    for axis in range(2):
        place = (points.interior[:, axis] - SQUARE.lower[axis]) / (SQUARE.upper[axis] - SQUARE.lower[axis])
        assert sorted((place * 50).long().tolist()) == list(range(50))


def test_a_grid_sample_is_uniform_without_the_faces():
    assert np.allclose(
        sample(Box(("x",), (0.0,), (1.0,)), interior=3, method="grid").interior.ravel(), [0.25, 0.5, 0.75]
    )
    points = sample(SQUARE, interior=17, method="grid")
    assert np.allclose(points.interior[:4], [[-0.6, 2.6], [-0.6, 3.2], [-0.6, 3.8], [-0.6, 4.4]])
    assert len(points.interior) == 16


def test_draws_are_reproducible_and_follow_the_seed():
    one, same, other = (sample(SQUARE, interior=9, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one.rows, same.rows)
    assert not torch.equal(one.rows, other.rows)


def test_bad_sampling_options_are_named():
    with pytest.raises(ValueError, match="unknown sampling method 'sobol'; expected 'lhs' or 'grid'"):
        sample(SQUARE, method="sobol")
    with pytest.raises(ValueError, match="at least one point of each kind, came interior=0"):
        sample(SQUARE, interior=0)
    with pytest.raises(ValueError, match="boundary=-1"):
        sample(SQUARE, boundary=-1)
