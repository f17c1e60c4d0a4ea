"""One recorded spectrum: that of the step that was asked for, or the last."""

from __future__ import annotations

import numpy as np
import xarray as xr

from dynamics.spectra import ENTRY_FLOOR, SVD_FLOOR, singular_spectrum
from dynamics.trajectory import TrajectoryError

STATES = ("noise", "marginal", "trusted")


def spectrum_at(trajectory: xr.DataTree, step: int | None = None, *, stream: str = "spectra") -> xr.Dataset:
    """Return the spectrum recorded nearest to a step, with its floors.

    Args:
        trajectory: with `/spectra`.
        step: optimizer step; None is the last that has a spectrum. Of two equally near, the earlier is taken.
        stream: "spectra", or "spectra_all" for the spectrum of all rows where the run recorded one.

    Returns:
        What `singular_spectrum` returns, at one step: variables over `index`, a scalar coordinate `step`, `seconds`
        where recorded; `floor_origin` is that of this step.

    Raises:
        TrajectoryError: no spectra were recorded, or none of them is finite and nonzero.
        ValueError: the step is negative, outside the recorded range, or has no spectrum (its values are NaN).

    Example:
        >>> columns = {"singular_value": (("step", "index"), [[2.0, 1.0], [3.0, 1.0]]), "floor": ("step", [0, 0])}
        >>> tree = xr.DataTree.from_dict({"spectra": xr.Dataset(columns, {"step": [0, 100]})})
        >>> spectrum_at(tree, 70).step.item(), spectrum_at(tree, 70).singular_value.values.tolist()
        (100, [3.0, 1.0])
    """
    if step is not None and step < 0:
        raise ValueError(f"expected a step >= 0, came {step}")
    if stream not in trajectory or "singular_value" not in trajectory[stream].data_vars:
        raise TrajectoryError(_missing(trajectory, stream))
    group = trajectory[stream].to_dataset()
    spectra = singular_spectrum(trajectory if stream == "spectra" else xr.DataTree.from_dict({"spectra": group}))
    if "step" not in spectra.coords:
        spectra = spectra.assign_coords(step=np.arange(spectra.sizes["step"]))
    if "seconds" in group and "seconds" not in spectra:
        spectra["seconds"] = ("step", group["seconds"].values)
    values = spectra["singular_value"].transpose("step", "index").values
    usable = np.isfinite(values).all(axis=1) & (values > 0).any(axis=1)
    row = _row(spectra["step"].values, usable, step, stream)
    found = spectra.isel(step=row)
    found.attrs.setdefault("dtype", trajectory.attrs.get("dtype", ""))
    # The attribute speaks of most steps; this one may be among the others.
    if not found["entry_floor"] > found["svd_floor"]:
        found.attrs["floor_origin"] = SVD_FLOOR
    elif found.attrs["floor_origin"] == SVD_FLOOR:
        found.attrs["floor_origin"] = ENTRY_FLOOR
    return found


def states(spectrum: xr.Dataset) -> np.ndarray:
    """Return the state of each singular value as text.

    Args:
        spectrum: `trusted` and `marginal` over `index`.

    Returns:
        (index,) of "trusted", "marginal" and "noise".

    Example:
        >>> columns = {"trusted": ("index", [True, False, False]), "marginal": ("index", [False, True, False])}
        >>> states(xr.Dataset(columns)).tolist()
        ['trusted', 'marginal', 'noise']
    """
    return np.select([spectrum["trusted"].values, spectrum["marginal"].values], STATES[:0:-1], STATES[0])


def _missing(trajectory: xr.DataTree, stream: str) -> str:
    groups = ", ".join(f"/{name}" for name in trajectory.children) or "none"
    how = "least-squares solves record one themselves; a training does with the probe jacobian_spectrum()"
    if stream != "spectra":
        how = "all rows are recorded on request and at the last step of a training; leave the option out for /spectra"
    return f"expected singular values in /{stream}; the trajectory has recorded none (groups: {groups}): {how}"


def _row(steps: np.ndarray, usable: np.ndarray, step: int | None, stream: str) -> int:
    if not usable.any():
        raise TrajectoryError(
            f"expected a finite, nonzero spectrum in /{stream}; none of the {len(steps)} recorded ones is: "
            "the run had diverged by then, or its matrix is zero"
        )
    if step is None:
        return int(np.flatnonzero(usable)[-1])
    if not steps[0] <= step <= steps[-1]:
        raise ValueError(
            f"expected a step from {steps[0]} to {steps[-1]}, where /{stream} was recorded ({len(steps)} steps), "
            f"came {step}"
        )
    row = int(np.argmin(np.abs(steps - step)))
    if not usable[row]:
        nearest = steps[usable][np.argmin(np.abs(steps[usable] - step))]
        raise ValueError(
            f"step {steps[row]} of /{stream} has no spectrum: its values are NaN or all zero; "
            f"the nearest step with one is {nearest}"
        )
    return row
