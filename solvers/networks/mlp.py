"""Multilayer perceptron: the network of most PINN papers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn


class MLP(nn.Sequential):
    """Fully connected network, u = W_L s(... s(W_1 x + b_1) ...) + b_L.

    Weights are Xavier-normal, biases uniform in +-1/sqrt(fan_in) (torch's default): the setting of arXiv 2403.18494.

    Args:
        inputs: number of input coordinates.
        widths: widths of the hidden layers.
        outputs: number of components of u.
        activation: a module class without arguments; smooth ones only make sense where derivatives are asked for.

    Raises:
        ValueError: a size that is no positive integer, or no hidden layer.

    Example:
        >>> sum(p.numel() for p in MLP(2, [32] * 4).parameters())
        3297
    """

    def __init__(self, inputs: int, widths: Sequence[int], outputs: int = 1, activation: type[nn.Module] = nn.Tanh):
        if not isinstance(widths, Sequence) or isinstance(widths, str) or not widths:
            raise ValueError(f"expected widths as a list of integers, one a hidden layer, came {widths!r}")
        sizes = [inputs, *widths, outputs]
        if not all(isinstance(size, int) and size >= 1 for size in sizes):
            raise ValueError(f"expected integer sizes >= 1, came {sizes}")
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(sizes):
            linear = nn.Linear(fan_in, fan_out)
            nn.init.xavier_normal_(linear.weight)
            layers += [linear, activation()]
        super().__init__(*layers[:-1])


class Sine(nn.Module):
    """The activation sin(x), elementwise.

    Example:
        >>> Sine()(torch.zeros(1)).item()
        0.0
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return sin(x).

        Args:
            x: any shape.

        Returns:
            The same shape.
        """
        return torch.sin(x)
