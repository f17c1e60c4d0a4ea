"""Local random features: a partition of unity times random features in each cell's own coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor, nn

from solvers.networks.random_features import RandomFeatures


class LocalFeatures(RandomFeatures):
    """u(x) = sum_k psi_k(x) sum_j c_kj s(w_kj . y_k + b_kj), y_k = 2 (x - centre of cell k) / width of the cell.

    The windows psi_k are products over the axes of (tanh((x - e_k)/d) - tanh((x - e_{k+1})/d)) / 2, e_k the inner edges
    between cells, -1 and 1 standing for the tanh at the outer faces. They telescope, so they sum to 1 and their
    derivatives to 0 up to round-off, they are analytic, so that derivatives of any order exist and errors fall faster
    than any power of the number of features (a C^6 window would end that at its order), and they are made of tanh, +
    and *, which every operator passes. The price: no entry of the matrix is exactly 0; it is solved as a dense one.

    Args:
        inputs: number of input coordinates.
        features: number of features a cell.
        cells: number of cells along each axis, one number or one an axis.
        lower: lower limits of the box that the cells fill, one number or one an axis.
        upper: upper limits.
        activation: a module class without arguments.
        scale: R of the inner weights and biases in cell coordinates, in which the cell is [-1, 1]; one number or one an
            axis.
        seed: of the draw; the global generator is left alone.
        distribution: "uniform" or "normal".
        overlap: d as a part of half the cell's width.

    Raises:
        ValueError: features or cells below 1, limits that make no box, an overlap that is not positive and finite, or
            what `RandomFeatures` refuses.

    Source: J. Chen, X. Chi, W. E, Z. Yang, Bridging traditional and machine learning-based algorithms for solving PDEs:
    the random feature method, arXiv 2207.13380 (with another window).

    Cost: features() takes two products of (n, M) matrices an axis more than `RandomFeatures` of the same M.

    Example:
        >>> network = LocalFeatures(2, 20, cells=(3, 2))
        >>> network.features(torch.zeros(5, 2, dtype=torch.float64)).shape
        torch.Size([5, 120])
    """

    def __init__(
        self,
        inputs: int,
        features: int,
        *,
        cells: int | Sequence[int] = 2,
        lower: float | Sequence[float] = -1.0,
        upper: float | Sequence[float] = 1.0,
        activation: type[nn.Module] = nn.Tanh,
        scale: float | Sequence[float] = 1.0,
        seed: int = 0,
        distribution: str = "uniform",
        overlap: float = 0.3,
    ):
        counts = _each(cells, inputs, "cells")
        if not all(isinstance(count, int) and not isinstance(count, bool) and count >= 1 for count in counts):
            raise ValueError(f"expected cells as integers >= 1, came {cells!r}")
        if not (isinstance(overlap, int | float) and 0 < overlap < math.inf):
            raise ValueError(f"expected a positive finite overlap, came {overlap!r}")
        limits = list(zip(_each(lower, inputs, "lower"), _each(upper, inputs, "upper"), strict=True))
        if not all(-math.inf < low < high < math.inf for low, high in limits):
            raise ValueError(f"expected finite lower < upper on every axis, came {lower!r} and {upper!r}")
        super().__init__(inputs, features * math.prod(counts), activation, scale, seed, distribution)
        self.cells, self.overlap = counts, float(overlap)
        widths = [(high - low) / (2 * n) for (low, high), n in zip(limits, counts, strict=True)]
        half = torch.tensor(widths, dtype=torch.float64)
        origin = torch.tensor([low for low, _ in limits], dtype=torch.float64)
        places = torch.tensor(list(product(*map(range, counts)))).repeat_interleave(features, dim=0)
        centre = origin + (2 * places + 1) * half
        # In the coordinates of the box: w . y + b = (w / half) . x + (b - (w / half) . centre).
        self.weight = self.weight / half
        self.bias = self.bias - (self.weight * centre).sum(dim=1)
        for axis, count in enumerate(counts):
            edges = origin[axis] + 2 * half[axis] * torch.arange(1, count)
            self.register_buffer(f"edges_{axis}", edges)
            self.register_buffer(f"width_{axis}", half[axis] * overlap)
            # (tanh at the left edge - tanh at the right edge) / 2 of each feature's cell; +-1 where there is no edge.
            left, right = (torch.eye(count + 1).double()[places[:, axis] + side] / 2 for side in (0, 1))
            difference = left - right
            self.register_buffer(f"difference_{axis}", difference[:, 1:-1].T.contiguous())
            self.register_buffer(f"constant_{axis}", difference[:, 0] - difference[:, -1])

    def window(self, x: Tensor) -> Tensor:
        """Return each feature's window.

        Args:
            x: (n, inputs).

        Returns:
            (n, features): psi_k of the cell k that the feature belongs to, equal for all features of a cell.
        """
        factors = []
        for axis, count in enumerate(self.cells):
            if count > 1:
                edges, width, difference, constant = (
                    getattr(self, f"{name}_{axis}") for name in ("edges", "width", "difference", "constant")
                )
                steps = torch.tanh((x[:, axis : axis + 1] - edges) / width)
                factors.append(steps @ difference + constant)
        return math.prod(factors[1:], start=factors[0]) if factors else 1.0

    def features(self, x: Tensor) -> Tensor:
        """Return the features themselves.

        Args:
            x: (n, inputs).

        Returns:
            (n, features): psi_k(x) s(w_kj . y_k + b_kj), cell by cell, the last axis's cells fastest.
        """
        return self.window(x) * self.activation(self.argument(x))


def _each(value, inputs: int, name: str) -> tuple:
    values = (value,) * inputs if isinstance(value, int | float) else tuple(value)
    if len(values) != inputs:
        raise ValueError(f"expected {name} as one number or one for each of {inputs} axes, came {value!r}")
    return values
