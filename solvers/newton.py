"""Newton's method on sparse systems, with one factorisation for as long as it serves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy.sparse
from scipy.sparse.linalg import splu

ITERATIONS = 30
"""Steps before giving up: with a fresh matrix 3 to 6 are enough on the problems here."""

CONVERGED = 1e-12
"""Relative size of the last step."""

ROUNDED = 1e-9
"""Relative size of a step below which it may be round-off alone."""

STALE = 1e-3
"""Residual over that of the step before, above which the matrix is made and factored anew."""

SINGULAR = 1e12
"""Growth of a random right side, rows scaled to 1, above which a matrix determines nothing.

A Laplacian lets it grow by some h^-2, a bilaplacian by some h^-4, a null vector by 1 over the weights' round-off.
"""


class System(Protocol):
    """As many equations as unknowns."""

    def residual(self, values: np.ndarray) -> np.ndarray:
        """Return what is left.

        Args:
            values: (unknowns,).

        Returns:
            (equations,).
        """
        ...

    def matrix(self, values: np.ndarray) -> scipy.sparse.csr_array:
        """Return the derivatives of the residual.

        Args:
            values: (unknowns,).

        Returns:
            (equations, unknowns).
        """
        ...


@dataclass(frozen=True, eq=False)
class Root:
    """Where a residual vanishes.

    Args:
        values: (unknowns,).
        residual: the largest left, over the largest at the start.
        iterations: steps made.
    """

    values: np.ndarray
    residual: float
    iterations: int


class SparseNewton:
    """Newton's method that keeps its factorisation, also for the next system, while the residual falls fast with it.

    Args:
        name: of the problem, for messages.

    Example:
        >>> from types import SimpleNamespace
        >>> system = SimpleNamespace(
        ...     residual=lambda v: v**2 - [4.0, 9.0], matrix=lambda v: scipy.sparse.diags_array(2 * v, format="csr")
        ... )
        >>> SparseNewton("squares").solve(system, np.ones(2)).values.round(9).tolist()
        [2.0, 3.0]
    """

    def __init__(self, name: str):
        self.name = name
        self.factorisations = 0
        self._lu = None

    def solve(self, system: System, start: np.ndarray) -> Root:
        """Find the root next to a start.

        Args:
            system: equations.
            start: (unknowns,).

        Returns:
            The root.

        Raises:
            ValueError: equations and unknowns that differ in number, a singular matrix, values that are not finite, or
                no convergence in 30 steps.
        """
        values, first, size, moved, reach = start, 0.0, np.inf, np.inf, 0.0
        for iteration in range(1, ITERATIONS + 1):
            residual = system.residual(values)
            if not np.isfinite(residual).all():
                raise ValueError(
                    f"{self.name}: Newton's method left the finite numbers after {iteration - 1} steps: take a better "
                    f"scaled problem, or more nodes"
                )
            before, size = size, float(abs(residual).max(initial=0.0))
            first = size if iteration == 1 else first
            stale = iteration > 1 and size > STALE * before and moved > ROUNDED * reach
            if self._lu is None or stale:
                self._factorise(system.matrix(values))
            change = self._lu.solve(self._scale * residual)
            values = values - change
            last, moved = moved, float(abs(change).max(initial=0.0))
            reach = max(float(abs(values).max(initial=0.0)), np.finfo(float).tiny)
            # Below ROUNDED, a step that is no longer much smaller than the last is round-off of the residual.
            if moved <= CONVERGED * reach or last / 2 < moved <= ROUNDED * reach:
                return Root(values, size / first if first else 0.0, iteration)
        raise ValueError(
            f"{self.name}: Newton's method has not converged after {ITERATIONS} steps, the last changed u by "
            f"{moved:.1g}: the discretised equation may have no solution on so few nodes, take more"
        )

    def _factorise(self, matrix: scipy.sparse.csr_array) -> None:
        equations, unknowns = matrix.shape
        if equations != unknowns:
            raise ValueError(
                f"{self.name}: expected as many equations as unknowns, came {equations} equations and {unknowns} "
                f"unknowns: give one layer of ghost nodes for each boundary condition, or none where there is one "
                f"Dirichlet condition"
            )
        self._scale = 1 / np.maximum(abs(matrix).max(axis=1).toarray().ravel(), np.finfo(float).tiny)
        try:
            self._lu = splu(scipy.sparse.csc_array(scipy.sparse.diags_array(self._scale) @ matrix))
            right = np.random.default_rng(0).standard_normal(unknowns)
            growth = float(abs(self._lu.solve(right)).max(initial=0.0))
        except RuntimeError:
            growth = np.inf
        if not growth < SINGULAR:
            self._lu = None
            raise ValueError(
                f"{self.name}: the discretisation is singular, its equations do not determine u: give a condition on u "
                f"itself where there are slopes alone, or use a lower order or more nodes"
            )
        self.factorisations += 1
