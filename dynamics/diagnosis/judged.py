"""What a diagnosis could not judge, since it was not recorded or the run is too short."""

from __future__ import annotations

import numpy as np
import xarray as xr

from dynamics.diagnosis.equation import conflicting_terms
from dynamics.diagnosis.length import SHORTEST, long_enough
from dynamics.diagnosis.log import Log

NEEDED = {
    "stuck and unconverged runs": "series/loss",
    "phases of training": "gradients/mean_norm_total",
    "conflicting terms": "gradients/term_gram",
    "too few points": "series/held_out_loss",
    "trivial solutions": "series/field_std",
    "wrong equations and missing conditions": "reference/residual",
    "saturated layers": "compression/extreme",
    "neglected terms": "series/loss_weight",
    "small losses of wrong solutions": "series/rel_l2",
}
"""What a rule looks for, and the variable without which its silence means nothing."""

GIVE = {
    "stuck and unconverged runs": "tell the loss, watched.terms(...) or terms=",
    "neglected terms": "tell the terms with their weights, watched.terms(weights=..., ...)",
    "small losses of wrong solutions": "solution= or errors=",
    "phases of training": "residuals= and points=",
    "trivial solutions": "points=",
    "saturated layers": "points=, or activations= where they are not found",
}
"""What `solvers.attach` must be given for it."""


def not_judged(trajectory: xr.DataTree) -> dict[str, str]:
    """Say what `diagnose` had nothing to look at for; its silence about these means nothing.

    Args:
        trajectory: any.

    Returns:
        What was not judged, and why; empty for a single solve, which has no training to judge.

    Example:
        >>> not_judged(xr.DataTree())["phases of training"]
        'no gradients/mean_norm_total'
    """
    log = Log(trajectory)
    rows = len(log.steps)
    if rows == 1 and "spectra" in trajectory:
        return {}
    missing = {what: f"no {name}" for what, name in NEEDED.items() if not _known(log, name)}
    if "conflicting terms" in missing and conflicting_terms(log) is not None:
        # By the values of the terms alone, which can tell them but not rule them out.
        del missing["conflicting terms"]
    if log.attached:
        missing |= {what: f"{why}: {GIVE[what]}" for what, why in missing.items() if what in GIVE}
    if rows > 0 and not long_enough(log) and "stuck and unconverged runs" not in missing:
        missing["stuck and unconverged runs"] = f"{rows} steps, {SHORTEST} are needed"
    return missing


def _known(log: Log, name: str) -> bool:
    values = log.array(name)
    # There and NaN: weights that a loop did not tell, extreme activations of layers whose range is not known.
    return values is not None and (not name.startswith(("series/", "compression/")) or bool(np.isfinite(values).any()))
