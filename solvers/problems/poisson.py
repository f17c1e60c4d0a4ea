"""Poisson's equation with a sine solution, in one and two dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from solvers.domain import Box
from solvers.functions import sin
from solvers.problems.conditions import dirichlet
from solvers.problems.problem import Problem

EXACT_FLOOR = 1e-15
"""Relative error of an exact solution evaluated in float64."""


def poisson_1d(mode: int = 1) -> Problem:
    """Return -u'' = f on (-1, 1) with u(+-1) = 0 and u = sin(mode pi x), so f = (mode pi)^2 sin(mode pi x).

    Args:
        mode: number of half waves on a unit length, an integer >= 1.

    Returns:
        The problem.

    Raises:
        ValueError: mode is not a positive integer (u would not vanish on the boundary).

    Example:
        >>> import torch
        >>> poisson_1d().solution(torch.tensor([[0.5]])).item()
        1.0
    """
    k = math.pi * integer_modes((mode,), 1)[0]

    def residual(jet, x, coefficients):
        return -jet["xx"] - k**2 * sin(k * x)

    return Problem(
        "poisson-1d",
        Box(("x",), (-1.0,), (1.0,)),
        ("xx",),
        residual,
        (dirichlet(),),
        solution=lambda x: sin(k * x),
        solution_floor=EXACT_FLOOR,
        test_shape=(1001,),
        settings={"mode": mode},
    )


def poisson_2d(modes: tuple[int, int] = (1, 1)) -> Problem:
    """Return -(u_xx + u_yy) = f on (-1, 1)^2 with u = 0 on the boundary and u = sin(a pi x) sin(b pi y).

    Args:
        modes: (a, b), positive integers.

    Returns:
        The problem.

    Raises:
        ValueError: a mode is not a positive integer.

    Example:
        >>> poisson_2d().settings["modes"]
        (1, 1)
    """
    a, b = (math.pi * mode for mode in integer_modes(modes, 2))

    def solution(x):
        return sin(a * x[:, 0:1]) * sin(b * x[:, 1:2])

    def residual(jet, x, coefficients):
        return -jet["laplacian"] - (a**2 + b**2) * solution(x)

    return Problem(
        "poisson-2d",
        Box(("x", "y"), (-1.0, -1.0), (1.0, 1.0)),
        ("laplacian",),
        residual,
        (dirichlet(),),
        solution=solution,
        solution_floor=EXACT_FLOOR,
        test_shape=(101, 101),
        settings={"modes": tuple(modes)},
    )


def integer_modes(modes: Sequence[int], count: int) -> tuple[int, ...]:
    """Return the modes of a product of sines, refusing those that do not vanish on the boundary.

    Args:
        modes: as the user gave them.
        count: one an axis.

    Returns:
        Positive integers.

    Raises:
        ValueError: another number of modes, or one that is no positive integer.

    Example:
        >>> integer_modes([1, 4.0], 2)
        (1, 4)
    """
    given = modes if isinstance(modes, Sequence) and not isinstance(modes, str) else (modes,)
    whole = [mode for mode in given if isinstance(mode, int | float) and mode == int(mode) and mode >= 1]
    if not len(whole) == len(given) == count:
        raise ValueError(
            f"expected {count} positive integer mode{'s'[: count - 1]}, so that u vanishes on the boundary, "
            f"came {given[0] if count == len(given) == 1 else modes}"
        )
    return tuple(int(mode) for mode in whole)
