"""Dense samples of f = 0 in space: its nodes, the nearest point of it, the volume inside."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial import cKDTree

from solvers.geometry.contour import refuse_border
from solvers.geometry.field import Field
from solvers.geometry.spacing import Spacing, spacing_at
from solvers.geometry.surface import spread, thin

GRID = 64
"""Cells along the longest side of the box."""
BAND = 4.0
"""Distance from the surface, in cells, up to which it is exact."""
DENSITY = 3.0
"""Steps of the dense samples in one spacing."""
SWEEPS = 25
CUTS = 12
FEET = 40
SLIDE = 1e-7
"""Distance of a foot from the nearest point, over the size of the box: its square is the error of the distance."""


@dataclass(frozen=True, eq=False)
class ImplicitSurface:
    """The surface f = 0 in a box.

    Args:
        field: f, negative inside.
        lower: lower corner, (3,).
        upper: upper corner.

    Raises:
        ValueError: no zeros in the box, or a domain that leaves it.
    """

    field: Field
    lower: np.ndarray
    upper: np.ndarray

    def __post_init__(self):
        refuse_border(self.values)

    @cached_property
    def step(self) -> float:
        """Size of a cell of the grid."""
        return float((self.upper - self.lower).max()) / GRID

    @cached_property
    def lines(self) -> list[np.ndarray]:
        """Coordinates of the grid along each axis."""
        counts = np.ceil((self.upper - self.lower) / self.step - 1e-9).astype(int) + 1
        return [np.linspace(a, b, n) for a, b, n in zip(self.lower, self.upper, counts, strict=True)]

    @cached_property
    def values(self) -> np.ndarray:
        """The values of f on the grid."""
        grid = np.stack(np.meshgrid(*self.lines, indexing="ij"), axis=-1)
        return self.field(grid.reshape(-1, 3)).reshape(grid.shape[:3])

    def _cuts(self, axis: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the grid's edges along an axis that f = 0 cuts: which, their inner ends, and the cuts."""
        ahead, behind = np.moveaxis(self.values, axis, 0)[1:], np.moveaxis(self.values, axis, 0)[:-1]
        which = np.nonzero((ahead < 0) != (behind < 0))
        index = np.stack(np.broadcast_arrays(*which), axis=1)
        index = np.insert(index[:, 1:], axis, index[:, 0], axis=1)
        start = np.stack([line[i] for line, i in zip(self.lines, index.T, strict=True)], axis=1)
        along = np.zeros(3)
        along[axis] = self.lines[axis][1] - self.lines[axis][0]
        low, high = np.zeros(len(index)), np.ones(len(index))
        first, f_low, f_high = behind[which] < 0, behind[which].copy(), ahead[which].copy()
        for _ in range(CUTS):
            # The Illinois rule: an end that stays put twice is made to count half.
            share = low + (high - low) * f_low / (f_low - f_high)
            value = self.field(start + share[:, None] * along)
            to_low = (value < 0) == first
            f_high, f_low = np.where(to_low, f_high / 2, value), np.where(to_low, value, f_low / 2)
            low, high = np.where(to_low, share, low), np.where(to_low, high, share)
        return first, start, start + share[:, None] * along

    @cached_property
    def samples(self) -> np.ndarray:
        """A point of the surface for each edge of the grid that it cuts."""
        landed = self.field.project(np.concatenate([self._cuts(axis)[2] for axis in range(3)]))
        return landed[np.isfinite(landed).all(axis=1)]

    @cached_property
    def tree(self) -> cKDTree:
        """Of the samples."""
        return cKDTree(self.samples)

    @cached_property
    def curvature(self) -> float:
        """Largest turn of the normal between neighbouring samples over their distance, with a reserve of a half."""
        distance, near = self.tree.query(self.samples, k=7)
        normals = self.field.normals(self.samples)
        turn = np.linalg.norm(normals[near] - normals[:, None], axis=2)
        return 1.5 * float(np.where(distance > 1e-2 * self.step, turn / np.maximum(distance, 1e-300), 0).max())

    def volume(self) -> float:
        """Return the volume inside: lengths of f < 0 along lines of the grid, summed over its columns.

        Returns:
            A number, to about 1e-3 of itself: the columns at the rim count with an error of step^1.5.
        """
        first, _, cut = self._cuts(2)
        area = np.prod([line[1] - line[0] for line in self.lines[:2]])
        return float((np.where(first, 1.0, -1.0) * (cut[:, 2] - self.lower[2])).sum() * area)

    def distance(self, x: np.ndarray) -> np.ndarray:
        """Return the unsigned distance: exact within 4 cells of the surface, else a lower bound.

        Args:
            x: (n, 3).

        Returns:
            (n,).
        """
        size, nearest = self.tree.query(x)
        # Each place of the surface lies in a cell with a cut edge, hence within its diagonal c of a sample, and the
        # sample next to the foot has size^2 <= d^2 + c^2 (1 + curvature d).
        cell = 3**0.5 * self.step
        result = np.sqrt(np.maximum(size**2 - cell**2 * (1 + self.curvature * size), 0))
        result = np.maximum(result, size - cell)
        near = np.flatnonzero(size <= BAND * self.step)
        if len(near):
            foot, landed = self._foot(x[near], self.samples[nearest[near]])
            exact = np.linalg.norm(x[near] - foot, axis=1)
            found = landed & (exact <= size[near] * (1 + 1e-12) + 1e-14 * self.field.size)
            result[near[found]] = exact[found]
        return np.maximum(result, 0)

    def _foot(self, x: np.ndarray, foot: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return nearest points and whether they were found: steps to f = 0 and along it, together.

        The step along the surface is the tangent part s of x - foot over 1 + (distance) k, with the curvature k from
        how the normal turned over the step before: Newton's method where k is the same in all directions.
        """
        foot, left = foot.copy(), np.arange(len(x))
        done, before, step, curvature = np.zeros(len(x), dtype=bool), None, None, np.zeros(len(x))
        for _ in range(FEET):
            at = foot[left]
            slope = self.field.gradient(at)
            length = np.maximum(np.linalg.norm(slope, axis=1), 1e-300)
            normal, off = slope / length[:, None], x[left] - at
            if before is not None:
                square = np.maximum((step**2).sum(axis=1), 1e-300)
                turned = ((normal - before) * step).sum(axis=1) / square
                curvature = np.where(square > (1e-7 * self.field.size) ** 2, turned, curvature)
            away = (off * normal).sum(axis=1)
            slide = off - away[:, None] * normal
            slide = slide / np.clip(1 + away * curvature, 0.4, 2.5)[:, None]
            drop = self.field(at) / length
            step = slide - drop[:, None] * normal
            foot[left] = at + step
            small = np.linalg.norm(slide, axis=1) <= SLIDE * self.field.size
            small &= np.abs(drop) <= 1e-12 * self.field.size
            done[left[small]] = True
            left, before, step, curvature = left[~small], normal[~small], step[~small], curvature[~small]
            if not len(left):
                break
        return foot, done

    def nodes(self, spacing: Spacing) -> np.ndarray:
        """Return quasi-uniform points of the surface.

        Args:
            spacing: h, or a function of the place.

        Returns:
            (m, 3).
        """

        def local(x: np.ndarray) -> np.ndarray:
            return spacing_at(spacing, x)

        def project(x: np.ndarray) -> np.ndarray:
            landed = self.field.project(x)
            return np.where(np.isfinite(landed), landed, self.samples[self.tree.query(x)[1]])

        return spread(thin(self._dense(local), local), local, project, SWEEPS)

    def _dense(self, local) -> np.ndarray:
        """Return samples at least `DENSITY` times as dense as the spacing, by scattering copies about each."""
        rng = np.random.default_rng(0)
        copies = np.ceil((DENSITY * self.step / local(self.samples)) ** 2).astype(int)
        base = np.repeat(self.samples, copies, axis=0)
        shift = rng.uniform(-1.0, 1.0, base.shape) * self.step
        normal = self.field.normals(self.samples).repeat(copies, axis=0)
        shift -= (shift * normal).sum(axis=1, keepdims=True) * normal
        landed = self.field.project(base + shift)
        landed = landed[np.isfinite(landed).all(axis=1)]
        return np.concatenate([self.samples, landed])
