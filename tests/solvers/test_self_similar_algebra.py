"""Why lambda is 1/(2k + 2), why its interval's ends are traps, and the derivatives of the residual: by sympy."""

import mpmath
import pytest
import sympy
import torch

from solvers import Points, TangentProp
from solvers.functions import exp, sin, tanh

LAM, X, V = sympy.symbols("lambda x V", positive=True)
U = sympy.symbols("u0:16")


def residual(u, x=X, lam=LAM):
    return -lam * u + ((1 + lam) * x + u) * sympy.diff(u, x)


def coefficient(expression, order):
    return sympy.expand(expression).coeff(X, order)


def test_the_first_coefficient_is_minus_1_or_0():
    first = coefficient(residual(U[1] * X + U[3] * X**3), 1)
    assert sympy.factor(first) == U[1] * (U[1] + 1)
    assert sympy.expand(residual(-X)) == 0


@pytest.mark.parametrize("j", range(2, 16))
def test_each_coefficient_of_the_residual_has_one_factor_while_lower_ones_vanish(j):
    found = coefficient(residual(-X + U[j] * X**j), j)
    assert sympy.expand(found - (LAM * (j - 1) - 1) * U[j]) == 0


@pytest.mark.parametrize("k", range(7))
def test_the_factors_leave_the_smooth_profile_alone(k):
    m = 2 * k + 3
    low, high = sympy.Rational(1, m), sympy.Rational(1, m - 2)
    for j in range(3, m, 2):
        assert not low < sympy.Rational(1, j - 1) < high
    assert low < sympy.Rational(1, m - 1) < high
    for j in range(m + 2, m + 9, 2):
        assert not low < sympy.Rational(1, j - 1) < high
    # At the ends of the interval too.
    assert all(end * (j - 1) != 1 for end in (low, high) for j in range(3, m + 9, 2))


@pytest.mark.parametrize("k", range(5))
def test_the_bar_of_lambda_is_the_residual_over_the_coefficient(k):
    m = 2 * k + 3
    found = coefficient(residual(-X + U[m] * X**m), m)
    missed = LAM - sympy.Rational(1, m - 1)
    assert sympy.simplify(found / ((m - 1) * U[m]) - missed) == 0
    # With all lower coefficients, as a network has them: what the acceptance adds to the bar.
    odd = sum(U[j] * X**j for j in range(1, m + 1, 2))
    others = sum((m + 1 - i) * U[i] * U[m + 1 - i] for i in range(3, m - 1, 2)) + (m + 1) * (1 + U[1]) * U[m]
    assert sympy.expand(coefficient(residual(odd), m) - others - (m - 1) * missed * U[m]) == 0


def test_every_lambda_has_a_profile_on_the_half_line():
    power = V ** (1 + 1 / LAM)
    x = V + power
    slope = -1 / sympy.diff(x, V)
    assert sympy.simplify(LAM * V + ((1 + LAM) * x - V) * slope) == 0


def half_line(p, order):
    """U = -V on x > 0 to x^order, by iteration of V = x - V^p."""
    series = sympy.Poly(X, X)
    for _ in range(order // (p - 1) + 1):
        series = sympy.Poly(X, X) - (series**p).rem(sympy.Poly(X ** (order + 1), X))
    return -series.as_expr()


@pytest.mark.parametrize("k", range(4))
@pytest.mark.parametrize("end", ["upper", "lower"])
def test_the_ends_are_traps(k, end):
    p = 2 * k + 2 if end == "upper" else 2 * k + 4
    lam = sympy.Rational(1, p - 1)
    assert lam == sympy.Rational(1, 2 * k + 1 if end == "upper" else 2 * k + 3)
    right = half_line(p, p + 2)
    left = -right.subs(X, -X)
    for side in (right, left):
        rest = sympy.Poly(residual(side, lam=lam), X)
        assert min(monomial[0] for monomial in rest.monoms()) > p + 1
    assert right.coeff(X, p) == 1
    jumps = [sympy.factorial(j) * (right.coeff(X, j) - sympy.expand(left).coeff(X, j)) for j in range(p + 1)]
    assert jumps == [0] * p + [2 * sympy.factorial(p)]
    # The derivative of order 2k + 3 is continuous at the lower end, and at the upper one does not exist at 0.
    assert (2 * k + 3 < p) == (end == "lower")


# A function, the polynomial ring over x and its parts, the function there, and the derivatives of x and the parts.
RING, x_, s_, c_, e_, t_ = sympy.ring("x,s,c,e,t", sympy.QQ)
SLOPES = (RING(1), c_, -s_, e_ * c_, 2 * (1 - t_**2))
PARTS = (X, sympy.sin(X), sympy.cos(X), sympy.exp(sympy.sin(X)), sympy.tanh(2 * X))
FUNCTIONS = [(lambda x: exp(sin(x)), e_), (lambda x: tanh(2 * x) + x**3, t_ + x_**3)]


def differentiated(polynomial):
    """The derivative of a polynomial in x, sin x, cos x, exp(sin x), tanh 2x, far faster than expressions have it."""
    return sum((polynomial.diff(part) * slope for part, slope in zip(RING.gens, SLOPES, strict=True)), RING(0))


def at(polynomial, place):
    """Its value to 15 digits, worked out in 60."""
    with mpmath.workdps(60):
        values = [mpmath.mpmathify(part.subs(X, place).evalf(60)) for part in PARTS]
        terms = (
            mpmath.fprod(map(pow, values, powers)) * factor.p / factor.q for powers, factor in rational(polynomial)
        )
        return float(mpmath.fsum(terms))


def rational(polynomial):
    return [(powers, sympy.Rational(str(factor))) for powers, factor in polynomial.terms()]


@pytest.mark.parametrize(("function", "twin"), FUNCTIONS)
@pytest.mark.parametrize("lam", [sympy.Rational(1, 2), sympy.Rational(1, 8), sympy.Rational(3, 23)])
def test_the_residuals_derivatives_to_order_13_are_sympys(function, twin, lam):
    order, places = 13, [sympy.Rational(0), sympy.Rational(1, 10), sympy.Rational(-4, 5)]
    plan = TangentProp().plan(Points([[float(place)] for place in places], axes="x"), ["", "x"])
    jet, x = plan.series(function, order=order), plan.variable(order=order)
    found = (-float(lam) * jet[""] + ((1 + float(lam)) * x + jet[""]) * jet["x"]).derivatives()[:, :, 0]
    assert found.shape == (order + 1, len(places)) and found.dtype == torch.float64
    exact = sympy.QQ(lam.p, lam.q)
    expected = -exact * twin + ((1 + exact) * x_ + twin) * differentiated(twin)
    plain = residual(twin.as_expr(*PARTS), lam=lam)
    for j in range(order + 1):
        if j < 3:
            difference = sympy.diff(plain, X, j).subs(X, sympy.Rational(1, 3)).evalf(20) - at(
                expected, sympy.Rational(1, 3)
            )
            assert abs(difference) < 1e-12
        values = [at(expected, place) for place in places]
        assert found[j].tolist() == pytest.approx(values, rel=1e-10, abs=1e-12 * max(1.0, *map(abs, values))), j
        expected = differentiated(expected)
