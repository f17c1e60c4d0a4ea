"""Figures 1 to 5 of the reproduction of n-TangentProp: runtimes and gains against the number of derivatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from analyses.reproduce.n_tangentprop_gains import by_order, gains, left_out
from analyses.reproduce.n_tangentprop_runtimes import Runtime
from analyses.reproduce.n_tangentprop_settings import BATCH, FUSED, NESTED, PARTITIONS, STANDARD, named

STYLES = {
    NESTED: {"color": "C3", "marker": "o"},
    PARTITIONS: {"color": "C1", "marker": "^"},
    FUSED: {"color": "C0", "marker": "D"},
}
OURS = (FUSED, PARTITIONS)
PARTS = {1: ("total", "forward, loss and backward"), 2: ("forward", "forward pass"), 3: ("backward", "backward pass")}


def runtime_figure(records: Sequence[Runtime], number: int) -> Figure:
    """Draw one part of the runtime against the order, on a linear and on a logarithmic axis.

    Args:
        records: what was timed.
        number: 1 for the total, 2 for the forward and 3 for the backward pass, as in the paper.

    Returns:
        Two panels; bars go from the least to the largest round, titles say what was not timed.
    """
    part, title = PARTS[number]
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    panels = figure.subplots(1, 2)
    for axis, scale in zip(panels, ("linear", "log"), strict=True):
        for method, style in STYLES.items():
            own = by_order(records, method)
            values = {record.setting.order: record.part(part) for record in own}
            _bars(axis, values, label=method, **style)
        axis.set(yscale=scale, xlabel="highest derivative n [1]", ylabel=f"{title} [ms CPU]")
        axis.set_xticks(sorted({r.setting.order for r in records if r.setting.shape == STANDARD}))
        axis.grid(alpha=0.3)
    _plain_ticks(panels[1])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize="small")
    note = "; ".join(line for method in STYLES for line in left_out(records, method))
    heading = f"Figure {number}: {title}, {named(STANDARD)} tanh, {BATCH} points, float64"
    figure.suptitle(heading + (f"\nnot timed: {note}" if note else ""), fontsize="medium")
    return figure


def gains_figure(records: Sequence[Runtime], number: int) -> Figure:
    """Draw how many times faster than nested differentiation, over widths, depths, batches and orders.

    Args:
        records: what was timed.
        number: 4 for the forward pass, 5 for the total, as in the paper.

    Returns:
        One column an order, one row a depth; solid lines are our recurrences, dotted ones the paper's algorithm.
    """
    part, title = ("forward", "forward pass") if number == 4 else ("total", "forward and backward pass")
    grid = [record for record in records if record.setting.shape != STANDARD or record.setting.batch != BATCH]
    settings = [record.setting for record in grid]
    depths, orders = sorted({s.shape[0] for s in settings}), sorted({s.order for s in settings})
    widths, batches = sorted({s.shape[1] for s in settings}), sorted({s.batch for s in settings} | {BATCH})
    colors = dict(zip(batches, colormaps["viridis"](np.linspace(0.85, 0.1, len(batches))), strict=True))
    figure = Figure(figsize=(2 + 3.2 * len(orders), 1.6 + 2.7 * len(depths)), layout="constrained")
    panels = figure.subplots(len(depths), len(orders), squeeze=False, sharex=True, sharey="col")
    for row, depth in zip(panels, depths, strict=True):
        for axis, order in zip(row, orders, strict=True):
            for method, look in ((FUSED, {"ls": "-"}), (PARTITIONS, {"ls": ":", "mfc": "none"})):
                for batch in batches:
                    found = {w: gains(records, method, part, (depth, w), batch).get(order, []) for w in widths}
                    label = f"batch {batch:,}, {method}"
                    values = {width: ratios for width, ratios in found.items() if ratios}
                    _bars(axis, values, color=colors[batch], marker="o", label=label, **look)
            axis.axhline(1, color="k", ls="--", lw=0.9)
            axis.set(yscale="log", xticks=widths, title=f"depth {depth}, n = {order}")
            axis.title.set_fontsize("small")
            axis.grid(alpha=0.3)
            _plain_ticks(axis)
        row[0].set_ylabel("nested autodiff's time over it [1]", fontsize="small")
    for axis in panels[-1]:
        axis.set_xlabel("width [1]")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize="small")
    skipped = sum(bool(record.skipped) for record in grid)
    text = f"Figure {number}: gain over nested autodiff, {title}, float64"
    if skipped:
        text += f"\nnot timed, since predicted above the patience or the memory: {skipped} settings (runtimes.json)"
    figure.suptitle(text, fontsize="medium")
    return figure


def _bars(axis: Axes, values: Mapping[int, Sequence[float]], **how: object) -> None:
    """Plot medians with bars from the least to the largest value."""
    orders = sorted(values)
    if not orders:
        return
    middle = np.array([np.median(values[order]) for order in orders])
    ends = np.array([[min(values[order]), max(values[order])] for order in orders]).T
    axis.errorbar(orders, middle, yerr=np.abs(ends - middle), capsize=2, elinewidth=0.7, ms=4, lw=1.3, **how)


def _plain_ticks(axis: Axes) -> None:
    axis.yaxis.set_major_locator(LogLocator(10))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())
