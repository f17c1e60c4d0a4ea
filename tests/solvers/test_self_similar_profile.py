"""Exact self-similar profiles against 60-digit arithmetic, and the double-double numbers that they are made of."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest

from solvers.problems.double_double import DoubleDouble
from solvers.problems.self_similar_profile import SelfSimilarProfile

EVERYWHERE = [0, 5e-324, 1e-300, 1e-30, 1e-8, 1e-3, 0.1, 0.385, 0.55, 0.62, 0.7, 1.0, 1.3, 2.0, 3.0, 1e3, 1e6]


def taylor(x, p, order):
    """Normalised coefficients of U at x >= 0 by bisection and Lagrange's inversion, in 60 digits."""
    with mpmath.workdps(60):
        x, p = mpmath.mpf(x), mpmath.mpf(p)
        V = x
        if x > 0:
            low, high = min(x / 2, (x / 2) ** (1 / p)) / 2, min(x, x ** (1 / p)) * 2
            for _ in range(240):
                V = (low + high) / 2
                low, high = (V, high) if V + V**p < x else (low, V)
        zero = [mpmath.mpf(int(i == p)) for i in range(order + 2)]
        f = zero if V == 0 else [mpmath.binomial(p, i) * V ** (p - i) for i in range(order + 2)]
        f = [f[1] + 1, *f[2:]]
        inverse = [1 / f[0]]
        for n in range(1, order + 1):
            inverse.append(-sum(f[i] * inverse[n - i] for i in range(1, n + 1)) / f[0])
        found, power = [-V], [mpmath.mpf(1)] + [mpmath.mpf(0)] * order
        for j in range(1, order + 1):
            power = [sum(power[i] * inverse[n - i] for i in range(n + 1)) for n in range(order + 1)]
            found.append(-power[j - 1] / j)
        return found


def relative(found, expected):
    """The relative error; 0 where both are below what float64 holds in full."""
    with mpmath.workdps(60):
        if abs(expected) < 1e-290:
            return 0.0 if abs(found) < 1e-290 else 1.0
        return float(abs((mpmath.mpf(float(found)) - expected) / expected))


@pytest.mark.parametrize("p", [3, 5, 9, 15, 4, 8])
def test_values_and_derivatives_are_right_to_the_last_digit_everywhere(p):
    found = SelfSimilarProfile(p).coefficients(EVERYWHERE, 24)
    for at, x in enumerate(EVERYWHERE):
        for j, expected in enumerate(taylor(x, p, 24)):
            if x == 0 and p % 2 == 0 and j >= p:
                assert np.isnan(found[j, at])
            else:
                assert relative(found[j, at], expected) < 2.5e-16, (x, j)


@pytest.mark.parametrize("p", [2.2, 3.5, 7.3, 9.01])
def test_profiles_between_the_smooth_ones_lose_only_what_cancels(p):
    points = [1e-3, 0.1, 0.3, 0.5, 0.8, 1.0, 2.0, 50.0, 1e6]
    found = SelfSimilarProfile(p).coefficients(points, 18)
    for at, x in enumerate(points):
        for j, expected in enumerate(taylor(x, p, 18)):
            assert relative(found[j, at], expected) < (5e-16 if j == 0 else 2e-12), (x, j)


def test_single_orders_are_derivatives_and_odd_or_even():
    U, x = SelfSimilarProfile.smooth(1), np.array([[0.3, 1.7], [-0.3, -1.7]])
    rows = U.coefficients(x, 5)
    assert rows.shape == (6, 2, 2)
    for order in range(6):
        assert np.array_equal(U(x, order), rows[order] * float(mpmath.factorial(order)))
        assert np.array_equal(rows[order, 1], (-1) ** (order + 1) * rows[order, 0])
    assert U([-2.0, 2.0]).tolist() == [1.0, -1.0]
    assert float(U(2.0, 1)) == -1 / 6
    assert not np.signbit(U(0.0)) and U(np.empty(0)).shape == (0,)


def test_the_profile_solves_its_equation():
    x = np.linspace(-2, 2, 101)
    for U in (SelfSimilarProfile.smooth(2), SelfSimilarProfile.of(0.3), SelfSimilarProfile.of(1 / 5)):
        assert np.allclose(((1 + U.lam) * x + U(x)) * U(x, 1), U.lam * U(x), rtol=0, atol=4e-16)


def test_derivatives_at_0_end_where_the_profile_has_its_kink():
    trap = SelfSimilarProfile.of(1 / 5)
    assert trap.exponent == 6 and not trap.is_smooth
    assert np.array_equal(trap.coefficients(0.0, 7), [0, -1, 0, 0, 0, 0, np.nan, np.nan], equal_nan=True)
    tiny = 1e-12
    assert np.allclose(trap.coefficients([tiny, -tiny], 6)[6], [1, -1], rtol=1e-9)
    between = SelfSimilarProfile.of(0.4)
    assert np.array_equal(between.coefficients(0.0, 4), [0, -1, 0, 0, np.nan], equal_nan=True)
    assert between(tiny, 4) == pytest.approx(3.5 * 2.5 * 1.5 * 0.5 * tiny**-0.5, rel=1e-6)


@pytest.mark.parametrize(("k", "noted"), [(0, 0.385), (1, 0.535), (2, 0.62), (3, 0.675)])
def test_the_radius_is_where_the_slope_of_x_vanishes(k, noted):
    U = SelfSimilarProfile.smooth(k)
    p = U.exponent
    at = (-1 / p + 0j) ** (1 / (p - 1))
    assert abs(1 + p * at ** (p - 1)) < 1e-14
    assert abs(abs(at + at**p) - U.radius) < 1e-15 and U.radius == pytest.approx(noted, abs=2.5e-3)


@pytest.mark.parametrize(("k", "tolerance"), [(0, 4e-3), (1, 1e-2), (2, 2e-2)])
def test_the_coefficients_at_0_grow_as_the_radius_of_convergence_says(k, tolerance):
    # A square root there: c_i ~ i^(-3/2) radius^(-i (p - 1)).
    U = SelfSimilarProfile.smooth(k)
    stride = 2 * k + 2
    last = 23 // stride
    series = U.coefficients(0.0, 24)[1::stride]
    ratio = abs(series[last] / series[last - 1]) * (last / (last - 1)) ** 1.5
    assert ratio ** (-1 / stride) == pytest.approx(U.radius, rel=tolerance)


def test_lambda_and_exponent_belong_together():
    assert all(SelfSimilarProfile.of(1 / n).exponent == n + 1 for n in range(1, 200))
    assert SelfSimilarProfile.smooth(3).lam == 1 / 8 and SelfSimilarProfile.of(0.3).exponent == 1 + 1 / 0.3
    assert [SelfSimilarProfile(p).is_smooth for p in (3, 4, 4.5, 5.0)] == [True, False, False, True]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: SelfSimilarProfile(1.0), r"p = 1 \+ 1/lambda above 1, came 1.0: give lambda > 0"),
        (lambda: SelfSimilarProfile(np.nan), "came nan"),
        (lambda: SelfSimilarProfile.smooth(-1), "expected k = 0, 1, 2, ..., came -1"),
        (lambda: SelfSimilarProfile.smooth(0.5), "came 0.5"),
        (lambda: SelfSimilarProfile.of(0.0), "positive lambda, came 0.0: smooth profiles have 1/2"),
        (lambda: SelfSimilarProfile.smooth(0)(1.0, 25), "order from 0 to 24, came 25"),
        (lambda: SelfSimilarProfile.smooth(0).coefficients(1.0, -1), "order from 0 to 24, came -1"),
        (lambda: SelfSimilarProfile.smooth(0)([0.0, np.inf, np.nan]), "finite points, came 2 that are not: remove"),
    ],
)
def test_what_is_no_profile_is_refused(call, expected):
    with pytest.raises(ValueError, match=expected):
        call()


def test_double_doubles_are_exact_to_a_hundred_bits():
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b = (Fraction(float(rng.standard_normal())) / 3 for _ in range(2))
        x, y = DoubleDouble.of(a), DoubleDouble.of(b)
        pairs = [(x, a), (x * y, a * b), (x + y, a + b), (x.reciprocal(), 1 / a), (x**7, a**7), (x * 3.0 + 0.1, None)]
        for z, exact in pairs[:-1]:
            error = abs(Fraction(float(z.high)) + Fraction(float(z.low)) - exact)
            assert error <= abs(exact) * Fraction(2) ** -99 + (abs(a) + abs(b)) * Fraction(2) ** -104
        cancelled = x + y + x * -1.0 + y * -1.0
        assert abs(cancelled.high) <= 2.0**-103 * float(abs(a) + abs(b))
