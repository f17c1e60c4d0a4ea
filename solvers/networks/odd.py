"""Odd functions by construction."""

from __future__ import annotations

from torch import Tensor, nn


class Odd(nn.Module):
    """Twice the odd part of a network, u(x) = f(x) - f(-x), odd in all axes together.

    Twice the price of f. `TangentProp` carries it through compiled code where it carries f; the bias of f's last layer
    cancels, its gradient is zero.

    Args:
        network: f, a module; (n, axes) -> (n, components).

    Raises:
        ValueError: no module.

    Example:
        >>> import torch
        >>> network = Odd(nn.Sequential(nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 1)))
        >>> u = network(torch.tensor([[-0.5], [0.0], [0.5]]))
        >>> u[1].item(), (u[0] + u[2]).item()
        (0.0, 0.0)
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        if not isinstance(network, nn.Module):
            raise ValueError(
                f"expected a module, came {type(network).__name__}: give an nn.Module, such as MLP(1, [20])"
            )
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Return u at x.

        Args:
            x: (n, axes).

        Returns:
            (n, components).
        """
        return self.network(x) - self.network(-x)
