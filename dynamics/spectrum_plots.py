"""Figures of singular spectra: what is trusted, what is noise and whose, and the counts and entropies that follow."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dynamics.configuration import title
from dynamics.entropy import CUTS, FINE_CUTS, effective_rank, entropy_curve, relative_floor
from dynamics.spectra import singular_spectrum
from dynamics.spectrum_at import spectrum_at, states

DRAWN = FINE_CUTS[(FINE_CUTS < 1.01 * CUTS[0]) & (FINE_CUTS > 0.99 * CUTS[-1])]
COURSE_CUTS = (1e-4, 1e-8, 1e-12)
ZERO = 0.7
"""Where step 0 is drawn on a logarithmic axis."""
SMALLEST = 1e-24
"""Below eps^2 sigma_1 nothing is drawn at its place: some matrices leave 1e-300."""
NOISE = "0.6"
EXACT = "0.15"
FLOOR = "C3"
QUANTITIES = {"kept": "K(a), values kept", "entropy": "H(a), entropy [1]"}
BESIDE = {"fontsize": "small", "loc": "center left", "bbox_to_anchor": (1.01, 0.5), "frameon": False}
MARKS = {"trusted": {"marker": "o"}, "marginal": {"marker": "o", "mfc": "none"}, "noise": {"marker": "x", "mew": 0.8}}


def spectrum_figure(trajectory: xr.DataTree, step: int | None = None, *, stream: str = "spectra") -> Figure:
    """Draw one recorded spectrum with its floors, K(a) and H(a), and, of several steps, how they went.

    Args:
        trajectory: with `/spectra`.
        step: as in `spectrum_at`.
        stream: as in `spectrum_at`.

    Returns:
        A figure: the spectrum at the left, K(a) above H(a) at the right; below, effective rank and H(a) over the
        steps where more than one was recorded.

    Raises:
        TrajectoryError: no spectra were recorded.
        ValueError: the step has none.

    Example:
        >>> columns = {"singular_value": (("step", "index"), [[2.0, 1.0]]), "floor": ("step", [1e-15])}
        >>> figure = spectrum_figure(xr.DataTree.from_dict({"spectra": xr.Dataset(columns, {"step": [0]})}))
        >>> [axis.get_xlabel() for axis in figure.axes]
        ['index k', '', 'cut a [1]']
    """
    spectrum = spectrum_at(trajectory, step, stream=stream)
    several = trajectory[stream].sizes["step"] > 1
    rows = [["spectrum", "kept"], ["spectrum", "entropy"]] + [["rank", "course"]] * several
    figure = Figure(figsize=(12, 5.4 + 2.6 * several), layout="constrained")
    axes = figure.subplot_mosaic(rows, width_ratios=[1.2, 1], height_ratios=[1, 1] + [1.2] * several)
    draw_spectrum(axes["spectrum"], spectrum, counted=True)
    draw_floors(axes["spectrum"], spectrum)
    axes["spectrum"].legend(fontsize="small", loc="upper left", bbox_to_anchor=(0, -0.1), ncols=2, frameon=False)
    for quantity in QUANTITIES:
        draw_cuts(axes[quantity], spectrum, quantity)
    axes["kept"].set_xlabel("")
    axes["kept"].tick_params(labelbottom=False)
    axes["entropy"].legend(**BESIDE)
    if several:
        draw_course(axes["rank"], axes["course"], trajectory, stream=stream, at=int(spectrum["step"]))
    matrix = str(spectrum.attrs.get("matrix", "spectrum"))
    figure.suptitle(f"{title(trajectory)}: {matrix}, step {int(spectrum['step'])}")
    return figure


def draw_spectrum(axis: Axes, spectrum: xr.Dataset, label="", color="C0", *, size=4.0, marks=None, counted=False):
    """Draw a spectrum: trusted values filled, marginal ones hollow, noise as grey crosses.

    Args:
        axis: where.
        spectrum: from `spectrum_at`.
        label: of the legend, before the state.
        color: of what is no noise.
        size: of the markers, in points.
        marks: state -> style of its markers; None is `MARKS`.
        counted: write the number of values of each state into the legend.
    """
    relative, state = spectrum["relative"].values, states(spectrum)
    lowest = _lowest(spectrum)
    index = np.arange(1, len(relative) + 1)
    for name, style in (marks or MARKS).items():
        here = state == name
        if not here.any():
            continue
        told = f"{label}: {name}" if label else name
        told += f" ({here.sum()})" if counted else ""
        noisy = {"color": NOISE if not label else color, "alpha": 0.45 if label else 1.0} if name == "noise" else {}
        values = np.maximum(relative[here], lowest)
        axis.plot(index[here], values, ls="", label=told, **{"ms": size, "color": color, **style, **noisy})
    axis.set_yscale("log")
    axis.set_ylim(bottom=min(lowest, *axis.get_ylim()))
    axis.set_xlabel("index k")
    axis.set_ylabel(r"singular values $\sigma_k / \sigma_1$ [1]")


def draw_floors(axis: Axes, spectrum: xr.Dataset) -> None:
    """Draw what limits a spectrum: both kinds of round-off, the line of trust, truncation, and the exact spectrum.

    Args:
        axis: where `draw_spectrum` has drawn.
        spectrum: the same.
    """
    largest = float(spectrum["singular_value"].max())
    index = np.arange(1, spectrum.sizes["index"] + 1)
    svd, entries = (float(spectrum[name]) / largest for name in ("svd_floor", "entry_floor"))
    bottom = axis.get_ylim()[0]
    axis.axhline(svd, color=FLOOR, ls=":", lw=1.2, label=f"round-off of the SVD, {svd:.0e}")
    if np.isfinite(entries) and entries > 0:
        axis.axhline(entries, color=FLOOR, ls="--", lw=1.2, label=f"round-off of the entries, {entries:.0e}")
    factor = float(spectrum.attrs.get("trust_factor", 100))
    trust = factor * spectrum["floor"].values / largest
    axis.plot(index, trust, color=FLOOR, ls="-.", lw=0.9, label=f"trusted above {factor:.0f} x the error")
    for name, style, told in (
        ("truncation", {"color": "C2", "lw": 1.0}, "change of the value by truncation"),
        ("exact_singular_value", {"color": EXACT, "lw": 0.8}, "under exact derivatives"),
    ):
        if name in spectrum and np.isfinite(spectrum[name]).any():
            values = spectrum[name].values / largest
            axis.plot(index, np.where(values > 0, values, np.nan), label=told, **style)
    # Round-off of exact entries can lie decades lower than anything that was computed.
    axis.set_ylim(bottom=min(bottom, svd / 3))


def draw_cuts(
    axis: Axes, spectrum: xr.Dataset, quantity: str, label="", color="C0", *, width=1.4, styles=("-", ":")
) -> None:
    """Draw K(a) or H(a) over the cut a = 1e-2 ... 1e-15, in another style where the cut lies below the floor.

    Args:
        axis: where.
        spectrum: from `spectrum_at`.
        quantity: "kept" or "entropy".
        label: of the legend; without one the exact spectrum is drawn too where it is known, and the legend says what
            dotted lines are.
        color: of the curve.
        width: of the curve, in points.
        styles: line styles above the floor and below it.
    """
    curves = entropy_curve(spectrum, DRAWN)
    named = [("", color, width, label or "as computed")]
    if not label and f"exact_{quantity}" in curves:
        named.append(("exact_", EXACT, 0.8, "exact derivatives"))
    for prefix, paint, thick, told in named:
        values, above = curves[prefix + quantity].values, curves[f"{prefix}above_floor"].values
        axis.plot(DRAWN, np.where(above, values, np.nan), styles[0], color=paint, lw=thick, label=told)
        if not above.all():
            # One cut more, so that the dotted line begins where the other ends.
            below = ~above | ~np.append(above[1:], True)
            told = "cut below the floor" if not (label or prefix) else None
            axis.plot(DRAWN, np.where(below, values, np.nan), ls=styles[1], color=paint, lw=thick, label=told)
    axis.set_xscale("log")
    axis.set_xlim(DRAWN[0], DRAWN[-1])
    axis.set_xlabel("cut a [1]")
    axis.set_ylabel(QUANTITIES[quantity])


def draw_course(rank: Axes, entropy: Axes, trajectory: xr.DataTree, *, stream: str = "spectra", at: int | None = None):
    """Draw effective rank and H(a) of the recorded spectra over the steps, dotted where a lies below the floor.

    Args:
        rank: where the effective rank goes.
        entropy: where H(a) goes.
        trajectory: with spectra of several steps.
        stream: "spectra" or "spectra_all".
        at: a step to mark, or None.
    """
    group = xr.DataTree.from_dict({"spectra": trajectory[stream].to_dataset()})
    spectra = singular_spectrum(group).transpose("step", ...)
    spectra = spectra.isel(step=np.isfinite(relative_floor(spectra, entries=False)))
    step = from_one(spectra)
    rank.plot(step, effective_rank(spectra["singular_value"].values), ".-", ms=3, lw=1, color="C0")
    rank.set_ylabel("effective rank [1]")
    curves = entropy_curve(spectra, COURSE_CUTS)
    for cut, color in zip(COURSE_CUTS, ("C0", "C1", "C2"), strict=True):
        values, above = (curves[name].sel(a=cut).values for name in ("entropy", "above_floor"))
        entropy.plot(step, np.where(above, values, np.nan), ".-", ms=3, lw=1, color=color, label=f"a = {cut:.0e}")
        entropy.plot(step, np.where(above, np.nan, values), ".:", ms=2, lw=0.7, color=color)
    if not curves["above_floor"].all():
        entropy.plot([], [], ":", color=NOISE, label="cut below the floor")
    entropy.set_ylabel(QUANTITIES["entropy"])
    entropy.legend(**BESIDE)
    for axis in (rank, entropy):
        if at is not None:
            axis.axvline(max(at, ZERO), color=NOISE, lw=0.8, ls="--")
        axis.set_xscale("log")
        axis.set_xlabel(step_label(spectra))


def step_label(data: xr.Dataset) -> str:
    """Return the label of a logarithmic axis of steps, which says where step 0 is drawn if there is one.

    Args:
        data: with the coordinate `step`.

    Returns:
        Text.

    Example:
        >>> step_label(xr.Dataset(coords={"step": [0, 10]})), step_label(xr.Dataset(coords={"step": [5, 10]}))
        ('optimizer step (0 drawn at 0.7)', 'optimizer step')
    """
    return "optimizer step" + (f" (0 drawn at {ZERO})" if (data["step"].values < ZERO).any() else "")


def from_one(data: xr.Dataset) -> np.ndarray:
    """Return steps for a logarithmic axis: step 0, the state before the first update, is drawn at 0.7.

    Args:
        data: with the coordinate `step`.

    Returns:
        (steps,) float64.

    Example:
        >>> from_one(xr.Dataset(coords={"step": [0, 10]})).tolist()
        [0.7, 10.0]
    """
    return np.maximum(np.asarray(data["step"].values, dtype=float), ZERO)


def _lowest(spectrum: xr.Dataset) -> float:
    """Lower edge of the axis, as far down as nonzero values go; zeros are drawn on it, since they have no logarithm."""
    relative = spectrum["relative"].values
    nonzero = relative[relative > 0]
    return max(float(nonzero.min(initial=1.0)) / 3, SMALLEST)
