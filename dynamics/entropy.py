"""Entropies of singular spectra: the truncated entropy and the effective rank."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.special import entr

from dynamics.spectra import singular_spectrum

CUTS = (1e-4, 1e-8, 1e-10, 1e-12, 1e-14)


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
        keep = compared >= cut
        kept[..., position] = keep.sum(axis=-1)
        entropy[..., position] = _shannon(np.where(keep, scaled, 0.0))
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


def entropy_curve(trajectory: xr.DataTree, a=CUTS) -> xr.Dataset:
    """Follow truncated entropy, kept count and effective rank of the recorded spectra over the run.

    H(a), K(a) and erank of every row of `/spectra`. A cut is above the floor where
    a sigma_1 >= svd_floor + entry_floor; below it K counts rounding noise.

    Args:
        trajectory: needs `spectra/singular_value` and `spectra/floor`.
        a: cuts relative to sigma_1, pure numbers in (0, 1].

    Returns:
        `entropy` and `kept` (step, a), `effective_rank` (step), `above_floor` (step, a). Steps without a
        spectrum (NaN or only zeros) have NaN entropies and kept = 0.

    Raises:
        TrajectoryError: If the trajectory lacks a variable; it is named.
        ValueError: If a cut is out of range.

    Source: ours, see `truncated_entropy` and `effective_rank`.

    Cost: O(steps * index) per cut.

    Example:
        >>> columns = {"singular_value": (("step", "index"), [[1.0, 1.0]]), "floor": ("step", [1e-15])}
        >>> tree = xr.DataTree.from_dict({"spectra": xr.Dataset(columns, {"step": [0]})})
        >>> curve = entropy_curve(tree, a=[1e-8])
        >>> round(curve.entropy.item(), 12), curve.kept.item(), curve.above_floor.item()
        (1.0, 2, True)
    """
    cuts = _cuts(np.atleast_1d(a), "relative")
    spectrum = singular_spectrum(trajectory)
    values = spectrum.singular_value.transpose("step", "index").values
    usable = np.isfinite(values).all(axis=1) & (values > 0).any(axis=1)
    entropy = np.full((len(values), cuts.size), np.nan)
    kept = np.zeros(entropy.shape, dtype=np.int64)
    rank = np.full(len(values), np.nan)
    if usable.any():
        entropy[usable], kept[usable] = truncated_entropy(values[usable], cuts)
        rank[usable] = effective_rank(values[usable])
    largest = np.where(usable, values.max(axis=1), np.nan)
    floor = (spectrum.svd_floor + spectrum.entry_floor).values
    above = cuts * largest[:, None] >= floor[:, None]
    coords = {"a": ("a", cuts, {"units": "1", "long_name": "cut relative to the largest singular value"})}
    if "step" in spectrum.coords:
        coords["step"] = spectrum.coords["step"]
    return xr.Dataset(
        {
            "entropy": (("step", "a"), entropy, {"units": "1", "long_name": "truncated entropy"}),
            "kept": (("step", "a"), kept, {"units": "1", "long_name": "singular values above the cut"}),
            "effective_rank": ("step", rank, {"units": "1", "long_name": "effective rank"}),
            "above_floor": (
                ("step", "a"),
                above,
                {"units": "1", "long_name": "cut lies above the spectrum's floor"},
            ),
        },
        coords,
        {**spectrum.attrs, "normalize": "log_kept", "threshold": "relative"},
    )
