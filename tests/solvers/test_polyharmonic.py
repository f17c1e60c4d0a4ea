"""Polyharmonic splines: every partial to order 4 against computer algebra, at r = 0 too, and the monomials."""

from itertools import product
from math import comb

import numpy as np
import pytest
import sympy

from solvers.polyharmonic import monomials, radial_partial


def multi_indices(dimension, order):
    return [alpha for alpha in product(range(order + 1), repeat=dimension) if sum(alpha) <= order]


def value(alpha, exponent, y):
    """The sum of the terms in exact rational arithmetic, r^k = r2^((k - 1) / 2) r, r rational by choice of y."""
    r = sympy.sqrt(sum(x**2 for x in y))
    return sum(
        sympy.Rational(c) * sympy.prod(x**b for x, b in zip(y, beta, strict=True)) * r**k
        for c, beta, k in radial_partial(alpha, exponent)
    )


PLACES = {1: [(3,), (-2,)], 2: [(3, -4), (0, 2)], 3: [(1, -2, 2), (0, 0, -3)]}


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("exponent", [3, 5, 7, 9, 11])
def test_every_partial_to_order_4_is_that_of_computer_algebra(dimension, exponent):
    y = sympy.symbols("x y z", real=True)[:dimension]
    r2 = sum(x**2 for x in y)
    spline = r2 ** sympy.Rational(exponent, 2)
    exact = {(0,) * dimension: spline}
    for alpha in sorted(multi_indices(dimension, min(4, exponent - 1)), key=sum):
        if sum(alpha):
            axis = next(i for i, count in enumerate(alpha) if count)
            lower = (*alpha[:axis], alpha[axis] - 1, *alpha[axis + 1 :])
            exact[alpha] = exact[lower].diff(y[axis])
        for place in PLACES[dimension]:
            expected = exact[alpha].subs(dict(zip(y, place, strict=True)))
            assert sympy.simplify(value(alpha, exponent, [sympy.Integer(x) for x in place]) - expected) == 0


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("exponent", [3, 5, 7, 9, 11])
def test_all_terms_are_homogeneous_of_the_degree_that_is_left_and_vanish_at_the_origin(dimension, exponent):
    for alpha in multi_indices(dimension, min(4, exponent - 1)):
        terms = radial_partial(alpha, exponent)
        assert terms
        for coefficient, beta, k in terms:
            assert coefficient and len(beta) == dimension and k % 2 == 1
            assert sum(beta) + k == exponent - sum(alpha) > 0


def test_the_laplacian_of_a_spline_in_three_dimensions_is_m_times_m_plus_1():
    total = sum(value(alpha, 7, (2, 3, 6)) for alpha in ((2, 0, 0), (0, 2, 0), (0, 0, 2)))
    assert total == 7 * 8 * 7**5


@pytest.mark.parametrize(
    ("alpha", "exponent", "expected"),
    [
        ((1,), 4, "odd exponent.*came 4"),
        ((1,), -1, "odd exponent.*came -1"),
        ((-1, 2), 5, "number of derivatives >= 0.*came \\(-1, 2\\)"),
        ((), 5, "number of derivatives >= 0"),
        ((2, 1), 3, "exponent of at least 5"),
        ((4,), 3, "exponent of at least 5"),
        ((0, 1), 1, "exponent of at least 3"),
    ],
)
def test_what_has_no_derivative_is_refused(alpha, exponent, expected):
    with pytest.raises(ValueError, match=expected):
        radial_partial(alpha, exponent)


@pytest.mark.parametrize(("dimension", "degree"), [(1, 0), (1, 6), (2, 5), (3, 4)])
def test_monomials_are_all_there_once_by_rising_degree(dimension, degree):
    table = monomials(dimension, degree)
    assert table.shape == (comb(degree + dimension, dimension), dimension)
    assert len({tuple(row) for row in table.tolist()}) == len(table)
    assert np.all(np.diff(table.sum(axis=1)) >= 0) and table.sum(axis=1)[-1] == degree


def test_monomials_need_coordinates_and_a_degree():
    with pytest.raises(ValueError, match="at least one coordinate"):
        monomials(0, 2)
    with pytest.raises(ValueError, match="degree >= 0"):
        monomials(2, -1)
