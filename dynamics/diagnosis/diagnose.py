"""What happened in a run: all rules, the most specific cause first, without what a cause explains."""

from __future__ import annotations

import xarray as xr

from dynamics.diagnosis import coefficients, descent, equation, floors, phase, solution, standing, stopping
from dynamics.diagnosis.finding import SEVERITIES, Finding
from dynamics.diagnosis.log import Log

RULES = (
    descent.diverged,
    equation.conflicting_terms,
    solution.trivial_solution,
    equation.wrong_equation,
    equation.frozen_term,
    equation.neglected_term,
    coefficients.coefficient_at_bound,
    solution.overfitted_points,
    solution.underdetermined,
    solution.spurious_solution,
    floors.operator_floor,
    descent.saturated_layer,
    descent.learning_rate_too_large,
    standing.learning_rate_vanished,
    floors.rounding_floor,
    stopping.stopped_early,
    standing.unfinished,
    standing.rising_loss,
    coefficients.coefficient_drifting,
    phase.phase,
    phase.oscillating,
    floors.least_squares_floor,
    floors.discretisation_floor,
    floors.reference_floor,
)
"""In the order in which findings of one severity are told."""

_POOR = frozenset({"stuck", "unconverged", "rising_loss"})
EXPLAINS = {
    "diverged": _POOR
    | {"neglected_term", "conflicting_terms", "learning_rate_too_large", "saturated_layer"}
    | {"coefficient_at_bound", "coefficient_drifting"},
    "conflicting_terms": _POOR | {"neglected_term", "learning_rate_too_large"},
    "trivial_solution": _POOR | {"spurious_solution", "underdetermined"},
    "wrong_equation": _POOR | {"spurious_solution", "underdetermined"},
    "frozen_term": _POOR | {"neglected_term", "conflicting_terms", "spurious_solution", "underdetermined"},
    "neglected_term": _POOR | {"spurious_solution", "underdetermined"},
    "coefficient_at_bound": {"spurious_solution", "underdetermined", "stuck"},
    "overfitted_points": {"spurious_solution", "underdetermined"},
    "underdetermined": {"spurious_solution"},
    "operator_floor": _POOR | {"rounding_floor", "stopped_early", "conflicting_terms", "neglected_term"},
    "saturated_layer": _POOR | {"neglected_term", "overfitted_points", "conflicting_terms"},
    "learning_rate_too_large": _POOR | {"saturated_layer", "conflicting_terms"},
    "learning_rate_vanished": _POOR | {"rounding_floor"},
    "rounding_floor": {"stopped_early"},
    "stuck": {"rising_loss"},
    "unconverged": {"coefficient_drifting"},
}
"""Cause -> consequences that are not told beside it."""


def diagnose(trajectory: xr.DataTree) -> tuple[Finding, ...]:
    """Say what happened in a run: what went wrong and why, the floors it met, the phase it reached.

    Each finding reads only the variables that it needs and is left out where they were not recorded. What a cause
    explains is left out beside it.

    Args:
        trajectory: any trajectory, also of a run that is still going or was killed.

    Returns:
        The findings: problems, warnings, then the rest, the most specific cause first. A healthy run yields the phase
        it reached, no more.

    Source: ours. Thresholds were set on the runs "first" of `analyses/benchmarks/failures.toml`. On "second", looked
        at once afterwards, the right finding came first in 19 of 20 failed runs; 10 healthy ones had no problem and one
        warning. Without a reference solution a missing condition and a wrong equation cannot be seen.

    Cost: that of `detect_phases`, and one pass over the scalar series.

    Example:
        >>> loss = xr.Dataset({"loss": ("step", [1.0, 0.5, float("inf")])}, {"step": [0, 1, 2]})
        >>> [finding.message for finding in diagnose(xr.DataTree.from_dict({"series": loss}))]
        ['diverged: the loss is not finite from step 2 on (last finite loss 0.5 at step 1)']
    """
    log = Log(trajectory)
    found = [finding for rule in RULES if (finding := rule(log)) is not None]
    explained = set().union(*(EXPLAINS.get(finding.name, ()) for finding in found if _is_cause(finding)))
    told = [finding for finding in found if finding.name not in explained]
    return tuple(sorted(told, key=lambda finding: SEVERITIES.index(finding.severity)))


def _is_cause(finding: Finding) -> bool:
    """Layers that saturated on the way are no cause of their own; nor is what is only remarked."""
    return finding.severity != "info" and finding.evidence.get("from_start") is not False
