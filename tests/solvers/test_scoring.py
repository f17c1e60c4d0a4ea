"""Scores: relative, largest and by frequency, of what the network puts out or of what is observed."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from dynamics import open_trajectory
from solvers import (
    MLP,
    RBFFD,
    AutoDiff,
    Points,
    RandomFeatures,
    Torch,
    scoring,
    solve_least_squares,
    solve_on_nodes,
    train,
)
from solvers.domain import Box
from solvers.geometry.ball import Disk
from solvers.geometry.region import Region
from solvers.objective import Objective
from solvers.probes import Moment, reference_residual, standard_probes
from solvers.problems import disk_poisson, poisson_1d, poisson_2d
from solvers.problems.observed import Observed
from solvers.problems.problem import Problem
from solvers.scoring import BANDS, Score, band_shares

LIKE = torch.zeros(1, dtype=torch.float64)
PI = math.pi


def stated(domain, solution, **more):
    return Problem("stated", domain, ("x",), lambda jet, x, coefficients: jet["x"], solution=solution, **more)


def score(problem, network):
    return Score(problem, LIKE)(network)


def box(axes, periodic=""):
    return Box(tuple(axes), (-1.0,) + (0.5,) * (len(axes) - 1), (2.0,) + (3.0,) * (len(axes) - 1), tuple(periodic))


def waves_in(domain, axis, count, shift=0.3):
    """A field of so many waves along one axis: a cosine from the lower face on, or shifted where it is periodic."""
    at = domain.axes.index(axis)
    low, high = domain.lower[at], domain.upper[at]
    phase = shift if axis in domain.periodic else 0.0
    return lambda x: torch.cos(2 * PI * count * (x[:, at : at + 1] - low) / (high - low) + phase)


CASES = [
    ("x", ""),
    ("x", "x"),
    ("xt", ""),
    ("xt", "x"),
    ("tx", "x"),
    ("xy", ""),
    ("xy", "xy"),
    ("xyt", "y"),
    ("txy", "x"),
]


@pytest.mark.parametrize(("axes", "periodic"), CASES)
def test_a_pure_wave_lies_in_its_band_along_every_axis(axes, periodic):
    domain = box(axes, periodic)
    shape = tuple({"x": 61, "y": 58, "t": 4}[axis] for axis in axes)
    problem = stated(domain, lambda x: torch.ones(len(x), 1, dtype=torch.float64), test_shape=shape)
    time = (lambda x: x[:, [axes.index("t")]]) if "t" in axes else lambda x: 0.0
    for axis in domain.space:
        halves = () if axis in periodic else ((4.5, 0), (12.5, 1))
        for count, band in ((0, 0), (1, 0), (4, 0), (5, 1), (12, 1), (13, 2), (20, 2), *halves):
            wave = waves_in(domain, axis, count)
            errors = score(problem, lambda x, wave=wave: 1 + wave(x) * (2 + time(x)))
            assert errors.bands[band] == pytest.approx(errors.rel_l2, rel=1e-12)
            assert all(value < 1e-12 for other, value in enumerate(errors.bands) if other != band)


@pytest.mark.parametrize(
    ("first", "second", "band"),
    [(3, 4, 1), (3, 3.5, 0), (4.5, 2.5, 1), (4.5, 2, 0), (5, 12, 2), (5, 11.5, 1), (9, 9, 1), (9.5, 9, 2), (0, 13, 2)],
)
def test_bands_of_two_axes_are_rings(first, second, band):
    domain = box("xy")
    one, other = waves_in(domain, "x", first), waves_in(domain, "y", second)
    error = (one(domain.grid((41, 47))) * other(domain.grid((41, 47)))).reshape(41, 47, 1)
    assert band_shares(error, domain)[band] == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(("axes", "periodic"), CASES)
def test_the_squares_of_the_bands_sum_to_that_of_the_error(axes, periodic):
    """Parseval, on noise: of the bands, and of a sum of waves whose norms are taken by the trapezoidal rule."""
    domain, rng = box(axes, periodic), np.random.default_rng(3)
    shape = tuple({"x": 40, "y": 33, "t": 5}[axis] for axis in axes)
    problem = stated(domain, lambda x: 2 + x[:, :1].sin(), test_shape=shape)
    noise = torch.from_numpy(rng.standard_normal((math.prod(shape), 1)))
    errors = score(problem, lambda x: problem.solution(x) + noise)
    assert math.hypot(*errors.bands) == pytest.approx(errors.rel_l2, rel=1e-13)
    assert min(errors.bands) > 0.05 * errors.rel_l2

    grid = domain.grid(shape)
    parts = []
    for counts in ((0, 1, 3.5, 4), (5, 7, 12), (13, 14, 16)):
        part = torch.zeros(len(grid), 1, dtype=torch.float64)
        for axis in domain.space:
            for count in counts:
                whole = math.floor(count) if axis in periodic else count
                part += rng.standard_normal() * waves_in(domain, axis, whole)(grid)
        parts.append(part.reshape(shape))
    expected = torch.stack([weighted_square(part, domain) for part in parts])
    found = band_shares(sum(parts)[..., None], domain)
    assert torch.allclose(found, expected / expected.sum(), rtol=1e-11)
    assert weighted_square(sum(parts), domain) == pytest.approx(float(expected.sum()), rel=1e-11)


def weighted_square(field, domain):
    """Mean square with the faces at half weight, the repeated face of periodic axes at none; times count alike."""
    square = field.square()
    for at, axis in enumerate(domain.axes):
        weights = torch.ones(square.shape[at], dtype=torch.float64)
        if axis in domain.periodic:
            weights[-1] = 0
        elif axis != "t":
            weights[[0, -1]] = 0.5
        square = square * (weights / weights.sum()).reshape([-1 if other == at else 1 for other in range(square.ndim)])
    return square.sum()


def test_the_transform_is_that_of_the_definition():
    """Coefficients by sums of cosines and of exponentials, with all modes at hand: a slow twin."""
    domain = Box(("x", "t", "y"), (0.0,) * 3, (1.0,) * 3, ("y",))
    error = torch.from_numpy(np.random.default_rng(0).standard_normal((29, 3, 28, 2)))
    ends = np.ones(29)
    ends[[0, -1]] = 0.5
    cosines = np.cos(PI * np.outer(np.arange(29), np.arange(29)) / 28) * ends
    waves = np.exp(-2j * PI * np.outer(np.arange(27), np.arange(27)) / 27)
    power = np.abs(np.einsum("kx,qy,xtyc->ktqc", cosines, waves, error.numpy()[:, :, :27])) ** 2
    power = power.sum(axis=(1, 3)) / ends[:, None]
    power[[0, -1]] *= 0.5**2
    alias = np.minimum(np.arange(27), 27 - np.arange(27))
    length = np.hypot(np.arange(29)[:, None] / 2, alias)
    expected = [
        power[(length >= low) & (length < high)].sum() / power.sum() for low, high in ((0, 5), (5, 13), (13, 99))
    ]
    assert band_shares(error, domain).tolist() == pytest.approx(expected, rel=1e-11)


def test_what_a_kink_at_the_faces_costs_is_what_is_stated():
    problem = stated(Box(("x",), (0.0,), (1.0,)), lambda x: torch.ones_like(x), test_shape=(1001,))
    low, middle, high = score(problem, lambda x: 1 + torch.sin(2 * PI * x)).bands
    whole = math.hypot(low, middle, high)
    # The cosine coefficients of sin(2 pi s), 8 / (pi (4 - k^2)) at odd k, have a sum of squares of 1.
    tails = [math.sqrt(sum((8 / (PI * (4 - k**2))) ** 2 for k in range(first, 9999, 2))) for first in (11, 27)]
    assert [math.hypot(middle, high) / whole, high / whole] == pytest.approx(tails, rel=3e-3)
    assert tails == pytest.approx([0.033, 0.008], rel=0.02)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("periodic", ["", "x"])
def test_the_smallest_grids_have_bands(size, periodic):
    errors = band_shares(torch.ones(size, 1, dtype=torch.float64), Box(("x",), (0.0,), (1.0,), tuple(periodic)))
    assert errors.tolist() == [1.0, 0.0, 0.0]


def test_no_error_has_no_bands_and_nan_has_nan():
    problem = poisson_1d()
    assert score(problem, problem.solution).bands == (0.0, 0.0, 0.0)
    assert all(math.isnan(value) for value in score(problem, lambda x: x * math.nan).bands)


def test_all_components_count_together():
    problem = stated(Box(("x",), (0.0,), (1.0,)), lambda x: torch.cat([3 + 0 * x, 4 + 0 * x], dim=1), components=2)
    errors = score(problem, lambda x: problem.solution(x) + torch.tensor([0.3, -0.4], dtype=torch.float64))
    assert errors.rel_l2 == pytest.approx(0.1, rel=1e-14) and errors.max_error == pytest.approx(0.4, rel=1e-14)
    assert errors.bands == pytest.approx((0.1, 0, 0), abs=1e-15)
    assert Score(problem, LIKE).solution_max == 4.0


VELOCITY = Observed(("u", "v"), ("y", "x"), lambda jet: torch.cat([jet["y"], -jet["x"]], dim=1))


def velocity(x, factor=1.0):
    first, second = PI * x[:, :1], PI * x[:, 1:]
    return factor * PI * torch.cat([first.sin() * second.cos(), -first.cos() * second.sin()], dim=1)


class Stream(torch.nn.Module):
    """A stream function a sin(pi x) sin(pi y), which forbids graphs in its parameter."""

    def __init__(self, factor):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(factor, dtype=torch.float64))

    def forward(self, x):
        assert not self.factor.requires_grad
        return self.factor * (PI * x).sin().prod(dim=1, keepdim=True)


@pytest.mark.parametrize("block", [100, 4096])
def test_the_velocity_of_a_stream_function_is_compared_with_the_closed_form(block, monkeypatch):
    monkeypatch.setattr(scoring, "BLOCK", block)
    square = Box(("x", "y"), (0.0, 0.0), (1.0, 1.0))
    problem = stated(square, velocity, observed=VELOCITY, test_shape=(31, 31))
    network = Stream(1.25)
    errors = score(problem, network)
    assert errors.rel_l2 == pytest.approx(0.25, rel=1e-13)
    assert errors.max_error == pytest.approx(0.25 * PI, rel=1e-13)
    assert math.hypot(*errors.bands) == pytest.approx(0.25, rel=1e-13)
    assert score(problem, lambda x: (PI * x).sin().prod(dim=1, keepdim=True)).rel_l2 < 1e-14
    assert network.factor.requires_grad and network.factor.grad is None


def test_what_is_observed_is_made_of_all_points_at_once(monkeypatch):
    """A pressure up to a constant: a mean over one block would be another one."""
    monkeypatch.setattr(scoring, "BLOCK", 7)
    without = Observed(("p",), ("",), lambda jet: jet[""] - jet[""].mean())
    problem = stated(Box(("x",), (0.0,), (1.0,)), lambda x: x**2 - (x**2).mean(), observed=without)
    assert score(problem, lambda x: x**2 + 17).rel_l2 < 1e-13


def test_what_is_observed_enters_no_reference_residual_and_no_direct_error():
    problem = stated(Box(("x", "y"), (0.0, 0.0), (1.0, 1.0)), velocity, observed=VELOCITY, solution_floor=1e-15)
    objective = Objective(problem, MLP(2, [4]).double(), AutoDiff(), problem.sample(interior=20))
    chosen = standard_probes(objective)
    assert "reference" not in [probe.stream for probe in chosen] and any("rel_l2" in probe.dims for probe in chosen)
    moment = Moment(0, objective, objective.begin_step(), None)
    with pytest.raises(ValueError, match="came one of u, v, which no residual takes: leave it out"):
        reference_residual().measure(moment)
    nodes = torch.linspace(-1, 1, 21, dtype=torch.float64)[:, None]
    points = Points(nodes[1:-1], nodes[[0, -1]], parts={"x-": [0], "x+": [1]})
    slope = Observed(("slope",), ("x",), lambda jet: jet["x"])
    seen = dataclasses.replace(poisson_1d(), observed=slope)
    assert solve_on_nodes(poisson_1d(), points, RBFFD(order=2)).rel_l2 < 0.1
    assert math.isnan(solve_on_nodes(seen, points, RBFFD(order=2)).rel_l2)


@pytest.mark.parametrize("axes", [4, 5])
def test_scattered_points_in_many_dimensions_take_the_integral(axes):
    letters = tuple("abcdefgh"[:axes])
    domain = Box(letters, (0.0,) * axes, (2.0,) * axes)
    problem = stated(domain, lambda x: 1 + (PI * x).sin().prod(dim=1, keepdim=True))
    points = problem.test_points()
    assert problem.test_shape == () and points.shape == (8192, axes) and points.dtype == torch.float64
    assert torch.equal(points, problem.test_points()) and not domain.outside(points).any()
    errors = score(problem, lambda x: problem.solution(x) + x[:, :1])
    # Over the box, the mean square of the first coordinate is 4/3, of the solution 1 + 2^-axes.
    assert errors.rel_l2 == pytest.approx(math.sqrt(4 / 3 / (1 + 0.5**axes)), rel=2e-3)
    assert errors.max_error == pytest.approx(2, rel=1e-3) and all(math.isnan(value) for value in errors.bands)


def test_scattered_points_of_a_region_lie_in_it():
    problem = stated(Region(Disk()), lambda x: x[:, :1])
    object.__setattr__(problem, "test_shape", ())
    points = problem.test_points()
    assert 8192 * PI / 4 == pytest.approx(len(points), rel=5e-3) and points.norm(dim=1).max() <= 1 + 1e-5
    assert all(math.isnan(value) for value in score(disk_poisson(), lambda x: x[:, :1]).bands)


def test_up_to_three_axes_the_points_are_a_grid():
    assert torch.equal(poisson_2d().test_points(), poisson_2d().domain.grid((101, 101)))


@pytest.mark.parametrize(
    ("changes", "network", "message"),
    [
        ({"solution": None}, None, "poisson-1d has no solution to score against"),
        ({"solution": lambda x: x[:, 0]}, None, r"expected a solution of shape \(1001, 1\).*keep columns"),
        ({"observed": VELOCITY}, None, r"expected a solution of shape \(1001, 2\)"),
        ({}, lambda x: x[:, 0], r"came \(1001,\): see the network's outputs"),
        ({"observed": Observed(("u",), ("x",), lambda jet: jet["x"][:, 0])}, lambda x: x, r"Problem\(observed=...\)"),
    ],
)
def test_what_does_not_fit_is_refused(changes, network, message):
    with pytest.raises(ValueError, match=message):
        score(dataclasses.replace(poisson_1d(), **changes), network)


def test_bands_are_recorded_beside_the_error(tmp_path):
    problem, trained, solved = poisson_1d(), tmp_path / "trained.h5", tmp_path / "solved.h5"
    torch.manual_seed(0)
    network = MLP(1, [8])
    train(problem, network, AutoDiff(), Torch(torch.optim.Adam, lr=1e-2), steps=4, record=trained, progress=False)
    solution = solve_least_squares(problem, RandomFeatures(1, 12), AutoDiff(), record=solved)
    for path, errors in ((trained, score(problem, network)), (solved, None)):
        with open_trajectory(path, check=True) as tree:
            series = tree["series"].load()
            assert series["band"].values.tolist() == list(BANDS) and series.attrs["solution_max"] == 1.0
            last = series["error_band"].isel(step=-1).values
            assert math.hypot(*last) == pytest.approx(float(series["rel_l2"][-1]), rel=1e-12)
            assert last.tolist() == pytest.approx((errors or solution).bands if errors else solution.error_bands)
    unknown = solve_least_squares(dataclasses.replace(problem, solution=None), RandomFeatures(1, 12), AutoDiff())
    assert all(math.isnan(value) for value in (*unknown.error_bands, unknown.solution_max))
