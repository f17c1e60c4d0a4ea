"""Viscous Burgers' equation from a sine, solved exactly by the transform of Cole and Hopf."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import numpy as np

from solvers.references.recipe import Recipe, Refinement

HALF_WIDTH = 16.0
NODES = 801
FLOOR = 1e-14


def cole_hopf(x: np.ndarray, t: np.ndarray, viscosity: float, nodes: int = NODES) -> np.ndarray:
    """Return the exact solution of u_t + u u_x = nu u_xx, u(x, 0) = -sin(pi x).

    u = - int sin(pi y) f e^{-z^2} dz / int f e^{-z^2} dz with y = x - sqrt(4 nu t) z and
    f = exp(-cos(pi y) / (2 pi nu)). The integrands decay like a Gaussian and are analytic, so the trapezoid rule on
    [-16, 16] converges faster than any power of the spacing; exponents are shifted by their maximum, so nothing
    overflows at small nu. In x, t of extended precision everything is computed in that.

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
    shape, x, t = np.shape(x), np.ravel(x), np.ravel(t)
    precision = np.result_type(x, t, np.float64).type
    pi, viscosity = 4 * np.arctan(precision(1)), precision(viscosity)
    z = np.linspace(precision(-HALF_WIDTH), precision(HALF_WIDTH), nodes, dtype=precision)
    solution = np.empty(len(x), precision)
    block = max(1, 2_000_000 // nodes)
    for start in range(0, len(x), block):
        rows = slice(start, start + block)
        y = x[rows, None] - np.sqrt(4 * viscosity * t[rows, None]) * z
        exponent = -np.cos(pi * y) / (2 * pi * viscosity) - z**2
        weight = np.exp(exponent - exponent.max(axis=1, keepdims=True))
        solution[rows] = -(np.sin(pi * y) * weight).sum(axis=1) / weight.sum(axis=1)
    return solution.reshape(shape)


def burgers_recipe(viscosity: float = 0.01 / math.pi) -> Recipe:
    """Return how the solution of u_t + u u_x = nu u_xx, u(x, 0) = -sin(pi x), is found and how good it is.

    It is a formula, `cole_hopf`: nothing is kept, everything can be verified. In relative L2 on the test grid it
    is 8e-16 from extended precision at nu = 0.001, 3e-16 at 0.01 / pi, 3e-15 at 10.

    Args:
        viscosity: nu.

    Returns:
        The recipe; it has no arrays.

    Example:
        >>> burgers_recipe().compute()
        {}
    """
    return Recipe(
        "burgers",
        {"viscosity": float(viscosity)},
        dict,
        f"Cole-Hopf, trapezoid rule of {NODES} nodes",
        FLOOR,
        "Cole-Hopf in extended precision, twice the nodes, and 25-digit quadrature",
        lambda: _refine(viscosity),
    )


def _refine(viscosity: float) -> Iterator[Refinement]:
    """Yield fewer nodes, and extended precision where long double has it; on 201 x 6 points, the shock among them."""
    x, t = (axis.ravel() for axis in np.meshgrid(np.linspace(-1, 1, 201), np.linspace(0, 1, 6), indexing="ij"))
    exact = cole_hopf(x, t, viscosity)

    def row(resolution: str, nodes: int, precision: type[np.floating]) -> Refinement:
        begun = time.process_time()
        found = cole_hopf(x.astype(precision), t.astype(precision), viscosity, nodes)
        distance = float(np.linalg.norm(found - exact) / np.linalg.norm(exact))
        return Refinement(resolution, distance, f"{NODES} nodes", time.process_time() - begun)

    for nodes in (51, 101, 201, 401, 2 * NODES - 1):
        yield row(f"{nodes} nodes", nodes, np.float64)
    if np.finfo(np.longdouble).eps < 1e-18:
        yield row(f"{2 * NODES - 1} nodes, extended precision", 2 * NODES - 1, np.longdouble)
