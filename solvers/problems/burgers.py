"""Viscous Burgers' equation from a sine, with its exact solution by the Cole-Hopf transform."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from solvers.domain import Box
from solvers.functions import sin
from solvers.problems.conditions import dirichlet, initial_value
from solvers.problems.problem import Problem

HALF_WIDTH = 16.0
NODES = 801


def cole_hopf(x: np.ndarray, t: np.ndarray, viscosity: float, nodes: int = NODES) -> np.ndarray:
    """Return the exact solution of u_t + u u_x = nu u_xx, u(x, 0) = -sin(pi x).

    u = - int sin(pi y) f e^{-z^2} dz / int f e^{-z^2} dz with y = x - sqrt(4 nu t) z and
    f = exp(-cos(pi y) / (2 pi nu)). The integrands decay like a Gaussian and are analytic, so the trapezoid rule on
    [-16, 16] converges faster than any power of the spacing; exponents are shifted by their maximum, so nothing
    overflows at small nu.

    Args:
        x: positions, any shape.
        t: times >= 0, of the same shape.
        viscosity: nu > 0.
        nodes: of the trapezoid rule.

    Returns:
        u, of the same shape; at t = 0 the initial condition itself.

    References:
        E. Hopf, Comm. Pure Appl. Math. 3 (1950); J. D. Cole, Quart. Appl. Math. 9 (1951); C. Basdevant et al.,
        Computers & Fluids 14 (1986).

    Example:
        >>> round(float(cole_hopf(np.array([-0.5]), np.array([1.0]), 0.01 / math.pi)[0]), 6)
        0.376181
    """
    z = np.linspace(-HALF_WIDTH, HALF_WIDTH, nodes)
    shape, x, t = np.shape(x), np.ravel(x), np.ravel(t)
    solution = np.empty(len(x))
    block = max(1, 2_000_000 // nodes)
    for start in range(0, len(x), block):
        rows = slice(start, start + block)
        y = x[rows, None] - np.sqrt(4 * viscosity * t[rows, None]) * z
        exponent = -np.cos(np.pi * y) / (2 * np.pi * viscosity) - z**2
        weight = np.exp(exponent - exponent.max(axis=1, keepdims=True))
        solution[rows] = -(np.sin(np.pi * y) * weight).sum(axis=1) / weight.sum(axis=1)
    return solution.reshape(shape)


def burgers(viscosity: float = 0.01 / math.pi) -> Problem:
    """Return u_t + u u_x = nu u_xx on (-1, 1) x (0, 1), u(x, 0) = -sin(pi x), u(+-1, t) = 0.

    The default nu = 0.01/pi is the variant of most PINN papers; nu = 0.01 and 0.001 go by the same name. Reference
    files made with 511 Fourier modes are wrong by 4e-5 in relative L2: the solution here is exact, by `cole_hopf`.

    Args:
        viscosity: nu.

    Returns:
        The problem.

    Raises:
        ValueError: viscosity outside [1e-3, 10], where the quadrature resolves the solution; the inviscid equation has
            a shock and no smooth solution.

    Example:
        >>> round(burgers().settings["viscosity"], 6)
        0.003183
    """
    if not 1e-3 <= viscosity <= 10:
        raise ValueError(
            f"expected viscosity in [1e-3, 10], where 801 quadrature nodes resolve the solution, came {viscosity}; "
            f"at 0 the equation has no smooth solution after t = 1/pi"
        )

    def residual(jet, x, coefficients):
        return jet["t"] + jet[""] * jet["x"] - viscosity * jet["xx"]

    def solution(x: Tensor) -> Tensor:
        values = cole_hopf(x[:, 0:1].double().numpy(), x[:, 1:2].double().numpy(), viscosity)
        return torch.from_numpy(values)

    return Problem(
        "burgers",
        Box(("x", "t"), (-1.0, 0.0), (1.0, 1.0)),
        ("", "x", "xx", "t"),
        residual,
        (dirichlet(), initial_value(lambda x: -sin(math.pi * x[:, 0:1]))),
        solution=solution,
        solution_floor=1e-14,
        test_shape=(201, 51),
        settings={"viscosity": viscosity},
    )
