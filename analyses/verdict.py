"""A comparison in one line: which run is more accurate and why, and where their spectra part."""

from __future__ import annotations

import numpy as np
import xarray as xr

from analyses.comparable import also_differ, causes, differences, same_matrix, same_problem
from dynamics.configuration import solution_floor
from dynamics.entropy import FINE_CUTS, count_kept, entropy_curve, relative_floor
from dynamics.errors import FLOORS
from dynamics.residuals import ERROR, EXACT, OWN, residual_curves
from dynamics.spectrum_at import spectrum_at

MARGIN = 3.0
"""A floor is an estimate: a difference counts as mathematics only where three floors cannot explain it."""
OWN_SYSTEM = 3.0
"""A run whose exact residual is more than three times its own has fitted its discrete system, not the equation."""
ROUND_OFF = 0.02
"""Two values that are both right to 1 %, as trusted ones are, differ by no more than this."""
MATHEMATICS = "mathematics (truncation, or another matrix), not round-off"


def verdict(first: xr.DataTree, second: xr.DataTree, labels: tuple[str, str]) -> str:
    """Say which of two runs is more accurate and why, at which cut their spectra part, and what else may be why.

    Errors of two problems, and spectra of two kinds of matrix, are not compared.

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
    trees = first, second
    parts = [_accuracy(trees, labels), _spectra(trees, labels)]
    said = [part for part, _ in parts if part]
    others = causes([*differences(*trees), *also_differ(*trees)])
    if others and any(compared for _, compared in parts):
        said.append(f"where they disagree, what else differs may be why: {', '.join(others)}")
    return "; ".join(said) or "no common measure of success was recorded"


def _spectra(trees: tuple[xr.DataTree, xr.DataTree], labels: tuple[str, str]) -> tuple[str, bool]:
    """What is said of the spectra, and whether they were compared."""
    if not all("spectra" in tree for tree in trees):
        return "", False
    if not same_matrix(*trees):
        return "their spectra are those of two kinds of matrix, and not compared", False
    return spectral_verdict(tuple(map(spectrum_at, trees)), labels), True


def _accuracy(trees: tuple[xr.DataTree, xr.DataTree], labels: tuple[str, str]) -> tuple[str, bool]:
    """What is said of the errors, and whether they were compared."""
    if not all("series" in tree for tree in trees):
        return "", False
    if not same_problem(*trees):
        return "which is more accurate cannot be said of two problems", False
    if ended := [label for tree, label in zip(trees, labels, strict=True) if tree.attrs.get("status") == "diverged"]:
        return f"{' and '.join(ended)} diverged: its last numbers are no result", False
    reached = [{name: values[-1] for name, (_, values) in residual_curves(tree).items()} for tree in trees]
    if lacking := [label for last, label in zip(reached, labels, strict=True) if ERROR not in last]:
        return (
            f"which is more accurate is unknown: {' and '.join(lacking)} recorded no finite error "
            "(the probe solvers.probes.errors measures it)"
        ), False
    errors = [last[ERROR] for last in reached]
    floors = [solution_floor(tree) for tree in trees]
    if max(errors) <= FLOORS * max(floors):
        return "both are at the reference's floor", True
    if max(errors) < 1.1 * min(errors):
        return "both are equally accurate", True
    better, worse = (0, 1) if errors[0] <= errors[1] else (1, 0)
    factor = errors[worse] / max(errors[better], floors[better])
    times = f"{factor:.1f}" if factor < 10 else f"{factor:.0e}"
    said = f"{labels[better]} is more accurate, by a factor of {times}"
    own, exact = (reached[worse].get(name, np.nan) for name in (OWN, EXACT))
    if exact > OWN_SYSTEM * own:
        said += f": {labels[worse]} fits its own discrete system (residual {own:.0e} there, {exact:.0e} exactly)"
    return said, True


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
    floors = [float(relative_floor(s)) for s in spectra]
    if unknown := [label for label, floor in zip(labels, floors, strict=True) if np.isnan(floor)]:
        return f"the floor of {' and '.join(unknown)} is not known: nothing can be said of where their spectra part"
    counts = np.array([entropy_curve(s, FINE_CUTS)["kept"].values for s in spectra])
    least, most = (_shifted(spectra, shift * np.array(floors)) for shift in (MARGIN, -MARGIN))
    # Below its floor a spectrum can hold anything, also values that a narrower matrix has no room for.
    most[FINE_CUTS <= MARGIN * np.array(floors)[:, None]] = np.iinfo(most.dtype).max
    tolerance = 1 + 0.05 * counts.min(axis=0)
    apart = np.flatnonzero(np.abs(counts[0] - counts[1]) > tolerance)
    if not len(apart):
        return f"their spectra keep the same counts at every cut{_agreement(spectra)}"
    disjoint = np.flatnonzero(np.maximum(least[0] - most[1], least[1] - most[0]) > tolerance)
    if len(disjoint):
        at = disjoint[0]
        richer = labels[int(np.argmax(counts[:, at]))]
        return (
            f"their spectra part at a = {FINE_CUTS[at]:.0e}, above both floors, where {richer} keeps more: "
            f"that is {MATHEMATICS}"
        )
    noisier, at = int(np.argmax(floors)), apart[0]
    said = f"their spectra keep the same counts down to a = {FINE_CUTS[at]:.0e}{_agreement(spectra)}; below it "
    whose = "entries" if float(spectra[noisier]["entry_floor"]) > float(spectra[noisier]["svd_floor"]) else "SVD"
    if counts[noisier, at] > counts[1 - noisier, at]:
        return said + (
            f"{labels[noisier]} keeps more singular values, which are round-off of its {whose} "
            f"(floor {floors[noisier]:.0e})"
        )
    return (
        said + f"round-off of the {whose} of {labels[noisier]} (floor {floors[noisier]:.0e}) can explain the difference"
    )


def _shifted(spectra: tuple[xr.Dataset, xr.Dataset], shifts: np.ndarray) -> np.ndarray:
    """(2, cuts): what each spectrum keeps at cuts that are moved by a pure number."""
    relative = [s["singular_value"].values / float(s["singular_value"].max()) for s in spectra]
    return np.array(
        [[count_kept(v, cut + shift) for cut in FINE_CUTS] for v, shift in zip(relative, shifts, strict=True)]
    )


def _agreement(spectra: tuple[xr.Dataset, xr.Dataset]) -> str:
    """Equal counts hide small shifts: by how much the values differ that are trusted in both, index by index."""
    count = min(s.sizes["index"] for s in spectra)
    first, second = (s["singular_value"].values[:count] for s in spectra)
    both = np.logical_and(*(s["trusted"].values[:count] for s in spectra))
    if not both.any():
        return ""
    apart = float((np.abs(first - second) / np.maximum(first, second))[both].max())
    if apart > ROUND_OFF:
        return f", but values trusted in both differ by up to {100 * apart:.2g} %: that is {MATHEMATICS}"
    return f" (values trusted in both {f'agree to {apart:.0e}' if apart else 'are equal'})"
