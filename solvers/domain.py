"""The box that a problem lives on: its axes, limits, faces and periodic directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from solvers.jet import TIME


@dataclass(frozen=True)
class Box:
    """An axis-aligned box in space, or in space and time (axis "t").

    Args:
        axes: one letter an axis; "t" is time, the others are space.
        lower: lower limits, one an axis.
        upper: upper limits, one an axis.
        periodic: the axes whose two faces are identified: their boundary points come in pairs.

    Raises:
        ValueError: lengths differ, a limit is not above its partner, a letter repeats, or there is no space axis.

    Example:
        >>> Box(("x", "t"), (-1.0, 0.0), (1.0, 1.0)).faces
        ('x-', 'x+')
    """

    axes: tuple[str, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    periodic: tuple[str, ...] = ()

    def __post_init__(self):
        if not len(self.axes) == len(self.lower) == len(self.upper) or len(set(self.axes)) != len(self.axes):
            raise ValueError(f"expected one letter, lower and upper limit an axis, came {self}")
        if not self.space:
            raise ValueError(f"expected at least one space axis, came {', '.join(self.axes)}")
        if any(low >= high for low, high in zip(self.lower, self.upper, strict=True)):
            raise ValueError(f"expected lower < upper on every axis, came {self.lower} and {self.upper}")

    @property
    def space(self) -> tuple[str, ...]:
        """The space axes."""
        return tuple(axis for axis in self.axes if axis != TIME)

    @property
    def faces(self) -> tuple[str, ...]:
        """Names of the boundary's parts: the lower and upper face of each space axis."""
        return tuple(f"{axis}{side}" for axis in self.space for side in "-+")

    def scale(self, unit: Tensor) -> Tensor:
        """Map points of the unit cube onto the box.

        Args:
            unit: (n, axes), each coordinate in [0, 1].

        Returns:
            (n, axes) points of the box.
        """
        lower, upper = (torch.tensor(limits, dtype=unit.dtype) for limits in (self.lower, self.upper))
        return lower + unit * (upper - lower)

    def slack(self, like: Tensor) -> Tensor:
        """Return how far off a face a point may be: single-precision rounding of its coordinates.

        Args:
            like: for dtype and device.

        Returns:
            (axes,).
        """
        reach = [max(abs(low), abs(high)) for low, high in zip(self.lower, self.upper, strict=True)]
        return 8 * torch.finfo(torch.float32).eps * like.new_tensor(reach)

    def outside(self, points: Tensor) -> Tensor:
        """Return a mask of the points that lie outside the closed box, beyond rounding.

        Args:
            points: (n, axes).

        Returns:
            (n,) bool.
        """
        lower, upper = (
            torch.tensor(limits, dtype=points.dtype, device=points.device) for limits in (self.lower, self.upper)
        )
        slack = self.slack(points)
        return ((points < lower - slack) | (points > upper + slack)).any(dim=1)

    def off_boundary(self, points: Tensor) -> Tensor:
        """Return a mask of the points of the closed box that lie on none of its faces in space.

        Args:
            points: (n, axes).

        Returns:
            (n,) bool.

        Example:
            >>> Box(("x",), (0.0,), (1.0,)).off_boundary(torch.tensor([[0.0], [0.5]])).tolist()
            [False, True]
        """
        low, high = (points.new_tensor(limits) for limits in (self.lower, self.upper))
        slack = self.slack(points)
        on_face = ((points - low).abs() <= slack) | ((points - high).abs() <= slack)
        return ~on_face[:, [axis != TIME for axis in self.axes]].any(dim=1)

    def grid(self, shape: Sequence[int]) -> Tensor:
        """Return a uniform grid that includes the faces.

        Args:
            shape: number of points along each axis.

        Returns:
            (product of shape, axes) float64, the last axis fastest.

        Example:
            >>> Box(("x",), (0.0,), (1.0,)).grid((3,)).ravel().tolist()
            [0.0, 0.5, 1.0]
        """
        lines = [
            torch.linspace(low, high, count, dtype=torch.float64)
            for low, high, count in zip(self.lower, self.upper, shape, strict=True)
        ]
        return torch.cartesian_prod(*lines).reshape(-1, len(self.axes))
