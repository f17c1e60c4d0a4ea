"""Burgers: the formula against quadrature in 25 digits and extended precision, at every viscosity."""

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy.io import loadmat

from solvers.operators import FiniteDifference
from solvers.points import Points
from solvers.problems import burgers
from solvers.references.cole_hopf import FLOOR, burgers_recipe, cole_hopf

NU = 0.01 / math.pi


def quadrature(x, t, nu):
    """The transform in the variable y, by mpmath's tanh-sinh rule over panels around the peaks of the integrand.

    exp(-(cos(pi y) / (2 pi nu) + (x - y)^2 / (4 nu t))) has peaks near the odd y; all of them within reach count.
    """
    with mpmath.workdps(25):
        x, t, nu = mpmath.mpf(x), mpmath.mpf(t), mpmath.mpf(nu)

        def exponent(y):
            return -mpmath.cos(mpmath.pi * y) / (2 * mpmath.pi * nu) - (x - y) ** 2 / (4 * nu * t)

        reach = min(14 * mpmath.sqrt(2 * nu * t) + 2 * t, 40)
        panels = mpmath.linspace(x - reach, x + reach, 31)
        top = max(exponent(y) for y in panels)

        def weight(y):
            return mpmath.exp(exponent(y) - top)

        values = mpmath.quad(lambda y: -mpmath.sin(mpmath.pi * y) * weight(y), panels, method="gauss-legendre")
        return float(values / mpmath.quad(weight, panels, method="gauss-legendre"))


def places(nu):
    """Random points, some in the shock at x = 0, some at small times, where the weight is a needle."""
    rng = np.random.default_rng(7)
    x = np.r_[rng.uniform(-1, 1), nu * rng.uniform(-3, 3, 2), rng.uniform(-1, 1, 2)]
    t = np.r_[0.8, 0.4, 1.0, 1e-2, 1e-6]
    return x, t


@pytest.mark.parametrize("nu", [1e-3, NU, 10.0])
def test_it_is_the_exact_solution_also_in_the_shock_and_at_small_times(nu):
    x, t = places(nu)
    exact = np.array([quadrature(*place, nu) for place in zip(x, t, strict=True)])
    found = cole_hopf(x, t, nu)
    assert np.linalg.norm(found - exact) < 2 * FLOOR * np.linalg.norm(exact)
    assert np.abs(found - exact).max() < 1e-13
    assert np.abs(cole_hopf(x, t, 1.001 * nu) - exact).max() > 1e-6


@pytest.mark.parametrize("nu", [1e-3, NU, 0.1, 10.0])
def test_the_floor_holds_on_the_test_grid_at_every_viscosity(nu):
    if np.finfo(np.longdouble).eps > 1e-18:
        pytest.skip("long double is float64 here")
    x, t = burgers(nu).domain.grid((201, 51)).numpy()[::13].T
    exact = cole_hopf(x.astype(np.longdouble), t.astype(np.longdouble), nu, 1201)
    assert exact.dtype == np.longdouble
    error = np.linalg.norm(cole_hopf(x, t, nu) - exact) / np.linalg.norm(exact)
    assert 1e-17 < error < burgers(nu).solution_floor <= 1e-13


def test_the_solution_solves_the_equation_also_in_the_shock():
    problem, operator = burgers(), FiniteDifference(step=2e-3, order=4)
    x, t = np.meshgrid([-0.85, -0.3, 0.05, 0.3, 0.7], [0.2, 0.5, 0.9])
    inside = Points(np.stack([x.ravel(), t.ravel()], axis=1), axes="xt")
    jet = operator.plan(inside, problem.partials)(problem.solution)
    # The layer at x = 0 has a width of 2 nu: sixth derivatives are large there.
    assert float(problem.residual(jet, inside.interior, {}).abs().max()) < 1e-5
    points = problem.sample(interior=1, boundary=10, initial=10)
    for condition in problem.conditions:
        own = points.only(condition.where)
        jet = operator.plan(own, condition.partials)(problem.solution)
        assert float(condition.residual(jet, own.rows, own.normals, {}).abs().max()) < 1e-14


def test_cole_hopf_is_odd_and_starts_from_the_sine():
    x = np.linspace(-1, 1, 21)
    assert np.allclose(cole_hopf(x, np.zeros(21), NU), -np.sin(np.pi * x), rtol=0, atol=2e-15)
    values = cole_hopf(x, np.full(21, 0.7), NU)
    assert np.allclose(values, -values[::-1], rtol=0, atol=1e-14)
    assert cole_hopf(x.reshape(3, 7), np.zeros((3, 7)), NU).shape == (3, 7)


def test_the_refinement_converges_to_the_floor():
    rows = list(burgers_recipe().refine())
    assert rows[0].difference > 1e-5 > 1e-9 > rows[1].difference > 100 * FLOOR
    assert all(row.difference < FLOOR for row in rows[2:])
    assert [row.against for row in rows] == ["801 nodes"] * len(rows)


def test_variants_are_told_apart():
    keys = {burgers(nu).reference.key for nu in (NU, 0.01, 1e-3)}
    assert len(keys) == 3
    assert burgers().reference.key == burgers_recipe().key
    assert burgers().equation == "u_t + u u_x = 0.003183 u_xx"
    assert "0.01," not in burgers(0.01).equation and burgers(0.01).equation.endswith("= 0.01 u_xx")
    assert "Cole-Hopf" in burgers().floor_origin


def test_single_precision_points_are_taken_as_they_are():
    x = torch.tensor([[0.1, 0.7], [-0.01, 0.9]], dtype=torch.float32)
    assert torch.equal(burgers().solution(x), burgers().solution(x.double()))


@pytest.mark.parametrize("nu", [0.0, 9e-4, -1.0, 11.0, math.inf, math.nan])
def test_the_inviscid_equation_and_what_is_not_resolved_are_refused(nu):
    with pytest.raises(
        ValueError, match=rf"viscosity in \[1e-3, 10\].*801.*came {nu}; at 0 .* inviscid: it has no smooth"
    ):
        burgers(nu)


def test_the_public_file_is_ours(shared):
    file = loadmat(shared / "reference" / "public_files" / "r_burgers.mat")
    x, t = np.meshgrid(file["x"].ravel(), file["t"].ravel(), indexing="ij")
    ours = cole_hopf(x, t, NU)
    assert np.linalg.norm(ours - file["usol"]) / np.linalg.norm(file["usol"]) < 1e-11


@pytest.mark.parametrize("given", ["0.01", None, True, torch.tensor(0.01)])
def test_what_is_no_number_is_refused(given):
    with pytest.raises(ValueError, match=r"a number for viscosity, came .*: give one such as 0.5, without quotes"):
        burgers(given)
