"""Unknown coefficients that the residual is affine in, at their least-squares optimum: variable projection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from scipy.optimize import lsq_linear
from torch import Tensor

from solvers.affine import Affine, as_affine
from solvers.problems.coefficient import Coefficient


class Elimination:
    r"""Coefficients s that minimise the loss of residuals R = a + sum_k b_k s_k, and the residuals there.

    $$ s^* = \arg\min_{low \le s \le high} \sum_i w_i (a_i + \sum_k b_{ik} s_k)^2 $$

    The gradient of the minimum in everything else is the partial one at s^*, by the envelope theorem: also where s^*
    lies on a bound.

    Args:
        unknowns: the coefficients, by name.
        parts: residual of each term, affine or a tensor.
        weigh: (number of a term, rows of it) -> the rows times w_i^(1/2), as they stand in the scaled residual.

    Source: G. Golub, V. Pereyra, SIAM J. Numer. Anal. 10 (1973) 413-432.

    Cost: two inner products a term for one unknown.

    Example:
        >>> line = Affine(torch.tensor([[1.0], [2.0]]), {"s": torch.tensor([[-1.0], [-1.0]])})
        >>> found = Elimination({"s": Coefficient("s", 0.0)}, [line], lambda number, rows: rows)
        >>> found.values["s"].item(), found.residuals[0].flatten().tolist()
        (1.5, [-0.5, 0.5])
    """

    def __init__(
        self,
        unknowns: Mapping[str, Coefficient],
        parts: Sequence[Affine | Tensor],
        weigh: Callable[[int, Tensor], Tensor],
    ):
        self.unknowns, self.parts = unknowns, [as_affine(part) for part in parts]
        self.weigh = weigh
        self.values = self._optima()

    @torch.no_grad()
    def _optima(self) -> dict[str, Tensor]:
        names, like = list(self.unknowns), self.parts[0].constant
        if len(names) == 1:
            return {names[0]: self._optimum(names[0])}
        normal, right = like.new_zeros(len(names), len(names)), like.new_zeros(len(names))
        for number, part in enumerate(self.parts):
            if part.slopes:
                slopes = self._slopes(number)
                normal += slopes.T @ slopes
                right -= slopes.T @ self.weigh(number, part.constant).reshape(-1)
        return dict(zip(names, like.new_tensor(self._bounded(normal, right)).unbind(), strict=True))

    def _optimum(self, name: str) -> Tensor:
        """Return a single optimum, cut off at its bounds."""
        unknown, square, product = self.unknowns[name], 0.0, 0.0
        for number, part in enumerate(self.parts):
            if part.slopes:
                slope = self.weigh(number, part.slopes[name]).reshape(-1)
                square = square + slope.dot(slope)
                product = product - slope.dot(self.weigh(number, part.constant).reshape(-1))
        # A residual that does not know it, as that of u = 0, leaves it where it started.
        known = isinstance(square, Tensor) and square > 0
        best = product / square if known else self.parts[0].constant.new_tensor(unknown.start)
        return best.clamp(unknown.low, unknown.high)

    def _bounded(self, normal: Tensor, right: Tensor) -> np.ndarray:
        """Return several optima within their bounds, which do not lie where each alone would be cut off."""
        # The scaled slopes from the triangular factor of their Gram matrix: a few rows instead of all.
        values, vectors = np.linalg.eigh(normal.cpu().numpy())
        kept = values > values.max() * len(values) * np.finfo(np.float64).eps
        if not kept.all():
            names = ", ".join(self.unknowns)
            raise ValueError(
                f"expected residuals that tell the eliminated coefficients {names} apart, came slopes that are "
                f"multiples of each other: eliminate one of them, train the others"
            )
        root = (vectors * np.sqrt(values)).T
        target = (vectors / np.sqrt(values)).T @ right.cpu().numpy()
        bounds = [[c.low for c in self.unknowns.values()], [c.high for c in self.unknowns.values()]]
        return lsq_linear(root, target, bounds).x

    def _slopes(self, number: int) -> Tensor:
        """Return a term's slopes in the scaled residual, (rows, unknowns)."""
        part = self.parts[number]
        slopes = (part.slopes.get(name, torch.zeros_like(part.constant)) for name in self.unknowns)
        return torch.stack([self.weigh(number, slope).reshape(-1) for slope in slopes], dim=1)

    @cached_property
    def residuals(self) -> list[Tensor]:
        """Residual of each term at the optima, with the parts' graph."""
        with torch.enable_grad():
            return [
                sum((self.values[name] * slope for name, slope in part.slopes.items()), part.constant)
                for part in self.parts
            ]

    @torch.no_grad()
    def projected(self, rows: Tensor) -> Tensor:
        """Return rows of the scaled residual without what the coefficients take out: (I - Q Q^T) rows.

        With the Jacobian at fixed coefficients this is Kaufman's of the eliminated residual. A coefficient on its bound
        is fixed and takes out nothing.

        Args:
            rows: (rows, ...) of all terms.

        Returns:
            Of the same shape.
        """
        free = [c.low < float(self.values[name]) < c.high for name, c in self.unknowns.items()]
        if not any(free):
            return rows
        basis, _ = torch.linalg.qr(torch.cat([self._slopes(number) for number in range(len(self.parts))])[:, free])
        return rows - basis @ (basis.T @ rows)
