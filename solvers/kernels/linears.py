"""Weights and biases as compiled code finds them: tables of addresses, and their places in a flat buffer."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, pairwise

from torch import Tensor


class Linears:
    """Weights and biases of a chain of linear layers, as tables of their addresses.

    Args:
        weights: (outputs, inputs) each, contiguous.
        biases: (outputs,) each, contiguous.
    """

    def __init__(self, weights: Sequence[Tensor], biases: Sequence[Tensor]):
        self.weights, self.biases = weights, biases
        self.widths = (weights[0].shape[1], *[weight.shape[0] for weight in weights])
        self.layers = len(weights)
        self.sizes = table(self.widths)
        self._tensors = (*weights, *biases)
        self._addresses = list(map(Tensor.data_ptr, self._tensors))
        self.weight_table = table(self._addresses[: self.layers])
        self.bias_table = table(self._addresses[self.layers :])

    def check(self) -> None:
        """Refuse tensors that were given other memory, through `.data`, since their addresses were taken.

        Raises:
            RuntimeError: an address that has changed.
        """
        if list(map(Tensor.data_ptr, self._tensors)) != self._addresses:
            raise RuntimeError(
                "the memory of a parameter was replaced (`.data = ...` or `.to(...)`) since the network was evaluated: "
                "evaluate the plan again before asking for gradients"
            )


@lru_cache(maxsize=256)
def flat_starts(widths: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """Return the elements of all weights and biases, and where each begins: all weights, then all biases.

    Args:
        widths: of inputs, hidden layers and outputs.

    Returns:
        The number of elements, and the first element of each weight, then of each bias.

    Example:
        >>> flat_starts((1, 3, 2))
        (14, (0, 3, 9, 12))
    """
    sizes = [outputs * inputs for inputs, outputs in pairwise(widths)] + list(widths[1:])
    return sum(sizes), tuple(accumulate(sizes[:-1], initial=0))


@lru_cache(maxsize=256)
def start_tables(starts: tuple[int, ...]) -> tuple[ctypes.Array, ctypes.Array]:
    """Return first elements of gradients as compiled code reads them.

    Args:
        starts: of each weight, then of each bias.

    Returns:
        Those of the weights, those of the biases.
    """
    half = len(starts) // 2
    return table(starts[:half]), table(starts[half:])


def table(numbers: Sequence[int]) -> ctypes.Array:
    """Return integers, or addresses, as compiled code reads them.

    Args:
        numbers: any.

    Returns:
        An array of 64-bit integers.
    """
    return (ctypes.c_int64 * len(numbers))(*numbers)
