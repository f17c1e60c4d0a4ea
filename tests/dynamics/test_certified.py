import sys
from fractions import Fraction
from pathlib import Path

import flint
import h5py
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyses.golden_spectra import FILE, differences
from dynamics.certified import certified_singular_values, singular_value_bounds
from dynamics.certified_features import certified_feature_matrix
from dynamics.differences import exact_weights

EPS = 2.0**-52
GOLDEN = Path(__file__).parents[2] / "data" / "golden-spectra.h5"


def by_mpmath(rows, digits=120):
    """The slow twin, which iterates on the matrix itself."""
    with mpmath.workdps(digits):
        exact = [[mpmath.mpf(Fraction(x).numerator) / Fraction(x).denominator for x in row] for row in rows]
        return [float(value) for value in mpmath.svd_r(mpmath.matrix(exact), compute_uv=False)]


@pytest.mark.parametrize("shape", [(9, 6), (6, 9), (1, 5), (1, 1)])
def test_against_mpmath_down_to_1e_40(shape):
    matrix = np.random.default_rng(0).standard_normal(shape) * 10.0 ** -np.linspace(0, 40, shape[1])
    values = certified_singular_values(matrix)
    assert np.allclose(values, by_mpmath(matrix.tolist()), rtol=EPS, atol=0)
    if shape == (9, 6):
        assert values[-1] < 1e-38 * values[0]


def test_every_kind_of_entry():
    third = Fraction(1, 3)
    with mpmath.workdps(60):
        kinds = [third, "1/3", mpmath.mpf(1) / 3, flint.fmpq(1, 3)]
    for entry in kinds:
        expected = [2.0, 1 / 3]
        assert certified_singular_values([[entry, 0], [0, 2.0]]).tolist() == expected
    assert certified_singular_values(flint.fmpz_mat([[3, 0], [0, 4]])).tolist() == [4.0, 3.0]
    assert certified_singular_values(np.float32([[0.1]]))[0] == np.float32(0.1)
    assert certified_singular_values([["1.5e-30"]])[0] == 1.5e-30
    assert certified_singular_values([[flint.arb(2)], [flint.arb(0)]]).tolist() == [2.0]


def test_hilbert_against_mpmath_and_its_determinant():
    rows = [[Fraction(1, i + j + 1) for j in range(12)] for i in range(12)]
    values = certified_singular_values(rows)
    assert np.allclose(values, by_mpmath(rows), rtol=EPS, atol=0)
    # Cauchy: c_n^4 / c_2n with c_n the product of the factorials below n.
    with mpmath.workdps(40):
        few, many = (mpmath.fprod(mpmath.factorial(k) for k in range(1, n)) for n in (12, 24))
        assert np.prod(values) == pytest.approx(float(few**4 / many), rel=1e-14)


def test_zeros_and_repeated_values_come_out_as_such():
    column = np.arange(1.0, 6.0)[:, None]
    assert certified_singular_values(column @ column.T).tolist() == [55.0, 0.0, 0.0, 0.0, 0.0]
    assert certified_singular_values(np.zeros((2, 3))).tolist() == [0.0, 0.0]
    assert certified_singular_values(3 * np.eye(4)).tolist() == [3.0] * 4


def test_fractions_without_a_short_common_denominator_are_rounded_until_certain():
    generator = np.random.default_rng(2)
    rows = [[Fraction(int(a), int(b)) for a, b in generator.integers(10**14, 10**15, (18, 2))] for _ in range(18)]
    for index, row in enumerate(rows):
        row[-1] = row[0] + Fraction(index**2, 10**60)
    values = certified_singular_values(rows, digits=20)
    assert np.allclose(values, by_mpmath(rows, 150), rtol=EPS, atol=0)
    assert 1e-62 < values[-1] / values[0] < 1e-57
    for row in rows:
        row[-1] = row[0]
    with pytest.raises(ValueError, match="at 640 digits"):
        certified_singular_values([row[:9] + row[-1:] for row in rows], digits=20)


def test_balls_too_wide_are_refused_and_a_function_is_asked_again():
    def entries(digits):
        asked.append(digits)
        with flint.ctx.workprec(int(3.4 * digits)):
            return [[flint.arb(1), flint.arb(2).sqrt()], [flint.arb(2).sqrt(), 2 + flint.arb(10) ** -40]]

    asked = []
    values = certified_singular_values(entries, digits=25)
    # The determinant is 1e-40 and the trace 3 + 1e-40.
    assert values.tolist() == pytest.approx([3.0, 1e-40 / 3], rel=EPS) and asked == [25, 50, 100]
    with pytest.raises(ValueError, match=r"2\^-54 sigma_min.*function of digits"):
        certified_singular_values(entries(25))
    with pytest.raises(ValueError, match=r"2\^-54 sigma_min"):
        certified_singular_values(lambda digits: [[flint.arb("1 +/- 1e-10")]], digits=400)


@pytest.mark.parametrize(
    "matrix",
    [
        [],
        [[]],
        np.ones(3),
        [[1.0], [1.0, 2.0]],
        [[1.0, np.nan]],
        [[np.inf]],
        [[1j]],
        [[None]],
        [["x"]],
        [[flint.arb("nan")]],
    ],
)
def test_refuses(matrix):
    with pytest.raises(ValueError):
        certified_singular_values(matrix)


def test_names_the_missing_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "flint", None)
    with pytest.raises(ImportError, match=r"pinnscope\[certified\]"):
        certified_singular_values([[1.0]])


def hard_matrices():
    generator = np.random.default_rng(4)
    normal = generator.standard_normal
    yield normal((30, 20))
    yield normal((20, 30)) * 10.0 ** -np.linspace(0, 30, 30)
    yield normal((25, 5)) @ normal((5, 15))
    yield 1 / (np.arange(14)[:, None] + np.arange(14) + 1.0)
    yield 2.0**900 * normal((8, 5))
    yield 2.0**-1040 * normal((8, 5))
    yield np.eye(6)
    yield np.ones((40, 3))
    yield normal((300, 1))


def test_bounds_enclose_the_certified_values_and_are_narrow():
    for matrix in hard_matrices():
        exact = by_exact_comparison(matrix)
        lower, upper = singular_value_bounds(matrix)
        for low, high, value in zip(lower, upper, exact, strict=True):
            assert low <= value.upper() and value.lower() <= high
        if upper[0] > 1e-300:
            assert (upper - lower).max() < 20 * min(matrix.shape) * EPS * upper[0]
        assert (lower >= 0).all()


def by_exact_comparison(matrix):
    """Return balls rather than floats: a bound may be the nearest float itself."""
    return [flint.arb(value, abs(value) * 2.0**-53) for value in certified_singular_values(matrix).tolist()]


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 12), columns=st.integers(1, 12), seed=st.integers(0, 10**6), decades=st.floats(0, 30))
def test_bounds_enclose_whatever_comes(rows, columns, seed, decades):
    matrix = np.random.default_rng(seed).standard_normal((rows, columns)) * 10.0 ** -np.linspace(0, decades, columns)
    lower, upper = singular_value_bounds(matrix)
    exact = certified_singular_values(matrix)
    assert (lower <= exact * (1 + EPS)).all() and (exact * (1 - EPS) <= upper).all()


def test_bounds_do_not_rest_on_a_good_svd(monkeypatch):
    matrix = np.random.default_rng(0).standard_normal((12, 7))
    exact = certified_singular_values(matrix)
    right = np.linalg.svd

    def wrong(part):
        def svd(a, full_matrices):
            factors = list(right(a, full_matrices=False))
            factors[part] = factors[part] * (1 + 1e-6 * np.arange(factors[part].size).reshape(factors[part].shape) / 50)
            return factors

        return svd

    for part in range(3):
        monkeypatch.setattr(np.linalg, "svd", wrong(part))
        lower, upper = singular_value_bounds(matrix)
        assert (lower <= exact).all() and (exact <= upper).all() and (upper - lower).max() > 1e-7


@pytest.mark.parametrize(
    "matrix", [np.ones(3), np.ones((0, 2)), [[1j]], [[np.nan]], np.array([[2**63 + 1]], dtype=np.uint64), [["a"]]]
)
def test_bounds_refuse(matrix):
    with pytest.raises(ValueError, match="expected"):
        singular_value_bounds(matrix)


def test_bounds_of_zero():
    lower, upper = singular_value_bounds(np.zeros((3, 2)))
    assert not lower.any() and not upper.any()


FUNCTIONS = {"tanh": mpmath.tanh, "sin": mpmath.sin, "gaussian": lambda z: mpmath.exp(-z * z)}


@pytest.mark.parametrize("activation", FUNCTIONS)
@pytest.mark.parametrize("derivative", range(5))
def test_features_against_mpmath(activation, derivative):
    generator = np.random.default_rng(derivative)
    weight, bias, points = generator.normal(size=3), generator.normal(size=3), generator.normal(size=2)
    matrix = certified_feature_matrix(weight, bias, points, activation, derivative)
    with mpmath.workdps(60):
        for i, x in enumerate(points):
            for j, (w, b) in enumerate(zip(weight, bias, strict=True)):
                f = lambda t: FUNCTIONS[activation](mpmath.mpf(w) * t + mpmath.mpf(b))  # noqa: B023, E731
                expected = mpmath.diff(f, mpmath.mpf(x), derivative, h=mpmath.mpf(10) ** -20) if derivative else f(x)
                assert abs(as_mpf(matrix[i][j]) - expected) < 1e-10 * max(1, abs(expected))
                expected = mpmath.taylor(f, mpmath.mpf(x), derivative)[-1] * mpmath.factorial(derivative)
                assert abs(as_mpf(matrix[i][j]) - expected) < mpmath.mpf(10) ** -25 * max(1, abs(expected))
                assert matrix[i][j].rad() < 1e-45


def as_mpf(ball):
    mantissa, exponent = ball.mid().man_exp()
    return mpmath.ldexp(mpmath.mpf(int(mantissa)), int(exponent))


@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize("derivative", range(1, 5))
def test_differences_are_the_stencil_at_unrounded_points(derivative, order):
    weight, bias, points, step = [1.3, -0.4], [0.2, 0.1], [0.1, -0.7], 1e-4
    matrix = certified_feature_matrix(weight, bias, points, "tanh", derivative, step=step, order=order)
    with mpmath.workdps(80):
        h = mpmath.mpf(step)
        for i, x in enumerate(points):
            for j, (w, b) in enumerate(zip(weight, bias, strict=True)):
                total = mpmath.fsum(
                    mpmath.mpf(c.numerator)
                    / c.denominator
                    * mpmath.tanh(mpmath.mpf(w) * (mpmath.mpf(x) + k * h) + mpmath.mpf(b))
                    for k, c in exact_weights(derivative, order).items()
                )
                assert abs(as_mpf(matrix[i][j]) - total / h**derivative) < mpmath.mpf(10) ** -45
                assert matrix[i][j].rad() < 1e-45


@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize("derivative", range(1, 5))
def test_differences_converge_at_their_order(derivative, order):
    exact = certified_feature_matrix([1.1], [0.3], [0.4], "gaussian", derivative)[0][0]
    errors = [
        abs(certified_feature_matrix([1.1], [0.3], [0.4], "gaussian", derivative, step=h, order=order)[0][0] - exact)
        for h in (2.0**-10, 2.0**-11)
    ]
    assert float(errors[0] / errors[1]) == pytest.approx(2.0**order, rel=1e-3)


def test_laplacians_in_the_plane():
    weight, bias, points = (
        np.array([[1.5, -0.7], [0.3, 0.2]]),
        np.array([0.1, -0.4]),
        np.array([[0.2, 0.5], [-1.0, 0.3]]),
    )
    z = points @ weight.T + bias
    t, square = np.tanh(z), (weight**2).sum(axis=1)
    second = -2 * t * (1 - t**2)
    found = certified_feature_matrix(weight, bias, points, "tanh", 2)
    assert np.allclose(floats(found), square * second, rtol=1e-14, atol=1e-15)
    fourth = certified_feature_matrix(weight, bias, points, "sin", 4)
    assert np.allclose(floats(fourth), square**2 * np.sin(z), rtol=1e-13, atol=1e-14)
    for derivative, activation in ((2, "tanh"), (4, "sin")):
        exact = floats(certified_feature_matrix(weight, bias, points, activation, derivative))
        errors = [
            np.abs(floats(certified_feature_matrix(weight, bias, points, activation, derivative, step=h)) - exact).max()
            for h in (2.0**-8, 2.0**-9)
        ]
        assert errors[0] / errors[1] == pytest.approx(4.0, rel=1e-2)


def floats(matrix):
    return np.array([[float(entry) for entry in row] for row in matrix])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"activation": "relu"}, "unknown activation 'relu'"),
        ({"derivative": 5}, "expected a derivative"),
        ({"order": 3}, "order 2 or 4"),
        ({"step": 0.0}, "step > 0"),
        ({"step": float("inf")}, "step > 0"),
        ({"bias": [1.0]}, r"bias \(features,\)"),
        ({"points": [[1.0, 2.0]]}, r"points \(n, d\)"),
        ({"points": [np.nan]}, "finite"),
        ({"weight": [[1.0, 2.0]] * 2, "points": [[1.0, 2.0]], "derivative": 1}, "in 2-D"),
    ],
)
def test_features_refuse(changed, said):
    given = {"weight": [1.0, 2.0], "bias": [0.0, 1.0], "points": [0.5], "activation": "tanh", "derivative": 2}
    with pytest.raises(ValueError, match=said):
        certified_feature_matrix(**given | changed)


def test_the_golden_file_is_what_its_script_makes():
    from analyses.golden_spectra import make

    assert differences(FILE, make()) == []


def test_a_changed_golden_file_is_noticed(tmp_path):
    from analyses.golden_spectra import graded, hilbert, write

    file, cases = tmp_path / "a.h5", {"graded": graded(), "hilbert": hilbert()}
    write(file, cases)
    with h5py.File(file, "r+") as target:
        target["graded/stored"][3] *= 1 + EPS
        target["hilbert/same_features"][11] *= 1 + EPS
        target["hilbert/matrix"][0, 0] += 1e-15
    found = "\n".join(differences(file, cases))
    assert all(part in found for part in ("graded/stored", "hilbert/same_features", "hilbert: the matrix"))


def test_golden_values_of_the_features_differ_as_derivatives_do():
    with h5py.File(GOLDEN) as file:
        ad, fd = file["tanh_ad"], file["tanh_fd"]
        assert np.array_equal(ad["exact"], fd["exact"])
        exact, same, stored = (fd[name][()] for name in ("exact", "same_features", "stored"))
        # Truncation is h^2 of each value; what is stored is noise below 1e-9.
        assert np.allclose(same, exact, rtol=1e-5, atol=0) and not np.array_equal(same, exact)
        assert (stored[-4:] > 1e4 * exact[-4:]).all()
        assert np.abs(ad["stored"][()] - exact).max() < 1e-14 * exact[0]


@pytest.mark.parametrize("matrix", [[1.0, 2.0], 5, [["x"]], [["1/0"]], "ab"])
def test_what_is_no_matrix_of_numbers_is_refused(matrix):
    with pytest.raises(ValueError, match="expected a"):
        certified_singular_values(matrix)


@pytest.mark.parametrize("order", [2, 4])
def test_the_squared_laplacian_in_the_plane_is_that_of_the_operator(order):
    from solvers import FiniteDifference, Points, RandomFeatures, Sine

    features, h = RandomFeatures(2, 5, Sine, scale=2.0, seed=1), 0.25
    points = Points(np.random.default_rng(0).uniform(-1, 1, (6, 2)), axes=("x", "y"))
    plan = FiniteDifference(h, order=order).plan(points, ["bilaplacian"])
    computed = plan(features.features)["bilaplacian"].detach().numpy()
    given = features.weight.numpy(), features.bias.numpy(), points.interior.numpy()
    exact = certified_feature_matrix(*given, "sin", 4, step=h, order=order)
    assert np.allclose(computed, [[float(entry) for entry in row] for row in exact], rtol=1e-9, atol=1e-10)
