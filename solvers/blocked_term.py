"""One term of the loss with its points dealt to blocks, and the gradients of all blocks from one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.func import vmap

from solvers.block_adjoint import Dealing, pull_back_blocks
from solvers.jet import Jet
from solvers.networks.substitution import call_with
from solvers.operators.detached import Detached, flat_starts
from solvers.operators.operator import Plan
from solvers.operators.rbf_fd_plan import RBFFDPlan
from solvers.operators.tangent_prop import TangentPropPlan
from solvers.optimizers.optimizer import flatten
from solvers.series import Series


@dataclass(frozen=True, eq=False)
class BlockedTerm:
    """A term of the loss on points that are dealt to blocks: L_b = weight * mean_{i in b} r_i^2.

    Args:
        plan: of the term's partials at its points, ordered (copy, block, point).
        residual: jet -> (n, equations), row by row in the points' order; pairs of copies may make one row.
        dealing: of the points to blocks.
        weight: of the term in the loss.
    """

    plan: Plan
    residual: Callable[[Jet], Tensor]
    dealing: Dealing
    weight: float = 1.0

    def gradients(self, network: nn.Module, names: Sequence[str]) -> Tensor:
        """Return the gradient of each block's own loss, the parameters frozen.

        Args:
            network: whose derivatives the plan takes.
            names: parameters that count, as in `network.named_parameters()`.

        Returns:
            (B, parameters that count), in the order of `names`.
        """
        if isinstance(self.plan, RBFFDPlan):
            return self._by_nodes(network, names)
        detached = self.plan.detached(network) if isinstance(self.plan, TangentPropPlan) else None
        return self._by_vmap(network, names) if detached is None else self._by_adjoint(network, names, detached)

    def _loss(self, jet: Jet) -> Tensor:
        """Return the sum over blocks of the mean square residual of each, whose gradients do not meet."""
        residual = self.residual(jet)
        return self.weight * (residual.square().sum() / (len(residual) / self.dealing.blocks))

    def _by_vmap(self, network: nn.Module, names: Sequence[str]) -> Tensor:
        blocks = self.dealing.blocks
        trained = {name: p.detach() for name, p in network.named_parameters()}
        stacked = {name: p.expand(blocks, *p.shape).requires_grad_(name in names) for name, p in trained.items()}
        loss = self._loss(self.plan(_Blocked(network, stacked, self.dealing)))
        sizes = [trained[name].numel() for name in names]
        if not loss.requires_grad:
            return loss.new_zeros(blocks, sum(sizes))
        own = list(torch.autograd.grad(loss, [stacked[name] for name in names], materialize_grads=True))
        # Piece after piece is freed when it is copied, so that all gradients exist only once.
        gathered = own[0].new_empty(blocks, sum(sizes))
        for part in gathered.split(sizes, dim=1):
            part.copy_(own.pop(0).reshape(blocks, -1))
        return gathered

    def _by_nodes(self, network: nn.Module, names: Sequence[str]) -> Tensor:
        """Every block sees nearly all nodes: one cotangent of the nodes a block, and a backward pass for each."""
        inner, parameters = self.plan.inner, dict(network.named_parameters())
        selected = [parameters[name] for name in names]
        starts = flat_starts(selected)
        detached = inner.detached(network) if isinstance(inner, TangentPropPlan) else None
        with torch.enable_grad():
            nodal = inner(network) if detached is None else detached.jet
            values = list(nodal.values.values())
            leaves = [value.detach().requires_grad_(True) for value in values]
            residual = self.residual(self.plan.of(replace(nodal, values=dict(zip(nodal.values, leaves, strict=True)))))
            blocks = residual.reshape(-1, self.dealing.blocks, self.dealing.block_size, residual.shape[1])
            losses = self.weight * blocks.square().sum(dim=(0, 2, 3)) / (len(residual) / self.dealing.blocks)
        gathered = losses.new_zeros(self.dealing.blocks, sum(p.numel() for p in selected))
        if not losses.requires_grad:
            return gathered
        for row, loss in zip(gathered, losses, strict=True):
            own = torch.autograd.grad(loss, leaves, retain_graph=True, materialize_grads=True)
            if detached is None:
                gradients = torch.autograd.grad(values, selected, own, retain_graph=True, materialize_grads=True)
                row.copy_(flatten(gradients))
            else:
                detached.pull_back(own, row, starts)
        return gathered

    def _by_adjoint(self, network: nn.Module, names: Sequence[str], detached: Detached) -> Tensor:
        parameters = dict(network.named_parameters())
        selected = [parameters[name] for name in names]
        ends = list(accumulate(p.numel() for p in selected))
        loss = self._loss(detached.jet)
        if not loss.requires_grad:
            return loss.new_zeros(self.dealing.blocks, ends[-1])
        cotangents = torch.autograd.grad(loss, detached.leaves, materialize_grads=True)
        starts = dict(zip(selected, [0, *ends[:-1]], strict=True))
        return pull_back_blocks(detached, cotangents, self.dealing, starts, ends[-1])


class _Blocked:
    """The network on rows ordered (copy, block, point): an operator may stack shifted copies of the points."""

    def __init__(self, network: nn.Module, stacked: dict[str, Tensor], dealing: Dealing):
        self.network, self.stacked, self.dealing = network, stacked, dealing

    def __call__(self, rows: Tensor | Series) -> Tensor | Series:
        if isinstance(rows, Series):
            return self._series(rows)
        by_block = rows.reshape(-1, self.dealing.blocks, self.dealing.block_size, rows.shape[1]).transpose(0, 1)
        copies = by_block.shape[1]
        values = vmap(self._one, in_dims=(0, 0), randomness="different")(self.stacked, by_block.flatten(1, 2))
        return values.unflatten(1, (copies, self.dealing.block_size)).transpose(0, 1).flatten(0, 2)

    def _one(self, parameters: dict[str, Tensor], rows: Tensor) -> Tensor:
        return call_with(self.network, parameters, rows)

    def _series(self, series: Series) -> Series:
        """Do the same to a series, whose coefficients have a dimension more, in front."""

        def one(parameters: dict[str, Tensor], coefficients: Tensor) -> Tensor:
            return call_with(self.network, parameters, Series(coefficients, series.layout)).coefficients

        dealing = self.dealing
        dealt = series.coefficients.unflatten(1, (dealing.copies, dealing.blocks, dealing.block_size))
        by_block = dealt.movedim(2, 0).flatten(2, 3)
        values = vmap(one, in_dims=(0, 0), out_dims=1, randomness="different")(self.stacked, by_block)
        return Series(
            values.unflatten(2, (dealing.copies, dealing.block_size)).movedim(2, 1).flatten(1, 3), series.layout
        )
