"""Synthetic measurements of a known solution, and how well any method can find a coefficient from them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from solvers.domain import Box

STEP = 1e-4
"""Relative step of the central difference in the coefficient: 1e-8 of truncation, 1e-12 of rounding."""

Model = Callable[[float], Callable[[Tensor], Tensor]]
"""Value of the coefficient -> solution, x (n, axes) -> (n, components)."""


@dataclass(frozen=True, eq=False)
class NoisyData:
    r"""Values of a solution u(x; c) at points, with Gaussian noise, and the Cramer-Rao bar of c.

    $$ y_i = u(x_i; c) + s \epsilon_i, \qquad \sigma_c = s \, \Big( \sum_i (\partial u / \partial c)_i^2 \Big)^{-1/2} $$

    sigma_c is the least standard deviation of an unbiased estimate of c from y where all else is known: equation,
    boundary, initial values and s. An estimate that close to the truth is as good as the data allow.

    Args:
        points: (n, axes) float64.
        values: (n, components) float64, with the noise.
        deviation: s.
        standard_error: sigma_c, 0 where there is no noise.
    """

    points: Tensor
    values: Tensor
    deviation: float
    standard_error: float

    @classmethod
    def draw(
        cls, model: Model, value: float, domain: Box, measurements: int, noise: float, seed: int, points: object = None
    ) -> NoisyData:
        """Measure a solution.

        Args:
            model: value of the coefficient -> solution.
            value: its true value.
            domain: that the points are drawn from, uniformly.
            measurements: how many.
            noise: s over the standard deviation of the noiseless values.
            seed: of points and noise.
            points: (n, axes) of the domain to measure at instead.

        Returns:
            The data.

        Raises:
            ValueError: fewer than two measurements, noise that is negative or not finite, a seed that is no whole
                number, points of another shape or outside the domain, points whose values do not depend on the
                coefficient.

        Example:
            >>> line = lambda slope: lambda x: slope * x
            >>> data = NoisyData.draw(line, 2.0, Box(("x",), (0.0,), (1.0,)), 0, 0.1, 0, [[0.0], [1.0]])
            >>> data.deviation, round(data.standard_error, 9)
            (0.1, 0.1)
        """
        if not 0 <= noise < math.inf:
            raise ValueError(
                f"expected noise from 0 on, the share of the values' standard deviation, came {noise}: 0.01 is 1 %"
            )
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ValueError(f"expected a seed, a whole number from 0 on, came {seed!r}: the data must be repeatable")
        rng = np.random.default_rng(seed)
        places = _places(domain, measurements, rng) if points is None else _given(domain, points)
        clean = model(value)(places)
        deviation = noise * float(clean.std(correction=0))
        ahead, behind = (model(value * (1 + sign * STEP))(places) for sign in (1, -1))
        sensitivity = float(torch.linalg.vector_norm((ahead - behind) / (2 * STEP * value)))
        if not sensitivity > 0:
            raise ValueError(
                f"expected points whose values depend on the coefficient, came {len(places)} where they do not, such "
                f"as {places[0].tolist()}: measure inside the domain, after the initial time"
            )
        values = clean + deviation * torch.from_numpy(rng.standard_normal(tuple(clean.shape)))
        return cls(places, values, deviation, deviation / sensitivity)


def _places(domain: Box, count: int, rng: np.random.Generator) -> Tensor:
    if isinstance(count, bool) or count != int(count) or count < 2:
        raise ValueError(f"expected a whole number of measurements, at least 2, came {count!r}")
    return domain.scale(torch.from_numpy(rng.random((int(count), len(domain.axes)))))


def _given(domain: Box, points: object) -> Tensor:
    places = torch.as_tensor(np.asarray(points, np.float64))
    if places.ndim != 2 or places.shape[1] != len(domain.axes) or len(places) < 2:
        raise ValueError(
            f"expected points of shape (n, {len(domain.axes)}), axes {', '.join(domain.axes)}, two measurements at "
            f"least, came shape {tuple(places.shape)}"
        )
    outside = domain.outside(places) | ~torch.isfinite(places).all(dim=1)
    if outside.any():
        raise ValueError(
            f"expected measurements inside {list(zip(domain.lower, domain.upper, strict=True))}, came "
            f"{int(outside.sum())} outside, such as {places[outside][0].tolist()}: leave them out"
        )
    return places
