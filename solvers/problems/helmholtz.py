"""The Helmholtz equation on a square with a product of sines: the usual steady benchmark of PINNs."""

from __future__ import annotations

import math

from solvers.domain import Box
from solvers.functions import sin
from solvers.problems.closed_form import CLOSED_FORM, phase_floor
from solvers.problems.conditions import dirichlet
from solvers.problems.equation_text import times
from solvers.problems.number import real_number
from solvers.problems.poisson import HIGHEST_2D, integer_modes
from solvers.problems.problem import Problem


def helmholtz(modes: tuple[int, int] = (1, 4), wavenumber: float = 1.0) -> Problem:
    """Return u_xx + u_yy + k^2 u = q on (-1, 1)^2, u = 0 on the boundary, u = sin(a pi x) sin(b pi y).

    q = (k^2 - (a^2 + b^2) pi^2) u.

    Variants of the name, of which `settings` tells modes and k:

    * (a, b) = (1, 4), (4, 1) and (6, 6) are all in use, with k = 1. Errors at (1, 4) and (6, 6) do not compare.
    * k here is not squared; PINA's `k` stands for k^2. At k = 1 nothing tells them apart.
    * -(u_xx + u_yy) + k^2 u = q is another problem, positive definite and well-posed at every k; this one has
      resonances.
    * On (0, 1)^2: PINNacle has this equation with modes (4, 4); DeepXDE has -(u_xx + u_yy) - k^2 u = k^2 v with the
      solution v = sin(k x) sin(k y), k = 4 pi.

    Args:
        modes: (a, b), positive integers.
        wavenumber: k, not squared, from 0 on.

    Returns:
        The problem.

    Raises:
        ValueError: a mode is not a positive integer up to 25, k is not in [0, 25 pi], above which the equation's own
            waves have fewer than four points on the test grid, or k^2 meets the resonance (a'^2 + b'^2) pi^2 / 4 of
            some mode.

    Example:
        >>> helmholtz((2, 2)).settings["modes"]
        (2, 2)
    """
    wavenumber = real_number("wavenumber", wavenumber)
    _refuse_resonance(wavenumber)
    a, b = (math.pi * mode for mode in integer_modes(modes, 2))
    strength = wavenumber**2 - a**2 - b**2

    def solution(x):
        return sin(a * x[:, 0:1]) * sin(b * x[:, 1:2])

    def residual(jet, x, coefficients):
        return jet["laplacian"] + wavenumber**2 * jet[""] - strength * solution(x)

    return Problem(
        "helmholtz",
        Box(("x", "y"), (-1.0, -1.0), (1.0, 1.0)),
        ("", "laplacian"),
        residual,
        (dirichlet(),),
        solution=solution,
        solution_floor=phase_floor(max(a, b)),
        floor_origin=CLOSED_FORM,
        test_shape=(101, 101),
        settings={"modes": tuple(modes), "wavenumber": wavenumber},
        equation=f"u_xx + u_yy + {times(wavenumber**2, 'u')} = q, modes {tuple(modes)}",
    )


def _refuse_resonance(wavenumber: float) -> None:
    """Refuse k^2 = (m^2 + n^2) pi^2 / 4, an eigenvalue of the square of side 2: no unique solution."""
    if not 0 <= wavenumber <= HIGHEST_2D * math.pi:
        raise ValueError(
            f"expected wavenumber (k, not k^2) in [0, {HIGHEST_2D} pi], where the test grid has four points a wave, "
            f"came {wavenumber}"
        )
    scaled = 4 * wavenumber**2 / math.pi**2
    nearest = round(scaled)
    sums = {m * m + n * n for m in range(1, math.isqrt(nearest) + 1) for n in range(1, math.isqrt(nearest) + 1)}
    if nearest in sums and abs(scaled - nearest) < 1e-9 * nearest:
        raise ValueError(
            f"wavenumber {wavenumber} is a resonance of the square: the solution is not unique; change it slightly"
        )
