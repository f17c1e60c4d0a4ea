"""Entropies of singular spectra over the cut, the effective rank, and which cuts lie above a spectrum's floor."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.special import entr

CUTS = tuple(float(f"1e-{exponent}") for exponent in range(2, 16))
"""The cuts of tables: 1e-2 ... 1e-15. One cut can be chosen to show anything; a curve cannot."""
FINE_CUTS = np.logspace(0, -16, 161)
"""The cuts of figures and comparisons, ten a decade."""


def _spectra(singular_values) -> np.ndarray:
    """Check spectra along the last axis and sort each, largest first."""
    values = np.asarray(singular_values, dtype=np.float64)
    if values.ndim == 0 or values.shape[-1] == 0:
        raise ValueError(f"expected singular values along the last axis, got shape {values.shape}; pass at least one")
    if not np.isfinite(values).all():
        raise ValueError("expected finite singular values, got NaN or inf; drop the steps without a spectrum first")
    if (values < 0).any():
        raise ValueError(f"expected singular values >= 0, got {values.min():g}; pass singular values, not eigenvalues")
    if (values.max(axis=-1) == 0).any():
        raise ValueError("expected a nonzero spectrum, got only zeros; the matrix it came from is zero")
    return -np.sort(-values, axis=-1)


def _cuts(a, threshold: str) -> np.ndarray:
    """Check the cuts against the kind of threshold."""
    cuts = np.asarray(a, dtype=np.float64)
    if threshold not in ("relative", "absolute"):
        raise ValueError(f"unknown threshold {threshold!r}; allowed: 'relative' (to sigma_1), 'absolute'")
    if not (cuts > 0).all():
        raise ValueError(f"expected a > 0, got {a}; 1e-12 keeps all but rounding noise of a float64 matrix")
    if threshold == "relative" and (cuts > 1).any():
        raise ValueError(f"expected a <= 1 relative to sigma_1, got {a}; pass threshold='absolute' for sigma_k >= a")
    return cuts


def _shannon(weights: np.ndarray) -> np.ndarray:
    """Shannon entropy in nats of non-negative weights along the last axis; NaN where all are zero."""
    total = weights.sum(axis=-1, keepdims=True)
    shares = np.divide(weights, total, out=np.full(weights.shape, np.nan), where=total > 0)
    return entr(shares).sum(axis=-1)


def count_kept(values, cut) -> np.ndarray:
    r"""Count what a cut keeps.

    $$ K = \#\{k : v_k \ge a\} $$

    Args:
        values: (..., index), in any order.
        cut: one number in the unit of the values; any sign.

    Returns:
        Int64 array of the leading shape.

    Example:
        >>> count_kept([[1.0, 1e-3], [1.0, 1e-9]], 1e-6).tolist()
        [2, 1]
    """
    return (np.asarray(values) >= cut).sum(axis=-1)


def truncated_entropy(
    singular_values, a, *, normalize: str | None = "log_kept", threshold: str = "relative"
) -> tuple[np.ndarray, np.ndarray]:
    r"""Compute the truncated entropy H(a) of a spectrum, and the number of singular values that it keeps.

    $$ q_k = \sigma_k / \sigma_1, \quad K = \#\{k : q_k \ge a\}, \quad
       p_k = \sigma_k / \sum_{j \le K} \sigma_j, \quad
       H(a) = -\frac{1}{\log K} \sum_{k \le K} p_k \log p_k $$

    and H = 0 where K = 1. H lies in [0, 1]; 1 means that the kept values are equal.

    The truncated entropy was proposed in arXiv 2405.14099 to compare automatic differentiation with finite
    differences. Only that paper's abstract could be read, so the formula is our reading of it: the 1-norm
    weights of the effective rank, cut at a, divided by the largest entropy that K values can have. The
    division is inferred. The leading singular values, which carry nearly all of the sum, are the same for
    both kinds of derivative, so the undivided entropy agrees to three or four digits; only the version
    divided by log K can tell the two apart. What separates them is then mostly K, the number of small values
    that finite differences keep above the cut, and those are often rounding noise. So always report K with H,
    and compare a with the floor of the spectrum (`entropy_curve`).

    Args:
        singular_values: (..., index), non-negative, in any order and unit.
        a: the cut or an array of cuts: pure numbers in (0, 1] if relative, in the spectrum's unit if
            absolute.
        normalize: "log_kept" divides by log K; None returns the entropy in nats.
        threshold: "relative" keeps sigma_k >= a sigma_1, "absolute" keeps sigma_k >= a.

    Returns:
        H (float64) and K (int64), both of the leading shape of the spectra followed by the shape of `a`.
        Where an absolute cut keeps nothing, K = 0 and H is NaN.

    Raises:
        ValueError: If the spectrum is empty, zero, negative or not finite, a cut is out of range, or a name
            is unknown.

    Cost: O(index) per spectrum and cut, after one sort.

    Example:
        >>> entropy, kept = truncated_entropy([1.0, 1.0, 1.0, 1e-9], a=1e-6)
        >>> round(float(entropy), 12), int(kept)
        (1.0, 3)
    """
    if normalize not in ("log_kept", None):
        raise ValueError(f"unknown normalize {normalize!r}; allowed: 'log_kept', None")
    cuts = _cuts(a, threshold)
    spectra = _spectra(singular_values)
    scaled = spectra / spectra[..., :1]
    compared = scaled if threshold == "relative" else spectra
    entropy = np.empty((*spectra.shape[:-1], cuts.size))
    kept = np.empty(entropy.shape, dtype=np.int64)
    for position, cut in enumerate(cuts.flat):
        kept[..., position] = count_kept(compared, cut)
        entropy[..., position] = _shannon(np.where(compared >= cut, scaled, 0.0))
    if normalize == "log_kept":
        entropy /= np.log(np.maximum(kept, 2))
    shape = spectra.shape[:-1] + cuts.shape
    return entropy.reshape(shape)[()], kept.reshape(shape)[()]


def effective_rank(singular_values) -> np.ndarray:
    r"""Compute the effective rank: the exponential of the entropy of the whole spectrum.

    $$ \mathrm{erank} = \exp\Big(-\sum_k p_k \log p_k\Big), \qquad p_k = \sigma_k / \sum_j \sigma_j $$

    It lies between 1 and the rank, and hardly notices values below about 1e-6 sigma_1: use
    `truncated_entropy` or counts above a cut for those.

    Args:
        singular_values: (..., index), non-negative, in any order and unit.

    Returns:
        Float64 array of the leading shape, a pure number.

    Raises:
        ValueError: If the spectrum is empty, zero, negative or not finite.

    Source: O. Roy and M. Vetterli, "The effective rank", EUSIPCO 2007, definition 1.

    Cost: O(index) per spectrum, after one sort.

    Example:
        >>> round(float(effective_rank([2.0, 2.0, 2.0, 0.0])), 12)
        3.0
    """
    spectra = _spectra(singular_values)
    return np.exp(_shannon(spectra / spectra[..., :1]))[()]


def relative_floor(spectrum: xr.Dataset, *, entries: bool = True) -> np.ndarray:
    r"""Return the cut below which a spectrum's values are round-off.

    $$ f = (f_{svd} + f_{entries}) / \sigma_1 $$

    Args:
        spectrum: `singular_value` ([step,] index), `svd_floor` and `entry_floor` ([step]), all in one unit.
        entries: False leaves the round-off of the entries out.

    Returns:
        ([steps]) float64, pure numbers; NaN where a step has no spectrum, or where one of the two is not known.

    Source: ours.

    Cost: O(steps * index).

    Example:
        >>> columns = {"singular_value": ("index", [2.0]), "svd_floor": 1e-15, "entry_floor": 3e-15}
        >>> float(relative_floor(xr.Dataset(columns)))
        2e-15
    """
    floor = np.asarray(spectrum["svd_floor"], dtype=np.float64)
    if entries:
        floor = floor + np.asarray(spectrum["entry_floor"], dtype=np.float64)
    values, usable = _rows(spectrum["singular_value"])
    largest = np.where(usable, values.max(axis=-1), np.nan)
    return (floor / largest)[()]


def entropy_curve(spectrum: xr.Dataset, a=CUTS) -> xr.Dataset:
    r"""Compute K(a) and H(a) of a spectrum, or of those of many steps, and which cuts lie above the floor.

    A cut is above the floor where a >= `relative_floor`, of the exact spectrum where a >= that of the SVD alone. Below
    it K counts round-off.

    Args:
        spectrum: from `singular_spectrum` or `spectrum_at`: `singular_value` ([step,] index), `svd_floor` and
            `entry_floor` ([step]), and where known `exact_singular_value` ([step,] index).
        a: cuts relative to the largest singular value, pure numbers in (0, 1].

    Returns:
        Over ([step,] a): `kept`, `entropy`, `above_floor`; `exact_kept`, `exact_entropy` and `exact_above_floor` where
        `exact_singular_value` is finite at any step. Steps without a spectrum (NaN or only zeros) have NaN entropies,
        kept = 0 and no cut above the floor.

    Raises:
        ValueError: If a cut is out of range, or a spectrum is negative.

    Source: ours, see `truncated_entropy`.

    Cost: O(steps * index) per cut.

    Example:
        >>> columns = {"singular_value": ("index", [1.0, 1e-3, 1e-9]), "svd_floor": 1e-16, "entry_floor": 1e-8}
        >>> curve = entropy_curve(xr.Dataset(columns), [1e-4, 1e-10])
        >>> curve.kept.values.tolist(), curve.above_floor.values.tolist()
        ([2, 3], [True, False])
    """
    cuts = _cuts(np.atleast_1d(a), "relative")
    columns = _curves("", "", spectrum["singular_value"], cuts, relative_floor(spectrum))
    if "exact_singular_value" in spectrum:
        exact = spectrum["exact_singular_value"]
        if _rows(exact)[1].any():
            svd_alone = relative_floor(spectrum, entries=False)
            columns |= _curves("exact_", ", exact derivatives", exact, cuts, svd_alone)
    coords = {"a": ("a", cuts, {"units": "1", "long_name": "cut relative to the largest singular value"})}
    coords |= {"step": spectrum.coords["step"]} if "step" in spectrum.coords else {}
    return xr.Dataset(columns, coords, {**spectrum.attrs, "normalize": "log_kept", "threshold": "relative"})


def _rows(values: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Return spectra with the index last, and which of them are finite and not zero."""
    rows = values.transpose(..., "index").values
    return rows, np.isfinite(rows).all(axis=-1) & (rows != 0).any(axis=-1)


def _curves(prefix: str, suffix: str, values: xr.DataArray, cuts: np.ndarray, floor: np.ndarray) -> dict[str, tuple]:
    rows, usable = _rows(values)
    entropy = np.full(usable.shape + cuts.shape, np.nan)
    kept = np.zeros(entropy.shape, dtype=np.int64)
    entropy[usable], kept[usable] = truncated_entropy(rows[usable], cuts)
    above = (cuts >= np.asarray(floor)[..., None]) & usable[..., None]
    named = {
        "kept": (kept, "singular values above the cut"),
        "entropy": (entropy, "truncated entropy"),
        "above_floor": (above, "cut lies above the spectrum's floor"),
    }
    dims = (*(dim for dim in values.dims if dim != "index"), "a")
    return {
        prefix + name: (dims, data, {"units": "1", "long_name": what + suffix}) for name, (data, what) in named.items()
    }
