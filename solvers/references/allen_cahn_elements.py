"""Allen-Cahn by spectral elements that resolve the kink's layer, in Radau steps that resolve its beginning."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.polynomial import legendre

from solvers.references.kink import rounded_kinks
from solvers.references.piecewise import PiecewiseLegendre
from solvers.references.radau import RadauStepper, radau
from solvers.references.recipe import Column
from solvers.references.spectral_elements import SpectralElements, lobatto

OUTER = (0.0, 0.06, 0.12, 0.2, 0.3, 0.4, 0.45, 0.48, 0.5, 0.52, 0.55, 0.6, 0.7, 0.8, 0.9)
"""Elements away from x = 1: finer at x = 1/2, where u changes its sign and a front forms, and at 0, where u0 = 0."""


def start(x: np.ndarray) -> np.ndarray:
    """Return u(x, 0) = x^2 cos(pi x).

    Args:
        x: places.

    Returns:
        Values, of the same shape.

    Example:
        >>> float(start(np.array(1.0)))
        -1.0
    """
    return x**2 * np.cos(np.pi * x)


@dataclass(frozen=True)
class ElementsResolution:
    """How finely the equation is solved.

    Args:
        degree: in space.
        stages: of a step in time.
        late: steps of equal length to t = 1.
        ratio: of the steps that end where the first of these does, each to the one before, down to `earliest`.
        earliest: no step is shorter by far; the remainder is of the order of (D t^3)^(1/2) away from a polynomial.
        thinnest: smallest element over sqrt(D).
        grading: of the elements towards x = 1.
        tolerance: coefficients up to this are not kept.

    Example:
        >>> [round(float(time), 6) for time in ElementsResolution(late=2, ratio=10, earliest=0.01).times]
        [0.0, 0.005, 0.05, 0.5, 1.0]
    """

    degree: int = 24
    stages: int = 16
    late: int = 8
    ratio: float = 4.0
    earliest: float = 1e-6
    thinnest: float = 0.05
    grading: float = 3.0
    tolerance: float = 1e-13

    @property
    def times(self) -> np.ndarray:
        """Ends of the steps, from 0 to 1."""
        count = max(math.ceil(math.log(1 / (self.late * self.earliest), self.ratio)), 0)
        early = self.ratio ** -np.arange(count, 0, -1.0) / self.late
        return np.concatenate([[0.0], early, np.arange(1, self.late + 1) / self.late])

    def edges(self, diffusion: float) -> np.ndarray:
        """Return the ends of the elements on [0, 1].

        Args:
            diffusion: D.

        Returns:
            Rising, from 0 to 1.

        Example:
            >>> ElementsResolution(thinnest=2.0, grading=5.0).edges(1e-4)[-3:].tolist()
            [0.9, 0.98, 1.0]
        """
        thinnest = self.thinnest * math.sqrt(diffusion)
        count = max(math.ceil(math.log(0.1 / thinnest, self.grading)), 0)
        return np.concatenate([OUTER, 1 - 0.1 * self.grading ** -np.arange(1.0, count + 1), [1.0]])


def solve(diffusion: float, reaction: float, resolution: ElementsResolution) -> dict[str, Column]:
    r"""Return v with u = u0 + 2 K + v, u_t = D u_xx + r (u - u^3), on x in [0, 1] and t in [0, 1].

    u0 is even and has the slope -2 at x = 1, where the slope of an even 2-periodic function is 0: K (`rounded_kinks`)
    is what the heat equation makes of this kink. The rest has no slope at x = 0 and 1 and starts from 0,

    $$ v_t = D v_{xx} + r (u - u^3) + D u_0'', \qquad u = u_0 + 2 K + v, $$

    and its own layer at x = 1 is of the order of r t (D t)^(1/2): what little of it the mesh does not resolve at the
    smallest times does not count.

    Args:
        diffusion: D.
        reaction: r.
        resolution: of the mesh and the steps.

    Returns:
        The arrays of a `PiecewiseLegendre`.
    """
    edges, times = resolution.edges(diffusion), resolution.times
    mesh = SpectralElements(edges, resolution.degree)
    x = mesh.nodes
    initial = start(x)
    bending = diffusion * ((2 - (np.pi * x) ** 2) * np.cos(np.pi * x) - 4 * np.pi * x * np.sin(np.pi * x))

    def whole(v: np.ndarray, t: np.ndarray) -> np.ndarray:
        return initial + 2 * rounded_kinks(x, t, diffusion) + v

    def source(v: np.ndarray, t: np.ndarray) -> np.ndarray:
        u = whole(v, t)
        return reaction * u * (1 - u**2) + bending

    def slope(v: np.ndarray, t: np.ndarray) -> np.ndarray:
        return reaction * (1 - 3 * whole(v, t) ** 2)

    stepper = RadauStepper(mesh, diffusion, source, slope, resolution.stages)
    in_x, in_t = (
        _to_series(lobatto(resolution.degree)[0]),
        _to_series(2 * np.append(0, radau(resolution.stages)[0]) - 1),
    )
    state, blocks = np.zeros(len(x)), []
    for begin, end in pairwise(times):
        stages = np.vstack([state, stepper.step(state, begin, end - begin)])
        blocks.append(np.einsum("it,tej,kj->eik", in_t, stages[:, mesh.rows], in_x, optimize=True))
        state = stages[-1]
    return PiecewiseLegendre.columns(times, edges, blocks, resolution.tolerance)


def _to_series(nodes: np.ndarray) -> np.ndarray:
    """Return the matrix from values at nodes in [-1, 1] to Legendre coefficients."""
    return np.linalg.inv(legendre.legvander(nodes, len(nodes) - 1))
