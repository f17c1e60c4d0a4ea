"""How a training converges: the rate at which its loss falls in log time, its plateaus, its spikes, and its stage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from dynamics.log_time import intervals, log_grid, log_slope
from dynamics.ratios import log_snr
from dynamics.smoothing import running_median
from dynamics.steps import in_order
from dynamics.trajectory import require

LAST_DECADES = 0.3
FEWEST = 8
LEAST_FALL = 100.0
PLATEAU_ROWS = 5
"""Rows that a plateau must hold: between two rows of a sparse log the running median is flat whatever the loss does."""


def convergence(
    trajectory: xr.DataTree,
    *,
    smoothing: float = 0.03,
    tolerance: float = 0.2,
    decades: float = 0.3,
    spike: float = 3.0,
    good_error: float = 0.1,
    gap: float = 10.0,
) -> xr.Dataset:
    r"""Describe how the loss of a run converges.

    On a geometric grid g of steps, with S the running median of log10 of the loss:

    $$ \text{slope}(g) = \frac{d S}{d \log_{10} g}, \qquad
       \text{plateau: } |\text{slope}| < \text{tolerance for} \ge \text{decades}, \qquad
       \text{spike: } L > \text{spike} \cdot 10^S $$

    A plateau holds five rows of the log at least. What stands above S from the first row on is the beginning of the
    descent, no spike. The loss is the unweighted sum of `loss_raw` where that was recorded, since weights that move
    (attention) move the weighted loss without any progress; else `loss`.

    The stage at the end, over the last 0.3 decade:

    * "un-converged": the loss still changes, by more than `tolerance` decades per decade, or the run diverged;
    * "success", "failure": it has settled, and the solution is good, or is not: median `rel_l2` <= good_error. Where no
      solution is known, the equation's loss at other points (`held_out_loss`), or under exact derivatives
      (`exact_loss`), must be within `gap` of the training's interior loss, and the loss 100 times below its largest.
      That is weaker: a wrong solution of the equation passes it;
    * "unknown": nothing to judge by was recorded, or the log is too short; `reason` says which.

    Args:
        trajectory: needs `series/loss_raw` or `series/loss`; takes rel_l2, held_out_loss and exact_loss of the series.
        smoothing: half-width of the running median, in decades.
        tolerance: largest slope of a plateau, in decades per decade.
        decades: shortest plateau.
        spike: how far above the running median a spike stands.
        good_error: largest relative error of a solution that is called good.
        gap: largest ratio of the loss elsewhere to the training loss.

    Returns:
        `loss_median`, `slope` over `step` (the grid); `plateau_start`, `plateau_stop`, `plateau_level` over `plateau`;
        `spike_step`, `spike_height` (largest ratio to the median) over `spike`; attributes `stage`, `reason`,
        `judged_by`, `loss`, `final_slope`, `spike_share` (of the rows), and the parameters.

    Raises:
        TrajectoryError: If the trajectory has neither loss; it is named.

    Source: stages named as in arXiv 2505.10949, whose definitions could not be read: these are ours.

    Cost: one pass over the series and O(grid * window) for the median.

    Example:
        >>> step = np.arange(1, 1001)
        >>> series = xr.Dataset({"loss": ("step", 1.0 / step), "rel_l2": ("step", 0.5 / step)}, {"step": step})
        >>> found = convergence(xr.DataTree.from_dict({"series": series}))
        >>> found.stage, round(float(found.slope.median()), 2)
        ('un-converged', -1.0)
    """
    name, step, loss, others = _series(trajectory)
    finite = np.isfinite(loss) & (loss >= 0)
    step_known, logarithm = step[finite], log_snr(loss[finite])
    grid = log_grid(step_known) if len(step_known) >= FEWEST else np.empty(0)
    median = running_median(step_known, logarithm, grid, smoothing)
    # A window cut off at the end of the log has its median inside. Monotone maps commute with medians: against the
    # running median of the step the slope of a power law is exact there too. Where one sample fills the window of the
    # slope, at the first steps, the grid has to do.
    center = 10.0 ** running_median(step_known, np.log10(np.maximum(step_known, 1)), grid, smoothing)
    slope = log_slope(center, median)
    slope = np.where(np.isnan(slope), log_slope(grid, median), slope)
    flat = intervals(np.abs(slope) < tolerance, least=2)
    held = np.searchsorted(step_known, grid, "right") - 1
    flat = [(a, b) for a, b in flat if np.log10(grid[b] / grid[a]) >= decades and held[b] - held[a] >= PLATEAU_ROWS]
    spikes = _spikes(step_known, logarithm, grid, median, spike)
    final = _final_slope(grid, center, median)
    limits = {"good_error": good_error, "gap": gap}
    diverged = str(trajectory.attrs.get("status", "")) == "diverged" or bool(np.isinf(loss[-1:]).any())
    stage = _stage(diverged, final, tolerance, grid, median, others, limits)
    attrs = {"smoothing": smoothing, "tolerance": tolerance, "decades": decades, "spike": spike, **limits}
    attrs |= {"loss": name, "final_slope": final, "spike_share": spikes.share, **vars(stage)}
    loss_median, level = 10.0**median, [10.0 ** float(np.median(median[a : b + 1])) for a, b in flat]
    data = {
        "loss_median": ("step", loss_median, {"units": "1", "long_name": "running median of the loss"}),
        "slope": ("step", slope, {"units": "1", "long_name": "slope of log loss in log step"}),
        "plateau_start": ("plateau", [grid[a] for a, _ in flat], {"units": "step", "long_name": "start of a plateau"}),
        "plateau_stop": ("plateau", [grid[b] for _, b in flat], {"units": "step", "long_name": "end of a plateau"}),
        "plateau_level": ("plateau", level, {"units": "1", "long_name": "median loss on a plateau"}),
        "spike_step": ("spike", spikes.step, {"units": "step", "long_name": "step of a spike's largest loss"}),
        "spike_height": ("spike", spikes.height, {"units": "1", "long_name": "a spike's loss over the running median"}),
    }
    data = {name: (dim, np.asarray(value, np.float64), about) for name, (dim, value, about) in data.items()}
    return xr.Dataset(data, {"step": ("step", grid, {"units": "step"})}, attrs)


@dataclass(frozen=True)
class Stage:
    """Where a training stands, why, and by which variable that was judged."""

    stage: str
    reason: str
    judged_by: str = ""


@dataclass(frozen=True)
class Spikes:
    """Peaks of the excursions above the running median, and the share of rows in them."""

    step: np.ndarray
    height: np.ndarray
    share: float


def _series(trajectory: xr.DataTree) -> tuple[str, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return the loss in order, and what can tell whether the solution is good."""
    group = trajectory["series"] if "series" in trajectory.children else {}
    name = "loss_raw" if "loss_raw" in group else "loss"
    variable = require(trajectory, f"series/{name}")[f"series/{name}"].transpose("step", ...)
    values = np.asarray(variable.values, np.float64)
    columns = {"loss": values.sum(axis=1) if values.ndim == 2 else values}
    columns |= {key: group[key].values for key in ("rel_l2", "held_out_loss", "exact_loss") if key in group}
    columns["interior"] = _interior(variable, values)
    step = variable["step"].values if "step" in variable.coords else np.arange(len(values))
    step, *ordered = in_order(step, *columns.values())
    found = dict(zip(columns, (np.asarray(c, np.float64) for c in ordered), strict=True))
    found["step"] = np.asarray(step, np.float64)
    label = "sum of series/loss_raw" if name == "loss_raw" else "series/loss"
    return label, found["step"], found["loss"], found


def _interior(variable: xr.DataArray, values: np.ndarray) -> np.ndarray:
    """Return the unweighted loss of the equation; the whole loss where the terms have no such name."""
    if values.ndim < 2:
        return values
    terms = [str(term) for term in variable["term"].values] if "term" in variable.coords else []
    return values[:, terms.index("interior")] if "interior" in terms else values.sum(axis=1)


def _spikes(step: np.ndarray, logarithm: np.ndarray, grid: np.ndarray, median: np.ndarray, spike: float) -> Spikes:
    if not len(grid):
        return Spikes(np.empty(0), np.empty(0), float("nan"))
    level = np.interp(np.log10(np.maximum(step, 1)), np.log10(grid), median)
    above = logarithm - level
    runs = [(a, b) for a, b in intervals(above > np.log10(spike)) if a > 0]
    peaks = [a + int(np.argmax(above[a : b + 1])) for a, b in runs]
    share = sum(b - a + 1 for a, b in runs) / len(step)
    return Spikes(step[peaks], 10.0 ** above[peaks], share)


def _final_slope(grid: np.ndarray, center: np.ndarray, median: np.ndarray) -> float:
    """Return the slope over the last 0.3 decade; NaN where the log is shorter."""
    if not len(grid) or np.log10(grid[-1] / grid[0]) < LAST_DECADES:
        return float("nan")
    last = grid >= grid[-1] / 10**LAST_DECADES
    return float(log_slope(center[last], median[last], 2 * LAST_DECADES)[-1])


def _stage(diverged, final, tolerance, grid, median, others, limits) -> Stage:
    if diverged:
        return Stage("un-converged", "diverged: the last loss is not finite")
    if np.isnan(final):
        return Stage("unknown", f"too short: {FEWEST} rows and {LAST_DECADES} decades of steps are needed")
    if abs(final) >= tolerance:
        moves = "falls" if final < 0 else "rises"
        return Stage("un-converged", f"the loss still {moves} at the end: {final:+.2g} decades per decade of steps")
    recent = others["step"] >= grid[-1] / 10**LAST_DECADES
    error = _recent(others.get("rel_l2"), recent)
    if not np.isnan(error):
        good = error <= limits["good_error"]
        relation = "at most" if good else "above"
        reason = f"settled with a relative error of {error:.2g}, {relation} {limits['good_error']:g}"
        return Stage("success" if good else "failure", reason, "rel_l2")
    return _stage_by_loss(median, others, recent, limits["gap"])


def _stage_by_loss(median, others, recent, gap: float) -> Stage:
    """Judge by the equation's loss elsewhere, where no solution is known."""
    for name in ("held_out_loss", "exact_loss"):
        elsewhere, here = _recent(others.get(name), recent), _recent(others["interior"], recent)
        if np.isnan(elsewhere) or np.isnan(here):
            continue
        if elsewhere > gap * here:
            return Stage("failure", f"settled with {name} = {elsewhere:.2g}, training loss {here:.2g}", name)
        fallen = 10.0 ** float(median.max() - median[-1])
        if fallen < LEAST_FALL:
            return Stage("failure", f"settled {fallen:.2g} times below its largest loss, {LEAST_FALL:g} expected", name)
        return Stage("success", f"settled, {name} = {elsewhere:.2g} within {gap:g} of the training loss", name)
    return Stage("unknown", "settled, but neither rel_l2 nor held_out_loss nor exact_loss was recorded")


def _recent(values: np.ndarray | None, recent: np.ndarray) -> float:
    """Return the median of the last values; of the last known one where the last stretch has none."""
    if values is None or not np.isfinite(values).any():
        return float("nan")
    near = values[recent & np.isfinite(values)]
    return float(np.median(near)) if len(near) else float(values[np.isfinite(values)][-1])
