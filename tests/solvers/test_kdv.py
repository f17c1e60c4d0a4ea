"""Korteweg-de Vries: the reference is as good as its floor, solves the equation and keeps what the equation keeps."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.fft import irfft, rfft
from scipy.io import loadmat

from solvers import MLP, TangentProp
from solvers.objective import Objective
from solvers.points import Points
from solvers.problems import kdv
from solvers.references.kdv import FLOOR, STEPS, chebyshev_in_time, extrapolated, kdv_recipe, march, packed
from solvers.references.kdv_refinement import distance, integrating_factor
from solvers.references.kdv_solution import KdVSolution
from solvers.references.store import fetch

MU = 0.022


@pytest.fixture(scope="module")
def reference():
    return KdVSolution(fetch(kdv_recipe(MU))["coefficients"])


def norm(values):
    return np.linalg.norm(values)


def turned_frame(steps, modes=320):
    """Another integrator, every tenth of the time: classical Runge-Kutta in the frame that the linear part turns."""
    wave = np.pi * np.arange(modes // 2 + 1)
    wave[-1] = 0
    half, factor = np.exp(0.5j * MU**2 * wave**3 / steps), -0.5j * wave / steps
    state, rows = rfft(np.cos(np.pi * grid_of(modes))), []

    def slope(state):
        return factor * rfft(irfft(state) ** 2)

    for number in range(1, steps + 1):
        first, turned = half * slope(state), half * state
        second = slope(turned + first / 2)
        third = slope(turned + second / 2)
        state = half * (turned + (first + 2 * second + 2 * third) / 6) + slope(half * (turned + third)) / 6
        if number % (steps // 10) == 0:
            rows.append(irfft(state))
    return np.array(rows)


def grid_of(modes):
    return -1 + 2 * np.arange(modes) / modes


def test_the_floor_holds_against_another_integrator(reference):
    coarse, fine = turned_frame(12_000), turned_frame(24_000)
    expected = fine + (fine - coarse) / 15
    grid = grid_of(320)
    found = np.array([reference(grid, np.full(320, tenth / 10)) for tenth in range(1, 11)])
    # The other one, extrapolated, is 7e-12 from the solution at the end, and much nearer before.
    assert norm((found - expected)[:6]) < FLOOR * norm(expected[:6])
    assert norm(found - expected) < 5 * FLOOR * norm(expected)
    assert norm(coarse - expected) > 100 * FLOOR * norm(expected)
    assert kdv().solution_floor == FLOOR


def test_time_steps_converge_to_order_four_down_to_the_floor():
    steps = np.array([3000, 6000, 12000])
    states = [march(MU, 256, each, 1)[1:] for each in steps]
    apart = np.array([distance(*pair) for pair in pairwise(states)])
    assert np.log2(apart[0] / apart[1]) == pytest.approx(4.0, abs=0.3)
    # Order 4: the error of a march is 16/15 of its difference from steps half as long. Extrapolated, it is less by far.
    own = apart[1] / 15 * (12000 / STEPS) ** 4
    assert FLOOR < own < 10 * FLOOR
    better = [extrapolated(*pair) for pair in pairwise(states)]
    assert distance(*better) < 0.3 * apart[1]


def test_extended_precision_agrees_while_the_waves_form():
    if np.finfo(np.longdouble).eps > 1e-18:
        pytest.skip("long double is float64 here")
    ours, theirs = (march(0.1, 128, 1500, 5, precision) for precision in (np.float64, np.longdouble))
    assert theirs.dtype == np.clongdouble
    assert 1e-16 < distance(ours, theirs.astype(complex)) < 5e-13


def test_the_method_of_order_eight_agrees():
    theirs = integrating_factor(0.05, 96, 1e-9)
    ours = march(0.05, 96, 3000, 10)[1:]
    assert theirs.shape == ours.shape
    assert distance(theirs, ours) < 1e-8
    assert distance(integrating_factor(0.05, 96, 1e-6), ours) > 3e-8


def test_the_refinement_shows_the_floor(monkeypatch):
    """With a hundredth of the steps and fewer modes: rows come in order, and what is finer is nearer."""
    import solvers.references.kdv_refinement as refinement

    monkeypatch.setattr(refinement, "STEPS", 2400)
    monkeypatch.setattr(refinement, "MODES", 128)
    monkeypatch.setattr(refinement, "integrating_factor", lambda mu, modes, tolerance: march(mu, modes, 600, 10)[1:])
    rows = list(kdv_recipe(0.1).refine())
    assert [row.resolution for row in rows[:3]] == [f"128 modes, {steps} steps" for steps in (600, 1200, 2400)]
    assert rows[0].difference > 10 * rows[1].difference > 100 * rows[2].difference
    assert [row.against for row in rows[3:6]] == ["128 modes"] * 3
    assert rows[3].difference == 0.0
    assert rows[-1].resolution.endswith("tolerance 1e-13")
    assert rows[-1].difference == rows[0].difference
    assert all(0 < row.seconds < 60 for row in rows)


def test_modes_converge_faster_than_any_power():
    fine, middle, coarse = (march(MU, modes, 2000, 1)[1:, :48] for modes in (384, 192, 96))
    errors = [norm(one - fine) / norm(fine) for one in (coarse, middle)]
    assert errors[1] < 1e-7 < 1e-3 < errors[0]


def test_what_is_kept_is_what_was_computed():
    """The polynomials in time, rounded and cut, against the levels that they were made of and those between."""
    levels = march(MU, 256, 4000, 800)
    pairs = packed(chebyshev_in_time(levels[::2]))
    solution, x = KdVSolution(pairs), np.linspace(-1, 1, 9)
    assert pairs.dtype == np.float64 and pairs.shape[0] < 110
    for level in (0, 1, 2, 154, 401, 799, 800):
        exact = (np.exp(1j * np.pi * np.outer(x, np.arange(129))) @ levels[level]).real
        assert np.abs(solution(x, np.full(9, level / 800)) - exact).max() < 1e-13
        assert np.abs(solution(x, np.full(9, abs(level - 1) / 800)) - exact).max() > 1e-6


def test_the_recipe_tells_variants_apart_and_its_array_is_small(reference):
    assert kdv_recipe(0.022).key == kdv().reference.key != kdv(0.03).reference.key
    assert replace(kdv_recipe(), version=2).key != kdv_recipe().key
    assert reference.coefficients.size < 20_000
    assert kdv().equation == "u_t + u u_x + 0.022^2 u_xxx = 0"


def test_mass_energy_and_hamiltonian_stay(reference):
    x = np.arange(512) / 256 - 1
    wave = np.pi * np.fft.rfftfreq(512, 1 / 512)
    kept = []
    for time in (0.0, 0.318, 0.5, 0.77, 1.0):
        u = reference(x, np.full(512, time))
        slope = irfft(1j * wave * rfft(u))
        kept.append((u.mean(), (u**2).mean(), (u**3 / 3 - MU**2 * slope**2).mean()))
    mass, energy, hamiltonian = np.array(kept).T
    assert np.abs(mass).max() < 1e-13
    assert energy == pytest.approx(np.full(5, 0.5), rel=1e-11)
    assert hamiltonian == pytest.approx(np.full(5, -(MU**2) * math.pi**2 / 2), rel=1e-8)


def test_the_reference_solves_the_equation(reference):
    """Derivatives from a polynomial in x and one in t through scattered values: neither modes nor time steps."""
    span = np.polynomial.chebyshev.chebpts1(21)
    fit = np.polynomial.chebyshev.Chebyshev.fit
    for x, t in ((-0.71, 0.2), (0.63, 0.45), (0.0, 0.66), (0.3, 0.9)):
        in_x = fit(x + 0.035 * span, reference(x + 0.035 * span, np.full(21, t)), 20, domain=[x - 0.035, x + 0.035])
        in_t = fit(t + 0.02 * span, reference(np.full(21, x), t + 0.02 * span), 20, domain=[t - 0.02, t + 0.02])
        parts = np.array([in_t.deriv()(t), in_x(x) * in_x.deriv()(x), MU**2 * in_x.deriv(3)(x)])
        assert abs(parts.sum()) < 1e-6 * np.abs(parts).max()
        assert np.abs(parts).max() > 0.4


def test_values_come_in_the_order_of_the_points(reference):
    x, t = np.array([0.3, -0.8, 0.3, 0.1, -0.8]), np.array([0.5, 0.123, 0.25, 0.5, 0.5])
    alone = [reference(x[i : i + 1], t[i : i + 1])[0] for i in range(5)]
    assert reference(x, t) == pytest.approx(alone, abs=1e-14)
    assert len(set(np.round(alone, 6))) == 5


def test_it_starts_from_the_cosine_and_stays_periodic(reference):
    x = np.linspace(-1, 1, 33)
    assert reference(x, np.zeros(33)) == pytest.approx(np.cos(np.pi * x), abs=1e-13)
    ends = reference(np.array([-1.0, 1.0]), np.array([0.9, 0.9]))
    assert ends[0] == pytest.approx(ends[1], abs=1e-13)


def test_before_the_steepening_dispersion_is_a_perturbation(reference):
    """At mu = 0 the characteristics give u = cos(pi (x - u t)); the difference is O(mu^2 t)."""
    x, t = np.linspace(-0.9, 0.9, 7), np.full(7, 0.05)
    u = reference(x, t)
    assert 1e-5 < np.abs(u - np.cos(np.pi * (x - u * t))).max() < 20 * MU**2 * 0.05 * math.pi**3


def test_the_problem_reads_equation_and_conditions_from_its_docstring():
    problem = kdv(0.1)
    x = torch.tensor([[0.3, 0.2]], dtype=torch.float64)
    points = Points(x, [[-1.0, 0.2], [1.0, 0.2]], [[0.3, 0.0]], None, None, {"x-": [0], "x+": [1]}, axes="xt")

    def cubic(x):
        return x[:, :1] ** 3 + 2 * x[:, :1] ** 2 + 5 * x[:, 1:]

    values = problem.residual(TangentProp().plan(points.only("interior"), problem.partials)(cubic), x, {})
    u = 0.027 + 0.18 + 1.0
    assert float(values) == pytest.approx(5 + u * (0.27 + 1.2) + 0.06, rel=1e-13)
    found = {}
    for condition in problem.conditions:
        own = points.only(condition.where)
        jet = TangentProp().plan(own, condition.partials)(cubic)
        found[condition.name] = float(condition.residual(jet, own.rows, own.normals, {}))
    expected = {"periodic": 2.0, "periodic_x": 8.0, "periodic_xx": 12.0, "initial": 0.207 - math.cos(0.3 * math.pi)}
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_network_can_be_trained_on_it():
    problem = kdv()
    objective = Objective(problem, MLP(2, [8]).double(), TangentProp(), problem.sample(interior=9, boundary=6))
    assert torch.isfinite(objective(objective.vector).gradient).all()


@pytest.mark.parametrize("dispersion", [0.0, -0.022, 0.0219, 0.11, math.nan])
def test_dispersion_outside_what_was_measured_is_refused(dispersion):
    with pytest.raises(ValueError, match=rf"dispersion in \[0.022, 0.1\].*came {dispersion}; .*square before u_xxx"):
        kdv(dispersion)
    with pytest.raises(ValueError, match=r"a number for dispersion, came '0\.022'"):
        kdv("0.022")


def test_the_public_file_is_ours(shared, reference):
    file = loadmat(shared / "reference" / "public_files" / "j_kdv.mat")
    x, t, theirs = file["x"].ravel(), file["t"].ravel(), file["usol"]
    theirs = theirs if theirs.shape == (len(x), len(t)) else theirs.T
    each, when = np.meshgrid(x, t[::10], indexing="ij")
    ours = reference(each.ravel(), when.ravel()).reshape(each.shape)
    assert norm(ours - theirs[:, ::10]) < 1e-10 * norm(ours)
