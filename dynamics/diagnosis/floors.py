"""Findings about floors: what differences, rounding and the reference cannot go below."""

from __future__ import annotations

import numpy as np

from dynamics.diagnosis.finding import Finding
from dynamics.diagnosis.late import late
from dynamics.diagnosis.log import Log
from dynamics.diagnosis.standing import GONE
from dynamics.diagnosis.stopping import rounded_search

OPERATOR_SHARE = 0.1
"""Interior loss with the operator's derivatives over that with exact ones, below which a discrete system is fitted."""

NOISY = 1e-3
"""Round-off of a unit derivative from which a line search or the end of a training feels it."""

NOISE_SHARE = 0.5
"""Interior loss with exact derivatives over that with the operator's, below which the loss is mostly noise."""

DISCRETE_FACTOR = 2.0
"""Error over that of the discretisation solved directly, up to which the rest is not the network's."""

REFERENCE_FACTOR = 3.0
ROUNDING_FACTOR = 100.0
LEAST_ROWS = 5


def operator_floor(log: Log) -> Finding | None:
    """Find a run that fits the differences' error, or that their round-off has stopped.

    Args:
        log: of the run; needs the exact loss, or the round-off of the operator in the configuration.

    Returns:
        A problem where round-off stopped the optimizer, a warning where a floor is reached, or None.
    """
    if log.section("operator").get("exact") is True:
        return None
    return _stopped_by_noise(log) or _floor_of_loss(log)


def _stopped_by_noise(log: Log) -> Finding | None:
    roundoff = _roundoff(log)
    if roundoff is None or not roundoff > NOISY or not log.reason or "gradient below" in log.reason:
        return None
    exact = log.last("exact_loss")
    told = f"; interior loss with exact derivatives {exact[1]:.1e}" if exact is not None else ""
    message = (
        f"stopped by the noise of its differences at step {log.last_step} ({log.reason}): round-off leaves an error of "
        f"{roundoff:.1e} in a derivative of size one, so that the loss shows no descent{told}"
    )
    evidence = {"step": log.last_step, "roundoff": roundoff, "reason": log.reason}
    advice = "use exact derivatives, or the step that balances round-off and truncation (step = None)"
    return Finding("operator_floor", "problem", message, evidence, advice)


def _roundoff(log: Log) -> float | None:
    """Largest round-off of a unit derivative that the operator states, None where it states none."""
    stated = log.section("operator").get("roundoff")
    values = [v for v in stated.values() if isinstance(v, int | float)] if isinstance(stated, dict) else []
    return float(max(values)) if values else None


def _floor_of_loss(log: Log) -> Finding | None:
    exact, terms = log.column("exact_loss"), log.terms
    if exact is None or terms is None or "interior" not in terms.names:
        return None
    raw = terms.raw[:, terms.names.index("interior")]
    known = np.flatnonzero(np.isfinite(exact) & np.isfinite(raw) & (exact > 0))
    if not len(known):
        return None
    row = known[-1]
    step, trained, true = int(log.steps[row]), float(raw[row]), float(exact[row])
    advice = "use exact derivatives, a higher order or another step of the differences"
    evidence = {"step": step, "loss": trained, "exact_loss": true}
    if trained < OPERATOR_SHARE * true:
        message = (
            f"at the operator's error floor at step {step}: interior loss {trained:.2e} with its derivatives, "
            f"{true:.2e} with exact ones: the network fits the discrete system, no longer the equation"
        )
        return Finding("operator_floor", "warning", message, evidence, advice)
    if true < NOISE_SHARE * trained:
        message = (
            f"at the operator's noise floor at step {step}: interior loss {trained:.2e} with its derivatives, "
            f"{true:.2e} with exact ones: what is left to descend is mostly the noise of the differences"
        )
        return Finding("operator_floor", "warning", message, evidence, advice)
    return None


def rounding_floor(log: Log) -> Finding | None:
    """Find updates that are lost to rounding, or a line search that ended in rounded losses.

    Args:
        log: of the run; needs its precision and the norms of update and parameters, or why it stopped.

    Returns:
        A warning, of a line search a problem where a term is less than half met, or None.
    """
    return _lost_updates(log) or rounded_search(log)


def _lost_updates(log: Log) -> Finding | None:
    update, parameter, precision = log.column("update_norm"), log.column("parameter_norm"), log.precision
    if update is None or parameter is None or precision is None:
        return None
    if _another_cause(log):
        return None
    rows = max(LEAST_ROWS, len(update) // 10)
    update, parameter = update[-rows:], parameter[-rows:]
    known = np.isfinite(update) & np.isfinite(parameter) & (parameter > 0)
    if known.sum() < LEAST_ROWS:
        return None
    name, epsilon = precision
    relative = float(np.median(update[known] / parameter[known]))
    if not relative < epsilon:
        return None
    message = (
        f"updates are lost to rounding up to step {log.last_step}: median update {relative:.1e} of the parameters, "
        f"{name} resolves {epsilon:.1e}"
    )
    evidence = {"step": log.last_step, "relative_update": relative, "epsilon": epsilon, "rows": rows}
    return Finding("rounding_floor", "warning", message, evidence, "stop here, or go on in a higher precision")


def _another_cause(log: Log) -> bool:
    """Whether the updates end as small as they are by a search that its own test ended, or by the learning rate."""
    epsilon = log.precision[1]
    if log.search is not None and log.search.ended() and not log.search.rounded(epsilon):
        return True
    rates = log.column("learning_rate")
    if rates is None or log.searched.any():
        return False
    return bool(late(rates) < GONE * np.nanmax(rates))


def least_squares_floor(log: Log) -> Finding | None:
    """Find a least-squares residual that rounding explains.

    Args:
        log: of a single solve; needs its loss, the norm of its coefficients and the singular values.

    Returns:
        An info, or None.
    """
    loss, norm = log.array("series/loss"), log.array("series/parameter_norm")
    spectra, precision = log.array("spectra/singular_value"), log.precision
    if loss is None or norm is None or spectra is None or precision is None or len(loss) != 1:
        return None
    rows = log.tree["spectra"].attrs.get("rows")
    values = spectra[np.isfinite(spectra)]
    if not rows or not len(values) or not (np.isfinite(norm[0]) and loss[0] >= 0):
        return None
    residual = float(np.sqrt(loss[0]))
    floor = float(ROUNDING_FACTOR * precision[1] * values.max() * norm[0] / np.sqrt(float(rows)))
    if not residual <= floor:
        return None
    message = (
        f"least-squares residual at the rounding floor: {residual:.1e}, where {precision[0]} arithmetic with "
        f"coefficients of norm {norm[0]:.1e} allows {floor:.1e}"
    )
    advice = "differences between such residuals mean nothing; compare errors against the solution"
    return Finding("rounding_floor", "info", message, {"residual": residual, "floor": floor}, advice)


def reference_floor(log: Log) -> Finding | None:
    """Find an error that the reference solution cannot tell from zero.

    Args:
        log: of the run; needs the relative error and the floor of the solution.

    Returns:
        An info, or None.
    """
    found, floor = log.last("rel_l2"), log.section("problem").get("solution_floor")
    if found is None or not isinstance(floor, int | float) or not floor > 0 or found[1] > REFERENCE_FACTOR * floor:
        return None
    message = (
        f"at the reference's floor at step {found[0]}: relative L2 error <= {floor:.1e}, as far as the reference "
        f"can tell (within {REFERENCE_FACTOR:g} times its own accuracy)"
    )
    evidence = {"step": found[0], "solution_floor": float(floor), "factor": REFERENCE_FACTOR}
    return Finding("reference_floor", "info", message, evidence, "a better reference is needed to rank such runs")


def discretisation_floor(log: Log) -> Finding | None:
    """Find an error that the same discretisation has without any network.

    Args:
        log: of the run; needs the relative error, above the reference's floor, and in the configuration that of the
            direct solve.

    Returns:
        An info, or None.
    """
    found, own = log.last("rel_l2"), log.section("discretisation").get("rel_l2")
    if reference_floor(log) is not None:
        return None
    if found is None or not isinstance(own, int | float) or not own > 0 or not found[1] <= DISCRETE_FACTOR * own:
        return None
    message = (
        f"the error is the discretisation's: relative L2 error {found[1]:.1e} at step {found[0]}, and {own:.1e} where "
        f"the same equations on the same nodes are solved directly"
    )
    evidence = {"step": found[0], "rel_l2": found[1], "discretisation": float(own), "factor": DISCRETE_FACTOR}
    advice = "more nodes or a higher order, not more training"
    return Finding("discretisation_floor", "info", message, evidence, advice)
