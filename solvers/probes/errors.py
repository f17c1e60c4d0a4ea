"""Errors against what is known better: the problem's solution, and the equation under exact derivatives."""

from __future__ import annotations

import torch

from solvers.cadence import Cadence, Logarithmic
from solvers.evaluation import mean_square
from solvers.operators import AutoDiff
from solvers.probes.probe import Labels, Moment, Probe, once
from solvers.scoring import BANDS, Score


def errors(every: Cadence = Logarithmic(15)) -> Probe:
    """Return the probe of the errors against the problem's solution.

    Args:
        every: when.

    Returns:
        Probe that adds `rel_l2`, `max_error` and `error_band` (low, middle and high frequency; see `Score`) to the
        series, and the attribute `solution_max`, the scale of `max_error`.
    """
    score = once(lambda moment: Score(moment.objective.problem, moment.objective.vector))

    def measure(moment: Moment):
        found = score(moment)(moment.objective.network)
        return {"rel_l2": found.rel_l2, "max_error": found.max_error, "error_band": list(found.bands)}

    def labels(moment: Moment) -> Labels:
        return Labels({"band": list(BANDS)}, {"solution_max": score(moment).solution_max})

    return Probe("series", {"rel_l2": (), "max_error": (), "error_band": ("band",)}, measure, every, labels)


def exact_loss(every: Cadence = Logarithmic(10)) -> Probe:
    """Return the probe of the interior loss with exact derivatives, for operators that are not exact.

    Where it stays above the training loss, the network fits the operator's discrete system and no longer the equation.

    Args:
        every: when.

    Returns:
        Probe that adds `exact_loss` to the series.
    """

    def measure(moment: Moment):
        objective = moment.objective
        plan = AutoDiff().plan(objective.equation_points, objective.problem.partials)
        with torch.no_grad():
            return {"exact_loss": float(mean_square(objective.interior_residual(plan)))}

    return Probe("series", {"exact_loss": ()}, measure, every)
