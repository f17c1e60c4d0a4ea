"""Smooth closed paths in the plane, t in [0, 1) -> (x, y), from a function or through points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

PANELS = 512
STEP = 1e-3
CENTRAL = np.array([672.0, -168.0, 32.0, -3.0]) / 840
"""Weights of f(x + k h) - f(x - k h), k = 1..4, over h: the first derivative, of order 8."""
OPEN = 4.0
"""Gap between the last and first of the points, over the largest other gap, from which the path counts as open."""
CLOSED = 1e-6
"""Gap between both ends of a function, over its size, that still counts as closed."""


@dataclass(frozen=True, eq=False)
class Path:
    """A closed path and its derivative.

    Args:
        position: t (k,) -> (k, 2), of period 1.
        velocity: its derivative.
        knots: (panels + 1,) from 0 to 1, between which the path is smooth.
    """

    position: Callable[[np.ndarray], np.ndarray]
    velocity: Callable[[np.ndarray], np.ndarray]
    knots: np.ndarray


def path_of_function(function: Callable, derivative: Callable | None = None) -> Path:
    """Return a path from a function of t in [0, 1).

    Without a derivative it is a central difference of order 8 with step 1e-3: relative error about 1e-12, for
    functions that vary at wavenumbers up to some 5 a turn (1e-8 at 20).

    Args:
        function: t (k,) -> (k, 2), smooth and of period 1.
        derivative: t (k,) -> (k, 2), or None.

    Returns:
        The path.

    Raises:
        ValueError: values of another shape or not finite, or two ends that do not meet.

    Example:
        >>> circle = path_of_function(lambda t: np.stack([np.cos(2 * np.pi * t), np.sin(2 * np.pi * t)], axis=1))
        >>> circle.velocity(np.zeros(1)).round(9).tolist()
        [[0.0, 6.283185307]]
    """

    def checked(call: Callable, t: np.ndarray, name: str) -> np.ndarray:
        values = np.asarray(call(t % 1.0), dtype=np.float64)
        if values.shape != (len(t), 2) or not np.isfinite(values).all():
            raise ValueError(
                f"{name}: expected finite values of shape ({len(t)}, 2) for t of shape ({len(t)},), came "
                f"{values.shape}: return np.stack([x, y], axis=1)"
            )
        return values

    def position(t: np.ndarray) -> np.ndarray:
        return checked(function, t, "curve")

    def velocity(t: np.ndarray) -> np.ndarray:
        if derivative is not None:
            return checked(derivative, t, "derivative")
        shifts = STEP * np.arange(1, 5)
        ahead, behind = (position((t[:, None] + sign * shifts).ravel()).reshape(-1, 4, 2) for sign in (1, -1))
        return np.einsum("k,nkc->nc", CENTRAL / STEP, ahead - behind)

    coarse = position(np.arange(256) / 256)
    gap = float(np.linalg.norm(position(np.array([1 - 1e-9])) - coarse[:1]))
    if gap > CLOSED * float(np.ptp(coarse, axis=0).max()):
        raise ValueError(
            f"the curve is open: its values at t -> 1 and at t = 0 are {gap:.3g} apart; give a function of period 1"
        )
    return Path(position, velocity, np.linspace(0, 1, PANELS + 1))


def path_of_points(points: np.ndarray) -> Path:
    """Return the periodic cubic spline through points, over the length of their chords.

    Args:
        points: (k, 2) in order along a closed curve, k >= 4; the first may be repeated as the last.

    Returns:
        The path; its error falls as k^-4, that of its derivative as k^-3.

    Raises:
        ValueError: too few points, not finite, repeated neighbours, or an open curve.

    Example:
        >>> angle = 2 * np.pi * np.arange(64) / 64
        >>> path = path_of_points(np.stack([np.cos(angle), np.sin(angle)], axis=1))
        >>> path.position(np.array([0.125])).round(6).tolist()
        [[0.707107, 0.707107]]
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise ValueError(f"curve: expected finite points of shape (k, 2) or a function of t, came {points.shape}")
    repeated = len(points) > 1 and np.array_equal(points[0], points[-1])
    points = points[: len(points) - repeated]
    if len(points) < 4:
        raise ValueError(f"curve: expected at least 4 different points, came {len(points)}: add points")
    chords = np.linalg.norm(np.roll(points, -1, axis=0) - points, axis=1)
    if (chords <= 1e-12 * np.ptp(points, axis=0).max()).any():
        at = int(np.argmin(chords))
        raise ValueError(f"curve: points {at} and {(at + 1) % len(points)} are the same: remove one of them")
    if not repeated and chords[-1] > OPEN * chords[:-1].max():
        raise ValueError(
            f"the curve is open: its last point is {chords[-1]:.3g} from the first, its neighbours at most "
            f"{chords[:-1].max():.3g} apart: add the missing points, or repeat the first point as the last to close it"
        )
    knots = np.concatenate([[0.0], np.cumsum(chords)])
    knots /= knots[-1]
    spline = CubicSpline(knots, np.concatenate([points, points[:1]]), bc_type="periodic")
    slope = spline.derivative()
    return Path(lambda t: spline(t % 1.0), lambda t: slope(t % 1.0), knots)
