"""Radau IIA collocation of any number of stages: implicit, of order 2 stages - 1, and stiffly accurate."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.polynomial import legendre
from scipy.linalg.lapack import zgbtrf, zgbtrs

from solvers.references.spectral_elements import SpectralElements

ITERATIONS = 60


@lru_cache(maxsize=8)
def radau(stages: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the nodes of Radau's right quadrature on [0, 1] and the matrix of the collocation method.

    Args:
        stages: at least 2.

    Returns:
        (stages,) nodes, the last 1, and (stages, stages) a with a[i, j] = integral of the j-th Lagrange polynomial from
        0 to node i.

    References:
        E. Hairer and G. Wanner, Solving Ordinary Differential Equations II, section IV.5.

    Example:
        >>> nodes, matrix = radau(2)
        >>> (12 * matrix).round(12).tolist()
        [[5.0, -1.0], [9.0, 3.0]]
    """
    # The nodes are the roots of P_s - P_(s-1), 1 among them.
    series = np.zeros(stages + 1)
    series[-2:] = -1, 1
    nodes = np.sort(legendre.legroots(series).real)
    nodes -= legendre.legval(nodes, series) / legendre.legval(nodes, legendre.legder(series))
    nodes[-1] = 1.0
    powers = legendre.legvander(nodes, stages - 1)
    integrals = np.stack([legendre.legval(nodes, legendre.legint(row, lbnd=-1)) for row in np.eye(stages)], axis=1)
    return (nodes + 1) / 2, np.linalg.solve(powers.T, integrals.T).T / 2


class RadauStepper:
    """Steps of v_t = D v_xx + f(v, t) on spectral elements, with slope 0 at both ends.

    The stages of a step are solved for by Newton's iteration with one Jacobian, which the eigenvectors of the method's
    matrix split into one banded complex system a pair of stages.

    Args:
        mesh: in space.
        diffusion: D.
        source: f(v, t) for v (..., nodes) and t that broadcasts with v[..., 0], such as (stages, 1).
        slope: df / dv of the same.
        stages: of the method; its order is 2 stages - 1, and stages + 1 between the ends of a step.
        tolerance: largest last change of a stage.
    """

    def __init__(
        self,
        mesh: SpectralElements,
        diffusion: float,
        source: Callable[[np.ndarray, np.ndarray], np.ndarray],
        slope: Callable[[np.ndarray, np.ndarray], np.ndarray],
        stages: int,
        tolerance: float = 1e-14,
    ):
        self.mesh, self.diffusion, self.source, self.slope = mesh, diffusion, source, slope
        self.nodes, matrix = radau(stages)
        self._inverse = np.linalg.inv(matrix)
        values, vectors = np.linalg.eig(self._inverse)
        # Eigenvalues come in pairs, and so do the solutions: one of each pair is enough.
        kept = values.imag >= 0
        twice = np.where(values[kept].imag > 0, 2.0, 1.0)
        self._values, self._forth = values[kept], np.linalg.inv(vectors)[kept]
        self._back = vectors[:, kept] * twice
        self.tolerance = tolerance

    def step(self, state: np.ndarray, start: float, length: float) -> np.ndarray:
        """Return v at the stages.

        Args:
            state: (nodes,) v at the start.
            start: time.
            length: of the step.

        Returns:
            (stages, nodes); the last row is v at start + length.

        Raises:
            ArithmeticError: Newton's iteration does not end: take shorter steps.
        """
        times = (start + length * self.nodes)[:, None]
        change = np.zeros((len(self.nodes), len(state)))
        factored = self._factored(state, start + length / 2, length)
        last = np.inf
        for _ in range(ITERATIONS):
            rates = self.mesh.mass * self.source(state + change, times)
            rates -= self.diffusion * self.mesh.stiffness(state + change)
            rest = rates - self._inverse @ change * (self.mesh.mass / length)
            update = self._solved(factored, rest)
            change += update
            size = np.abs(update).max()
            if size < self.tolerance or (size < 1e3 * self.tolerance and size > last / 2):
                return state + change
            last = size
        raise ArithmeticError(f"expected Newton's iteration to end, the last change is {size:.1e}: take shorter steps")

    def _factored(self, state: np.ndarray, time: float, length: float) -> list[tuple[np.ndarray, np.ndarray]]:
        mass, p = self.mesh.mass, self.mesh.degree
        slope = mass * self.slope(state, np.asarray(time))
        bands = (self.mesh.band(value / length * mass - slope, complex(self.diffusion)) for value in self._values)
        return [zgbtrf(band, p, p, overwrite_ab=True)[:2] for band in bands]

    def _solved(self, factored: list[tuple[np.ndarray, np.ndarray]], rest: np.ndarray) -> np.ndarray:
        p = self.mesh.degree
        parts = [
            zgbtrs(lu, p, p, row, pivots)[0] for (lu, pivots), row in zip(factored, self._forth @ rest, strict=True)
        ]
        return (self._back @ np.array(parts)).real
