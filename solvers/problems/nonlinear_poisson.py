"""Poisson's equation with a cubic reaction and a manufactured solution, in one and two dimensions."""

from __future__ import annotations

import math

from solvers.domain import Box
from solvers.functions import sin
from solvers.problems.closed_form import CLOSED_FORM, phase_floor
from solvers.problems.conditions import dirichlet
from solvers.problems.equation_text import times
from solvers.problems.poisson import HIGHEST_1D, integer_modes
from solvers.problems.problem import Problem


def nonlinear_poisson_1d(mode: int = 1, strength: float = 1.0) -> Problem:
    """Return -u'' + s u^3 = f on (-1, 1), u(+-1) = 0, f such that u = sin(k pi x).

    u -> -u'' + s u^3 is monotone for s >= 0, so this u is the only solution.

    Variants of the name: other reactions, such as e^u (`disk_nonlinear_poisson`), sin u or u^2, with sources of their
    own; s < 0, where there may be several solutions.

    Args:
        mode: k, a positive integer.
        strength: s.

    Returns:
        The problem.

    Raises:
        ValueError: mode is not a positive integer up to 250, or strength is negative or not finite.

    Example:
        >>> nonlinear_poisson_1d().partials
        ('', 'xx')
    """
    k = math.pi * integer_modes((mode,), 1, HIGHEST_1D)[0]
    settings = {"mode": mode, "strength": _checked(strength)}
    return _cubic("nonlinear-poisson-1d", ("x",), (1001,), strength, k**2, lambda x: sin(k * x), settings)


def nonlinear_poisson_2d(modes: tuple[int, int] = (1, 1), strength: float = 1.0) -> Problem:
    """Return -(u_xx + u_yy) + s u^3 = f on (-1, 1)^2, u = 0 on the boundary, f such that u = sin(a pi x) sin(b pi y).

    Args:
        modes: (a, b), positive integers.
        strength: s.

    Returns:
        The problem.

    Raises:
        ValueError: a mode is not a positive integer up to 25, or strength is negative or not finite.

    Example:
        >>> nonlinear_poisson_2d().partials
        ('', 'laplacian')
    """
    a, b = (math.pi * mode for mode in integer_modes(modes, 2))

    def solution(x):
        return sin(a * x[:, 0:1]) * sin(b * x[:, 1:2])

    settings = {"modes": tuple(modes), "strength": _checked(strength)}
    return _cubic("nonlinear-poisson-2d", ("x", "y"), (101, 101), strength, a**2 + b**2, solution, settings)


def _cubic(name, axes, test_shape, strength, eigenvalue, solution, settings) -> Problem:
    """The solution is an eigenfunction of -(laplacian): f = eigenvalue u + s u^3."""
    second = "xx" if len(axes) == 1 else "laplacian"
    diffusion = "-u_xx" if len(axes) == 1 else "-(u_xx + u_yy)"
    which = f"mode {settings['mode']}" if "mode" in settings else f"modes {settings['modes']}"

    def residual(jet, x, coefficients):
        exact = solution(x)
        return -jet[second] + strength * jet[""] ** 3 - (eigenvalue * exact + strength * exact**3)

    return Problem(
        name,
        Box(axes, (-1.0,) * len(axes), (1.0,) * len(axes)),
        ("", second),
        residual,
        (dirichlet(),),
        solution=solution,
        solution_floor=phase_floor(math.sqrt(eigenvalue)),
        floor_origin=CLOSED_FORM,
        test_shape=test_shape,
        settings=settings,
        equation=f"{diffusion} + {times(strength, 'u^3')} = f, {which}",
    )


def _checked(strength: float) -> float:
    if not (isinstance(strength, int | float) and 0 <= strength < math.inf):
        raise ValueError(f"expected a finite strength >= 0, where the solution is unique, came {strength!r}")
    return strength
