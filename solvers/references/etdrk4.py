"""Exponential time differencing, fourth order: the integrator behind references without a closed form."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

CONTOUR = 64


def etdrk4(
    linear: np.ndarray,
    nonlinear: Callable[[np.ndarray], np.ndarray],
    state: np.ndarray,
    step: float,
    steps: int,
) -> Iterator[np.ndarray]:
    """Integrate v' = L v + N(v), L diagonal, exactly in the linear part and to order 4 in the nonlinear one.

    The coefficients (e^z - 1) / z and its successors cancel near z = 0; they are averaged over a circle around z, where
    they are analytic and well conditioned. For real L the upper half of it will do.

    Args:
        linear: diagonal of L, real or complex, any shape.
        nonlinear: N, of arrays of that shape.
        state: v at the start.
        step: time step.
        steps: how many.

    Yields:
        v after each step, beginning with the start itself: steps + 1 arrays.

    References:
        S. M. Cox and P. C. Matthews, J. Comput. Phys. 176 (2002), eq. 26-29; A.-K. Kassam and L. N. Trefethen,
        SIAM J. Sci. Comput. 26 (2005), section 3.

    Example:
        >>> *_, last = etdrk4(np.array([-1.0]), lambda v: 0 * v, np.array([1.0]), 0.1, 10)
        >>> round(float(last[0]), 12) == round(float(np.exp(-1.0)), 12)
        True
    """
    z = linear * step
    real = np.isrealobj(z)
    # In the precision of L, which may be more than float64.
    pi = 4 * np.arctan(z.real.dtype.type(1))
    angles = (1 if real else 2) * pi * (np.arange(1, CONTOUR + 1) - z.real.dtype.type(0.5)) / CONTOUR
    ring = z[..., None] + np.exp(1j * angles)
    whole, half = np.exp(z), np.exp(z / 2)

    def mean(values: np.ndarray) -> np.ndarray:
        average = step * values.mean(axis=-1)
        return average.real if real else average

    stage = mean((np.exp(ring / 2) - 1) / ring)
    first = mean((-4 - ring + np.exp(ring) * (4 - 3 * ring + ring**2)) / ring**3)
    middle = mean((2 + ring + np.exp(ring) * (ring - 2)) / ring**3)
    last = mean((-4 - 3 * ring - ring**2 + np.exp(ring) * (4 - ring)) / ring**3)

    yield state
    for _ in range(steps):
        at_start = nonlinear(state)
        a = half * state + stage * at_start
        at_a = nonlinear(a)
        b = half * state + stage * at_a
        at_b = nonlinear(b)
        c = half * a + stage * (2 * at_b - at_start)
        state = whole * state + first * at_start + 2 * middle * (at_a + at_b) + last * nonlinear(c)
        yield state
