"""Activations that torch.nn has no module for, written as torch functions that Taylor series pass through."""

from __future__ import annotations

import torch
from torch import nn


class Gaussian(nn.Module):
    """The activation exp(-x^2), elementwise (arXiv 2111.15135).

    Example:
        >>> round(Gaussian()(torch.ones(1)).item(), 6)
        0.367879
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return exp(-x^2).

        Args:
            x: any shape.

        Returns:
            The same shape.
        """
        return torch.exp(-torch.square(x))


class Atan(nn.Module):
    """The activation arctan(x), elementwise.

    Example:
        >>> round(Atan()(torch.ones(1)).item(), 6)
        0.785398
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return arctan(x).

        Args:
            x: any shape.

        Returns:
            The same shape.
        """
        return torch.atan(x)
