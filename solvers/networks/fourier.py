"""Fourier features: fixed random frequencies before the first layer, against the bias to low ones."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi

import torch
from torch import Tensor, nn

from solvers.networks.mlp import MLP


class FourierFeatures(nn.Module):
    """x -> [sin(2 pi B x), cos(2 pi B x)] with B normal * scale, drawn once and never trained (arXiv 2006.10739).

    Args:
        inputs: number of input coordinates.
        features: number M of frequencies; the output has 2 M columns.
        scale: standard deviation of the frequencies, in periods per unit length.
        seed: of the draw; the global generator is left alone.

    Raises:
        ValueError: inputs or features below 1, or scale not positive.

    Example:
        >>> features = FourierFeatures(2, 8, scale=2.0)
        >>> features(torch.zeros(1, 2)).sum().item()
        8.0
    """

    def __init__(self, inputs: int, features: int, scale: float = 1.0, seed: int = 0):
        super().__init__()
        if inputs < 1 or features < 1 or not scale > 0:
            raise ValueError(
                f"expected inputs >= 1, features >= 1 and scale > 0, came {inputs}, {features} and {scale}"
            )
        self.seed = seed
        generator = torch.Generator().manual_seed(seed)
        draw = torch.randn(features, inputs, generator=generator, dtype=torch.float64) * scale
        self.register_buffer("frequencies", draw.to(torch.get_default_dtype()))

    def forward(self, x: Tensor) -> Tensor:
        """Return the features.

        Args:
            x: (n, inputs).

        Returns:
            (n, 2 features): sines, then cosines.
        """
        phase = x @ (2 * pi * self.frequencies.T)
        return torch.cat([torch.sin(phase), torch.cos(phase)], dim=-1)


class FourierMLP(nn.Sequential):
    """An `MLP` of `FourierFeatures`, u = MLP([sin(2 pi B x), cos(2 pi B x)]) (arXiv 2012.10047).

    Args:
        inputs: number of input coordinates.
        features: number of frequencies.
        widths: widths of the hidden layers.
        outputs: number of components of u.
        activation: a module class without arguments.
        scale: standard deviation of the frequencies.
        seed: of the frequencies; weights come from the global generator.

    Raises:
        ValueError: a size that is no positive integer, no hidden layer, or scale not positive.

    Example:
        >>> sum(p.numel() for p in FourierMLP(2, 8, [32, 32]).parameters())
        1633
    """

    def __init__(
        self,
        inputs: int,
        features: int,
        widths: Sequence[int],
        outputs: int = 1,
        activation: type[nn.Module] = nn.Tanh,
        scale: float = 1.0,
        seed: int = 0,
    ):
        super().__init__(FourierFeatures(inputs, features, scale, seed), MLP(2 * features, widths, outputs, activation))
