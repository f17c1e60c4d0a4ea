"""The spacing of nodes: one number, or a function of the place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Spacing = float | Callable[[np.ndarray], np.ndarray]
"""h, or a function of (n, d) points that returns h at each, (n,)."""


def spacing_at(spacing: Spacing, points: np.ndarray) -> np.ndarray:
    """Return the spacing at each point.

    Args:
        spacing: a positive number, or a function (n, d) -> (n,).
        points: (n, d) float64.

    Returns:
        (n,) float64.

    Raises:
        ValueError: a spacing that is not positive and finite, or a function whose values have another shape.

    Example:
        >>> spacing_at(lambda x: 0.1 + 0.1 * x[:, 0], np.array([[0.0, 5.0], [1.0, 5.0]])).tolist()
        [0.1, 0.2]
    """
    values = np.asarray(spacing(points) if callable(spacing) else spacing, dtype=np.float64)
    if callable(spacing) and values.shape != (len(points),):
        raise ValueError(
            f"spacing: expected one value a point, shape ({len(points)},), came {values.shape}: "
            f"return spacing of x of shape (n, {points.shape[1]}) as (n,)"
        )
    if not callable(spacing) and values.ndim:
        raise ValueError(f"spacing: expected one number or a function of x, came shape {values.shape}")
    if not (np.isfinite(values).all() and (values > 0).all()):
        worst = float(values.min()) if values.size else float(values)
        raise ValueError(f"spacing: expected positive finite values, came {worst}: give a length in units of x")
    return np.broadcast_to(values, (len(points),)).copy()
