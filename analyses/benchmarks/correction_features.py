"""Features of the second stage: fixed functions on a window of time, whose coefficients are free."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from solvers.functions import tanh
from solvers.networks import RandomFeatures


class InWindow(nn.Module):
    """(x, t) -> (x, tau), tau from -1 to 1 in a window of time.

    Args:
        low: where it begins.
        high: where it ends.

    Example:
        >>> InWindow(0.5, 1.0)(torch.tensor([[0.25, 1.0]])).tolist()
        [[0.25, 1.0]]
    """

    def __init__(self, low: float, high: float):
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: Tensor) -> Tensor:
        """Return the places in the window.

        Args:
            x: (n, 2).

        Returns:
            (n, 2).
        """
        return torch.cat([x[:, :1], self.time(x)], dim=-1)

    def time(self, x: Tensor) -> Tensor:
        """Return tau.

        Args:
            x: (n, 2).

        Returns:
            (n, 1).
        """
        return (x[:, 1:] - (self.low + self.high) / 2) * (2 / (self.high - self.low))


class OddLayered(nn.Module):
    """u(x, t) = sum_j c_j [s_j(x, t) - s_j(-x, t)], s_j random features of x, tanh(x / d) for some d, and t.

    A layer at x = 0 is a smooth function of tanh(x / d) where d is near its width; t is scaled to (-1, 1).

    Args:
        features: how many.
        widths: d.
        low: of the window in time.
        high: likewise.
        scale: of the random features.
        seed: of their draw.

    Example:
        >>> u = OddLayered(10, [0.1], 0.0, 1.0)
        >>> _ = nn.init.ones_(u.features.coefficient)
        >>> x = torch.tensor([[0.3, 0.5], [-0.3, 0.5]], dtype=torch.float64)
        >>> round(u(x).sum().item(), 12) + 0.0
        0.0
    """

    def __init__(
        self, features: int, widths: Sequence[float], low: float, high: float, scale: float = 2.0, seed: int = 0
    ):
        super().__init__()
        self.widths, self.window = tuple(widths), InWindow(low, high)
        self.features = RandomFeatures(2 + len(self.widths), features, scale=scale, seed=seed)

    def forward(self, x: Tensor) -> Tensor:
        """Return u.

        Args:
            x: (n, 2).

        Returns:
            (n, 1).
        """
        place, time = x[:, :1], self.window.time(x)
        odd = [place, *(tanh(place * (1 / width)) for width in self.widths)]
        mirrored = torch.cat([*(-part for part in odd), time], dim=-1)
        features = self.features.features
        return (features(torch.cat([*odd, time], dim=-1)) - features(mirrored)) @ self.features.coefficient
