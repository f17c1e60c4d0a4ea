"""Random features: a fixed random hidden layer whose outer coefficients are found by least squares."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

DISTRIBUTIONS = ("uniform", "normal")


class RandomFeatures(nn.Module):
    """u(x) = sum_j c_j s(w_j . x + b_j) with w_j, b_j drawn once and only c free.

    Uniform: w_j in +-R axis by axis, b_j in +-max R; normal: standard deviations R and max R. The ridges w . x + b = 0
    of "uniform" lie anywhere in the box; R is about the highest wave number that sine features can follow, per axis.

    Args:
        inputs: number of input coordinates.
        features: number M of features.
        activation: a module class without arguments.
        scale: R of the inner weights and biases, one number or one an axis.
        seed: of the draw; the global generator is left alone.
        distribution: "uniform" or "normal".

    Raises:
        ValueError: inputs or features that are no integer >= 1, an activation that is no module class, a scale that is
            not positive and finite or not one an axis, or an unknown distribution.

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
        scale: float | Sequence[float] = 1.0,
        seed: int = 0,
        distribution: str = "uniform",
    ):
        super().__init__()
        for name, count in (("inputs", inputs), ("features", features)):
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise ValueError(f"expected {name} as an integer >= 1, came {count!r}")
        if not (isinstance(activation, type) and issubclass(activation, nn.Module)):
            raise ValueError(f"expected activation as a module class such as torch.nn.Tanh, came {activation!r}")
        if distribution not in DISTRIBUTIONS:
            raise ValueError(f"unknown distribution {distribution!r}; expected one of {', '.join(DISTRIBUTIONS)}")
        scales = scale_per_axis(scale, inputs)
        self.seed = seed
        generator = torch.Generator().manual_seed(seed)
        if distribution == "uniform":
            draw = 2 * torch.rand(features, inputs + 1, generator=generator, dtype=torch.float64) - 1
        else:
            draw = torch.randn(features, inputs + 1, generator=generator, dtype=torch.float64)
        draw = draw * torch.tensor([*scales, max(scales)], dtype=torch.float64)
        self.register_buffer("weight", draw[:, :inputs].contiguous())
        self.register_buffer("bias", draw[:, inputs].contiguous())
        self.activation = activation()
        self.coefficient = nn.Parameter(torch.zeros(features, 1, dtype=torch.float64))

    def argument(self, x: Tensor) -> Tensor:
        """Return what the activation is taken of.

        Args:
            x: (n, inputs).

        Returns:
            (n, features): w_j . x + b_j.
        """
        return x @ self.weight.T + self.bias

    def features(self, x: Tensor) -> Tensor:
        """Return the features themselves.

        Args:
            x: (n, inputs).

        Returns:
            (n, features): s(w_j . x + b_j).
        """
        return self.activation(self.argument(x))

    def forward(self, x: Tensor) -> Tensor:
        """Return u at x.

        Args:
            x: (n, inputs).

        Returns:
            (n, 1).
        """
        return self.features(x) @ self.coefficient


def scale_per_axis(scale: float | Sequence[float], inputs: int) -> tuple[float, ...]:
    """Return one scale an axis.

    Args:
        scale: a number for all axes, or one an axis.
        inputs: number of axes.

    Returns:
        Positive finite numbers.

    Raises:
        ValueError: another number of scales, or one that is not positive and finite.

    Example:
        >>> scale_per_axis(2.0, 2), scale_per_axis([1.0, 3.0], 2)
        ((2.0, 2.0), (1.0, 3.0))
    """
    scales = (scale,) * inputs if isinstance(scale, int | float) else tuple(scale)
    if len(scales) != inputs or not all(isinstance(s, int | float) and 0 < s < math.inf for s in scales):
        raise ValueError(f"expected scale > 0 and finite, one number or one for each of {inputs} axes, came {scale!r}")
    return tuple(float(s) for s in scales)
