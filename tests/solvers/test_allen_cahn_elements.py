"""What the reference of Allen-Cahn's equation is made of: elements, Radau steps, rounded kinks, piecewise series."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.polynomial import legendre

from solvers.references.allen_cahn_elements import ElementsResolution
from solvers.references.allen_cahn_solution import AllenCahnSolution
from solvers.references.kink import rounded_kinks, rounding
from solvers.references.piecewise import PiecewiseLegendre
from solvers.references.radau import RadauStepper, radau
from solvers.references.spectral_elements import SpectralElements, differentiation, lobatto

EDGES = np.array([0.0, 0.3, 0.35, 1.0])


def nothing(v, t):
    return np.zeros_like(v)


# Elements.


@pytest.mark.parametrize("degree", [1, 5, 24])
def test_lobattos_rule_is_exact_to_twice_the_degree_less_one(degree):
    nodes, weights = lobatto(degree)
    moments = [weights @ nodes**power for power in range(2 * degree + 1)]
    exact = [2 / (power + 1) if power % 2 == 0 else 0 for power in range(2 * degree + 1)]
    np.testing.assert_allclose(moments[:-1], exact[:-1], rtol=0, atol=3e-15)
    assert abs(moments[-1] - exact[-1]) > 1e-15
    assert nodes[0] == -1 and nodes[-1] == 1 and (np.diff(nodes) > 0).all()


def test_slopes_of_polynomials_are_exact():
    nodes, _ = lobatto(20)
    slopes = differentiation(nodes) @ legendre.legval(nodes, np.arange(21.0))
    np.testing.assert_allclose(slopes, legendre.legval(nodes, legendre.legder(np.arange(21.0))), rtol=1e-11)


def test_the_band_is_the_matrix_of_mass_and_stiffness():
    mesh = SpectralElements(EDGES, 4)
    n, p = len(mesh.nodes), mesh.degree
    band = mesh.band(2j * mesh.mass, 3.0 + 0j)
    i, j = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    dense = np.where(np.abs(i - j) <= p, band[np.clip(2 * p + i - j, 0, 3 * p), j], 0)
    np.testing.assert_allclose(dense, 2j * np.diag(mesh.mass) + 3 * mesh.stiffness(np.eye(n)).T, rtol=1e-12, atol=1e-10)
    assert mesh.mass.sum() == pytest.approx(1, rel=1e-14)
    assert mesh.nodes @ mesh.stiffness(mesh.nodes**2) == pytest.approx(1, rel=1e-12)


# Steps.


def test_three_stages_are_those_of_hairer_and_wanner():
    nodes, matrix = radau(3)
    root = math.sqrt(6)
    known = [
        [(88 - 7 * root) / 360, (296 - 169 * root) / 1800, (-2 + 3 * root) / 225],
        [(296 + 169 * root) / 1800, (88 + 7 * root) / 360, (-2 - 3 * root) / 225],
        [(16 - root) / 36, (16 + root) / 36, 1 / 9],
    ]
    np.testing.assert_allclose(nodes, [(4 - root) / 10, (4 + root) / 10, 1], rtol=1e-14)
    np.testing.assert_allclose(matrix, known, rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("stages", [2, 3])
def test_steps_converge_to_twice_the_stages_less_one(stages):
    """v' = v (1 - v) from 1/3, the same everywhere: v = 1 / (1 + 2 e^-t)."""
    mesh = SpectralElements(EDGES, 3)
    stepper = RadauStepper(mesh, 0.1, lambda v, t: v * (1 - v), lambda v, t: 1 - 2 * v, stages)

    def error(count):
        state = np.full(len(mesh.nodes), 1 / 3)
        for number in range(count):
            state = stepper.step(state, 2 * number / count, 2 / count)[-1]
        return np.abs(state - 1 / (1 + 2 * math.exp(-2))).max()

    errors = [error(count) for count in (4, 8, 16)]
    assert math.log2(errors[1] / errors[2]) == pytest.approx(2 * stages - 1, abs=0.3)


def test_a_source_in_time_and_diffusion_are_exact_to_rounding():
    """v = cos(pi x) sin t with f = cos(pi x) (cos t + D pi^2 sin t)."""
    mesh, diffusion = SpectralElements(EDGES, 16), 0.05
    wave = np.cos(np.pi * mesh.nodes)

    def source(v, t):
        return wave * (np.cos(t) + diffusion * np.pi**2 * np.sin(t))

    stepper = RadauStepper(mesh, diffusion, source, nothing, 10)
    times = 0.4 + 0.8 * stepper.nodes
    found = stepper.step(wave * math.sin(0.4), 0.4, 0.8)
    np.testing.assert_allclose(found, np.outer(np.sin(times), wave), rtol=0, atol=2e-13)


def test_a_step_too_long_for_newton_is_an_error():
    mesh = SpectralElements(EDGES, 3)
    stepper = RadauStepper(mesh, 1.0, lambda v, t: np.exp(v), lambda v, t: np.exp(v), 3)
    with np.errstate(all="ignore"), pytest.raises(ArithmeticError, match="take shorter steps"):
        stepper.step(np.zeros(len(mesh.nodes)), 0.0, 30.0)


# The kink.


def test_a_rounded_kink_is_the_mean_of_its_distance_under_the_heat_kernel():
    """w(y, t) is the mean of |y + sqrt(2 D t) z| over normal z."""
    spread, distance = 0.3, np.array([0.0, 0.1, 0.5, 2.0])
    z = np.linspace(-12, 12, 240001)
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    mean = [np.abs(y + spread / math.sqrt(2) * z) @ density - y for y in distance]
    np.testing.assert_allclose(rounding(distance, np.array(spread)), mean, rtol=0, atol=1e-8)
    assert rounding(np.array([0.0, 1.0]), np.array(0.0)).tolist() == [0.0, 0.0]


def test_far_kinks_count_where_diffusion_reaches_them():
    """-x^2 / 2, 2-periodic, has these kinks: its heat flow is -x^2 / 2 - D t + K, and a cosine series."""
    x, k = np.linspace(-1, 1, 9), np.arange(1, 40)[:, None]
    for spread in (0.05, 1.0, 3.0):
        damped = (-1.0) ** k / k**2 * np.cos(k * np.pi * x) * np.exp(-((k * np.pi) ** 2) * spread)
        series = -1 / 6 - 2 / np.pi**2 * damped.sum(axis=0)
        np.testing.assert_allclose(rounded_kinks(x, spread, 1.0) - x**2 / 2 - spread, series, rtol=0, atol=2e-14)


def test_without_reaction_it_is_the_heat_equation():
    """x^2 cos(pi x) has a closed cosine series, from int x^2 cos(m pi x) = 4 (-1)^m / (m pi)^2 over (-1, 1)."""
    diffusion = 0.003
    u = AllenCahnSolution.solved(diffusion, 0.0, ElementsResolution(degree=20, stages=12))
    k = np.arange(2, 200.0)
    rest = 2 * (-1) ** (k + 1) / np.pi**2 * (1 / (k - 1) ** 2 + 1 / (k + 1) ** 2)
    series = np.concatenate([[-2 / np.pi**2, 1 / 3 + 1 / (2 * np.pi**2)], rest])
    x, t = np.linspace(-1, 1, 41), 0.2
    modes = np.cos(np.pi * np.outer(x, np.arange(200))) * np.exp(-diffusion * (np.pi * np.arange(200)) ** 2 * t)
    np.testing.assert_allclose(u(x, np.full(41, t)), modes @ series, rtol=0, atol=2e-12)


# Piecewise series.


@pytest.fixture
def pieces():
    rng = np.random.default_rng(3)
    blocks = rng.standard_normal((2, 3, 4, 5)) * 10.0 ** -np.arange(0, 15, 3)
    blocks[1, 2] = 0
    blocks[0, 1, :, 1] = 0
    return blocks


def kept(blocks, tolerance):
    columns = PiecewiseLegendre.columns([0.0, 0.5, 2.0], [0.0, 0.1, 0.2, 1.0], blocks, tolerance)
    return PiecewiseLegendre({name: values for name, (_, values, _) in columns.items()})


def test_every_rectangle_has_its_own_series(pieces):
    whole = kept(pieces, 0.0)
    x, t = np.array([0.05, 0.13, 0.7, 0.7, 0.0, 1.0]), np.array([0.1, 0.4, 0.2, 1.0, 2.0, 0.0])
    local = np.array([0.0, -0.4, 0.25, 0.25, -1.0, 1.0]), np.array([-0.6, 0.6, -0.2, -1 / 3, 1.0, -1.0])
    where = [(0, 0), (0, 1), (0, 2), (1, 2), (1, 0), (0, 2)]
    expected = [legendre.legval2d(b, a, pieces[place]) for a, b, place in zip(*local, where, strict=True)]
    np.testing.assert_allclose(whole(x, t), expected, rtol=0, atol=1e-14)
    assert whole(np.empty(0), np.empty(0)).shape == (0,)


def test_what_is_left_out_changes_no_more_than_its_sum(pieces):
    some, whole = kept(pieces, 1e-7), kept(pieces, 0.0)
    assert len(some.coefficients) < 0.8 * len(whole.coefficients)
    x, t = np.random.default_rng(0).random((2, 500)) * [[1], [2]]
    change = np.abs(some(x, t) - whole(x, t)).max()
    assert 0 < change < 20 * 1e-7


def test_the_mesh_reaches_down_to_the_layer():
    edges, times = ElementsResolution().edges(1e-4), ElementsResolution().times
    assert edges[0] == 0 and edges[-1] == 1 and (np.diff(edges) > 0).all()
    assert np.diff(edges)[-1] <= 0.05 * math.sqrt(1e-4)
    assert times[0] == 0 and times[1] <= 1e-6 and times[-1] == 1 and (np.diff(times) > 0).all()
