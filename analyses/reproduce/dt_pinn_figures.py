"""Figures of the reproduction of discretely-trained PINNs: one Laplacian, and errors against seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyses.reproduce.dt_pinn_ground import Floor
from analyses.reproduce.dt_pinn_laplacian import ARMS, NETWORK, ORDERS, REFERENCE, Laplacian, product_name
from analyses.reproduce.dt_pinn_settings import AUTODIFF, DISCRETE, TAYLOR, Arm
from analyses.reproduce.dt_pinn_training import Trained

_SHADES = dict(zip(ORDERS, colormaps["viridis"](np.linspace(0.9, 0.1, len(ORDERS))), strict=True))
_MARKS = {2: "v", 3: "o", 4: "s", 5: "^"}
_EXACT = {AUTODIFF: ("C3", "D"), TAYLOR: ("C1", "P")}


def style(arm: Arm) -> dict[str, object]:
    """Return how an arm is drawn: colour and mark by method and order, fp32 dashed and hollow.

    Args:
        arm: of the curve.

    Returns:
        Arguments of matplotlib's `plot`.
    """
    color, mark = (_SHADES[arm.order], _MARKS[arm.order]) if arm.method == DISCRETE else _EXACT[arm.method]
    single = {"ls": "--", "mfc": "none"} if arm.precision == 32 else {"ls": "-"}
    return {"color": color, "marker": mark, "ms": 5, "lw": 1.3, "label": arm.label, **single}


def laplacian_figure(depths: Sequence[Laplacian], nodes: int) -> Figure:
    """Draw error and cost of one Laplacian against the depth (figure 1).

    Args:
        depths: what was measured.
        nodes: their number.

    Returns:
        Three panels: errors, milliseconds forward, milliseconds with the gradient.
    """
    depths = sorted(depths, key=lambda each: each.depth)
    figure = Figure(figsize=(13, 5.4), layout="constrained")
    errors, forward, both = figure.subplots(1, 3)
    places = [each.depth for each in depths]
    for arm in ARMS:
        if arm == REFERENCE:
            continue
        values = np.array([each.errors[arm.label] for each in depths])
        errors.plot(places, np.median(values, axis=1), **style(arm))
        errors.fill_between(places, values.min(axis=1), values.max(axis=1), color=style(arm)["color"], alpha=0.1, lw=0)
    errors.axhline(np.finfo(np.float64).eps, color="0.5", lw=0.8, ls=":", label="eps of fp64 and fp32")
    errors.axhline(np.finfo(np.float32).eps, color="0.5", lw=0.8, ls=":")
    errors.set(yscale="log", ylabel="relative L2 error of the Laplacian [1]", title="against fp64 autodiff")
    _costs(forward, depths, [each.forward for each in depths], "time of one Laplacian [ms]", "forward")
    _costs(both, depths, [each.both for each in depths], "", "forward, and the gradient in the weights")
    lower, upper = forward.get_ylim()[0], both.get_ylim()[1]
    for axis in (forward, both):
        axis.set_ylim(lower, upper)
    for axis in (errors, forward, both):
        axis.set(xlabel="hidden layers [1]", xticks=places)
    # One legend for all: the same arms are in every panel.
    handles = dict(zip(*reversed(errors.get_legend_handles_labels()), strict=True))
    handles |= dict(zip(*reversed(forward.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=6, fontsize="small")
    figure.suptitle(f"Laplacian of random networks of width 50 at {nodes:,} nodes of the disk")
    return figure


def _costs(axis: Axes, depths: Sequence[Laplacian], times: Sequence[Mapping[str, list[float]]], unit: str, title: str):
    places = [each.depth for each in depths]

    def middle(name: str) -> list[float]:
        return [float(np.median(own[name])) for own in times]

    for arm in ARMS:
        if arm.label in times[0]:
            axis.plot(places, middle(arm.label), **style(arm))
    axis.plot(places, middle(NETWORK), color="0.5", ls="-.", lw=1.3, label=NETWORK)
    for order in ORDERS:
        name = product_name(order)
        marked = {"color": _SHADES[order], "marker": _MARKS[order], "ms": 3, "ls": ":", "label": name}
        axis.plot(places, middle(name), **marked)
    axis.set(yscale="log", ylabel=unit, title=title)


def curves_figure(runs: Sequence[Trained], floors: Sequence[Floor], study: str, title: str) -> Figure:
    """Draw the error against the seconds of training, with the discretisation floors (ours).

    Args:
        runs: trainings.
        floors: direct solves.
        study: its name.
        title: of the figure.

    Returns:
        One panel a number of nodes; thin lines are seeds, thick ones their median.
    """
    runs = [run for run in runs if run.study == study]
    counts = sorted({run.count for run in runs})
    figure = Figure(figsize=(1.5 + 5 * len(counts), 5.4), layout="constrained")
    axes = figure.subplots(1, len(counts), squeeze=False, sharey=True)[0]
    for axis, count in zip(axes, counts, strict=True):
        for arm in dict.fromkeys(run.arm for run in runs if run.count == count):
            _curve(axis, [run for run in runs if run.count == count and run.arm == arm], arm)
        for floor in floors:
            if (floor.study, floor.count) == (study, count):
                axis.axhline(floor.rel_l2, color=_SHADES[floor.order], lw=1, ls=":")
        axis.set(xscale="log", yscale="log", xlabel="training, logging left out [s]", title=f"N = {count:,}")
    axes[0].set_ylabel("relative L2 error [1]")
    axes[0].plot([], [], color="0.4", lw=1, ls=":", label="direct solve of the discretisation")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="small")
    figure.suptitle(title)
    return figure


def _curve(axis: Axes, runs: Sequence[Trained], arm: Arm) -> None:
    how = {name: value for name, value in style(arm).items() if name not in ("marker", "ms", "mfc")}
    longest = max(run.seconds[-1] for run in runs)
    grid = np.geomspace(0.1, longest, 80)
    curves = []
    for run in runs:
        seconds, errors = np.array(run.seconds[1:]), np.array(run.errors[1:])
        axis.plot(seconds, errors, color=how["color"], lw=0.4, alpha=0.4)
        # A run that stopped by itself stays where it is.
        curves.append(10 ** np.interp(np.log(grid), np.log(seconds), np.log10(errors)))
    axis.plot(grid, np.median(curves, axis=0), **{**how, "lw": 1.8})
