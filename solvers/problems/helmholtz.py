"""The Helmholtz equation on a square with a product of sines: the usual steady benchmark of PINNs."""

from __future__ import annotations

import math

from solvers.domain import Box
from solvers.functions import sin
from solvers.problems.conditions import dirichlet
from solvers.problems.poisson import EXACT_FLOOR, integer_modes
from solvers.problems.problem import Problem


def helmholtz(modes: tuple[int, int] = (1, 4), wavenumber: float = 1.0) -> Problem:
    """Return u_xx + u_yy + k^2 u = q on (-1, 1)^2, u = 0 on the boundary, u = sin(a pi x) sin(b pi y).

    q = (k^2 - (a^2 + b^2) pi^2) u. Variants under the same name: (a, b) = (1, 4) and (6, 6) are both common; some codes
    solve -(u_xx + u_yy) + k^2 u = q, which is another, well-posed problem.

    Args:
        modes: (a, b), positive integers.
        wavenumber: k, not squared.

    Returns:
        The problem.

    Raises:
        ValueError: a mode is not a positive integer, or k^2 meets the resonance (a'^2 + b'^2) pi^2 / 4 of some mode.

    Example:
        >>> helmholtz((2, 2)).settings["modes"]
        (2, 2)
    """
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
        solution_floor=EXACT_FLOOR,
        test_shape=(101, 101),
        settings={"modes": tuple(modes), "wavenumber": wavenumber},
    )


def _refuse_resonance(wavenumber: float) -> None:
    """Refuse k^2 = (m^2 + n^2) pi^2 / 4, an eigenvalue of the square of side 2: no unique solution."""
    scaled = 4 * wavenumber**2 / math.pi**2
    nearest = round(scaled)
    sums = {m * m + n * n for m in range(1, math.isqrt(nearest) + 1) for n in range(1, math.isqrt(nearest) + 1)}
    if nearest in sums and abs(scaled - nearest) < 1e-9 * nearest:
        raise ValueError(
            f"wavenumber {wavenumber} is a resonance of the square: the solution is not unique; change it slightly"
        )
