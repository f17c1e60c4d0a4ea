"""Random features: a fixed random hidden layer whose outer coefficients are found by least squares."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RandomFeatures(nn.Module):
    """u(x) = sum_j c_j s(w_j . x + b_j) with w_j, b_j drawn once, uniform in +-scale, and only c free.

    Args:
        inputs: number of input coordinates.
        features: number M of features.
        activation: a module class without arguments.
        scale: range R of the inner weights and biases.
        seed: of the draw; the global generator is left alone.

    Raises:
        ValueError: features below 1 or scale not positive.

    Example:
        >>> network = RandomFeatures(1, 100, seed=1)
        >>> network.features(torch.zeros(5, 1, dtype=torch.float64)).shape
        torch.Size([5, 100])
    """

    def __init__(
        self,
        inputs: int,
        features: int,
        activation: type[nn.Module] = nn.Tanh,
        scale: float = 1.0,
        seed: int = 0,
    ):
        super().__init__()
        if features < 1 or scale <= 0:
            raise ValueError(f"expected features >= 1 and scale > 0, came {features} and {scale}")
        self.seed = seed
        generator = torch.Generator().manual_seed(seed)
        draw = torch.rand(features, inputs + 1, generator=generator, dtype=torch.float64)
        draw = (2 * draw - 1) * scale
        self.register_buffer("weight", draw[:, :inputs].contiguous())
        self.register_buffer("bias", draw[:, inputs].contiguous())
        self.activation = activation()
        self.coefficient = nn.Parameter(torch.zeros(features, 1, dtype=torch.float64))

    def features(self, x: Tensor) -> Tensor:
        """Return the features themselves.

        Args:
            x: (n, inputs).

        Returns:
            (n, features): s(w_j . x + b_j).
        """
        return self.activation(x @ self.weight.T + self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return u at x.

        Args:
            x: (n, inputs).

        Returns:
            (n, 1).
        """
        return self.features(x) @ self.coefficient
