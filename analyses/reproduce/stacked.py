"""Training many seeds of one network at once: their outputs are the columns of one network, their losses add up."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from solvers.operators import Operator
from solvers.points import Points
from solvers.problems import Problem
from solvers.shapes import INTERIOR
from solvers.term import Term

ADAM_RATE = 1e-3


class Stack(nn.Module):
    """S networks of one shape as one network with S outputs, u_s(x) in column s.

    No parameter is shared, so derivatives of the sum of S losses are those of each, and an elementwise optimizer trains
    each as it would alone.

    Args:
        networks: chains of `nn.Linear` and activations with one output, all of one shape.

    Raises:
        ValueError: a chain whose output is not one number.

    Example:
        >>> from solvers import MLP
        >>> Stack([MLP(1, [4]), MLP(1, [4])])(torch.zeros(3, 1)).shape
        torch.Size([3, 2])
    """

    def __init__(self, networks: Sequence[nn.Sequential]):
        super().__init__()
        if networks[0][-1].out_features != 1:
            raise ValueError(f"expected networks with 1 output, came {networks[0][-1].out_features}")
        self.networks = list(map(copy.deepcopy, networks))
        self.values = nn.ParameterList(
            torch.stack([parameter.detach() for parameter in same])
            for same in zip(*(network.parameters() for network in networks), strict=True)
        )

    def forward(self, rows: Tensor) -> Tensor:
        """Return the S networks' values.

        Args:
            rows: (n, axes).

        Returns:
            (n, S).
        """
        values = iter(self.values)
        state = rows.expand(len(self.networks), *rows.shape)
        for module in self.networks[0]:
            if isinstance(module, nn.Linear):
                state = state @ next(values).transpose(1, 2)
                state = state if module.bias is None else state + next(values)[:, None, :]
            else:
                state = module(state)
        return state[..., 0].T

    def single(self, seed: int) -> nn.Sequential:
        """Return a copy of one of the networks as it is now.

        Args:
            seed: its column.

        Returns:
            A chain that shares nothing.
        """
        network = copy.deepcopy(self.networks[seed]).to(self.values[0])
        with torch.no_grad():
            for parameter, values in zip(network.parameters(), self.values, strict=True):
                parameter.copy_(values[seed])
        return network


@dataclass(frozen=True, eq=False)
class StackedRun:
    """S trainings, step by step.

    Args:
        loss: (steps + 1, S) weighted loss before each update and after the last.
        networks: step -> the S networks there.
    """

    loss: Tensor
    networks: dict[int, list[nn.Sequential]]


def train_stack(
    networks: Sequence[nn.Sequential],
    problem: Problem,
    operator: Operator,
    points: Points,
    steps: int,
    rates: Tensor | None = None,
    keep: Sequence[int] = (),
) -> StackedRun:
    r"""Train S networks side by side, each on L = mean(r^2) + sum_k w_k mean(r_k^2) as `solvers.train` does.

    $$ \theta_s \leftarrow \theta_s - \rho_s \nabla L_s(\theta_s) $$

    with rates, Adam of rate 1e-3 without.

    Args:
        networks: the S starting points, in the points' dtype.
        problem: with one equation, whose residual acts on columns.
        operator: takes the derivatives.
        points: shared by all.
        steps: number of updates.
        rates: (S,) rates of plain gradient descent; None is Adam.
        keep: steps at which the networks are kept.

    Returns:
        Losses of all steps and the networks at some. A network that diverges has losses that are not finite from there.

    Raises:
        ValueError: points that do not match the problem, or partials that the operator cannot reach.

    Cost: that of one training with S components, without the overhead of S.
    """
    problem.check(points)
    stack = Stack(networks)
    plan = operator.plan(points.only(INTERIOR), problem.partials)
    terms = [Term.of(condition, operator, points) for condition in problem.conditions]
    weights = [1.0, *(condition.weight for condition in problem.conditions)]
    adam = torch.optim.Adam(stack.parameters(), lr=ADAM_RATE) if rates is None else None
    losses, kept = torch.empty(steps + 1, len(networks), dtype=points.interior.dtype), {}
    for step in range(steps + 1):
        residuals = [problem.residual(plan(stack), plan.points.interior, {})]
        residuals += [term.residual(term.plan(stack), {}) for term in terms]
        loss = sum(w * r.square().mean(dim=0) for w, r in zip(weights, residuals, strict=True))
        losses[step] = loss.detach()
        if step in keep:
            kept[step] = [stack.single(seed) for seed in range(len(networks))]
        if step < steps:
            _update(stack, loss, rates, adam)
    return StackedRun(losses, kept)


def _update(stack: Stack, loss: Tensor, rates: Tensor | None, adam: torch.optim.Adam | None) -> None:
    values = list(stack.parameters())
    gradients = torch.autograd.grad(loss.sum(), values)
    if adam is None:
        with torch.no_grad():
            for value, gradient in zip(values, gradients, strict=True):
                value -= rates.reshape(-1, *[1] * (value.dim() - 1)) * gradient
        return
    for value, gradient in zip(values, gradients, strict=True):
        value.grad = gradient
    adam.step()
