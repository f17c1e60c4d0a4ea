"""Domains bounded by a smooth closed curve in the plane."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.spatial import cKDTree

from solvers.geometry.arclength import equispaced, integrals
from solvers.geometry.boundary import Boundary
from solvers.geometry.path import path_of_function, path_of_points
from solvers.geometry.segments import cross, crossing
from solvers.geometry.shape import Shape
from solvers.geometry.spacing import Spacing, spacing_at

SAMPLES = 4096
STILL = 1e-6
"""Speed over the largest one below which a path has no direction."""
CORNER = 0.5
"""Angle in radians between neighbouring chords of the samples above which the curve is no smooth one."""


class Curve(Shape):
    """The inside of a smooth closed curve; its boundary is one part, "boundary".

    Nodes are equispaced in arclength, to 1e-10 of the length for smooth curves, with normals from the derivative.
    The distance of a point is Newton's projection onto the curve within half of the reach (at most 64 of 4096 samples);
    beyond it is a lower bound from the nearest sample, low by about (length / 8192)^2 (1 / distance + curvature) / 2.

    Args:
        path: function of t in [0, 1), (k,) -> (k, 2), smooth and of period 1, or (k, 2) points in order, through which
            a periodic cubic spline is put. Either orientation.
        derivative: of the function; None takes differences of order 8 (relative error about 1e-12).

    Raises:
        ValueError: a curve that is open, stands still, meets itself or has corners.

    Example:
        >>> ellipse = Curve(lambda t: np.stack([2 * np.cos(2 * np.pi * t), np.sin(2 * np.pi * t)], axis=1))
        >>> round(ellipse.measure / np.pi, 9), ellipse.signed_distance(np.array([[1.9, 0.0]])).round(9).tolist()
        (2.0, [-0.1])
    """

    def __init__(self, path: Callable | np.ndarray, derivative: Callable | None = None):
        if derivative is not None and not callable(path):
            raise ValueError("derivative: expected None where the curve is given by points: the spline has its own")
        self.path = path_of_function(path, derivative) if callable(path) else path_of_points(path)
        self._sample()
        self._refuse_bad()

    def _sample(self) -> None:
        """Set samples equispaced in arclength, with what the distance needs of each."""
        path = self.path
        speed = self._speed(path.knots)
        if speed.min() <= STILL * speed.max():
            at = path.knots[int(np.argmin(speed[:-1]))]
            raise ValueError(
                f"the curve stands still at t = {at:.4f}: expected a function whose derivative does not vanish"
            )
        t = equispaced(self._speed, path.knots, count=SAMPLES)
        self._samples, velocity = path.position(t), path.velocity(t)
        self._tree, self._t = cKDTree(self._samples), t
        # In the step of Newton's method an error of the derivative costs its square in the distance.
        closed = np.concatenate([velocity, velocity[:1]])
        self._tangent = CubicSpline(np.concatenate([t, [t[0] + 1]]), closed, bc_type="periodic")
        self._bend = self._tangent.derivative()
        widths = np.diff(path.knots)
        twice = integrals(
            lambda t: cross(path.position(t) - self._samples[0], path.velocity(t)), path.knots[:-1], widths
        )
        area = float(twice.sum()) / 2
        self._area, self._orientation = abs(area), np.sign(area)
        self._normals = self._outward(velocity)
        speed = np.linalg.norm(velocity, axis=1)
        self._curvature = float((np.abs(cross(velocity, self._bend(t))) / speed**3).max())
        self._length = float(integrals(self._speed, path.knots[:-1], widths).sum())
        self._gap = self._length / SAMPLES
        self.band = max(8 * self._gap, min(64 * self._gap, self._reach() / 2))

    def _reach(self) -> float:
        """Return the largest distance at which feet on the curve are unique: min |y - x|^2 / (2 |(y - x) . n|)."""
        at, normals = self._samples[:: SAMPLES // 512], self._normals[:: SAMPLES // 512]
        apart = at[None] - at[:, None]
        off = np.abs(np.einsum("ijc,ic->ij", apart, normals))
        with np.errstate(all="ignore"):
            radius = (apart**2).sum(axis=-1) / (2 * off)
        np.fill_diagonal(radius, np.inf)
        return min(float(np.nanmin(radius)), 1 / max(self._curvature, 1e-300))

    def _refuse_bad(self) -> None:
        chords = np.roll(self._samples, -1, axis=0) - self._samples
        before = np.roll(chords, 1, axis=0)
        turns = np.abs(np.arctan2(cross(before, chords), (before * chords).sum(axis=1)))
        if pair := crossing(self._samples):
            where = self._samples[pair[0]].tolist()
            raise ValueError(
                f"the curve meets itself near {where}, at t = {self._t[pair[0]]:.4f} and {self._t[pair[1]]:.4f}: "
                f"expected a simple closed curve"
            )
        if turns.max() > CORNER:
            at = int(np.argmax(turns))
            raise ValueError(
                f"the curve has a corner at t = {self._t[at]:.4f}, {self._samples[at].tolist()}, or a bend of a radius "
                f"below {2 * self._gap:.2g}, too sharp for {SAMPLES} samples: expected a smooth curve; round it off, "
                f"or use Polygon"
            )

    def __repr__(self) -> str:
        return f"Curve(length {self._length:.6g}, area {self._area:.6g})"

    @property
    def dimension(self) -> int:
        """2."""
        return 2

    @property
    def lower(self) -> tuple[float, ...]:
        """Smallest coordinates of the samples, less the most that a curve can bulge between them."""
        return tuple((self._samples.min(axis=0) - self._bulge()).tolist())

    @property
    def upper(self) -> tuple[float, ...]:
        """Largest coordinates of the samples, plus the most that a curve can bulge between them."""
        return tuple((self._samples.max(axis=0) + self._bulge()).tolist())

    def _bulge(self) -> float:
        return self._curvature * self._gap**2 / 8

    @property
    def measure(self) -> float:
        """Area, from Gauss's theorem: integral of (x y' - y x') / 2."""
        return float(self._area)

    @property
    def length(self) -> float:
        """Length of the curve."""
        return self._length

    @property
    def parts(self) -> tuple[str, ...]:
        """One part."""
        return ("boundary",)

    def signed_distance(self, x: np.ndarray) -> np.ndarray:
        """Return the distance to the curve, negative inside.

        Args:
            x: (n, 2) float64.

        Returns:
            (n,): to rounding near the curve, further away a lower bound in size. Cost: 2 microseconds a point.
        """
        x = np.asarray(x, dtype=np.float64)
        size, nearest = self._tree.query(x)
        away = np.einsum("nc,nc->n", x - self._samples[nearest], self._normals[nearest])
        distance = np.copysign(self.at_least(size), away)
        near = np.flatnonzero(size <= self.band)
        if len(near):
            distance[near] = self._project(x[near], self._t[nearest[near]])
        return distance

    def at_least(self, size: np.ndarray) -> np.ndarray:
        """Return how near the curve can be where its nearest sample is at a given distance.

        The sample next to the foot is within c = gap / 2 of it: size^2 <= d^2 + c^2 (1 + curvature d).

        Args:
            size: (n,) distances from the nearest sample.

        Returns:
            (n,) lower bounds of the distance d.
        """
        return np.sqrt(np.maximum(size**2 - (self._gap / 2) ** 2 * (1 + self._curvature * size), 0))

    def _project(self, x: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Return signed distances by Newton's method on (path(t) - x) . path'(t) = 0 from the nearest samples."""
        for _ in range(4):
            off, tangent = self.path.position(t) - x, self._tangent(t % 1.0)
            slope = (tangent**2).sum(axis=1) + (off * self._bend(t % 1.0)).sum(axis=1)
            change = (off * tangent).sum(axis=1) / np.maximum(slope, 0.1 * (tangent**2).sum(axis=1))
            t = t - change
            if np.abs(change).max() < 1e-10:
                break
        off = x - self.path.position(t)
        away = (off * self._outward(self._tangent(t % 1.0))).sum(axis=1)
        return np.copysign(np.linalg.norm(off, axis=1), away)

    def outline(self) -> np.ndarray:
        """Return 512 points, equispaced in arclength.

        Returns:
            (512, 2), in order.
        """
        return self._samples[:: SAMPLES // 512]

    def samples(self) -> tuple[np.ndarray, np.ndarray]:
        """Return 4096 points, equispaced in arclength, with their outward normals.

        Returns:
            Points (4096, 2) and normals (4096, 2), in order.
        """
        return self._samples, self._normals

    def _nodes(self, spacing: Spacing) -> Boundary:
        position = self.path.position
        t = equispaced(lambda t: self._speed(t) / spacing_at(spacing, position(t)), self.path.knots, least=4)
        return Boundary(position(t), self._outward(self.path.velocity(t)), {"boundary": np.arange(len(t))})

    def _speed(self, t: np.ndarray) -> np.ndarray:
        return np.linalg.norm(self.path.velocity(t), axis=1)

    def _outward(self, velocity: np.ndarray) -> np.ndarray:
        normal = self._orientation * np.stack([velocity[:, 1], -velocity[:, 0]], axis=1)
        return normal / np.linalg.norm(normal, axis=1, keepdims=True)
