"""The Robin condition whose data are those of a known solution, on a boundary of any shape."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from solvers.problems.problem import Condition

Factor = Callable[[Tensor], Tensor] | float


def exact_robin(
    solution: Callable[[Tensor], Tensor],
    gradient: Callable[[Tensor], Tensor],
    alpha: Factor = 1.0,
    beta: Factor = 1.0,
    *,
    name: str = "boundary",
    where: str = "boundary",
) -> Condition:
    """Return the condition alpha du/dn + beta u = g, n the outward normal, with the g of a solution.

    g = alpha n . grad u + beta u is taken with the normals of the points, so that any boundary will do.

    Args:
        solution: x (n, axes) -> (n, 1).
        gradient: x (n, axes) -> (n, d), in space.
        alpha: of the slope, a function of x or a number >= 0.
        beta: of the value, a function of x or a number > 0.
        name: of the loss term.
        where: the boundary or a part of it.

    Returns:
        The condition.

    Raises:
        ValueError: a number that is not finite or has the wrong sign: the solution would not be the only one.

    Example:
        >>> from solvers.problems.manufactured_wave import Wave
        >>> exact_robin(Wave(), Wave().gradient).partials
        ('', 'n')
    """
    for letter, factor, least in (("alpha", alpha, "alpha >= 0"), ("beta", beta, "beta > 0")):
        if callable(factor):
            continue
        number = isinstance(factor, int | float) and not isinstance(factor, bool) and 0 <= factor < math.inf
        if not number or (letter == "beta" and factor == 0):
            raise ValueError(
                f"expected {least} and finite in alpha du/dn + beta u = g, so that u is unique, came {factor!r}"
            )

    def residual(jet, x, normals, coefficients):
        slopes, first, second = gradient(x), _at(alpha, x), _at(beta, x)
        # In space-time the last column of the normals is that of time, 0.
        data = first * (normals[:, : slopes.shape[1]] * slopes).sum(dim=1, keepdim=True) + second * solution(x)
        return first * jet["n"] + second * jet[""] - data

    return Condition(name, where, ("", "n"), residual)


def _at(factor: Factor, x: Tensor) -> Tensor | float:
    return factor(x) if callable(factor) else factor
