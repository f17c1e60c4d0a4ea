"""Findings about the end of a search: in rounded losses, or by another of the optimizer's tests than convergence."""

from __future__ import annotations

import numpy as np

from dynamics.diagnosis.finding import Finding
from dynamics.diagnosis.log import Log
from dynamics.diagnosis.solution import MET
from dynamics.diagnosis.standing import HALF_WAY

COARSE = 1e-10
"""Unit round-off above which a loss is rounded coarsely enough to end a line search: float32 and below."""


def rounded_search(log: Log) -> Finding | None:
    """Find a line search that ended in rounded losses.

    Args:
        log: of the run; needs its precision, and why it stopped or its evaluations.

    Returns:
        A problem where a term is less than half met, otherwise a warning, or None.
    """
    precision = log.precision
    if precision is None or not precision[1] > COARSE or not log.reason or "gradient below" in log.reason:
        return None
    if log.array("evaluations/loss") is None or log.status != "complete":
        return None
    if log.search is not None and log.search.options and not log.search.rounded(precision[1]):
        return None
    loss = log.column("loss")
    evidence = {"step": log.last_step, "epsilon": precision[1], "reason": log.reason}
    told = ""
    if loss is not None:
        evidence["loss"] = float(loss[np.isfinite(loss)][-1])
        told = f", loss {evidence['loss']:.1e}"
    message = (
        f"the line search ended in rounding at step {log.last_step}{told} ({log.reason}): {precision[0]} resolves "
        f"{precision[1]:.1e} of the loss, and the gradient had not vanished"
    )
    misfit = _worst(log)
    far = _far(log, misfit)
    if far:
        evidence["misfit"] = misfit
        message += f"; the worst term is at {misfit:.2g} of its size"
    return Finding("rounding_floor", "problem" if far else "warning", message, evidence, "go on in float64 from here")


def stopped_early(log: Log) -> Finding | None:
    """Find an optimizer that ended by another of its tests than a small gradient.

    Args:
        log: of the run; needs why it stopped, or the evaluations of its last step.

    Returns:
        A problem where a term is less than half met, a warning where one is not met, otherwise an info, or None.
    """
    if log.status != "complete" or not log.reason or "gradient below" in log.reason:
        return None
    if log.array("evaluations/loss") is None:
        return None
    misfit = _worst(log)
    message = f"the optimizer stopped at step {log.last_step} for another reason than convergence: {log.reason}"
    if np.isfinite(misfit):
        message += f"; the worst term is at {misfit:.1e} of its size (mean squares)"
    evidence = {"step": log.last_step, "reason": log.reason, "misfit": misfit}
    advice = "lower that tolerance, restart the optimizer from here, or change to another one"
    severity = "problem" if _far(log, misfit) else "warning" if misfit > MET else "info"
    return Finding("stopped_early", severity, message, evidence, advice)


def _worst(log: Log) -> float:
    """Largest misfit of any term, NaN where none is known."""
    known = log.terms.misfit[np.isfinite(log.terms.misfit)] if log.terms is not None else []
    return float(max(known, default=np.nan))


def _far(log: Log, misfit: float) -> bool:
    """Whether a term is less than half met, by rows that do not reach back to the start."""
    return misfit > HALF_WAY and log.terms.end < len(log.terms.raw)
