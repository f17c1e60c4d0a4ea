"""Quantities that are affine in unknown scalars, a + sum_k b_k s_k, carried through + - * / beside each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor


class Affine:
    """A value a + sum_k b_k s_k with unknown scalars s_k, whose parts are numbers, tensors or series.

    A residual that is written once with + - * / then says itself how it depends on an unknown coefficient; what is not
    affine is refused.

    Args:
        constant: a.
        slopes: name of each unknown that occurs -> b_k.

    Raises:
        TypeError: from arithmetic, a product of two unknowns, a function or a power of one.

    Cost: what does not meet an unknown is computed once; what does, once for each part.

    Example:
        >>> rate = Affine.unknown("rate")
        >>> residual = (1 + rate) * torch.tensor([2.0, 3.0]) - 5.0
        >>> residual.constant.tolist(), residual.slopes["rate"].tolist()
        ([-3.0, -2.0], [2.0, 3.0])
    """

    def __init__(self, constant: Any, slopes: Mapping[str, Any]):
        self.constant, self.slopes = constant, dict(slopes)

    @classmethod
    def unknown(cls, name: str) -> Affine:
        """Return an unknown itself.

        Args:
            name: of the scalar.

        Returns:
            0 + 1 s.
        """
        return cls(0.0, {name: 1.0})

    def __repr__(self) -> str:
        return f"Affine({self.constant!r}, {self.slopes!r})"

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(_refusal(f".{name} of {', '.join(self.__dict__.get('slopes', ()))}"))

    def __getitem__(self, index: Any) -> Affine:
        # A number stands for itself at every place.
        return self.map(lambda part: part if isinstance(part, float | int) else part[index])

    def map(self, function: Callable[[Any], Any]) -> Affine:
        """Return every part under a linear function.

        Args:
            function: linear, of one part.

        Returns:
            The same unknowns.
        """
        return Affine(function(self.constant), {name: function(slope) for name, slope in self.slopes.items()})

    def __add__(self, other: Any) -> Affine:
        if not isinstance(other, Affine):
            return Affine(_sum(self.constant, other), self.slopes)
        names = {**self.slopes, **other.slopes}
        slopes = {name: _sum(self.slopes.get(name, 0.0), other.slopes.get(name, 0.0)) for name in names}
        return Affine(_sum(self.constant, other.constant), slopes)

    def __mul__(self, other: Any) -> Affine:
        if isinstance(other, Affine):
            _refuse(f"a product of {', '.join(self.slopes)} and {', '.join(other.slopes)}")
        return self.map(lambda part: _product(part, other))

    def __truediv__(self, other: Any) -> Affine:
        if isinstance(other, Affine):
            _refuse(f"a division by {', '.join(other.slopes)}")
        return self.map(lambda part: part / other)

    def __neg__(self) -> Affine:
        return self.map(lambda part: -part)

    def __sub__(self, other: Any) -> Affine:
        return self + -other

    def __rsub__(self, other: Any) -> Affine:
        return -self + other

    def __rtruediv__(self, other: Any) -> NoReturn:
        _refuse(f"a division by {', '.join(self.slopes)}")

    def __pow__(self, exponent: Any) -> NoReturn:
        _refuse(f"a power of {', '.join(self.slopes)}")

    def __rpow__(self, base: Any) -> NoReturn:
        _refuse(f"a power with {', '.join(self.slopes)} in its exponent")

    def __float__(self) -> NoReturn:
        _refuse(f"the number that {', '.join(self.slopes)} has")

    def __bool__(self) -> NoReturn:
        _refuse(f"a condition on {', '.join(self.slopes)}")

    def __lt__(self, other: Any) -> NoReturn:
        _refuse(f"a comparison of {', '.join(self.slopes)}")

    __gt__ = __le__ = __ge__ = __lt__
    __radd__ = __add__
    __rmul__ = __mul__

    @classmethod
    def __torch_function__(cls, function: Callable, types: Iterable[type], args=(), kwargs=None):
        name = getattr(function, "__name__", str(function))
        if name in _JOINS:
            return _joined(function, *args, **(kwargs or {}))
        operation = _TORCH.get(name.strip("_"))
        if operation is None or kwargs:
            _refuse(f"torch.{name}")
        return operation(*args)


def as_affine(value: Affine | Tensor) -> Affine:
    """Return a tensor, or what is affine already, with every part of one shape.

    Args:
        value: a residual.

    Returns:
        Tensors as parts.
    """
    parts = value if isinstance(value, Affine) else Affine(value, {})
    tensors = [part for part in (parts.constant, *parts.slopes.values()) if isinstance(part, Tensor)]
    if not tensors:
        return parts.map(torch.as_tensor)
    like = tensors[0]
    shape = like.shape
    if any(part.shape != shape for part in tensors):
        shape = torch.broadcast_shapes(*(part.shape for part in tensors))
    elif len(tensors) == 1 + len(parts.slopes):
        return parts
    return parts.map(lambda part: torch.as_tensor(part, dtype=like.dtype, device=like.device).expand(shape))


# Numbers 0 and 1 are what an unknown begins with: an operation with them is none.
def _sum(a: Any, b: Any) -> Any:
    if isinstance(a, float) and a == 0:
        return b
    return a if isinstance(b, float) and b == 0 else a + b


def _product(part: Any, factor: Any) -> Any:
    if isinstance(part, float) and part in (0, 1, -1):
        return {0: 0.0, 1: factor}[part] if part >= 0 else -factor
    return part * factor


def _joined(join: Callable[..., Any], parts: Sequence[Any], *args: Any, **kwargs: Any) -> Affine:
    """Return torch.cat or torch.stack of residuals of which some are affine."""
    each = [as_affine(part) for part in parts]
    names = {name: None for part in each for name in part.slopes}
    constant = join([part.constant for part in each], *args, **kwargs)
    slopes = {
        name: join([part.slopes.get(name, torch.zeros_like(part.constant)) for part in each], *args, **kwargs)
        for name in names
    }
    return Affine(constant, slopes)


_JOINS = ("cat", "concat", "concatenate", "stack", "hstack", "vstack", "column_stack")
_TORCH: Mapping[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: a + b if isinstance(a, Affine) else b + a,
    "radd": lambda a, b: b + a,
    "sub": lambda a, b: a - b if isinstance(a, Affine) else b.__rsub__(a),
    "rsub": lambda a, b: b.__rsub__(a) if isinstance(b, Affine) else b - a,
    "mul": lambda a, b: a * b if isinstance(a, Affine) else b * a,
    "rmul": lambda a, b: b * a,
    "div": lambda a, b: a / b if isinstance(a, Affine) else b.__rtruediv__(a),
    "truediv": lambda a, b: a / b if isinstance(a, Affine) else b.__rtruediv__(a),
    "subtract": lambda a, b: a - b if isinstance(a, Affine) else b.__rsub__(a),
    "multiply": lambda a, b: a * b if isinstance(a, Affine) else b * a,
}
"""Operations with a tensor on the left, which torch hands over; by name without its underscores."""


def _refuse(what: str) -> NoReturn:
    raise TypeError(_refusal(what))


def _refusal(what: str) -> str:
    return (
        f"expected a residual that is affine in its eliminated coefficient, came {what}: write it with + - * / so that "
        f"the coefficient stays linear, or find it with how='trained' or how='bounded'"
    )
