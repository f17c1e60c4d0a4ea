"""SSBFGS with its matrix as the formula has it, in numpy: what the waiting pairs of `InverseHessian` save."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from solvers.optimizers import SSBFGS
from solvers.optimizers.broyden import BroydenUpdate
from solvers.optimizers.self_scaled import SelfScaledState


class PlainInverseHessian:
    """H as a whole matrix, changed at every update by three outer products.

    Args:
        size: parameters.

    Example:
        >>> inverse = PlainInverseHessian(2)
        >>> s, y = torch.tensor([1.0, 0.0]).double(), torch.tensor([4.0, 2.0]).double()
        >>> inverse.update(BroydenUpdate(s, inverse.product(y), 4.0, 5.0, tau=1.0, phi=1.0))
        >>> inverse.matrix.round(12).tolist()
        [[0.5, -0.5], [-0.5, 1.0]]
    """

    def __init__(self, size: int):
        self._size = size
        self.reset()

    def reset(self) -> None:
        """Forget everything: H is the unit matrix again."""
        self.matrix, self.learnt = np.eye(self._size), False

    def product(self, vector: Tensor) -> Tensor:
        """Return H v.

        Args:
            vector: (parameters,) float64.

        Returns:
            (parameters,).
        """
        return torch.from_numpy(self.matrix @ vector.numpy())

    def update(self, update: BroydenUpdate) -> None:
        """Change H.

        Args:
            update: with p = H y of this very H.
        """
        s, p, stretched = update.s.numpy(), update.p.numpy(), update.h * update.curvature
        v = s / update.curvature - p / stretched
        H = self.matrix - np.outer(p, p) / stretched + update.phi * stretched * np.outer(v, v)
        self.matrix = H / update.tau + np.outer(s, s) / update.curvature
        self.learnt = True


@dataclass(frozen=True)
class PlainSSBFGS(SSBFGS):
    """`SSBFGS` beside a `PlainInverseHessian`: the same directions and searches, but for rounding.

    Raises:
        ValueError: an unknown option, or a value out of range.

    Cost: a product and some ten passes over n^2 numbers a step.

    Example:
        >>> PlainSSBFGS().init(torch.zeros(2)).inverse.matrix.tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """

    def init(self, vector: Tensor) -> SelfScaledState:
        """Return the state with the unit matrix.

        Args:
            vector: (parameters,) flat buffer; it is updated in place.

        Returns:
            The state.
        """
        nothing = torch.empty(0, dtype=torch.float64)
        return SelfScaledState(vector, PlainInverseHessian(vector.numel()), nothing, nothing)
