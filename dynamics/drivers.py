"""Singular values of a matrix in memory by several methods, each with what is known about its error."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.linalg
from scipy.linalg import lapack

EPS = float(np.finfo(np.float64).eps)

GRADED = 1e3
"""Ratio of column or row norms from which "auto" takes the pivoted path."""

CONSTANTS = {"gesdd": 1.5, "gesvd": 1.5, "pivoted": 1.5, "jacobi": 4.0, "randomized": 1.5}
"""c of `error_constant`."""

OVERSAMPLES = 10


@dataclass(frozen=True, eq=False)
class Decomposition:
    """Singular values and the two bounds of their error.

    Args:
        values: largest first.
        driver: the method, by name.
        constant: p of |error of sigma_k| <= p eps min(sigma_1, condition * sigma_k).
        condition: of the matrix with columns, or rows, scaled to unit norm; inf where no relative bound is claimed.
        details: what else the attributes of a spectrum should say.
    """

    values: np.ndarray
    driver: str
    constant: float
    condition: float = np.inf
    details: dict[str, object] = field(default_factory=dict)


def error_constant(shape: tuple[int, int], driver: str = "gesdd") -> float:
    r"""Return the constant p of a driver's error estimate.

    $$ |\hat\sigma_k - \sigma_k| \le p \, \varepsilon \, \sigma_1, \qquad p = c \, (1.5 + \sqrt{\min(m, n)}) $$

    with c = 1.5, and 4 for Jacobi. The form is LAPACK's, the constants cover with a margin of about 1.5 what was seen:
    the largest error over kinds of matrices (random, graded, with scaled columns or rows, tanh features, Hilbert, rank
    deficient, nearly constant) and seeds was 3.0 eps sigma_1 at 10 x 10, 3.1 at 1000 x 3, 4.8 at 60 x 60, and 11 at
    200 x 200 and at 400 x 400; of Jacobi 4.5, 2.9, 9, 26 and 31. The median of estimate over error is 6; errors below
    0.3 eps sigma_1 occur (Hilbert, nearly constant), where it is 30 to 500.

    Args:
        shape: (m, n).
        driver: a key of `CONSTANTS`.

    Returns:
        A pure number.

    Source: LAPACK Users' Guide, error bounds of the singular value decomposition; the errors to 100
    columns are those of `analyses/benchmarks/drivers.py`, against exact arithmetic; the larger ones were measured
    once, against one-sided Jacobi in 80-bit floats.

    Example:
        >>> error_constant((100, 4))
        5.25
    """
    return CONSTANTS[driver] * (1.5 + min(shape) ** 0.5)


def decompose(matrix: np.ndarray, driver: str = "auto", *, rows_graded: bool = True) -> Decomposition:
    r"""Compute all singular values of a real matrix by a named driver.

    "gesdd", "gesvd": LAPACK's SVD without vectors. "pivoted": rows sorted by size, then A P = Q R with column pivoting,
    the same of R^T, then gesdd of that factor. "jacobi": LAPACK's gejsv with joba "F". "auto": "pivoted" where norms of
    columns or of rows differ by more than `GRADED`, else "gesdd" (without vectors gesvd has the same errors and takes
    the same time).

    The last two have errors relative to each value where A = B D or A = D C, D diagonal and B or C well conditioned:

    $$ |\hat\sigma_k - \sigma_k| \le p \, \varepsilon \, \kappa \, \sigma_k $$

    with kappa from `column_condition` or `row_condition`, the smaller. Here the largest errors over eps kappa sigma_k
    were 2.1, and 2.6 for Jacobi.

    Args:
        matrix: (m, n) float64, finite, not empty.
        driver: "auto", "gesdd", "gesvd", "pivoted", "jacobi".
        rows_graded: whether the rows are the user's; those of a triangular factor say nothing about them.

    Returns:
        Values and error bounds.

    Raises:
        ValueError: If the driver is unknown.

    Source: Z. Drmac and K. Veselic, "New fast and accurate Jacobi SVD algorithm" I, II, SIAM J. Matrix Anal. Appl. 29
    (2008); A. J. Cox and N. J. Higham, "Stability of Householder QR factorization for weighted least squares problems"
    (1998), on sorting the rows; J. Demmel et al., Linear Algebra Appl. 299 (1999).

    Cost: O(m n min(m, n)); "pivoted" takes about twice and "jacobi" 3 to 8 times as long as gesdd.

    Example:
        >>> decompose(np.diag([1e-30, 1.0, 1e-20]), "pivoted").values.tolist()
        [1.0, 1e-20, 1e-30]
    """
    if driver not in ("auto", "gesdd", "gesvd", "pivoted", "jacobi"):
        raise ValueError(f"unknown driver {driver!r}; allowed: 'auto', 'gesdd', 'gesvd', 'pivoted', 'jacobi'")
    tall = np.asfortranarray(matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T)
    rows, columns = (norms(tall, axis) for axis in (1, 0))
    if driver == "auto":
        graded = grading(columns) > GRADED or (rows_graded and grading(rows) > GRADED)
        driver = "pivoted" if graded else "gesdd"
    if driver in ("gesdd", "gesvd"):
        values = scipy.linalg.svd(tall, compute_uv=False, check_finite=False, lapack_driver=driver)
        return Decomposition(values, driver, error_constant(matrix.shape, driver))
    kept = np.asfortranarray(tall[np.argsort(-rows, kind="stable")[: np.count_nonzero(rows)]][:, columns > 0])
    values = np.zeros(tall.shape[1])
    condition = np.inf
    if kept.size:
        found = _jacobi(kept) if driver == "jacobi" else _pivoted(kept)
        values[: len(found)] = np.sort(found)[::-1]
        condition = scaled_condition(kept, rows_graded)
    return Decomposition(values, driver, error_constant(matrix.shape, driver), condition)


def norms(matrix: np.ndarray, axis: int) -> np.ndarray:
    """Return 2-norms along an axis, also of entries whose squares underflow or overflow.

    Args:
        matrix: (m, n).
        axis: 0 for columns, 1 for rows.

    Returns:
        (n,) or (m,).

    Example:
        >>> norms(np.array([[3e-200], [4e-200]]), 0).tolist()
        [5e-200]
    """
    largest = np.abs(matrix).max(axis=axis, keepdims=True, initial=0.0)
    scaled = np.divide(matrix, largest, out=np.zeros_like(matrix), where=largest > 0)
    return np.linalg.norm(scaled, axis=axis) * largest.squeeze(axis)


def grading(norms: np.ndarray) -> float:
    """Return the ratio of the largest to the smallest norm that is not zero.

    Args:
        norms: (k,), non-negative.

    Returns:
        At least 1; 1 where all are zero.

    Example:
        >>> grading(np.array([1.0, 0.0, 1e-4]))
        10000.0
    """
    positive = norms[norms > 0]
    return float(positive.max() / positive.min()) if positive.size else 1.0


def _pivoted(tall: np.ndarray) -> np.ndarray:
    few = min(tall.shape)
    factor = scipy.linalg.qr(tall, mode="r", pivoting=True, check_finite=False)[0][:few]
    # R may hold rows of very different size in no order, and gesdd then is not accurate relative to each value.
    second = scipy.linalg.qr(factor.T, mode="r", pivoting=True, check_finite=False)[0][:few]
    return scipy.linalg.svd(second, compute_uv=False, check_finite=False, lapack_driver="gesdd")


def _jacobi(matrix: np.ndarray) -> np.ndarray:
    """Run gejsv, whose default joba drops small values; joba = 2 is "F", jobu = jobv = 3 are "no vectors"."""
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else np.asfortranarray(matrix.T)
    values, _, _, work, _, info = lapack.dgejsv(tall, joba=2, jobu=3, jobv=3)
    if info:
        raise np.linalg.LinAlgError(f"expected gejsv to converge, came info={info}; take driver='pivoted'")
    return values * (work[0] / work[1])


def scaled_condition(tall: np.ndarray, rows_graded: bool = True) -> float:
    """Return the condition that relative errors are proportional to: by scaled columns or by scaled rows, the smaller.

    Args:
        tall: (m, n) without zero rows and columns.
        rows_graded: whether rows are looked at.

    Returns:
        At least about 1; inf where neither scaling leaves full column rank.

    Example:
        >>> round(scaled_condition(np.diag([1.0, 1e-20])), 12)
        1.0
    """
    if tall.shape[0] < tall.shape[1]:
        return np.inf
    columns = column_condition(tall)
    rows = row_condition(tall) if rows_graded and columns > 1e3 else np.inf
    return max(min(columns, rows), 1.0)


def column_condition(tall: np.ndarray) -> float:
    r"""Estimate kappa(B) of A = B D, the columns of B of unit norm.

    Args:
        tall: (m, n), m >= n, no column zero.

    Returns:
        1-norm condition of the triangular factor of B; inf where it is singular.

    Cost: one QR.

    Example:
        >>> round(column_condition(np.array([[1.0, 1e-9], [0.0, 1e-9]])), 6)
        2.747547
    """
    scaled = tall / norms(tall, 0)
    factor = scipy.linalg.qr(scaled, mode="r", check_finite=False)[0][: tall.shape[1]]
    reciprocal, _ = lapack.dtrcon(factor)
    return 1 / reciprocal if reciprocal > 0 else np.inf


def row_condition(tall: np.ndarray) -> float:
    r"""Estimate the condition ||C|| ||A^+ D|| of A = D C, the rows of C of unit norm.

    It is kappa(C) for square A. For tall A it is more: kappa(C) may be 1 while the n largest rows are nearly dependent,
    and then small values depend on differences of large entries. From the rank-revealing A = P X S Q^T that QR of A^T
    with pivoting gives (S diagonal, Q orthogonal, X well conditioned), A^+ D = Q S^-1 X^+ P^T D.

    Args:
        tall: (m, n), m >= n, no row zero.

    Returns:
        A pure number; inf where A lacks rank.

    Cost: a QR with pivoting of (n, m) and one of (m, n).

    Example:
        >>> bool(row_condition(np.array([[1.0, 0.0], [1.0, 1e-9], [0.0, 1e-10]])) > 1e8)
        True
    """
    sizes = norms(tall, 1)
    if tall.shape[0] == tall.shape[1]:
        return column_condition(tall.T)
    factor, order = scipy.linalg.qr(tall.T, mode="r", pivoting=True, check_finite=False)
    diagonal = np.abs(np.diag(factor))
    if diagonal.min() == 0:
        return np.inf
    orthogonal, triangle = scipy.linalg.qr((factor / diagonal[:, None]).T, mode="economic", check_finite=False)
    if np.abs(np.diag(triangle)).min() == 0:
        return np.inf
    inverse = scipy.linalg.solve_triangular(triangle, orthogonal.T, check_finite=False)
    with np.errstate(over="ignore"):
        scaled = inverse * (sizes[order] / diagonal[:, None])
        product = np.linalg.norm(scaled) * np.linalg.norm(tall / sizes[:, None], 2)
    return float(product) if np.isfinite(product) else np.inf


def leading_values(matrix: np.ndarray, leading: int) -> Decomposition:
    r"""Compute the leading singular values by a randomized projection, and what it leaves out.

    With Q orthonormal, A^T A = (Q^T A)^T Q^T A + E^T E, E = A - Q Q^T A, hence

    $$ \sigma_k(Q^T A) \le \sigma_k(A) \le \sqrt{\sigma_k(Q^T A)^2 + \|E\|^2}. $$

    Args:
        matrix: (m, n) float64, finite.
        leading: how many values; 10 more directions are computed and dropped.

    Returns:
        The values; `details` has the random state and `residual_norm`, the Frobenius norm of E, which is at least its
        2-norm.

    Source: N. Halko, P. G. Martinsson and J. A. Tropp, SIAM Review 53 (2011); scikit-learn's `randomized_svd`.

    Cost: O(m n leading).

    Example:
        >>> leading_values(np.diag(10.0 ** -np.arange(30)), 2).values.round(12).tolist()
        [1.0, 0.1]
    """
    from sklearn.utils.extmath import randomized_svd

    few = min(leading + OVERSAMPLES, *matrix.shape)
    left, values, _ = randomized_svd(matrix, few, n_oversamples=OVERSAMPLES, random_state=0)
    residual = float(np.linalg.norm(matrix - left @ (left.T @ matrix)))
    details = {"leading": leading, "random_state": 0, "residual_norm": residual}
    return Decomposition(values[:leading], "randomized", error_constant(matrix.shape, "randomized"), details=details)


def cusolver_values(matrix) -> Decomposition:
    """Compute all singular values of a cupy array by cuSOLVER's gesvd.

    `cupy.linalg.svd` of one matrix calls gesvd; the faster gesvdj iterates to a tolerance and is never taken.

    Args:
        matrix: (m, n) cupy array of float64, finite.

    Returns:
        The values, on the CPU.
    """
    import cupy

    values = cupy.asnumpy(cupy.linalg.svd(matrix, compute_uv=False))
    return Decomposition(values, "cusolver gesvd", error_constant(matrix.shape, "gesvd"))
