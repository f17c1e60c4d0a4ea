"""Measuring a model that was compiled in place without its compiled code, where hooks do not run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def uncompiled(model: nn.Module) -> Iterator[None]:
    """Let a model run as it was before `Module.compile()`; its compiled code is kept for the training.

    A measurement has points of its own, in whose shape the training's code would be compiled anew.

    Args:
        model: any.

    Yields:
        Nothing.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> layer.compile(backend="eager")
        >>> with uncompiled(layer):
        ...     print(layer._compiled_call_impl)
        None
        >>> layer._compiled_call_impl is None
        False
    """
    found = [(m, m._compiled_call_impl) for m in model.modules() if getattr(m, "_compiled_call_impl", None) is not None]
    for module, _ in found:
        module._compiled_call_impl = None
    try:
        yield
    finally:
        for module, compiled in found:
            module._compiled_call_impl = compiled
