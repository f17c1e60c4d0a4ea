"""Measuring beside a training without a trace: gradients, modes, flags, buffers and random numbers stay as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from solvers.random_state import random_state, set_random_state
from solvers.unheard import unheard


@contextmanager
def untouched(model: nn.Module, parameters: Sequence[Tensor]) -> Iterator[None]:
    """Put back what user code that is called for a measurement may change; autograd is on inside.

    That is: the gradients of the parameters, their `requires_grad`, train and eval modes, buffers, the global random
    generators of torch, numpy and Python.

    Args:
        model: that the code calls.
        parameters: of the optimizer.

    Yields:
        Nothing.

    Cost: a copy of gradients, buffers and generator states, some 50 us.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> with untouched(layer, list(layer.parameters())):
        ...     layer.eval()(torch.ones(1, 1)).sum().backward()
        >>> layer.weight.grad is None, layer.training
        (True, True)
    """
    everyone = list(dict.fromkeys([*parameters, *model.parameters()]))
    gradients = [(p, p.grad, None if p.grad is None else (p.grad._version, p.grad.clone())) for p in everyone]
    flags = [(p, p.requires_grad) for p in everyone]
    modes = [(module, module.training) for module in model.modules()]
    device = everyone[0].device
    state = random_state(device)
    try:
        with unheard(model), torch.enable_grad():
            yield
    finally:
        set_random_state(state, device)
        for module, training in modes:
            module.training = training
        for parameter, flag in flags:
            if parameter.requires_grad != flag:
                parameter.requires_grad_(flag)
        for parameter, gradient, kept in gradients:
            if parameter.grad is not gradient:
                parameter.grad = gradient
            if kept is not None and gradient._version != kept[0]:
                with torch.no_grad():
                    gradient.copy_(kept[1])
