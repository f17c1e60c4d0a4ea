"""The heat equation in one dimension, space and time as one box: a parabolic problem for least squares."""

from __future__ import annotations

import math

from solvers.domain import Box
from solvers.functions import exp, sin
from solvers.problems.closed_form import CLOSED_FORM, phase_floor
from solvers.problems.conditions import dirichlet, initial_value
from solvers.problems.equation_text import in_pi, times
from solvers.problems.number import real_number
from solvers.problems.poisson import integer_modes
from solvers.problems.problem import Problem


def heat(diffusivity: float = 0.1, mode: int = 1) -> Problem:
    """Return u_t = nu u_xx on (-1, 1) x (0, 1), u(x, 0) = sin(k pi x), u(+-1, t) = 0.

    u = e^(-k^2 pi^2 nu t) sin(k pi x).

    Variants of the name: DeepXDE's "heat" has nu = 0.4 and x in (0, 1), half a wave; its "diffusion" has this domain,
    nu = 1 and a source that keeps u = e^-t sin(pi x). PINNacle's are in two dimensions.

    Args:
        diffusivity: nu.
        mode: k, a positive integer.

    Returns:
        The problem.

    Raises:
        ValueError: mode is not a positive integer up to 25, diffusivity is not positive, or k^2 pi^2 nu is above 30,
            where u ends below the round-off of what it began with.

    Example:
        >>> import torch
        >>> round(heat(0.1).solution(torch.tensor([[0.5, 1.0]])).item(), 6)
        0.372708
    """
    k = math.pi * integer_modes((mode,), 1)[0]
    diffusivity = real_number("diffusivity", diffusivity)
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
        solution_floor=phase_floor(max(k, k**2 * diffusivity)),
        floor_origin=CLOSED_FORM,
        test_shape=(101, 51),
        settings={"diffusivity": diffusivity, "mode": mode},
        equation=f"u_t = {times(diffusivity, 'u_xx')}, u0 = sin({in_pi(mode)} x)",
    )
