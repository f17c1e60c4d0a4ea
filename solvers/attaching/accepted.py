"""What cannot be attached to is said before anything is hooked."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parameter import is_lazy


def accepted(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    """Refuse an optimizer that runs no hooks, and a model whose parameters have no shape yet.

    Args:
        optimizer: of the caller.
        model: of the caller.

    Raises:
        ValueError: no `torch.optim.Optimizer`, one that was not set up as such, or lazy parameters.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> accepted(torch.optim.SGD(layer.parameters()), layer)
    """
    name = type(optimizer).__name__
    if not callable(getattr(optimizer, "register_step_pre_hook", None)):
        raise ValueError(
            f"expected a torch.optim.Optimizer, came {name}, which has no step hooks: attach the torch optimizer that "
            "it holds, or derive it from torch.optim.Optimizer"
        )
    if not hasattr(optimizer, "_optimizer_step_pre_hooks"):
        raise ValueError(
            f"expected an optimizer that torch has set up, came {name} without step hooks: call "
            "super().__init__(params, defaults) in its __init__"
        )
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"expected the model as a torch.nn.Module, came {type(model).__name__}: pass the module; several as "
            "torch.nn.ModuleList([...])"
        )
    if any(is_lazy(parameter) for parameter in model.parameters()):
        raise ValueError(
            "expected parameters that have their shapes, came lazy ones: call the model once before attach"
        )
