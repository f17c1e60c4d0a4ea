"""Which benchmark problem a file solves, told from its values alone, or why it is none of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from analyses.reproduce.reference_files_equation import FEWEST, FORMS, Fit, fits
from analyses.reproduce.reference_files_reading import ReferenceFile
from analyses.reproduce.reference_files_variants import VARIANTS, Variant
from solvers.problems.problem import Problem

WORST_MISFIT = 0.05
"""Of an equation that fits."""
RIVAL = 3.0
"""How many times worse the next equation must fit."""
SAME = 1e-3
"""Relative distance of a fitted number from the problem's within which the file is measured: solvers are inexact."""
PLAUSIBLE = 0.2
"""Relative distance of a rate from the equation's within which it is this equation, be it flipped."""
START = 1e-2
"""Relative L2 distance between a file's first row and the initial condition of its problem."""


@dataclass(frozen=True, eq=False)
class Identified:
    """A file, the problem that it solves, and what the fit says.

    Args:
        file: as it is compared: transposed, where only the equation could tell.
        problem: with our reference.
        coefficient: that the file is compared at.
        fitted: coefficient by least squares.
        bar: of it.
        fit: the equation.
    """

    file: ReferenceFile
    problem: Problem
    coefficient: float
    fitted: float
    bar: float
    fit: Fit

    @property
    def text(self) -> str:
        """The fitted coefficient with its bar, in as many digits as the bar leaves, ten at the most."""
        symbol = VARIANTS[self.problem.name].symbol
        return f"{symbol} not fitted" if math.isnan(self.fitted) else f"{symbol} = {with_bar(self.fitted, self.bar)}"


def with_bar(value: float, bar: float) -> str:
    """Return a number with its bar, both in the digits that the bar leaves.

    Args:
        value: any.
        bar: > 0.

    Returns:
        Text such as "0.0031831(2)", the bar in units of the last digit.

    Example:
        >>> with_bar(0.00318310, 2.1e-7), with_bar(0.01, 1e-30)
        ('0.0031831(2)', '0.01000000000(1)')
    """
    least = max(bar, abs(value) * 1e-9, 1e-300)
    digits = -math.floor(math.log10(least)) if math.isfinite(least) else -1
    if digits < 0:
        return f"{value:.3g}({bar:.1g})"
    return f"{value:.{digits}f}({max(math.ceil(bar * 10**digits - 0.5), 1)})"


def identify(file: ReferenceFile, name: str | None = None, coefficient: float | None = None) -> Identified:
    """Tell which problem a file solves.

    Args:
        file: from `read_reference`.
        name: of the problem, where the caller knows it; it must fit nonetheless, but where the grid is too coarse for
            derivatives: then the initial condition decides.
        coefficient: of the variant, as `solvers.problems` takes it; by default that of the benchmark.

    Returns:
        The problem, with what was fitted.

    Raises:
        ValueError: no equation fits, or two fit alike; another coefficient or rate, values flipped in x or t or
            transposed, another initial or boundary condition, axes that leave the domain: what fits, and what to do.
    """
    if name is not None and name not in VARIANTS:
        raise ValueError(f"unknown problem {name!r}; expected one of {', '.join(VARIANTS)}")
    try:
        if name is not None and (blind := _blind(file, name, coefficient)) is not None:
            return blind
        file, ordered = _ordered(file, name)
        fit = _best(ordered, name)
        variant = VARIANTS[fit.problem]
        if wrong := _orientation(file, fit):
            raise ValueError(f"this is {fit.problem}, but {wrong}")
        expected = variant.default if coefficient is None else coefficient
        fitted, bar = _coefficient(fit, variant)
        objections = [
            *_other_numbers(fit, variant, fitted, bar, expected, told=coefficient is not None),
            *_other_place(file),
            *_other_conditions(file, fit.problem),
        ]
        if objections:
            raise ValueError("; ".join(objections))
        return Identified(file, variant.build(expected), expected, fitted, bar, fit)
    except ValueError as error:
        raise ValueError(f"{file.name}: {error}") from None


def _blind(file: ReferenceFile, name: str, coefficient: float | None) -> Identified | None:
    """Take the caller's word for a file too coarse to tell its equation, if it begins as that problem does."""
    if len(file.x) >= FEWEST[0] and len(file.t) >= FEWEST[1] and fits(file.x, file.t, file.u)[0].misfit <= WORST_MISFIT:
        return None
    if objections := [*_other_place(file), *_other_conditions(file, name)]:
        raise ValueError("; ".join(objections))
    if abs(file.t[0]) > 1e-9:
        return None
    value = VARIANTS[name].default if coefficient is None else coefficient
    nothing = Fit(name, math.nan, math.nan, math.nan, math.nan, math.nan)
    return Identified(file, VARIANTS[name].build(value), value, math.nan, math.nan, nothing)


def _ordered(file: ReferenceFile, name: str | None) -> tuple[ReferenceFile, list[Fit]]:
    """Return the file, transposed where as many x as t leave only the equation to tell, and its fits."""
    as_told = fits(file.x, file.t, file.u)
    if not file.square:
        return file, as_told
    turned = fits(file.x, file.t, file.u.T)

    def misfit(found: list[Fit]) -> float:
        return min(fit.misfit for fit in found if name in (None, fit.problem))

    return (file.transposed(), turned) if misfit(turned) < misfit(as_told) else (file, as_told)


def _best(ordered: list[Fit], name: str | None) -> Fit:
    best = ordered[0]
    if name is not None:
        told = next(fit for fit in ordered if fit.problem == name)
        if told.misfit > WORST_MISFIT or told.misfit > RIVAL * best.misfit:
            raise ValueError(
                f"expected {name}, as told, but its equation leaves {told.misfit:.1e} of u_t; the best is "
                f"{best.problem}, {best.text}, which leaves {best.misfit:.1e}: leave out --problem"
            )
        return told
    if best.misfit > WORST_MISFIT:
        raise ValueError(
            f"no equation of {', '.join(FORMS)} fits; the best is {best.problem}, {best.text}, which leaves "
            f"{best.misfit:.1%} of u_t: the file solves something else, or its axes belong to other values"
        )
    alike = [fit for fit in ordered if fit.misfit < RIVAL * best.misfit]
    if len(alike) > 1 and len(likely := [fit for fit in alike if _plausible(fit)]) == 1:
        return likely[0]
    if len(alike) > 1:
        rival = alike[1]
        raise ValueError(
            f"two equations fit alike, {best.problem} (leaves {best.misfit:.1e} of u_t) and {rival.problem} "
            f"({rival.misfit:.1e}): the grid is too coarse or the time too short to tell; pass --problem NAME"
        )
    return best


def _plausible(fit: Fit) -> bool:
    rate = FORMS[fit.problem].rate
    return abs(abs(fit.rate) - rate) < PLAUSIBLE * rate


def _coefficient(fit: Fit, variant: Variant) -> tuple[float, float]:
    if not variant.square:
        return fit.coefficient, fit.bar
    value = math.sqrt(max(fit.coefficient, 0.0))
    return value, fit.bar / (2 * max(value, math.sqrt(fit.bar) / 2, 1e-300))


def _orientation(file: ReferenceFile, fit: Fit) -> str:
    """Return which axis is flipped, by the signs of the two fitted numbers and by where the initial condition is."""
    odd = fit.problem != "allen-cahn"
    if not _plausible(fit):
        return ""
    if fit.problem == "kdv" and fit.rate < 0 < fit.coefficient:
        return f"its values have the other sign ({fit.text}): turn it"
    ends = {"first": _distance(file, fit.problem, 0), "last": _distance(file, fit.problem, -1)}
    backwards = fit.rate < 0 if not odd else fit.coefficient < 0
    if fit.problem == "kdv":
        backwards = fit.rate < 0 and fit.coefficient < 0 and ends["last"] < min(START, ends["first"])
    mirrored = odd and (fit.rate < 0) != backwards
    if backwards or mirrored:
        axes = " and ".join(name for name, flipped in (("x", mirrored), ("t", backwards)) if flipped)
        return f"its values are flipped along {axes} ({fit.text}): reverse them there, or that axis"
    return ""


def _other_numbers(fit: Fit, variant: Variant, fitted: float, bar: float, expected: float, told: bool) -> list[str]:
    form, found = FORMS[fit.problem], []
    if abs(fit.rate - form.rate) > max(5 * fit.rate_bar, SAME * form.rate):
        found.append(
            f"{fit.text} fits, where {fit.problem} has {form.rate:g} {form.of_rate}: another equation, or an axis in "
            f"other units"
        )
    elif abs(fitted - expected) > max(5 * bar, SAME * expected):
        told_so = f"--coefficient {expected:.5g} was told" if told else f"expected {expected:.5g}"
        found.append(
            f"this is {fit.problem} with {variant.symbol} = {fitted:.4g} (fitted), {told_so}; pass --problem "
            f"{fit.problem} --coefficient {fitted:.4g} to measure it as that variant"
        )
    elif 5 * bar > 0.3 * expected:
        found.append(
            f"this is {fit.problem} with {variant.symbol} = {with_bar(fitted, bar)}: the grid is too coarse to tell "
            f"the coefficient; take a finer file"
        )
    return found


def _other_place(file: ReferenceFile) -> list[str]:
    found = []
    for name, axis, low in (("x", file.x, -1.0), ("t", file.t, 0.0)):
        if axis[0] < low - 1e-6 or axis[-1] > 1 + 1e-6:
            found.append(f"{name} runs from {axis[0]:.6g} to {axis[-1]:.6g}; expected a part of [{low:g}, 1]")
    return found


def _other_conditions(file: ReferenceFile, name: str) -> list[str]:
    found = []
    if abs(file.t[0]) < 1e-9 and (away := _distance(file, name, 0)) > START:
        found.append(
            f"its first row is {away:.2g} (relative L2) from the initial condition of {name}: another initial "
            f"condition, x shifted, or t counted from elsewhere"
        )
    ends = file.u[[0, -1]]
    full = file.x[0] < -1 + 1e-6 and file.x[-1] > 1 - 1e-6
    if name == "allen-cahn" and full and np.ptp(ends, axis=1).max() < 1e-6:
        found.append(f"u(+-1, t) is held at {ends[0, 0]:.3g}, where {name} is periodic: another problem")
    return found


def _distance(file: ReferenceFile, name: str, row: int) -> float:
    start = VARIANTS[name].start(file.x)
    return float(np.linalg.norm(file.u[:, row] - start) / np.linalg.norm(start))
