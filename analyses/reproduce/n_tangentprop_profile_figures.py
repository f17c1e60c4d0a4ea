"""Figures 6 to 10 of the reproduction of n-TangentProp: training, its price, and profiles with their derivatives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyses.reproduce.n_tangentprop_profiles import OURS, PUBLISHED, Drawn, grid
from analyses.reproduce.n_tangentprop_published import LAMBDA_ERRORS, RATIOS
from analyses.reproduce.n_tangentprop_replay import Replay
from analyses.reproduce.n_tangentprop_training import exact_lambda
from dynamics.curves import thinned
from solvers.problems.self_similar_profile import SelfSimilarProfile

COLORS = {OURS: "C0", PUBLISHED: "C1"}
NUMBERS = {0: 8, 1: 9, 2: 7, 3: 10}
"""k -> the paper's figure of that profile."""
LEAST, LEAST_LOSS = 1e-17, 1e-32
"""0 has no place on a logarithmic axis."""


def training_figure(runs: Sequence[Drawn], replays: Sequence[Replay]) -> Figure:
    """Draw loss and |lambda error| of the first profile, and the ratio of the operators' times (figure 6).

    Args:
        runs: recorded, k = 0.
        replays: of recorded runs, k = 0, 1, 2.

    Returns:
        Three panels over each other.
    """
    figure = Figure(figsize=(9, 9.5), layout="constrained")
    loss, error, ratio = figure.subplots(3, 1)
    for run in runs:
        _course(loss, error, run, run.label)
    error.axhline(LAMBDA_ERRORS[0], color="k", ls=":", lw=1, label="published, in the end")
    for axis, label in ((loss, "its own loss [1]"), (error, r"$|\lambda - 1/2|$ [1]")):
        axis.set(yscale="log", xscale="log", xlabel="evaluations of loss and gradient [1]", ylabel=label)
    error.legend(fontsize="small")
    for color, found in zip(("C0", "C3", "C2"), replays, strict=False):
        summed = np.cumsum(found.nested) / np.cumsum(found.fused)
        ratio.plot(found.steps, summed, "o-", ms=3, color=color, label=f"k = {found.k}: {found.ratio:.3g} over all")
        if found.k < len(RATIOS):
            ratio.axhline(RATIOS[found.k], color=color, ls=":", lw=1)
    ratio.plot([], [], color="0.4", ls=":", lw=1, label="published, end to end (k = 2 projected)")
    ratio.axhline(1, color="k", lw=0.8)
    ratio.set(yscale="log", xlabel="step of the recorded run, published loss [1]")
    ratio.set_ylabel("nested autodiff's summed\ntime over TangentProp's [1]")
    ratio.legend(fontsize="small", ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.22), frameon=False)
    figure.suptitle("Figure 6: the first profile in training, and replays of recorded runs under both operators")
    return figure


def profile_figure(runs: Sequence[Drawn]) -> Figure:
    """Draw a profile with its derivatives against the exact ones, and its training (figures 7 to 10).

    Args:
        runs: recorded, of one k.

    Returns:
        U to U^(2k + 3), then loss and |lambda error| over the evaluations.
    """
    k, x = runs[0].k, grid()
    order = 2 * k + 3
    columns = math.ceil((order + 1) / 2) if order < 8 else 5
    rows = math.ceil((order + 1) / columns)
    figure = Figure(figsize=(max(2.7 * columns, 8.0), 2.2 * rows + 3), layout="constrained")
    layout = figure.add_gridspec(rows + 1, 2 * columns, height_ratios=[1] * rows + [1.3])
    exact = SelfSimilarProfile.smooth(k)
    found = {run.label: run.derivatives(x, order) for run in runs}
    for j in range(order + 1):
        row, column = divmod(j, columns)
        axis = figure.add_subplot(layout[row, 2 * column : 2 * column + 2])
        _derivative(axis, x, exact(x, j), {label: values[j] for label, values in found.items()}, j)
    loss, error = figure.add_subplot(layout[rows, :columns]), figure.add_subplot(layout[rows, columns:])
    for run in runs:
        _course(loss, error, run, "")
    loss.set(yscale="log", xscale="log", xlabel="evaluations [1]", ylabel="its own loss [1]")
    error.set(yscale="log", xscale="log", xlabel="evaluations [1]", ylabel=rf"$|\lambda - 1/{2 * k + 2}|$ [1]")
    if k < len(LAMBDA_ERRORS):
        error.axhline(LAMBDA_ERRORS[k], color="k", ls=":", lw=1, label="published, in the end")
    error.plot([], [], color="k", lw=3, alpha=0.25, label="exact")
    for run in runs:
        label = rf"{run.label}: $\lambda$ error {run.lam_error:.1e}, max |U error| {run.u_error:.1e}"
        error.plot([], [], color=COLORS[run.label], ls="--", label=label)
    figure.legend(*error.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize="small")
    number = f"Figure {NUMBERS[k]}" if k in NUMBERS else "Beyond the paper"
    figure.suptitle(rf"{number}: k = {k}, $\lambda$ = 1/{2 * k + 2}", fontsize="medium")
    return figure


def _derivative(axis: Axes, x: np.ndarray, exact: np.ndarray, found: Mapping[str, np.ndarray], order: int) -> None:
    axis.plot(x, exact, color="k", lw=3, alpha=0.25)
    for label, values in found.items():
        axis.plot(x, values, "--", lw=1.2, color=COLORS[label])
    reach = float(np.abs(exact).max()) * 1.25
    # What a network that failed does there must not hide the rest.
    axis.set_ylim(-reach, reach)
    axis.set_title(
        "U" if order == 0 else f"U{chr(39) * order}" if order < 4 else f"U$^{{({order})}}$", fontsize="small"
    )
    axis.tick_params(labelsize="x-small")


def _course(loss: Axes, error: Axes, run: Drawn, label: str) -> None:
    course = run.course
    errors = np.maximum(np.abs(course.lam - exact_lambda(run.k)), LEAST)
    for axis, values in ((loss, np.maximum(course.loss, LEAST_LOSS)), (error, errors)):
        kept = thinned(course.evaluations, values)
        axis.plot(course.evaluations[kept], values[kept], color=COLORS[run.label], lw=1, label=label or None)
        axis.grid(alpha=0.3)
