"""Boundary conditions that hold by construction: a network times a distance to where they are given."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


class HardBoundary(nn.Module):
    """The ansatz u(x) = g(x) + D(x) N(x), with D zero where u = g is given (arXiv 2104.08426).

    Args:
        network: N, a module; (n, axes) -> (n, components).
        distance: D, a smooth function in torch, (n, axes) -> (n, 1); zero on the boundary and nowhere else.
        lift: g, likewise, (n, axes) -> (n, 1) or (n, components); zero by default.

    Example:
        >>> import torch
        >>> network = HardBoundary(nn.Linear(1, 1), lambda x: x * (1 - x), lambda x: 2 * x + 3)
        >>> network(torch.tensor([[0.0], [1.0]])).flatten().tolist()
        [3.0, 5.0]
    """

    def __init__(
        self,
        network: nn.Module,
        distance: Callable[[Tensor], Tensor],
        lift: Callable[[Tensor], Tensor] | None = None,
    ):
        super().__init__()
        self.network, self.distance, self.lift = network, distance, lift

    def forward(self, x: Tensor) -> Tensor:
        """Return u at x.

        Args:
            x: (n, axes).

        Returns:
            (n, components).
        """
        u = self.distance(x) * self.network(x)
        return u if self.lift is None else self.lift(x) + u
