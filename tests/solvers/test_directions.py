"""Directions and weights against exact derivatives of polynomials; row counts, conditioning and refusals."""

import math
from itertools import combinations_with_replacement, product

import numpy as np
import pytest

from solvers.jet import parse_partial
from solvers.layout import Group, Layout
from solvers.operators.directions import _columns, _equispaced, _icosahedron, _sphere, canonical, choose_directions

X, XY, XYZ, XT, XYT = ("x",), ("x", "y"), ("x", "y", "z"), ("x", "t"), ("x", "y", "t")
TEN = tuple("abcdefghij")
HUNDRED = tuple(f"x{i}" for i in range(100))


def all_partials(axes, lowest, highest):
    return tuple("".join(m) for q in range(lowest, highest + 1) for m in combinations_with_replacement(axes, q))


class Polynomial:
    """Sum of c x^a with exact partials and exact Taylor coefficients along a direction."""

    def __init__(self, terms):
        self.terms = terms

    @classmethod
    def random(cls, d, degree, seed=0):
        generator = np.random.default_rng(seed)
        exponents = [a for a in product(range(degree + 1), repeat=d) if sum(a) <= degree]
        return cls({a: generator.uniform(-1, 1) for a in exponents})

    def partial(self, orders, x):
        total = 0.0
        for a, c in self.terms.items():
            if all(p >= k for p, k in zip(a, orders, strict=True)):
                falling = math.prod(math.perm(p, k) for p, k in zip(a, orders, strict=True))
                total += c * falling * math.prod(z ** (p - k) for z, p, k in zip(x, a, orders, strict=True))
        return total

    def taylor(self, x, v, order):
        """Coefficients of t^0 .. t^order of p(x + t v), by multiplying out (x_i + t v_i)^a_i."""
        total = np.zeros(order + 1)
        for a, c in self.terms.items():
            series = np.array([c])
            for z, w, p in zip(x, v, a, strict=True):
                for _ in range(p):
                    series = np.convolve(series, [z, w])
            series = series[: order + 1]
            total[: len(series)] += series
        return total


def stack(polynomial, x, chosen):
    rows, first = np.zeros(chosen.layout.rows), 0
    rows[0] = polynomial.partial((0,) * len(x), x)
    for g, group in enumerate(chosen.layout.groups):
        for k in range(group.directions):
            series = polynomial.taylor(x, chosen.vectors[first + k], group.order)
            for order in range(1, group.order + 1):
                rows[chosen.layout.row(g, k, order)] += series[order]
        first += group.directions
    assert first == chosen.layout.directions() == len(chosen.vectors)
    return rows


def assert_exact(partials, axes, degree=6, polynomial=None):
    """Every key of the combinations is the partial that its name says, and every request is there."""
    chosen = choose_directions(partials, axes)
    polynomial = polynomial or Polynomial.random(len(axes), degree)
    x = np.linspace(0.3, -0.7, len(axes))
    rows = stack(polynomial, x, chosen)
    for name, weights in chosen.combinations.items():
        expected = sum(
            c * polynomial.partial([letters.count(a) for a in axes], x)
            for letters, c in parse_partial(name, axes).items()
        )
        size = max(abs(weights) @ abs(rows), abs(expected))
        assert abs(weights @ rows - expected) <= 2e-14 * size, name
    requests = [*partials, *(a for a in axes if a != "t" and "n" in partials)]
    for name in (name for name in requests if name != "n"):
        parts = parse_partial(name, axes)
        assert canonical(parts) in chosen.combinations or set(parts) <= set(chosen.combinations)
    assert chosen.combinations[""][0] == 1 and np.count_nonzero(chosen.combinations[""]) == 1
    return chosen


@pytest.mark.parametrize("axes", [XY, XYZ])
@pytest.mark.parametrize("order", range(1, 7))
def test_all_partials_of_an_order_and_below_are_exact(axes, order):
    assert_exact(all_partials(axes, order, order), axes)
    chosen = assert_exact(all_partials(axes, 0, order), axes)
    assert chosen.layout.rows == 1 + order * math.comb(order + len(axes) - 1, order)


@pytest.mark.parametrize(("axes", "highest"), [(X, 6), (XY, 6), (XYZ, 5)])
def test_every_partial_alone_is_exact(axes, highest):
    for name in all_partials(axes, 0, highest):
        assert_exact((name,), axes)


@pytest.mark.parametrize(
    ("partials", "axes", "rows"),
    [
        ((), XY, 1),
        (("",), XY, 1),
        (("x", "xx"), X, 3),
        (("t", "xx"), XT, 4),
        (("t", "x", "xxx"), XT, 5),
        (("t", "xxt"), XT, 10),
        (("xxt", "xx", "tt", "x"), XT, 10),
        (("", "x", "xx", "xy", "yy", "y"), XY, 7),
        (("xy",), XY, 5),
        (("yx", "xy"), XY, 5),
        (("xxxx", "yyyy", "xy"), XY, 11),
        (("xxyy",), XY, 17),
        (("xy", "xz", "yz"), XYZ, 9),
        (("xyz",), XYZ, 13),
        (("xxyz",), XYZ, 25),
        (("xy", "xyz", "zzzz"), XYZ, 17),
        (("xy", "zz"), XYZ, 7),
        (("n",), ("t", "x", "y"), 3),
        (("tt-xx",), XT, 5),
        (("laplacian",), X, 3),
        (("laplacian",), XY, 4),
        (("laplacian", "x", "y"), XY, 4),
        (("laplacian", "n", "t"), XYT, 5),
        (("laplacian", "xx"), XY, 5),
        (("xx", "xx+yy", "yy"), XY, 5),
        (("xx+yy", "-2yy-2xx"), XY, 4),
        (("xx", "laplacian"), XYZ, 6),
        (("xx+yy", "laplacian"), XYZ, 7),
        (("2xx+3yy",), XY, 4),
        (("xx+0.000001yy", "y"), XY, 4),
        (("bilaplacian",), XY, 11),
        (("bilaplacian", "laplacian", "xy", "xxx"), XY, 11),
        (("-0.5xxxx-xxyy-0.5yyyy",), XY, 11),
        (("xxxx+8xxyy+16yyyy",), XY, 11),
        (("xxxx+2xxyy+2yyyy",), XY, 17),
        (("bilaplacian",), XYZ, 20),
        (("bilaplacian", "t", "xxt"), XYT, 20),
        (("bilaplacian", "t", "n"), ("x", "y", "z", "t"), 21),
        (("bilaplacian", "laplacian"), ("a", "b", "c", "d"), 65),
        (("laplacian", "xx+2yy", "yy+zz", "xx+zz"), XYZ, 7),
    ],
)
def test_sets_of_partials_are_exact_and_cost_few_rows(partials, axes, rows):
    assert assert_exact(partials, axes, degree=4).layout.rows == rows


@pytest.mark.parametrize("seed", range(8))
def test_random_sets_are_exact(seed):
    generator = np.random.default_rng(seed)
    axes = [XY, XYZ, XYT, ("t", "a", "b", "c")][seed % 4]
    names = [*all_partials(axes, 1, 3), "laplacian", "n"]
    names += ["bilaplacian"] if seed % 2 else []
    chosen = tuple(generator.choice(names, size=5, replace=False).tolist())
    assert_exact(chosen, axes, degree=4)


@pytest.mark.parametrize("axes", [TEN, HUNDRED])
def test_laplacian_in_many_axes(axes):
    chosen = choose_directions(("laplacian", "n"), axes)
    assert chosen.layout == Layout((Group(len(axes), 2, collapsed=True),))
    assert chosen.layout.rows == len(axes) + 2
    squares = {tuple(2 * (i == j) for j in range(len(axes))): float(i + 1) for i in range(len(axes))}
    rows = stack(Polynomial(squares), np.linspace(-1, 1, len(axes)), chosen)
    (name,) = (name for name in chosen.combinations if "+" in name)
    assert chosen.combinations[name] @ rows == pytest.approx(len(axes) * (len(axes) + 1), rel=1e-14)
    assert chosen.combinations[axes[3]] @ rows == pytest.approx(8 * np.linspace(-1, 1, len(axes))[3], rel=1e-14)


def test_laplacian_in_ten_axes_of_a_quartic():
    assert_exact(("laplacian",), TEN, polynomial=Polynomial.random(10, 2))


def test_first_derivatives_and_the_sum_keep_their_names():
    chosen = choose_directions(("n", "yy+xx", "tx"), XYT)
    assert set(chosen.combinations) == {"", "x", "y", "xx+yy", "xt"}
    assert set(choose_directions(("xx+yy", "xx", "yy"), XY).combinations) == {"", "xx", "yy"}
    assert set(choose_directions(("xx-yy",), XY).combinations) == {"", "xx", "yy"}
    assert set(choose_directions(("xx-xx",), XY).combinations) == {"", "xx"}


def test_pure_orders_to_thirty_have_one_weight():
    chosen = choose_directions(("x" * 30, "y"), XY)
    assert chosen.layout == Layout((Group(1, 1), Group(1, 30)))
    assert chosen.combinations["x" * 30][-1] == math.factorial(30)
    assert np.count_nonzero(chosen.combinations["x" * 30]) == 1


@pytest.mark.parametrize(("d", "design", "constant"), [(2, _equispaced(3), 8 / 9), (3, _icosahedron(), 5 / 6)])
def test_designs_give_the_bilaplacian(d, design, constant):
    """The constant times the sum over v of (v . k)^4 is |k|^4 for every k."""
    k = np.random.default_rng(1).standard_normal((50, d))
    np.testing.assert_allclose(constant * ((k @ design.T) ** 4).sum(axis=1), (k**2).sum(axis=1) ** 2, rtol=1e-14)
    chosen = choose_directions(("bilaplacian",), XYZ[:d])
    (weights,) = (w for name, w in chosen.combinations.items() if name)
    assert np.count_nonzero(weights) == 1
    assert weights[-1] == pytest.approx(24 * constant, rel=1e-15)


@pytest.mark.parametrize("order", range(1, 9))
def test_equispaced_angles_are_well_conditioned(order):
    """Condition C(q, q/2)^1/2: q + 1 equispaced lines see each circular harmonic alike, in Bombieri's product."""
    columns = _columns(_equispaced(order + 1), list(combinations_with_replacement(range(2), order)))
    assert np.linalg.cond(columns) == pytest.approx(math.sqrt(math.comb(order, order // 2)), rel=1e-12)


@pytest.mark.parametrize(("order", "bound"), [(2, 1.8), (3, 2.6), (4, 4.2), (5, 5.5), (6, 10.3)])
def test_directions_of_the_half_sphere_are_well_conditioned(order, bound):
    vectors = _sphere(order)
    assert len(vectors) == math.comb(order + 2, 2)
    assert np.linalg.cond(_columns(vectors, list(combinations_with_replacement(range(3), order)))) < bound


def test_amplification_bounds_the_error_of_the_rows():
    assert choose_directions(("xx", "y"), XY).amplifications == {"": 1.0, "y": 1.0, "xx": 1.0}
    assert choose_directions(("xy",), XY).amplifications["xy"] == pytest.approx(1.0)
    assert choose_directions(("laplacian",), TEN).amplifications["+".join(2 * a for a in TEN)] == pytest.approx(10)
    assert choose_directions(("xx+4yy", "x"), XY).amplifications == {"": 1.0, "x": 1.0, "xx+4yy": 5.0}
    beside_another_axis = choose_directions((*all_partials(XY, 4, 4), "zzz"), XYZ)
    assert max(beside_another_axis.amplifications.values()) < 2
    for axes, bound in ((XY, 2.3), (XYZ, 5.0)):
        for order in range(2, 7):
            assert max(choose_directions(all_partials(axes, 0, order), axes).amplifications.values()) < bound


def test_results_are_shared_and_therefore_read_only():
    chosen = choose_directions(("xx",), XY)
    assert chosen is choose_directions(("xx",), XY)
    with pytest.raises(ValueError, match="read-only"):
        chosen.vectors[0, 0] = 2.0
    with pytest.raises(ValueError, match="read-only"):
        chosen.combinations["xx"][0] = 2.0


@pytest.mark.parametrize(
    ("partials", "axes", "message"),
    [
        (("xxxxxxy",), XY, r"mixed partial of order 6 at most, came 7 .*AutoDiff\(\)"),
        (("x" * 31,), XY, r"order 30 at most, came 31 .*no operator here reaches"),
        (
            ("x+abcd",),
            ("a", "b", "c", "d", "x"),
            r"at most 3 axes in one partial, came 4 \('abcd' in 'x\+abcd'\).*Auto",
        ),
        (("xq",), XY, "q is no axis"),
    ],
)
def test_out_of_reach_is_refused(partials, axes, message):
    with pytest.raises(ValueError, match=message):
        choose_directions(partials, axes)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("yy+xx", "xx+yy"),
        ("1xx+1.0yy", "xx+yy"),
        ("-yy-xx", "-xx-yy"),
        ("yyyy+yxyx+xxxx+xyxy", "xxxx+2xxyy+yyyy"),
        (".5yy-xx+x", "x-xx+0.5yy"),
        ("0.000001xx+0yy", "0.000001xx"),
        ("xx-xx", "0xx"),
        ("", ""),
    ],
)
def test_a_sum_has_one_name(written, name):
    parts = parse_partial(written, XY)
    assert canonical(parts) == name
    assert canonical(parse_partial(name, XY)) == name
