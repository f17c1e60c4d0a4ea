"""The problems that reference files are told to solve, and the coefficient that makes their variants."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from solvers.problems import allen_cahn, burgers, kdv
from solvers.problems.problem import Problem


@dataclass(frozen=True)
class Variant:
    """A problem with the coefficient that makes its variants.

    Args:
        build: coefficient -> problem.
        symbol: of the coefficient.
        default: of the coefficient.
        start: u(x, 0).
        square: whether the equation has the coefficient's square.
    """

    build: Callable[[float], Problem]
    symbol: str
    default: float
    start: Callable[[np.ndarray], np.ndarray]
    square: bool = False


VARIANTS = {
    "burgers": Variant(burgers, "nu", 0.01 / math.pi, lambda x: -np.sin(np.pi * x)),
    "allen-cahn": Variant(allen_cahn, "D", 1e-4, lambda x: x**2 * np.cos(np.pi * x)),
    "kdv": Variant(kdv, "mu", 0.022, lambda x: np.cos(np.pi * x), square=True),
}
