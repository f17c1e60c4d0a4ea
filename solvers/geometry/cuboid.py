"""Axis-aligned boxes in one, two or three dimensions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from solvers.geometry.arclength import equispaced
from solvers.geometry.boundary import Boundary
from solvers.geometry.shape import Shape
from solvers.geometry.spacing import Spacing, spacing_at
from solvers.geometry.surface import spread, thin

LETTERS = "xyz"
MARGIN = 0.45
"""Least distance of nodes from the edges of their face, in units of h, where the spacing varies."""


@dataclass(frozen=True)
class Cuboid(Shape):
    """The box lower < x < upper; the parts of its boundary are its faces "x-", "x+", "y-", ...

    Boundary nodes stay half a step off the edges and corners, so that each has one normal.

    Args:
        lower: lower corner, two or three coordinates.
        upper: upper corner.

    Raises:
        ValueError: corners of different lengths, other dimensions, or limits that are not finite with lower < upper.

    Example:
        >>> Cuboid((0.0, 0.0, 0.0), (1.0, 2.0, 3.0)).measure
        6.0
    """

    lower: tuple[float, ...] = (0.0, 0.0, 0.0)
    upper: tuple[float, ...] = (1.0, 1.0, 1.0)

    def __post_init__(self):
        for name in ("lower", "upper"):
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
        if len(self.lower) != len(self.upper) or len(self.lower) not in (2, 3):
            raise ValueError(
                f"expected two corners of two or three coordinates, came {self.lower} and {self.upper}: "
                f"use Interval in 1-D"
            )
        pairs = zip(self.lower, self.upper, strict=True)
        if not all(math.isfinite(low) and math.isfinite(high) and low < high for low, high in pairs):
            raise ValueError(f"expected finite lower < upper on every axis, came {self.lower} and {self.upper}")

    @property
    def dimension(self) -> int:
        """Number of coordinates of a corner."""
        return len(self.lower)

    @property
    def measure(self) -> float:
        """Product of the sides."""
        return math.prod(high - low for low, high in zip(self.lower, self.upper, strict=True))

    @property
    def parts(self) -> tuple[str, ...]:
        """The faces: lower and upper, axis by axis."""
        return tuple(f"{letter}{side}" for letter in LETTERS[: self.dimension] for side in "-+")

    def signed_distance(self, x: np.ndarray) -> np.ndarray:
        """Return the distance to the nearest face, edge or corner, negative inside.

        Args:
            x: (n, d) float64.

        Returns:
            (n,).
        """
        lower, upper = np.asarray(self.lower), np.asarray(self.upper)
        beyond = np.maximum(lower - np.asarray(x, dtype=np.float64), x - upper)
        return np.linalg.norm(np.maximum(beyond, 0), axis=1) + np.minimum(beyond.max(axis=1), 0)

    def outline(self) -> np.ndarray:
        """Return uniform grids of the faces, edges included.

        Returns:
            (k, d).
        """
        lines = [
            np.linspace(low, high, 129 if self.dimension == 2 else 33)
            for low, high in zip(self.lower, self.upper, strict=True)
        ]
        faces = []
        for axis, side in itertools.product(range(self.dimension), (0, -1)):
            sides = [line if i != axis else line[[side]] for i, line in enumerate(lines)]
            faces.append(np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, self.dimension))
        return np.concatenate(faces)

    def _nodes(self, spacing: Spacing) -> Boundary:
        faces = []
        for axis, (side, limits) in itertools.product(range(self.dimension), enumerate((self.lower, self.upper))):
            free = [i for i in range(self.dimension) if i != axis]
            low, high = np.asarray(self.lower)[free], np.asarray(self.upper)[free]

            def embedded(inner: np.ndarray, axis: int = axis, level: float = limits[axis]) -> np.ndarray:
                return np.insert(inner, axis, level, axis=1)

            def local(inner: np.ndarray, embedded: Callable = embedded) -> np.ndarray:
                return spacing_at(spacing, embedded(inner))

            points = embedded(_face(low, high, local, uniform=not callable(spacing)))
            normals = np.zeros_like(points)
            normals[:, axis] = 2 * side - 1
            faces.append(Boundary(points, normals, {self.parts[2 * axis + side]: np.arange(len(points))}))
        return Boundary.joined(faces)


class Rectangle(Cuboid):
    """The rectangle lower < (x, y) < upper.

    Args:
        lower: lower left corner.
        upper: upper right corner.

    Raises:
        ValueError: corners that have not two coordinates, or as for `Cuboid`.

    Example:
        >>> Rectangle().boundary(0.25).points[:4].tolist()
        [[0.0, 0.125], [0.0, 0.375], [0.0, 0.625], [0.0, 0.875]]
    """

    def __init__(self, lower: tuple[float, float] = (0.0, 0.0), upper: tuple[float, float] = (1.0, 1.0)):
        if len(lower) != 2 or len(upper) != 2:
            raise ValueError(f"expected two corners of two coordinates, came {lower} and {upper}: use Cuboid in 3-D")
        super().__init__(lower, upper)


def _face(low: np.ndarray, high: np.ndarray, local: Callable[[np.ndarray], np.ndarray], uniform: bool) -> np.ndarray:
    """Return nodes of a face, an interval or a rectangle, at half-steps from its edges."""
    sides = high - low
    if len(sides) == 1 and not uniform:
        knots = np.linspace(low[0], high[0], 257)
        return equispaced(lambda t: 1 / local(t[:, None]), knots, offset=0.5)[:, None]
    finest = float(local(_middles(low, high, np.full(len(sides), 64))).min())
    if uniform:
        return _middles(low, high, np.maximum(1, np.rint(sides / finest)).astype(int))
    dense = _middles(low, high, np.ceil(3 * sides / finest).astype(int) + 1)

    def inside(inner: np.ndarray) -> np.ndarray:
        margin = np.minimum(MARGIN * local(np.clip(inner, low, high))[:, None], sides / 2)
        return np.clip(inner, low + margin, high - margin)

    def images(inner: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [np.where(np.arange(2) == axis, 2 * edge[axis] - inner, inner) for edge in (low, high) for axis in range(2)]
        )

    dense = dense[(np.abs(inside(dense) - dense) < 1e-12).all(axis=1)]
    return spread(thin(dense if len(dense) else (low + high)[None] / 2, local), local, inside, images=images)


def _middles(low: np.ndarray, high: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the middles of a uniform grid of cells."""
    lines = [a + (b - a) * (np.arange(count) + 0.5) / count for a, b, count in zip(low, high, counts, strict=True)]
    return np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, len(lines))
