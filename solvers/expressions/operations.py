"""What torch's operations do to expressions: rules by the name of the operation, for those that are no views."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from solvers.expressions.graph import UncoveredError
from solvers.expressions.shadows import Shadows

Rule = Callable[..., Tensor]
"""(shadows, *arguments, **named) -> codes of the result; tensors among the arguments are codes already."""

VALUELESS = frozenset(
    "new_zeros new_ones new_full new_empty new_empty_strided zeros_like ones_like full_like empty_like".split()
)
"""Operations that take a tensor for its shape and type alone."""

PICKS = frozenset("index index_select gather".split())
"""Operations that put the numbers of their first argument where the others say."""

MOVES = PICKS | frozenset("cat stack flip roll repeat clone".split())
"""Operations that put numbers elsewhere and know nothing of their values: done with codes as they are with numbers."""

COMPARISONS = frozenset("gt ge lt le".split())
"""Operations whose result is a condition, 1 or 0 among expressions."""

LARGEST_POWER = 64
"""Up to which whole powers are products."""


def _code(shadows: Shadows, value: Tensor | float) -> Tensor:
    return value if isinstance(value, Tensor) else shadows.number(float(value))


def _elementwise(name: str) -> Rule:
    return lambda shadows, *operands: shadows.apply(name, *(_code(shadows, value) for value in operands))


def _scaled(shadows: Shadows, value: Tensor | float, alpha: float) -> Tensor:
    code = _code(shadows, value)
    return code if alpha == 1 else shadows.apply("mul", shadows.number(alpha), code)


def _add(shadows: Shadows, a: Tensor, b: Tensor | float, alpha: float = 1) -> Tensor:
    return shadows.apply("add", a, _scaled(shadows, b, alpha))


def _sub(shadows: Shadows, a: Tensor | float, b: Tensor | float, alpha: float = 1) -> Tensor:
    return shadows.apply("sub", _code(shadows, a), _scaled(shadows, b, alpha))


def _div(shadows: Shadows, a: Tensor, b: Tensor | float, rounding_mode: str | None = None) -> Tensor:
    if rounding_mode is not None:
        raise UncoveredError(f"a division rounded by {rounding_mode!r}")
    return shadows.apply("div", a, _code(shadows, b))


def _pow(shadows: Shadows, base: Tensor | float, exponent: Tensor | float) -> Tensor:
    if isinstance(exponent, Tensor):
        return shadows.apply("pow", _code(shadows, base), exponent)
    if exponent == int(exponent) and abs(exponent) <= LARGEST_POWER:
        whole = _natural_power(shadows, base, abs(int(exponent)))
        return whole if exponent >= 0 else shadows.apply("div", shadows.number(1.0), whole)
    if exponent in (0.5, -0.5):
        root = shadows.apply("sqrt", base)
        return root if exponent > 0 else shadows.apply("div", shadows.number(1.0), root)
    return shadows.apply("pow", base, shadows.number(float(exponent)))


def _natural_power(shadows: Shadows, base: Tensor, exponent: int) -> Tensor:
    result, square = shadows.number(1.0).expand(base.shape), base
    while exponent:
        if exponent & 1:
            result = shadows.apply("mul", result, square)
        exponent >>= 1
        square = shadows.apply("mul", square, square) if exponent else square
    return result


def _addcmul(shadows: Shadows, a: Tensor, b: Tensor, c: Tensor, value: float = 1) -> Tensor:
    return shadows.apply("add", a, _scaled(shadows, shadows.apply("mul", b, c), value))


def _addcdiv(shadows: Shadows, a: Tensor, b: Tensor, c: Tensor, value: float = 1) -> Tensor:
    return shadows.apply("add", a, _scaled(shadows, shadows.apply("div", b, c), value))


def _sum(shadows: Shadows, a: Tensor, dims: Sequence[int] | int | None = None, keep: bool = False, **_: Any) -> Tensor:
    return shadows.sum(a, [dims] if isinstance(dims, int) else list(dims or ()), keep)


def _mean(shadows: Shadows, a: Tensor, dims: Sequence[int] | None = None, keep: bool = False, **_: Any) -> Tensor:
    total = _sum(shadows, a, dims, keep)
    return shadows.apply("mul", total, shadows.number(max(total.numel(), 1) / max(a.numel(), 1)))


def _mm(shadows: Shadows, a: Tensor, b: Tensor) -> Tensor:
    return shadows.sum(shadows.apply("mul", a[..., :, None], b[..., None, :, :]), [-2], False)


def _addmm(shadows: Shadows, c: Tensor, a: Tensor, b: Tensor, beta: float = 1, alpha: float = 1) -> Tensor:
    return _add(shadows, _scaled(shadows, c, beta), _mm(shadows, a, b), alpha)


def _dot(shadows: Shadows, a: Tensor, b: Tensor) -> Tensor:
    return shadows.sum(shadows.apply("mul", a, b), [-1], False)


def _cast(shadows: Shadows, a: Tensor, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    if dtype not in (None, shadows.dtype):
        raise UncoveredError(f"numbers of the jet or of points as {dtype}, not {shadows.dtype}")
    return a


def _copied(shadows: Shadows, into: Tensor, values: Tensor, non_blocking: bool = False) -> Tensor:
    return values.expand(into.shape)


def _filled(shadows: Shadows, into: Tensor, value: Tensor | float = 0.0) -> Tensor:
    return _code(shadows, value).expand(into.shape)


def _reciprocal(shadows: Shadows, a: Tensor) -> Tensor:
    return shadows.apply("div", shadows.number(1.0), a)


def _where(shadows: Shadows, condition: Tensor, yes: Tensor | float, no: Tensor | float) -> Tensor:
    return shadows.apply("select", condition, _code(shadows, yes), _code(shadows, no))


def _padded(shadows: Shadows, a: Tensor, pad: Sequence[int], value: float = 0.0) -> Tensor:
    return torch.constant_pad_nd(a, pad, int(shadows.number(float(value))))


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "add": _add,
        "sub": _sub,
        "rsub": lambda shadows, a, b, alpha=1: _sub(shadows, b, a, alpha),
        "div": _div,
        "pow": _pow,
        "square": lambda shadows, a: shadows.apply("mul", a, a),
        "reciprocal": _reciprocal,
        "rsqrt": lambda shadows, a: _reciprocal(shadows, shadows.apply("sqrt", a)),
        "addcmul": _addcmul,
        "addcdiv": _addcdiv,
        "sum": _sum,
        "mean": _mean,
        "mm": _mm,
        "bmm": _mm,
        "mv": _dot,
        "dot": _dot,
        "addmm": _addmm,
        "_to_copy": _cast,
        "copy": _copied,
        "fill": _filled,
        "zero": _filled,
        "where": _where,
        "constant_pad_nd": _padded,
        **{
            name: _elementwise(name)
            for name in "mul neg gt ge lt le abs sqrt exp log sin cos tanh sigmoid atan expm1 log1p erf tan sinh cosh "
            "floor sign atan2 hypot".split()
        },
    }
)
"""Name of the operation, without the underscore of its form in place -> rule."""
