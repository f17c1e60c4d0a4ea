"""Elementary functions of truncated Taylor series, as operations on stacks of normalised coefficients.

A stack has shape (rows, ...), each row a coefficient z_k = z^(k)/k! along some direction, and every step is vectorised
over the rest. Each function rests on dy = f'(z) dz, which holds exactly for truncated series: with s the series of
f'(z), the tangent of the result is the product s dz, and the adjoint is the correlation zbar_j = sum_{k >= j} s_{k-j}
ybar_k. Both are differentiable as often as wanted, in both modes, and so is everything here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from solvers.layout import Layout
from solvers.series.algebra import Algebra, add_product
from solvers.series.products import Rowwise, Tracked, add, batched, is_bare, scale


class _Plain:
    """Functions and their slopes without a graph, for forward passes and for backward passes that end there."""

    def __init__(self, algebra: Algebra):
        self.algebra = algebra
        self.product, self.square, self.correlate = algebra.product, algebra.square, algebra.correlate

    def function(self, name: str, z: Tensor, *parameters: float) -> Tensor:
        return _RULES[name].run(self.algebra, z, *parameters)

    def scale(self, z: Tensor, factor: float, constant: float = 0.0) -> Tensor:
        result = z * factor
        if constant:
            result[0] += constant
        return result


class _Exact(Tracked):
    """The same, followed by autograd and torch.func."""

    def function(self, name: str, z: Tensor, *parameters: float) -> Tensor:
        return _Smooth.apply(z, name, self.algebra, *parameters)

    def sin_cos(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return _SinCos.apply(z, self.algebra)

    scale = staticmethod(scale)


def _calculus(algebra: Algebra) -> _Plain | _Exact:
    return _Plain(algebra) if is_bare() else _Exact(algebra)


# Recurrences, order after order; each order of a group is final when the next one begins.


def _exp(algebra: Algebra, z: Tensor) -> Tensor:
    return algebra.integrate(z[0].exp(), z)


def _expm1(algebra: Algebra, z: Tensor) -> Tensor:
    y = _exp(algebra, z)
    y[0] = z[0].expm1()
    return y


def _sin_cos(algebra: Algebra, z: Tensor) -> tuple[Tensor, Tensor]:
    sin_0, cos_0 = z[0].sin(), z[0].cos()
    sin, cos = z * cos_0, z * -sin_0
    sin[0], cos[0] = sin_0, cos_0
    if algebra.coupled:
        inner, sines, cosines = algebra.blocks(z), algebra.blocks(sin), algebra.blocks(cos)
        for step in algebra.coupled:
            for i, j, weight in step.pairs:
                add_product(sines[step.target], inner[i], cosines[j], step, weight)
                add_product(cosines[step.target], inner[i], sines[j], step, -weight)
    return sin, cos


def _logistic(algebra: Algebra, z: Tensor, value: Tensor, constant: float, linear: float) -> Tensor:
    # y' = s z' with s = constant + linear y - y^2.
    y = z * torch.addcmul(value * linear if linear else torch.full_like(value, constant), value, value, value=-1)
    y[0] = value
    if algebra.coupled:
        inner, outer, slopes = algebra.blocks(z), algebra.blocks(y), {}
        inclination = value * -2 + linear if linear else value * -2
        for step in algebra.steps:
            block = outer[step.target]
            for i, j, weight in step.pairs:
                add_product(block, inner[i], slopes[j], step, weight)
            if not step.last:
                slopes[step.target] = slope = block * inclination
                for i, j, times in step.halves:
                    slope.addcmul_(outer[i], outer[j], value=-times)
    return y


def _reciprocal(algebra: Algebra, z: Tensor) -> Tensor:
    # z y = 1, so z_0 y_k = -sum_{i=1..k} z_i y_{k-i}.
    value = z[0].reciprocal()
    y = z * -value.square()
    y[0] = value
    if algebra.coupled:
        inner, outer = algebra.blocks(z), algebra.blocks(y)
        for step in algebra.coupled:
            rest = torch.zeros_like(outer[step.target])
            for i, j, _ in step.pairs:
                add_product(rest, inner[i], outer[j], step)
            outer[step.target].addcmul_(rest, value, value=-1)
    return y


def _power(algebra: Algebra, z: Tensor, exponent: float) -> Tensor:
    # z y' = p z' y, so k z_0 y_k = sum_{i=1..k} (p i - (k - i)) z_i y_{k-i}.
    value = z[0].pow(exponent)
    y = z * (value * exponent)
    y[0] = value
    inner, outer = algebra.blocks(z), algebra.blocks(y)
    for step in algebra.steps:
        for i, j, weight in step.pairs:
            add_product(outer[step.target], inner[i], outer[j], step, (exponent + 1) * weight - 1)
        outer[step.target].div_(z[0])
    return y


class _Rule(NamedTuple):
    """Forward recurrence of f, and the series of f' from z or, where `keeps_output`, from f(z)."""

    run: Callable[..., Tensor]
    slope: Callable[..., Tensor]
    keeps_output: bool


def _integral(value: Callable[[Tensor], Tensor], slope: Callable[..., Tensor]) -> _Rule:
    return _Rule(lambda algebra, z: algebra.integrate(value(z[0]), z, slope(_Plain(algebra), z)), slope, False)


def _gaussian(calculus: _Plain | _Exact, z: Tensor, width: float, factor: float) -> Tensor:
    return calculus.scale(calculus.function("exp", calculus.square(z, -width)), factor)


# torch's softplus turns into the identity above 20, which is 2e-9 off; this one is smooth.
def _softplus_value(value: Tensor) -> Tensor:
    return torch.logaddexp(value, torch.zeros_like(value))


# torch.special.ndtr is 0 below -8.
def _normal_distribution(value: Tensor) -> Tensor:
    return torch.special.erfc(value * -math.sqrt(0.5)) / 2


_RULES = {
    "exp": _Rule(_exp, lambda c, y: y, True),
    "expm1": _Rule(_expm1, lambda c, y: c.scale(y, 1.0, 1.0), True),
    "tanh": _Rule(lambda a, z: _logistic(a, z, z[0].tanh(), 1.0, 0.0), lambda c, y: c.square(y, -1.0, 1.0), True),
    "sigmoid": _Rule(
        lambda a, z: _logistic(a, z, z[0].sigmoid(), 0.0, 1.0), lambda c, y: c.square(y, -1.0, linear=1.0), True
    ),
    "reciprocal": _Rule(_reciprocal, lambda c, y: c.square(y, -1.0), True),
    "sqrt": _Rule(lambda a, z: _power(a, z, 0.5), lambda c, y: c.scale(c.function("reciprocal", y), 0.5), True),
    "power": _Rule(_power, lambda c, z, p: c.scale(c.function("power", z, p - 1), p), False),
    "log": _integral(torch.log, lambda c, z: c.function("reciprocal", z)),
    "log1p": _integral(torch.log1p, lambda c, z: c.function("reciprocal", c.scale(z, 1.0, 1.0))),
    "atan": _integral(torch.atan, lambda c, z: c.function("reciprocal", c.square(z, 1.0, 1.0))),
    "softplus": _integral(_softplus_value, lambda c, z: c.function("sigmoid", z)),
    "erf": _integral(torch.erf, lambda c, z: _gaussian(c, z, 1.0, 2 / math.sqrt(math.pi))),
    "ndtr": _integral(_normal_distribution, lambda c, z: _gaussian(c, z, 0.5, 1 / math.sqrt(2 * math.pi))),
}


class _Smooth(Rowwise):
    @staticmethod
    def vmap(info, in_dims, z, name, algebra, *parameters):
        return _Smooth.apply(batched(info, z, in_dims[0]), name, algebra, *parameters), 1

    @staticmethod
    def forward(z, name, algebra, *parameters):
        return _RULES[name].run(algebra, z, *parameters)

    @staticmethod
    def setup_context(ctx, inputs, output):
        z, name, ctx.algebra, *ctx.parameters = inputs
        ctx.rule = _RULES[name]
        kept = output if ctx.rule.keeps_output else z
        ctx.save_for_backward(kept)
        ctx.save_for_forward(kept)

    @staticmethod
    def backward(ctx, grad):
        calculus = _calculus(ctx.algebra)
        slope = ctx.rule.slope(calculus, *ctx.saved_tensors, *ctx.parameters)
        return calculus.correlate(slope, grad), None, None, *[None] * len(ctx.parameters)

    @staticmethod
    def jvp(ctx, dz, *_):
        calculus = _Exact(ctx.algebra)
        return calculus.product(ctx.rule.slope(calculus, *ctx.saved_tensors, *ctx.parameters), dz)


class _SinCos(Rowwise):
    @staticmethod
    def vmap(info, in_dims, z, algebra):
        return _SinCos.apply(batched(info, z, in_dims[0]), algebra), (1, 1)

    @staticmethod
    def forward(z, algebra):
        return _sin_cos(algebra, z)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.algebra = inputs[1]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*output)
        ctx.save_for_forward(*output)

    @staticmethod
    def backward(ctx, grad_sin, grad_cos):
        sin, cos = ctx.saved_tensors
        calculus = _calculus(ctx.algebra)
        return add(
            None if grad_sin is None else calculus.correlate(cos, grad_sin),
            None if grad_cos is None else calculus.scale(calculus.correlate(sin, grad_cos), -1.0),
        ), None

    @staticmethod
    def jvp(ctx, dz, _):
        sin, cos = ctx.saved_tensors
        calculus = _Exact(ctx.algebra)
        return calculus.product(cos, dz), calculus.scale(calculus.product(sin, dz), -1.0)


def _gelu_tanh(calculus: _Exact, z: Tensor) -> Tensor:
    cubic = z + 0.044715 * calculus.product(z, calculus.product(z, z))
    return calculus.product(z, calculus.scale(calculus.function("tanh", math.sqrt(2 / math.pi) * cubic), 0.5, 0.5))


def _tan(calculus: _Exact, z: Tensor) -> Tensor:
    sin, cos = calculus.sin_cos(z)
    return calculus.product(sin, calculus.function("reciprocal", cos))


_COMPOSED: dict[str, Callable[[_Exact, Tensor], Tensor]] = {
    "sin": lambda c, z: c.sin_cos(z)[0],
    "cos": lambda c, z: c.sin_cos(z)[1],
    "tan": _tan,
    "sinh": lambda c, z: (c.function("expm1", z) - c.function("expm1", -z)) / 2,
    "cosh": lambda c, z: (c.function("exp", z) + c.function("exp", -z)) / 2,
    "square": lambda c, z: c.product(z, z),
    "silu": lambda c, z: c.product(z, c.function("sigmoid", z)),
    "gelu": lambda c, z: c.product(z, c.function("ndtr", z)),
    "gelu_tanh": _gelu_tanh,
    "gaussian": lambda c, z: _gaussian(c, z, 1.0, 1.0),
}

FUNCTIONS = (*_RULES, *_COMPOSED)


def apply(name: str, z: Tensor, *parameters: float, layout: Layout | None = None) -> Tensor:
    """Return the series of f(z) for a series z.

    Order 0 is torch's own function; the cost is one to four products.

    Args:
        name: one of `FUNCTIONS`; "power" takes the exponent, "softplus" is smooth everywhere.
        z: (rows, ...).
        *parameters: the exponent of "power".
        layout: which row is what; one direction by default.

    Returns:
        The same shape.

    Example:
        >>> apply("tanh", torch.tensor([0.0, 1.0, 0.0, 0.0]))
        tensor([ 0.0000,  1.0000,  0.0000, -0.3333])
    """
    calculus = _Exact(Algebra.single(len(z)) if layout is None else Algebra.of(layout))
    if name in _RULES:
        return calculus.function(name, z, *parameters)
    return _COMPOSED[name](calculus, z)


def function_of(name: str, parameters: tuple[float, ...] = ()) -> Callable[[Tensor], Tensor]:
    """Return a function of stacks of one direction, by its name.

    Args:
        name: one of `FUNCTIONS`.
        parameters: those of the function.

    Returns:
        (N + 1, ...) -> the same shape.

    Example:
        >>> function_of("power", (2.0,))(torch.tensor([3.0, 1.0, 0.0]))
        tensor([9., 6., 1.])
    """
    return partial(_named, name, parameters)


def _named(name: str, parameters: tuple[float, ...], z: Tensor) -> Tensor:
    return apply(name, z, *parameters)
