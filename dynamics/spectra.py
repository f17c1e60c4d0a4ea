"""Singular spectra with the floor below which their values are rounding noise."""

from __future__ import annotations

import numpy as np
import scipy.linalg
import xarray as xr

from dynamics.trajectory import require

SVD_FLOOR = "round-off of the SVD"
DIFFERENCE_FLOOR = "round-off of the finite differences"


def spectrum_floor(singular_values, shape, dtype=np.float64) -> np.ndarray:
    r"""Return the size below which computed singular values are rounding noise.

    $$ f = \varepsilon \, \max(m, n) \, \sigma_1 $$

    This is the usual backward-error bound of a dense SVD with its constant set to max(m, n), so it is
    pessimistic: the noise that one sees lies somewhat lower. It also covers entries that were rounded to
    `dtype` before the SVD.

    Args:
        singular_values: (..., index), in any order.
        shape: (m, n) of the matrix.
        dtype: the coarsest floating type that the entries went through.

    Returns:
        Float64 array of the leading shape, in the unit of the singular values.

    Raises:
        ValueError: If there are no singular values.

    Source: LAPACK Users' Guide, error bounds of the singular value decomposition.

    Example:
        >>> float(spectrum_floor([1.0, 1e-20], (100, 2)))
        2.220446049250313e-14
    """
    values = np.asarray(singular_values, dtype=np.float64)
    if values.ndim == 0 or values.shape[-1] == 0:
        raise ValueError(f"expected singular values along the last axis, got shape {values.shape}; pass at least one")
    return np.finfo(dtype).eps * max(shape) * values.max(axis=-1)


def singular_values(matrix) -> tuple[np.ndarray, float]:
    r"""Compute all singular values of a matrix, and the floor of `spectrum_floor`.

    A = U diag(sigma) V^T by LAPACK's divide and conquer (gesdd) on A itself in float64. The eigenvalues of
    A^T A would be cheaper and lose everything below sqrt(eps) sigma_1. Columns or rows of very different
    scale are not treated
    specially: values below the floor can be right there, but nothing says which.

    Args:
        matrix: (m, n), real; entries below float64 precision are kept as they are and raise the floor.

    Returns:
        The min(m, n) singular values, float64, largest first, and the floor, both in the unit of the entries.

    Raises:
        ValueError: If the matrix is not 2-D, is empty, is complex or holds a value that is not finite.

    Cost: O(m n min(m, n)) operations.

    Example:
        >>> values, floor = singular_values([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]])
        >>> values.tolist(), floor < 1e-14
        ([4.0, 3.0], True)
    """
    entries = np.asarray(matrix)
    if entries.ndim != 2:
        raise ValueError(f"expected a 2-D matrix, got shape {entries.shape}; reshape it, or call once per matrix")
    if entries.size == 0:
        raise ValueError(f"expected a matrix with entries, got shape {entries.shape}; a spectrum needs at least one")
    if np.iscomplexobj(entries):
        raise ValueError(
            f"expected real entries, got {entries.dtype}; stack real and imaginary parts as "
            "[[Re, -Im], [Im, Re]] (each singular value then appears twice)"
        )
    coarsest = np.float64
    if np.issubdtype(entries.dtype, np.floating) and np.finfo(entries.dtype).eps > np.finfo(np.float64).eps:
        coarsest = entries.dtype
    entries = entries.astype(np.float64)
    bad = np.count_nonzero(~np.isfinite(entries))
    if bad:
        raise ValueError(
            f"expected finite entries, got {bad} NaN or infinite of {entries.size}; "
            "find the step at which the run diverged, or drop those rows"
        )
    values = scipy.linalg.svd(entries, compute_uv=False, check_finite=False, lapack_driver="gesdd")
    return values, float(spectrum_floor(values, entries.shape, coarsest))


def _lift(values: xr.DataArray, floor: xr.DataArray, operator_floor, attrs: dict) -> xr.Dataset:
    """Assemble the Dataset: the larger of the two floors, and what lies above it."""
    origin = SVD_FLOOR
    if operator_floor is not None:
        if operator_floor > float(floor.median()):
            origin = DIFFERENCE_FLOOR
        floor = np.maximum(floor, float(operator_floor))
    # fmax: NaN rows (nothing measured at that step) stay NaN without a warning
    largest = xr.apply_ufunc(np.fmax.reduce, values, input_core_dims=[["index"]], kwargs={"axis": -1})
    relative = values / largest.where(largest > 0, 1.0)
    result = xr.Dataset(
        {
            "singular_value": values.assign_attrs(units="1", long_name="singular values, largest first"),
            "relative": relative.assign_attrs(units="1", long_name="singular values over the largest"),
            "floor": floor.assign_attrs(units="1", long_name="floor of the singular values"),
            "trusted": (values > floor).assign_attrs(units="1", long_name="singular value lies above the floor"),
        }
    )
    return result.assign_attrs({**attrs, "floor_origin": origin})


def singular_spectrum(source, *, operator_floor: float | None = None) -> xr.Dataset:
    r"""Compute a matrix's singular spectrum, or read a trajectory's, and mark what lies below its floor.

    trusted_k = sigma_k > f, f the larger of eps max(m, n) sigma_1 and the noise that the operator put into
    the entries: a finite difference of derivative order p and step h leaves about eps * amplitude / h^p, far
    above the round-off of the SVD, and that noise is full rank.

    Args:
        source: a 2-D array, or a trajectory with `/spectra` (`singular_value` (step, index), `floor`
            (step,)).
        operator_floor: absolute floor of the entries, in the unit of the singular values; None takes the
            attribute `operator_floor` of `/spectra` where there is one.

    Returns:
        `singular_value`, `relative` (sigma_k / sigma_1) and `trusted`, each ([step,] index), and `floor`
        ([step]); attribute `floor_origin` says which of the two floors it is (where they cross during the
        run, at most steps).

    Raises:
        ValueError: From `singular_values`, when the array has no spectrum.
        TrajectoryError: If the trajectory lacks a variable; it is named.

    Cost: one SVD for an array; reading for a trajectory.

    Example:
        >>> spectrum = singular_spectrum([[1.0, 0.0], [0.0, 1e-6]], operator_floor=1e-4)
        >>> spectrum.trusted.values.tolist(), spectrum.floor_origin
        ([True, False], 'round-off of the finite differences')
    """
    if not isinstance(source, xr.DataTree):
        values, floor = singular_values(source)
        rows, columns = np.shape(source)
        attrs = {"rows": rows, "columns": columns}
        return _lift(xr.DataArray(values, dims="index"), xr.DataArray(floor), operator_floor, attrs)
    values, floor = require(source, "spectra/singular_value", "spectra/floor").values()
    group = source["spectra"].attrs
    if operator_floor is None:
        operator_floor = group.get("operator_floor")
    attrs = {name: group[name] for name in ("matrix", "rows", "columns") if name in group}
    return _lift(values.compute(), floor.compute(), operator_floor, attrs)
