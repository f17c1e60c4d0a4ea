"""Loss gradients of many blocks of points at once: the weights get a block dimension, autograd does the rest."""

from __future__ import annotations

from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.func import vmap

from solvers.jet import Jet
from solvers.networks.substitution import call_with
from solvers.objective import Objective
from solvers.operators.detached import Detached
from solvers.operators.tangent_prop import TangentPropPlan
from solvers.optimizers.optimizer import flatten
from solvers.points import Points
from solvers.series import Series


class BlockGradients:
    """Gradients g_b = d/dtheta [ mean_{i in b} (lambda_i r_i)^2 + L_conditions ] of B fixed blocks, theta frozen.

    Every parameter is expanded to (B, ...) without a copy and the network is applied by `vmap`, block by block; the
    derivative operator sees an ordinary function. One backward pass then yields all B gradients, for about the price
    of one training step instead of B.

    Args:
        objective: the loss whose gradients are taken.
        blocks: number B; points that do not fill the last block are left out.
        suffix: parameters counted, by the end of their name: "weight" is the weight matrices alone, as in
            arXiv 2403.18494; "" is all of them.
        seed: of the permutation that deals points to blocks.

    Raises:
        ValueError: fewer than 2 blocks, more blocks than points, or no parameter with that suffix.
    """

    def __init__(self, objective: Objective, blocks: int = 8, suffix: str = "weight", seed: int = 0):
        count = len(objective.points.interior)
        if not 2 <= blocks <= count:
            raise ValueError(f"expected between 2 and {count} blocks of the {count} interior points, came {blocks}")
        self.objective, self.blocks, self.block_size = objective, blocks, count // blocks
        names = objective.parameters.names
        self.layers = [name for name in names if counts(name, suffix)]
        if not self.layers:
            raise ValueError(f"no parameter ends in {suffix!r}; expected one of {names}")
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
        self.order = order[: blocks * self.block_size].to(objective.vector.device)
        points = Points(objective.points.interior[self.order], axes=objective.points.axes)
        self.plan = objective.operator.plan(points, objective.problem.partials)

    def __call__(self) -> tuple[Tensor, Tensor]:
        """Return the gradients at the objective's current parameters and attention weights.

        Returns:
            Interior gradients (B, selected parameters) and the gradient common to all blocks, that of the conditions,
            (selected parameters,); g_b is their sum.
        """
        network = self.objective.network
        detached = self.plan.detached(network) if isinstance(self.plan, TangentPropPlan) else None
        own = self._by_vmap(network) if detached is None else self._by_parts(network, detached)
        return own, self._common()

    def _by_vmap(self, network: nn.Module) -> Tensor:
        trained = {name: p.detach() for name, p in network.named_parameters()}
        stacked = {
            name: p.expand(self.blocks, *p.shape).requires_grad_(name in self.layers) for name, p in trained.items()
        }
        loss = self._loss(self.plan(_Blocked(network, stacked, self.blocks, self.block_size)))
        own = torch.autograd.grad(loss, [stacked[name] for name in self.layers], materialize_grads=True)
        return torch.cat([g.reshape(self.blocks, -1) for g in own], dim=1)

    def _by_parts(self, network: nn.Module, detached: Detached) -> Tensor:
        """Pull the cotangent back block by block, each from its own points."""
        cotangents = torch.autograd.grad(self._loss(detached.jet), detached.leaves, materialize_grads=True)
        selected = [p for name, p in network.named_parameters() if name in self.layers]
        starts = dict(zip(selected, accumulate(self.sizes[:-1], initial=0), strict=True))
        own = cotangents[0].new_zeros(self.blocks, sum(self.sizes))
        for block, row in enumerate(own):
            detached.pull_back(cotangents, row, starts, (block * self.block_size, (block + 1) * self.block_size))
        return own

    def _loss(self, jet: Jet) -> Tensor:
        """Return the sum over blocks of the mean square residual of each, whose gradients do not meet."""
        residual = self.objective.equation(self.plan, jet)
        if self.objective.attention is not None:
            residual = self.objective.attention[self.order, None] * residual
        return residual.square().sum() / self.block_size

    def _common(self) -> Tensor:
        selected = [p for name, p in self.objective.network.named_parameters() if name in self.layers]
        loss = self.objective.condition_loss()
        if not loss.requires_grad:
            return flatten([torch.zeros_like(p) for p in selected])
        return flatten(torch.autograd.grad(loss, selected, materialize_grads=True))

    @property
    def sizes(self) -> list[int]:
        """Number of entries of each selected parameter, in the gradients' order."""
        shapes = dict(self.objective.network.named_parameters())
        return [shapes[name].numel() for name in self.layers]


def counts(name: str, suffix: str) -> bool:
    """Return whether a parameter is chosen by a suffix; what a matrix is computed from counts as the matrix.

    Args:
        name: of the parameter.
        suffix: such as "weight"; "" chooses all.

    Returns:
        Whether it is.

    Example:
        >>> counts("2.parametrizations.weight.original1", "weight"), counts("2.bias", "weight")
        (True, False)
    """
    return name.endswith(suffix) or f"parametrizations.{suffix}." in name


class _Blocked:
    """The network on rows ordered (copy, block, point): an operator may stack shifted copies of the points."""

    def __init__(self, network: nn.Module, stacked: dict[str, Tensor], blocks: int, block_size: int):
        self.network, self.stacked, self.blocks, self.block_size = network, stacked, blocks, block_size

    def __call__(self, rows: Tensor | Series) -> Tensor | Series:
        if isinstance(rows, Series):
            return self._series(rows)
        by_block = rows.reshape(-1, self.blocks, self.block_size, rows.shape[1]).transpose(0, 1)
        copies = by_block.shape[1]
        values = vmap(self._one, in_dims=(0, 0))(self.stacked, by_block.flatten(1, 2))
        return values.reshape(self.blocks, copies, self.block_size, -1).transpose(0, 1).flatten(0, 2)

    def _one(self, parameters: dict[str, Tensor], rows: Tensor) -> Tensor:
        return call_with(self.network, parameters, rows)

    def _series(self, series: Series) -> Series:
        """Do the same to a series, whose coefficients have a dimension more, in front."""

        def one(parameters: dict[str, Tensor], coefficients: Tensor) -> Tensor:
            return call_with(self.network, parameters, Series(coefficients, series.layout)).coefficients

        by_block = series.coefficients.unflatten(1, (self.blocks, self.block_size))
        values = vmap(one, in_dims=(0, 1), out_dims=1)(self.stacked, by_block)
        return Series(values.flatten(1, 2), series.layout)
