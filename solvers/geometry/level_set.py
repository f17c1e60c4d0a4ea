"""Domains f(x) < 0 in the plane and in space."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache

import numpy as np
from scipy.spatial import cKDTree

from solvers.geometry.boundary import Boundary
from solvers.geometry.contour import zero_contours
from solvers.geometry.curve import Curve
from solvers.geometry.field import Field
from solvers.geometry.implicit_surface import ImplicitSurface
from solvers.geometry.shape import Shape
from solvers.geometry.spacing import Spacing, spacing_at

GRID = 256
"""Cells along the longest side of a plane box, for distances and areas."""


class LevelSet(Shape):
    """The domain f(x) < 0, with any number of components and holes; its boundary is one part, "boundary".

    In the plane the zero contours become smooth curves (see `Curve`) whose samples lie on f = 0 to rounding and whose
    splines do to 1e-10 of the box. In space the surface is sampled; distances are exact within 4 of 64 cells of it.

    Args:
        function: f, (n, d) -> (n,), smooth next to its zeros, positive on the faces of the box.
        lower: lower corner of a box that holds the domain.
        upper: upper corner.
        gradient: (n, d) -> (n, d); None takes differences of order 6.

    Raises:
        ValueError: a box that is none, a function of other shapes, no zero contour in the box, a domain that touches
            it, or a gradient that vanishes on the contour.

    Example:
        >>> ring = LevelSet(lambda x: np.abs(np.hypot(*x.T) - 1.0) - 0.5, (-2, -2), (2, 2))
        >>> round(ring.measure / np.pi, 6), ring.signed_distance(np.array([[0.52, 0.0]])).round(6).tolist()
        (2.0, [-0.02])
    """

    def __init__(
        self, function: Callable, lower: Sequence[float], upper: Sequence[float], gradient: Callable | None = None
    ):
        self._lower, self._upper = (tuple(float(value) for value in limits) for limits in (lower, upper))
        if len(self._lower) != len(self._upper) or len(self._lower) not in (2, 3):
            raise ValueError(f"expected a box of 2 or 3 axes, came {self._lower} and {self._upper}")
        sides = np.array(self._upper) - np.array(self._lower)
        if not (np.isfinite(sides).all() and (sides > 0).all()):
            raise ValueError(f"expected finite lower < upper on every axis, came {self._lower} and {self._upper}")
        self.field = Field(function, gradient, float(sides.max()))
        # A memory of its own, so that it goes with the level set.
        self._curves = lru_cache(maxsize=2)(self._traced)
        # Traced at once, so that mistakes show here.
        _ = self.curves if self.dimension == 2 else self.surface

    @cached_property
    def surface(self) -> ImplicitSurface:
        """The surface in space."""
        return ImplicitSurface(self.field, np.array(self.lower), np.array(self.upper))

    def _traced(self, step: float) -> list[Curve]:
        return zero_contours(self.field, np.array(self.lower), np.array(self.upper), step)

    @property
    def curves(self) -> list[Curve]:
        """The components of the boundary in the plane."""
        return self._curves(self.field.size / GRID)

    def __repr__(self) -> str:
        return f"LevelSet(dimension {self.dimension}, measure {self.measure:.6g})"

    @property
    def dimension(self) -> int:
        """Number of axes of the box."""
        return len(self._lower)

    @property
    def lower(self) -> tuple[float, ...]:
        """Lower corner of the box."""
        return self._lower

    @property
    def upper(self) -> tuple[float, ...]:
        """Upper corner of the box."""
        return self._upper

    @cached_property
    def measure(self) -> float:
        """Area by Gauss's theorem, to 1e-9 of the box, or volume by summing columns, to 1e-3 of itself."""
        if self.dimension == 3:
            return self.surface.volume()
        return float(sum(self._side(curve) * curve.measure for curve in self.curves))

    def _side(self, curve: Curve) -> float:
        """Return 1 where the domain lies inside a contour, -1 where it lies outside."""
        points, normals = curve.samples()
        return math.copysign(1.0, float(self.field.normals(points[:1])[0] @ normals[0]))

    @property
    def parts(self) -> tuple[str, ...]:
        """One part."""
        return ("boundary",)

    def signed_distance(self, x: np.ndarray) -> np.ndarray:
        """Return the distance to f = 0 with the sign of f.

        Args:
            x: (n, d) float64.

        Returns:
            (n,): exact next to the boundary (1e-10 of the box in the plane), further away a lower bound in size. Cost:
            2 microseconds a point in the plane, 6 in space.
        """
        x = np.asarray(x, dtype=np.float64)
        if self.dimension == 3:
            distance = self.surface.distance(x)
        else:
            distance = self._from_curves(x)
        return np.copysign(distance, self.field(x))

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(np.concatenate([curve.samples()[0] for curve in self.curves]))

    def _from_curves(self, x: np.ndarray) -> np.ndarray:
        """Return unsigned distances to the nearest of the contours; near ones ask each that could be it."""
        if len(self.curves) == 1:
            return np.abs(self.curves[0].signed_distance(x))
        size, _ = self._tree.query(x)
        distance = np.min([curve.at_least(size) for curve in self.curves], axis=0)
        near = np.flatnonzero(size <= max(curve.band for curve in self.curves))
        exact = np.full(len(near), np.inf)
        for curve in self.curves:
            beyond = np.maximum(np.maximum(np.array(curve.lower) - x[near], x[near] - np.array(curve.upper)), 0)
            ask = np.linalg.norm(beyond, axis=1) <= size[near]
            exact[ask] = np.minimum(exact[ask], np.abs(curve.signed_distance(x[near[ask]])))
        distance[near] = exact
        return distance

    def outline(self) -> np.ndarray:
        """Return dense points of the boundary.

        Returns:
            (k, d).
        """
        if self.dimension == 3:
            return self.surface.samples
        return np.concatenate([curve.outline() for curve in self.curves])

    def _nodes(self, spacing: Spacing) -> Boundary:
        if self.dimension == 3:
            points = self.surface.nodes(spacing)
        else:
            finest = float(spacing_at(spacing, self.outline()).min())
            curves = self._curves(min(self.field.size / GRID, finest / 2))
            points = self.field.project(np.concatenate([self._along(curve, spacing) for curve in curves]))
        return Boundary(points, self.field.normals(points), {"boundary": np.arange(len(points))})

    def _along(self, curve: Curve, spacing: Spacing) -> np.ndarray:
        """Return nodes of one contour, which must be long enough for some."""
        h = float(spacing_at(spacing, curve.outline()).min())
        if curve.length < 4 * h:
            raise ValueError(
                f"a component of the level set's boundary near {curve.outline()[0].tolist()} is {curve.length:.3g} "
                f"long, thinner than the spacing {h:.3g}: use spacing <= {curve.length / 8:.2g} there"
            )
        return curve._nodes(spacing).points
