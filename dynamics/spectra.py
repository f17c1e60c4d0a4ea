"""Singular spectra in which each value carries its floor: the estimated error, below which it is rounding noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import xarray as xr

from dynamics.drivers import EPS, Decomposition, cusolver_values, decompose, error_constant, leading_values
from dynamics.tall import Progress, require_memory, row_blocks, triangular_factor
from dynamics.trajectory import require

TRUST = 100.0
"""A value above this many floors is right to 1 %, and trusted; between one and this many it is marginal."""

SVD_FLOOR = "round-off of the SVD"
ENTRY_FLOOR = "round-off of the entries"

PROJECTION_FLOOR = "remainder of the randomized projection"

SAFE = (1e-140, 1e140)
"""Largest entries within which squares neither overflow nor vanish."""


def spectrum_floor(singular_values, shape) -> np.ndarray:
    r"""Return the error that a dense SVD in float64 leaves in each of its singular values.

    $$ f = p \, \varepsilon \, \sigma_1, \qquad p = 1.5 \, (1.5 + \sqrt{\min(m, n)}) $$

    An estimate with a measured constant, not a bound: see `dynamics.drivers.error_constant`.

    Args:
        singular_values: (..., index), in any order.
        shape: (m, n) of the matrix.

    Returns:
        Float64 array of the leading shape, in the unit of the singular values.

    Raises:
        ValueError: If there are no singular values.

    Source: LAPACK Users' Guide, error bounds of the singular value decomposition.

    Example:
        >>> float(spectrum_floor([1.0, 1e-20], (100, 4))) / 2.0**-52
        5.25
    """
    values = np.asarray(singular_values, dtype=np.float64)
    if values.ndim == 0 or values.shape[-1] == 0:
        raise ValueError(f"expected singular values along the last axis, got shape {values.shape}; pass at least one")
    return error_constant(shape) * EPS * values.max(axis=-1)


def singular_spectrum(
    source,
    *,
    driver: str = "auto",
    leading: int | None = None,
    operator_floor: float | None = None,
    block_rows: int | None = None,
    progress: Progress | None = None,
) -> xr.Dataset:
    r"""Compute a matrix's singular spectrum, or read a trajectory's, with the floor of each value.

    $$ f_k = \min(p \, \varepsilon \, \sigma_1 + e, \; (p \, \varepsilon + \varepsilon_A) \, \kappa \, \sigma_k) $$

    p eps sigma_1 is the round-off of the SVD (`error_constant`), e that of storing the entries: each is taken as
    rounded to the precision it came in, a perturbation of 2-norm

    $$ e = \varepsilon_A / \sqrt{12} \, (\max_j \|a_{\cdot j}\| + \max_i \|a_{i \cdot}\|), $$

    which for entries of one size is that of a random matrix of rounding errors. The second, relative, floor is claimed
    by the drivers "pivoted" and "jacobi" only (`decompose`). An `operator_floor` replaces e and is added to all.
    Among the smallest numbers of a type rounding is no longer relative: their spacing is added to both. Integers and
    booleans have e = 0. Computing the entries may have cost more than their last rounding: what a finite
    difference leaves, about eps * amplitude / h^p, has to be given as `operator_floor`.

    trusted: sigma_k > 100 f_k, marginal: f_k < sigma_k <= 100 f_k, noise: the rest. What truncation in the operator
    does to a value is no noise and does not enter.

    Args:
        source: a 2-D array; a cupy array (cuSOLVER's gesvd); an open h5py Dataset, 2-D, which is read by blocks of
            rows and reduced by QR, never loaded whole; or a trajectory with `/spectra`.
        driver: "gesdd", "gesvd", "pivoted", "jacobi", or "auto": "pivoted" where norms of columns or rows differ by
            more than 1e3, else "gesdd". For a Dataset it is that of the triangular factor, columns alone decide.
        leading: compute only this many, by randomized projection; what that leaves out enters the floor. Above
            min(m, n) / 4 all are computed and the leading ones kept.
        operator_floor: absolute 2-norm of the noise in the entries, in the unit of the singular values; None estimates
            it for arrays and takes what the trajectory has.
        block_rows: of a Dataset; None takes about 32 MB.
        progress: called with (rows done, rows) while a Dataset is read.

    Returns:
        Over ([step,] index): `singular_value`, `relative` (over sigma_1), `floor`, `trusted`, `marginal`, and, where a
        trajectory has them, `truncation` and `exact_singular_value`. Over ([step]): `svd_floor` and `entry_floor`, both
        absolute. Attributes: `driver`, `floor_origin` (which of the two is larger, at most steps), `trust_factor`, and
        where known `rows`, `columns`, `dtype`, `matrix`, `condition`, `residual_norm`.

    Raises:
        ValueError: If the array is not 2-D, is empty, complex or not finite, or an option is unknown or does not fit
            the source.
        MemoryError: If the matrix does not fit into memory.
        TrajectoryError: If the trajectory lacks a variable; it is named.

    Cost: one SVD for an array; reading for a trajectory.

    Example:
        >>> spectrum = singular_spectrum([[1.0, 0.0], [0.0, 1e-6]], operator_floor=1e-7)
        >>> spectrum.trusted.values.tolist(), spectrum.marginal.values.tolist(), spectrum.floor_origin
        ([True, False], [False, True], 'round-off of the entries')
    """
    if operator_floor is not None and not 0 <= operator_floor < np.inf:
        raise ValueError(f"expected operator_floor >= 0, got {operator_floor}; it is a 2-norm in the entries' unit")
    if isinstance(source, xr.DataTree):
        if driver != "auto" or leading is not None or block_rows is not None:
            raise ValueError(
                "expected no driver, leading or block_rows for a trajectory, whose spectra are computed; "
                "pass its matrix to compute one"
            )
        return _recorded(source, operator_floor)
    if isinstance(source, str | Path | h5py.File | h5py.Group):
        raise ValueError(
            f"expected an array, an h5py Dataset or an open trajectory, got {source!r}; open_trajectory(path) opens a "
            'run, file["name"] is a Dataset'
        )
    if isinstance(source, np.ma.MaskedArray):
        raise ValueError("expected entries everywhere, got a masked array; fill it, or drop rows")
    if isinstance(source, h5py.Dataset):
        if leading is not None:
            raise ValueError(
                "expected leading=None for an h5py Dataset, all values come from one pass; slice them after"
            )
        return _assemble(_streamed(source, driver, block_rows, progress), operator_floor)
    if block_rows is not None:
        raise ValueError("expected block_rows with an h5py Dataset, got an array; leave it out")
    return _assemble(_in_memory(source, driver, leading), operator_floor)


@dataclass(frozen=True, eq=False)
class _Measured:
    """Singular values of a matrix, what is known about their errors, and about the matrix."""

    found: Decomposition
    svd_floor: float
    entry_floor: float
    entry_eps: float
    shape: tuple[int, int]
    dtype: np.dtype

    @property
    def spacing(self) -> float:
        """The 2-norm that rounding has where it is no longer relative: among the smallest numbers of the type."""
        smallest = float(np.finfo(self.dtype).smallest_subnormal) if self.dtype.kind == "f" else 0.0
        return smallest / 12**0.5 * (self.shape[0] ** 0.5 + self.shape[1] ** 0.5)


def _in_memory(source, driver: str, leading: int | None) -> _Measured:
    cupy_array = type(source).__module__.partition(".")[0] == "cupy"
    given = source if cupy_array else np.asarray(source)
    entries, scale = _scaled(_float64(given))
    floor, eps = _entry_round_off(_norm(entries, 0), _norm(entries, 1), given.dtype)
    if leading is not None and (isinstance(leading, bool) or not isinstance(leading, int | np.integer) or leading < 1):
        raise ValueError(f"expected leading as an integer >= 1, got {leading!r}; None computes all")
    if leading is not None and driver not in ("auto", "randomized"):
        raise ValueError(f"expected driver 'auto' with leading={leading}, got {driver!r}; leave one of them out")
    if cupy_array:
        if driver not in ("auto", "gesvd"):
            raise ValueError(
                f"expected driver 'auto' or 'gesvd' for a cupy array, got {driver!r}; cupy.asnumpy it first"
            )
        found = cusolver_values(entries)
    elif leading is not None and leading <= min(given.shape) / 4:
        found = leading_values(entries, leading)
    else:
        found = decompose(entries, "auto" if driver == "randomized" else driver)
    values = found.values[:leading] * scale
    details = dict(found.details)
    if "residual_norm" in details:
        details["residual_norm"] *= scale
    found = Decomposition(values, found.driver, found.constant, found.condition, details)
    svd_floor = found.constant * EPS * values[0]
    return _Measured(found, svd_floor, floor * scale, eps, given.shape, np.dtype(given.dtype))


def _streamed(dataset: h5py.Dataset, driver: str, block_rows: int | None, progress: Progress | None) -> _Measured:
    longest, blocks = 0.0, 0

    def observed() -> Iterator[np.ndarray]:
        nonlocal longest, blocks
        for block in row_blocks(dataset, block_rows):
            yield block
            longest, blocks = max(longest, float(np.einsum("ij,ij->i", block, block).max())), blocks + 1

    factor = triangular_factor(observed(), progress, max(dataset.shape, default=0))
    # R has the column norms of the matrix. Its rows are no rows of the matrix, whose scales they do not keep.
    found = decompose(factor, driver, rows_graded=False)
    values = found.values[: min(dataset.shape)]
    # Every block rounds R once more, at worst always to the same side: 0.04 eps sigma_1 a block was seen.
    constant = found.constant + 0.1 * blocks
    found = Decomposition(values, f"tsqr + {found.driver}", constant, found.condition, found.details)
    floor, eps = _entry_round_off(_norm(factor, 0), np.array([longest**0.5]), dataset.dtype)
    return _Measured(
        found,
        constant * EPS * values[0],
        floor,
        eps,
        dataset.shape,
        dataset.dtype,
    )


def _norm(entries, axis: int):
    return (entries * entries).sum(axis=axis) ** 0.5


def _entry_round_off(columns, rows, dtype) -> tuple[float, float]:
    """Return the 2-norm that rounding the entries is expected to have, and their precision; 0 for integers."""
    if dtype.kind != "f":
        return 0.0, 0.0
    eps = max(float(np.finfo(dtype).eps), EPS)
    return eps / 12**0.5 * (float(columns.max()) + float(rows.max())), eps


def _float64(entries):
    """Check an array and return a float64 copy, on the device it lives on."""
    if entries.ndim != 2:
        raise ValueError(f"expected a 2-D matrix, got shape {entries.shape}; reshape it, or call once per matrix")
    if entries.size == 0:
        raise ValueError(f"expected a matrix with entries, got shape {entries.shape}; a spectrum needs at least one")
    if entries.dtype.kind == "c":
        raise ValueError(
            f"expected real entries, got {entries.dtype}; stack real and imaginary parts as "
            "[[Re, -Im], [Im, Re]] (each singular value then appears twice)"
        )
    if entries.dtype.kind not in "fiub":
        raise ValueError(f"expected real numbers, got {entries.dtype}; convert them to float64")
    if isinstance(entries, np.ndarray):
        require_memory(24 * entries.size, f"three float64 copies of a {entries.shape} matrix")
    # numpy's functions on a cupy array run on its device.
    bad = int((~np.isfinite(entries)).sum())
    if bad:
        raise ValueError(
            f"expected finite entries, got {bad} NaN or infinite of {entries.size}; "
            "find the step at which the run diverged, or drop those rows"
        )
    return entries.astype(np.float64)


def _scaled(entries):
    """Divide by a power of two where squares of the entries would overflow or vanish; else return them with 1."""
    largest = float(abs(entries).max())
    if largest == 0 or SAFE[0] < largest < SAFE[1]:
        return entries, 1.0
    scale = 2.0 ** (int(np.frexp(largest)[1]) - 1)
    return entries / scale, scale


def _assemble(measured: _Measured, operator_floor: float | None) -> xr.Dataset:
    found = measured.found
    values = found.values
    entry_floor = measured.entry_floor if operator_floor is None else operator_floor
    relative_error = found.constant * EPS
    absolute = np.full(values.shape, measured.svd_floor)
    if operator_floor is None:
        absolute, relative_error = absolute + entry_floor, relative_error + measured.entry_eps
    floor = absolute
    if np.isfinite(found.condition):
        floor = np.minimum(absolute, relative_error * found.condition * values)
        # A value of 0 is exact only where rows or columns are 0: nothing relative is claimed for it.
        floor = np.where(values > 0, floor, absolute)
    floor = floor + (measured.spacing if operator_floor is None else entry_floor)
    if "residual_norm" in found.details:
        floor = floor + np.hypot(values, found.details["residual_norm"]) - values
    attrs = {
        "driver": found.driver,
        "rows": measured.shape[0],
        "columns": measured.shape[1],
        "dtype": str(measured.dtype),
    }
    attrs |= {"condition": found.condition} if np.isfinite(found.condition) else {}
    spectrum = _labelled(
        xr.DataArray(values, dims="index"),
        xr.DataArray(floor, dims="index"),
        xr.DataArray(measured.svd_floor),
        xr.DataArray(float(entry_floor)),
        {**attrs, **found.details},
    )
    if "residual_norm" in found.details and (floor > 2 * absolute).any():
        spectrum.attrs["floor_origin"] = PROJECTION_FLOOR
    return spectrum


def _recorded(trajectory: xr.DataTree, operator_floor: float | None) -> xr.Dataset:
    values, svd_floor = (
        variable.compute() for variable in require(trajectory, "spectra/singular_value", "spectra/floor").values()
    )
    group = trajectory["spectra"]
    known = group.attrs.get("operator_floor", 0.0)
    entry_floor = xr.zeros_like(svd_floor) + float(known if operator_floor is None else operator_floor)
    if operator_floor is None and "entry_floor" in group:
        # Where nothing says it, it stays NaN, and nothing is trusted.
        entry_floor = group["entry_floor"].compute().fillna(group.attrs.get("operator_floor", np.nan))
    names = ("matrix", "rows", "columns", "driver", "dtype")
    attrs = {"driver": "as recorded"} | {name: group.attrs[name] for name in names if name in group.attrs}
    if "dtype" not in attrs and "dtype" in trajectory.attrs:
        attrs["dtype"] = trajectory.attrs["dtype"]
    floor = (svd_floor + entry_floor).broadcast_like(values).transpose(*values.dims)
    result = _labelled(values, floor, svd_floor, entry_floor, attrs)
    passed = [name for name in ("truncation", "exact_singular_value") if name in group]
    return result.assign({name: group[name].compute() for name in passed})


def _labelled(values, floor, svd_floor, entry_floor, attrs: dict) -> xr.Dataset:
    """Assemble the Dataset: what lies above its floor, and what so far above that it is right to 1 %."""
    # fmax: NaN rows (nothing measured at that step) stay NaN without a warning
    largest = xr.apply_ufunc(np.fmax.reduce, values, input_core_dims=[["index"]], kwargs={"axis": -1})
    trusted = values > TRUST * floor
    dominated = int((entry_floor > svd_floor).sum()) > svd_floor.notnull().sum() / 2
    said = {
        "singular_value": (values, "singular values, largest first"),
        "relative": (values / largest.where(largest > 0, 1.0), "singular values over the largest"),
        "floor": (floor, "estimated error of the singular values"),
        "trusted": (trusted, f"singular value above {TRUST:g} floors"),
        "marginal": ((values > floor) & ~trusted, f"singular value above its floor, not above {TRUST:g} floors"),
        "svd_floor": (svd_floor, SVD_FLOOR),
        "entry_floor": (entry_floor, "2-norm of the round-off in the entries"),
    }
    variables = {
        name: variable.drop_attrs().assign_attrs(units="1", long_name=text) for name, (variable, text) in said.items()
    }
    origin = ENTRY_FLOOR if dominated else SVD_FLOOR
    return xr.Dataset(variables).assign_attrs({**attrs, "floor_origin": origin, "trust_factor": TRUST})
