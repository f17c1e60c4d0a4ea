"""Poisson's equation on the disk with a Robin condition, linear and with an exponential."""

from __future__ import annotations

from collections.abc import Callable

from solvers.functions import exp
from solvers.geometry import Disk, Region
from solvers.problems.closed_form import CLOSED_FORM, phase_floor
from solvers.problems.exact_robin import exact_robin
from solvers.problems.manufactured_wave import Wave
from solvers.problems.problem import Problem


def disk_poisson(frequency: float = 1.0, alpha: float = 1.0, beta: float = 1.0, radius: float = 1.0) -> Problem:
    """Return u_xx + u_yy = f on a disk, alpha du/dn + beta u = g on its rim, with u = 1 + sin(k x) cos(k y).

    k = frequency pi, f = -2 k^2 sin(k x) cos(k y). The defaults are eqs. (3), (4) and (19) of Sharma and Shankar,
    arXiv 2205.09332.

    Variants of the name: -(u_xx + u_yy) = 4 with u = 0 on the rim is solved by 1 - r^2 and far easier; DeepXDE's
    "Laplace on a disk" is harmonic, in polar coordinates.

    Args:
        frequency: positive.
        alpha: of the slope, >= 0.
        beta: of the value, > 0.
        radius: of the disk about the origin.

    Returns:
        The problem.

    Raises:
        ValueError: a number out of its range, or frequency radius above 25, more than the test grid resolves.

    Example:
        >>> points = disk_poisson().sample(interior=200)
        >>> len(points.ghost) == len(points.boundary), len(points.times or ())
        (True, 0)
    """
    wave = Wave(frequency).resolved(radius, 101)

    def residual(jet, x, coefficients):
        return jet["laplacian"] - wave.laplacian(x)

    return _on_disk("disk-poisson", wave, residual, ("laplacian",), (alpha, beta, radius), "f")


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
        ValueError: a number out of its range, or frequency radius above 25, more than the test grid resolves.

    Example:
        >>> disk_nonlinear_poisson().partials
        ('', 'laplacian')
    """
    wave = Wave(frequency).resolved(radius, 101)

    def residual(jet, x, coefficients):
        return jet["laplacian"] - exp(jet[""]) - (wave.laplacian(x) - exp(wave(x)))

    return _on_disk("disk-nonlinear-poisson", wave, residual, ("", "laplacian"), (alpha, beta, radius), "e^u + f")


def _on_disk(
    name: str,
    wave: Wave,
    residual: Callable,
    partials: tuple[str, ...],
    numbers: tuple[float, float, float],
    source: str,
) -> Problem:
    """Numbers are alpha, beta and the radius; the source is what stands right of u_xx + u_yy."""
    alpha, beta, radius = numbers
    return Problem(
        name,
        Region(Disk(radius=radius)),
        partials,
        residual,
        (exact_robin(wave, wave.gradient, alpha, beta),),
        solution=wave,
        solution_floor=phase_floor(wave.wavenumber * radius),
        floor_origin=CLOSED_FORM,
        settings={"frequency": wave.frequency, "alpha": alpha, "beta": beta, "radius": radius},
        equation=f"u_xx + u_yy = {source}, frequency {wave.frequency:.4g}",
    )
