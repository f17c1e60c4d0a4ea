"""Taylor series of activations by recurrence, over anything that adds and multiplies.

With y(t) = f(z(t)) the derivative y' = f'(z) z' gives k y_k = sum_{j=1..k} j z_j s_{k-j} for the normalised
coefficients, s the series of f'(z). Each activation below says how s follows, order by order. The elements z_k may be
numbers, arrays, or vectors of a program that is being written: the compiled kernels are these functions, run once.

Sums begin with the lowest orders and end with what was computed last: a processor then works at several orders at once.

The adjoint needs s alone: dy = s dz in truncated series, so zbar_j = sum_{k>=j} s_{k-j} ybar_k.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from math import pi, sqrt
from operator import add
from typing import Any

Elements = Sequence[Any]
"""Coefficients z_0, ..., z_N: numbers, or elements with + - * and methods such as `tanh()` for the order 0."""


@dataclass(frozen=True)
class Activation:
    """An activation as a recurrence.

    Args:
        expand: z -> (y, s), the series of f(z) and of f'(z).
        slope: y -> s where f' is a function of f alone, so that a backward pass needs y only; None otherwise.
    """

    expand: Callable[[Elements], tuple[list, list]]
    slope: Callable[[Elements], list] | None = None


def product(a: Elements, b: Elements, k: int) -> Any:
    """Return the coefficient of order k of a product of two series.

    Args:
        a: coefficients 0 to k at least.
        b: coefficients 0 to k at least.
        k: order.

    Returns:
        sum_{i=0..k} a_i b_{k-i}.

    Example:
        >>> product([1.0, 2.0, 3.0], [4.0, 5.0, 6.0], 2)
        28.0
    """
    total = a[k] * b[0]
    for i in reversed(range(k)):
        total = total + a[i] * b[k - i]
    return total


def square(a: Elements, k: int) -> Any:
    """Return the coefficient of order k of a square, with half the multiplications of `product`.

    Args:
        a: coefficients 0 to k at least.
        k: order.

    Returns:
        sum_{i=0..k} a_i a_{k-i}.

    Example:
        >>> square([1.0, 2.0, 3.0], 2)
        10.0
    """
    if k == 0:
        return a[0] * a[0]
    older = [a[i] * a[k - i] for i in range((k - 1) // 2, 0, -1)]
    terms = [reduce(add, older)] if older else []
    terms = [term + term for term in terms] + ([a[k // 2] * a[k // 2]] if k % 2 == 0 else [])
    return reduce(add, [*terms, (a[0] + a[0]) * a[k]])


def integrate(scaled: Elements, s: Elements, k: int) -> Any:
    """Return the coefficient of order k of the integral of s z'.

    Args:
        scaled: j z_j for j = 0 .. k.
        s: coefficients 0 to k - 1 at least.
        k: order, at least 1.

    Returns:
        (1/k) sum_{j=1..k} j z_j s_{k-j}.
    """
    total = scaled[k] * s[0]
    for j in reversed(range(1, k)):
        total = total + scaled[j] * s[k - j]
    return total * (1.0 / k) if k > 1 else total


def adjoint(s: Elements, cotangent: Elements, j: int) -> Any:
    """Return the cotangent of order j of z, from those of y = f(z).

    Args:
        s: series of f'(z).
        cotangent: ybar_0 .. ybar_N.
        j: order.

    Returns:
        sum_{k>=j} s_{k-j} ybar_k.

    Example:
        >>> adjoint([2.0, 3.0], [5.0, 7.0], 0)
        31.0
    """
    total = s[0] * cotangent[j]
    for k in range(j + 1, len(cotangent)):
        total = total + s[k - j] * cotangent[k]
    return total


def _scaled(z: Elements) -> list:
    return [z[0], *z[1:2], *(z_j * float(j) for j, z_j in enumerate(z[2:], start=2))]


def _tanh_slope(y: Elements) -> list:
    return [1.0 - square(y, 0), *(-square(y, k) for k in range(1, len(y)))]


def _tanh(z: Elements) -> tuple[list, list]:
    scaled, y = _scaled(z), [z[0].tanh()]
    s = [1.0 - square(y, 0)]
    for k in range(1, len(z)):
        y.append(integrate(scaled, s, k))
        s.append(-square(y, k))
    return y, s


def _sigmoid_slope(y: Elements) -> list:
    return [y[k] - square(y, k) for k in range(len(y))]


def _sigmoid(z: Elements) -> tuple[list, list]:
    scaled, y = _scaled(z), [z[0].sigmoid()]
    s = [y[0] - square(y, 0)]
    for k in range(1, len(z)):
        y.append(integrate(scaled, s, k))
        s.append(y[k] - square(y, k))
    return y, s


def _exp(z: Elements) -> tuple[list, list]:
    scaled, y = _scaled(z), [z[0].exp()]
    for k in range(1, len(z)):
        y.append(integrate(scaled, y, k))
    return y, y


def _sin(z: Elements) -> tuple[list, list]:
    scaled = _scaled(z)
    first, second = z[0].sincos()
    sine, cosine = [first], [second]
    for k in range(1, len(z)):
        sine.append(integrate(scaled, cosine, k))
        cosine.append(-integrate(scaled, sine, k))
    return sine, cosine


def _cos(z: Elements) -> tuple[list, list]:
    sine, cosine = _sin(z)
    return cosine, [-value for value in sine]


def _softplus(z: Elements) -> tuple[list, list]:
    scaled, y = _scaled(z), [z[0].softplus()]
    s, _ = _sigmoid(z)
    return y + [integrate(scaled, s, k) for k in range(1, len(z))], s


def _silu(z: Elements) -> tuple[list, list]:
    gate, slope = _sigmoid(z)
    orders = range(len(z))
    return [product(z, gate, k) for k in orders], [gate[k] + product(z, slope, k) for k in orders]


def _gelu(z: Elements) -> tuple[list, list]:
    scaled, orders = _scaled(z), range(len(z))
    density, _ = _exp([square(z, k) * -0.5 for k in orders])
    density = [value * (1 / sqrt(2 * pi)) for value in density]
    cumulated = [z[0].normal_cdf()] + [integrate(scaled, density, k) for k in orders[1:]]
    return [product(z, cumulated, k) for k in orders], [cumulated[k] + product(z, density, k) for k in orders]


def _gaussian(z: Elements) -> tuple[list, list]:
    orders = range(len(z))
    y, _ = _exp([-square(z, k) for k in orders])
    return y, [product(z, y, k) * -2.0 for k in orders]


def _atan(z: Elements) -> tuple[list, list]:
    scaled, y = _scaled(z), [z[0].atan()]
    below = [square(z, k) for k in range(len(z))]
    s = [1.0 / (below[0] + 1.0)]
    for k in range(1, len(z)):
        y.append(integrate(scaled, s, k))
        s.append(-_tail(below, s, k) * s[0])
    return y, s


def _tail(a: Elements, b: Elements, k: int) -> Any:
    """Sum a_i b_{k-i} over i = 1 .. k: the product without its term in b_k, which is not known yet."""
    total = a[k] * b[0]
    for i in reversed(range(1, k)):
        total = total + a[i] * b[k - i]
    return total


ACTIVATIONS = {
    "tanh": Activation(_tanh, _tanh_slope),
    "sigmoid": Activation(_sigmoid, _sigmoid_slope),
    "exp": Activation(_exp, list),
    "sin": Activation(_sin),
    "cos": Activation(_cos),
    "softplus": Activation(_softplus),
    "silu": Activation(_silu),
    "gelu": Activation(_gelu),
    "gaussian": Activation(_gaussian),
    "atan": Activation(_atan),
}
"""By the name of the method of `Series`."""
