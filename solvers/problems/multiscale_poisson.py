"""Poisson's equation whose solution has several frequencies at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

from solvers.domain import Box
from solvers.functions import sin
from solvers.problems.closed_form import CLOSED_FORM, phase_floor
from solvers.problems.conditions import dirichlet
from solvers.problems.poisson import HIGHEST_2D, integer_modes
from solvers.problems.problem import Problem


def multiscale_poisson(modes: Sequence[int] = (4, 8, 12, 16)) -> Problem:
    """Return -(u_xx + u_yy) = f on (0, 1)^2, u = 0 on the boundary, u the mean of sin(w pi x) sin(w pi y) over modes w.

    f is the mean of 2 (w pi)^2 sin(w pi x) sin(w pi y): the highest of the modes dominates the equation, 16 times the
    lowest of the defaults, and networks learn it last.

    Variants of the name: the defaults are those of the DSGNAR examples; others have 0.1 sin(50 pi x) beside sin(2 pi x)
    in one dimension.

    Args:
        modes: w, positive integers, any number of them.

    Returns:
        The problem.

    Raises:
        ValueError: no mode, or one that is not a positive integer or above 50, more than the test grid resolves.

    Example:
        >>> import torch
        >>> round(multiscale_poisson((1, 3)).solution(torch.tensor([[0.5, 0.5]])).item(), 6)
        1.0
    """
    if not modes:
        raise ValueError("expected one mode or more, came none: give positive integers such as (4, 8)")
    whole = integer_modes(modes, len(modes), 2 * HIGHEST_2D)
    waves = [w * math.pi for w in whole]

    def products(x):
        return [sin(k * x[:, 0:1]) * sin(k * x[:, 1:2]) for k in waves]

    def solution(x):
        return sum(products(x)) / len(waves)

    def residual(jet, x, coefficients):
        source = sum(2 * k**2 * product for k, product in zip(waves, products(x), strict=True))
        return -jet["laplacian"] - source / len(waves)

    return Problem(
        "multiscale-poisson",
        Box(("x", "y"), (0.0, 0.0), (1.0, 1.0)),
        ("laplacian",),
        residual,
        (dirichlet(),),
        solution=solution,
        solution_floor=phase_floor(max(waves)),
        floor_origin=CLOSED_FORM,
        test_shape=(101, 101),
        settings={"modes": whole},
        equation=f"-(u_xx + u_yy) = f, modes {', '.join(map(str, whole))}",
    )
