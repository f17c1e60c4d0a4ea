"""The flow in a lid-driven cavity: its velocity and pressure anywhere, from a polynomial and two corners."""

from __future__ import annotations

import numpy as np

from solvers.references.cavity_basis import legendre_partial
from solvers.references.cavity_lid import LIDS, CornerFlow

BLOCK = 16384
"""Rows evaluated at a time: tables of Legendre polynomials of degree 96 are then 13 MB."""


class CavityFlow:
    """Stream function, velocity and pressure in the closed unit square, u = psi_y, v = -psi_x.

    At the two upper corners a uniform lid leaves the velocity undefined: here it is the lid's there. The pressure is
    zero at the centre, the convention of Botella and Peyret; at the corners of a uniform lid it is infinite.

    Args:
        reynolds: Re.
        lid: name of the lid, of `LIDS`.
        stream: (N + 1, N + 1) coefficients of P_m(2x - 1) P_n(2y - 1) in the stream function, less the corners' part.
        pressure: the same of the pressure.
    """

    def __init__(self, reynolds: float, lid: str, stream: np.ndarray, pressure: np.ndarray):
        self.coefficients = {"stream": stream, "pressure": pressure}
        self._corners = CornerFlow(reynolds, LIDS[lid])

    def stream(self, x: np.ndarray, y: np.ndarray, i: int = 0, j: int = 0) -> np.ndarray:
        """Return the stream function or a partial of it.

        Args:
            x: places in [0, 1], 1-D.
            y: places in [0, 1], of the same shape.
            i: order of the derivative in x.
            j: order of the derivative in y.

        Returns:
            Of the shape of x.
        """
        return self._polynomial("stream", x, y, i, j) + self._corners.partial(x, y, i, j)

    def pressure(self, x: np.ndarray, y: np.ndarray, i: int = 0, j: int = 0) -> np.ndarray:
        """Return the pressure or a first derivative of it.

        Args:
            x: places in [0, 1], 1-D.
            y: places in [0, 1], of the same shape.
            i: order of the derivative in x.
            j: order of the derivative in y; i + j <= 1.

        Returns:
            Of the shape of x.
        """
        return self._polynomial("pressure", x, y, i, j) + self._corners.pressure(x, y, i, j)

    def velocity(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return (u, v).

        Args:
            x: places in [0, 1], 1-D.
            y: places in [0, 1], of the same shape.

        Returns:
            (places, 2).
        """
        return np.stack([self.stream(x, y, 0, 1), -self.stream(x, y, 1, 0)], axis=1)

    def _polynomial(self, name: str, x: np.ndarray, y: np.ndarray, i: int, j: int) -> np.ndarray:
        coefficients = self.coefficients[name]
        out = np.empty(len(x))
        for start in range(0, len(x), BLOCK):
            rows = slice(start, start + BLOCK)
            tables = (legendre_partial(len(coefficients) - 1, *place) for place in ((x[rows], i), (y[rows], j)))
            out[rows] = np.einsum("ij,ij->i", next(tables) @ coefficients, next(tables))
        return out
