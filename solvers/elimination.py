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

_NUMBERS = ("start", "low", "high")


class Elimination:
    r"""Coefficients s that minimise the loss of residuals R = a + sum_k b_k s_k, and the residuals there.

    $$ s^* = \arg\min_{low \le s \le high} \sum_i w_i (a_i + \sum_k b_{ik} s_k)^2 $$

    The gradient of the minimum in everything else is the partial one at s^*, by the envelope theorem: also where s^*
    lies on a bound.

    Args:
        unknowns: the coefficients, by name.
        parts: residual of each term, affine or a tensor.
        weigh: (number of a term, rows of it) -> the rows times w_i^(1/2), as they stand in the scaled residual.
        refuse: slopes that are multiples of each other; else their coefficients take the optimum next to their start,
            as they must where u is constant for a while or on its way to infinity.

    Raises:
        ValueError: such slopes.

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
        refuse: bool = True,
    ):
        self.unknowns, self.parts = unknowns, [as_affine(part) for part in parts]
        self.weigh, self.refuse = weigh, refuse
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
        found = self._several(*(each.double().cpu().numpy() for each in (normal, right)), torch.finfo(like.dtype).eps)
        return dict(zip(names, like.new_tensor(found).unbind(), strict=True))

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

    def _several(self, normal: np.ndarray, right: np.ndarray, eps: float) -> np.ndarray:
        """Return several optima; those that no residual feels, or that have no room, stay where they started."""
        start, low, high = (np.array([getattr(c, of) for c in self.unknowns.values()]) for of in _NUMBERS)
        if not (np.isfinite(normal).all() and np.isfinite(right).all()):
            return start
        sizes = np.sqrt(np.diagonal(normal))
        free = (sizes > 0) & (low < high)
        found = start.copy()
        if free.any():
            sizes, low, high = sizes[free], low[free], high[free]
            # Slopes of one size: units must not decide whether two of them can be told apart.
            scaled = normal[np.ix_(free, free)] / np.outer(sizes, sizes)
            bounds = (low - start[free]) * sizes, (high - start[free]) * sizes
            change, side = self._bounded(scaled, (right - normal @ start)[free] / sizes, bounds, eps)
            best = (start[free] + change / sizes).clip(low, high)
            found[free] = np.where(side < 0, low, np.where(side > 0, high, best))
        return found

    def _bounded(
        self, normal: np.ndarray, right: np.ndarray, bounds: tuple[np.ndarray, np.ndarray], eps: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return optima within bounds, not those that each alone would be cut off at, and which bound they lie on."""
        values, vectors = np.linalg.eigh(normal)
        kept = values > values[-1] * 10 * len(values) * eps
        if self.refuse and not kept.all():
            names = ", ".join(self.unknowns)
            raise ValueError(
                f"expected residuals that tell the eliminated coefficients {names} apart, came slopes that are "
                f"multiples of each other: eliminate one of them, train the others"
            )
        values, vectors = values[kept], vectors[:, kept]
        inside = vectors @ (vectors.T @ right / values)
        if (bounds[0] < inside).all() and (inside < bounds[1]).all():
            return inside, np.zeros(len(inside))
        # The slopes from the triangular factor of their Gram matrix: a few rows instead of all.
        root, target = (vectors * np.sqrt(values)).T, (vectors / np.sqrt(values)).T @ right
        result = lsq_linear(root, target, bounds, method="bvls")
        return result.x, result.active_mask

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
        is fixed and takes out nothing, and so does one that no residual feels.

        Args:
            rows: (rows, ...) of all terms.

        Returns:
            Of the same shape.
        """
        # As tensors: a bound is rounded as the value is.
        free = [bool((c.low < self.values[name]) & (self.values[name] < c.high)) for name, c in self.unknowns.items()]
        slopes = torch.cat([self._slopes(number) for number in range(len(self.parts))])[:, free]
        sizes = torch.linalg.vector_norm(slopes, dim=0)
        slopes = (slopes / sizes)[:, sizes > 0]
        if not slopes.numel() or not torch.isfinite(slopes).all():
            return rows
        # Not by QR, which makes up a direction for slopes that are multiples of each other.
        basis, values, _ = torch.linalg.svd(slopes, full_matrices=False)
        basis = basis[:, values**2 > values[0] ** 2 * 10 * len(values) * torch.finfo(slopes.dtype).eps]
        return rows - basis @ (basis.T @ rows)
