"""Spectral elements on an interval: polynomials of high degree on elements of any size, continuous where they meet."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.polynomial import legendre


@lru_cache(maxsize=8)
def lobatto(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights of Gauss-Lobatto-Legendre quadrature.

    Args:
        degree: of the polynomials through the nodes, at least 1; the quadrature is exact to 2 degree - 1.

    Returns:
        (degree + 1,) nodes in [-1, 1], rising, and weights.

    Example:
        >>> nodes, weights = lobatto(4)
        >>> round(float(weights @ nodes**6), 12) == round(2 / 7, 12)
        True
    """
    last = np.eye(degree + 1)[degree]
    slope = legendre.legder(last)
    inner = legendre.legroots(slope)
    # One Newton step: the roots of the companion matrix are good to some 1e-14.
    inner = inner - legendre.legval(inner, slope) / legendre.legval(inner, legendre.legder(slope))
    nodes = np.concatenate([[-1.0], (inner - inner[::-1]) / 2, [1.0]])
    return nodes, 2 / (degree * (degree + 1) * legendre.legval(nodes, last) ** 2)


def differentiation(nodes: np.ndarray) -> np.ndarray:
    """Return the matrix that takes values of a polynomial at nodes to its slopes there.

    Args:
        nodes: (n,) distinct.

    Returns:
        (n, n), whose rows sum to 0 but for rounding.

    Example:
        >>> nodes = np.array([0.0, 1.0, 3.0])
        >>> (differentiation(nodes) @ nodes**2).round(12).tolist()
        [0.0, 2.0, 6.0]
    """
    away = nodes[:, None] - nodes
    np.fill_diagonal(away, 1.0)
    weights = 1 / away.prod(axis=1)
    matrix = weights / (weights[:, None] * away)
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, -matrix.sum(axis=1))
    return matrix


class SpectralElements:
    """Continuous piecewise polynomials, integrated by the Lobatto rule at their own nodes: the mass is diagonal.

    A function is the vector of its values at `nodes`; neighbours share the node between them. No condition at the ends
    means a slope of 0 there (the natural one).

    Args:
        edges: (elements + 1,) rising.
        degree: of the polynomials.

    Example:
        >>> mesh = SpectralElements(np.array([0.0, 0.1, 1.0]), 6)
        >>> round(float(mesh.nodes @ mesh.stiffness(mesh.nodes)), 12)
        1.0
    """

    def __init__(self, edges: np.ndarray, degree: int):
        self.edges, self.degree = np.asarray(edges, float), degree
        points, weights = lobatto(degree)
        self._halves = np.diff(self.edges) / 2
        self.rows = degree * np.arange(len(self._halves))[:, None] + np.arange(degree + 1)
        """(elements, degree + 1): which nodes are an element's."""
        self.nodes = np.empty(self.rows[-1, -1] + 1)
        self.nodes[self.rows] = self.edges[:-1, None] + self._halves[:, None] * (1 + points)
        self.nodes[self.rows[:, -1]] = self.edges[1:]
        self.mass = self._assembled(self._halves[:, None] * weights)
        self._slopes, self._weights = differentiation(points), weights
        self._element = self._slopes.T @ (weights[:, None] * self._slopes)

    def stiffness(self, values: np.ndarray) -> np.ndarray:
        """Return the integrals of u_x times the slope of each basis function.

        Args:
            values: (..., nodes).

        Returns:
            (..., nodes).
        """
        local = values[..., self.rows]
        # Constants have no slope; without them rounding is relative to how much u changes in the element.
        forces = (local - local[..., :1]) @ self._element / self._halves[:, None]
        return self._assembled(forces)

    def band(self, diagonal: np.ndarray, factor: complex) -> np.ndarray:
        """Return diagonal + factor * stiffness as LAPACK's `gbtrf` wants it: degree bands on both sides, as many free.

        Args:
            diagonal: (nodes,) real or complex.
            factor: of the stiffness.

        Returns:
            (3 degree + 1, nodes).
        """
        p = self.degree
        band = np.zeros((3 * p + 1, len(self.nodes)), np.result_type(diagonal, factor))
        i, j = np.meshgrid(np.arange(p + 1), np.arange(p + 1), indexing="ij")
        for rows, half in zip(self.rows, self._halves, strict=True):
            np.add.at(band, (2 * p + i - j, rows[j]), factor / half * self._element)
        band[2 * p] += diagonal
        return band

    def _assembled(self, local: np.ndarray) -> np.ndarray:
        """Return the sum over elements of what each gives to its nodes."""
        whole = np.zeros((*local.shape[:-2], len(self.nodes)))
        inner = self.rows[:, :-1].ravel()
        whole[..., inner] = local[..., :-1].reshape(*local.shape[:-2], -1)
        whole[..., self.rows[:, -1]] += local[..., -1]
        return whole
