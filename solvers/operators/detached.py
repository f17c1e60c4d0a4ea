"""Jets cut from their network, and gradients that lead through them by an adjoint of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from solvers.jet import Jet
from solvers.operators.chain import Chain
from solvers.operators.combination import Combination

if TYPE_CHECKING:
    from solvers.kernels.perceptron import Kept, Kernel


@dataclass(eq=False)
class Detached:
    """A jet of leaves: it depends on nothing before, and an adjoint leads on from it to the network's parameters.

    Args:
        stacked: partials in the plan's order, (partials, n, components), without a graph.
        jet_of: makes a jet of them, one tensor each.
        chain: the network.
        combination: of the series' rows to partials.
        kernel: compiled program.
        kept: what its backward pass needs.
    """

    stacked: Tensor
    jet_of: Callable[[Sequence[Tensor]], Jet]
    chain: Chain
    combination: Combination
    kernel: Kernel
    kept: Kept

    @cached_property
    def leaves(self) -> tuple[Tensor, ...]:
        """The partials as leaves of a graph, (n, components) each."""
        leaves = self.stacked.unbind()
        for leaf in leaves:
            leaf.requires_grad_(True)
        return leaves

    @cached_property
    def jet(self) -> Jet:
        """The jet made of the leaves."""
        return self.jet_of(self.leaves)

    def pull_back(
        self,
        cotangents: Sequence[Tensor] | Tensor,
        flat: Tensor,
        starts: Mapping[Tensor, int],
        part: tuple[int, int] | None = None,
    ) -> None:
        """Add the parameters' gradients into a flat buffer.

        Args:
            cotangents: of the leaves, or of `stacked`.
            flat: the buffer, contiguous.
            starts: parameter -> its first element there; gradients of others are dropped.
            part: first point and end of the points that count; all by default.
        """
        rows, kept = self.combination.adjoint(cotangents), self.kept
        if part is not None:
            rows, kept = rows[:, slice(*part)].contiguous(), kept.part(*part)
        places = self.chain.places(starts)
        if kept.room.threads == 1 and places is not None:
            self.kernel.add_gradients(kept, rows, flat, places)
            return
        parameters = self.chain.parameters
        own = self.kernel.gradients(kept, rows)
        for parameter, piece in zip(parameters, own.split([p.numel() for p in parameters]), strict=True):
            if parameter in starts:
                flat[starts[parameter] : starts[parameter] + len(piece)] += piece


def flat_starts(parameters: Sequence[Tensor]) -> dict[Tensor, int]:
    """Return where each parameter begins in a flat buffer.

    Args:
        parameters: in the buffer's order, each once.

    Returns:
        Parameter -> first element.
    """
    return dict(zip(parameters, accumulate((p.numel() for p in parameters[:-1]), initial=0), strict=True))


def flat_gradient(value: Tensor, detached: Sequence[Detached], starts: Mapping[Tensor, int]) -> Tensor:
    """Return the gradient of a scalar in one flat buffer, through detached jets and past them.

    Args:
        value: scalar with a graph, which is freed.
        detached: the jets in it that were cut from their network.
        starts: parameter -> its first element in the buffer; one that does not occur gets zeros.

    Returns:
        (parameters,).
    """
    leaves = [leaf for part in detached for leaf in part.leaves]
    gradients = torch.autograd.grad(value, [*leaves, *starts], allow_unused=True)
    flat = value.new_zeros(sum(parameter.numel() for parameter in starts))
    for gradient, (parameter, start) in zip(gradients[len(leaves) :], starts.items(), strict=True):
        if gradient is not None:
            flat[start : start + parameter.numel()] = gradient.reshape(-1)
    first = 0
    for part in detached:
        own = gradients[first : first + len(part.leaves)]
        first += len(part.leaves)
        part.pull_back(
            [torch.zeros_like(x) if g is None else g for g, x in zip(own, part.leaves, strict=True)], flat, starts
        )
    return flat
