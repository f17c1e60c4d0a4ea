"""Two-layer network: one hidden layer, every weight trained."""

from __future__ import annotations

from torch import nn


class TwoLayer(nn.Sequential):
    """One hidden layer, u = sum_j a_j s(w_j . x + b_j), with w, b uniform in +-scale and a normal / sqrt(width).

    Args:
        inputs: number of input coordinates.
        width: number of hidden neurons.
        activation: a module class without arguments.
        scale: range of the inner weights and biases; larger means features of higher frequency.

    Raises:
        ValueError: width below 1 or scale not positive.

    Example:
        >>> import torch
        >>> TwoLayer(1, 50)(torch.zeros(3, 1)).shape
        torch.Size([3, 1])
    """

    def __init__(self, inputs: int, width: int, activation: type[nn.Module] = nn.Tanh, scale: float = 1.0):
        if width < 1 or scale <= 0:
            raise ValueError(f"expected width >= 1 and scale > 0, came {width} and {scale}")
        hidden, outer = nn.Linear(inputs, width), nn.Linear(width, 1, bias=False)
        nn.init.uniform_(hidden.weight, -scale, scale)
        nn.init.uniform_(hidden.bias, -scale, scale)
        nn.init.normal_(outer.weight, std=width**-0.5)
        super().__init__(hidden, activation(), outer)
