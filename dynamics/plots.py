"""Figures of trajectories: axes labelled, units given, floors drawn, noise in grey."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dynamics.entropy import truncated_entropy
from dynamics.homogeneity import residual_homogeneity
from dynamics.phases import detect_phases
from dynamics.snr import gradient_snr
from dynamics.spectra import singular_spectrum

PHASE_COLORS = {"fitting": "#f2e5c8", "diffusion": "#e3e3e3", "total_diffusion": "#d5e8d4", "decay": "#f5d9d9"}
COLORS = ("C0", "C3")
CUTS = np.logspace(-1, -16, 61)
NOISE = "0.65"


def diagnosis_figure(trajectory: xr.DataTree) -> Figure:
    """Draw what a diagnosis rests on: losses and error, gradient SNR, homogeneity; for a single solve its spectrum.

    Args:
        trajectory: any; panels whose variables are missing are left out.

    Returns:
        A figure of 1 to 3 panels that share the axis of steps.

    Raises:
        ValueError: the trajectory holds nothing to draw.
    """
    if "spectra" in trajectory and trajectory["spectra"].sizes.get("step") == 1:
        figure = Figure(figsize=(10, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        draw_spectrum(left, trajectory, label=_operator(trajectory), color="C0")
        draw_entropy(right, trajectory, label=_operator(trajectory), color="C0")
        left.legend()
        figure.suptitle(_title(trajectory))
        return figure
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
    axes[-1].set_xlabel("optimizer step")
    figure.suptitle(_title(trajectory))
    return figure


def comparison_figure(first: xr.DataTree, second: xr.DataTree, labels: tuple[str, str]) -> Figure:
    """Draw two trajectories over each other: spectra with floors, K(a) and H(a), or losses, errors and SNR.

    Args:
        first: a trajectory.
        second: another one of the same problem.
        labels: what to call them.

    Returns:
        A figure of three panels.

    Raises:
        ValueError: they hold nothing in common to draw.
    """
    pairs = list(zip((first, second), labels, COLORS, strict=True))
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    axes = figure.subplots(1, 3)
    if all("spectra" in tree for tree, _, _ in pairs):
        for tree, label, color in pairs:
            draw_spectrum(axes[0], tree, label, color)
            draw_entropy(axes[1], tree, label, color, quantity="kept")
            draw_entropy(axes[2], tree, label, color)
    elif all("series" in tree for tree, _, _ in pairs):
        for tree, label, color in pairs:
            _draw_pair(axes, tree, label, color)
    else:
        held = [sorted(tree.children) for tree, _, _ in pairs]
        raise ValueError(
            f"nothing in common to draw: expected /spectra or /series in both, came {held[0]} and {held[1]}"
        )
    for axis, place in zip(axes, ("upper right", "upper left", "upper right"), strict=True):
        axis.legend(fontsize="small", loc=place)
    figure.suptitle(f"{_problem(first)}: {labels[0]} and {labels[1]}")
    return figure


def draw_losses(axis: Axes, trajectory: xr.DataTree) -> None:
    """Draw the weighted loss, its unweighted terms, and the error with the floor of its reference.

    Args:
        axis: where.
        trajectory: needs `/series`.
    """
    series = trajectory["series"].dataset
    step = _from_one(series)
    axis.plot(step, series["loss"], color="k", lw=1.2, label="loss")
    if "loss_raw" in series:
        for index, name in enumerate(np.atleast_1d(series["term"].values)):
            axis.plot(step, series["loss_raw"].isel(term=index), lw=0.8, alpha=0.8, label=f"{name}, unweighted")
    if "rel_l2" in series and np.isfinite(series["rel_l2"]).any():
        known = np.isfinite(series["rel_l2"].values)
        axis.plot(step[known], series["rel_l2"].values[known], "o-", ms=2.5, color="C3", label="relative L2 error")
        if floor := _solution_floor(trajectory):
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
    step = _from_one(ratio)
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
    step = _from_one(phi)
    for index, name in enumerate(np.atleast_1d(phi["quantity"].values)):
        axis.plot(step, phi.isel(quantity=index), label=f"of the {name}")
    axis.set_ylabel("homogeneity [1]")
    axis.set_ylim(top=1.005)


def draw_spectrum(axis: Axes, trajectory: xr.DataTree, label: str, color: str) -> None:
    """Draw the last recorded singular spectrum; values below the floor are grey, the floor is a dashed line.

    Args:
        axis: where.
        trajectory: needs `/spectra`.
        label: of the legend.
        color: of what can be trusted.
    """
    spectrum = singular_spectrum(trajectory).isel(step=-1)
    index = np.arange(1, spectrum.sizes["index"] + 1)
    relative, trusted = spectrum["relative"].values, spectrum["trusted"].values
    face = "none" if color == COLORS[1] else color
    axis.plot(index[trusted], relative[trusted], "o", ms=5 if face == "none" else 3, mfc=face, color=color, label=label)
    axis.plot(
        index[~trusted], relative[~trusted], "x", ms=3, color=color, alpha=0.35, label=f"{label}: below its floor"
    )
    floor = float(spectrum["floor"] / spectrum["singular_value"][0])
    axis.axhline(floor, color=color, ls="--", lw=1)
    axis.annotate(
        f"floor {floor:.0e}",
        (0.99, floor),
        xycoords=("axes fraction", "data"),
        ha="right",
        va="bottom",
        color=color,
        fontsize="small",
    )
    axis.set_yscale("log")
    axis.set_xlabel("index k")
    axis.set_ylabel(r"$\sigma_k / \sigma_1$ [1]")


def draw_entropy(axis: Axes, trajectory: xr.DataTree, label: str, color: str, quantity: str = "entropy") -> None:
    """Draw H(a) or K(a) of the last spectrum over the cut a; dotted where the cut lies below the floor.

    Args:
        axis: where.
        trajectory: needs `/spectra`.
        label: of the legend.
        color: of the curve.
        quantity: "entropy" or "kept".
    """
    spectrum = singular_spectrum(trajectory).isel(step=-1)
    values = spectrum["singular_value"].values
    entropy, kept = truncated_entropy(values, CUTS)
    curve = entropy if quantity == "entropy" else kept
    above = values[0] * CUTS >= float(spectrum["floor"])
    axis.plot(CUTS, np.where(above, curve, np.nan), color=color, label=label)
    axis.plot(CUTS, np.where(above, np.nan, curve), ":", color=color, label=f"{label}: cut below the floor")
    axis.set_xscale("log")
    axis.set_xlim(CUTS[0], CUTS[-1])
    axis.set_xlabel("cut a [1]")
    axis.set_ylabel("truncated entropy H(a) [1]" if quantity == "entropy" else "kept singular values K(a)")


def _draw_pair(axes, tree: xr.DataTree, label: str, color: str) -> None:
    series = tree["series"].dataset
    step = _from_one(series)
    axes[0].loglog(step, series["loss"], color=color, lw=1, label=label)
    axes[0].set_ylabel("loss [1]")
    if "rel_l2" in series:
        known = np.isfinite(series["rel_l2"].values)
        axes[1].loglog(step[known], series["rel_l2"].values[known], "o-", ms=2.5, color=color, label=label)
        if floor := _solution_floor(tree):
            if floor > 1e-3 * np.nanmin(series["rel_l2"].values):
                axes[1].axhline(floor, color=NOISE, ls="--", lw=1)
    axes[1].set_ylabel("relative L2 error [1]")
    if "gradients" in tree:
        ratio = gradient_snr(tree)
        axes[2].loglog(_from_one(ratio), ratio["snr_median"], color=color, label=label)
    axes[2].set_ylabel("gradient SNR, running median [1]")
    for axis in axes:
        axis.set_xlabel("optimizer step")


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


def _from_one(data) -> np.ndarray:
    """Steps on a logarithmic axis: step 0, the state before the first update, is drawn at 0.7."""
    return np.maximum(np.asarray(data["step"].values, dtype=float), 0.7)


def _config(trajectory: xr.DataTree) -> dict:
    try:
        return json.loads(trajectory.attrs.get("config", "{}"))
    except json.JSONDecodeError:
        return {}


def _solution_floor(trajectory: xr.DataTree) -> float | None:
    floor = _config(trajectory).get("problem", {}).get("solution_floor")
    return floor if isinstance(floor, float) and floor > 0 else None


def _problem(trajectory: xr.DataTree) -> str:
    return str(_config(trajectory).get("problem", {}).get("name", "run"))


def _operator(trajectory: xr.DataTree) -> str:
    return str(_config(trajectory).get("operator", {}).get("name", "spectrum"))


def _title(trajectory: xr.DataTree) -> str:
    return f"{_problem(trajectory)}, {_operator(trajectory)}, {trajectory.attrs.get('dtype', '')}"
