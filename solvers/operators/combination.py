"""From the rows of a series to partials, and back from the partials' cotangents to those of the rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class Combination:
    """The linear map partial_p = sum_r weights[p, r] row_r.

    Where every partial is a multiple of one row, rows are taken and scaled, which costs nothing beside a matrix
    product and keeps infinities where they are.

    Args:
        weights: (partials, rows) float64.
        like: a tensor of the points' dtype and device.

    Example:
        >>> rows = torch.tensor([[[1.0]], [[2.0]], [[3.0]]])
        >>> [p.item() for p in Combination(np.diag([1.0, 1.0, 2.0]), rows).partials(rows)]
        [1.0, 2.0, 6.0]
    """

    def __init__(self, weights: np.ndarray, like: Tensor):
        self.rows = weights.shape[1]
        self.matrix = self.selected = None
        if (np.count_nonzero(weights, axis=1) != 1).any():
            self.matrix = torch.from_numpy(weights).to(like)
            return
        self.factors = torch.from_numpy(weights.sum(axis=1)[:, None, None]).to(like)
        taken = np.abs(weights).argmax(axis=1)
        if taken.tolist() != list(range(self.rows)):
            self.selected = torch.from_numpy(taken).to(like.device)

    def partials(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Return the partials.

        Args:
            rows: (rows, n, components).

        Returns:
            (n, components) each.
        """
        return self.stacked(rows).unbind()

    def stacked(self, rows: Tensor) -> Tensor:
        """Return the partials in one tensor.

        Args:
            rows: (rows, n, components).

        Returns:
            (partials, n, components).
        """
        if self.matrix is not None:
            return torch.tensordot(self.matrix, rows, 1)
        return (rows if self.selected is None else rows[self.selected]) * self.factors

    def adjoint(self, cotangents: Sequence[Tensor] | Tensor) -> Tensor:
        """Return the cotangents of the rows.

        Args:
            cotangents: of the partials, (n, components) each, or stacked.

        Returns:
            (rows, n, components), contiguous.
        """
        stacked = cotangents if isinstance(cotangents, Tensor) else torch.stack(cotangents)
        if self.matrix is not None:
            return torch.tensordot(self.matrix.T, stacked, 1).contiguous()
        stacked = stacked * self.factors
        if self.selected is None:
            return stacked
        return stacked.new_zeros(self.rows, *stacked.shape[1:]).index_add_(0, self.selected, stacked)
