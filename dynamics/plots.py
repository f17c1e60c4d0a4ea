"""Figures of trajectories: axes labelled, units given, floors drawn, noise in grey."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from dynamics.configuration import discretisation_error, solution_floor, title
from dynamics.curves import curve, logarithmic, plain
from dynamics.homogeneity import residual_homogeneity
from dynamics.phases import detect_phases
from dynamics.snr import gradient_snr
from dynamics.spectrum_plots import ZERO, from_one, spectrum_figure, step_label
from dynamics.trajectory import TrajectoryError

PHASE_COLORS = {"fitting": "#f2e5c8", "diffusion": "#e3e3e3", "total_diffusion": "#d5e8d4", "decay": "#f5d9d9"}
ONSET = "#2f7d32"
NOISE = "0.65"


def diagnosis_figure(trajectory: xr.DataTree) -> Figure:
    """Draw what a diagnosis rests on: losses and error, gradient SNR, homogeneity; for a single solve its spectrum.

    Args:
        trajectory: any; panels whose variables are missing are left out.

    Returns:
        A figure of 1 to 3 panels that share the axis of steps, or that of `spectrum_figure`.

    Raises:
        ValueError: the trajectory holds nothing to draw.
    """
    if "spectra" in trajectory and ("series" not in trajectory or trajectory["series"].sizes.get("step") == 1):
        return spectrum_figure(trajectory)
    panels = [draw_losses] if "series" in trajectory else []
    panels += [draw_snr] if "gradients" in trajectory else []
    panels += [draw_homogeneity] if "homogeneity" in trajectory or "residuals" in trajectory else []
    if not panels:
        raise ValueError(f"nothing to draw: expected /series or /spectra, it holds {sorted(trajectory.children)}")
    figure = Figure(figsize=(9, 1 + 2.6 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    found = phases_seen(trajectory)
    for axis, draw in zip(axes, panels, strict=True):
        draw(axis, trajectory)
        shade_phases(axis, found, named=axis is axes[0])
        axis.set_xscale("log")
        axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize="small")
    shown = [name for name in ("series", "gradients", "homogeneity", "residuals") if name in trajectory]
    axes[-1].set_xlabel(step_label(trajectory[shown[0]].dataset))
    figure.suptitle(plain(title(trajectory)))
    return figure


def draw_losses(axis: Axes, trajectory: xr.DataTree) -> None:
    """Draw the weighted loss, its unweighted terms, and the error with the floor of its reference.

    Args:
        axis: where.
        trajectory: needs `/series`.
    """
    series = trajectory["series"].dataset
    step = from_one(series)
    curve(axis, step, series["loss"].values, color="k", lw=1.2, label="loss")
    if "loss_raw" in series:
        for index, name in enumerate(np.atleast_1d(series["term"].values)):
            raw = series["loss_raw"].isel(term=index).values
            curve(axis, step, raw, lw=0.8, alpha=0.8, label=f"{plain(name)}, unweighted")
    if "rel_l2" in series and np.isfinite(series["rel_l2"]).any():
        error = series["rel_l2"].values
        few = np.isfinite(error).sum() <= 200
        curve(axis, step, error, color="C3", marker="o" if few else "", ms=2.5, label="relative L2 error")
        floor = solution_floor(trajectory)
        if floor > 1e-3 * np.nanmin(error):
            axis.axhline(floor, color=NOISE, ls="--", lw=1, label=f"reference's floor {floor:.0e}")
        if (own := discretisation_error(trajectory)) > 0:
            axis.axhline(own, color="C3", ls=":", lw=1, label=f"the discretisation alone {own:.0e}")
    logarithmic(axis)
    axis.set_ylabel("loss, error [1]")


def draw_snr(axis: Axes, trajectory: xr.DataTree) -> None:
    """Draw the gradient SNR, its running median, and the threshold 1 brought to this run's block size.

    Args:
        axis: where.
        trajectory: needs `/gradients`.
    """
    ratio = gradient_snr(trajectory)
    step = from_one(ratio)
    snr = ratio["snr"].values
    curve(axis, step, snr, ls="", marker=".", ms=3, color=NOISE, label="gradient SNR")
    curve(axis, step, ratio["snr_median"].values, color="C0", label="running median")
    if "snr_interior" in ratio:
        curve(axis, step, ratio["snr_interior"].values, color="C1", lw=0.8, alpha=0.8, label="interior term alone")
    usable = np.isfinite(snr) & (snr > 0)
    to_reference = ratio["snr"] / ratio["snr_reference"].where(ratio["snr_reference"] > 0)
    scale = float(to_reference.where(np.isfinite(to_reference)).median())
    if np.isfinite(scale):
        axis.axhline(scale, color="k", ls=":", lw=1, label=f"threshold {scale:.2g}\n(1 at 256 points a block)")
    logarithmic(axis)
    if usable.any():
        axis.set_ylim(max(snr[usable].min() / 2, 1e-9), min(snr[usable].max() * 2, 1e6))
    axis.set_ylabel("|mean| / |std| [1]")


def draw_homogeneity(axis: Axes, trajectory: xr.DataTree) -> None:
    """Draw how evenly attention and residual spread over the domain: 1 is even.

    Args:
        axis: where.
        trajectory: needs `/homogeneity`, or `/residuals` and `/points`.
    """
    phi = residual_homogeneity(trajectory)["phi"]
    step = from_one(phi)
    for index, name in enumerate(np.atleast_1d(phi["quantity"].values)):
        curve(axis, step, phi.isel(quantity=index).values, label=f"of the {plain(name)}")
    axis.set_ylabel("homogeneity [1]")
    axis.set_ylim(top=1.005)


def phases_seen(trajectory: xr.DataTree) -> xr.Dataset | None:
    """Return what `detect_phases` finds, or None where it has nothing to work on.

    Args:
        trajectory: any.

    Returns:
        A dataset, or None where SNR or homogeneity was not recorded.

    Example:
        >>> phases_seen(xr.DataTree()) is None
        True
    """
    try:
        return detect_phases(trajectory)
    except TrajectoryError:
        return None


def phase_spans(found: xr.Dataset | None) -> list[tuple[str, float, float]]:
    """Return which phase reigned from which step to which.

    Args:
        found: from `detect_phases`, or None.

    Returns:
        (name, first step, last step) in their order; step 0 stands at 0.7, where it is drawn.

    Example:
        >>> onsets = xr.Dataset({"onset": ("phase", [0.0, 20.0])}, {"phase": ["fitting", "decay"], "step": [0, 90]})
        >>> phase_spans(onsets)
        [('fitting', 0.7, 20.0), ('decay', 20.0, 90.0)]
    """
    if found is None or not found.sizes.get("step"):
        return []
    starts = [
        (max(float(at), ZERO), str(name)) for name, at in zip(found.phase.values, found.onset.values, strict=True)
    ]
    starts = sorted((at, name) for at, name in starts if np.isfinite(at))
    ends = [at for at, _ in starts[1:]] + [float(np.nanmax(found.step.values))]
    return [(name, at, max(at, end)) for (at, name), end in zip(starts, ends, strict=True)]


def shade_phases(axis: Axes, found: xr.Dataset | None, *, named: bool = True, interval: bool = False) -> None:
    """Shade the phases of a run behind a panel over its steps.

    Args:
        axis: whose horizontal axis is the step.
        found: from `detect_phases`, or None for no shading.
        named: write each phase's name above it, where there is room.
        interval: draw the onset of total diffusion with its interval, where one is known.
    """
    left, right = axis.dataLim.intervalx
    if not 0 < left < right < np.inf:
        return
    # No further than the panel's own samples, which would become narrow otherwise.
    spans = [(name, max(at, left), min(end, right)) for name, at, end in phase_spans(found)]
    spans = [span for span in spans if span[1] < span[2]]
    for name, at, end in spans:
        axis.axvspan(at, end, color=PHASE_COLORS.get(name, NOISE), zorder=0, lw=0)
    if named:
        _name_phases(axis, spans, left, right)
    if interval and spans:
        _draw_onset(axis, found, left, right)


def _name_phases(axis: Axes, spans: list[tuple[str, float, float]], left: float, right: float) -> None:
    """Write the names above the panel, each in the middle of what is seen of its phase, as far as there is room."""
    whole = np.log10(right / left)
    # A letter is 0.56 of its size wide on average; the axis takes about four fifths of the figure's 72 points an inch.
    letter = 0.56 * FontProperties(size="small").get_size_in_points() / (0.8 * 72 * axis.figure.get_figwidth())
    taken = 0.0
    for name, at, end in spans:
        half = 0.5 * letter * len(name)
        middle = min(np.log10((at * end) ** 0.5 / left) / whole, 1 - half)
        if middle - half < taken:
            continue
        taken = middle + half + letter
        place = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "bottom", "fontsize": "small"}
        axis.annotate(name.replace("_", " "), (left * 10 ** (middle * whole), 1.0), **place)


def _draw_onset(axis: Axes, found: xr.Dataset, left: float, right: float) -> None:
    if "total_diffusion" not in found.phase.values:
        return
    total = found.sel(phase="total_diffusion")
    names = ("onset", "onset_low", "onset_high")
    onset, low, high = (float(total[name]) if name in total else np.nan for name in names)
    if left <= onset <= right:
        axis.axvline(onset, color=ONSET, lw=1, label=f"onset of total diffusion, {onset:.0f}")
    if np.isfinite([onset, low]).all() and max(low, left) <= min(high, right):
        told = f"its interval, {low:.0f} to {high:.0f}" if np.isfinite(high) else f"its interval, {low:.0f} or later"
        axis.axvspan(max(low, left), min(high, right), label=told, color=ONSET, alpha=0.25, lw=0)
