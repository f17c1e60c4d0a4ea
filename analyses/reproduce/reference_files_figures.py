"""Figures of reference files: error over x and t, error where the solution is steep, spectra."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from analyses.reproduce.reference_files_examined import Examined

LEAST, MOST = 1e-16, 1e-2
"""Colours and axes of errors, the same for all files."""
NEAR = {"burgers": (-0.1, 0.1), "allen-cahn": (-1.0, -0.9), "kdv": (-1.0, 1.0)}
"""Where errors are drawn against x: around the shock, beside the kink."""
PANEL = (4.3, 3.1)


def errors_figure(examined: Sequence[Examined]) -> Figure:
    """Draw |file - reference| over x and t, one panel a file, all in the same colours.

    Args:
        examined: files that were measured.

    Returns:
        Panels with one colour bar, on which the references' floors are lines.
    """
    figure, axes = _panels(len(examined))
    # Half decades: steps that the eye can read off, and small files.
    norm, colors = LogNorm(LEAST, MOST), colormaps["viridis"].resampled(28)
    for axis, each in zip(axes, examined, strict=False):
        file, distance = each.found.file, each.distance
        values = np.clip(np.abs(distance.difference), LEAST, None)
        drawn = axis.pcolormesh(file.t, file.x, values, norm=norm, cmap=colors, shading="nearest", rasterized=True)
        axis.set(xlabel="t [1]", ylabel="x [1]", xlim=(0, 1), ylim=(-1, 1))
        axis.set_title(f"{each.label}: relative L2 {each.relative}", fontsize="medium")
    bar = figure.colorbar(drawn, ax=axes, label="|file - our reference| [1], clipped at 1e-16")
    for style, name in zip(("-", "--", ":"), dict.fromkeys(e.problem for e in examined), strict=False):
        floor = next(e.distance.largest_floor for e in examined if e.problem == name)
        bar.ax.axhline(floor, color="w", lw=1.5, ls=style)
        bar.ax.plot([], [], color="0.5", ls=style, label=f"floor, {name}")
    figure.legend(*bar.ax.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize="small")
    return figure


def near_figure(examined: Sequence[Examined]) -> Figure:
    """Draw |file - reference| against x where and when it is largest, one panel a problem.

    Args:
        examined: files that were measured.

    Returns:
        Panels with the floor of the reference as a dashed line.
    """
    names = list(dict.fromkeys(each.problem for each in examined))
    figure, axes = _panels(len(names), size=(4.6, 3.8))
    for axis, name in zip(axes, names, strict=False):
        own = [each for each in examined if each.problem == name]
        time = max(own, key=lambda each: each.distance.relative).distance.t
        for index, each in enumerate(own):
            _near(axis, each, time, index)
        floor = max(own[0].distance.largest_floor, LEAST)
        axis.axhline(floor, color="k", ls="--", lw=1, label="floor of our reference")
        axis.set(yscale="log", ylim=(LEAST, 1), xlim=NEAR[name], xlabel="x [1]", ylabel="|file - our reference| [1]")
        axis.locator_params(axis="x", nbins=5)
        axis.set_title(f"{name}, about t = {time:.3g}", fontsize="medium")
        axis.legend(fontsize="x-small", loc="upper right")
    return figure


def _near(axis: Axes, each: Examined, time: float, index: int) -> None:
    file = each.found.file
    column = int(np.argmin(np.abs(file.t - time)))
    values = np.clip(np.abs(each.distance.difference[:, column]), LEAST, None)
    low, high = NEAR[each.problem]
    few = np.sum((file.x >= low) & (file.x <= high)) < 100
    mark, size = ("o", "x", "^")[index % 3] if few else "", (5, 4, 3)[index % 3]
    axis.plot(file.x, values, marker=mark, ls="-", lw=0.6, ms=size, mfc="none", color=f"C{index}", label=each.label)


def spectra_figure(examined: Sequence[Examined]) -> Figure:
    """Draw the spectrum of each file that is one period, and ours on its grid.

    Args:
        examined: files that were measured.

    Returns:
        One panel a file.
    """
    shown = [each for each in examined if each.modes.points]
    figure, axes = _panels(len(shown))
    for axis, each in zip(axes, shown, strict=False):
        found = each.modes
        wave = np.arange(len(found.ours))
        tiny = 1e-22
        axis.plot(wave, np.clip(found.amplitudes, tiny, None), "o", ms=3.5, mfc="none", color="C1", label="file")
        axis.plot(wave, np.clip(found.ours, tiny, None), "-", lw=0.9, color="C0", label="ours, same grid")
        away = np.clip(np.abs(found.amplitudes - found.ours), tiny, None)
        axis.plot(wave, away, ".", ms=2, color="C3", label="difference of the two")
        level = found.ours.max() * np.finfo(float).eps
        axis.axhline(level, color="k", ls="--", lw=0.8, label="round-off of the largest")
        axis.set(yscale="log", ylim=(1e-19, 3), xlabel="wavenumber k of exp(i k pi x) [1]", ylabel="amplitude [1]")
        axis.set_title(f"{each.label}, t = {found.time:.3g}, {found.points} points", fontsize="medium")
    if shown:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="small")
    return figure


def _panels(count: int, size: tuple[float, float] = PANEL) -> tuple[Figure, list[Axes]]:
    columns = min(3, max(count, 1))
    rows = math.ceil(max(count, 1) / columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows + 0.5), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for axis in axes[count:]:
        axis.set_axis_off()
    return figure, axes
