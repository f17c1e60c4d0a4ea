"""Balls in any dimension: the interval, the disk and the ball."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from solvers.geometry.arclength import equispaced
from solvers.geometry.boundary import Boundary
from solvers.geometry.shape import Shape
from solvers.geometry.spacing import Spacing, spacing_at
from solvers.geometry.surface import HEXAGON, fibonacci_sphere, spread, thin


@dataclass(frozen=True)
class Interval(Shape):
    """The interval low < x < high; the parts of its boundary are "x-" and "x+".

    Args:
        low: left end.
        high: right end.

    Raises:
        ValueError: ends that are not finite with low < high.

    Example:
        >>> Interval(-1.0, 1.0).signed_distance(np.array([[0.75], [1.5]])).tolist()
        [-0.25, 0.5]
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self):
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"Interval: expected finite low < high, came {self.low} and {self.high}")

    @property
    def dimension(self) -> int:
        """1."""
        return 1

    @property
    def lower(self) -> tuple[float, ...]:
        """The left end."""
        return (float(self.low),)

    @property
    def upper(self) -> tuple[float, ...]:
        """The right end."""
        return (float(self.high),)

    @property
    def measure(self) -> float:
        """Its length."""
        return float(self.high - self.low)

    @property
    def parts(self) -> tuple[str, ...]:
        """The two ends."""
        return ("x-", "x+")

    def signed_distance(self, x: np.ndarray) -> np.ndarray:
        """Return the distance to the nearer end, negative inside.

        Args:
            x: (n, 1) float64.

        Returns:
            (n,).
        """
        x = np.asarray(x, dtype=np.float64)[:, 0]
        return np.maximum(self.low - x, x - self.high)

    def outline(self) -> np.ndarray:
        """Return the two ends.

        Returns:
            (2, 1).
        """
        return np.array([[self.low], [self.high]], dtype=np.float64)

    def _nodes(self, spacing: Spacing) -> Boundary:
        return Boundary(self.outline(), np.array([[-1.0], [1.0]]), {"x-": [0], "x+": [1]})


@dataclass(frozen=True)
class Ball(Shape):
    """The ball |x - center| < radius in d dimensions; its boundary is one part, "boundary".

    Boundary nodes: equispaced on a circle; on a sphere a Fibonacci spiral, relaxed.

    Args:
        center: d coordinates.
        radius: positive.

    Raises:
        ValueError: a centre that is not finite, or a radius that is not positive and finite.

    Example:
        >>> round(Ball(radius=2.0).measure, 6)
        33.510322
    """

    center: tuple[float, ...] = (0.0, 0.0, 0.0)
    radius: float = 1.0

    def __post_init__(self):
        if np.ndim(self.center) != 1:
            raise ValueError(
                f"center: expected coordinates, one an axis, came {self.center!r}: a radius is given as radius=..."
            )
        object.__setattr__(self, "center", tuple(float(value) for value in self.center))
        if not self.center or not all(map(math.isfinite, self.center)):
            raise ValueError(f"center: expected finite coordinates, one an axis, came {self.center}")
        if not (math.isfinite(self.radius) and self.radius > 0):
            raise ValueError(f"radius: expected a positive finite number, came {self.radius}")

    @property
    def dimension(self) -> int:
        """Number of coordinates of the centre."""
        return len(self.center)

    @property
    def lower(self) -> tuple[float, ...]:
        """Centre - radius."""
        return tuple(value - self.radius for value in self.center)

    @property
    def upper(self) -> tuple[float, ...]:
        """Centre + radius."""
        return tuple(value + self.radius for value in self.center)

    @property
    def measure(self) -> float:
        """pi^(d/2) r^d / Gamma(d/2 + 1)."""
        half = self.dimension / 2
        return math.pi**half * self.radius**self.dimension / math.gamma(half + 1)

    @property
    def parts(self) -> tuple[str, ...]:
        """One part."""
        return ("boundary",)

    def signed_distance(self, x: np.ndarray) -> np.ndarray:
        """Return |x - center| - radius.

        Args:
            x: (n, d) float64.

        Returns:
            (n,).
        """
        return np.sqrt(((np.asarray(x, dtype=np.float64) - self.center) ** 2).sum(axis=1)) - self.radius

    def outline(self) -> np.ndarray:
        """Return 512 points of the circle, or 4096 of the sphere.

        Returns:
            (k, d).

        Raises:
            ValueError: in one dimension, or more than three.
        """
        if self.dimension == 2:
            return self._from_unit(_circle(np.arange(512) * (2 * np.pi / 512)))
        if self.dimension == 3:
            return self._from_unit(fibonacci_sphere(4096))
        raise ValueError(f"a ball has boundary nodes in 2 or 3 dimensions, came {self.dimension}: use Interval in 1-D")

    def _from_unit(self, unit: np.ndarray) -> np.ndarray:
        return np.asarray(self.center) + self.radius * unit

    def _nodes(self, spacing: Spacing) -> Boundary:
        unit = self._circle_nodes(spacing) if self.dimension == 2 else self._sphere_nodes(spacing)
        return Boundary(self._from_unit(unit), unit, {"boundary": np.arange(len(unit))})

    def _circle_nodes(self, spacing: Spacing) -> np.ndarray:
        if not callable(spacing):
            count = max(4, round(2 * math.pi * self.radius / spacing))
            return _circle(np.arange(count) * (2 * np.pi / count))
        knots = np.linspace(0, 2 * np.pi, 257)
        return _circle(
            equispaced(lambda t: self.radius / spacing_at(spacing, self._from_unit(_circle(t))), knots, least=4)
        )

    def _sphere_nodes(self, spacing: Spacing) -> np.ndarray:
        """Return unit vectors at the spacing, which is divided by the radius to work on the unit sphere."""

        def scaled(unit: np.ndarray) -> np.ndarray:
            return spacing_at(spacing, self._from_unit(unit)) / self.radius

        if callable(spacing):
            finest = scaled(fibonacci_sphere(4096)).min()
            start = thin(fibonacci_sphere(round(8 * 4 * math.pi / (HEXAGON * finest**2))), scaled)
        else:
            start = fibonacci_sphere(max(6, round(4 * math.pi / (HEXAGON * float(scaled(np.zeros((1, 3)))[0]) ** 2))))
        return spread(start, scaled, _unit)


class Disk(Ball):
    """The disk |x - center| < radius in the plane.

    Args:
        center: two coordinates.
        radius: positive.

    Raises:
        ValueError: a centre that has not two coordinates, or as for `Ball`.

    Example:
        >>> len(Disk().boundary(0.1))
        63
    """

    def __init__(self, center: tuple[float, float] = (0.0, 0.0), radius: float = 1.0):
        if np.shape(center) not in ((2,), ()):
            raise ValueError(f"center: expected two coordinates for a Disk, came {center}: use Ball(center, radius)")
        super().__init__(center, radius)


def _circle(angle: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)
