"""Two runs drawn over each other: spectra with floors, K(a) and H(a), residuals and errors, or how they trained."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dynamics.configuration import section, solution_floor
from dynamics.cuts import relative_floor
from dynamics.residuals import residual_curves
from dynamics.snr import gradient_snr
from dynamics.spectrum_at import spectrum_at
from dynamics.spectrum_plots import NOISE, QUANTITIES, draw_cuts, draw_spectrum, from_one

COLORS = ("C0", "C3")
BELOW = {"fontsize": "small", "loc": "upper left", "bbox_to_anchor": (-0.02, -0.16), "ncols": 2, "frameon": False}
SIZES, WIDTHS = (6.0, 2.7), (2.6, 1.0)
"""The second run is drawn finer: where both agree, its points and lines lie within the first's."""
RESIDUALS = {"own residual": "-", "exact residual": "--", "relative L2 error": ":"}


def comparison_figure(first: xr.DataTree, second: xr.DataTree, labels: tuple[str, str]) -> Figure:
    """Draw two trajectories over each other: spectra, K(a), H(a), residuals and errors; or how they trained.

    Args:
        first: a trajectory.
        second: another one of the same problem.
        labels: what to call them.

    Returns:
        Where both have spectra four panels, otherwise losses, errors and gradient SNR over the steps.

    Raises:
        ValueError: they hold nothing in common to draw.
    """
    runs = list(zip((first, second), labels, COLORS, strict=True))
    if all("spectra" in tree for tree, _, _ in runs):
        figure = _spectra(runs)
    elif all("series" in tree for tree, _, _ in runs):
        figure = _trainings(runs)
    else:
        held = [sorted(tree.children) for tree, _, _ in runs]
        raise ValueError(
            f"nothing in common to draw: expected /spectra or /series in both, came {held[0]} and {held[1]}"
        )
    name = section(first, "problem").get("name", "run")
    figure.suptitle(f"{name}: {labels[0]} and {labels[1]}")
    return figure


def _spectra(runs) -> Figure:
    figure = Figure(figsize=(12, 8.2), layout="constrained")
    axes = figure.subplot_mosaic([["spectrum", "kept"], ["residuals", "entropy"]])
    for (tree, label, color), size, width in zip(runs, SIZES, WIDTHS, strict=True):
        spectrum = spectrum_at(tree)
        draw_spectrum(axes["spectrum"], spectrum, label, color, size=size)
        floor = relative_floor(spectrum)
        if floor > 0:
            axes["spectrum"].axhline(floor, color=color, ls="--", lw=1, label=f"{label}: floor {floor:.0e}")
            axes["spectrum"].set_ylim(bottom=min(floor / 3, axes["spectrum"].get_ylim()[0]))
        for quantity in QUANTITIES:
            draw_cuts(axes[quantity], spectrum, quantity, label, color, width=width)
    draw_residuals(axes["residuals"], runs)
    axes["entropy"].plot([], [], ":", color=NOISE, label="cut below its floor")
    for name in ("spectrum", "residuals", "entropy"):
        axes[name].legend(**BELOW)
    return figure


def draw_residuals(axis: Axes, runs: list[tuple[xr.DataTree, str, str]]) -> None:
    """Draw own residual, exact residual and error of two runs: points for solves, curves over steps for trainings.

    Args:
        axis: where.
        runs: (trajectory, label, color) of both; a solve beside a training is a level line.
    """
    found = [(residual_curves(tree), label, color) for tree, label, color in runs]
    trained = any(len(steps) > 1 for curves, _, _ in found for steps, _ in curves.values())
    for (curves, label, color), width in zip(found, WIDTHS, strict=True):
        if trained:
            for name, (steps, values) in curves.items():
                style = {"color": color, "ls": RESIDUALS[name], "lw": width, "label": f"{label}: {name}"}
                if len(steps) == 1:
                    axis.axhline(values[0], **style)
                else:
                    axis.plot(np.maximum(steps, 0.7), values, **style)
            continue
        values = [curves[name][1][-1] if name in curves else np.nan for name in RESIDUALS]
        axis.plot(list(RESIDUALS), values, "o-", color=color, ms=3 + width, lw=width, label=label)
    floor = max(solution_floor(tree) for tree, _, _ in runs)
    errors = [values.min() for curves, _, _ in found for name, (_, values) in curves.items() if name.startswith("rel")]
    if errors and floor > 1e-3 * min(errors):
        axis.axhline(floor, color=NOISE, ls="--", lw=1, label=f"reference's floor {floor:.0e}")
    axis.set_yscale("log")
    if trained:
        axis.set_xscale("log")
        axis.set_xlabel("optimizer step")
    else:
        axis.margins(x=0.15)
    axis.set_ylabel("rms residual, relative error [1]")


def _trainings(runs) -> Figure:
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    losses, errors, ratios = figure.subplots(1, 3)
    for (tree, label, color), width in zip(runs, WIDTHS, strict=True):
        told = {"color": color, "lw": width, "label": label}
        series = tree["series"].dataset
        losses.plot(from_one(series), series["loss"], **told)
        if "rel_l2" in series:
            known = np.isfinite(series["rel_l2"].values)
            errors.plot(from_one(series)[known], series["rel_l2"].values[known], "o-", ms=1.5 + width, **told)
            if known.any() and solution_floor(tree) > 1e-3 * series["rel_l2"].values[known].min():
                errors.axhline(solution_floor(tree), color=NOISE, ls="--", lw=1)
        if "gradients" in tree:
            ratio = gradient_snr(tree)
            ratios.plot(from_one(ratio), ratio["snr_median"], **told)
    names = ("loss [1]", "relative L2 error [1]", "gradient SNR, running median [1]")
    for axis, name in zip((losses, errors, ratios), names, strict=True):
        axis.set_xlabel("optimizer step")
        axis.set_ylabel(name)
        if axis.lines:
            axis.set_xscale("log")
            axis.set_yscale("log")
            axis.legend(**BELOW)
    return figure
