"""Scattered nodes of a shape: interior, boundary and ghost, and how even they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from solvers.geometry.lattice import COVERING
from solvers.geometry.quality import fill_distance, neighbour_distances
from solvers.geometry.shape import Shape
from solvers.geometry.spacing import Spacing, spacing_at
from solvers.jet import TIME
from solvers.points import Points


@dataclass(frozen=True, eq=False, repr=False)
class Nodes:
    """Nodes that fill a shape evenly, as `scatter` makes them.

    Args:
        interior: (n, d) float64, inside.
        boundary: (m, d), on the boundary.
        normals: (m, d), outward unit normals there.
        ghost: (layers * m, d), outside: layer by layer, each in the order of the boundary nodes.
        parts: names of boundary parts -> indices into `boundary`.
        spacing: distance between nearest nodes that was asked for; its median over the nodes where it varies.
        shape: that they fill.
        density: the spacing as a function (k, d) -> (k,), where it varies.
        lattice: how many interior nodes, at the end, are at lattice places with only lattice places around them.

    Example:
        >>> from solvers.geometry import Disk, scatter
        >>> scatter(Disk(), spacing=0.1).points().counts
        (321, 63, 0)
    """

    interior: np.ndarray
    boundary: np.ndarray
    normals: np.ndarray
    ghost: np.ndarray
    parts: Mapping[str, np.ndarray]
    spacing: float
    shape: Shape
    density: Spacing | None = None
    lattice: int = 0

    @property
    def inside(self) -> np.ndarray:
        """(n + m, d): interior, then boundary nodes."""
        return np.concatenate([self.interior, self.boundary])

    @cached_property
    def separation(self) -> float:
        """Smallest distance between two interior or boundary nodes."""
        return float(neighbour_distances(self.inside).min())

    @cached_property
    def fill(self) -> float:
        """Radius of the largest ball centred in the shape that holds no interior or boundary node."""
        # A hollow ball is triangulated no faster than a full one.
        if not self.lattice or self.shape.dimension > 2:
            return fill_distance(self.inside, self.shape)
        count = len(self.interior)
        rest = np.r_[: count - self.lattice, count : count + len(self.boundary)]
        return max(COVERING[self.shape.dimension] * self.spacing, fill_distance(self.inside, self.shape, rest))

    @property
    def mesh_ratio(self) -> float:
        """Fill over half the separation: 1.15 for a hexagonal, 1.29 for a body-centred cubic lattice."""
        return self.fill / (self.separation / 2)

    @property
    def ghost_separation(self) -> float:
        """Smallest distance between two nodes of any kind, ghosts included."""
        return float(neighbour_distances(np.concatenate([self.inside, self.ghost])).min())

    def gaps(self) -> np.ndarray:
        """Return each node's distance to its nearest neighbour, in units of the local spacing.

        Returns:
            (n + m,): interior, then boundary nodes.
        """
        sizes = spacing_at(self.spacing if self.density is None else self.density, self.inside)
        return neighbour_distances(self.inside) / sizes

    def points(
        self, axes: Sequence[str] | None = None, times: Sequence[float] | None = None, ghosts: bool = True
    ) -> Points:
        """Return the nodes as collocation points, at several times if asked for.

        Args:
            axes: the letters of the axes; None: x, y, z as far as they go, then t if there are times.
            times: increasing; every kind of point is then nodes x times, time slowest, time the last axis, and the
                initial points are the interior and boundary nodes at the first time.
            ghosts: whether ghosts are wanted.

        Returns:
            Points in float64 on the CPU; normals have no component along time.

        Raises:
            ValueError: axes or times that do not fit.

        Example:
            >>> from solvers.geometry import Interval, scatter
            >>> points = scatter(Interval(0.0, 1.0), spacing=0.25).points(times=[0.0, 0.5])
            >>> points.axes, points.counts, points.interior[3:].tolist()
            (('x', 't'), (6, 4, 5), [[0.25, 0.5], [0.5, 0.5], [0.75, 0.5]])
        """
        times = None if times is None else _checked_times(times)
        axes = self._axes(axes, times is not None)
        ghost = self.ghost if ghosts else self.ghost[:0]
        if times is None:
            return Points(self.interior, self.boundary, None, ghost, self.normals, self.parts, axes=axes)
        steps, count = len(times), len(self.boundary)
        normals = np.pad(self.normals, ((0, 0), (0, 1)))
        parts = {
            name: (np.arange(steps)[:, None] * count + np.asarray(index)).ravel() for name, index in self.parts.items()
        }
        return Points(
            interior=_at(self.interior, times),
            boundary=_at(self.boundary, times),
            initial=_at(self.inside, times[:1]),
            ghost=_at(ghost, times),
            normals=np.tile(normals, (steps, 1)),
            parts=parts,
            times=torch.from_numpy(times),
            axes=axes,
        )

    def _axes(self, axes: Sequence[str] | None, timed: bool) -> tuple[str, ...]:
        dimension = self.interior.shape[1]
        if axes is None:
            return tuple("xyz"[:dimension]) + ((TIME,) if timed else ())
        axes = tuple(axes)
        if len(axes) != dimension + timed or (TIME in axes) != timed or (timed and axes[-1] != TIME):
            wanted = f"{dimension} letters" + (f", then {TIME!r}" if timed else f" without {TIME!r} (give times=...)")
            raise ValueError(f"expected axes to be {wanted}, came {axes}")
        return axes

    def __repr__(self) -> str:
        counts = f"{len(self.interior)} interior, {len(self.boundary)} boundary, {len(self.ghost)} ghost"
        if self.density is not None:
            low, high = np.quantile(self.gaps(), (0.01, 0.99))
            return (
                f"Nodes({counts}; h(x), median {self.spacing:.4g}, 98 % of gaps within {low:.2f} and {high:.2f} h(x))"
            )
        separation, fill = self.separation / self.spacing, self.fill / self.spacing
        return f"Nodes({counts}; h = {self.spacing:.4g}, separation {separation:.2f} h, fill {fill:.2f} h)"


def _at(nodes: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return nodes x times, time slowest and last."""
    return np.column_stack([np.tile(nodes, (len(times), 1)), np.repeat(times, len(nodes))])


def _checked_times(times: Sequence[float]) -> np.ndarray:
    times = np.array(times, dtype=np.float64)
    if times.ndim != 1 or not len(times) or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise ValueError(
            f"expected times to be increasing finite numbers, came {times.tolist()}; use for instance "
            "numpy.linspace(0, 1, 25)"
        )
    return times
