"""Networks of PINA, which may read their inputs by labels, as functions of plain tensors."""

from __future__ import annotations

import torch
from pina import LabelTensor
from torch import Tensor, nn

from solvers.attaching.untouched import untouched


class Labelled(nn.Module):
    """A network that reads its inputs by their labels, as a function of plain tensors.

    Args:
        network: of a PINA solver.
        labels: of the columns.

    Example:
        >>> class Product(nn.Module):
        ...     def forward(self, x):
        ...         return x.extract(["x"]) * x.extract(["y"])
        >>> Labelled(Product(), ["x", "y"])(torch.tensor([[2.0, 3.0]]))
        tensor([[6.]])
    """

    def __init__(self, network: nn.Module, labels: list[str]):
        super().__init__()
        self.network, self._labels = network, labels

    def forward(self, points: Tensor) -> Tensor:
        """Return the network's output.

        Args:
            points: (n, axes).

        Returns:
            (n, outputs).
        """
        return self.network(labelled(points, self._labels)).as_subclass(Tensor)


def labelled(values: Tensor, labels: list[str]) -> LabelTensor:
    """Return a tensor with PINA's labels, under `vmap` too, in the same graph.

    Args:
        values: (n, labels).
        labels: of the columns.

    Returns:
        The same entries.

    Example:
        >>> labelled(torch.ones(2, 1), ["x"]).labels
        ['x']
    """
    found = values.as_subclass(LabelTensor)
    found.labels = labels
    return found


def takes_plain(network: nn.Module, points: Tensor) -> bool:
    """Return whether a network reads plain tensors, not labels; nothing of it changes.

    Args:
        network: any.
        points: (n, axes).

    Returns:
        Whether it does.

    Example:
        >>> takes_plain(nn.Linear(1, 1), torch.ones(2, 1))
        True
    """
    with untouched(network, []), torch.no_grad():
        try:
            found = network(points[:2])
        except (AttributeError, KeyError, TypeError, ValueError, IndexError):
            return False
    return isinstance(found, Tensor)
