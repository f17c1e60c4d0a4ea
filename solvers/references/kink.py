"""How diffusion rounds off a kink: the singular part of the heat flow of an even, periodic function, in closed form."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import erfc


def rounding(distance: np.ndarray, spread: np.ndarray) -> np.ndarray:
    r"""Return what the heat equation adds to |y|, once: w - |y| with w_t = D w_yy, w(y, 0) = |y|.

    $$ w - |y| = \sqrt{4 D t}\, \Big( \frac{e^{-\eta^2}}{\sqrt\pi} - \eta\, \mathrm{erfc}\, \eta \Big), \qquad
    \eta = |y| / \sqrt{4 D t} $$

    Args:
        distance: |y|.
        spread: sqrt(4 D t), 0 at the start.

    Returns:
        The difference, 0 where the spread is 0.

    References:
        H. S. Carslaw and J. C. Jaeger, Conduction of Heat in Solids, section 2.9 and appendix II (ierfc).

    Example:
        >>> round(float(rounding(np.array(0.0), np.array(0.5))) * math.sqrt(math.pi), 12)
        0.5
    """
    distance, spread = np.broadcast_arrays(distance, spread)
    eta = distance / np.where(spread > 0, spread, 1.0)
    added = spread * (np.exp(-(eta**2)) / math.sqrt(math.pi) - eta * erfc(eta))
    return np.where(spread > 0, added, 0.0)


def rounded_kinks(x: np.ndarray, t: np.ndarray, diffusion: float) -> np.ndarray:
    """Return what the heat equation adds to an even, 2-periodic function of slope -1 at x = 1, from its kinks alone.

    The kinks lie at x = 1, -1, 3, -3, ...; each has a slope jump of 2. The sum takes those nearer than 7 sqrt(4 D t),
    which leaves 1e-21.

    Args:
        x: positions in [-1, 1].
        t: times from 0 on, that broadcast with x.
        diffusion: D.

    Returns:
        The sum over the kinks. It satisfies the heat equation for t > 0; its slope at x = 1 is 1.

    Example:
        >>> x = np.array([1 - 1e-6, 1.0])
        >>> low, high = rounded_kinks(x, 1.0, 0.01)
        >>> round(float(high - low) / 1e-6, 4)
        1.0
    """
    spread = np.sqrt(4 * diffusion * np.asarray(t, float))
    count = 1 + math.ceil(7 * float(np.max(spread, initial=0.0)) / 2)
    places = (sign * (2 * i + 1) for i in range(count) for sign in (1, -1))
    return sum(rounding(np.abs(x - place), spread) for place in places)
