"""Quantities at fixed points, one number a point: recorded as they are, and how evenly they spread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from torch import Tensor

from dynamics.format import Stream
from dynamics.homogeneity import cell_index, cell_moments, cells_per_axis
from solvers.attaching.measurement import Measurement, array

Quantities = Mapping[str, Callable[[object], Tensor]]
"""moment -> (n,), by name."""


def point_values(quantities: Quantities) -> Measurement:
    """Return the measurement of the stream residuals.

    Args:
        quantities: named as variables of the stream.

    Returns:
        The measurement.

    Example:
        >>> import torch
        >>> point_values({"residual": lambda moment: torch.ones(2)}).measure(None)["residual"].tolist()
        [1.0, 1.0]
    """

    def measure(moment: object) -> Mapping[str, object]:
        return {name: array(of(moment)) for name, of in quantities.items()}

    return Measurement("residuals", measure, lambda: Stream("residuals"))


def homogeneity(quantities: Quantities, points: Tensor) -> Measurement:
    """Return the measurement of how evenly quantities spread over cells of the points' own box.

    Args:
        quantities: in the order of the stream's labels; their absolute values count.
        points: (n, axes).

    Returns:
        The measurement of the stream homogeneity.

    Example:
        >>> import torch
        >>> points = torch.linspace(0, 1, 20)[:, None]
        >>> found = homogeneity({"residual": lambda moment: torch.ones(20)}, points)
        >>> found.measure(None)["cell_mean"].tolist(), found.declare().attrs
        ([1.0], {'cells': 10})
    """
    rows = points.double().cpu().numpy()
    cells = cells_per_axis(rows.shape[1])
    index = cell_index(rows, *box(rows), cells)

    def measure(moment: object) -> Mapping[str, object]:
        sizes = [of(moment).abs().double().cpu().numpy() for of in quantities.values()]
        mean, rms = zip(*(cell_moments(size, index) for size in sizes), strict=True)
        return {"cell_mean": np.array(mean), "cell_rms": np.array(rms)}

    stream = Stream("homogeneity", coords={"quantity": list(quantities)}, attrs={"cells": cells})
    return Measurement("homogeneity", measure, lambda: stream)


def box(points: np.ndarray) -> tuple[Sequence[float], Sequence[float]]:
    """Return the corners of the points' own box; an axis of no extent gets a length of 1.

    Args:
        points: (n, axes).

    Returns:
        Lower and upper corner.

    Example:
        >>> [corner.tolist() for corner in box(np.array([[0.0, 2.0], [4.0, 2.0]]))]
        [[0.0, 2.0], [4.0, 3.0]]
    """
    lower, upper = points.min(axis=0), points.max(axis=0)
    return lower, np.where(upper > lower, upper, lower + 1)
