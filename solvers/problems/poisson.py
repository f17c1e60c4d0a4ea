"""Poisson's equation with a sine solution, in one and two dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from solvers.domain import Box
from solvers.functions import sin
from solvers.problems.closed_form import CLOSED_FORM, phase_floor
from solvers.problems.conditions import dirichlet
from solvers.problems.equation_text import in_pi
from solvers.problems.problem import Problem

HIGHEST_1D, HIGHEST_2D = 250, 25
"""Modes that 1001 and 101 points on (-1, 1) resolve, with four points a wave."""


def poisson_1d(mode: int = 1) -> Problem:
    """Return -u'' = f on (-1, 1) with u(+-1) = 0 and u = sin(mode pi x), so f = (mode pi)^2 sin(mode pi x).

    Variants of the name: DeepXDE's example is this one. PINNacle's has sin(a x) on (0, 2 pi / a): a whole period like
    this one, but of another length. "Multi-scale" ones add a second sine, such as 0.1 sin(50 pi x).

    Args:
        mode: number of half waves on a unit length, an integer >= 1.

    Returns:
        The problem.

    Raises:
        ValueError: mode is not a positive integer (u would not vanish on the boundary), or above 250.

    Example:
        >>> import torch
        >>> poisson_1d().solution(torch.tensor([[0.5]])).item()
        1.0
    """
    k = math.pi * integer_modes((mode,), 1, HIGHEST_1D)[0]

    def residual(jet, x, coefficients):
        return -jet["xx"] - k**2 * sin(k * x)

    return Problem(
        "poisson-1d",
        Box(("x",), (-1.0,), (1.0,)),
        ("xx",),
        residual,
        (dirichlet(),),
        solution=lambda x: sin(k * x),
        solution_floor=phase_floor(k),
        floor_origin=CLOSED_FORM,
        test_shape=(1001,),
        settings={"mode": mode},
        equation=f"-u_xx = f, u = sin({in_pi(mode)} x)",
    )


def poisson_2d(modes: tuple[int, int] = (1, 1)) -> Problem:
    """Return -(u_xx + u_yy) = f on (-1, 1)^2 with u = 0 on the boundary and u = sin(a pi x) sin(b pi y).

    Variants of the name: many have the same u on (0, 1)^2, a quarter of this domain and one half wave instead of two
    for a = b = 1; some solve u_xx + u_yy = f, which turns the sign of f; PINNacle's "Poisson2D_Classic" is Laplace's
    equation on a square with four round holes. Several frequencies in one solution: `multiscale_poisson`.

    Args:
        modes: (a, b), positive integers.

    Returns:
        The problem.

    Raises:
        ValueError: a mode is not a positive integer, or above 25.

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
        solution_floor=phase_floor(max(a, b)),
        floor_origin=CLOSED_FORM,
        test_shape=(101, 101),
        settings={"modes": tuple(modes)},
        equation=f"-(u_xx + u_yy) = f, modes {tuple(modes)}",
    )


def integer_modes(modes: Sequence[int], count: int, highest: int = HIGHEST_2D) -> tuple[int, ...]:
    """Return the modes of a product of sines, refusing those that do not vanish on the boundary.

    Args:
        modes: as the user gave them.
        count: one an axis.
        highest: that the test grid resolves, with four points a wave.

    Returns:
        Positive integers.

    Raises:
        ValueError: another number of modes, or one that is no positive integer or too high.

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
    if max(whole) > highest:
        raise ValueError(
            f"expected modes up to {highest}, where the test grid has four points a wave, came {max(whole)}: errors of "
            f"higher ones would be those of another wave"
        )
    return tuple(int(mode) for mode in whole)
