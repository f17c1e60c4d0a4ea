"""What torch's functions and methods do when they are called with a truncated Taylor series."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import resolve_name


class Dispatched:
    """What makes torch hand over, for a class that has coefficients, `_like` and the methods in the table."""

    def __getattr__(self, name: str) -> Any:
        # A method of tensors does what the torch function does, which may be to refuse, when called.
        function = None if name.startswith("_") else getattr(Tensor, name, None)
        if callable(function):
            return partial(_TORCH.get(function) or partial(_refuse, f"torch.Tensor.{name}"), self)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @classmethod
    def __torch_function__(cls, function: Callable, types: Iterable[type], args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if "input" in kwargs:
            args = (kwargs.pop("input"), *args)
        implementation = _TORCH.get(function)
        if implementation is None or kwargs.pop("inplace", False) or kwargs.pop("out", None) is not None:
            _refuse(resolve_name(function) or getattr(function, "__name__", str(function)))
        return implementation(*args, **kwargs)


# Maps that are linear and know nothing of orders: they act on every row as torch's own do, so that dimensions keep the
# meaning that they have for one row.
_ROWWISE = (
    "sum mean cumsum diff reshape view flatten unflatten squeeze unsqueeze transpose swapaxes permute movedim flip "
    "roll expand broadcast_to repeat tile select narrow index_select split chunk unbind clone contiguous to "
    "double float"
).split()


def _rowwise(name: str):
    def method(self: Dispatched, *args: Any, **kwargs: Any) -> Dispatched | tuple[Dispatched, ...]:
        result = torch.vmap(lambda row: getattr(row, name)(*args, **kwargs))(self.coefficients)
        return self._like(result) if isinstance(result, Tensor) else tuple(self._like(part) for part in result)

    method.__name__ = name
    method.__qualname__ = f"Dispatched.{name}"
    method.__doc__ = f"Return torch.Tensor.{name} of every row; the arguments are those for one row, of shape `shape`."
    return method


for _name in _ROWWISE:
    setattr(Dispatched, _name, _rowwise(_name))


def _join(join: Callable[..., Tensor]):
    def function(tensors: Sequence[Dispatched | Tensor], dim: int = 0) -> Dispatched:
        first, *others = (t for t in tensors if isinstance(t, Dispatched))
        layout, aligned = first._align(*others)
        first = first._like(aligned[0], layout)
        series = iter(aligned)
        rows = [next(series) if isinstance(t, Dispatched) else first._constant(t).coefficients for t in tensors]
        return first._like(torch.vmap(lambda *row: join(row, dim=dim))(*rows))

    return function


def _einsum(equation, *operands):
    operands = operands[0] if len(operands) == 1 and isinstance(operands[0], list | tuple) else operands
    if sum(isinstance(z, Dispatched) for z in operands) != 1:
        _refuse("torch.einsum of several series")
    place = next(i for i, z in enumerate(operands) if isinstance(z, Dispatched))

    def row(z):
        return torch.einsum(equation, *operands[:place], z, *operands[place + 1 :])

    return operands[place]._like(torch.vmap(row)(operands[place].coefficients))


def _layer_norm(z, normalized_shape, weight=None, bias=None, eps=1e-5):
    dims = list(range(-len(normalized_shape), 0))
    centred = z - z.mean(dims, keepdim=True)
    result = centred * (centred.square().mean(dims, keepdim=True) + eps).rsqrt()
    result = result if weight is None else result * weight
    return result if bias is None else result + bias


def _divide(a, b, rounding_mode=None):
    if rounding_mode is not None:
        _refuse(f"torch.div(rounding_mode={rounding_mode!r})")
    return a / b if isinstance(a, Dispatched) else b.__rtruediv__(a)


def _power(a, b):
    return a**b if isinstance(a, Dispatched) else b.__rpow__(a)


def _matmul(a, b):
    return a @ b if isinstance(a, Dispatched) else b.__rmatmul__(a)


def _subtract(a, b, alpha=1):
    b = b if alpha == 1 else alpha * b
    return a - b if isinstance(a, Dispatched) else b.__rsub__(a)


def _linear(z, weight, bias=None):
    if not isinstance(z, Dispatched):
        return weight.__rmatmul__(z) if bias is None else _refuse("torch.nn.functional.linear with a series as weight")
    return z.linear(weight, bias)


def _add(a, b, alpha=1):
    b = b if alpha == 1 else alpha * b
    return a + b if isinstance(a, Dispatched) else b + a


_ARITHMETIC = {
    "add __add__ __radd__": _add,
    "sub subtract __sub__": _subtract,
    "rsub __rsub__": lambda a, b, alpha=1: _subtract(b, a if alpha == 1 else alpha * a),
    "mul multiply __mul__ __rmul__": lambda a, b: a * b if isinstance(a, Dispatched) else b * a,
    "div divide true_divide __div__ __truediv__": _divide,
    "__rdiv__ __rtruediv__": lambda a, b: _divide(b, a),
    "pow float_power __pow__": _power,
    "__rpow__": lambda a, b: _power(b, a),
    "matmul mm bmm __matmul__": _matmul,
    "__rmatmul__": lambda a, b: _matmul(b, a),
    "neg negative __neg__": lambda z: -z,
    "linear": _linear,
    "addmm": lambda b, x, y, beta=1, alpha=1: beta * b + alpha * (x @ y),
    "cat concat concatenate": _join(torch.cat),
    "stack": _join(torch.stack),
    "einsum": _einsum,
    # Without a dimension torch takes the first of 1 or 3, and the second of 2 or more.
    "softmax": lambda z, dim=None, _stacklevel=3, dtype=None: z.softmax(
        dim if dim is not None else 0 if z.ndim in (0, 1, 3) else 1
    ),
    "layer_norm": _layer_norm,
    "mish": lambda z: z * z.softplus().tanh(),
    "logsigmoid": lambda z: -(-z).softplus(),
    "tanhshrink": lambda z: z - z.tanh(),
    "__getitem__": lambda z, index: z[index],
    "numel": lambda z: z.shape.numel(),
    # Cut from the points as from the parameters: what torch's own derivatives do.
    "detach": lambda z: z.value.detach(),
}
_METHODS = (
    "exp expm1 log log1p sqrt rsqrt reciprocal square sin cos tan sinh cosh tanh sigmoid silu gelu softplus atan "
    "arctan erf expit"
).split()
_KINKED = ("relu", "leaky_relu")
_OF_THE_VALUE = "zeros_like ones_like full_like empty_like new_zeros new_ones new_full new_empty new_tensor".split()


def _method(name: str, series: Dispatched, *args: Any, **kwargs: Any) -> Any:
    return getattr(series, name)(*args, **kwargs)


def _of_the_value(function: Callable, series: Dispatched, *args: Any, **kwargs: Any) -> Tensor:
    return function(series.value, *args, **kwargs)


def _torch_functions() -> dict[Callable, Callable]:
    aliases = {"arctan": "atan", "expit": "sigmoid"}
    named = {name: implementation for names, implementation in _ARITHMETIC.items() for name in names.split()}
    named |= {name: partial(_method, aliases.get(name, name)) for name in (*_METHODS, *_KINKED, *_ROWWISE)}
    table = {}
    for space in (torch, Tensor, functional, torch.special):
        found = [(name, getattr(space, name, None)) for name in (*named, *_OF_THE_VALUE)]
        for name, function in found:
            if function is not None:
                table[function] = named[name] if name in named else partial(_of_the_value, function)
    return table


_TORCH = _torch_functions()


def _refuse(name: str, *_: Any, **__: Any) -> NoReturn:
    raise TypeError(
        f"expected an operation that a truncated Taylor series has, came {name}: it must be smooth and must not depend "
        f"on the data (no comparison, no in-place change). Use + - * / ** @, {', '.join(_METHODS)}, cat, stack, "
        f"softmax, layer_norm, sums and reshaping, or give the module that calls it a rule: "
        f"solvers.register_rule(ModuleType, rule)"
    )


def _refused(name: str):
    def method(self: Dispatched, *_: Any) -> NoReturn:
        _refuse(f"torch.Tensor.{name}")

    return method


# Equality included: by identity it would answer False to `z == 0`, and the branch be taken in silence.
for _name in "bool float int complex abs lt le gt ge eq ne floordiv rfloordiv mod rmod invert setitem".split():
    setattr(Dispatched, f"__{_name}__", _refused(f"__{_name}__"))
