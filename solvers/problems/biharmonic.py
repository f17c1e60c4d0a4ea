"""The clamped biharmonic equation: a beam, a plate, and the hardest simple case for finite differences."""

from __future__ import annotations

import math

from solvers.domain import Box
from solvers.functions import cos, sin
from solvers.problems.closed_form import CLOSED_FORM, phase_floor
from solvers.problems.conditions import dirichlet, normal_slope
from solvers.problems.poisson import integer_modes
from solvers.problems.problem import Problem


def biharmonic_1d() -> Problem:
    """Return u'''' = pi^4 sin(pi x) on (-1, 1), u and du/dn given on the boundary, with u = sin(pi x).

    Variants of the name: the Euler beam of DeepXDE's demo is u_xxxx = -1 on (0, 1), clamped at one end, free at the
    other.

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
        solution_floor=phase_floor(math.pi),
        floor_origin=CLOSED_FORM,
        test_shape=(1001,),
        equation="u_xxxx = pi^4 sin(pi x)",
    )


def biharmonic_2d(modes: tuple[int, int] = (1, 1)) -> Problem:
    """Return u_xxxx + 2 u_xxyy + u_yyyy = f on (-1, 1)^2, u and du/dn given, with u = sin(a pi x) sin(b pi y).

    f = (a^2 + b^2)^2 pi^4 u. u and u_xx vanish on the boundary, so the same u also solves the simply supported plate;
    here du/dn is given instead. The plate that is clamped with du/dn = 0 has no elementary solution.

    Variants of the name: the simply supported plate, where u_xx + u_yy is given; a load that is no product of sines:
    `plate`; the driven cavity of Stokes flow, where the load is 0 and a side moves.

    Args:
        modes: (a, b), positive integers.

    Returns:
        The problem.

    Raises:
        ValueError: a mode is not a positive integer, or above 25.

    Example:
        >>> [condition.name for condition in biharmonic_2d().conditions]
        ['boundary', 'slope']
    """
    a, b = (math.pi * mode for mode in integer_modes(modes, 2))

    def solution(x):
        return sin(a * x[:, 0:1]) * sin(b * x[:, 1:2])

    def residual(jet, x, coefficients):
        return jet["bilaplacian"] - (a**2 + b**2) ** 2 * solution(x)

    def slope(x):
        # n = x e_x on the faces x = +-1, where u_y = 0; and likewise in y: du/dn = x u_x + y u_y on all four.
        first, second = x[:, 0:1], x[:, 1:2]
        along_x = first * a * cos(a * first) * sin(b * second)
        return along_x + second * b * sin(a * first) * cos(b * second)

    return Problem(
        "biharmonic-2d",
        Box(("x", "y"), (-1.0, -1.0), (1.0, 1.0)),
        ("bilaplacian",),
        residual,
        (dirichlet(), normal_slope(slope)),
        solution=solution,
        solution_floor=phase_floor(max(a, b)),
        floor_origin=CLOSED_FORM,
        test_shape=(101, 101),
        settings={"modes": tuple(modes)},
        equation=f"bilaplacian u = f, modes {tuple(modes)}",
    )
