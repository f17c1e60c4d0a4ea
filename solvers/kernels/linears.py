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
        # The tensors are kept: addresses alone would not keep their memory.
        self.tensors = weights, biases
        self.widths = (weights[0].shape[1], *[weight.shape[0] for weight in weights])
        self.layers = len(weights)
        self.sizes = table(self.widths)
        self.weight_table = table([weight.data_ptr() for weight in weights])
        self.bias_table = table([bias.data_ptr() for bias in biases])


@lru_cache(maxsize=256)
def flat_starts(widths: tuple[int, ...], layer_by_layer: bool = False) -> tuple[int, tuple[int, ...]]:
    """Return the elements of all weights and biases, and where each begins in a flat buffer.

    Args:
        widths: of inputs, hidden layers and outputs.
        layer_by_layer: each bias behind its weight; otherwise all weights, then all biases.

    Returns:
        The number of elements, and the first element of each weight, then of each bias.

    Example:
        >>> flat_starts((1, 3, 2)), flat_starts((1, 3, 2), layer_by_layer=True)
        ((14, (0, 3, 9, 12)), (14, (0, 6, 3, 12)))
    """
    weights = [outputs * inputs for inputs, outputs in pairwise(widths)]
    if not layer_by_layer:
        sizes = [*weights, *widths[1:]]
        return sum(sizes), tuple(accumulate(sizes[:-1], initial=0))
    sizes = [size for pair in zip(weights, widths[1:], strict=True) for size in pair]
    starts = tuple(accumulate(sizes[:-1], initial=0))
    return sum(sizes), starts[::2] + starts[1::2]


def table(numbers: Sequence[int]) -> ctypes.Array:
    """Return integers, or addresses, as compiled code reads them.

    Args:
        numbers: any.

    Returns:
        An array of 64-bit integers.
    """
    return (ctypes.c_int64 * len(numbers))(*numbers)
