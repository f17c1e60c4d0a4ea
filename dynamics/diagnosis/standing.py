"""Findings about where the descent ended: a loss that stands or still falls, one whose learning rate had gone."""

from __future__ import annotations

import numpy as np

from dynamics.diagnosis.finding import Finding
from dynamics.diagnosis.late import late
from dynamics.diagnosis.length import SHORTEST, long_enough
from dynamics.diagnosis.log import Log
from dynamics.diagnosis.solution import FAR, MET

STANDING = 0.9
"""Loss at the end over that at two thirds of the run, above which it stands still."""

HALF_WAY = 0.25
"""Misfit, in mean squares, above which a term is less than half met."""

GONE = 1e-3
"""Learning rate over its largest below which steps move nothing, ..."""

ALIVE = 0.1
"""... and above which they do."""

FALLING = 0.9
"""Loss where the rate was last alive over that half way there, below which it was still falling."""


def learning_rate_vanished(log: Log) -> Finding | None:
    """Find a learning rate that was taken away while the loss was still falling.

    For a third of the run and more it is below a thousandth of its largest, and the loss stands.

    Args:
        log: of the run; needs the learning rate.

    Returns:
        A problem where a term is less than half met or the error is large, a warning where a term is not met, or None.
        Optimizers with a line search are left out.
    """
    rates, terms = log.column("learning_rate"), log.terms
    if rates is None or terms is None or log.searched.any() or len(rates) < SHORTEST or not np.nanmax(rates) > 0:
        return None
    share = rates / np.nanmax(rates)
    with np.errstate(invalid="ignore"):
        alive, moved = (np.flatnonzero(share >= least) for least in (ALIVE, GONE))
    lived, gone = int(alive[-1]) + 1, int(moved[-1]) + 1
    if gone > len(rates) * 2 // 3:
        return None
    total = terms.raw.sum(axis=1)
    before, at, end = (float(late(total[:rows])) for rows in (max(1, lived // 2), gone, len(total)))
    if not (end > STANDING * at and float(late(total[:lived])) < FALLING * before):
        return None
    error, misfit = log.last("rel_l2"), float(np.nanmax(terms.misfit))
    far = misfit > HALF_WAY or (error is not None and error[1] > FAR)
    if not far and not misfit > MET:
        return None
    largest = float(np.nanmax(rates))
    step, worst = int(log.steps[gone]), terms.names[int(np.nanargmax(terms.misfit))]
    message = (
        f"the learning rate was gone before the training was: {rates[gone]:.1e} at step {step}, of {largest:.1e} "
        f"at most; the {terms.total} still fell until then ({before:.1e} to {at:.1e}) and has stood since; at step "
        f"{log.last_step} the term {worst} is at {misfit:.2g} of its size"
    )
    evidence = {
        "step": step,
        "learning_rate": float(rates[gone]),
        "largest": largest,
        "loss": end,
        "misfit": misfit,
        "term": worst,
    }
    if error is not None:
        evidence["rel_l2"] = error[1]
        message += f", the relative L2 error {error[1]:.2g}"
    advice = "let the scheduler cut the rate later or by less, or go on from here with the first rate"
    return Finding("learning_rate_vanished", "problem" if far else "warning", message, evidence, advice)


def rising_loss(log: Log) -> Finding | None:
    """Find an unweighted loss that ends above its start.

    Attention and other weights let the weighted one rise on purpose.

    Args:
        log: of the run; needs the loss term by term.

    Returns:
        A warning, or None.
    """
    terms = log.terms
    if terms is None or len(terms.raw) < 3 or not np.isfinite(terms.raw[0]).all():
        return None
    total = terms.raw.sum(axis=1)
    start, end = float(total[0]), float(late(total, terms.end))
    if not end > start:
        return None
    lowest = int(np.nanargmin(total))
    message = (
        f"the {terms.total} ended at {end:.2e}, above its start {start:.2e} "
        f"(lowest {total[lowest]:.2e} at step {log.steps[lowest]})"
    )
    evidence = {"start": start, "end": end, "lowest": float(total[lowest]), "lowest_step": int(log.steps[lowest])}
    return Finding("rising_loss", "warning", message, evidence, "lower the learning rate, or train longer")


def unfinished(log: Log) -> Finding | None:
    """Find a run that ends less than half way: stuck where its loss no longer falls, unconverged where it does.

    Args:
        log: of the run; needs the loss term by term; the gradient SNR is told where it was recorded.

    Returns:
        A problem named "stuck", a warning named "unconverged", or None.
    """
    terms = log.terms
    if terms is None or not long_enough(log) or not (terms.misfit > HALF_WAY).any():
        return None
    total = terms.raw.sum(axis=1)
    before, end = float(late(total[: max(1, len(total) * 2 // 3)])), float(late(total, terms.end))
    if np.isnan(before):
        return None
    worst = int(np.nanargmax(terms.misfit))
    evidence = {"term": terms.names[worst], "misfit": float(terms.misfit[worst]), "loss": end, "loss_before": before}
    state = f"at step {log.last_step} the term {terms.names[worst]} is at {terms.misfit[worst]:.2g} of its size"
    if not end > STANDING * before:
        message = f"{state}, and the {terms.total} still falls (from {before:.2e} to {end:.2e})"
        return Finding("unconverged", "warning", message, evidence, "train longer")
    told, snr = "", _snr(log)
    if snr is not None:
        evidence["snr"] = snr
        told = f", the median gradient SNR {snr:.1e}"
    message = f"{state}, and over the last third the {terms.total} stands ({before:.2e} to {end:.2e}){told}"
    advice = "another start, weights or learning rate; a larger network where the solution has fine detail"
    return Finding("stuck", "problem", message, evidence, advice)


def _snr(log: Log) -> float | None:
    """Median gradient SNR of the last logged steps, None where it is not known."""
    mean, std = (log.array(f"gradients/{name}_norm_total") for name in ("mean", "std"))
    if mean is None or std is None or mean.shape != std.shape or mean.ndim != 1:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        snr = float(late(mean / std)) if len(mean) else np.nan
    return snr if np.isfinite(snr) else None
