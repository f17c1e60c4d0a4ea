"""Random weight factorisation: every neuron's weights get a trainable scale of their own."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

Network = TypeVar("Network", bound=nn.Module)


class Factorisation(nn.Module):
    """The parametrisation W = diag(exp(s)) V of a weight matrix, s normal with a mean and a standard deviation.

    Args:
        mean: of s.
        std: of s.
        seed: of the draw.

    Example:
        >>> factorisation = Factorisation(1.0, 0.0, seed=0)
        >>> v, s = factorisation.right_inverse(torch.ones(2, 3))
        >>> factorisation(v, s).sum().item()
        6.0
    """

    def __init__(self, mean: float, std: float, seed: int):
        super().__init__()
        self.mean, self.std, self.seed = mean, std, seed

    def forward(self, v: Tensor, s: Tensor) -> Tensor:
        """Return the weights.

        Args:
            v: V, (outputs, inputs).
            s: (outputs, 1).

        Returns:
            diag(exp(s)) V.
        """
        return torch.exp(s) * v

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Draw s, and return the factors of a weight matrix.

        Args:
            weight: W, (outputs, inputs).

        Returns:
            V and s.
        """
        generator = torch.Generator().manual_seed(self.seed)
        s = self.mean + self.std * torch.randn(len(weight), 1, generator=generator, dtype=torch.float64)
        s = s.to(weight)
        return weight / torch.exp(s), s


def factorise(network: Network, mean: float = 1.0, std: float = 0.1, seed: int = 0) -> Network:
    """Factorise the weights of every linear layer, W = diag(exp(s)) V, and train s and V in place of W.

    The values of the network stay what they are, to round-off; gradient descent takes other ways from there
    (arXiv 2210.01274). The layers remain `nn.Linear`, whose `weight` is now computed.

    Args:
        network: changed in place.
        mean: of the normal distribution of s.
        std: its standard deviation.
        seed: of the draw; the global generator is left alone.

    Returns:
        The same network.

    Raises:
        ValueError: no linear layer, one that is parametrised already, or std negative.

    Example:
        >>> network = factorise(nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1)))
        >>> [name for name, _ in network[0].named_parameters()]
        ['bias', 'parametrizations.weight.original0', 'parametrizations.weight.original1']
    """
    linears = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not linears or any(parametrize.is_parametrized(linear, "weight") for linear in linears):
        raise ValueError(
            f"expected a network with linear layers and none parametrised, came {type(network).__name__} with "
            f"{len(linears)}: factorise it once, after it is built"
        )
    if std < 0:
        raise ValueError(f"expected std >= 0, came {std}")
    seeds = torch.randint(2**31, (len(linears),), generator=torch.Generator().manual_seed(seed)).tolist()
    for linear, own in zip(linears, seeds, strict=True):
        parametrize.register_parametrization(linear, "weight", Factorisation(mean, std, own))
    return network
