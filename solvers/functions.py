"""Elementary functions for residuals: a PDE written with these works on every value an operator can hand it.

Tensors go to torch. Anything else that carries the method of the same name (a truncated Taylor series does) answers for
itself, so that a residual is written once.
"""

from __future__ import annotations

import torch


def _elementary(name: str):
    tensor_function = getattr(torch, name)

    def function(value):
        return tensor_function(value) if isinstance(value, torch.Tensor) else getattr(value, name)()

    function.__name__ = name
    function.__qualname__ = name
    function.__doc__ = f"""Return {name} of a tensor, or of any value that has a method `{name}`.

    Args:
        value: a tensor of any shape, or an object with the method `{name}()`.

    Returns:
        {name}(value), of the same kind and shape.
    """
    return function


sin = _elementary("sin")
cos = _elementary("cos")
exp = _elementary("exp")
log = _elementary("log")
sqrt = _elementary("sqrt")
tanh = _elementary("tanh")
