"""Poisson's equation on the disk with a Robin condition, linear and with an exponential."""

from __future__ import annotations

from collections.abc import Callable

from solvers.functions import exp
from solvers.geometry import Disk, Region
from solvers.problems.exact_robin import exact_robin
from solvers.problems.poisson import EXACT_FLOOR
from solvers.problems.problem import Problem
from solvers.problems.wave import Wave


def disk_poisson(frequency: float = 1.0, alpha: float = 1.0, beta: float = 1.0, radius: float = 1.0) -> Problem:
    """Return u_xx + u_yy = f on a disk, alpha du/dn + beta u = g on its rim, with u = 1 + sin(k x) cos(k y).

    k = frequency pi, f = -2 k^2 sin(k x) cos(k y). The defaults are eqs. (3), (4) and (19) of Sharma and Shankar,
    arXiv 2205.09332.

    Args:
        frequency: positive.
        alpha: of the slope, >= 0.
        beta: of the value, > 0.
        radius: of the disk about the origin.

    Returns:
        The problem.

    Raises:
        ValueError: a number out of its range.

    Example:
        >>> points = disk_poisson().sample(interior=200)
        >>> len(points.ghost) == len(points.boundary), len(points.times or ())
        (True, 0)
    """
    wave = Wave(frequency)

    def residual(jet, x, coefficients):
        return jet["laplacian"] - wave.laplacian(x)

    return _on_disk("disk-poisson", wave, residual, ("laplacian",), alpha, beta, radius)


def disk_nonlinear_poisson(
    frequency: float = 1.0, alpha: float = 1.0, beta: float = 1.0, radius: float = 1.0
) -> Problem:
    """Return u_xx + u_yy = e^u + f on a disk, alpha du/dn + beta u = g, f and g such that u = 1 + sin(k x) cos(k y).

    k = frequency pi; eq. (1) of Sharma and Shankar, arXiv 2205.09332. e^u increases with u, so this u is the only one.

    Args:
        frequency: positive.
        alpha: of the slope, >= 0.
        beta: of the value, > 0.
        radius: of the disk about the origin.

    Returns:
        The problem.

    Raises:
        ValueError: a number out of its range.

    Example:
        >>> disk_nonlinear_poisson().partials
        ('', 'laplacian')
    """
    wave = Wave(frequency)

    def residual(jet, x, coefficients):
        return jet["laplacian"] - exp(jet[""]) - (wave.laplacian(x) - exp(wave(x)))

    return _on_disk("disk-nonlinear-poisson", wave, residual, ("", "laplacian"), alpha, beta, radius)


def _on_disk(
    name: str, wave: Wave, residual: Callable, partials: tuple[str, ...], alpha: float, beta: float, radius: float
) -> Problem:
    return Problem(
        name,
        Region(Disk(radius=radius)),
        partials,
        residual,
        (exact_robin(wave, wave.gradient, alpha, beta),),
        solution=wave,
        solution_floor=EXACT_FLOOR,
        settings={"frequency": wave.frequency, "alpha": alpha, "beta": beta, "radius": radius},
    )
