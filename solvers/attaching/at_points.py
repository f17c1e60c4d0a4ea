"""Measurements of a user's residual at fixed points: its values, how evenly they spread, gradients over blocks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor, nn

from dynamics.format import KNOWN, Stream
from dynamics.homogeneity import cell_index, cell_moments, cells_per_axis
from solvers.attaching.block_gradients import AttachedBlocks, Residuals, rows_of
from solvers.attaching.measurement import Measurement
from solvers.attaching.owned import OwnedParameters
from solvers.blocks import counts
from solvers.probes.gradients import gradient_statistics

GRADIENTS = tuple(f"{name}{of}" for name in ("mean_norm", "std_norm", "rms_norm") for of in ("", "_total"))


def checked_points(points: Tensor, model: nn.Module) -> Tensor:
    """Return a copy of the points: what the caller does to them later changes no measurement.

    Args:
        points: (n, axes).
        model: that will be called with them.

    Returns:
        The copy, without a graph.

    Raises:
        ValueError: no points, or not on the model's device or in its dtype.

    Example:
        >>> import torch
        >>> checked_points(torch.zeros(3, 2), nn.Linear(2, 1)).shape
        torch.Size([3, 2])
    """
    if not isinstance(points, Tensor) or points.ndim != 2 or not len(points):
        came = f"shape {tuple(points.shape)}" if isinstance(points, Tensor) else type(points).__name__
        raise ValueError(f"expected points as a tensor (n, axes), came {came}: stack the axes as columns")
    parameter = next(model.parameters())
    if (points.device, points.dtype) != (parameter.device, parameter.dtype):
        raise ValueError(
            f"expected points on {parameter.device} in {parameter.dtype}, where the model is, came {points.device} and "
            f"{points.dtype}: pass points.to({str(parameter.device)!r}, {parameter.dtype})"
        )
    return points.detach().clone()


def field_at(model: nn.Module, points: Tensor) -> dict[str, float]:
    """Return mean and standard deviation of the model's first output, which tell a trivial solution.

    Args:
        model: trained.
        points: (n, axes).

    Returns:
        Variables of the series; none of a model whose output is no tensor (n, ...).

    Example:
        >>> import torch
        >>> field_at(nn.Identity(), torch.tensor([[1.0], [3.0]]))
        {'field_mean': 2.0, 'field_std': 1.0}
    """
    output = model(points)
    if not isinstance(output, Tensor) or not output.ndim or len(output) != len(points):
        return {}
    field = output.detach().reshape(len(points), -1)[:, 0].double()
    return {"field_mean": float(field.mean()), "field_std": float(field.std(correction=0))}


class ResidualAt:
    """A user's residual at fixed points.

    Args:
        residuals: (model, points) -> (n, equations).
        model: trained.
        points: (n, axes).

    Raises:
        ValueError: when made: no row a point, or residuals that need no gradient.

    Example:
        >>> import torch
        >>> ResidualAt(lambda model, x: model(x) - 1, nn.Linear(1, 1), torch.ones(5, 1))().shape
        torch.Size([5, 1])
    """

    def __init__(self, residuals: Residuals, model: nn.Module, points: Tensor):
        self.residuals, self.model, self.points = residuals, model, points
        self._kept: tuple[object, Tensor] | None = None
        if not self().requires_grad:
            raise ValueError(
                "expected residuals with a graph to the model's parameters, came residuals that need no gradient: "
                "call the model that is passed, without no_grad(), detach() or numpy"
            )

    def __call__(self) -> Tensor:
        """Return the residual at the present parameters.

        Returns:
            (n, equations), with a graph.
        """
        points = self.points.clone().requires_grad_(True)
        return rows_of(self.residuals(self.model, points), len(points))

    def at(self, moment: object) -> Tensor:
        """Return the residual, evaluated once a moment.

        Args:
            moment: of the measurement.

        Returns:
            (n, equations), without a graph.
        """
        if self._kept is None or self._kept[0] is not moment:
            self._kept = moment, self().detach()
        return self._kept[1]

    def measurements(self, owned: OwnedParameters, blocks: int) -> list[Measurement]:
        """Return what is measured of it.

        Args:
            owned: parameters of the optimizer.
            blocks: of the gradients.

        Returns:
            The streams residuals, homogeneity and, where the optimizer moves what the residual depends on, gradients.
        """
        return [self._values(), self._homogeneity(), self._gradients(owned, blocks)]

    def _values(self) -> Measurement:
        def measure(moment: object) -> Mapping[str, object]:
            residual = self.at(moment)
            value = residual[:, 0] if residual.shape[1] == 1 else residual.abs().sum(dim=1)
            return {"residual": value.cpu().numpy()}

        return Measurement("residuals", measure, lambda: Stream("residuals"))

    def _homogeneity(self) -> Measurement:
        points = self.points.double().cpu().numpy()
        lower, upper = box(points)
        cells = cells_per_axis(points.shape[1])
        index = cell_index(points, lower, upper, cells)

        def measure(moment: object) -> Mapping[str, object]:
            mean, rms = cell_moments(self.at(moment).abs().sum(dim=1).double().cpu().numpy(), index)
            return {"cell_mean": np.array([mean]), "cell_rms": np.array([rms])}

        stream = Stream("homogeneity", coords={"quantity": ["residual"]}, attrs={"cells": cells})
        return Measurement("homogeneity", measure, lambda: stream)

    def _gradients(self, owned: OwnedParameters, blocks: int) -> Measurement:
        trained = [name for name in owned.models if self.model.get_parameter(name).requires_grad]
        weights = [name for name in trained if counts(name, "weight")]
        layers = weights or trained
        block = AttachedBlocks(self.residuals, self.model, layers, self.points, blocks)

        def measure(moment: object) -> Mapping[str, object]:
            own = block().detach().cpu().numpy()
            found = gradient_statistics(own, np.zeros(own.shape[1]), block.sizes)
            return {name: found[name] for name in (*GRADIENTS, "block_norm", "gram")}

        def declare() -> Stream:
            sizes = {"block": block.blocks, "row": block.blocks + 1, "column": block.blocks + 1}
            attrs = {
                "blocks": block.blocks,
                "block_size": block.block_size,
                "points": len(self.points),
                "terms": ["residual"],
                "parameters": "names ending in 'weight'" if weights else "names ending in ''",
                "way": block.way,
            }
            named = [KNOWN["gradients"][name] for name in (*GRADIENTS, "block_norm", "gram")]
            return Stream("gradients", named, {"layer": layers, **sizes}, attrs)

        return Measurement("gradients", measure, declare)


def box(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
