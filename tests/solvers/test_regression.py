"""Dense least squares: the three methods against numpy, slow definitions, and systems with a known answer."""

import numpy as np
import pytest
import torch

from solvers.regression import METHODS, solve_regression


def graded(rows=40, columns=12, decades=9, seed=0):
    """A matrix with singular values 1 ... 10^-decades, its factors, and a right side that it does not reach."""
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.normal(size=(rows, columns)))[0]
    right = np.linalg.qr(rng.normal(size=(columns, columns)))[0]
    values = np.logspace(0, -decades, columns)
    matrix = (left * values) @ right.T
    target = matrix @ rng.normal(size=(columns, 1)) + 1e-3 * rng.normal(size=(rows, 1))
    return torch.from_numpy(matrix), torch.from_numpy(target), left, values, right


def residual(matrix, coefficients, target):
    return float(torch.linalg.vector_norm(matrix @ coefficients - target))


@pytest.mark.parametrize("method", METHODS)
def test_well_conditioned_systems_are_solved_as_numpy_does(method):
    matrix, target, *_ = graded(decades=2)
    found = solve_regression(matrix, target, method, 0.0 if method == "tikhonov" else None)
    expected = np.linalg.lstsq(matrix.numpy(), target.numpy(), rcond=None)[0]
    assert np.allclose(found.coefficients.numpy(), expected, rtol=1e-11)
    assert found.rank == 12 and found.shape == (40, 12)


@pytest.mark.parametrize("method", METHODS)
def test_the_spectrum_is_there_whatever_the_method(method):
    matrix, target, _, values, _ = graded()
    found = solve_regression(matrix, target, method)
    assert (found.spectrum is None) == (method == "qr")
    assert np.allclose(found.singular_values.numpy(), values, rtol=1e-6, atol=1e-15)
    assert found.singular_values is found.singular_values and found.spectrum_seconds > 0


def test_svd_keeps_what_is_above_the_cut():
    matrix, target, left, values, right = graded()
    found = solve_regression(1e4 * matrix, target, "svd", 3e-5)
    kept = values > 3e-5
    expected = right[:, kept] @ ((left[:, kept].T @ target.numpy()) / (1e4 * values[kept, None]))
    assert found.rank == kept.sum() == 6
    assert np.allclose(found.coefficients.numpy(), expected, rtol=1e-9)


def test_pivoted_qr_finds_the_rank_and_leaves_the_other_coefficients_out():
    rng = np.random.default_rng(3)
    matrix = torch.from_numpy(rng.normal(size=(50, 6)) @ rng.normal(size=(6, 15)))
    target = torch.from_numpy(rng.normal(size=(50, 1)))
    found = solve_regression(matrix, target, "qr")
    assert found.rank == 6 and int((found.coefficients != 0).sum()) == 6
    best = np.linalg.lstsq(matrix.numpy(), target.numpy(), rcond=None)[0]
    assert residual(matrix, found.coefficients, target) == pytest.approx(
        residual(matrix, torch.from_numpy(best), target), rel=1e-12
    )
    assert solve_regression(matrix, target, "qr", 0.99).rank == 1


def test_tikhonov_is_the_augmented_system():
    matrix, target, *_ = graded()
    matrix = 100 * matrix
    found = solve_regression(matrix, target, "tikhonov", 1e-3)
    assert found.damping == pytest.approx(0.1, rel=1e-12)
    augmented = np.vstack([matrix.numpy(), 0.1 * np.eye(12)])
    expected = np.linalg.lstsq(augmented, np.vstack([target.numpy(), np.zeros((12, 1))]), rcond=None)[0]
    assert np.allclose(found.coefficients.numpy(), expected, rtol=1e-8, atol=1e-10)


def test_cross_validation_minimises_its_function():
    """Slowly, with the hat matrix itself and from A alone: no grid value within a factor of ten is better."""
    matrix, target, *_ = graded(rows=30, columns=8, decades=6)
    a, b = matrix.numpy(), target.numpy()

    def generalised(damping):
        hat = a @ np.linalg.solve(a.T @ a + damping**2 * np.eye(8), a.T)
        return float(np.sum((b - hat @ b) ** 2) / np.trace(np.eye(30) - hat) ** 2)

    damping = solve_regression(matrix, target, "tikhonov").damping
    assert 1e-6 < damping < 1e-1
    others = [generalised(damping * 10**power) for power in np.linspace(-1, 1, 41)]
    # The function is flat at its minimum: a tenth of a decade away it is as small to a per cent.
    assert generalised(damping) < 1.01 * min(others)
    assert max(others[0], others[-1]) > 1.01 * generalised(damping)


def test_cross_validation_leaves_noise_out():
    rng = np.random.default_rng(1)
    matrix, _, _, values, right = graded(rows=200, columns=30, decades=12)
    truth = right @ (values[:, None] ** 0.5 * rng.normal(size=(30, 1)))
    noisy = matrix.numpy() @ truth + 1e-6 * rng.normal(size=(200, 1))
    errors = {}
    for name, options in {"cut": ("svd", None), "damped": ("tikhonov", None)}.items():
        found = solve_regression(matrix, torch.from_numpy(noisy), *options)
        errors[name] = np.linalg.norm(found.coefficients.numpy() - truth)
    assert errors["damped"] < 0.1 * np.linalg.norm(truth) < 1e-3 * errors["cut"]


def test_small_singular_values_survive():
    """A^T A would lose everything below 1e-8; the SVD keeps 1e-13 to eps / 1e-13, two digits."""
    matrix = torch.diag(torch.tensor([1.0, 1e-13, 1e-5], dtype=torch.float64))
    target = torch.tensor([[1.0], [2e-13], [3e-5]], dtype=torch.float64)
    for method in ("svd", "qr"):
        found = solve_regression(matrix, target, method, 1e-14)
        assert np.allclose(found.coefficients[:, 0].numpy(), [1.0, 2.0, 3.0], rtol=1e-2)
    assert found.rank == 3


@pytest.mark.parametrize("method", METHODS)
def test_more_columns_than_rows_are_solved_exactly(method):
    matrix, target, *_ = graded(decades=2)
    wide, right = matrix.T.contiguous(), target[:12]
    found = solve_regression(wide, right, method, 1e-14 if method == "tikhonov" else None)
    assert residual(wide, found.coefficients, right) < 1e-11
    assert found.singular_values.shape == (12,)


@pytest.mark.parametrize("method", METHODS)
def test_a_matrix_of_zeros_has_the_solution_zero(method):
    found = solve_regression(torch.zeros(5, 3).double(), torch.ones(5, 1).double(), method)
    assert found.rank == 0 and torch.equal(found.coefficients, torch.zeros(3, 1).double())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_entries_that_are_not_finite_are_refused(bad):
    matrix, target, *_ = graded()
    with pytest.raises(ValueError, match="not finite"):
        solve_regression(matrix, bad * target)
    matrix[3, 2] = bad
    with pytest.raises(ValueError, match="not finite"):
        solve_regression(matrix, target)
