"""Korteweg-de Vries: the reference is as good as its floor, solves the equation and keeps what the equation keeps."""

import math
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
from solvers.problems.etdrk4 import etdrk4
from solvers.problems.kdv import LEVELS, STEPS, KdVReference

MU = 0.022


@pytest.fixture(scope="module")
def reference():
    return KdVReference(MU)


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
    # The other one, extrapolated, is as far from the solution again.
    assert norm(found - expected) < 1.5 * kdv().solution_floor * norm(expected)
    assert norm(coarse - expected) > 30 * kdv().solution_floor * norm(expected)


def test_time_steps_converge_to_order_four_down_to_the_floor(reference):
    steps = np.array([16, 32, 64])
    states = [KdVReference(MU, 256, levels=250, steps=int(each)).at(1.0) for each in steps]
    errors = np.array([norm(one - two) for one, two in pairwise(states)]) / norm(states[-1])
    assert np.log2(errors[0] / errors[1]) == pytest.approx(4.0, abs=0.3)
    # Order 4: the error of a step is 16/15 of the difference to half of it. It is the largest at the end.
    own = errors[1] * 16 / 15 * (250 * steps[1] / (LEVELS * STEPS)) ** 4
    assert own < 1.5 * kdv().solution_floor


def test_modes_converge_faster_than_any_power():
    fine, middle, coarse = (KdVReference(MU, modes, levels=100, steps=20).at(1.0) for modes in (384, 192, 96))
    errors = [norm(one[:48] - fine[:48]) / norm(fine) for one in (coarse, middle)]
    assert errors[1] < 1e-7 < 1e-3 < errors[0]


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


def test_off_the_levels_and_off_the_grid_it_is_as_good(reference):
    finer = KdVReference(MU, levels=2 * LEVELS, steps=STEPS // 2)
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, 60)
    # Middles of the levels, the first and last included, where the polynomial is one-sided.
    t = (2 * np.r_[0, LEVELS - 1, rng.integers(0, LEVELS, 58)] + 1) / (2 * LEVELS)
    assert np.abs(reference(x, t) - finer(x, t)).max() < 1e-12
    assert np.abs(reference(x, t) - reference(x, np.round(t * LEVELS) / LEVELS)).max() > 1e-3


def test_values_come_in_the_order_of_the_points(reference):
    x, t = np.array([0.3, -0.8, 0.3, 0.1, -0.8]), np.array([0.5, 0.123, 0.25, 0.5, 0.5])
    alone = [reference(x[i : i + 1], t[i : i + 1])[0] for i in range(5)]
    assert reference(x, t) == pytest.approx(alone, abs=1e-14)
    assert len(set(np.round(alone, 6))) == 5


def test_it_starts_from_the_cosine_and_stays_periodic(reference):
    x = np.linspace(-1, 1, 33)
    assert reference(x, np.zeros(33)) == pytest.approx(np.cos(np.pi * x), abs=1e-14)
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


def test_etdrk4_takes_a_complex_linear_part():
    """v' = i w v + 1 from 0 is (e^(i w t) - 1) / (i w), near w = 0 and far from it; v' = i w v - i v turns at w - 1."""
    linear = 1j * np.array([500.0, 1.0, 1e-9])
    *_, last = etdrk4(linear, np.ones_like, np.zeros(3, complex), 0.1, 10)
    assert np.allclose(last, np.expm1(linear) / linear, rtol=0, atol=1e-13)
    errors = []
    for steps in (10, 20, 40):
        *_, last = etdrk4(1j * np.array([3.0]), lambda v: -1j * v, np.ones(1, complex), 1 / steps, steps)
        errors.append(abs(last[0] - np.exp(2j)))
    assert math.log2(errors[1] / errors[2]) == pytest.approx(4.0, abs=0.2)


def test_etdrk4_keeps_real_states_real():
    *_, last = etdrk4(np.array([-1.0, 2.0]), np.sin, np.ones(2), 0.1, 2)
    assert last.dtype == np.float64


@pytest.mark.parametrize("dispersion", [0.0, -0.022, 0.0219, 0.11, math.nan])
def test_dispersion_outside_what_was_measured_is_refused(dispersion):
    with pytest.raises(ValueError, match=rf"dispersion in \[0.022, 0.1\].*came {dispersion}; .*square before u_xxx"):
        kdv(dispersion)


def test_the_public_file_is_ours(shared, reference):
    file = loadmat(shared / "reference" / "public_files" / "j_kdv.mat")
    x, t, theirs = file["x"].ravel(), file["t"].ravel(), file["usol"]
    theirs = theirs if theirs.shape == (len(x), len(t)) else theirs.T
    each, when = np.meshgrid(x, t[::10], indexing="ij")
    ours = reference(each.ravel(), when.ravel()).reshape(each.shape)
    assert norm(ours - theirs[:, ::10]) < 1e-10 * norm(ours)
