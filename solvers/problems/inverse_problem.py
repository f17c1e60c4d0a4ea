"""From a problem with a known solution to the one of finding its coefficient from noisy measurements."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from solvers.problems.coefficient import Coefficient
from solvers.problems.measurements import measured
from solvers.problems.noisy_data import NoisyData
from solvers.problems.problem import Problem, Residual

FACTOR = 5.0
"""The default start is wrong by so much."""


def inverse_problem(
    forward: Callable[[float], Problem],
    name: str,
    value: float,
    residual: Residual,
    *,
    measurements: int,
    noise: float,
    seed: int,
    how: str,
    start: float | None,
    bounds: Sequence[float],
    weight: float,
    points: object,
    equation: str = "",
) -> Problem:
    """Return a problem whose coefficient is to be found from measurements of its solution.

    Args:
        forward: value of the coefficient -> the problem where it is known, with its solution.
        name: of the coefficient, as the residual looks it up.
        value: its true value, from which the data are made.
        residual: of the equation, with the coefficient unknown.
        measurements: how many, at points drawn uniformly.
        noise: standard deviation over that of the noiseless values.
        seed: of points and noise.
        how: the coefficient is "trained", "bounded" or "eliminated", see `Coefficient`.
        start: where it starts; 5 times the true value where None.
        bounds: low and high.
        weight: of the data's mean square in the loss.
        points: where to measure instead, (n, axes).
        equation: in a line, with the coefficient unknown; empty names it behind the known problem's.

    Returns:
        The forward problem with the coefficient, the data as one more condition, and in its settings the truth, the
        noise's deviation and the coefficient's least standard error.

    Raises:
        ValueError: data that `NoisyData` refuses, a true value or a start outside the bounds, a weight that is not
            positive.
    """
    known = forward(value)
    low, high = (float(bound) for bound in bounds)
    start = FACTOR * value if start is None else start
    for what, number in (("true value", value), ("start", start)):
        if not low < number < high:
            raise ValueError(
                f"expected the {what} of {name} between its bounds, came {number} and ({low}, {high}): change "
                f"{'start or bounds' if what == 'start' else 'bounds'}"
            )
    if not 0 < weight < math.inf:
        raise ValueError(f"expected a positive weight of the data, came {weight}")
    data = NoisyData.draw(lambda at: forward(at).solution, value, known.domain, measurements, noise, seed, points)
    return replace(
        known,
        name=f"inverse-{known.name}",
        residual=residual,
        equation=equation or f"{known.equation}, {name} unknown",
        conditions=(*known.conditions, measured(data.points, data.values, weight=weight)),
        coefficients=(Coefficient(name, start, low, high, how, value),),
        sets={"data": data.points},
        settings={
            **known.settings,
            "how": how,
            "measurements": len(data.points),
            "noise": noise,
            "deviation": data.deviation,
            "weight": weight,
            "seed": seed,
            "standard_error": {name: data.standard_error},
        },
    )
