"""K(a) and H(a) of one spectrum over the cut a, and which cuts lie below its floor."""

from __future__ import annotations

import numpy as np
import xarray as xr

from dynamics.entropy import truncated_entropy

DECADES = tuple(float(f"1e-{exponent}") for exponent in range(2, 16))
"""The cuts of tables: 1e-2 ... 1e-15. One cut can be chosen to show anything; a curve cannot."""


def relative_floor(spectrum: xr.Dataset, *, entries: bool = True) -> float:
    r"""Return the cut below which a spectrum's values are round-off.

    $$ f = (f_{svd} + f_{entries}) / \sigma_1 $$

    Args:
        spectrum: one spectrum with `singular_value` (index,), `svd_floor` and `entry_floor`.
        entries: False leaves the round-off of the entries out.

    Returns:
        A pure number.

    Example:
        >>> columns = {"singular_value": ("index", [2.0]), "svd_floor": 1e-15, "entry_floor": 3e-15}
        >>> relative_floor(xr.Dataset(columns))
        2e-15
    """
    floor = float(spectrum["svd_floor"])
    if entries and np.isfinite(spectrum["entry_floor"]):
        floor += float(spectrum["entry_floor"])
    return floor / float(spectrum["singular_value"].max())


def cut_curves(spectrum: xr.Dataset, a=DECADES) -> xr.Dataset:
    """Compute K(a) and H(a) of one spectrum, and of its exact derivatives where they were recorded.

    Args:
        spectrum: from `spectrum_at`.
        a: cuts relative to the largest singular value, in (0, 1].

    Returns:
        Over `a`: `kept`, `entropy`, `above_floor` (a >= `relative_floor`); `exact_kept`, `exact_entropy` and
        `exact_above_floor` (the floor of the SVD alone) where `exact_singular_value` is known.

    Raises:
        ValueError: From `truncated_entropy`: a cut out of range, or a spectrum that has none.

    Source: ours, see `truncated_entropy`.

    Example:
        >>> columns = {"singular_value": ("index", [1.0, 1e-3, 1e-9]), "svd_floor": 1e-16, "entry_floor": 1e-8}
        >>> curves = cut_curves(xr.Dataset(columns), [1e-4, 1e-10])
        >>> curves.kept.values.tolist(), curves.above_floor.values.tolist()
        ([2, 3], [True, False])
    """
    cuts = np.atleast_1d(np.asarray(a, dtype=np.float64))
    columns = _columns("", "", spectrum["singular_value"].values, cuts, relative_floor(spectrum))
    if "exact_singular_value" in spectrum and np.isfinite(exact := spectrum["exact_singular_value"].values).all():
        svd_alone = relative_floor(spectrum, entries=False)
        columns |= _columns("exact_", ", exact derivatives", exact, cuts, svd_alone)
    coords = {"a": ("a", cuts, {"units": "1", "long_name": "cut relative to the largest singular value"})}
    return xr.Dataset(columns, coords, {"normalize": "log_kept", "threshold": "relative"})


def _columns(prefix: str, suffix: str, values: np.ndarray, cuts: np.ndarray, floor: float) -> dict[str, tuple]:
    entropy, kept = truncated_entropy(values, cuts)
    named = {
        "kept": (kept, "singular values above the cut"),
        "entropy": (entropy, "truncated entropy"),
        "above_floor": (cuts >= floor, "cut lies above the spectrum's floor"),
    }
    return {
        prefix + name: ("a", data, {"units": "1", "long_name": what + suffix}) for name, (data, what) in named.items()
    }
