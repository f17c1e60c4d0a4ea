"""What stands in for torch code, compared with it before it is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from solvers.expressions.graph import UncoveredError
from solvers.expressions.trace import PointwiseFunction, Signature

Twin = Callable[[Tensor, Tensor, Tensor, Tensor], Sequence[Tensor]]
"""(stack, x, scalars, cotangent) -> value, and the cotangents of stack and scalars."""

POINTS = 9
"""Of each part, where both are compared: a whole vector and the start of another."""

TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-12}
"""Relative to the largest number of a column, or of a plane."""


def compare(twin: Twin, function: PointwiseFunction, signature: Signature, parts: int) -> None:
    """Compare values and derivatives at random numbers of both signs, and at positive ones, where roots are real.

    Args:
        twin: of the function.
        function: torch code.
        signature: what it takes.
        parts: of the points.

    Raises:
        UncoveredError: a difference, or nothing finite to compare.
    """
    generator, finite = torch.Generator().manual_seed(0), False
    for low in (-1.0, 0.1):
        arguments = signature.draw(POINTS * parts, generator, low)
        value = _value(function, arguments)
        cotangent = torch.rand(value.shape, generator=generator, dtype=torch.float64).to(value.dtype) + 0.5
        expected = [value.detach(), *_gradients(value, (arguments[0], arguments[2]), cotangent)]
        found = twin(*(argument.detach() for argument in arguments), cotangent)
        # A column of the value, a plane of the stack and a scalar have each their own size.
        for ours, theirs, dims in zip(found, expected, (0, (1, 2), ()), strict=True):
            if not _agree(ours, theirs, dims, TOLERANCES[signature.dtype]):
                raise UncoveredError(f"compiled code and torch differ, {ours.tolist()} and {theirs.tolist()}")
        finite = finite or all(bool(torch.isfinite(theirs).all()) for theirs in expected)
    if not finite:
        raise UncoveredError("no finite values at random numbers, so that nothing could be compared")


def _value(function: PointwiseFunction, arguments: Sequence[Tensor]) -> Tensor:
    stack, x, scalars = arguments
    try:
        with torch.enable_grad():
            # A copy of the points: a function that writes into them is not the one that was traced.
            return function(stack, x.clone(), scalars)
    except Exception as error:
        raise UncoveredError(f"{type(error).__name__} at {len(x)} points: {error}") from error


def _gradients(value: Tensor, inputs: Sequence[Tensor], cotangent: Tensor) -> list[Tensor]:
    if not value.requires_grad:
        return [torch.zeros_like(each) for each in inputs]
    # Of a scalar: grad_outputs would make torch import sympy.
    found = torch.autograd.grad((value * cotangent).sum(), inputs, allow_unused=True)
    return [torch.zeros_like(each) if bar is None else bar for each, bar in zip(inputs, found, strict=True)]


def _agree(ours: Tensor, theirs: Tensor, dims: int | tuple[int, ...], tolerance: float) -> bool:
    """Return whether numbers agree, relative to the largest along some dimensions; inf and NaN stand in both."""
    if ours.shape != theirs.shape:
        return False
    if not ours.numel():
        return True
    size = theirs.nan_to_num(0.0, 0.0, 0.0).abs()
    scale = size.amax(dims, keepdim=True) if dims != () else size
    near = (ours - theirs).abs() <= tolerance * scale
    return bool((near | (ours == theirs) | (ours.isnan() & theirs.isnan())).all())
