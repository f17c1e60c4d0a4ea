"""The forced heat equation on the disk with a Robin condition."""

from __future__ import annotations

import math

from solvers.functions import cos, sin
from solvers.geometry import Disk, Region
from solvers.problems.closed_form import CLOSED_FORM, phase_floor
from solvers.problems.conditions import initial_value
from solvers.problems.exact_robin import exact_robin
from solvers.problems.manufactured_wave import Wave
from solvers.problems.problem import Problem


def disk_heat(frequency: float = 1.0, alpha: float = 1.0, beta: float = 1.0, radius: float = 1.0) -> Problem:
    """Return u_t = u_xx + u_yy + f on a disk for t in (0, 1), alpha du/dn + beta u = g on its rim, u = 1 at t = 0.

    u = 1 + sin(k x) cos(k y) sin(pi t), k = frequency pi; f and g are such that this solves it. The defaults are
    eqs. (5) and (20) of Sharma and Shankar, arXiv 2205.09332; like theirs, `sample` puts the nodes at 25 times.

    Args:
        frequency: positive.
        alpha: of the slope, >= 0.
        beta: of the value, > 0.
        radius: of the disk about the origin.

    Returns:
        The problem.

    Raises:
        ValueError: a number out of its range, or frequency radius above 5, more than the test grid resolves.

    Example:
        >>> [round(t, 3) for t in disk_heat().sample(interior=100).times[:3].tolist()]
        [0.0, 0.042, 0.083]
    """
    wave = Wave(frequency).resolved(radius, 21)

    def grown(x):
        return sin(math.pi * x[:, 2:3])

    def solution(x):
        return 1 + wave.product(x) * grown(x)

    def gradient(x):
        return wave.gradient(x) * grown(x)

    def residual(jet, x, coefficients):
        source = math.pi * wave.product(x) * cos(math.pi * x[:, 2:3]) - wave.laplacian(x) * grown(x)
        return jet["t"] - jet["laplacian"] - source

    return Problem(
        "disk-heat",
        Region(Disk(radius=radius), time=(0.0, 1.0)),
        ("t", "laplacian"),
        residual,
        (exact_robin(solution, gradient, alpha, beta), initial_value(solution)),
        solution=solution,
        solution_floor=phase_floor(max(wave.wavenumber * radius, math.pi)),
        floor_origin=CLOSED_FORM,
        settings={"frequency": frequency, "alpha": alpha, "beta": beta, "radius": radius},
        equation=f"u_t = u_xx + u_yy + f, frequency {frequency:.4g}",
    )
