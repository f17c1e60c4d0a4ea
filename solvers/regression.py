"""Dense linear least squares without normal equations: Householder QR first, then what is done with R."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from time import perf_counter

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

METHODS = {"svd": "truncated SVD", "qr": "column-pivoted QR", "tikhonov": "Tikhonov"}
"""Name -> what a description calls it."""
DAMPINGS_A_DECADE = 10
"""Values of the damping that generalised cross-validation tries: a minimum this flat needs no finer ones."""


@dataclass(frozen=True, eq=False)
class Regression:
    """A solved least-squares system A c = b.

    Args:
        coefficients: (columns, 1).
        rank: directions kept: singular values, or diagonal entries of the pivoted R; with damping, singular values
            above it.
        damping: lambda of "tikhonov", in the unit of the entries; 0 otherwise.
        triangle: (min(rows, columns), columns): R of A = Q R, with the singular values of A.
        shape: (rows, columns) of A.
        spectrum: (min(rows, columns),) singular values, where the method computed them.
        seconds: taken by the method.
    """

    coefficients: Tensor = field(repr=False)
    rank: int
    damping: float
    triangle: Tensor = field(repr=False)
    shape: tuple[int, int]
    spectrum: Tensor | None = field(repr=False)
    seconds: float

    @cached_property
    def _timed_spectrum(self) -> tuple[Tensor, float]:
        if self.spectrum is not None:
            return self.spectrum, self.seconds
        start = perf_counter()
        return _svd(self.triangle, vectors=False), perf_counter() - start

    @property
    def singular_values(self) -> Tensor:
        """Singular values of A, largest first; computed once, when asked for, where the method did without them."""
        return self._timed_spectrum[0]

    @property
    def spectrum_seconds(self) -> float:
        """Seconds that the spectrum took: of the whole method where it needs one, of the SVD of R alone elsewhere."""
        return self._timed_spectrum[1]

    @property
    def driver(self) -> str:
        """The LAPACK algorithm behind the singular values."""
        return "gesvd" if self.triangle.is_cuda else "gesdd"


def round_off(shape: tuple[int, int]) -> float:
    """Return the relative round-off of a dense decomposition in float64, eps max(rows, columns).

    Args:
        shape: (rows, columns).

    Returns:
        Relative to the largest singular value.

    Example:
        >>> round_off((4, 2)) == 4 * 2.0**-52
        True
    """
    return torch.finfo(torch.float64).eps * max(shape)


def check_method(method: str, rcond: float | None) -> None:
    """Refuse an unknown method, or a cut that is none, before anything is computed.

    Args:
        method: one of `METHODS`.
        rcond: relative cut, or None.

    Raises:
        ValueError: which of them, and what was expected.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; expected one of {', '.join(METHODS)}")
    number = isinstance(rcond, int | float) and not isinstance(rcond, bool)
    if rcond is not None and not (number and 0 <= rcond < 1):
        raise ValueError(f"expected 0 <= rcond < 1, relative to the largest singular value, or None, came {rcond!r}")


def solve_regression(matrix: Tensor, right: Tensor, method: str = "svd", rcond: float | None = None) -> Regression:
    """Return the coefficients that minimise ||A c - b||, with what too small singular values would add left out.

    [A b] = Q [R z] by Householder reflections, in which Q is never formed, then with R = U S V^T or R P = Q' R':

    * "svd": c = sum_k v_k (u_k . z) / s_k over s_k > rcond s_1, the shortest solution of the truncated system;
    * "qr": column pivoting; rank = #{|r'_kk| > rcond |r'_11|} columns are used, the other coefficients are 0. Pivots
      follow singular values within small factors in practice, not by a theorem;
    * "tikhonov": min ||A c - b||^2 + lambda^2 ||c||^2, c = sum_k v_k s_k (u_k . z) / (s_k^2 + lambda^2), with
      lambda = rcond s_1, or, where none is given, the lambda that minimises
      ||A c - b||^2 / (rows - sum_k s_k^2 / (s_k^2 + lambda^2))^2 (generalised cross-validation, ten values a decade
      between eps s_1 and s_1). It needs no noise level, which the discrepancy principle would.

    A^T A is never formed: it would lose every singular value below sqrt(eps) s_1.

    Args:
        matrix: (rows, columns), float64.
        right: (rows, 1).
        method: "svd", "qr" or "tikhonov".
        rcond: relative cut, or relative damping; None is eps max(rows, columns), or cross-validation.

    Returns:
        Coefficients and what is known of the spectrum.

    Raises:
        ValueError: an unknown method, rcond outside [0, 1), or entries that are not finite.

    Source: G. H. Golub, C. F. Van Loan, Matrix Computations, 4th ed., 5.4-5.5; G. H. Golub, M. Heath, G. Wahba,
    Technometrics 21 (1979).

    Cost: 2 rows columns^2 for R, then about 4 columns^3 (truncated, by gelsd), 4/3 (pivoted QR) or 20 (Tikhonov, which
        needs the singular vectors): 0.34, 0.08 and 0.65 s beside 0.22 s for R at 2,800 x 1,300.

    Example:
        >>> matrix = torch.tensor([[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
        >>> right = torch.tensor([[2.0], [2.0], [1.0]], dtype=torch.float64)
        >>> [solve_regression(matrix, right, method).rank for method in ("svd", "qr")]
        [1, 1]
    """
    check_method(method, rcond)
    start = perf_counter()
    if not (torch.isfinite(matrix).all() and torch.isfinite(right).all()):
        raise ValueError(
            "the collocation system has entries that are not finite: lower the scale of the features or the weights"
        )
    columns, rows = matrix.shape[1], min(matrix.shape)
    whole = torch.linalg.qr(torch.cat([matrix, right], dim=1), mode="r").R
    triangle, turned = whole[:rows, :columns], whole[:rows, columns:]
    unreached = float(whole[columns:, columns:].square().sum())
    cut = round_off(matrix.shape) if rcond is None else rcond
    spectrum, damping = None, 0.0
    if method == "qr":
        coefficients, rank = _pivoted(triangle, turned, cut)
    elif method == "svd" and not triangle.is_cuda:
        coefficients, rank, spectrum = _truncated(triangle, turned, cut)
    else:
        left, spectrum, basis = _svd(triangle)
        seen = left.T @ turned
        if method == "svd":
            rank = int((spectrum > cut * spectrum[0]).sum())
            coefficients = basis[:rank].T @ (seen[:rank] / spectrum[:rank, None])
        else:
            relative = _cross_validated(spectrum, seen[:, 0], unreached, len(matrix)) if rcond is None else rcond
            damping = relative * float(spectrum[0])
            rank = int((spectrum > damping).sum())
            shrunk = spectrum / (spectrum.square() + damping**2).clamp_min(torch.finfo(spectrum.dtype).tiny)
            coefficients = basis.T @ (shrunk[:, None] * seen)
    seconds = perf_counter() - start
    return Regression(coefficients, rank, damping, triangle, tuple(matrix.shape), spectrum, seconds)


def _svd(triangle: Tensor, vectors: bool = True):
    # gesvd on CUDA: the default there is Jacobi's method with its looser convergence.
    driver = "gesvd" if triangle.is_cuda else None
    if vectors:
        return torch.linalg.svd(triangle, full_matrices=False, driver=driver)
    return torch.linalg.svdvals(triangle, driver=driver)


def _truncated(triangle: Tensor, turned: Tensor, cut: float) -> tuple[Tensor, int, Tensor]:
    """Return the shortest solution of the truncated R c = z by LAPACK's gelsd, which never forms U and V."""
    found, _, rank, spectrum = scipy.linalg.lstsq(
        triangle.numpy(), turned.numpy(), cond=cut, lapack_driver="gelsd", check_finite=False
    )
    return torch.from_numpy(np.ascontiguousarray(found)), int(rank), torch.from_numpy(spectrum)


def _pivoted(triangle: Tensor, turned: Tensor, cut: float) -> tuple[Tensor, int]:
    """Return the basic solution of R c = z by LAPACK's geqp3, on the CPU: torch has no pivoted QR."""
    # Q' is applied and never formed: where R is singular its reflections hold subnormal numbers, which cost tenfold.
    reached, pivoted, order = scipy.linalg.qr_multiply(
        triangle.cpu().numpy(), turned[:, 0].cpu().numpy(), mode="right", pivoting=True
    )
    diagonal = np.abs(np.diag(pivoted))
    rank = int((diagonal > cut * diagonal[0]).sum())
    found = np.zeros((triangle.shape[1], 1))
    found[order[:rank], 0] = scipy.linalg.solve_triangular(pivoted[:rank, :rank], reached[:rank], check_finite=False)
    return torch.from_numpy(found).to(triangle), rank


def _cross_validated(spectrum: Tensor, seen: Tensor, unreached: float, rows: int) -> float:
    """Return lambda / s_1 at the smallest of generalised cross-validation's function; the smallest lambda on a tie."""
    eps = torch.finfo(spectrum.dtype).eps
    decades = -np.log10(eps)
    grid = torch.logspace(-decades, 0, round(DAMPINGS_A_DECADE * decades) + 1, dtype=spectrum.dtype)
    relative = (spectrum / spectrum[0].clamp_min(torch.finfo(spectrum.dtype).tiny)).cpu()
    kept = relative.square() / (relative.square() + grid[:, None].square())
    missed = ((1 - kept) * seen.cpu()).square().sum(dim=1) + unreached
    return float(grid[int((missed / (rows - kept.sum(dim=1)).square()).argmin())])
