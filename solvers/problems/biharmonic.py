"""The clamped biharmonic equation in one dimension: a beam, and the hardest simple case for finite differences."""

from __future__ import annotations

import math

from solvers.domain import Box
from solvers.functions import cos, sin
from solvers.problems.conditions import dirichlet, normal_slope
from solvers.problems.poisson import EXACT_FLOOR
from solvers.problems.problem import Problem


def biharmonic_1d() -> Problem:
    """Return u'''' = pi^4 sin(pi x) on (-1, 1), u and du/dn given on the boundary, with u = sin(pi x).

    Fourth derivatives by finite differences carry a round-off of about 16 eps / h^4: at h = 1e-3 in float64 it is 4e-3.

    Returns:
        The problem.

    Example:
        >>> biharmonic_1d().partials
        ('xxxx',)
    """

    def residual(jet, x, coefficients):
        return jet["xxxx"] - math.pi**4 * sin(math.pi * x)

    def slope(x):
        # du/dn = n du/dx with n = sign(x) = x at x = +-1.
        return math.pi * x * cos(math.pi * x)

    return Problem(
        "biharmonic-1d",
        Box(("x",), (-1.0,), (1.0,)),
        ("xxxx",),
        residual,
        (dirichlet(), normal_slope(slope)),
        solution=lambda x: sin(math.pi * x),
        solution_floor=EXACT_FLOOR,
        test_shape=(1001,),
    )
