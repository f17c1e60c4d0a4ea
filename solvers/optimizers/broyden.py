"""Broyden's family of updates of an inverse Hessian, self-scaled: the change of rank 2 in the span of s and H y."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class BroydenUpdate:
    r"""One update of H, so that afterwards H y = s.

    $$ H_+ = \frac{1}{\tau} \left( H - \frac{p p^T}{h \sigma} + \varphi h \sigma \, v v^T \right)
       + \frac{s s^T}{\sigma},
       \quad v = \frac{s}{\sigma} - \frac{p}{h \sigma}, \quad p = H y, \quad \sigma = s^T y, \quad h = y^T p / \sigma $$

    Args:
        s: (parameters,) float64, the step.
        p: (parameters,) float64, H y.
        curvature: s^T y, positive.
        h: y^T H y / s^T y, positive.
        tau: factor of the Hessian before it is updated, positive.
        phi: 1 for BFGS, 0 for DFP.

    Example:
        >>> s, y = torch.tensor([1.0, 0.0]).double(), torch.tensor([4.0, 2.0]).double()
        >>> update = BroydenUpdate(s, y, 4.0, 5.0, tau=1.0, phi=1.0)
        >>> update.applied(y, y).tolist()
        [1.0, 0.0]
    """

    s: Tensor
    p: Tensor
    curvature: float
    h: float
    tau: float
    phi: float

    @property
    def entries(self) -> tuple[float, float, float]:
        """Factors of p p^T, of p s^T + s p^T, and of s s^T in H_+ - H / tau."""
        first = (self.phi - 1) / (self.h * self.tau)
        last = 1 + self.phi * self.h / self.tau
        return first / self.curvature, -self.phi / (self.tau * self.curvature), last / self.curvature

    def applied(self, product: Tensor, vector: Tensor) -> Tensor:
        """Return the product of the updated H with a vector.

        Args:
            product: (parameters,) that of H with it.
            vector: (parameters,).

        Returns:
            (parameters,).
        """
        pp, ps, ss = self.entries
        along_p, along_s = float(self.p @ vector), float(self.s @ vector)
        found = torch.mul(product, 1 / self.tau)
        found.add_(self.p, alpha=pp * along_p + ps * along_s)
        return found.add_(self.s, alpha=ps * along_p + ss * along_s)

    def pairs(self) -> list[tuple[Tensor, Tensor]]:
        """Return vectors u, w with H_+ - H / tau the sum of u w^T + w u^T.

        Returns:
            One pair, where the change has no two eigenvalues of one sign, as for every phi in [0, 1]; else two.
        """
        a, b, c = self.entries
        square = b * b - a * c
        if square < 0:
            # a x^2 + 2 b x y + c y^2 as two squares, x for p and y for s.
            mixed = self.s + (b / c) * self.p
            return [(mixed, mixed * (c / 2)), (self.p, self.p * ((a - b * b / c) / 2))]
        # The same as (y + (a / r) x) (c y + r x): r^2 + a c = 2 b r, the root without cancellation.
        root = b + math.copysign(math.sqrt(square), b)
        return [(self.s + (a / root) * self.p, (c * self.s + root * self.p) / 2)]
