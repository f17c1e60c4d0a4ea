"""Two runs drawn over each other: spectra with floors, K(a) and H(a), residuals and errors, or how they trained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dynamics.configuration import section, solution_floor
from dynamics.entropy import relative_floor
from dynamics.residuals import ERROR, EXACT, OWN, is_exact, residual_curves
from dynamics.snr import gradient_snr
from dynamics.spectrum_at import spectrum_at
from dynamics.spectrum_plots import MARKS, NOISE, QUANTITIES, draw_cuts, draw_spectrum, from_one, step_label

BELOW = {"fontsize": "small", "loc": "upper left", "bbox_to_anchor": (-0.02, -0.16), "ncols": 2, "frameon": False}
MARKERS = {OWN: "", EXACT: "^", ERROR: "o"}
"""Of the curves of a training: what is drawn. Whose it is, color and dashes say."""
REFERENCE = {"color": NOISE, "ls": "-.", "lw": 1}


@dataclass(frozen=True)
class Style:
    """How one of two runs is drawn, so that they stay apart in grey too.

    Args:
        color: of everything that is its own.
        line: of its curves and its floor.
        below: of its curves below its floor.
        marker: of its values.
        size: of its markers, in points; the second's lie within the first's where both agree.
        width: of its curves, in points.
        shift: of its points where there is one a quantity, in units of their distance.
    """

    color: str
    line: str
    below: object
    marker: str
    size: float
    width: float
    shift: float

    @property
    def marks(self) -> dict[str, dict]:
        """State of a value -> its marker."""
        # Crosses are thin: as small as the second run's other markers they could not be seen.
        noise = {"marker": "x" if self.marker == "o" else "+", "ms": 5.0}
        return {name: style | ({"marker": self.marker} if name != "noise" else noise) for name, style in MARKS.items()}


STYLES = (
    Style("C0", "-", ":", "o", 6.0, 2.6, -0.08),
    Style("C1", "--", (0, (1, 4)), "D", 3.0, 1.6, 0.08),
)


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
    runs = list(zip((first, second), labels, STYLES, strict=True))
    if all("spectra" in tree for tree, _, _ in runs):
        figure = _spectra(runs)
    elif all("series" in tree for tree, _, _ in runs):
        figure = _trainings(runs)
    else:
        held = [sorted(tree.children) for tree, _, _ in runs]
        raise ValueError(
            f"nothing in common to draw: expected /spectra or /series in both, came {held[0]} and {held[1]}"
        )
    names = [str(section(tree, "problem").get("name", "run")) for tree in (first, second)]
    figure.suptitle(f"{' and '.join(dict.fromkeys(names))}: {labels[0]} and {labels[1]}")
    return figure


def _spectra(runs) -> Figure:
    figure = Figure(figsize=(12, 8.2), layout="constrained")
    axes = figure.subplot_mosaic([["spectrum", "kept"], ["residuals", "entropy"]])
    for tree, label, style in runs:
        spectrum = spectrum_at(tree)
        draw_spectrum(axes["spectrum"], spectrum, label, style.color, size=style.size, marks=style.marks)
        floor = float(relative_floor(spectrum))
        if floor > 0:
            told = f"{label}: floor {floor:.0e}"
            axes["spectrum"].axhline(floor, color=style.color, ls=style.line, lw=1, label=told)
            axes["spectrum"].set_ylim(bottom=min(floor / 3, axes["spectrum"].get_ylim()[0]))
        for quantity in QUANTITIES:
            drawn = {"width": style.width, "styles": (style.line, style.below)}
            draw_cuts(axes[quantity], spectrum, quantity, label, style.color, **drawn)
    draw_residuals(axes["residuals"], runs)
    axes["entropy"].plot([], [], ":", color=NOISE, label="dotted: cut below its floor")
    for name in ("spectrum", "residuals", "entropy"):
        axes[name].legend(**BELOW)
    return figure


def draw_residuals(axis: Axes, runs: list[tuple[xr.DataTree, str, Style]]) -> None:
    """Draw own residual, exact residual and error of two runs: points for solves, curves over steps for trainings.

    Args:
        axis: where.
        runs: (trajectory, label, style) of both; a solve beside a training is a level line.
    """
    found = [residual_curves(tree) for tree, _, _ in runs]
    trained = any(len(steps) > 1 for curves in found for steps, _ in curves.values())
    for (tree, label, style), curves in zip(runs, found, strict=True):
        if trained:
            _courses(axis, curves, label, style, exact=is_exact(tree))
            continue
        values = [curves[name][1][-1] if name in curves else np.nan for name in MARKERS]
        places = np.arange(len(MARKERS)) + style.shift
        axis.plot(places, values, style.marker, color=style.color, ms=2 + style.size, label=label)
    floor = max(solution_floor(tree) for tree, _, _ in runs)
    errors = [values.min() for curves in found for name, (_, values) in curves.items() if name == ERROR]
    if errors and floor > 1e-3 * min(errors):
        axis.axhline(floor, **REFERENCE, label=f"reference's floor {floor:.0e}")
    axis.set_yscale("log")
    if trained:
        axis.set_xscale("log")
        axis.set_xlabel(max((step_label(tree["series"].dataset) for tree, _, _ in runs if "series" in tree), key=len))
    else:
        axis.set_xticks(range(len(MARKERS)), MARKERS)
        axis.set_xlim(-0.5, len(MARKERS) - 0.5)
    axis.set_ylabel("rms residual, relative error [1]")


def _courses(axis: Axes, curves, label: str, style: Style, *, exact: bool) -> None:
    for name, (steps, values) in curves.items():
        if exact and name == EXACT:
            continue
        told = f"{label}: {OWN} = exact" if exact and name == OWN else f"{label}: {name}"
        drawn = {"color": style.color, "ls": style.line, "lw": 0.6 * style.width, "label": told}
        drawn |= {"marker": MARKERS[name], "ms": style.size, "mfc": "none"}
        if len(steps) == 1:
            # Across the panel, with markers that say which quantity it is.
            axis.plot(np.linspace(0, 1, 5), np.full(5, values[0]), transform=axis.get_yaxis_transform(), **drawn)
        else:
            axis.plot(from_one(xr.Dataset(coords={"step": steps})), values, **drawn)


def _trainings(runs) -> Figure:
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    losses, errors, ratios = figure.subplots(1, 3)
    for tree, label, style in runs:
        told = {"color": style.color, "ls": style.line, "lw": style.width, "label": label}
        series = tree["series"].dataset
        losses.plot(from_one(series), series["loss"], **told)
        if "rel_l2" in series:
            known = np.isfinite(series["rel_l2"].values)
            drawn = {"marker": style.marker, "ms": style.size, "mfc": "none"}
            errors.plot(from_one(series)[known], series["rel_l2"].values[known], **drawn, **told)
        if "gradients" in tree:
            ratio = gradient_snr(tree)
            ratios.plot(from_one(ratio), ratio["snr_median"], **told)
    names = ("loss [1]", "relative L2 error [1]", "gradient SNR, running median [1]")
    _draw_reference(errors, [tree for tree, _, _ in runs])
    for axis, name in zip((losses, errors, ratios), names, strict=True):
        axis.set_xlabel(max((step_label(tree["series"].dataset) for tree, _, _ in runs), key=len))
        axis.set_ylabel(name)
        if axis.lines:
            axis.set_xscale("log")
            axis.set_yscale("log")
            axis.legend(**BELOW)
    return figure


def _draw_reference(axis: Axes, trees: list[xr.DataTree]) -> None:
    """One line a floor, and only where the errors come near it."""
    reached = [line.get_ydata().min() for line in axis.lines if len(line.get_ydata())]
    for floor in sorted({solution_floor(tree) for tree in trees}):
        if reached and floor > 1e-3 * min(reached):
            axis.axhline(floor, **REFERENCE, label=f"reference's floor {floor:.0e}")
