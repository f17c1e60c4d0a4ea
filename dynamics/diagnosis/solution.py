"""Findings about what the training arrived at: a constant, one solution of many, a fit of the points alone."""

from __future__ import annotations

import numpy as np

from dynamics.diagnosis.equation import WRONG
from dynamics.diagnosis.finding import Finding
from dynamics.diagnosis.late import late
from dynamics.diagnosis.log import Log

MET = 0.01
"""Misfit, in mean squares, below which a term counts as met: a tenth of its largest part."""

FLATTENED = 0.05
"""Spread of the field over its largest of the run, below which it has become a constant, where a solution says that it
should not be one; ..."""

FLATTENED_BLINDLY = 0.01
"""... and where no solution is known."""

ELSEWHERE = 10.0
UNSEEN = 0.02
"""The residual between the points is so many times that at the points (mean squares), and so large a misfit."""

FAR = 0.1
"""Relative L2 error from which a solution is not the one."""

DISPROPORTION = 30.0
"""Error over the root of the largest misfit; 1 to 4 in runs that are well posed."""

PATCHY, PATCHIER = 0.3, 0.5
"""Homogeneity of the residual below the one, and below this share of its best: it has gathered in few places."""


def _met(log: Log) -> bool:
    """Whether every term is met."""
    return log.terms is not None and bool((log.terms.misfit < MET).all())


def _worst(log: Log) -> float:
    """Return the root of the largest misfit of any term, between the points too where that is known."""
    misfit, held_out = list(log.terms.misfit), log.last("held_out_loss")
    scale = dict(zip(log.terms.names, log.terms.scale, strict=True)).get("interior", 0.0)
    if held_out is not None and scale > 0:
        misfit.append(held_out[1] / scale)
    return float(np.sqrt(np.nanmax(misfit)))


def _error(log: Log) -> tuple[int, float] | None:
    """Return the last relative error; None where none is known, or only of a state long left: loops test rarely."""
    found, terms = log.last("rel_l2"), log.terms
    if found is None or terms is None:
        return found
    total = terms.raw.sum(axis=1)
    known = np.flatnonzero(np.isfinite(total) & (log.steps <= found[0]))
    return None if len(known) and total[known[-1]] > ELSEWHERE * late(total, terms.end) else found


def trivial_solution(log: Log) -> Finding | None:
    """Find a field that has become a constant while every term of the loss is met.

    Args:
        log: of the run; needs the spread of the field and the loss term by term.

    Returns:
        A problem; a warning where no solution says that a constant is wrong; or None.
    """
    spread = log.column("field_std")
    end, error = log.last("field_std"), _error(log)
    if spread is None or not _met(log) or not np.nanmax(spread) > 0:
        return None
    left = end[1] / float(np.nanmax(spread))
    if not left < (FLATTENED_BLINDLY if error is None else FLATTENED) or (error is not None and error[1] < FAR):
        return None
    mean, loss = log.last("field_mean"), float(late(log.terms.raw, log.terms.end).sum())
    evidence = {"step": end[0], "field_std": end[1], "share_of_largest": left, "loss": loss}
    about = ""
    if mean is not None:
        evidence["field_mean"] = mean[1]
        about = f" about {mean[1]:.1e}"
    message = (
        f"a trivial solution: at step {end[0]} the field is constant (standard deviation {end[1]:.1e}{about}, "
        f"{left:.1e} of its largest) and every term of the loss is met (unweighted loss {loss:.1e})"
    )
    if error is not None:
        evidence["rel_l2"] = error[1]
        message += f"; relative L2 error {error[1]:.2g}"
    advice = "a constant satisfies what is trained: look for a missing source, initial or boundary value"
    return Finding("trivial_solution", "warning" if error is None else "problem", message, evidence, advice)


def overfitted_points(log: Log) -> Finding | None:
    """Find an equation that holds at the collocation points and not between them.

    The residual between them must be large, or large enough to explain the error against a solution.

    Args:
        log: of the run; needs the held-out loss and the interior loss.

    Returns:
        A problem, or None.
    """
    terms, held_out = log.terms, log.last("held_out_loss")
    if terms is None or held_out is None or "interior" not in terms.names:
        return None
    place = terms.names.index("interior")
    step, between = held_out
    row = int(np.flatnonzero(log.steps == step)[-1])
    at_points, scale = float(terms.raw[row, place]), float(terms.scale[place])
    if not (between > ELSEWHERE * at_points and scale > 0 and terms.misfit[place] < MET):
        return None
    error = _error(log)
    explains = error is not None and FAR < error[1] <= DISPROPORTION * np.sqrt(between / scale)
    if not (between > UNSEEN * scale or explains):
        return None
    where = log.array("points/interior")
    points = None if where is None else len(where)
    counted = f" {points}" if points else ""
    message = (
        f"fitted at the{counted} interior points alone: at step {step} the mean square residual is {at_points:.1e} "
        f"there and {between:.1e} between them, {between / scale:.1g} of the equation's size"
    )
    evidence = {"step": step, "interior_loss": at_points, "held_out_loss": between, "scale": scale, "points": points}
    advice = "take more interior points, or draw them anew during training"
    return Finding("overfitted_points", "problem", message, evidence, advice)


def underdetermined(log: Log) -> Finding | None:
    """Find a run that met every term, between the points too, and not the solution, which meets them as well.

    Args:
        log: of the run; needs /reference and the relative error.

    Returns:
        A problem, or None.
    """
    error, terms = _error(log), log.terms
    if error is None or not _met(log) or not error[1] > FAR or not (terms.wrong < WRONG * terms.scale).all():
        return None
    step, rel_l2 = error
    worst = _worst(log)
    if not rel_l2 > DISPROPORTION * worst:
        return None
    message = (
        f"underdetermined: at step {step} every term is met to {worst:.1e} of its size, the problem's solution meets "
        f"them too, and yet the relative L2 error is {rel_l2:.2g}: more than one function satisfies what is trained"
    )
    evidence = {"step": step, "rel_l2": rel_l2, "misfit": worst, "terms": list(terms.names)}
    advice = f"a condition is missing or does not determine the solution; trained are {', '.join(terms.names)}"
    return Finding("underdetermined", "problem", message, evidence, advice)


def spurious_solution(log: Log) -> Finding | None:
    """Find a small loss that does not mean a solution: the error is large, or the residual sits in few places.

    Args:
        log: of the run; needs the loss term by term, and the relative error or the homogeneity of the residual.

    Returns:
        A problem where the error says so, a warning where the residual's distribution does, or None.
    """
    error = _error(log)
    if not _met(log):
        return None
    if error is not None:
        step, rel_l2 = error
        worst = _worst(log)
        if not (rel_l2 > FAR and rel_l2 > DISPROPORTION * worst):
            return None
        message = (
            f"a spurious solution: at step {step} every term is met to {worst:.1e} of its size, "
            f"and the relative L2 error is {rel_l2:.2g}"
        )
        advice = "the loss does not measure the error here: check equation and conditions, take more points"
        return Finding(
            "spurious_solution", "problem", message, {"step": step, "rel_l2": rel_l2, "misfit": worst}, advice
        )
    phi = _homogeneity(log)
    if phi is None or not (phi[-1] < PATCHY and phi[-1] < PATCHIER * phi.max()):
        return None
    message = (
        f"perhaps a spurious solution: every term is met, but the residual has gathered in few places "
        f"(homogeneity {phi[-1]:.2f} at the end, {phi.max():.2f} at best)"
    )
    evidence = {"step": log.last_step, "homogeneity": float(phi[-1]), "best": float(phi.max())}
    advice = "look at the residual there: more points, or residual-based attention"
    return Finding("spurious_solution", "warning", message, evidence, advice)


def _homogeneity(log: Log) -> np.ndarray | None:
    """Homogeneity of the residual at each logged step, None where it is not known."""
    mean, rms = (log.array(f"homogeneity/{name}") for name in ("cell_mean", "cell_rms"))
    if (
        mean is None
        or rms is None
        or mean.ndim != 2
        or "residual" not in log.labels("homogeneity/cell_mean", "quantity")
    ):
        return None
    column = log.labels("homogeneity/cell_mean", "quantity").index("residual")
    with np.errstate(divide="ignore", invalid="ignore"):
        phi = mean[:, column] / rms[:, column]
    return phi[np.isfinite(phi)] if np.isfinite(phi).any() else None
