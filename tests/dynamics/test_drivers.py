import types

import numpy as np
import pytest

from dynamics import drivers
from dynamics.certified import certified_singular_values
from dynamics.drivers import (
    CONSTANTS,
    column_condition,
    decompose,
    error_constant,
    grading,
    leading_values,
    row_condition,
)

EPS = 2.0**-52
SHAPES = [(12, 12), (40, 24), (24, 40), (90, 10), (7, 1)]


def kinds(rows, columns, seed):
    generator = np.random.default_rng(seed)
    few = min(rows, columns)
    normal = generator.standard_normal
    yield normal((rows, columns))
    left, right = (np.linalg.qr(normal((size, few)))[0] for size in (rows, columns))
    yield left * 10.0 ** -np.linspace(0, 18, few) @ right.T
    yield np.tanh(np.linspace(-1, 1, rows)[:, None] * 3 * normal(columns) + normal(columns))
    yield normal((rows, max(few // 3, 1))) @ normal((max(few // 3, 1), columns))
    yield 1 / (np.arange(rows)[:, None] + np.arange(columns) + 1.0)


@pytest.mark.parametrize("driver", ["gesdd", "gesvd", "pivoted", "jacobi"])
def test_errors_stay_below_their_estimate_and_near_it(driver):
    ratios = []
    for rows, columns in SHAPES:
        for matrix in kinds(rows, columns, rows):
            found, exact = decompose(matrix, driver), certified_singular_values(matrix)
            assert found.driver == driver and found.values.shape == exact.shape
            assert (np.diff(found.values) <= 0).all()
            error = np.abs(found.values - exact).max() / (EPS * exact[0])
            assert error <= found.constant
            ratios.append(found.constant / max(error, 0.1))
    assert np.median(ratios) < 30


def scaled(side, rows, columns, seed, decades=24):
    generator = np.random.default_rng(seed)
    matrix = generator.standard_normal((rows, columns))
    if "rows" in side:
        matrix *= generator.permutation(10.0 ** -np.linspace(0, decades, rows))[:, None]
    if "columns" in side:
        matrix *= generator.permutation(10.0 ** -np.linspace(0, decades, columns))
    return matrix


@pytest.mark.parametrize("driver", ["auto", "pivoted", "jacobi"])
@pytest.mark.parametrize("shape", [(20, 20), (40, 24), (24, 40)])
@pytest.mark.parametrize("side", ["columns", "rows"])
def test_scaled_columns_or_rows_keep_relative_errors(side, shape, driver):
    matrix = scaled(side, *shape, seed=3)
    found, exact = decompose(matrix, driver), certified_singular_values(matrix)
    assert found.driver == ("jacobi" if driver == "jacobi" else "pivoted")
    assert found.condition < 1e4
    relative = np.abs(found.values - exact) / exact
    assert relative.max() <= found.constant * EPS * found.condition
    assert relative.max() < 1e-12 < (np.abs(decompose(matrix, "gesdd").values - exact) / exact).max()


@pytest.mark.parametrize("driver", ["pivoted", "jacobi"])
def test_scaled_on_both_sides_the_values_are_right_and_no_more_is_claimed_than_is_known(driver):
    matrix = scaled("rows and columns", 30, 20, seed=0, decades=12)
    found, exact = decompose(matrix, driver), certified_singular_values(matrix)
    assert (np.abs(found.values - exact) / exact).max() < 1e-12
    assert found.condition > 1e6


def test_no_relative_error_is_claimed_where_large_rows_are_nearly_dependent():
    # The rows of unit norm are well conditioned, yet sigma_2 comes from a difference of the two large rows.
    matrix = np.array([[1.0, 0.3], [1.0, 0.3 + 1e-9], [0.0, 1e-10]])
    exact = certified_singular_values(matrix)
    moved = certified_singular_values(matrix * (1 + EPS * np.array([[1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])))
    amplified = abs(moved[1] / exact[1] - 1) / EPS
    assert np.linalg.cond(matrix / np.linalg.norm(matrix, axis=1)[:, None]) < 10 < 1e8 < amplified
    assert row_condition(matrix) > amplified / 4


def test_column_condition_against_its_definition():
    for rows, columns in ((6, 6), (30, 8)):
        matrix = np.random.default_rng(1).standard_normal((rows, columns))
        norms = np.linalg.norm(matrix, axis=0)
        ratio = column_condition(matrix * 10.0 ** -np.arange(columns)) / np.linalg.cond(matrix / norms)
        # The 1-norm of a square of n columns and its inverse are within sqrt(n) of the 2-norms.
        assert 1 / columns < ratio < columns


@pytest.mark.parametrize("seed", range(8))
def test_row_condition_against_its_definition(seed):
    generator = np.random.default_rng(seed)
    # Six decades leave the pseudo-inverse in float64 ten digits.
    graded = generator.standard_normal((12, 8)) * 10.0 ** -generator.uniform(0, 6, 12)[:, None]
    norms = np.linalg.norm(graded, axis=1)
    defined = np.linalg.norm(np.linalg.pinv(graded) * norms, 2) * np.linalg.norm(graded / norms[:, None], 2)
    assert 0.999 < row_condition(graded) / defined < 1.001 * 8**0.5
    square = graded[:8]
    exact = np.linalg.cond(square / norms[:8, None])
    assert 1 / 8 < row_condition(square) / exact < 8


def test_jacobi_undoes_gejsvs_scaling(monkeypatch):
    # LAPACK scales only what would overflow otherwise; here a stand-in scales by 1/8 and says so.
    def scaling(matrix, **options):
        values, left, right, work, integers, info = gejsv(matrix, **options)
        return values / 8, left, right, np.array([8.0 * work[0], *work[1:]]), integers, info

    gejsv = drivers.lapack.dgejsv
    monkeypatch.setattr(drivers, "lapack", types.SimpleNamespace(dgejsv=scaling, dtrcon=drivers.lapack.dtrcon))
    assert decompose(np.diag([3.0, 5.0]), "jacobi").values.tolist() == [5.0, 3.0]


def test_conditions_of_matrices_without_full_rank():
    flat = np.outer(np.arange(1.0, 6.0), [1.0, 2.0, 3.0])
    assert column_condition(flat) > 1e14 and row_condition(flat) > 1e14
    found = decompose(flat, "pivoted")
    assert found.values[1] < 1e-14 * found.values[0]


def test_auto_decides_by_columns_and_rows():
    even = np.random.default_rng(0).standard_normal((9, 5))
    assert decompose(even).driver == "gesdd"
    scales = np.array([1.0, 1e-4, 1.0, 1.0, 1.0])
    assert decompose(even * scales).driver == "pivoted"
    assert decompose((even * scales).T).driver == "pivoted"
    assert decompose(even.T * scales[:, None], rows_graded=True).driver == "pivoted"
    assert decompose(np.vstack([even, 1e-6 * even[:1]])).driver == "pivoted"
    assert decompose(np.vstack([even, 1e-6 * even[:1]]), rows_graded=False).driver == "gesdd"


def test_grading_ignores_zeros():
    assert grading(np.zeros(3)) == 1.0
    assert grading(np.array([0.0, 2.0, 8.0])) == 4.0


def test_unknown_drivers_are_named():
    with pytest.raises(ValueError, match=r"unknown driver 'svds'; allowed: 'auto', 'gesdd'"):
        decompose(np.eye(2), "svds")


def test_constants_grow_with_the_root_of_the_smaller_side():
    for driver, constant in CONSTANTS.items():
        assert error_constant((400, 25), driver) == error_constant((25, 400), driver) == 6.5 * constant


def test_leading_values_interlace():
    generator = np.random.default_rng(0)
    matrix = generator.standard_normal((60, 50)) * 0.8 ** np.arange(50)
    exact = np.linalg.svd(matrix, compute_uv=False)
    found = leading_values(matrix, 5)
    residual = found.details["residual_norm"]
    assert (found.values <= exact[:5] * (1 + 1e-14)).all()
    assert (exact[:5] <= np.hypot(found.values, residual)).all()
    assert np.linalg.norm(exact[15:]) * (1 - 1e-12) <= residual < 2 * np.linalg.norm(exact[15:])


SPARSE = np.array([[1.0, 0, 1, 1], [0, 1, 1, -1], [0, 1, 1, 1], [1, 0, 0, 1]])


@pytest.mark.parametrize("driver", ["pivoted", "jacobi"])
@pytest.mark.parametrize("scales", [[1, 1, 1e-18, 1e-19], [1e16, 1e-3, 1e-25, 1e-27]])
def test_a_triangular_factor_with_zeros_keeps_its_small_values(driver, scales):
    """R of a graded matrix with zeros has rows of very different size, in which gesdd loses the small values."""
    matrix = SPARSE * np.array(scales)
    assert np.allclose(decompose(matrix, driver).values, certified_singular_values(matrix), rtol=1e-14, atol=0)


@pytest.mark.parametrize("driver", ["pivoted", "jacobi"])
def test_columns_whose_squares_underflow_are_columns(driver):
    matrix = np.vander(np.linspace(0.1, 1, 6)) * 1e-110
    matrix[:, -1] *= 1e-56
    found = decompose(matrix, driver).values
    assert np.allclose(found, certified_singular_values(matrix), rtol=1e-10, atol=0)
