"""Problems: equation and conditions vanish on the stated solution, bad options."""

import math

import numpy as np
import pytest
import torch

from solvers.domain import Box
from solvers.operators import AutoDiff
from solvers.points import Points
from solvers.problems import (
    PROBLEMS,
    allen_cahn,
    biharmonic_1d,
    biharmonic_2d,
    burgers,
    heat,
    helmholtz,
    nonlinear_poisson_1d,
    nonlinear_poisson_2d,
    poisson_1d,
    poisson_2d,
)

CLOSED_FORMS = {
    "poisson-1d": poisson_1d(),
    "poisson-1d, mode 3": poisson_1d(3),
    "poisson-2d": poisson_2d((2, 1)),
    "biharmonic-1d": biharmonic_1d(),
    "helmholtz": helmholtz(),
    "helmholtz, k = 3": helmholtz((2, 3), wavenumber=3.0),
    "biharmonic-2d": biharmonic_2d((2, 1)),
    "heat": heat(0.3),
    "heat, mode 3": heat(0.05, 3),
    "nonlinear-poisson-1d": nonlinear_poisson_1d(2, 5.0),
    "nonlinear-poisson-2d": nonlinear_poisson_2d((1, 2)),
}


def residuals(problem, operator, points, network=None):
    """Residual of the equation and of each condition on the problem's own solution, by name."""
    network = network or problem.solution
    inside = points.only("interior")
    found = {"equation": problem.residual(operator.plan(inside, problem.partials)(network), inside.interior, {})}
    for condition in problem.conditions:
        own = points.only(condition.where)
        jet = operator.plan(own, condition.partials)(network)
        found[condition.name] = condition.residual(jet, own.rows, own.normals, {})
    return {name: residual.detach() for name, residual in found.items()}


@pytest.mark.parametrize("problem", CLOSED_FORMS.values(), ids=CLOSED_FORMS)
def test_a_closed_form_solves_its_problem(problem):
    points = problem.sample(interior=40, boundary=16)
    problem.check(points)
    found = residuals(problem, AutoDiff(), points)
    assert set(found) == {"equation", *(condition.name for condition in problem.conditions)}
    # Round-off of the highest derivative, (a pi)^order.
    waves = np.atleast_1d(problem.settings.get("mode", problem.settings.get("modes", 1)))
    order = 4 if problem.name.startswith("biharmonic") else 2
    assert float(found["equation"].abs().max()) < 1e-13 * (math.pi * waves.max()) ** order
    for condition in problem.conditions:
        assert len(found[condition.name]) > 0
        assert float(found[condition.name].abs().max()) < 1e-14


@pytest.mark.parametrize("problem", CLOSED_FORMS.values(), ids=CLOSED_FORMS)
def test_another_function_does_not_solve_the_problem(problem):
    points = problem.sample(interior=40, boundary=16)
    found = residuals(problem, AutoDiff(), points, lambda x: problem.solution(x) * (1 + x[:, :1]) + 0.5)
    assert all(float(residual.abs().max()) > 0.1 for residual in found.values())


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_test_grid_and_the_solution_fit_the_domain(name):
    problem = PROBLEMS[name]()
    assert problem.name == name
    assert len(problem.test_shape) == (len(problem.axes) if len(problem.axes) <= 3 else 0)
    assert 0 < problem.solution_floor <= 1e-6
    if problem.reference is not None:
        # Computed, and looked at in tests of its own.
        return
    coarse = problem.domain.grid([3 if len(problem.axes) <= 5 else 2] * len(problem.axes))
    solution = problem.solution(coarse)
    assert solution.shape == (
        len(coarse),
        problem.components if problem.observed is None else len(problem.observed.names),
    )
    assert solution.dtype == torch.float64
    assert torch.isfinite(solution).all()


def test_the_right_sides_are_those_of_the_docstrings():
    x = torch.tensor([[0.3]], dtype=torch.float64)
    zero = residuals(poisson_1d(2), AutoDiff(), Points(x, boundary=x), lambda x: 0 * x)["equation"]
    assert float(-zero) == pytest.approx(4 * math.pi**2 * math.sin(0.6 * math.pi), rel=1e-14)
    zero = residuals(biharmonic_1d(), AutoDiff(), Points(x, boundary=x, normals=[[1.0]]), lambda x: 0 * x)["equation"]
    assert float(-zero) == pytest.approx(math.pi**4 * math.sin(0.3 * math.pi), rel=1e-14)
    xy = torch.tensor([[0.3, 0.2]], dtype=torch.float64)
    zero = residuals(helmholtz((1, 4), 2.0), AutoDiff(), Points(xy, boundary=xy, axes="xy"), lambda x: 0 * x[:, :1])
    strength = 4 - 17 * math.pi**2
    expected = strength * math.sin(0.3 * math.pi) * math.sin(0.8 * math.pi)
    assert float(-zero["equation"]) == pytest.approx(expected, rel=1e-13)


def test_the_right_sides_of_the_later_problems_are_those_of_their_docstrings():
    xy = torch.tensor([[0.3, 0.2]], dtype=torch.float64)
    corner = Points(xy, boundary=[[1.0, 0.2]], normals=[[1.0, 0.0]], axes="xy")
    zero = residuals(biharmonic_2d((1, 2)), AutoDiff(), corner, lambda x: 0 * x[:, :1])
    plate = 25 * math.pi**4 * math.sin(0.3 * math.pi) * math.sin(0.4 * math.pi)
    assert float(-zero["equation"]) == pytest.approx(plate, rel=1e-13)
    assert float(-zero["slope"]) == pytest.approx(math.pi * math.cos(math.pi) * math.sin(0.4 * math.pi), rel=1e-13)
    u = math.sin(0.6 * math.pi)
    x = xy[:, :1]
    zero = residuals(nonlinear_poisson_1d(2, 5.0), AutoDiff(), Points(x, boundary=x), lambda x: 0 * x)["equation"]
    assert float(-zero) == pytest.approx(4 * math.pi**2 * u + 5 * u**3, rel=1e-14)


def test_heat_decays_as_the_mode_says():
    late = heat(0.2, 2).solution(torch.tensor([[0.25, 0.5]], dtype=torch.float64))
    assert float(late) == pytest.approx(math.exp(-0.4 * math.pi**2), rel=1e-14)
    assert [condition.where for condition in heat().conditions] == ["boundary", "initial"]


# Bad input.


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: poisson_1d(1.5), "positive integer mode.*came 1.5"),
        (lambda: poisson_1d(0), "positive integer mode.*came 0"),
        (lambda: poisson_2d((1, -2)), "positive integer mode.*-2"),
        (lambda: helmholtz((1, 0.5)), r"positive integer modes.*came \(1, 0.5\)"),
        (lambda: helmholtz(wavenumber=math.pi * math.sqrt(5) / 2), "resonance"),
        (lambda: helmholtz(wavenumber=math.pi / math.sqrt(2)), "resonance"),
        (lambda: helmholtz(wavenumber=-1.0), r"k, not k\^2\) in \[0, 25 pi\].*came -1.0"),
        (lambda: helmholtz(wavenumber=1e9), "four points a wave, came 1000000000.0"),
        (lambda: helmholtz(wavenumber=math.nan), r"\[0, 25 pi\].*came nan"),
        (lambda: helmholtz(wavenumber=math.inf), r"\[0, 25 pi\].*came inf"),
        (lambda: helmholtz(wavenumber="1"), "a number for wavenumber, came '1'.*without quotes"),
        (lambda: heat("0.1"), "a number for diffusivity, came '0.1'"),
        (lambda: biharmonic_2d((1, 0)), r"2 positive integer modes.*came \(1, 0\)"),
        (lambda: heat(0.0), "diffusivity > 0.*came 0.0 with mode 1"),
        (lambda: heat(math.nan), "diffusivity > 0"),
        (lambda: heat(1.0, 4), "lasts until t = 1.*came 1.0 with mode 4"),
        (lambda: heat(0.1, 0), "positive integer mode"),
        (lambda: nonlinear_poisson_1d(1, -1.0), "strength >= 0.*came -1.0"),
        (lambda: nonlinear_poisson_2d((1, 1), math.inf), "finite strength"),
        (lambda: nonlinear_poisson_2d((1, 1.5)), "2 positive integer modes"),
    ],
)
def test_options_without_a_solution_are_refused(make, expected):
    with pytest.raises(ValueError, match=expected):
        make()


@pytest.mark.parametrize("wavenumber", [0.0, 1.0, math.pi / 2, 4.0])
def test_wavenumbers_beside_a_resonance_are_taken(wavenumber):
    assert helmholtz(wavenumber=wavenumber).settings["wavenumber"] == wavenumber


def test_points_with_other_axes_are_refused():
    with pytest.raises(ValueError, match=r"burgers has the axes x, t, the points have x, y.*problem.sample"):
        burgers().check(poisson_2d().sample(interior=4))


@pytest.mark.parametrize("kind", ["interior", "boundary", "initial"])
def test_points_outside_the_domain_are_refused(kind):
    problem = burgers()
    points = problem.sample(interior=4, boundary=4, initial=4)
    getattr(points, kind)[1, 0] = 1.5
    with pytest.raises(
        ValueError, match=rf"1 {kind} points lie outside the domain of burgers .*such as \[1.5"
    ) as caught:
        problem.check(points)
    assert "[(-1.0, 1.0), (0.0, 1.0)]" in str(caught.value)


def test_a_condition_without_points_is_refused():
    inside = Points([[0.5, 0.5]], axes="xt")
    with pytest.raises(ValueError, match="condition 'boundary' on 'boundary', the points have none"):
        burgers().check(inside)
    with pytest.raises(ValueError, match="no part 'x-'"):
        allen_cahn().check(inside)


def test_periodic_problems_pair_their_boundary_points():
    assert allen_cahn().domain.periodic == ("x",)
    assert Box(("x",), (0.0,), (1.0,)).periodic == ()
