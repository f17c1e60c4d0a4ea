"""The clamped circular plate: fourth derivatives and two conditions on one boundary."""

from __future__ import annotations

import math

from solvers.functions import cos, sin
from solvers.geometry import Disk, Region
from solvers.problems.closed_form import CLOSED_FORM, phase_floor
from solvers.problems.conditions import dirichlet, normal_slope
from solvers.problems.poisson import integer_modes
from solvers.problems.problem import Problem


def disk_plate(mode: int = 1, radius: float = 1.0) -> Problem:
    """Return u_xxxx + 2 u_xxyy + u_yyyy = f on a disk, u = du/dn = 0 on its rim: a plate that is clamped all round.

    With s = (r / radius)^2 and a = mode pi, u = (1 - (-1)^mode cos(a s)) / 2, of height 1 and mode rings. A function
    of s has the Laplacian (4 / radius^2) (s u')', which applied twice gives

        f = -8 (-1)^mode / radius^4 (4 a^3 s sin(a s) + (a^4 s^2 - 2 a^2) cos(a s)).

    `sample` gives two layers of ghost nodes, one a condition.

    Args:
        mode: a positive integer.
        radius: of the disk about the origin.

    Returns:
        The problem.

    Raises:
        ValueError: mode is not a positive integer up to 25, or the radius not positive and finite.

    Example:
        >>> import torch
        >>> disk_plate().solution(torch.zeros(1, 2)).item()
        1.0
    """
    a = math.pi * integer_modes((mode,), 1)[0]
    sign = (-1) ** mode

    def square(x):
        return (x**2).sum(dim=1, keepdim=True) / radius**2

    def solution(x):
        return (1 - sign * cos(a * square(x))) / 2

    def load(x):
        s = square(x)
        rings = 4 * a**3 * s * sin(a * s) + (a**4 * s**2 - 2 * a**2) * cos(a * s)
        return -8 * sign / radius**4 * rings

    def residual(jet, x, coefficients):
        return jet["bilaplacian"] - load(x)

    return Problem(
        "disk-plate",
        Region(Disk(radius=radius)),
        ("bilaplacian",),
        residual,
        (dirichlet(), normal_slope()),
        solution=solution,
        solution_floor=phase_floor(a),
        floor_origin=CLOSED_FORM,
        settings={"mode": mode, "radius": radius},
        equation=f"bilaplacian u = f, clamped, mode {mode}",
    )
