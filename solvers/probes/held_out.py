"""What the network does where it is not trained: the residual at held-out points, and how much its field varies."""

from __future__ import annotations

from dataclasses import replace

import torch

from solvers.cadence import Cadence, Logarithmic
from solvers.evaluation import mean_square
from solvers.jet import TIME
from solvers.points import Points
from solvers.probes.probe import Labels, Moment, Probe, once

HELD_OUT_SEED = 2**32 - 5
"""Of the draw of the points; a run's own seed is taken by its collocation points."""


def held_out(points: int = 256, every: Cadence = Logarithmic(10)) -> Probe:
    r"""Return the probe of the equation's residual at points that are not trained on, and of the network's field.

    $$ \text{held out} = \frac{1}{n}\sum_j |r(y_j)|^2, \qquad
       m = \frac{1}{N}\sum_i u_1(x_i), \qquad s^2 = \frac{1}{N}\sum_i (u_1(x_i) - m)^2 $$

    The y_j are drawn once over the whole domain, as a Latin hypercube, whatever the x_i are; derivatives are
    the training's own. Where the held-out loss stands far above the interior loss, the residual is small at the points
    alone.

    Args:
        points: number n of held-out points.
        every: when.

    Returns:
        Probe that adds `held_out_loss`, `field_mean` and `field_std` (of the first component) to the series.

    Raises:
        ValueError: fewer than one point.

    Source: ours; the usual validation loss.

    Cost: one residual at n points without a gradient, and the network's values at the interior points.

    Example:
        >>> sorted(held_out().dims)
        ['field_mean', 'field_std', 'held_out_loss']
    """
    if points < 1:
        raise ValueError(f"expected at least one held-out point, came {points}")

    @once
    def plan(moment: Moment):
        objective = moment.objective
        own = held_out_points(moment, points)
        return objective.operator.plan(own, objective.problem.partials)

    @torch.no_grad()
    def measure(moment: Moment):
        objective = moment.objective
        field = objective.network(objective.equation_points.interior)[:, 0].double()
        return {
            "held_out_loss": float(mean_square(objective.interior_residual(plan(moment)))),
            "field_mean": float(field.mean()),
            "field_std": float(field.std(correction=0)),
        }

    def labels(moment: Moment) -> Labels:
        plan(moment)
        return Labels()

    return Probe("series", {"held_out_loss": (), "field_mean": (), "field_std": ()}, measure, every, labels)


def held_out_points(moment: Moment, count: int) -> Points:
    """Return interior points of the problem's domain that are none of the training's.

    Where the training's are nodes x times, these are other places at the same times.

    Args:
        moment: of the training.
        count: how many, about.

    Returns:
        Interior points alone, on the training's device and in its dtype.
    """
    objective, times = moment.objective, moment.objective.points.times
    if times is None:
        drawn = objective.problem.scattered(count, HELD_OUT_SEED)
    else:
        places = objective.problem.scattered(max(1, count // len(times)), HELD_OUT_SEED)
        rows = places.interior.repeat(len(times), 1)
        rows[:, places.axes.index(TIME)] = times.cpu().double().repeat_interleave(len(places.interior))
        drawn = replace(places, interior=rows)
    return drawn.to(objective.vector.device, objective.vector.dtype).within(objective.points)
