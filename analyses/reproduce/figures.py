"""Figures of the reproduction of "AD versus FD"."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analyses.reproduce.claims import Claim
from analyses.reproduce.feature_claims import BELOW, STEP, Exact
from analyses.reproduce.random_features import STEPS, Solve, pairs
from analyses.reproduce.training_claims import FASTER, LEAST_GAIN
from dynamics.entropy import truncated_entropy

TITLES = {"poisson-1d": "Poisson", "biharmonic-1d": "biharmonic"}
MARKS = {"poisson-1d": "o", "biharmonic-1d": "^"}
CUTS = np.logspace(-1, -16, 151)
COLORS = dict(zip((1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 1e-4), colormaps["viridis"](np.linspace(0.95, 0, 6)), strict=True))
"""Of each step, light to dark: grey prints keep the order. Exact derivatives are red."""
AD = "C3"


def features_figure(solves: Sequence[Solve], exact: Exact) -> Figure:
    """Draw what random features say: spectra with and without rounding, H(a), residuals against floors, errors.

    Args:
        solves: from `solve_all`.
        exact: singular values in exact arithmetic.

    Returns:
        A figure of four panels.
    """
    figure = Figure(figsize=(12, 9), layout="constrained")
    ((spectra, entropy), (residual, error)) = figure.subplots(2, 2)
    _spectra(spectra, solves, exact)
    _entropies(entropy, solves)
    _residuals(residual, solves)
    _errors(error, solves)
    figure.suptitle(f"100 tanh features, exact derivatives (AD) and differences (FD), {_seeds(solves)} seeds")
    return figure


def _seeds(solves: Sequence[Solve]) -> int:
    return len({solve.seed for solve in solves})


def _spectra(axis: Axes, solves: Sequence[Solve], exact: Exact) -> None:
    problem = "poisson-1d"
    for step, color, style, width in ((STEP[problem], "0.75", "-", 5), (None, "k", "--", 1)):
        values = exact[problem, step][0].values
        name = "AD" if step is None else f"FD, h = {step:g}"
        index = np.arange(1, len(values) + 1)
        axis.plot(index, values / values[0], style, color=color, lw=width, label=f"{name}, exact arithmetic")
    for step in (None, 1e-2, 1e-3, 1e-4):
        solve = next(s for s in solves if (s.problem, s.activation, s.seed, s.step) == (problem, "tanh", 0, step))
        index, color = np.arange(1, len(solve.values) + 1), AD if step is None else COLORS[step]
        label, mark = ("AD", "o") if step is None else (f"FD, h = {step:g}", "x")
        axis.plot(index, solve.values / solve.values[0], mark, ms=3.5, mfc="none", color=color, label=label)
        axis.axhline(solve.relative_floor, color=color, ls="--", lw=0.8)
    axis.set(yscale="log", ylim=(1e-20, 3), xlim=(0, 60), xlabel="index k", ylabel=r"$\sigma_k / \sigma_1$ [1]")
    axis.set_title("Poisson: the extra values of FD are round-off (dashed: floors)", fontsize="medium")
    axis.legend(fontsize="small", loc="upper right")


def _entropies(axis: Axes, solves: Sequence[Solve]) -> None:
    for problem, color in zip(STEP, ("C0", "C2"), strict=True):
        for exact, style in ((True, "-"), (False, "--")):
            chosen = [pair[0 if exact else 1] for pair in pairs(solves, problem, STEP[problem])]
            curves = np.array([truncated_entropy(s.values, CUTS)[0] for s in chosen])
            floor = np.median([s.relative_floor for s in chosen])
            name = "AD" if exact else f"FD, h = {STEP[problem]:g}"
            middle = np.median(curves, axis=0)
            axis.plot(
                CUTS, np.where(floor <= CUTS, middle, np.nan), style, color=color, label=f"{TITLES[problem]}, {name}"
            )
            axis.plot(CUTS, np.where(floor <= CUTS, np.nan, middle), style, color=color, alpha=0.3)
            axis.fill_between(CUTS, curves.min(axis=0), curves.max(axis=0), color=color, alpha=0.1, lw=0)
    axis.axvline(BELOW, color="k", lw=0.6, ls=":")
    axis.set(xscale="log", xlim=(CUTS[0], CUTS[-1]), xlabel="cut a [1]", ylabel="truncated entropy H(a) [1]")
    axis.set_title("H(a): AD and FD part below the floor of FD (faint)", fontsize="medium")
    axis.legend(fontsize="small")


def _residuals(axis: Axes, solves: Sequence[Solve]) -> None:
    for problem in STEP:
        for step in STEPS[problem]:
            both = pairs(solves, problem, step)
            floors, gaps = [b.relative_floor for _, b in both], [b.residual / a.residual for a, b in both]
            axis.loglog(floors, gaps, MARKS[problem], ms=5, mfc="none", color=COLORS[step])
    axis.axhline(1, color="0.6", lw=0.8)
    axis.set(xlabel=r"floor of FD over $\sigma_1$ [1]", ylabel="own residual, FD over AD [1]")
    axis.set_title("the residual gap follows the noise, not the truncation", fontsize="medium")
    _legend(axis, "upper left")


def _errors(axis: Axes, solves: Sequence[Solve]) -> None:
    own = [s for s in solves if s.activation == "tanh"]
    for problem in STEP:
        for step in (None, *STEPS[problem]):
            chosen = [s for s in own if s.problem == problem and s.step == step]
            residuals, errors = [s.residual for s in chosen], [s.error for s in chosen]
            color = AD if step is None else COLORS[step]
            axis.loglog(residuals, errors, MARKS[problem], ms=5, mfc="none", color=color)
    axis.set(xlabel="own residual, rms [1]", ylabel="relative L2 error [1]")
    axis.set_title("the own residual of FD does not tell its error", fontsize="medium")
    _legend(axis, "lower right", exact=True)


def _legend(axis: Axes, place: str, exact: bool = False) -> None:
    """One colour a step, one mark a problem."""
    marks = [Line2D([], [], ls="", marker=MARKS[p], mfc="none", color="k", label=TITLES[p]) for p in STEP]
    steps = [Line2D([], [], lw=4, color=color, label=f"h = {step:g}") for step, color in COLORS.items()]
    steps = [Line2D([], [], lw=4, color=AD, label="AD")] * exact + steps
    axis.legend(handles=marks + steps, fontsize="small", loc=place, ncols=2)


def training_figure(settings: Sequence[Claim]) -> Figure:
    """Draw how much faster training is under exact derivatives, setting by setting.

    Args:
        settings: of `training_claims`.

    Returns:
        A figure: gains with their 95 % intervals, one row a setting, by precision.
    """
    gains = [row for row in settings if row.claim == FASTER]
    labels = list(dict.fromkeys(_without_precision(row) for row in gains))
    figure = Figure(figsize=(10, 2 + 0.27 * len(labels)), layout="constrained")
    axis = figure.subplots()
    for offset, (dtype, color) in enumerate((("float64", "C0"), ("float32", "C1"))):
        own = [row for row in gains if row.key["dtype"] == dtype]
        if not own:
            continue
        place = np.array([labels.index(_without_precision(row)) for row in own]) + 0.3 * (offset - 0.5)
        middle = np.array([row.measured for row in own])
        reach = np.abs(np.array([[row.low, row.high] for row in own]).T - middle)
        axis.errorbar(middle, place, xerr=reach, fmt="o", ms=3, lw=1, color=color, label=dtype)
    axis.axvline(0, color="k", lw=0.8)
    axis.axvspan(-LEAST_GAIN, LEAST_GAIN, color="0.9", lw=0, zorder=0, label="below 0.01 decades: no difference")
    axis.set_yticks(range(len(labels)), labels, fontsize="small")
    axis.set_ylim(len(labels) - 0.5, -0.5)
    axis.set_xscale("symlog", linthresh=0.01)
    axis.set_xlabel("decades of its own loss that training under AD gains on FD, same starts [1]")
    axis.legend(fontsize="small", loc="upper left", bbox_to_anchor=(0, -0.06), ncols=3, frameon=False)
    axis.set_title("training speed: exact derivatives against differences", fontsize="medium")
    return figure


def _without_precision(row: Claim) -> str:
    return "{network}, {problem}, {optimizer}, h = {step:g}".format(**row.key)
