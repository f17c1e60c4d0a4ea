"""Poisson's equation on the ball in three dimensions, with a Robin condition."""

from __future__ import annotations

from solvers.geometry import Ball, Region
from solvers.problems.closed_form import CLOSED_FORM, phase_floor
from solvers.problems.exact_robin import exact_robin
from solvers.problems.manufactured_wave import Wave
from solvers.problems.problem import Problem


def ball_poisson(frequency: float = 1.0, alpha: float = 1.0, beta: float = 1.0, radius: float = 1.0) -> Problem:
    """Return u_xx + u_yy + u_zz = f on a ball, alpha du/dn + beta u = g, with u = 1 + sin(k x) cos(k y) cos(k z).

    k = frequency pi, f = -3 k^2 (u - 1).

    Args:
        frequency: positive.
        alpha: of the slope, >= 0.
        beta: of the value, > 0.
        radius: of the ball about the origin.

    Returns:
        The problem.

    Raises:
        ValueError: a number out of its range, or frequency radius above 5, more than the test grid resolves.

    Example:
        >>> ball_poisson().axes
        ('x', 'y', 'z')
    """
    wave = Wave(frequency, dimension=3).resolved(radius, 21)

    def residual(jet, x, coefficients):
        return jet["laplacian"] - wave.laplacian(x)

    return Problem(
        "ball-poisson",
        Region(Ball(radius=radius)),
        ("laplacian",),
        residual,
        (exact_robin(wave, wave.gradient, alpha, beta),),
        solution=wave,
        solution_floor=phase_floor(wave.wavenumber * radius),
        floor_origin=CLOSED_FORM,
        settings={"frequency": frequency, "alpha": alpha, "beta": beta, "radius": radius},
        equation=f"u_xx + u_yy + u_zz = f, frequency {frequency:.4g}",
    )
