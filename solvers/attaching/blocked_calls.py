"""A model whose parameters differ from block to block of its rows: all block gradients from one backward pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.func import vmap
from torch.utils._pytree import tree_map

from solvers.networks.substitution import call_with


class BlockedCalls:
    """Stands in for a model in residuals of rows ordered (copy, block, point); anything else it has is the model's.

    To the code that calls it, it is an ordinary differentiable function of rows, so that derivatives by
    `torch.autograd.grad` work, which inside of `torch.func` transforms are refused.

    Args:
        model: the module; its own parameters are left alone.
        stacked: (blocks, ...) values by name, as in `model.named_parameters()`.
        size: points of a block.

    Example:
        >>> import torch
        >>> layer, points = nn.Linear(1, 1, bias=False), torch.ones(4, 1)
        >>> blocked = BlockedCalls(layer, {"weight": torch.tensor([[[2.0]], [[3.0]]])}, 2)
        >>> blocked(points).flatten().tolist(), blocked.in_features
        ([2.0, 2.0, 3.0, 3.0], 1)
    """

    def __init__(self, model: nn.Module, stacked: Mapping[str, Tensor], size: int):
        self._model, self._size = _Spread(model), size
        self._stacked = {f"inner.{name}": values for name, values in stacked.items()}
        self._blocks = len(next(iter(stacked.values())))

    def __call__(self, *rows: Tensor) -> Any:
        """Return the model's output, each row under the parameters of its block.

        Args:
            *rows: (copies x blocks x size, ...) each.

        Returns:
            The output, in the order of the rows.

        Raises:
            ValueError: rows of another number.
        """
        count = self._blocks * self._size
        if any(not isinstance(each, Tensor) or not len(each) or len(each) % count for each in rows):
            raise ValueError(f"expected {count} rows, as the points, or a multiple of it in each call of the model")
        copies = len(rows[0]) // count
        dealt = [each.unflatten(0, (copies, self._blocks, self._size)).transpose(0, 1).flatten(1, 2) for each in rows]

        def one(parameters: Mapping[str, Tensor], *own: Tensor) -> Any:
            return call_with(self._model, parameters, own)

        values = vmap(one, randomness="different")(self._stacked, *dealt)
        return tree_map(lambda value: value.unflatten(1, (copies, self._size)).transpose(0, 1).flatten(0, 2), values)

    forward = __call__

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_model"].inner, name)


class Replaced:
    """Stands in for a model with other parameters, inside of `torch.func` transforms.

    Args:
        model: the module.
        values: by name, as in `model.named_parameters()`.

    Example:
        >>> import torch
        >>> Replaced(nn.Linear(1, 1, bias=False), {"weight": torch.tensor([[5.0]])})(torch.ones(1, 1)).item()
        5.0
    """

    def __init__(self, model: nn.Module, values: Mapping[str, Tensor]):
        self._model, self._values = _Spread(model), {f"inner.{name}": value for name, value in values.items()}

    def __call__(self, *rows: Tensor) -> Any:
        """Return the model's output under the other parameters.

        Args:
            *rows: as the model takes them.

        Returns:
            The output.
        """
        return call_with(self._model, self._values, rows)

    forward = __call__

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_model"].inner, name)


class _Spread(nn.Module):
    """A module of one argument, the tuple of the inner one's."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, rows: tuple) -> Any:
        return self.inner(*rows)
