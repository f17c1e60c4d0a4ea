"""What became of a problem's unknown coefficients, for the end of a run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from solvers.problems import Coefficient, Problem


def coefficient_lines(problem: Problem, found: Mapping[str, float]) -> Iterator[str]:
    """Say what each unknown coefficient came to, with its true value and its standard error where they are known.

    Args:
        problem: that has the coefficients, and `standard_error` by name in its settings where data have noise.
        found: their values, by name.

    Yields:
        A line each.

    Example:
        >>> from solvers.problems import inverse_heat
        >>> print(*coefficient_lines(inverse_heat(), {"diffusivity": 0.1002}))
        diffusivity 0.1002, true 0.1 (error 2.0e-04, 1.3 standard errors of 1.6e-04)
    """
    errors = problem.settings.get("standard_error", {})
    for c in problem.coefficients:
        value = found[c.name]
        yield f"{c.name} {value:.10g}{_at_bound(c, value)}{_judged(c, value, errors.get(c.name, math.nan))}"


def _at_bound(c: Coefficient, value: float) -> str:
    for side, bound in (("lower", c.low), ("upper", c.high)):
        if value == bound:
            return f" (its {side} bound)"
    return ""


def _judged(c: Coefficient, value: float, standard: float) -> str:
    if not math.isfinite(c.exact):
        return f", standard error {standard:.1e}" if standard > 0 else ""
    error = abs(value - c.exact)
    beside = f", {error / standard:.1f} standard errors of {standard:.1e}" if standard > 0 else ""
    return f", true {c.exact:.10g} (error {error:.1e}{beside})"
