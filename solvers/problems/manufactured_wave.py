"""The manufactured solution of the problems on disks, balls and domains with holes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from operator import mul

import torch
from torch import Tensor

from solvers.functions import cos, sin


@dataclass(frozen=True)
class Wave:
    """The function 1 + sin(k x) cos(k y) in the plane, 1 + sin(k x) cos(k y) cos(k z) in space, k = frequency pi.

    With frequency 1 in the plane it is the solution (19) of Sharma and Shankar, arXiv 2205.09332.

    Args:
        frequency: of the wave along each axis, in half waves on a unit length.
        dimension: number of axes in space.

    Raises:
        ValueError: a frequency that is not positive and finite.

    Example:
        >>> wave = Wave()
        >>> x = torch.tensor([[0.5, 0.0]], dtype=torch.float64)
        >>> round(wave(x).item(), 6), round(wave.laplacian(x).item(), 6)
        (2.0, -19.739209)
    """

    frequency: float = 1.0
    dimension: int = 2

    def __post_init__(self):
        number = isinstance(self.frequency, int | float) and not isinstance(self.frequency, bool)
        if not (number and 0 < self.frequency < math.inf):
            raise ValueError(f"expected a positive, finite frequency, came {self.frequency!r}")

    def resolved(self, reach: float, points: int) -> Wave:
        """Return the same wave, refused where a uniform grid would show another one in its place.

        Args:
            reach: of the domain to either side of the origin.
            points: of the grid along an axis.

        Returns:
            This wave.

        Raises:
            ValueError: fewer than four points a wave.
        """
        highest = (points - 1) / 4
        if self.frequency * reach > highest:
            raise ValueError(
                f"expected frequency * {reach:g} <= {highest:g}, where the test grid has four points a wave, came "
                f"frequency {self.frequency:g}: errors of higher ones would be those of another wave"
            )
        return self

    @property
    def wavenumber(self) -> float:
        """Of the wave along each axis, k = frequency pi."""
        return self.frequency * math.pi

    def __call__(self, x: Tensor) -> Tensor:
        """Return the function.

        Args:
            x: (n, axes); axes beyond the dimension, such as time, do not count.

        Returns:
            (n, 1).
        """
        return 1 + self.product(x)

    def product(self, x: Tensor) -> Tensor:
        """Return the function less 1.

        Args:
            x: (n, axes).

        Returns:
            (n, 1).
        """
        return reduce(mul, self._factors(x))

    def gradient(self, x: Tensor) -> Tensor:
        """Return the first derivatives in space.

        Args:
            x: (n, axes).

        Returns:
            (n, dimension).
        """
        factors, columns = self._factors(x), []
        for axis in range(self.dimension):
            along = self.wavenumber * x[:, axis : axis + 1]
            slope = cos(along) if axis == 0 else -sin(along)
            columns.append(self.wavenumber * reduce(mul, [*factors[:axis], slope, *factors[axis + 1 :]]))
        return torch.cat(columns, dim=1)

    def laplacian(self, x: Tensor) -> Tensor:
        """Return the sum of the second derivatives in space, -d k^2 (u - 1).

        Args:
            x: (n, axes).

        Returns:
            (n, 1).
        """
        return -self.dimension * self.wavenumber**2 * self.product(x)

    def _factors(self, x: Tensor) -> list[Tensor]:
        along = [self.wavenumber * x[:, axis : axis + 1] for axis in range(self.dimension)]
        return [sin(along[0]), *(cos(each) for each in along[1:])]
