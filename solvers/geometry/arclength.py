"""Places along a line, equispaced in a density such as speed / spacing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

ABSCISSAE, WEIGHTS = np.polynomial.legendre.leggauss(8)
ABSCISSAE, WEIGHTS = (ABSCISSAE + 1) / 2, WEIGHTS / 2


def integrals(density: Callable[[np.ndarray], np.ndarray], start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Return the integral of a density over each of several intervals, by 8-point Gauss-Legendre quadrature.

    Args:
        density: (k,) -> (k,).
        start: (n,) where the intervals start.
        length: (n,) their lengths.

    Returns:
        (n,).

    Example:
        >>> integrals(np.cos, np.zeros(1), np.ones(1)).round(12).tolist()
        [0.841470984808]
    """
    at = start[:, None] + length[:, None] * ABSCISSAE
    return length * (density(at.ravel()).reshape(at.shape) @ WEIGHTS)


def equispaced(
    density: Callable[[np.ndarray], np.ndarray],
    knots: np.ndarray,
    *,
    count: int | None = None,
    least: int = 1,
    offset: float = 0.0,
) -> np.ndarray:
    """Return parameters t_k between which a density has equal integrals: W(t_k) = (k + offset) / count * W(end).

    With density = |path'(t)| / h(path(t)) neighbouring places are one spacing apart along the path. Newton's method on
    W, exact to rounding where the density is smooth between the knots.

    Args:
        density: positive, (k,) -> (k,).
        knots: (panels + 1,) ascending; the first and last are the ends.
        count: of places; None takes the integral, rounded.
        least: smallest count.
        offset: 0 for a closed path, 0.5 to keep half a step from both ends.

    Returns:
        (count,) ascending. Cost: 8 panels + about 40 count values of the density.

    Example:
        >>> equispaced(lambda t: 2 * t, np.linspace(0, 1, 3), count=2, offset=0.5).round(12).tolist()
        [0.5, 0.866025403784]
    """
    widths = np.diff(knots)
    weights = integrals(density, knots[:-1], widths)
    cumulative = np.concatenate([[0.0], np.cumsum(weights)])
    count = max(least, round(float(cumulative[-1]))) if count is None else count
    targets = (np.arange(count) + offset) * (cumulative[-1] / count)
    panel = np.clip(np.searchsorted(cumulative, targets, side="right") - 1, 0, len(widths) - 1)
    start, width, rest = knots[panel], widths[panel], targets - cumulative[panel]
    share = rest / weights[panel]
    for _ in range(12):
        change = (integrals(density, start, width * share) - rest) / (density(start + width * share) * width)
        share = np.clip(share - change, 0.0, 1.0)
        if np.abs(change).max() <= 1e-14:
            break
    return start + width * share
