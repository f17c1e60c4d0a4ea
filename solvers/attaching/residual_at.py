"""A user's residual at fixed points: its values, and its gradients over blocks of the points."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor, nn

from dynamics.format import KNOWN, Stream
from solvers.attaching.attention_at import AttentionAt
from solvers.attaching.block_gradients import AttachedBlocks, Residuals, rows_of
from solvers.attaching.measurement import Measurement, array
from solvers.attaching.owned import OwnedParameters
from solvers.blocks import counts
from solvers.probes.gradients import gradient_statistics

GRADIENTS = tuple(f"{name}{of}" for name in ("mean_norm", "std_norm", "rms_norm") for of in ("", "_total"))


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

    def values(self, moment: object) -> Tensor:
        """Return what is recorded of each point.

        Args:
            moment: of the measurement.

        Returns:
            (n,): the residual, or where there are several equations the sum of its absolute components.
        """
        residual = self.at(moment)
        return residual[:, 0] if residual.shape[1] == 1 else self.sizes(moment)

    def sizes(self, moment: object) -> Tensor:
        """Return the sum of the absolute components.

        Args:
            moment: of the measurement.

        Returns:
            (n,).
        """
        return self.at(moment).abs().sum(dim=1)

    def gradients(self, owned: OwnedParameters, blocks: int, attention: AttentionAt | None) -> list[Measurement]:
        """Return the measurement of the gradients over blocks of the points.

        Args:
            owned: parameters of the optimizer.
            blocks: number of blocks.
            attention: in the loss, or None.

        Returns:
            The stream gradients, of the matrices where there are such; none where the optimizer moves none of the
            model's parameters.
        """
        own = dict(self.model.named_parameters())
        trained = [name for name in owned.models if name in own and own[name].requires_grad]
        weights = [name for name in trained if counts(name, "weight")]
        layers = weights or trained
        if not layers:
            return []
        weigh = None if attention is None else attention.of_squares
        block = AttachedBlocks(self.residuals, self.model, layers, self.points, blocks, weigh=weigh)

        def measure(moment: object) -> Mapping[str, object]:
            own = array(block())
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
                "loss": "mean(r^2)" if attention is None else attention.form,
                "way": block.way,
            }
            named = [KNOWN["gradients"][name] for name in (*GRADIENTS, "block_norm", "gram")]
            return Stream("gradients", named, {"layer": layers, **sizes}, attrs)

        return [Measurement("gradients", measure, declare)]
