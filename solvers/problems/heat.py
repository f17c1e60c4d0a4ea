"""The heat equation in one dimension, space and time as one box: a parabolic problem for least squares."""

from __future__ import annotations

import math

from solvers.domain import Box
from solvers.functions import exp, sin
from solvers.problems.conditions import dirichlet, initial_value
from solvers.problems.poisson import EXACT_FLOOR, integer_modes
from solvers.problems.problem import Problem


def heat(diffusivity: float = 0.1, mode: int = 1) -> Problem:
    """Return u_t = nu u_xx on (-1, 1) x (0, 1), u(x, 0) = sin(k pi x), u(+-1, t) = 0.

    u = e^(-k^2 pi^2 nu t) sin(k pi x).

    Args:
        diffusivity: nu.
        mode: k, a positive integer.

    Returns:
        The problem.

    Raises:
        ValueError: mode is not a positive integer, diffusivity is not positive, or k^2 pi^2 nu is above 30, where u
            ends below the round-off of what it began with.

    Example:
        >>> import torch
        >>> round(heat(0.1).solution(torch.tensor([[0.5, 1.0]])).item(), 6)
        0.372708
    """
    k = math.pi * integer_modes((mode,), 1)[0]
    if not 0 < k**2 * diffusivity <= 30:
        raise ValueError(
            f"expected diffusivity > 0 with k^2 pi^2 nu <= 30, so that the solution lasts until t = 1, came "
            f"{diffusivity} with mode {mode}"
        )

    def residual(jet, x, coefficients):
        return jet["t"] - diffusivity * jet["xx"]

    def solution(x):
        return exp(-(k**2) * diffusivity * x[:, 1:2]) * sin(k * x[:, 0:1])

    return Problem(
        "heat",
        Box(("x", "t"), (-1.0, 0.0), (1.0, 1.0)),
        ("xx", "t"),
        residual,
        (dirichlet(), initial_value(lambda x: sin(k * x[:, 0:1]))),
        solution=solution,
        solution_floor=EXACT_FLOOR,
        test_shape=(101, 51),
        settings={"diffusivity": diffusivity, "mode": mode},
    )
