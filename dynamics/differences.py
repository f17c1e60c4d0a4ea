"""Central finite differences as numbers: their weights, the noise that they put into a matrix, and the best step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np

ORDERS = (2, 4, 6, 8)
"""Orders of accuracy."""

HIGHEST = 8
"""Highest derivative along one axis."""


@lru_cache
def exact_weights(derivative: int, order: int) -> dict[int, Fraction]:
    r"""Return the central stencil of a 1-D derivative on unit spacing, in rational numbers.

    $$ \sum_j w_j j^k = m! \, [k = m], \quad k = 0, \dots, 2r, \quad r = \lfloor (m - 1) / 2 \rfloor + q / 2 $$

    so that the stencil is exact on polynomials up to degree m + q - 1: w_j is m! times the coefficient of z^m in the
    Lagrange polynomial of node j.

    Args:
        derivative: m, 0 to 8.
        order: q of accuracy, 2, 4, 6 or 8.

    Returns:
        Offset -> weight, in order.

    Raises:
        ValueError: another derivative or order.

    Example:
        >>> exact_weights(2, 2)
        {-1: Fraction(1, 1), 0: Fraction(-2, 1), 1: Fraction(1, 1)}
    """
    if order not in ORDERS or not isinstance(order, int | np.integer):
        raise ValueError(f"expected a central scheme of order {', '.join(map(str, ORDERS))}, came {order!r}")
    if not (isinstance(derivative, int | np.integer) and 0 <= derivative <= HIGHEST):
        raise ValueError(f"expected a derivative of order 0 to {HIGHEST}, came {derivative!r}")
    if derivative == 0:
        return {0: Fraction(1)}
    radius = (derivative - 1) // 2 + order // 2
    offsets, weights = range(-radius, radius + 1), {}
    for node in offsets:
        polynomial = [Fraction(1)]
        for other in offsets:
            if other != node:
                shifted, padded = [Fraction(0), *polynomial], [*polynomial, Fraction(0)]
                polynomial = [(a - other * b) / (node - other) for a, b in zip(shifted, padded, strict=True)]
        weights[node] = polynomial[derivative] * math.factorial(derivative)
    return weights


@lru_cache
def central_weights(derivative: int, order: int) -> tuple[tuple[int, ...], tuple[float, ...], float]:
    """Return the central stencil of a 1-D derivative on unit spacing, rounded to float64, and its error's constant.

    Args:
        derivative: m, 0 to 8.
        order: q of accuracy, 2, 4, 6 or 8.

    Returns:
        Offsets, weights, and the constant C of the leading error C h^q u^(m + q).

    Raises:
        ValueError: another derivative or order.

    Example:
        >>> central_weights(2, 2)
        ((-1, 0, 1), (1.0, -2.0, 1.0), 0.08333333333333333)
    """
    exact = exact_weights(derivative, order)
    power = derivative + order
    constant = sum(weight * node**power for node, weight in exact.items()) / math.factorial(power)
    return tuple(exact), tuple(map(float, exact.values())), float(constant)


@dataclass(frozen=True)
class Central:
    """A central difference of one partial: the product of one stencil an axis, on unit spacing.

    Args:
        power: m, total order of the derivative.
        order: q of accuracy.
        absolute: sum of the weights' sizes.
        norm: their 2-norm.
        constant: sum over the axes of |C|, the truncation's factor.
    """

    power: int
    order: int
    absolute: float
    norm: float
    constant: float

    @classmethod
    def of(cls, derivative: int | Sequence[int], order: int) -> Central:
        """Return the difference of a partial.

        Args:
            derivative: m, or one order an axis: (2, 2) is xxyy.
            order: of accuracy.

        Returns:
            Its numbers.

        Raises:
            ValueError: from `central_weights`.

        Example:
            >>> Central.of((2, 2), 2).absolute
            16.0
        """
        if isinstance(derivative, str):
            raise ValueError(
                f"expected a derivative as an order or one order an axis, came {derivative!r}: xxyy is (2, 2)"
            )
        orders = tuple(np.atleast_1d(derivative).tolist())
        stencils = [central_weights(along, order) for along in orders]
        absolute = math.prod(sum(map(abs, weights)) for _, weights, _ in stencils)
        norm = math.prod(math.hypot(*weights) for _, weights, _ in stencils)
        return cls(sum(orders), order, absolute, norm, sum(abs(constant) for _, _, constant in stencils))


def predict_floor(
    h: float,
    order: int,
    derivative: int | Sequence[int],
    dtype=np.float64,
    amplitude: float = 1.0,
    shape: tuple[int, int] = (1, 1),
) -> float:
    r"""Predict the size below which singular values of a matrix of finite differences are rounding noise.

    $$ f = \frac{\varepsilon}{\sqrt{12}} \, a \, \frac{\|w\|_2}{h^m} \, (\sqrt{M} + \sqrt{N}) $$

    Every value in the stencil is rounded by itself, uniformly over one unit in its last place; the weights w / h^m
    enlarge that, and an M x N matrix of independent entries of this size has the 2-norm (sqrt M + sqrt N) times it.
    The noise is full rank:
    about this many singular values stay where exact ones would decay. For s(w x + b) what is rounded has the root mean
    square size of (s^2 + 2 z^2 s'^2)^(1/2), z = w x + b; with that amplitude the measured noise of random features is
    0.9 to 2.4 of this, for steps 0.1 to 1e-4, m = 2 and 4, q = 2 and 4, scales 1 to 20. A solver measures it instead
    (`solvers.noise.redraw`).

    Args:
        h: step, in the unit of the coordinate.
        order: of accuracy, 2, 4, 6 or 8.
        derivative: m, or one order an axis: (2, 2) is xxyy.
        dtype: floating type of the values, of numpy or torch, or its name.
        amplitude: root mean square size a of the values, in their unit.
        shape: (M, N) of the matrix; (1, 1) gives twice the noise of one entry.

    Returns:
        In the unit of the entries, that of the values over that of h^m.

    Raises:
        ValueError: a step or amplitude that is not positive and finite, an order or derivative without a stencil, a
            shape without entries, a type that is not floating.

    Source: ours; the norm of a matrix with independent entries is that of e.g. R. Vershynin, "High-dimensional
        probability", theorem 4.4.5.

    Cost: constant.

    Example:
        >>> f"{predict_floor(1e-4, 2, 2, shape=(200, 100)):.1e}"
        '3.8e-07'
    """
    if not (0 < h < math.inf and 0 < amplitude < math.inf):
        raise ValueError(f"expected a positive finite step and amplitude, came {h} and {amplitude}")
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"expected the matrix's (rows, columns), came {shape}")
    central = Central.of(derivative, order)
    entry = _eps(dtype) / math.sqrt(12) * amplitude * central.norm / h**central.power
    return entry * (math.sqrt(shape[0]) + math.sqrt(shape[1]))


def best_step(order: int, derivative: int | Sequence[int], dtype=np.float64, wavenumber: float = 1.0) -> float:
    r"""Return the step at which truncation and round-off together are least.

    $$ h = \frac{1}{k} \Big( \frac{m \, \varepsilon \sum |w|}{q \, |C|} \Big)^{1 / (m + q)} $$

    minimizes |C| h^q k^(m+q) + eps sum|w| / h^m, for values of size 1 that vary with the wavenumber k.

    Args:
        order: q of accuracy, 2, 4, 6 or 8.
        derivative: m >= 1, or one order an axis.
        dtype: floating type of the values, of numpy or torch, or its name.
        wavenumber: k, in the inverse unit of the coordinate: the highest that matters.

    Returns:
        h, in the unit of the coordinate.

    Raises:
        ValueError: an order or derivative without a stencil, derivative 0, a wavenumber that is not positive.

    Source: e.g. W. H. Press et al., "Numerical Recipes", 3rd ed., section 5.7, for any order.

    Cost: constant.

    Example:
        >>> round(best_step(2, 2) * 1e4, 3), round(best_step(4, 4, wavenumber=10.0), 4)
        (3.213, 0.0026)
    """
    central = Central.of(derivative, order)
    if central.power == 0:
        raise ValueError("expected a derivative of order 1 or more, came 0: values need no step")
    if not 0 < wavenumber < math.inf:
        raise ValueError(f"expected a positive finite wavenumber, came {wavenumber}")
    balance = central.power * _eps(dtype) * central.absolute / (order * central.constant)
    return balance ** (1 / (central.power + order)) / wavenumber


def _eps(dtype) -> float:
    try:
        # A torch dtype prints as torch.float32; torch itself is not known here.
        return float(np.finfo(str(dtype).removeprefix("torch.") if not isinstance(dtype, type) else dtype).eps)
    except (TypeError, ValueError):
        raise ValueError(f"expected a floating type such as float64, came {dtype!r}") from None
