"""Findings about unknown coefficients: held by a bound, or still on their way."""

from __future__ import annotations

import math

import numpy as np

from dynamics.coefficients import KnownCoefficient, known_coefficients
from dynamics.diagnosis.finding import Finding
from dynamics.diagnosis.length import SHORTEST
from dynamics.diagnosis.log import Log

NEAR = 0.01
"""Distance from a bound, over the distance of the bounds, below which a coefficient counts as on it."""

LAST = 10
"""What moves is judged on the last tenth of the rows, ..."""

MOVED = 0.01
"""... over which it must change by this share of itself, or by one standard error where that is known, ..."""

STEADY = 0.5
"""... and by this share of the way it went: less of it is a fluctuation, not a drift."""


def coefficient_at_bound(log: Log) -> Finding | None:
    """Find coefficients that end on a bound, or within a hundredth of the bounds' distance.

    One that is nearer to its known true value than to the bound is where it belongs.

    Args:
        log: of the run; needs the stream coefficients and the bounds in the configuration.

    Returns:
        A problem where one lies on its bound or the true value is elsewhere, a warning where it is only close, or None.
    """
    held = [found for one in known_coefficients(log.tree) if (found := _held(one)) is not None]
    if not held:
        return None
    told = "; ".join(
        f"{f['coefficient']} = {f['value']:.6g} at step {f['step']}, {f['side']} bound {f['bound']:.6g}, there since "
        f"step {f['since']}" + (f" (true value {f['exact']:.6g})" if "exact" in f else "")
        for f in held
    )
    surely = any(f["distance"] == 0 or "exact" in f for f in held)
    message = f"an unknown coefficient ends {'on' if surely else 'close to'} its bound: {told}"
    advice = (
        "the equation fits best beyond the bound, or the run is trapped there: widen the bound if the value may lie "
        "further out, otherwise take another start or how='eliminated', and look which loss term pulls it there"
    )
    return Finding("coefficient_at_bound", "problem" if surely else "warning", message, {"held": held}, advice)


def _held(one: KnownCoefficient) -> dict | None:
    known = np.isfinite(one.value)
    if not known.any():
        return None
    step, value = one.step[known], one.value[known]
    width = one.high - one.low
    near = NEAR * width if math.isfinite(width) else 0.0
    side, bound = min((("lower", one.low), ("upper", one.high)), key=lambda item: abs(value[-1] - item[1]))
    distance = abs(float(value[-1]) - bound)
    if not distance <= near or abs(value[-1] - one.exact) < distance:
        return None
    away = np.flatnonzero(np.abs(value - bound) > near)
    found = {
        "coefficient": one.name,
        "value": float(value[-1]),
        "bound": bound,
        "side": side,
        "distance": distance,
        "step": int(step[-1]),
        "since": int(step[away[-1] + 1 if len(away) else 0]),
    }
    return found | ({"exact": one.exact} if math.isfinite(one.exact) else {})


def coefficient_drifting(log: Log) -> Finding | None:
    """Find coefficients that still go one way at the end.

    Over the last tenth of the rows such a one changes by a standard error, or by a hundredth of itself where none is
    known, and by half of the way it went or more.

    Args:
        log: of the run; needs the stream coefficients, 100 rows of it.

    Returns:
        A warning, or None.
    """
    moving = [found for one in known_coefficients(log.tree) if (found := _moving(one)) is not None]
    if not moving:
        return None
    told = "; ".join(
        f"{f['coefficient']} went from {f['from']:.6g} to {f['to']:.6g} between steps {f['first']} and {f['step']} "
        f"({f['moved']:.2g} {f['unit']})"
        for f in moving
    )
    message = f"an unknown coefficient still moves: {told}"
    return Finding("coefficient_drifting", "warning", message, {"moving": moving}, "train longer, or until it stands")


def _moving(one: KnownCoefficient) -> dict | None:
    known = np.isfinite(one.value)
    step, value = one.step[known], one.value[known]
    if len(value) < SHORTEST:
        return None
    end = value[-max(len(value) // LAST, 2) :]
    change, way = abs(float(end[-1] - end[0])), float(np.abs(np.diff(end)).sum())
    judged = one.standard_error > 0
    scale = one.standard_error if judged else MOVED * abs(float(end[-1]))
    if not (change > scale and change >= STEADY * way):
        return None
    return {
        "coefficient": one.name,
        "from": float(end[0]),
        "to": float(end[-1]),
        "first": int(step[-len(end)]),
        "step": int(step[-1]),
        "moved": change / scale if judged else 100 * MOVED * change / scale,
        "unit": "standard errors" if judged else "% of itself",
    }
