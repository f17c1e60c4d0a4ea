"""Allen-Cahn's reference against other methods, closed forms, balances and others' files; the problem made of it."""

from __future__ import annotations

import math
import os
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import loadmat

from solvers import AutoDiff, FiniteDifference
from solvers.points import Points
from solvers.problems import allen_cahn
from solvers.references import allen_cahn_refinement
from solvers.references.allen_cahn import allen_cahn_recipe
from solvers.references.allen_cahn_cosines import AllenCahnCosines, extrapolated
from solvers.references.allen_cahn_elements import ElementsResolution, start
from solvers.references.allen_cahn_solution import AllenCahnSolution
from solvers.references.store import fetch

D, R = 1e-4, 5.0
COARSE = ElementsResolution(degree=14, stages=8)


@pytest.fixture(scope="module")
def u():
    return AllenCahnSolution(fetch(allen_cahn_recipe()), D)


def on_grid(x, t):
    return [each.ravel() for each in np.meshgrid(x, t)]


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


# Two methods.


def test_cosines_and_elements_agree_to_a_tenth_of_a_billionth(u):
    points = on_grid(np.linspace(0, 1, 101), np.linspace(0, 1, 11))
    witness = extrapolated(*points, D, 4096, 200)
    assert relative(u(*points), witness) < 1e-10


def test_cosines_and_elements_agree_in_the_layer(u):
    points = on_grid(1 - np.geomspace(1e-7, 0.02, 60), np.linspace(0, 0.1, 6)[1:])
    witness = extrapolated(*points, D, 8192, 20, end=0.1)
    assert np.abs(u(*points) - witness).max() < 1e-10


def test_cosines_alone_converge_as_modes_to_the_minus_two(u):
    points = on_grid(np.linspace(0, 1, 101), np.linspace(0.1, 1, 10))
    errors = [relative(AllenCahnCosines(D, modes, 200)(*points), u(*points)) for modes in (512, 1024, 2048)]
    assert np.diff(np.log2(errors)) == pytest.approx(-2, abs=0.05)


def test_cosines_interpolate_their_initial_values():
    x = np.arange(-8, 9) / 8
    found = AllenCahnCosines(D, modes=8, levels=2, end=0.1)(x, np.zeros(17))
    np.testing.assert_allclose(found, start(x), rtol=0, atol=1e-14)


def test_cosines_between_levels_take_one_more_step():
    x = np.linspace(-1, 1, 31)
    coarse, fine = AllenCahnCosines(D, 256, 50), AllenCahnCosines(D, 256, 100)
    between = np.full(31, 0.51)
    assert np.abs(coarse(x, between) - fine(x, between)).max() < 1e-5
    assert np.abs(coarse(x, between) - coarse(x, np.full(31, 0.5))).max() > 1e-3


def test_elements_converge_fast(u):
    points = on_grid(np.linspace(0, 1, 201), np.linspace(0, 1, 21))
    errors = [
        relative(AllenCahnSolution.solved(D, R, ElementsResolution(degree, stages))(*points), u(*points))
        for degree, stages in ((6, 4), (10, 6), (14, 10))
    ]
    assert errors[1] < errors[0] / 5 and errors[2] < errors[1] / 100 and errors[2] < 1e-8


def test_the_table_of_refinements_tells_how_far_each_is(monkeypatch):
    monkeypatch.setattr(allen_cahn_refinement, "FINE", COARSE)
    monkeypatch.setattr(allen_cahn_refinement, "USED", ElementsResolution(degree=18, stages=9))
    rows = list(islice(allen_cahn_refinement.refinements(D, R), 5))
    assert [row.resolution for row in rows[3:]] == ["elements, degree 18, 9 stages", "512 cosines, 400 ETDRK4 steps"]
    assert rows[0].difference > rows[1].difference > rows[2].difference > rows[3].difference / 10
    assert rows[4].difference == pytest.approx(5.5e-6, rel=0.02)
    assert all(row.seconds > 0 and row.against == "elements, degree 14, 8 stages" for row in rows)


@pytest.mark.parametrize("diffusion", [1e-6, 0.1])
def test_the_floor_holds_where_the_front_is_steepest_and_the_layer_widest(diffusion):
    """At the largest r; finer elements and steps, everywhere and at the ends of both."""
    recipe = allen_cahn_recipe(diffusion, 5.5)
    finer = ElementsResolution(degree=32, stages=18, thinnest=0.02)
    points = on_grid(np.linspace(0, 1, 101), np.linspace(0, 1, 51))
    kept, witness = AllenCahnSolution(fetch(recipe), diffusion), AllenCahnSolution.solved(diffusion, 5.5, finer)
    assert 1e-15 < relative(kept(*points), witness(*points)) < recipe.floor


# Closed forms.


def test_it_starts_exactly(u):
    x = np.linspace(-1, 1, 1001)
    np.testing.assert_array_equal(u(x, np.zeros(1001)), x**2 * np.cos(np.pi * x))
    assert np.abs(u(x, np.full(1001, 1e-14)) - start(x)).max() < 1e-8


@pytest.mark.parametrize("diffusion", [1e-6, 1e-4, 1e-2])
def test_the_kink_opens_as_the_expansion_for_small_times_says(diffusion):
    """With y = 1 - x: u0 = -1 + 2 y + (pi^2/2 - 1) y^2 - pi^2 y^3 + ..., and u - u^3 = -2 (u + 1) + ... near -1.

    The means of |y|, y^2 and |y|^3 under the heat kernel are 2 (D t / pi)^(1/2), 2 D t and 8 (D t)^(3/2) / pi^(1/2);
    the reaction multiplies the first by exp(-2 r t). What is left is of the order t^2.
    """
    solution = AllenCahnSolution.solved(diffusion, R, COARSE)
    t = np.array([1e-5, 1e-4, 1e-3])
    spread = np.sqrt(diffusion * t)
    known = (
        4 * spread / math.sqrt(math.pi) * (1 - 2 * R * t) + (math.pi**2 - 2) * spread**2 - 8 * math.pi**1.5 * spread**3
    )
    rest = solution(np.ones(3), t) + 1 - known
    assert np.abs(rest[1:]).max() < 60 * diffusion * 1e-6 + 120 * math.sqrt(diffusion) * 1e-3**2.5
    assert math.log10(abs(rest[2] / rest[1])) > 1.9
    assert abs(rest[0]) < 1e-9


def test_without_diffusion_it_is_an_ordinary_equation_at_each_place():
    """u' = r (u - u^3) has u = u0 e^(r t) / (1 + u0^2 (e^(2 r t) - 1))^(1/2); diffusion adds a term of order D."""
    x, t = np.array([0.1, 0.3, 0.6, 0.8]), np.full(4, 0.6)
    u0 = start(x)
    exact = u0 * math.exp(R * 0.6) / np.sqrt(1 + u0**2 * math.expm1(2 * R * 0.6))
    away = [AllenCahnSolution.solved(value, R, COARSE)(x, t) - exact for value in (1e-6, 4e-6)]
    np.testing.assert_allclose(away[1] / away[0], 4, rtol=0.01)


def test_a_slower_reaction_is_a_slower_clock():
    """u(x, t; D, r) = u(x, c t; D / c, r / c)."""
    x, t = on_grid(np.linspace(-1, 1, 21), np.linspace(0, 0.5, 6))
    slow, fast = (AllenCahnSolution.solved(c * 1e-3, c * 2.5, COARSE) for c in (1, 2))
    np.testing.assert_allclose(slow(x, 2 * t), fast(x, t), rtol=0, atol=1e-7)


# What the equation says.


def test_it_is_even_and_periodic(u):
    x, t = np.random.default_rng(0).random((2, 300))
    np.testing.assert_array_equal(u(-x, t), u(x, t))
    np.testing.assert_allclose(u(x + 2, t), u(x, t), rtol=0, atol=1e-13)
    np.testing.assert_allclose(u(x - 4, t), u(x, t), rtol=0, atol=2e-13)


@pytest.mark.parametrize(("diffusion", "reaction"), [(1e-6, 5.0), (1e-4, 5.0), (1e-2, 5.5), (0.1, 1.0)])
def test_mass_changes_by_the_reaction_alone(diffusion, reaction):
    """d/dt int u dx = r int (u - u^3) dx, by rules that are exact to rounding for smooth periodic functions."""
    recipe = allen_cahn_recipe(diffusion, reaction)
    solution = AllenCahnSolution(fetch(recipe), diffusion)
    x = np.linspace(0, 1, 4097 if diffusion < 1e-5 else 1025)
    rule = np.append(0.5, np.ones(len(x) - 1)) / (len(x) - 1)
    rule[-1] /= 2
    nodes, weights = np.polynomial.legendre.leggauss(24)
    values = [solution(x, np.full(len(x), t)) for t in 0.6 + 0.4 * nodes]
    gained = 0.4 * weights @ [reaction * rule @ (v - v**3) for v in values]
    late, early = (rule @ solution(x, np.full(len(x), t)) for t in (1.0, 0.2))
    assert late - early == pytest.approx(gained, abs=3e-12)


def test_energy_falls_by_the_square_of_the_speed(u):
    """E = int D u_x^2 / 2 + r (1 - u^2)^2 / 4 dx has dE/dt = -int u_t^2 dx."""
    x = np.arange(2048) / 1024 - 1
    wave = np.pi * np.arange(1025)

    def energy(t):
        values = u(x, np.full(len(x), t))
        slope = np.fft.irfft(1j * wave * np.fft.rfft(values))
        return (D * slope**2 / 2 + R * (1 - values**2) ** 2 / 4).mean()

    levels = [energy(t) for t in np.linspace(0.05, 1, 20)]
    assert (np.diff(levels) < 0).all()
    for t in (0.1, 0.5, 0.9):
        h = 1e-3
        rate = (8 * (energy(t + h) - energy(t - h)) - energy(t + 2 * h) + energy(t - 2 * h)) / (12 * h)
        ahead, behind = (u(x, np.full(len(x), t + sign * 1e-4)) for sign in (1, -1))
        assert rate == pytest.approx(-(((ahead - behind) / 2e-4) ** 2).mean(), rel=1e-5)


@pytest.mark.parametrize("t", [1e-7, 1e-5, 1e-3, 0.05, 0.7])
def test_differences_satisfy_the_equation_in_the_layer_and_outside(u, t):
    width = math.sqrt(4 * D * t)
    x = 1 - np.array([0.3 * width, width, 3 * width, 0.2, 0.497, 0.8])
    h, k = min(0.05 * width, 1e-3), 0.02 * t

    def at(along, later):
        return u(x + along * h, np.full(len(x), t + later * k))

    bending = (-at(2, 0) + 16 * at(1, 0) - 30 * at(0, 0) + 16 * at(-1, 0) - at(-2, 0)) / (12 * h**2)
    rate = (-at(0, 2) + 8 * at(0, 1) - 8 * at(0, -1) + at(0, -2)) / (12 * k)
    value = at(0, 0)
    scale = np.abs(rate).max() + 30 * np.finfo(float).eps * D / h**2
    # Away from the layer these steps are far too small for the curvature: 1e-16 / h^2.
    noise = 60 * np.finfo(float).eps * D / h**2
    assert np.abs(rate - D * bending - R * (value - value**3)).max() < 2e-5 * scale + noise


# The problem.


def test_the_problem_holds_by_differences():
    problem = allen_cahn()
    x = np.array([-0.93, -0.7, -0.5, -0.2, 0.0, 0.35, 0.52, 0.9])
    rows = torch.from_numpy(np.stack(on_grid(x, [0.25, 0.625, 0.9]), axis=1))
    jet = FiniteDifference(step=5e-4, order=4).plan(Points(rows, axes="xt"), problem.partials)(problem.solution)
    assert float(problem.residual(jet, rows, {}).abs().max()) < 1e-4
    start_of = problem.conditions[2]
    initial = torch.tensor([[0.3, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    assert float(start_of.residual({"": problem.solution(initial)}, initial, None, {}).abs().max()) == 0
    again = AutoDiff().plan(Points(rows, axes="xt"), problem.partials)(lambda z: z[:, :1] ** 2)
    assert float(problem.residual(again, rows, {}).detach().abs().max()) > 0.1


def test_the_slope_is_periodic_after_the_start():
    problem = allen_cahn()
    rows = torch.tensor([[-1.0, 0.5], [1.0, 0.5]], dtype=torch.float64)
    points = Points(rows[:1], rows, parts={"x-": torch.tensor([0]), "x+": torch.tensor([1])}, axes="xt")
    condition = problem.conditions[1]
    own = points.only(condition.where)
    jet = FiniteDifference(step=1e-4, order=4).plan(own, condition.partials)(problem.solution)
    assert float(condition.residual(jet, own.rows, own.normals, {}).abs().max()) < 1e-9


def test_settings_tell_the_variants_apart():
    plain, other = allen_cahn(), allen_cahn(1e-3, 2.0)
    assert plain.settings == {"diffusion": 1e-4} and other.settings == {"diffusion": 1e-3, "reaction": 2.0}
    assert plain.equation == "u_t = 0.0001 u_xx + 5 (u - u^3)" and len(plain.equation) <= 44
    assert plain.solution_floor == plain.reference.floor <= 1e-10
    assert len({plain.reference.key, other.reference.key, allen_cahn(1e-3).reference.key}) == 3


def test_what_is_kept_is_small():
    columns = allen_cahn_recipe(0.1, 1.0).compute()
    assert sum(values.nbytes for _, values, _ in columns.values()) < 200_000
    assert all({"units", "long_name"} <= set(attributes) for _, _, attributes in columns.values())
    assert all(len(dimensions) == values.ndim for dimensions, values, _ in columns.values())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: allen_cahn(5e-7), r"expected diffusion in \[1e-06, 0.1\], where .* came 5e-07"),
        (lambda: allen_cahn(2.0), r"diffusion in \[1e-06, 0.1\]"),
        (lambda: allen_cahn(math.nan), r"diffusion in \[1e-06, 0.1\].*came nan"),
        (lambda: allen_cahn(1e-4, 6.0), r"expected reaction in \[1, 5.5\].*came 6.0"),
        (lambda: allen_cahn(1e-4, -5.0), r"reaction in \[1, 5.5\]"),
        (lambda: allen_cahn("1e-4"), "a number for diffusion, came '1e-4': give one such as 0.5, without quotes"),
        (lambda: allen_cahn(1e-4, True), "a number for reaction, came True"),
    ],
)
def test_coefficients_outside_the_certified_range_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


# Others' files.


@pytest.fixture
def files():
    if not os.environ.get("PINNSCOPE_SHARED"):
        pytest.skip("PINNSCOPE_SHARED is not set: the public reference files are not at hand")
    return Path(os.environ["PINNSCOPE_SHARED"]) / "reference" / "public_files"


@pytest.mark.parametrize(("name", "distance"), [("rba_ac", 1.166e-5), ("j_ac", 1.572e-5), ("d_ac", None)])
def test_public_files_are_as_far_as_their_modes_are_few(files, u, name, distance):
    file = {key: values for key, values in loadmat(files / f"{name}.mat").items() if not key.startswith("_")}
    t = next(file[key].ravel() for key in ("t", "tt") if key in file)
    theirs = next(file[key] for key in ("usol", "uu", "u") if key in file)
    theirs = theirs if theirs.shape[0] == len(t) else theirs.T
    x, at = on_grid(file["x"].ravel(), t)
    ours = u(x, at)
    if distance is None:
        # Dirichlet values -1 and ten times the diffusion: another problem.
        assert relative(theirs.ravel(), ours) > 1e-2
        return
    assert relative(theirs.ravel(), ours) == pytest.approx(distance, rel=0.01)
    inner = np.abs(x) < 0.98
    assert np.linalg.norm((theirs.ravel() - ours)[~inner]) > 0.9 * np.linalg.norm(theirs.ravel() - ours)
