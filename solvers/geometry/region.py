"""A shape with named axes, and a time interval where there is one: the domain of a problem that is no box."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from solvers.domain import Box
from solvers.geometry.random_points import random_points
from solvers.geometry.scatter import scatter
from solvers.geometry.shape import Shape
from solvers.jet import TIME
from solvers.points import Points

STEPS = 24
"""Time steps where no times are given, as many as in Sharma & Shankar (2022)."""


@dataclass(frozen=True, eq=False)
class Region:
    """The domain of a problem: a shape, and its product with a time interval where there is one.

    Args:
        shape: in space.
        axes: one letter a space axis, then "t" where there is a time interval; None takes x, y, z.
        time: start and end, or None.

    Raises:
        ValueError: letters that do not fit the shape, or a time interval that is none.

    Example:
        >>> from solvers.geometry.ball import Disk
        >>> region = Region(Disk(), time=(0.0, 2.0))
        >>> region.axes, region.lower, region.faces
        (('x', 'y', 't'), (-1.0, -1.0, 0.0), ('boundary',))
    """

    shape: Shape
    axes: tuple[str, ...] | None = None
    time: tuple[float, float] | None = None

    def __post_init__(self):
        if not isinstance(self.shape, Shape):
            raise ValueError(f"expected a shape of solvers.geometry, came {self.shape!r}")
        if self.time is not None:
            time = tuple(float(value) for value in self.time)
            if len(time) != 2 or not (all(map(math.isfinite, time)) and time[0] < time[1]):
                raise ValueError(f"time: expected a finite start < end, came {self.time}")
            object.__setattr__(self, "time", time)
        timed = self.time is not None
        axes = tuple(self.axes) if self.axes is not None else tuple("xyz"[: self.shape.dimension]) + (TIME,) * timed
        wanted = self.shape.dimension + timed
        if len(axes) != wanted or len(set(axes)) != wanted or (TIME in axes) != timed:
            ends = f", then {TIME!r}" if timed else f", and none {TIME!r} without time=(start, end)"
            raise ValueError(f"axes: expected {self.shape.dimension} different letters{ends}, came {axes}")
        if timed and axes[-1] != TIME:
            raise ValueError(f"axes: expected {TIME!r} as the last axis, came {axes}")
        object.__setattr__(self, "axes", axes)

    @cached_property
    def box(self) -> Box:
        """The smallest known box around it."""
        return Box(self.axes, self.lower, self.upper)

    @property
    def space(self) -> tuple[str, ...]:
        """The space axes."""
        return self.axes[: self.shape.dimension]

    @property
    def lower(self) -> tuple[float, ...]:
        """Lower limits of a box that holds it, time included."""
        return self.shape.lower + (() if self.time is None else self.time[:1])

    @property
    def upper(self) -> tuple[float, ...]:
        """Upper limits of a box that holds it, time included."""
        return self.shape.upper + (() if self.time is None else self.time[1:])

    @property
    def periodic(self) -> tuple[str, ...]:
        """No axis is periodic."""
        return ()

    @property
    def faces(self) -> tuple[str, ...]:
        """Names of the boundary's parts."""
        return self.shape.parts

    def slack(self, like: Tensor) -> Tensor:
        """Return how far off the boundary a point may be: single-precision rounding of its coordinates.

        Args:
            like: for dtype and device.

        Returns:
            (axes,).
        """
        return self.box.slack(like)

    def _distance(self, points: Tensor) -> tuple[Tensor, float]:
        """Return signed distances in space, and how far off the boundary counts as on it."""
        space = points[:, : self.shape.dimension].detach().cpu().double().numpy()
        reach = float(self.slack(points.detach().cpu().double())[: self.shape.dimension].max())
        return torch.from_numpy(self.shape.signed_distance(space)).to(points.device), reach

    def outside(self, points: Tensor) -> Tensor:
        """Return a mask of the points that lie outside the closed region, beyond rounding.

        Args:
            points: (n, axes).

        Returns:
            (n,) bool.
        """
        distance, reach = self._distance(points)
        return (distance > reach) | self.box.outside(points)

    def off_boundary(self, points: Tensor) -> Tensor:
        """Return a mask of the points that do not lie on the boundary in space, beyond rounding.

        Args:
            points: (n, axes).

        Returns:
            (n,) bool.
        """
        distance, reach = self._distance(points)
        return distance.abs() > reach

    def inward(self, points: Tensor, normals: Tensor) -> Tensor:
        """Return a mask of the boundary points whose normal leads into the region.

        Args:
            points: (n, axes) on the boundary.
            normals: (n, axes).

        Returns:
            (n,) bool.
        """
        step = 1e-3 * max(high - low for low, high in zip(self.shape.lower, self.shape.upper, strict=True))
        ahead, _ = self._distance(points + step * normals)
        behind, _ = self._distance(points - step * normals)
        return ahead < behind

    def grid(self, shape: Sequence[int]) -> Tensor:
        """Return the points of a uniform grid of the bounding box that lie in the closed region.

        Args:
            shape: number of points of the box along each axis.

        Returns:
            (n, axes) float64, the last axis fastest.

        Example:
            >>> from solvers.geometry.ball import Disk
            >>> len(Region(Disk()).grid((3, 3)))
            5
        """
        grid = self.box.grid(shape)
        return grid[~self.outside(grid)]

    def sample(
        self,
        *,
        interior: int = 1024,
        boundary: int | None = None,
        initial: int | None = None,
        times: Sequence[float] | None = None,
        method: str = "nodes",
        ghost_layers: int = 1,
        seed: int = 0,
    ) -> Points:
        """Draw the collocation points of the region, once and reproducibly.

        Args:
            interior: "nodes": number of nodes in space, those on the boundary included; "random": of interior points.
            boundary: "random": number of boundary points; None takes as many as are spaced like the interior ones.
            initial: "random": number of points at the initial time, likewise.
            times: "nodes": the times that every node is repeated at; None takes 24 equal steps of the time interval.
            method: "nodes" (quasi-uniform, see `scatter`) or "random" (independent and uniform).
            ghost_layers: "nodes": ghosts a boundary node.
            seed: of the random draws.

        Returns:
            Points in float64 on the CPU, with normals and parts.

        Raises:
            ValueError: an unknown method, a count below 1, or an option of the other method.

        Example:
            >>> from solvers.geometry.ball import Disk
            >>> Region(Disk()).sample(interior=100, boundary=20, method="random").counts
            (100, 20, 0)
        """
        if method not in ("nodes", "random"):
            raise ValueError(f"unknown sampling method {method!r}; expected 'nodes' or 'random'")
        if min(count for count in (interior, boundary, initial) if count is not None) < 1:
            raise ValueError(f"expected at least one point of each kind, came {interior=}, {boundary=}, {initial=}")
        if method == "random":
            if times is not None:
                raise ValueError("times: expected None with method='random', which draws them: use method='nodes'")
            return random_points(self, interior, boundary, initial, seed)
        if boundary is not None or initial is not None:
            raise ValueError(
                f"came {boundary=}, {initial=}: with method='nodes' their number follows from the spacing; leave them "
                f"out, or use method='random'"
            )
        if self.time is None and times is not None:
            raise ValueError(f"times: expected None for a region without time, came {len(times)} of them")
        if self.time is not None:
            times = np.linspace(*self.time, STEPS + 1) if times is None else np.asarray(times, dtype=np.float64)
            if len(times) and not (self.time[0] == times[0] and times[-1] <= self.time[1]):
                raise ValueError(
                    f"times: expected them to start at {self.time[0]} and end by {self.time[1]}, came "
                    f"{times[0]} to {times[-1]}"
                )
        nodes = scatter(self.shape, count=interior, ghost_layers=ghost_layers, seed=seed)
        return nodes.points(self.axes, times)
