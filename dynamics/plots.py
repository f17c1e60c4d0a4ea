"""Figures of trajectories: axes labelled, units given, floors drawn, noise in grey."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dynamics.configuration import solution_floor, title
from dynamics.homogeneity import residual_homogeneity
from dynamics.phases import detect_phases
from dynamics.snr import gradient_snr
from dynamics.spectrum_plots import from_one, spectrum_figure, step_label

PHASE_COLORS = {"fitting": "#f2e5c8", "diffusion": "#e3e3e3", "total_diffusion": "#d5e8d4", "decay": "#f5d9d9"}
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
    for axis, draw in zip(axes, panels, strict=True):
        draw(axis, trajectory)
        _shade_phases(axis, trajectory)
        axis.set_xscale("log")
        axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize="small")
    shown = [name for name in ("series", "gradients", "homogeneity", "residuals") if name in trajectory]
    axes[-1].set_xlabel(step_label(trajectory[shown[0]].dataset))
    figure.suptitle(title(trajectory))
    return figure


def draw_losses(axis: Axes, trajectory: xr.DataTree) -> None:
    """Draw the weighted loss, its unweighted terms, and the error with the floor of its reference.

    Args:
        axis: where.
        trajectory: needs `/series`.
    """
    series = trajectory["series"].dataset
    step = from_one(series)
    axis.plot(step, series["loss"], color="k", lw=1.2, label="loss")
    if "loss_raw" in series:
        for index, name in enumerate(np.atleast_1d(series["term"].values)):
            axis.plot(step, series["loss_raw"].isel(term=index), lw=0.8, alpha=0.8, label=f"{name}, unweighted")
    if "rel_l2" in series and np.isfinite(series["rel_l2"]).any():
        known = np.isfinite(series["rel_l2"].values)
        axis.plot(step[known], series["rel_l2"].values[known], "o-", ms=2.5, color="C3", label="relative L2 error")
        if floor := solution_floor(trajectory):
            visible = floor > 1e-3 * np.nanmin(series["rel_l2"].values)
            if visible:
                axis.axhline(floor, color=NOISE, ls="--", lw=1, label=f"reference's floor {floor:.0e}")
    axis.set_yscale("log")
    axis.set_ylabel("loss, error [1]")


def draw_snr(axis: Axes, trajectory: xr.DataTree) -> None:
    """Draw the gradient SNR, its running median, and the threshold 1 brought to this run's block size.

    Args:
        axis: where.
        trajectory: needs `/gradients`.
    """
    ratio = gradient_snr(trajectory)
    step = from_one(ratio)
    axis.plot(step, ratio["snr"], ".", ms=3, color=NOISE, label="gradient SNR")
    axis.plot(step, ratio["snr_median"], color="C0", label="running median")
    if "snr_interior" in ratio:
        axis.plot(step, ratio["snr_interior"], color="C1", lw=0.8, alpha=0.8, label="interior term alone")
    scale = float((ratio["snr"] / ratio["snr_reference"]).median())
    axis.axhline(scale, color="k", ls=":", lw=1, label=f"threshold {scale:.2g}\n(1 at 256 points a block)")
    axis.set_yscale("log")
    low, high = np.nanpercentile(ratio["snr"].where(np.isfinite(ratio["snr"])), [0, 100])
    axis.set_ylim(max(low / 2, 1e-9), min(high * 2, 1e6))
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
        axis.plot(step, phi.isel(quantity=index), label=f"of the {name}")
    axis.set_ylabel("homogeneity [1]")
    axis.set_ylim(top=1.005)


def _shade_phases(axis: Axes, trajectory: xr.DataTree) -> None:
    if "gradients" not in trajectory or "homogeneity" not in trajectory:
        return
    found = detect_phases(trajectory)
    starts = [(max(float(at), 1.0), str(name)) for name, at in zip(found.phase.values, found.onset.values, strict=True)]
    starts = sorted((at, name) for at, name in starts if np.isfinite(at))
    end = float(found.step.values[-1])
    for (at, name), following in zip(starts, [at for at, _ in starts[1:]] + [end], strict=True):
        axis.axvspan(at, max(following, at), color=PHASE_COLORS[name], zorder=0, lw=0)
        if following / at > 1.3 and axis is axis.figure.axes[0]:
            axis.annotate(
                name.replace("_", " "),
                ((at * following) ** 0.5, 1.0),
                xycoords=("data", "axes fraction"),
                ha="center",
                va="bottom",
                fontsize="small",
            )
