"""Section on the unknown coefficients of an inverse problem: their values, and how far they are from the truth."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes

from dynamics.coefficients import KnownCoefficient, known_coefficients
from dynamics.curves import curve, logarithmic, plain
from dynamics.report.course import Run, over_steps, told
from dynamics.report.facts import number
from dynamics.report.page import table
from dynamics.spectrum_plots import from_one

SQUEEZED = 0.2
"""A bound is drawn where it leaves the curve this share of the panel's height."""

FIGURES = 6
"""Coefficients that get a figure of their own; the table has all."""


def coefficients_section(run: Run) -> str:
    """Draw each coefficient over the steps with its bounds and its true value, and the distance from that.

    Args:
        run: that recorded what `SECTIONS` says.

    Returns:
        HTML.
    """
    found = known_coefficients(run.trajectory)
    shown = [index for index, one in enumerate(found) if math.isfinite(one.last)][:FIGURES]
    drawn = [_values(run, index, found[index]) for index in shown]
    judged = [one for one in found if np.isfinite(one.error).any()]
    return _table(found) + "".join(drawn) + (_errors(run, judged) if judged else "")


def _table(found: list[KnownCoefficient]) -> str:
    header = ["coefficient", "found", "true", "error", "standard error", "bounds", "how"]
    rows = []
    for one in found:
        last = one.error[np.isfinite(one.error)][-1:]
        off = f" ({one.errors_off:.1f} of them off)" if math.isfinite(one.errors_off) else ""
        bounds = f"{one.low:.6g} to {one.high:.6g}" if math.isfinite(one.high - one.low) else _one_bound(one)
        cells = [
            _value(one.last),
            _value(one.exact),
            f"{last[0]:.1e}" if len(last) else "-",
            f"{one.standard_error:.1e}{off}" if math.isfinite(one.standard_error) else "-",
            bounds,
            one.how or "-",
        ]
        rows.append((one.name, *cells))
    caption = "Standard error: the least that an unbiased estimate from these data can have."
    return table(header, rows, "At the last step." + (f" {caption}" if _any_error(found) else ""))


def _any_error(found: list[KnownCoefficient]) -> bool:
    return any(math.isfinite(one.standard_error) for one in found)


def _one_bound(one: KnownCoefficient) -> str:
    if math.isfinite(one.low):
        return f"from {one.low:.6g}"
    return f"up to {one.high:.6g}" if math.isfinite(one.high) else "none"


def _value(value: float) -> str:
    return f"{value:.10g}" if math.isfinite(value) else "-"


def _values(run: Run, index: int, one: KnownCoefficient) -> str:
    """Draw one coefficient; bounds far away stand in the caption, where they squeeze no curve."""
    near, far = _bounds(one)
    group = run.trajectory["coefficients"].dataset

    def draw(axis: Axes) -> None:
        curve(axis, from_one(group), one.value, color="C0", lw=1.3, label=plain(one.name))
        if math.isfinite(one.exact):
            axis.axhline(one.exact, color="k", ls="--", lw=1, label="true value")
        if math.isfinite(one.exact) and one.standard_error > 0:
            edges = one.exact - one.standard_error, one.exact + one.standard_error
            axis.axhspan(*edges, color="k", alpha=0.12, lw=0, label="standard error of the data")
        for side, bound in near.items():
            axis.axhline(bound, color="C3", ls=":", lw=1.2, label=f"{side} bound")
        axis.set_ylabel(f"{plain(one.name)} [1]")

    alt = told(one.name, group["value"].isel(coefficient=index))
    alt += f"; true value {number(one.exact)}" if math.isfinite(one.exact) else ""
    alt += "".join(f"; {side} bound {number(bound)}" for side, bound in (near | far).items())
    caption = f"{one.name}, {one.how}." if one.how else f"{one.name}."
    if far:
        caption += " Beyond the panel: " + ", ".join(f"{side} bound {bound:.6g}" for side, bound in far.items()) + "."
    return over_steps(run, f"coefficient-{index}", "coefficients", draw, alt, caption)


def _bounds(one: KnownCoefficient) -> tuple[dict[str, float], dict[str, float]]:
    """Return the bounds that are drawn and those that are only told, by side."""
    seen = np.append(one.value, one.exact)
    seen = seen[np.isfinite(seen)]
    bounds = {side: b for side, b in (("lower", one.low), ("upper", one.high)) if math.isfinite(b)}
    low, high, near = seen.min(), seen.max(), {}
    for side, bound in sorted(bounds.items(), key=lambda item: min(abs(item[1] - seen))):
        height = max(high, bound) - min(low, bound)
        if np.ptp(seen) >= SQUEEZED * height:
            near[side], low, high = bound, min(low, bound), max(high, bound)
    return near, {side: bound for side, bound in bounds.items() if side not in near}


def _errors(run: Run, judged: list[KnownCoefficient]) -> str:
    group = run.trajectory["coefficients"].dataset

    def draw(axis: Axes) -> None:
        for place, one in enumerate(judged):
            curve(axis, from_one(group), one.error, color=f"C{place % 10}", lw=1.2, label=f"|{plain(one.name)} - true|")
            if one.standard_error > 0:
                # Drawn as a curve, which alone decides whether the axis is logarithmic and how far it reaches.
                flat = np.full(len(one.value), one.standard_error)
                label = "its standard error" if len(judged) == 1 else f"standard error of {plain(one.name, 20)}"
                curve(axis, from_one(group), flat, color=f"C{place % 10}", ls=":", lw=1.2, marker="", label=label)
        logarithmic(axis)
        axis.set_ylabel("distance from the true value [1]")

    alt = "; ".join(
        told(f"error of {one.name}", group["value"].isel(coefficient=0).copy(data=one.error)) for one in judged
    )
    caption = "An error that stands while the loss falls is the data's noise, or a bias of the loss."
    if _any_error(judged):
        caption = "Below its standard error a distance is luck: the data do not tell more. " + caption
    return over_steps(run, "coefficient-errors", "coefficients", draw, alt, caption)
