"""Findings about the descent: divergence, steps too large, layers without slope."""

from __future__ import annotations

import numpy as np

from dynamics.diagnosis.equation import UNMET
from dynamics.diagnosis.finding import Finding
from dynamics.diagnosis.log import Log

FIRST = 10
LEAP = 0.05
"""Update over parameters, both in 2-norm, in the median of the first rows, above which steps are no small change."""

SPIKE = 1.0
SPIKES = 3
WINDOW = 51
"""A spike stands so many decades above the running median over so many rows; one or two are chance."""

SATURATED = 0.5
"""Share of a layer's activations at the ends of their range above which it hardly passes a gradient."""


def diverged(log: Log) -> Finding | None:
    """Find a loss that is not finite for good, or a run that says so.

    Args:
        log: of the run.

    Returns:
        A problem, or None.
    """
    loss = log.array("series/loss")
    loss = loss if loss is not None else np.empty(0)
    row = first_bad(loss)
    row = None if row is not None and _only_not_given(log, row) else row
    if row is None and log.status != "diverged":
        return None
    if row is None and len(loss) and not np.isfinite(loss[-1]):
        row = len(loss) - 1
    advice = "lower the learning rate or warm it up, clip the gradient, and look at the last steps before this one"
    if row is None:
        last = log.last_step if len(loss) else None
        where = f" after step {last}" if last is not None else ""
        return Finding("diverged", "problem", f"diverged{where}", {"status": log.status, "last_step": last}, advice)
    steps = log.steps
    evidence = {"status": log.status, "step": int(steps[row])}
    message = f"diverged: the loss is not finite from step {steps[row]} on"
    finite = np.flatnonzero(np.isfinite(loss[:row]))
    if len(finite):
        evidence |= {"last_finite_loss": float(loss[finite[-1]]), "last_finite_step": int(steps[finite[-1]])}
        message += f" (last finite loss {loss[finite[-1]]:.3g} at step {steps[finite[-1]]}"
        rates = log.column("learning_rate")
        if rates is not None and np.isfinite(rates[finite[-1]]):
            evidence["learning_rate"] = float(rates[finite[-1]])
            message += f", learning rate {evidence['learning_rate']:.3g}"
        message += ")"
    return Finding("diverged", "problem", message, evidence, advice)


def _only_not_given(log: Log, row: int) -> bool:
    """Whether the row is the state after the last step of a loop that tells its loss before each step."""
    update = log.array("series/update_norm")
    errors = [log.last(name) for name in ("rel_l2", "max_error", "field_mean")]
    known = any(error is not None and error[0] == log.last_step for error in errors)
    last = row == len(log.steps) - 1 and log.status != "diverged"
    return last and known and update is not None and len(update) > row and bool(np.isnan(update[row]))


def first_bad(loss: np.ndarray) -> int | None:
    """Return the first row of a loss that is not finite for good.

    A scalar that was not given reads as NaN, so NaN counts only at the end, in a run longer than any gap before it.

    Args:
        loss: (rows,).

    Returns:
        The row, or None.

    Example:
        >>> first_bad(np.array([1.0, np.nan, 1.0, np.nan, np.nan])), first_bad(np.array([1.0, np.nan, 1.0]))
        (3, None)
    """
    bad = ~np.isfinite(loss)
    ends = np.flatnonzero(np.diff(np.concatenate(([False], bad, [False]))))
    runs = ends.reshape(-1, 2)
    infinite = np.flatnonzero(np.isinf(loss))
    if len(runs) and runs[-1, 1] == len(loss):
        lengths = runs[:, 1] - runs[:, 0]
        if len(runs) == 1 or lengths[-1] > lengths[:-1].max():
            return int(min(runs[-1, 0], *infinite[:1]) if len(infinite) else runs[-1, 0])
    return int(infinite[0]) if len(infinite) else None


def learning_rate_too_large(log: Log) -> Finding | None:
    """Find first steps as large as the parameters in a run that met little, or spikes in the later loss.

    Args:
        log: of the run; needs the norms of update and parameters, or the loss term by term.

    Returns:
        A problem for the first sign, a warning for the second, or None. Optimizers with a line search are left out.
    """
    if log.terms is None or log.searched[:1].any():
        return None
    free = np.flatnonzero(~log.searched)
    update, parameter, rates = (log.column(name) for name in ("update_norm", "parameter_norm", "learning_rate"))
    rate = float(rates[np.isfinite(rates)][0]) if rates is not None else None
    told = f" at learning rate {rate:.3g}" if rate is not None else ""
    advice = "lower the learning rate, some ten times at first, or warm it up"
    if update is not None and parameter is not None and (log.terms.misfit > UNMET).any():
        with np.errstate(divide="ignore", invalid="ignore"):
            leap = (update / parameter)[free[:FIRST]]
        leap = leap[np.isfinite(leap)]
        if len(leap) >= FIRST // 2 and np.median(leap) > LEAP:
            worst = np.nanmax(log.terms.raw.sum(axis=1))
            start, total = log.terms.raw[0].sum(), log.terms.total
            message = (
                f"steps too large{told}: the first {len(leap)} updates changed the parameters by {np.median(leap):.0%} "
                f"each (largest {leap.max():.0%}); the {total} rose to {worst / start:.2g} times its start and "
                f"is far from met at step {log.last_step}"
            )
            evidence = {
                "relative_update": float(np.median(leap)),
                "largest_relative_update": float(leap.max()),
                "learning_rate": rate,
                "rise": float(worst / start),
                "misfit": float(log.terms.misfit.max()),
            }
            return Finding("learning_rate_too_large", "problem", message, evidence, advice)
    return _spiky(log, told, rate, advice)


def _spiky(log: Log, told: str, rate: float | None, advice: str) -> Finding | None:
    total = log.terms.raw.sum(axis=1)
    known = np.flatnonzero(np.isfinite(total) & (total > 0) & ~log.searched)
    if len(known) < 2 * WINDOW:
        return None
    level = np.log10(total[known])
    from scipy.ndimage import median_filter  # a quarter of the time to import this package, for one rule

    above = level - median_filter(level, WINDOW, mode="nearest")
    later = np.arange(len(known)) >= len(known) // 2
    spikes = later & (above > SPIKE)
    starts = np.flatnonzero(spikes & ~np.concatenate(([False], spikes[:-1])))
    if len(starts) < SPIKES:
        return None
    largest = int(known[np.argmax(np.where(later, above, -np.inf))])
    message = (
        f"spikes{told}: in the later half the {log.terms.total} jumps {len(starts)} times above {10**SPIKE:g} times "
        f"its running median, most at step {log.steps[largest]}, to {total[largest]:.1e}"
    )
    evidence = {"spikes": len(starts), "largest_step": int(log.steps[largest]), "learning_rate": rate}
    return Finding("learning_rate_too_large", "warning", message, evidence, advice)


def saturated_layer(log: Log) -> Finding | None:
    """Find layers whose activations sit at the ends of their range in a run that did not learn.

    Args:
        log: of the run; needs the stream compression.

    Returns:
        A problem where they did from the start, a warning where they came to or nothing else tells, or None.
    """
    extreme = log.array("compression/extreme")
    if extreme is None or extreme.ndim != 2 or not len(extreme) or log.terms is None:
        return None
    start, end = np.nan_to_num(extreme[0]), np.nan_to_num(extreme[-1])
    which = np.flatnonzero(end > SATURATED)
    from_start = bool((start[which] > SATURATED).any())
    unmet = bool((log.terms.misfit > UNMET).any())
    # Such a start has a residual so large that, where it is the only measure, all that follows looks met.
    blind = log.last("rel_l2") is None and not np.isfinite(log.terms.wrong).any()
    if not len(which) or not (unmet or (blind and from_start)):
        return None
    names = log.labels("compression/extreme", "layer")
    told = ", ".join(f"{names[i]} {end[i]:.0%}" for i in which)
    message = (
        f"saturated {'from the start' if from_start else f'by step {log.last_step}'}: activations within 5 % of the "
        f"ends of their range, by layer: {told}; such a layer passes hardly any gradient"
    )
    evidence = {
        "layers": [names[i] for i in which],
        "start": [float(start[i]) for i in which],
        "end": [float(end[i]) for i in which],
        "from_start": from_start,
    }
    advice = (
        "start from smaller weights (Xavier), scale the inputs to [-1, 1]"
        if from_start
        else "scale inputs and outputs to size 1, or take smaller steps"
    )
    return Finding("saturated_layer", "problem" if from_start and unmet else "warning", message, evidence, advice)
