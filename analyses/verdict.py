"""A comparison in one line: which run is more accurate and why, and where their spectra part."""

from __future__ import annotations

import numpy as np
import xarray as xr

from dynamics.configuration import solution_floor
from dynamics.cuts import relative_floor
from dynamics.residuals import residual_curves
from dynamics.spectrum_at import spectrum_at

CUTS = np.logspace(0, -16, 161)
MARGIN = 3.0
"""A floor is an estimate: a difference counts as mathematics only where three floors cannot explain it."""
OWN_SYSTEM = 3.0
"""A run whose exact residual is more than three times its own has fitted its discrete system, not the equation."""


def verdict(first: xr.DataTree, second: xr.DataTree, labels: tuple[str, str]) -> str:
    """Say which of two runs is more accurate and why, and at which cut their spectra part.

    Args:
        first: a trajectory.
        second: another.
        labels: what to call them.

    Returns:
        One line.

    Example:
        >>> series = [xr.Dataset({"rel_l2": ("step", [error])}) for error in (1e-3, 1e-5)]
        >>> verdict(*(xr.DataTree.from_dict({"series": one}) for one in series), ("AD", "FD"))
        'FD is more accurate, by a factor of 1e+02'
    """
    parts = [_accuracy((first, second), labels)]
    if all("spectra" in tree for tree in (first, second)):
        parts.append(spectral_verdict((spectrum_at(first), spectrum_at(second)), labels))
    return "; ".join(part for part in parts if part) or "no common measure of success was recorded"


def _accuracy(trees: tuple[xr.DataTree, xr.DataTree], labels: tuple[str, str]) -> str:
    reached = [{name: values[-1] for name, (_, values) in residual_curves(tree).items()} for tree in trees]
    if not all("relative L2 error" in last for last in reached):
        return ""
    errors = [last["relative L2 error"] for last in reached]
    floors = [solution_floor(tree) for tree in trees]
    if max(errors) <= 3 * max(floors):
        return "both are at the reference's floor"
    if max(errors) < 1.1 * min(errors):
        return "both are equally accurate"
    better, worse = (0, 1) if errors[0] <= errors[1] else (1, 0)
    factor = errors[worse] / max(errors[better], floors[better])
    said = f"{labels[better]} is more accurate, by a factor of {factor:.1g}"
    own, exact = (reached[worse].get(name, np.nan) for name in ("own residual", "exact residual"))
    if exact > OWN_SYSTEM * own:
        said += f": {labels[worse]} fits its own discrete system (residual {own:.0e} there, {exact:.0e} exactly)"
    return said


def spectral_verdict(spectra: tuple[xr.Dataset, xr.Dataset], labels: tuple[str, str]) -> str:
    r"""Say at which cut the kept counts of two spectra part, and whether round-off can explain it.

    With f three times the floor, K(a + f) <= K of the noiseless matrix <= K(a - f), by Weyl's inequality. Spectra
    part for mathematical reasons (truncation, or another matrix) at the largest cut where the two intervals are
    disjoint; counts that differ within the intervals are round-off.

    Args:
        spectra: of each run, from `spectrum_at`.
        labels: what to call them.

    Returns:
        A clause.

    Example:
        >>> def spectrum(values, floor):
        ...     trusted = np.array(values) > 100 * floor
        ...     columns = {"singular_value": ("index", values), "trusted": ("index", trusted)}
        ...     return xr.Dataset(columns | {"svd_floor": 1e-16, "entry_floor": floor})
        >>> pair = spectrum([1.0, 1e-4], 0.0), spectrum([1.0, 1.02e-4, 1e-9, 1e-9, 1e-9], 1e-8)
        >>> spectral_verdict(pair, ("AD", "FD")).partition("; ")[2]
        'below it FD keeps more singular values, which are round-off of its entries (floor 1e-08)'
    """
    relative = [np.asarray(s["singular_value"]) / float(s["singular_value"].max()) for s in spectra]
    floors = [relative_floor(s) for s in spectra]
    counts, least, most = (
        np.array([[(v >= cut + shift * f).sum() for cut in CUTS] for v, f in zip(relative, floors, strict=True)])
        for shift in (0.0, MARGIN, -MARGIN)
    )
    # Below its floor a spectrum can hold anything, also values that a narrower matrix has no room for.
    most[CUTS <= MARGIN * np.array(floors)[:, None]] = np.iinfo(most.dtype).max
    tolerance = 1 + 0.05 * counts.min(axis=0)
    apart = np.flatnonzero(np.abs(counts[0] - counts[1]) > tolerance)
    if not len(apart):
        return f"their spectra keep the same counts at every cut{_agreement(spectra)}"
    disjoint = np.flatnonzero(np.maximum(least[0] - most[1], least[1] - most[0]) > tolerance)
    if len(disjoint):
        at = disjoint[0]
        richer = labels[int(np.argmax(counts[:, at]))]
        return (
            f"their spectra part at a = {CUTS[at]:.0e}, above both floors, where {richer} keeps more: "
            "that is mathematics (truncation, or another matrix), not round-off"
        )
    noisier, at = int(np.argmax(floors)), apart[0]
    said = f"their spectra keep the same counts down to a = {CUTS[at]:.0e}{_agreement(spectra)}; below it "
    whose = "entries" if float(spectra[noisier]["entry_floor"]) > float(spectra[noisier]["svd_floor"]) else "SVD"
    if counts[noisier, at] > counts[1 - noisier, at]:
        return said + (
            f"{labels[noisier]} keeps more singular values, which are round-off of its {whose} "
            f"(floor {floors[noisier]:.0e})"
        )
    return (
        said + f"round-off of the {whose} of {labels[noisier]} (floor {floors[noisier]:.0e}) can explain the difference"
    )


def _agreement(spectra: tuple[xr.Dataset, xr.Dataset]) -> str:
    """Equal counts hide small shifts: by how much the values differ that are trusted in both, index by index."""
    count = min(s.sizes["index"] for s in spectra)
    first, second = (s["singular_value"].values[:count] for s in spectra)
    both = np.logical_and(*(s["trusted"].values[:count] for s in spectra))
    if not both.any():
        return ""
    return f" (values trusted in both agree to {(np.abs(first - second) / np.maximum(first, second))[both].max():.0e})"
