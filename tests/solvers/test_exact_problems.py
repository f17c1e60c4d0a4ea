"""Problems in closed form: equations and data against sympy, floors against 40 digits, three operators, their texts."""

import math
from dataclasses import replace

import mpmath
import numpy as np
import pytest
import sympy
import torch

from solvers import MLP, AutoDiff, FiniteDifference, TangentProp
from solvers.domain import Box
from solvers.geometry import Ball, Disk, Interval, Rectangle, Region
from solvers.problems import (
    PROBLEMS,
    advection,
    ball_poisson,
    biharmonic_1d,
    biharmonic_2d,
    disk_heat,
    disk_nonlinear_poisson,
    disk_plate,
    disk_poisson,
    heat,
    helmholtz,
    holed_poisson,
    inverse_heat,
    multiscale_poisson,
    nonlinear_poisson_1d,
    plate,
    poisson_1d,
    poisson_2d,
    poisson_5d,
    poisson_10d,
    wave,
)
from solvers.problems.closed_form import CLOSED_FORM, EXACT_FLOOR, phase_floor
from solvers.problems.domain_text import domain_text
from solvers.problems.inverse_problem import inverse_problem

X, Y, T = sympy.symbols("x y t")
MANY = sympy.symbols("a:j")
PI, SIN, COS, EXP = sympy.pi, sympy.sin, sympy.cos, sympy.exp


def minus_laplacian(u, *axes):
    return -sum(sympy.diff(u, axis, 2) for axis in axes if axis != T)


def bilaplacian(u, *axes):
    return minus_laplacian(minus_laplacian(u, *axes), *axes)


def string(u, speed):
    return sympy.diff(u, T, 2) - speed**2 * sympy.diff(u, X, 2)


STATED = {
    "wave": (wave(), (X, T), SIN(PI * X) * COS(2 * PI * T) + SIN(4 * PI * X) * COS(8 * PI * T) / 2),
    "wave, c = 3": (
        wave(3.0, 5, -2.0),
        (X, T),
        SIN(PI * X) * COS(3 * PI * T) - 2 * SIN(5 * PI * X) * COS(15 * PI * T),
    ),
    "advection": (advection(), (X, T), SIN(X - 30 * T)),
    "advection, c = 50": (advection(50.0), (X, T), SIN(X - 50 * T)),
    "plate": (plate(), (X, Y), EXP(X) * SIN(PI * Y)),
    "poisson-5d": (poisson_5d(), MANY[:5], sum(COS(PI * a) for a in MANY[:5])),
    "poisson-10d": (poisson_10d(), MANY, sum(MANY[i] * MANY[i + 1] for i in range(0, 10, 2))),
    "multiscale-poisson": (
        multiscale_poisson((2, 5)),
        (X, Y),
        (SIN(2 * PI * X) * SIN(2 * PI * Y) + SIN(5 * PI * X) * SIN(5 * PI * Y)) / 2,
    ),
    "poisson-1d": (poisson_1d(3), (X,), SIN(3 * PI * X)),
    "poisson-2d": (poisson_2d((1, 2)), (X, Y), SIN(PI * X) * SIN(2 * PI * Y)),
    "biharmonic-1d": (biharmonic_1d(), (X,), SIN(PI * X)),
    "biharmonic-2d": (biharmonic_2d((2, 1)), (X, Y), SIN(2 * PI * X) * SIN(PI * Y)),
    "heat": (heat(0.25, 2), (X, T), EXP(-(PI**2) * T) * SIN(2 * PI * X)),
    "helmholtz": (helmholtz((2, 3), 3.0), (X, Y), SIN(2 * PI * X) * SIN(3 * PI * Y)),
    "nonlinear-poisson-1d": (nonlinear_poisson_1d(2, 5.0), (X,), SIN(2 * PI * X)),
    "disk-plate": (disk_plate(2), (X, Y), (1 - COS(2 * PI * (X**2 + Y**2))) / 2),
    "disk-nonlinear-poisson": (disk_nonlinear_poisson(), (X, Y), 1 + SIN(PI * X) * COS(PI * Y)),
    "disk-heat": (disk_heat(), (X, Y, T), 1 + SIN(PI * X) * COS(PI * Y) * SIN(PI * T)),
}
"""Problem, symbols of its axes, and its solution, written anew."""

LEFT = {
    "wave": lambda u, *axes: string(u, 2),
    "wave, c = 3": lambda u, *axes: string(u, 3),
    "advection": lambda u, *axes: sympy.diff(u, T) + 30 * sympy.diff(u, X),
    "advection, c = 50": lambda u, *axes: sympy.diff(u, T) + 50 * sympy.diff(u, X),
    "plate": bilaplacian,
    "biharmonic-1d": bilaplacian,
    "biharmonic-2d": bilaplacian,
    "disk-plate": bilaplacian,
    "heat": lambda u, *axes: sympy.diff(u, T) - sympy.diff(u, X, 2) / 4,
    "helmholtz": lambda u, *axes: 9 * u - minus_laplacian(u, *axes),
    "nonlinear-poisson-1d": lambda u, *axes: minus_laplacian(u, *axes) + 5 * u**3,
    "disk-nonlinear-poisson": lambda u, *axes: -minus_laplacian(u, *axes) - EXP(u),
    "disk-heat": lambda u, *axes: sympy.diff(u, T) + minus_laplacian(u, *axes),
}
"""The terms of each equation that have u in them, as the docstrings state them; -laplacian u where it is not here."""

ROBIN = ("disk-nonlinear-poisson", "disk-heat")


def values(expression, axes, rows):
    """Values of an expression at rows (n, axes), as a column."""
    found = sympy.lambdify(axes, expression, "numpy")(*rows.numpy().T)
    return torch.from_numpy(np.broadcast_to(found, len(rows)).astype(np.float64))[:, None]


def residuals(problem, operator, points, network):
    """Residual of the equation, and of each condition with its points, by name."""
    inside = points.only("equation")
    found = {"equation": (problem.residual(operator.plan(inside, problem.partials)(network), inside.rows, {}), inside)}
    for condition in problem.conditions:
        own = points.only(condition.where)
        jet = operator.plan(own, condition.partials)(network)
        found[condition.name] = (condition.residual(jet, own.rows, own.normals, {}), own)
    return {name: (residual.detach(), own) for name, (residual, own) in found.items()}


def few(problem):
    boxed = isinstance(problem.domain, Box)
    return problem.sample(seed=3, **({"interior": 12, "boundary": 40, "initial": 6} if boxed else {"interior": 60}))


def stated_residual(name, axes, gap, own):
    """What sympy makes of a condition, of v - u."""
    if name == "velocity":
        return values(sympy.diff(gap, T), axes, own.rows)
    value = values(gap, axes, own.rows)
    if name == "periodic":
        lower, upper = value.chunk(2)
        return upper - lower
    if name not in ("slope", "robin"):
        return value
    slopes = [values(sympy.diff(gap, axis), axes, own.rows) for axis in axes if axis != T]
    slope = (torch.cat(slopes, dim=1) * own.normals[:, : len(slopes)]).sum(dim=1, keepdim=True)
    return slope if name == "slope" else slope + value


@pytest.mark.parametrize("name", STATED)
def test_equation_and_data_are_those_of_sympy_on_any_function(name):
    problem, axes, u = STATED[name]
    assert problem.axes == tuple(map(str, axes))
    phase = sum(sympy.Rational(k + 3, 4) * (-1) ** k * axis for k, axis in enumerate(axes))
    v = SIN(phase + 1) + phase**2 / 3
    points, left = few(problem), LEFT.get(name, minus_laplacian)

    def network(x):
        along = sum((k + 3) / 4 * (-1) ** k * x[:, k : k + 1] for k in range(len(axes)))
        return torch.sin(along + 1) + along**2 / 3

    found = residuals(problem, AutoDiff(), points, network)
    residual, own = found.pop("equation")
    expected = values(left(v, *axes) - left(u, *axes), axes, own.rows)
    assert torch.allclose(residual, expected, rtol=0, atol=1e-12 * float(expected.abs().max()))
    assert float(residual.abs().max()) > 0.1
    for condition, (residual, own) in found.items():
        robin = name in ROBIN and condition == "boundary"
        expected = stated_residual("robin" if robin else condition, axes, v - u, own)
        assert torch.allclose(residual, expected, rtol=0, atol=1e-12 * max(1, float(expected.abs().max()))), condition
        assert float(residual.abs().max()) > 0.1, condition


@pytest.mark.parametrize("name", STATED)
def test_the_stated_solution_is_the_solution(name):
    problem, axes, u = STATED[name]
    points = few(problem)
    assert torch.allclose(
        problem.solution(points.interior), values(u, axes, points.interior), rtol=0, atol=2 * phase_floor(60)
    )
    found = residuals(problem, AutoDiff(), points, problem.solution)
    order = 4 if "bilaplacian" in problem.partials or "xxxx" in problem.partials else 2
    for condition, (residual, _) in found.items():
        bound = 1e-14 * (60.0**order if condition == "equation" else 1e3)
        assert float(residual.abs().max()) < bound, condition


# Floors.

FLOORS = {
    "wave": STATED["wave"],
    "wave, c = 10": (wave(10.0, 5, 1.0), (X, T), SIN(PI * X) * COS(10 * PI * T) + SIN(5 * PI * X) * COS(50 * PI * T)),
    "advection": STATED["advection"],
    "advection, c = 150": (advection(150.0), (X, T), SIN(X - 150 * T)),
    "helmholtz": (helmholtz((25, 20)), (X, Y), SIN(25 * PI * X) * SIN(20 * PI * Y)),
    "poisson-1d": (poisson_1d(250), (X,), SIN(250 * PI * X)),
    "poisson-5d": STATED["poisson-5d"],
    "poisson-10d": STATED["poisson-10d"],
    "plate": STATED["plate"],
    "multiscale-poisson": (
        multiscale_poisson(),
        (X, Y),
        sum(SIN(w * PI * X) * SIN(w * PI * Y) for w in (4, 8, 12, 16)) / 4,
    ),
}


@pytest.mark.parametrize("name", FLOORS)
def test_floors_hold_against_forty_digits_and_are_not_far_above(name):
    problem, axes, u = FLOORS[name]
    rng = np.random.default_rng(0)
    if problem.test_shape:
        rows = problem.domain.grid(problem.test_shape)
        rows = rows[torch.from_numpy(rng.choice(len(rows), 300, replace=False))]
    else:
        rows = problem.domain.scale(torch.from_numpy(rng.random((300, len(axes)))))
    function = sympy.lambdify(axes, u, "mpmath")
    with mpmath.workdps(40):
        true = [function(*map(mpmath.mpf, row)) for row in rows.tolist()]
        pairs = zip(problem.solution(rows)[:, 0].tolist(), true, strict=True)
        error = math.sqrt(sum(float(mpmath.mpf(ours) - theirs) ** 2 for ours, theirs in pairs))
        size = math.sqrt(sum(float(theirs) ** 2 for theirs in true))
    assert problem.floor_origin == CLOSED_FORM
    assert error / size <= problem.solution_floor
    assert problem.solution_floor <= max(EXACT_FLOOR, 8 * error / size)


# Operators.


@pytest.mark.parametrize(
    "problem",
    [wave(), advection(), plate(), poisson_5d(), poisson_10d()],
    ids=lambda problem: problem.name,
)
def test_three_operators_agree_on_every_term(problem):
    torch.manual_seed(0)
    network = MLP(len(problem.axes), [7, 7]).double()
    points = few(problem)
    exact = residuals(problem, AutoDiff(), points, network)
    for operator, bound in ((TangentProp(), 1e-11), (FiniteDifference(order=4), 1e-6)):
        for name, (residual, _) in residuals(problem, operator, points, network).items():
            expected = exact[name][0]
            scale = max(1.0, float(expected.abs().max()))
            assert torch.allclose(residual, expected, rtol=0, atol=bound * scale), (operator, name)
    assert problem.conditions and len(exact) == len(problem.conditions) + 1


# Many dimensions.


def test_many_dimensions_have_points_on_every_face_and_no_test_grid():
    problem = poisson_10d()
    points = problem.sample()
    assert points.counts == (1024, 2000, 0)
    problem.check(points)
    assert len(problem.domain.faces) == 20
    assert all(len(points.only(face).boundary) == 100 for face in problem.domain.faces)
    assert problem.test_shape == () and poisson_5d().test_shape == ()
    assert poisson_5d().sample().counts == (1024, 1000, 0)
    assert problem.scattered(7, seed=1).counts == (7, 0, 0)
    assert {*problem.axes, *poisson_5d().axes}.isdisjoint({"n", "t"})


def test_nodes_in_five_dimensions_are_refused():
    with pytest.raises(ValueError, match=r"poisson-5d has 5 dimensions, and nodes are laid out in 3.*'lhs'"):
        poisson_5d().sample(interior=50, method="nodes")


def test_a_test_shape_has_a_count_for_each_axis():
    with pytest.raises(ValueError, match=r"a count for each of the axes x, y, came \(101,\): leave it out"):
        replace(poisson_2d(), test_shape=(101,))
    shapes = [replace(problem, test_shape=()).test_shape for problem in (poisson_1d(), heat(), disk_heat())]
    assert shapes == [(1001,), (101, 101), (21, 21, 21)]


# Texts.


@pytest.fixture(scope="module")
def problems():
    return {name: make() for name, make in PROBLEMS.items()}


def test_every_problem_says_its_equation_and_the_origin_of_its_floor(problems):
    for name, problem in problems.items():
        assert problem.equation.isascii() and 0 < len(problem.equation) <= 48, name
        assert problem.floor_origin.isascii() and problem.floor_origin, name


def test_domains_fit_a_column(problems):
    for name, problem in problems.items():
        assert 0 < len(problem.domain_text) <= 30, name


@pytest.mark.parametrize(
    ("problem", "equation"),
    [
        (wave(), "u_tt = 4 u_xx, u0 of pi x and 4 pi x"),
        (wave(1.0, 2), "u_tt = u_xx, u0 of pi x and 2 pi x"),
        (advection(), "u_t + 30 u_x = 0, u0 = sin(x)"),
        (heat(0.3, 2), "u_t = 0.3 u_xx, u0 = sin(2 pi x)"),
        (helmholtz(), "u_xx + u_yy + u = q, modes (1, 4)"),
        (helmholtz((6, 6), 2.0), "u_xx + u_yy + 4 u = q, modes (6, 6)"),
        (nonlinear_poisson_1d(2, 5.0), "-u_xx + 5 u^3 = f, mode 2"),
        (inverse_heat(mode=3, diffusivity=0.2), "u_t = nu u_xx, nu unknown, u0 = sin(3 pi x)"),
        (multiscale_poisson((4, 8)), "-(u_xx + u_yy) = f, modes 4, 8"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_the_equation_has_the_numbers_of_the_variant(problem, equation):
    assert problem.equation == equation


def test_an_inverse_problem_names_its_unknown():
    problem = inverse_problem(
        heat,
        "diffusivity",
        0.1,
        lambda jet, x, coefficients: jet["t"] - coefficients["diffusivity"] * jet["xx"],
        measurements=5,
        noise=0.0,
        seed=0,
        how="trained",
        start=None,
        bounds=(0.0, 3.0),
        weight=1.0,
        points=None,
    )
    assert problem.equation == "u_t = 0.1 u_xx, u0 = sin(pi x), diffusivity unknown"


def test_variants_differ_in_their_settings():
    variants = [
        helmholtz(),
        helmholtz((4, 1)),
        helmholtz((6, 6)),
        helmholtz(wavenumber=2.0),
        wave(),
        wave(overtone=2),
        wave(overtone=5),
        wave(amplitude=1.0),
        wave(10.0, 2),
        advection(),
        advection(50.0),
        advection(100.0),
        heat(),
        heat(0.3),
        multiscale_poisson(),
        multiscale_poisson((4, 8)),
    ]
    told = {(problem.name, repr(sorted(problem.settings.items()))) for problem in variants}
    assert len(told) == len(variants)


@pytest.mark.parametrize(
    ("domain", "text"),
    [
        (Box(("x", "t"), (0.0, 0.0), (1.0, 1.0)), "x in [0, 1], t in [0, 1]"),
        (Box(("x", "t"), (0.0, 0.0), (2 * math.pi, 0.5)), "x in [0, 2 pi], t in [0, 0.5]"),
        (Box(("x", "y"), (-math.pi, 0.0), (math.pi, 3.0)), "x in [-pi, pi], y in [0, 3]"),
        (Box(tuple("abcd"), (0.0,) * 4, (1.0,) * 4), "a to d in [0, 1]"),
        (Box(tuple("xyz"), (0.0,) * 3, (1.0,) * 3), "x, y, z in [0, 1]"),
        (Region(Disk()), "disk"),
        (Region(Ball(radius=0.5)), "ball of radius 0.5"),
        (Region(Interval(0.0, 2.0), time=(0.0, 1.0)), "x in [0, 2], t in [0, 1]"),
        (Region(Rectangle((0.0, 0.0), (1.0, 2.0))), "x in [0, 1], y in [0, 2]"),
        (Region(Disk() - Disk(radius=0.5)), "disk with 1 hole"),
        (Region(Disk() - Disk((0.5, 0.0), 0.2) - Disk((-0.5, 0.0), 0.2)), "disk with 2 holes"),
    ],
)
def test_domains_in_words(domain, text):
    assert domain_text(domain) == text


# Bad input.


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: wave(0.0), r"speed > 0 \(c itself, not c\^2\).*came 0.0 with overtone 4"),
        (lambda: wave(-2.0), "speed > 0"),
        (lambda: wave("2"), "a number for speed, came '2'"),
        (lambda: wave(amplitude="1"), "a number for amplitude, came '1'"),
        (lambda: advection([30.0]), r"a number for speed, came \[30.0\].*without quotes"),
        (lambda: wave(math.nan), "speed > 0"),
        (lambda: wave(13.0), r"overtone \* speed <= 50.*came 13.0 with overtone 4"),
        (lambda: wave(overtone=1), "overtone of 2 or more.*came 1"),
        (lambda: wave(0.1, 51), "modes up to 50.*came 51"),
        (lambda: wave(amplitude=math.inf), "finite amplitude.*0 leaves it out"),
        (lambda: advection(0.0), r"speed in \(0, 150\].*came 0.0.*mirror image"),
        (lambda: advection(-30.0), "mirror image"),
        (lambda: advection(200.0), "four points a period, came 200.0"),
        (lambda: advection(math.nan), r"speed in \(0, 150\]"),
        (lambda: multiscale_poisson(()), r"one mode or more.*such as \(4, 8\)"),
        (lambda: multiscale_poisson((4, 51)), "modes up to 50.*came 51"),
        (lambda: multiscale_poisson((4, 0)), "positive integer modes"),
        (lambda: helmholtz((1, 26)), "modes up to 25.*came 26: errors of higher ones"),
        (lambda: heat(1e-5, 100), "modes up to 25.*came 100"),
        (lambda: poisson_1d(251), "modes up to 250.*came 251"),
        (lambda: nonlinear_poisson_1d(300), "modes up to 250"),
        (lambda: disk_poisson(10.0, radius=3.0), r"frequency \* 3 <= 25.*came frequency 10"),
        (lambda: disk_nonlinear_poisson(26.0), "four points a wave, came frequency 26"),
        (lambda: disk_heat(5.5), r"frequency \* 1 <= 5,"),
        (lambda: ball_poisson(5.5), r"frequency \* 1 <= 5,"),
        (lambda: holed_poisson(22.0), r"frequency \* 1.15 <= 25,"),
    ],
)
def test_numbers_without_a_solution_or_test_grid_are_refused(make, expected):
    with pytest.raises(ValueError, match=expected):
        make()


def test_the_highest_modes_are_seen_by_the_test_grid():
    """A wave of 100 periods on 101 points would be zero at all of them."""
    for problem in (helmholtz((25, 25)), poisson_1d(250), wave(10.0, 5), advection(150.0), multiscale_poisson((50,))):
        values_there = problem.solution(problem.domain.grid(problem.test_shape))
        assert float(values_there.std()) > 0.3, problem.name
