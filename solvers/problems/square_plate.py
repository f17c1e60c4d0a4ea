"""A square plate under a load that is no product of sines."""

from __future__ import annotations

import math

from solvers.domain import Box
from solvers.functions import cos, exp, sin
from solvers.problems.closed_form import CLOSED_FORM, phase_floor
from solvers.problems.conditions import dirichlet
from solvers.problems.problem import Condition, Problem


def plate() -> Problem:
    """Return u_xxxx + 2 u_xxyy + u_yyyy = (1 - pi^2)^2 e^x sin(pi y) on (0, 1)^2, u and du/dn given, u = e^x sin(pi y).

    (d_xx + d_yy) u = (1 - pi^2) u, twice. Unlike `biharmonic_2d`, neither u nor its slope vanishes along the sides
    x = 0 and x = 1.

    Variants of the name: a DeepXDE thread (lululxvi/deepxde issue 685) has this u, with the term -2 pi^2 e^x sin(pi y)
    of the load lacking its e^x, so that u does not solve it. `disk_plate` is round and clamped.

    Returns:
        The problem.

    Example:
        >>> import torch
        >>> plate().solution(torch.tensor([[0.0, 0.5]])).item()
        1.0
    """
    load = (1 - math.pi**2) ** 2

    def solution(x):
        return exp(x[:, 0:1]) * sin(math.pi * x[:, 1:2])

    def residual(jet, x, coefficients):
        return jet["bilaplacian"] - load * solution(x)

    def slope(jet, x, normals, coefficients):
        along_y = math.pi * exp(x[:, 0:1]) * cos(math.pi * x[:, 1:2])
        return jet["n"] - (normals[:, 0:1] * solution(x) + normals[:, 1:2] * along_y)

    return Problem(
        "plate",
        Box(("x", "y"), (0.0, 0.0), (1.0, 1.0)),
        ("bilaplacian",),
        residual,
        (dirichlet(solution), Condition("slope", "boundary", ("n",), slope)),
        solution=solution,
        solution_floor=phase_floor(math.pi),
        floor_origin=CLOSED_FORM,
        test_shape=(101, 101),
        equation="bilaplacian u = (1 - pi^2)^2 e^x sin(pi y)",
    )
