"""Figures 2 to 5 of the paper: error, time, speedup and epochs against the number of nodes, or the order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from analyses.reproduce import dt_pinn_speeds as speeds
from analyses.reproduce.dt_pinn_figures import style
from analyses.reproduce.dt_pinn_ground import Floor
from analyses.reproduce.dt_pinn_settings import DISCRETE, TAYLOR_64, VANILLA, Arm
from analyses.reproduce.dt_pinn_training import Trained, lowest

PAPER_SPEEDUP = {"linear": (2.0, 4.0), "nonlinear": (2.0, 4.0), "heat": (2.0, 2.5)}
"""The published ones."""


def sizes_figure(runs: Sequence[Trained], floors: Sequence[Floor], study: str, title: str) -> Figure:
    """Draw error, time to the lowest error and speedup against the number of nodes (figures 2 and 4).

    Args:
        runs: trainings.
        floors: direct solves, drawn dotted.
        study: its name.
        title: of the figure.

    Returns:
        Three panels; bars span the seeds.
    """
    runs = [run for run in runs if run.study == study]
    figure = Figure(figsize=(14, 5.4), layout="constrained")
    errors, seconds, speedup = figure.subplots(1, 3)
    arms = list(dict.fromkeys(run.arm for run in runs))
    for arm in arms:
        own, at = [run for run in runs if run.arm == arm], _beside(arm, arms)
        _bars(errors, own, lambda run: run.errors[lowest(run)], at=at, **style(arm))
        pairs = [pair for each in speeds.paired(runs, study, arm, VANILLA).values() for pair in each]
        _paired_bars(seconds, pairs, lambda run, base: run.seconds[_lowest(run, base)], at=at, **style(arm))
    for order in sorted({floor.order for floor in floors if floor.study == study}):
        own = sorted((f for f in floors if (f.study, f.order) == (study, order)), key=lambda f: f.count)
        how = {"color": style(Arm(DISCRETE, 64, order))["color"], "marker": "_", "ms": 14}
        errors.plot([f.count for f in own], [f.rel_l2 for f in own], ls=":", lw=1, **how)
    errors.plot([], [], color="0.4", ls=":", lw=1, marker="_", ms=14, label="direct solve of the discretisation")
    errors.set(yscale="log", ylabel="lowest relative L2 error [1]", title="equal seconds")
    seconds.set(yscale="log", ylabel="training to the lowest error [s]", title="as many iterations as fp32 vanilla")
    _plain_ticks(seconds)
    _speedups(speedup, runs, study)
    for axis in (errors, seconds, speedup):
        _counted(axis, sorted({run.count for run in runs}))
    return _finished(figure, (errors, speedup), title)


def epochs_figure(runs: Sequence[Trained], title: str) -> Figure:
    """Draw iterations and evaluations to the lowest error against the number of nodes (figure 3).

    Args:
        runs: trainings on the linear equation.
        title: of the figure.

    Returns:
        Two panels, fp32 and fp64; solid lines are iterations, hollow marks evaluations, both among as many iterations
        as fp32 vanilla made.
    """
    runs = [run for run in runs if run.study == "linear"]
    figure = Figure(figsize=(11, 5.4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, precision in zip(axes, (32, 64), strict=True):
        arms = list(dict.fromkeys(run.arm for run in runs if run.arm.precision == precision))
        for arm in arms:
            at, how = _beside(arm, arms), style(arm)
            pairs = [pair for each in speeds.paired(runs, "linear", arm, VANILLA).values() for pair in each]
            how |= {"mfc": how["color"], "ls": "-"}
            _paired_bars(axis, pairs, lambda run, base: run.iterations[_lowest(run, base)], at=at, **how)
            how |= {"ls": ":", "mfc": "none", "label": ""}
            _paired_bars(axis, pairs, lambda run, base: run.evaluations[_lowest(run, base)], at=at, **how)
        axis.set(yscale="log", title=f"fp{precision}, as many iterations as fp32 vanilla")
        _plain_ticks(axis)
        _counted(axis, sorted({run.count for run in runs}))
        axis.plot([], [], color="0.4", ls=":", marker="o", mfc="none", label="evaluations of the loss")
    axes[0].set_ylabel("L-BFGS iterations to the lowest error [1]")
    return _finished(figure, axes, title)


def orders_figure(runs: Sequence[Trained], floors: Sequence[Floor], title: str) -> Figure:
    """Draw error and speedup on the heat equation against the order (figure 5).

    Args:
        runs: trainings.
        floors: direct solves, drawn dotted.
        title: of the figure.

    Returns:
        Two panels.
    """
    runs = [run for run in runs if run.study == "heat"]
    figure = Figure(figsize=(11, 5), layout="constrained")
    errors, speedup = figure.subplots(1, 2)
    own = [run for run in runs if run.arm.method == DISCRETE]
    places = sorted({run.arm.order for run in own})
    _bars(errors, own, lambda run: run.errors[lowest(run)], at=_order, color="C0", marker="o", label="DT, fp64")
    for arm in (VANILLA, TAYLOR_64):
        values = [run.errors[lowest(run)] for run in runs if run.arm == arm]
        if values:
            how = style(arm)
            errors.axhline(np.median(values), color=how["color"], ls=how["ls"], label=arm.label)
            errors.axhspan(min(values), max(values), color=how["color"], alpha=0.12, lw=0)
    known = sorted((f for f in floors if f.study == "heat"), key=lambda f: f.order)
    floor = {"ls": ":", "marker": "_", "ms": 14, "color": "0.4", "label": "direct solve of the discretisation"}
    errors.plot([f.order for f in known], [f.rel_l2 for f in known], **floor)
    errors.set(yscale="log", ylabel="lowest relative L2 error [1]", title="equal seconds")
    _speedups(speedup, runs, "heat")
    for axis in (errors, speedup):
        axis.set(xticks=places, xlabel="order p of RBF-FD [1]")
    return _finished(figure, (errors, speedup), title)


def _order(run: Trained, shift: float = 0.0) -> float:
    return run.arm.order + shift


def _lowest(run: Trained, base: Trained) -> int:
    return lowest(run, speeds.equal_iterations(run, base))


_KINDS = (
    (VANILLA, speeds.speedup, {"ls": "-"}, "over fp32 vanilla, each to its lowest error"),
    (VANILLA, speeds.speedup_same_error, {"ls": "--", "mfc": "none"}, "over fp32 vanilla, same error"),
    (TAYLOR_64, speeds.speedup_same_error, {"ls": ":", "marker": "x"}, "over exact fp64 Taylor mode, same error"),
)


def _beside(arm: Arm, arms: Sequence[Arm], kind: int = 0) -> Callable[[Trained], float]:
    """Return where an arm's runs are drawn: a little beside those of the others, so that bars can be told apart."""
    shift = 1.02 ** (list(arms).index(arm) - (len(arms) - 1) / 2) * 1.06**kind
    return lambda run: run.count * shift


def _speedups(axis: Axes, runs: Sequence[Trained], study: str) -> None:
    """Plot three kinds of speedups: against the number of nodes, an arm a colour, or against the order, one curve."""
    arms = [arm for arm in dict.fromkeys(run.arm for run in runs) if arm.method == DISCRETE and arm.precision == 64]
    for kind, (base, measure, look, label) in enumerate(_KINDS, start=-1):
        pairs = [pair for arm in arms for own in speeds.paired(runs, study, arm, base).values() for pair in own]
        if study == "heat":
            shifted = partial(_order, shift=0.06 * kind)
            how = {"color": style(base)["color"], "marker": "o", "ms": 5, "label": label} | look
            _paired_bars(axis, pairs, measure, at=shifted, **how)
            continue
        for arm in arms:
            own = [pair for pair in pairs if pair[0].arm == arm]
            _paired_bars(axis, own, measure, at=_beside(arm, arms, kind), **style(arm) | look | {"label": ""})
        axis.plot([], [], **{"color": "0.4", "marker": "o", "label": label} | look)
    axis.axhspan(*PAPER_SPEEDUP[study], color="0.9", lw=0, zorder=0, label="published")
    axis.axhline(1, color="k", lw=0.8)
    axis.set(yscale="log", ylabel="speedup of fp64 DT [1]", title="speedup")
    _plain_ticks(axis)


def _plain_ticks(axis: Axes) -> None:
    """Write 2 and not 2 x 10^0 where an axis spans little more than a decade."""
    axis.yaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())


def _bars(axis: Axes, runs: Sequence[Trained], value: Callable[[Trained], float], at=None, **how: object) -> None:
    _paired_bars(axis, [(run, run) for run in runs], lambda run, _: value(run), at=at, **how)


def _paired_bars(axis: Axes, pairs: Sequence[tuple], value: Callable[..., float], at=None, **how: object) -> None:
    """Plot medians over seeds with bars from the least to the largest."""
    at = at or (lambda run: run.count)
    groups: dict[float, list[float]] = {}
    for pair in pairs:
        groups.setdefault(at(pair[0]), []).append(value(*pair))
    places = sorted(place for place, values in groups.items() if not np.isnan(values).all())
    if not places:
        return
    middle = np.array([np.nanmedian(groups[place]) for place in places])
    ends = np.array([[np.nanmin(groups[place]), np.nanmax(groups[place])] for place in places]).T
    axis.errorbar(places, middle, yerr=np.abs(ends - middle), capsize=2, elinewidth=0.7, **how)


def _counted(axis: Axes, counts: Sequence[int]) -> None:
    axis.set(xscale="log", xlabel="nodes N [1]")
    if counts:
        axis.set_xticks(counts, [f"{count:,}" for count in counts], rotation=45 if len(counts) > 3 else 0)
        axis.set_xticks([], minor=True)
        axis.set_xlim(counts[0] / 1.3, counts[-1] * 1.3)


def _finished(figure: Figure, axes: Sequence[Axes], title: str) -> Figure:
    handles: dict[str, object] = {}
    for axis in axes:
        own, labels = axis.get_legend_handles_labels()
        handles |= {label: handle for handle, label in zip(own, labels, strict=True) if label not in handles}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, fontsize="small")
    figure.suptitle(title)
    return figure
