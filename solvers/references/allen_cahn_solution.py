"""The solution of Allen-Cahn's equation anywhere in its domain, from the arrays of its reference."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from solvers.references.allen_cahn_elements import ElementsResolution, solve, start
from solvers.references.kink import rounded_kinks
from solvers.references.piecewise import PiecewiseLegendre


class AllenCahnSolution:
    """u = u0 + 2 K + v: the initial values, the heat flow of their kinks in closed form, and the piecewise rest.

    Args:
        arrays: as `solve` gives them, without dimensions and attributes.
        diffusion: D.

    Example:
        >>> u = AllenCahnSolution.solved(1e-2, 5.0, ElementsResolution(degree=10, stages=5))
        >>> u(np.array([1.0, 0.5, -0.5]), np.array([0.0, 1.0, 1.0])).round(5).tolist()
        [-1.0, -0.61511, -0.61511]
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], diffusion: float):
        self.diffusion = diffusion
        self._rest = PiecewiseLegendre(arrays)

    @classmethod
    def solved(cls, diffusion: float, reaction: float, resolution: ElementsResolution) -> AllenCahnSolution:
        """Solve the equation now, and keep nothing.

        Args:
            diffusion: D.
            reaction: r.
            resolution: of the mesh and the steps.

        Returns:
            The solution.
        """
        columns = solve(diffusion, reaction, resolution)
        return cls({name: values for name, (_, values, _) in columns.items()}, diffusion)

    def __call__(self, x: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Return u.

        Args:
            x: places, 1-D; u goes on with the period 2.
            t: times in [0, 1], of the same shape; u goes on a little, so that differences may reach out.

        Returns:
            u, of the same shape; at t = 0, and before, exactly x^2 cos(pi x).

        Cost: 2 microseconds a point, and 20 milliseconds for points all over the domain.
        """
        x, t = np.asarray(x, float), np.maximum(t, 0.0)
        x = np.abs(x - 2 * np.round(x / 2))
        rest = np.where(t > 0, self._rest(x, t), 0.0)
        return start(x) + 2 * rounded_kinks(x, t, self.diffusion) + rest
