"""A sine carried round a periodic line: nothing decays, so that every error of phase stays."""

from __future__ import annotations

import math

from solvers.domain import Box
from solvers.functions import sin
from solvers.problems.closed_form import CLOSED_FORM, phase_floor
from solvers.problems.conditions import initial_value, periodic
from solvers.problems.equation_text import times
from solvers.problems.number import real_number
from solvers.problems.problem import Problem

FASTEST = 150.0
"""Largest speed that the test grid resolves: 101 times sample the 24 periods, four points each."""


def advection(speed: float = 30.0) -> Problem:
    """Return u_t + c u_x = 0 on (0, 2 pi) x (0, 1), periodic, u(x, 0) = sin x.

    u = sin(x - c t) passes a point c / (2 pi) times. A network has to carry the initial value over all of these
    periods: the higher c, the longer training stays at u = 0.

    Variants of the name ("convection", "linear advection"), which `settings` tells apart: c, often called beta, is 30
    in A. Krishnapriyan et al., NeurIPS 2021, 40 in P. Rathore et al., arXiv 2402.01868, and 50, 80 or 100 in jaxpi and
    jaxpi2. Errors at different c do not compare. A solution whose phase is rounded to float32, as JAX does unless told
    otherwise, is wrong by 7e-7 (c = 30) to 2.6e-6 (c = 100) in relative L2.

    Args:
        speed: c.

    Returns:
        The problem. Its floor is the rounding of the phase x - c t: eps (2 pi + c) / 2, 4e-15 at c = 30. It grows with
        c t as that of any method does that knows time in float64.

    Raises:
        ValueError: speed that is not in (0, 150], above which 101 times have fewer than four points a period.

    Example:
        >>> [condition.name for condition in advection().conditions], advection().domain_text
        (['periodic', 'initial'], 'x in [0, 2 pi], t in [0, 1]')
    """
    speed = real_number("speed", speed)
    if not 0 < speed <= FASTEST:
        raise ValueError(
            f"expected speed in (0, {FASTEST:g}], where the test grid has four points a period, came {speed}; a wave "
            f"to the left is the mirror image of one to the right"
        )

    def residual(jet, x, coefficients):
        return jet["t"] + speed * jet["x"]

    def solution(x):
        return sin(x[:, 0:1] - speed * x[:, 1:2])

    return Problem(
        "advection",
        Box(("x", "t"), (0.0, 0.0), (2 * math.pi, 1.0), periodic=("x",)),
        ("x", "t"),
        residual,
        (periodic("x"), initial_value(lambda x: sin(x[:, 0:1]))),
        solution=solution,
        solution_floor=phase_floor(2 * math.pi + speed),
        floor_origin=CLOSED_FORM,
        test_shape=(101, 101),
        settings={"speed": speed},
        equation=f"u_t + {times(speed, 'u_x')} = 0, u0 = sin(x)",
    )
