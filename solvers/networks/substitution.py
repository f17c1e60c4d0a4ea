"""Calling a network with other values in place of its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call


def call_with(network: nn.Module, values: Mapping[str, Tensor], rows: Any) -> Any:
    """Return the network's output with other parameters, its own left as they are.

    A parameter that several modules share is replaced in all of them. `torch.func.functional_call` does that by
    itself, but leaves the replacement behind where one module is used twice.

    Args:
        network: any module.
        values: names as in `network.named_parameters()` -> replacement.
        rows: what the network is called with.

    Returns:
        Its output.

    Example:
        >>> import torch
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> call_with(nn.Sequential(layer, layer), {"0.weight": torch.tensor([[3.0]])}, torch.ones(1, 1)).item()
        9.0
    """
    parameters = dict(network.named_parameters())
    replaced = {parameters[name]: value for name, value in values.items()}
    everywhere = {}
    for path, module in network.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter in replaced:
                everywhere[f"{path}.{name}" if path else name] = replaced[parameter]
    return functional_call(network, everywhere, (rows,), tie_weights=False)
