"""Loss gradients of many blocks of points at once, of the equation and of each condition."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from solvers.block_adjoint import Dealing
from solvers.blocked_term import BlockedTerm
from solvers.evaluation import mean_square
from solvers.jet import Jet
from solvers.objective import Objective
from solvers.optimizers.optimizer import flatten
from solvers.points import EQUATION
from solvers.term import Term


class BlockGradients:
    """Gradients g_b = d/dtheta [ mean_{i in b} (lambda_i r_i)^2 + L_conditions ] of B fixed blocks, theta frozen.

    Every parameter is expanded to (B, ...) without a copy and the network is applied by `vmap`, block by block; the
    derivative operator sees an ordinary function. One backward pass then yields all B gradients, for about the price
    of one training step instead of B. Where Taylor propagation is compiled, its adjoint is taken block by block.

    Args:
        objective: the loss whose gradients are taken.
        blocks: number B; points that do not fill the last block are left out.
        suffix: parameters counted, by the end of their name: "weight" is the weight matrices alone, as in
            arXiv 2403.18494; "" is all of them.
        seed: of the permutations that deal points to blocks.

    Raises:
        ValueError: fewer than 2 blocks, more blocks than points, or no parameter with that suffix.
    """

    def __init__(self, objective: Objective, blocks: int = 8, suffix: str = "weight", seed: int = 0):
        count = len(objective.equation_points.interior)
        if not 2 <= blocks <= count:
            raise ValueError(f"expected between 2 and {count} blocks of the {count} interior points, came {blocks}")
        self.objective, self.blocks, self.block_size = objective, blocks, count // blocks
        names = objective.parameters.names
        self.layers = [name for name in names if counts(name, suffix)]
        if not self.layers:
            raise ValueError(f"no parameter ends in {suffix!r}; expected one of {names}")
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(count, generator=generator)
        self.order = order[: blocks * self.block_size].to(objective.vector.device)
        points = objective.points.only(EQUATION, self.order)
        self.plan = objective.operator.plan(points, objective.problem.partials)
        self._interior = BlockedTerm(self.plan, self._residual, Dealing(1, blocks, self.block_size))
        self._conditions = [self._deal(*pair, generator) for pair in self._weighted()]

    def __call__(self) -> tuple[Tensor, Tensor]:
        """Return the gradients at the objective's current parameters and attention weights.

        Returns:
            Interior gradients (B, selected parameters) and the gradient common to all blocks, that of the conditions,
            (selected parameters,); g_b is their sum.
        """
        return self.interior(), sum(self.condition_gradients(), self.objective.vector.new_zeros(sum(self.sizes)))

    def interior(self) -> Tensor:
        """Return each block's gradient of the interior term, with its attention weights.

        Returns:
            (B, selected parameters).
        """
        return self._interior.gradients(self.objective.network, self.layers)

    def condition_gradients(self) -> list[Tensor]:
        """Return each condition's weighted gradient over all of its points.

        Returns:
            (selected parameters,) each, in the order of the objective's terms.
        """
        network, coefficients = self.objective.network, self.objective.coefficients
        parameters = dict(network.named_parameters())
        selected, gradients = [parameters[name] for name in self.layers], []
        for term, weight in self._weighted():
            loss = weight * mean_square(term.residual(term.plan(network), coefficients))
            if loss.requires_grad:
                gradients.append(flatten(torch.autograd.grad(loss, selected, materialize_grads=True)))
            else:
                gradients.append(flatten([torch.zeros_like(p) for p in selected]))
        return gradients

    def condition_blocks(self) -> Iterator[Tensor | None]:
        """Yield each condition's weighted gradients over blocks of its own points, one condition at a time.

        As many blocks as of the interior, or one a point where it has fewer. The points of each of several parts are
        dealt alike, so that pairs of points stay together.

        Yields:
            (blocks, selected parameters), or None for a condition with fewer than 2 points, which has no blocks.
        """
        for blocked in self._conditions:
            yield None if blocked is None else blocked.gradients(self.objective.network, self.layers)

    def _weighted(self) -> list[tuple[Term, float]]:
        return list(zip(self.objective.conditions, self.objective.weights[1:], strict=True))

    def _residual(self, jet: Jet) -> Tensor:
        residual = self.objective.equation(self.plan, jet)
        if self.objective.attention is not None:
            residual = self.objective.attention[self.order, None] * residual
        return residual

    def _deal(self, term: Term, weight: float, generator: torch.Generator) -> BlockedTerm | None:
        """Deal the points of a condition to blocks; None where there are fewer than 2."""
        condition, points = term.condition, self.objective.points
        copies = len(condition.where) if isinstance(condition.where, tuple) else 1
        if copies * points.smallest(condition.where) != len(term.rows):
            # Parts of different size cannot be pairs: their rows are independent of one another.
            copies = 1
        count = len(term.rows) // copies
        if count < 2:
            return None
        blocks = min(self.blocks, count)
        size = count // blocks
        chosen = torch.randperm(count, generator=generator)[: blocks * size]
        rows = torch.cat([chosen + copy * count for copy in range(copies)]).to(term.rows.device)
        own = points.only(condition.where)
        kind = next(kind for kind in ("interior", "boundary", "initial") if len(getattr(own, kind)))
        normals = own.normals[rows] if len(own.normals) else None
        own = replace(own, **{kind: getattr(own, kind)[rows]}, normals=normals)
        dealt = Term(condition, self.objective.operator.plan(own, condition.partials), own.rows, own.normals)
        residual = partial(_at_present, dealt, self.objective)
        return BlockedTerm(dealt.plan, residual, Dealing(copies, blocks, size), weight)

    @property
    def sizes(self) -> list[int]:
        """Number of entries of each selected parameter, in the gradients' order."""
        shapes = dict(self.objective.network.named_parameters())
        return [shapes[name].numel() for name in self.layers]


def _at_present(term: Term, objective: Objective, jet: Jet) -> Tensor:
    return term.residual(jet, objective.coefficients)


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
