"""Elementary functions of truncated Taylor series, as operations on stacks of normalised coefficients.

A stack has shape (N + 1, ...): entry k is z_k = z^(k)/k!, and every step is vectorised over the rest. Each function
rests on dy = f'(z) dz, which holds exactly for truncated series: with s the series of f'(z), the tangent of the result
is the product s dz, and the adjoint is the correlation zbar_j = sum_{k >= j} s_{k-j} ybar_k. Products and correlations
differentiate into each other, so that everything here can be differentiated as often as wanted, in both modes.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional


# Everything but the rows is elementwise, so that a batch dimension is one more dimension behind them.
def _batched(info, x: Tensor, dim: int | None) -> Tensor:
    if dim is None:
        return x[:, None].expand(-1, info.batch_size, *x.shape[1:])
    return x.movedim(dim, 1)


class _Bilinear(Function):
    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)


class _Product(_Bilinear):
    @staticmethod
    def vmap(info, in_dims, a, b):
        return product(_batched(info, a, in_dims[0]), _batched(info, b, in_dims[1])), 1

    @staticmethod
    def forward(a, b):
        result = a[0] * b
        for j in range(1, len(a)):
            result[j:].addcmul_(a[j], b[:-j])
        return result

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        need_a, need_b = ctx.needs_input_grad
        return correlate(b, grad) if need_a else None, correlate(a, grad) if need_b else None

    @staticmethod
    def jvp(ctx, da, db):
        a, b = ctx.saved_tensors
        return _sum(None if da is None else product(da, b), None if db is None else product(a, db))


class _Correlate(_Bilinear):
    @staticmethod
    def vmap(info, in_dims, s, y):
        return correlate(_batched(info, s, in_dims[0]), _batched(info, y, in_dims[1])), 1

    @staticmethod
    def forward(s, y):
        result = s[0] * y
        for i in range(1, len(s)):
            result[:-i].addcmul_(s[i], y[i:])
        return result

    @staticmethod
    def backward(ctx, grad):
        s, y = ctx.saved_tensors
        need_s, need_y = ctx.needs_input_grad
        return correlate(grad, y) if need_s else None, product(grad, s) if need_y else None

    @staticmethod
    def jvp(ctx, ds, dy):
        s, y = ctx.saved_tensors
        return _sum(None if ds is None else correlate(ds, y), None if dy is None else correlate(s, dy))


# Torch switches forward mode off inside `jvp`, for all levels but those that a Function enters by itself: what a `jvp`
# calls, sums and scalings included, must be Functions, or nested forward mode loses terms in silence.
class _Add(Function):
    @staticmethod
    def forward(x, y):
        return x + y

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, grad):
        return grad, grad

    @staticmethod
    def jvp(ctx, dx, dy):
        return _sum(dx, dy)

    @staticmethod
    def vmap(info, in_dims, x, y):
        return _Add.apply(_batched(info, x, in_dims[0]), _batched(info, y, in_dims[1])), 1


class _Scale(Function):
    @staticmethod
    def forward(z, factor, constant):
        result = factor * z
        result[0] += constant
        return result

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.factor = inputs[1]

    @staticmethod
    def backward(ctx, grad):
        return ctx.factor * grad, None, None

    @staticmethod
    def jvp(ctx, dz, *_):
        return _scale(dz, ctx.factor)

    @staticmethod
    def vmap(info, in_dims, z, factor, constant):
        return _scale(_batched(info, z, in_dims[0]), factor, constant), 1


def _sum(x: Tensor | None, y: Tensor | None) -> Tensor | None:
    if x is None or y is None:
        return y if x is None else x
    return _Add.apply(x, y)


def _scale(z: Tensor, factor: float, constant: float = 0.0) -> Tensor:
    return _Scale.apply(z, factor, constant)


def product(a: Tensor, b: Tensor) -> Tensor:
    """Return the truncated product of two series, c_k = sum_{j <= k} a_j b_{k-j}.

    Args:
        a: (N + 1, ...).
        b: the same shape.

    Returns:
        The same shape, for N^2/2 multiplications an entry.

    Example:
        >>> product(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))
        tensor([ 3., 10.])
    """
    return _Product.apply(a, b)


def correlate(s: Tensor, y: Tensor) -> Tensor:
    """Return the adjoint of multiplication by a series, r_j = sum_{k >= j} s_{k-j} y_k.

    Args:
        s: the factor, (N + 1, ...).
        y: the same shape.

    Returns:
        The same shape, for N^2/2 multiplications an entry.

    Example:
        >>> correlate(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))
        tensor([11.,  4.])
    """
    return _Correlate.apply(s, y)


class _Affine(Function):
    @staticmethod
    def forward(rows, weight, bias):
        result = functional.linear(rows, weight)
        result[0].add_(bias)
        return result

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:2])
        ctx.save_for_forward(*inputs[:2])

    @staticmethod
    def backward(ctx, grad):
        rows, weight = ctx.saved_tensors
        need_rows, need_weight, need_bias = ctx.needs_input_grad
        return (
            grad @ weight if need_rows else None,
            grad.flatten(0, -2).T @ rows.flatten(0, -2) if need_weight else None,
            grad[0].flatten(0, -2).sum(0) if need_bias and grad.dim() > 2 else grad[0] if need_bias else None,
        )

    @staticmethod
    def jvp(ctx, drows, dweight, dbias):
        rows, weight = ctx.saved_tensors
        still = weight.new_zeros(len(weight))
        return _sum(
            None
            if drows is None and dbias is None
            else _Affine.apply(_or_zeros(drows, rows), weight, _or_zeros(dbias, still)),
            None if dweight is None else _Affine.apply(rows, dweight, still),
        )

    @staticmethod
    def vmap(info, in_dims, rows, weight, bias):
        # The forward adds in place, which vmap refuses where only the bias is batched.
        def single(rows, weight, bias):
            result = functional.linear(rows, weight)
            return torch.cat([result[:1] + bias, result[1:]])

        return torch.vmap(single, in_dims, randomness=info.randomness)(rows, weight, bias), 0


def _or_zeros(tangent: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if tangent is None else tangent


def affine(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return y W^T for every row in one matrix product, and add the bias to row 0 alone.

    Args:
        rows: (rows, ..., inputs).
        weight: (outputs, inputs).
        bias: (outputs,) or None.

    Returns:
        (rows, ..., outputs).

    Example:
        >>> affine(torch.ones(2, 1, 3), torch.ones(1, 3), torch.ones(1)).flatten()
        tensor([4., 3.])
    """
    if bias is None or len(rows) == 1:
        return functional.linear(rows, weight, bias)
    return _Affine.apply(rows, weight, bias)


# Recurrences. Each order, once final, is pushed into all higher ones by a single broadcast multiply-add, which needs
# neither reversed copies nor temporaries; row k of an accumulator is final when it has been divided by k.


def _slopes(z: Tensor) -> Tensor:
    k = torch.arange(1, len(z), dtype=z.dtype, device=z.device)
    return z[1:] * k.view(-1, *[1] * (z.dim() - 1))


def _start(z: Tensor, value: Tensor) -> Tensor:
    y = torch.zeros_like(z)
    y[0] = value
    return y


def _integrate(value: Tensor, z: Tensor, s: Tensor) -> Tensor:
    # y' = s z', so k y_k = sum_{j=1..k} j z_j s_{k-j}.
    y = _start(z, value)
    if len(z) > 1:
        k = torch.arange(1, len(z), dtype=z.dtype, device=z.device)
        y[1:] = product(_slopes(z), s[:-1]) / k.view(-1, *[1] * (z.dim() - 1))
    return y


def _exp(z: Tensor) -> Tensor:
    y, dz = _start(z, z[0].exp()), _slopes(z)
    for k in range(len(dz)):
        y[k + 1 :].addcmul_(dz[: len(dz) - k], y[k])
        y[k + 1].div_(k + 1)
    return y


def _expm1(z: Tensor) -> Tensor:
    y = _exp(z)
    y[0] = z[0].expm1()
    return y


def _sin_cos(z: Tensor) -> tuple[Tensor, Tensor]:
    sin, cos, dz = _start(z, z[0].sin()), _start(z, z[0].cos()), _slopes(z)
    for k in range(len(dz)):
        sin[k + 1 :].addcmul_(dz[: len(dz) - k], cos[k])
        cos[k + 1 :].addcmul_(dz[: len(dz) - k], sin[k], value=-1)
        sin[k + 1].div_(k + 1)
        cos[k + 1].div_(k + 1)
    return sin, cos


def _logistic(z: Tensor, value: Tensor, constant: float, linear: float) -> Tensor:
    # y' = s z' with s = constant + linear y - y^2; a square's order k is final once y_k has met y_0..y_k.
    y, dz = _start(z, value), _slopes(z)
    s = torch.zeros_like(dz)
    for k in range(len(dz)):
        end = min(2 * k, len(dz))
        if k:
            s[k:end].addcmul_(y[: end - k], y[k], value=-2)
        if 2 * k < len(dz):
            s[2 * k].addcmul_(y[k], y[k], value=-1)
        if linear:
            s[k].add_(y[k], alpha=linear)
        if constant and not k:
            s[0].add_(constant)
        y[k + 1 :].addcmul_(dz[: len(dz) - k], s[k])
        y[k + 1].div_(k + 1)
    return y


def _reciprocal(z: Tensor) -> Tensor:
    y = _start(z, z[0].reciprocal())
    for k in range(len(z) - 1):
        y[k + 1 :].addcmul_(z[1 : len(z) - k], y[k])
        y[k + 1].mul_(-y[0])
    return y


def _power(z: Tensor, exponent: float) -> Tensor:
    # z y' = p z' y, so k z_0 y_k = sum_{j=1..k} (p j - (k - j)) z_j y_{k-j}.
    y, dz = _start(z, z[0].pow(exponent)), exponent * _slopes(z)
    for k in range(len(dz)):
        y[k + 1 :].addcmul_(dz[: len(dz) - k], y[k])
        y[k + 1 :].addcmul_(z[1 : len(z) - k], y[k], value=-k)
        y[k + 1].div_((k + 1) * z[0])
    return y


def _gaussian(z: Tensor, scale: float, factor: float) -> Tensor:
    return _scale(_call("exp", _scale(product(z, z), -scale)), factor)


class _Rule(NamedTuple):
    """Forward recurrence of f, and the series of f' from z or, where `keeps_output`, from f(z)."""

    run: Callable[..., Tensor]
    slope: Callable[..., Tensor]
    keeps_output: bool


def _integral(value: Callable[[Tensor], Tensor], slope: Callable[[Tensor], Tensor]) -> _Rule:
    return _Rule(lambda z: _integrate(value(z[0]), z, slope(z)), slope, False)


# torch's softplus turns into the identity above 20, which is 2e-9 off; this one is smooth.
def _softplus_value(value: Tensor) -> Tensor:
    return torch.logaddexp(value, torch.zeros_like(value))


# torch.special.ndtr is 0 below -8.
def _normal_distribution(value: Tensor) -> Tensor:
    return torch.special.erfc(value * -math.sqrt(0.5)) / 2


_RULES = {
    "exp": _Rule(_exp, lambda y: y, True),
    "expm1": _Rule(_expm1, lambda y: _scale(y, 1.0, 1.0), True),
    "tanh": _Rule(lambda z: _logistic(z, z[0].tanh(), 1.0, 0.0), lambda y: _scale(product(y, y), -1.0, 1.0), True),
    "sigmoid": _Rule(
        lambda z: _logistic(z, z[0].sigmoid(), 0.0, 1.0), lambda y: _sum(y, _scale(product(y, y), -1.0)), True
    ),
    "reciprocal": _Rule(_reciprocal, lambda y: _scale(product(y, y), -1.0), True),
    "sqrt": _Rule(lambda z: _power(z, 0.5), lambda y: _scale(_call("reciprocal", y), 0.5), True),
    "power": _Rule(_power, lambda z, p: _scale(_call("power", z, p - 1), p), False),
    "log": _integral(torch.log, lambda z: _call("reciprocal", z)),
    "log1p": _integral(torch.log1p, lambda z: _call("reciprocal", _scale(z, 1.0, 1.0))),
    "atan": _integral(torch.atan, lambda z: _call("reciprocal", _scale(product(z, z), 1.0, 1.0))),
    "softplus": _integral(_softplus_value, lambda z: _call("sigmoid", z)),
    "erf": _integral(torch.erf, lambda z: _gaussian(z, 1.0, 2 / math.sqrt(math.pi))),
    "ndtr": _integral(_normal_distribution, lambda z: _gaussian(z, 0.5, 1 / math.sqrt(2 * math.pi))),
}


class _Smooth(Function):
    @staticmethod
    def vmap(info, in_dims, z, name, *parameters):
        return _call(name, _batched(info, z, in_dims[0]), *parameters), 1

    @staticmethod
    def forward(z, name, *parameters):
        return _RULES[name].run(z, *parameters)

    @staticmethod
    def setup_context(ctx, inputs, output):
        z, ctx.name, *ctx.parameters = inputs
        kept = output if _RULES[ctx.name].keeps_output else z
        ctx.save_for_backward(kept)
        ctx.save_for_forward(kept)

    @staticmethod
    def slope(ctx):
        return _RULES[ctx.name].slope(*ctx.saved_tensors, *ctx.parameters)

    @staticmethod
    def backward(ctx, grad):
        return correlate(_Smooth.slope(ctx), grad), None, *[None] * len(ctx.parameters)

    @staticmethod
    def jvp(ctx, dz, *_):
        return product(_Smooth.slope(ctx), dz)


class _SinCos(Function):
    @staticmethod
    def vmap(info, in_dims, z):
        return _SinCos.apply(_batched(info, z, in_dims[0])), (1, 1)

    @staticmethod
    def forward(z):
        return _sin_cos(z)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*output)
        ctx.save_for_forward(*output)

    @staticmethod
    def backward(ctx, grad_sin, grad_cos):
        sin, cos = ctx.saved_tensors
        return _sum(
            None if grad_sin is None else correlate(cos, grad_sin),
            None if grad_cos is None else _scale(correlate(sin, grad_cos), -1.0),
        )

    @staticmethod
    def jvp(ctx, dz):
        sin, cos = ctx.saved_tensors
        return product(cos, dz), _scale(product(sin, dz), -1.0)


def _call(name: str, z: Tensor, *parameters: float) -> Tensor:
    return _Smooth.apply(z, name, *parameters)


def _gelu_tanh(z: Tensor) -> Tensor:
    cubic = z + 0.044715 * product(z, product(z, z))
    return product(z, _scale(_call("tanh", math.sqrt(2 / math.pi) * cubic), 0.5, 0.5))


def _tan(z: Tensor) -> Tensor:
    sin, cos = _SinCos.apply(z)
    return product(sin, _call("reciprocal", cos))


_COMPOSED: dict[str, Callable[[Tensor], Tensor]] = {
    "sin": lambda z: _SinCos.apply(z)[0],
    "cos": lambda z: _SinCos.apply(z)[1],
    "tan": _tan,
    "sinh": lambda z: (_call("expm1", z) - _call("expm1", -z)) / 2,
    "cosh": lambda z: (_call("exp", z) + _call("exp", -z)) / 2,
    "square": lambda z: product(z, z),
    "silu": lambda z: product(z, _call("sigmoid", z)),
    "gelu": lambda z: product(z, _call("ndtr", z)),
    "gelu_tanh": _gelu_tanh,
    "gaussian": lambda z: _gaussian(z, 1.0, 1.0),
}

FUNCTIONS = (*_RULES, *_COMPOSED)

# Torch binds the arguments of every call to the signature of `forward`, which Python otherwise works out each time.
for _function in (_Product, _Correlate, _Add, _Scale, _Affine, _Smooth, _SinCos):
    _function.forward.__signature__ = inspect.signature(_function.forward)


def apply(name: str, z: Tensor, *parameters: float) -> Tensor:
    """Return the series of f(z) for a series z.

    Order 0 is torch's own function; the cost is one to four products.

    Args:
        name: one of `FUNCTIONS`; "power" takes the exponent, "softplus" is smooth everywhere.
        z: (N + 1, ...).
        *parameters: the exponent of "power".

    Returns:
        The same shape.

    Example:
        >>> apply("tanh", torch.tensor([0.0, 1.0, 0.0, 0.0]))
        tensor([ 0.0000,  1.0000,  0.0000, -0.3333])
    """
    if name in _RULES:
        return _call(name, z, *parameters)
    return _COMPOSED[name](z)
