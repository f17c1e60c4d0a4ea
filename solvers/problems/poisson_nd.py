"""Poisson's equation in five and ten dimensions, where no grid is affordable."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import Tensor

from solvers.domain import Box
from solvers.functions import cos
from solvers.problems.closed_form import CLOSED_FORM, EXACT_FLOOR, phase_floor
from solvers.problems.conditions import dirichlet
from solvers.problems.problem import Problem

AXES = "abcdefghij"
"""Letters of the axes; "n" and "t" mean the normal and the time."""

ON_A_FACE = 100
"""Points on each of the faces, two an axis, unless told otherwise."""


def poisson_5d() -> Problem:
    """Return -laplacian u = pi^2 u* on (0, 1)^5 with u = u* on the boundary, u* the sum of cos(pi x_i).

    The axes are a, b, c, d, e. Errors are measured on scattered points, since a grid of 21 points an axis has 4e6.

    Variants of the name: this is that of the DSGNAR examples; PINNacle's "PoissonND" has a sum of sin(pi x_i / 2), a
    quarter wave instead of a half.

    Returns:
        The problem, whose points are 1,024 inside and 100 on each of the ten faces unless told otherwise.

    Example:
        >>> poisson_5d().domain_text, poisson_5d().test_shape
        ('a to e in [0, 1]', ())
    """

    def solution(x: Tensor):
        return _sum(cos(math.pi * column) for column in _columns(x, 5))

    def residual(jet, x, coefficients):
        return -jet["laplacian"] - math.pi**2 * solution(x)

    return _on_cube(
        5, residual, solution, phase_floor(math.pi), "-laplacian u = f, u = sum cos(pi x_i)", "sum cos(pi x_i)"
    )


def poisson_10d() -> Problem:
    """Return laplacian u = 0 on (0, 1)^10 with u = u* on the boundary, u* = x_1 x_2 + x_3 x_4 + ... + x_9 x_10.

    The axes are a to j. u* is a polynomial of degree 2 with integer coefficients, so that the difficulty is in the
    dimension alone; a network with products, or one that is separable, has it exactly.

    Variants of the name: this is that of W. E and B. Yu (the deep Ritz method, Commun. Math. Stat. 6 (2018) 1-12) and
    of the DSGNAR examples. Others have a constant source and a sum of squares.

    Returns:
        The problem, whose points are 1,024 inside and 100 on each of the twenty faces unless told otherwise.

    Example:
        >>> len(poisson_10d().axes), len(poisson_10d().sample(seed=1).boundary)
        (10, 2000)
    """

    def solution(x: Tensor):
        columns = _columns(x, 10)
        return _sum(first * second for first, second in zip(columns[::2], columns[1::2], strict=True))

    def residual(jet, x, coefficients):
        return -jet["laplacian"]

    return _on_cube(
        10, residual, solution, EXACT_FLOOR, "laplacian u = 0, u = a b + c d + ... + i j", "sum x_(2i-1) x_(2i)"
    )


def _columns(x: Tensor, count: int) -> list[Tensor]:
    return [x[:, i : i + 1] for i in range(count)]


def _sum(terms: Iterable[Tensor]) -> Tensor:
    first, *others = terms
    return sum(others, first)


def _on_cube(dimension: int, residual, solution, floor: float, equation: str, exact: str) -> Problem:
    return Problem(
        f"poisson-{dimension}d",
        Box(tuple(AXES[:dimension]), (0.0,) * dimension, (1.0,) * dimension),
        ("laplacian",),
        residual,
        (dirichlet(solution),),
        solution=solution,
        solution_floor=floor,
        floor_origin=CLOSED_FORM,
        settings={"solution": exact},
        sampling={"boundary": 2 * dimension * ON_A_FACE},
        equation=equation,
    )
