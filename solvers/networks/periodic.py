"""Periodic features: what a network of them puts out has the period of the problem, and needs no condition for it."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi

import torch
from torch import Tensor, nn

from solvers.functions import cos, sin
from solvers.networks.mlp import MLP


class PeriodicFeatures(nn.Module):
    """x -> [sin k w x_a, cos k w x_a for k = 1 to `harmonics`, the other axes], w = 2 pi / period.

    Args:
        inputs: number of input coordinates.
        harmonics: the highest k.
        axis: number a of the periodic one.
        period: its length.
        even: leave the sines out; a network of it is even in x_a.

    Raises:
        ValueError: no harmonic, an axis that is not there, or a period that is not positive.

    Source: S. Dong and N. Ni, J. Comput. Phys. 435 (2021) 110242.

    Example:
        >>> PeriodicFeatures(2, 1)(torch.tensor([[1.0, 0.25]])).round(decimals=6).tolist()
        [[-0.0, -1.0, 0.25]]
    """

    def __init__(self, inputs: int, harmonics: int, axis: int = 0, period: float = 2.0, even: bool = False):
        super().__init__()
        if harmonics < 1 or not 0 <= axis < inputs or not period > 0:
            raise ValueError(
                f"expected harmonics >= 1, an axis of {inputs} and period > 0, came {harmonics}, {axis} and {period}"
            )
        self.inputs, self.harmonics, self.axis, self.period = inputs, harmonics, axis, period
        self.waves = (cos,) if even else (sin, cos)

    @property
    def width(self) -> int:
        """Number of features."""
        return self.harmonics * len(self.waves) + self.inputs - 1

    def forward(self, x: Tensor) -> Tensor:
        """Return the features.

        Args:
            x: (n, inputs).

        Returns:
            (n, width).
        """
        a = self.axis
        phase = 2 * pi / self.period * x[:, a : a + 1]
        features = [wave(k * phase) for k in range(1, self.harmonics + 1) for wave in self.waves]
        return torch.cat([*features, x[:, :a], x[:, a + 1 :]], dim=-1)


class PeriodicMLP(nn.Sequential):
    """An `MLP` of `PeriodicFeatures`.

    Args:
        inputs: number of input coordinates.
        widths: widths of the hidden layers.
        outputs: number of components of u.
        activation: a module class without arguments.
        harmonics: the highest.
        axis: number of the periodic one.
        period: its length.
        even: leave the sines out.

    Raises:
        ValueError: a size that is no positive integer, no hidden layer, no harmonic, or a period that is not positive.

    Example:
        >>> network = PeriodicMLP(2, [8], harmonics=2)
        >>> torch.allclose(*network(torch.tensor([[-1.0, 0.3], [1.0, 0.3]])), rtol=0, atol=1e-6)
        True
    """

    def __init__(
        self,
        inputs: int,
        widths: Sequence[int],
        outputs: int = 1,
        activation: type[nn.Module] = nn.Tanh,
        harmonics: int = 3,
        axis: int = 0,
        period: float = 2.0,
        even: bool = False,
    ):
        features = PeriodicFeatures(inputs, harmonics, axis, period, even)
        super().__init__(features, MLP(features.width, widths, outputs, activation))
