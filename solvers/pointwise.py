"""The Jacobian of residuals by one backward pass an equation, for operators that call the network point by point.

Every point is given its own copy of the parameters, all equal: the gradient of the summed residuals in the copies is
then the Jacobian, row by row, since residual i knows only copy i.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from solvers.jet import Jet
from solvers.networks.substitution import call_with
from solvers.operators.autodiff import AutoDiffPlan
from solvers.operators.finite_difference import FiniteDifferencePlan
from solvers.operators.operator import Plan

POINTWISE = (AutoDiffPlan, FiniteDifferencePlan)
"""Plans that call the network with whole multiples of their points, point fastest, and mix no two points."""

AGREEMENT = 1e3
"""Units of eps within which values by copies must equal the network's own: more says that the network mixes points."""


@dataclass(frozen=True, eq=False)
class _Copies:
    """A network whose parameters are given once a point, (n, ...) each."""

    network: nn.Module
    values: dict[str, Tensor]
    count: int

    def __call__(self, rows: Tensor) -> Tensor:
        """Evaluate (k n, axes) rows, row i with copy i mod n."""
        own = rows.reshape(-1, self.count, rows.shape[1])
        call = torch.vmap(partial(call_with, self.network), in_dims=(0, 1), out_dims=1)
        return call(self.values, own).reshape(len(rows), -1)


def by_copies(
    plan: Plan, network: nn.Module, residual: Callable[[Jet], Tensor], parameters: Sequence[Tensor]
) -> Tensor | None:
    """Return the derivatives of every residual in every parameter, or None where points cannot be taken one at a time.

    40 times as fast as one backward pass a row for 256 points and a 4x32 network. Plans other than those of `AutoDiff`
    and `FiniteDifference`, networks that mix points (batch normalisation) and those that `torch.vmap` cannot take have
    None.

    Args:
        plan: of a derivative operator.
        network: maps (n, axes) to (n, components).
        residual: jet -> (n, equations); row i may depend on point i alone.
        parameters: of the network, P numbers in all.

    Returns:
        (n * equations, P), the equations of a point next to each other; or None.

    Cost: one backward pass an equation with n copies of the parameters: several times n P numbers of memory.

    Example:
        >>> from solvers import AutoDiff, Points
        >>> network = nn.Linear(1, 1).double()
        >>> plan = AutoDiff().plan(Points([[2.0], [3.0]]), ["", "x"])
        >>> by_copies(plan, network, lambda jet: jet["x"] + jet[""], list(network.parameters()))
        tensor([[3., 1.],
                [4., 1.]], dtype=torch.float64)
    """
    if not isinstance(plan, POINTWISE):
        return None
    count = sum(plan.points.counts)
    copies = [p.detach().expand(count, *p.shape).requires_grad_() for p in parameters]
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    alone = _Copies(network, {names[id(p)]: copy for p, copy in zip(parameters, copies, strict=True)}, count)
    if not _agrees(alone, network, plan.rows[:count]):
        return None
    residuals = residual(plan(alone))
    if residuals.dim() != 2 or len(residuals) != count or not residuals.requires_grad:
        return None
    columns = [_gradient(column.sum(), copies) for column in residuals.unbind(dim=1)]
    return torch.stack(columns, dim=1).flatten(0, 1)


def _gradient(total: Tensor, copies: Sequence[Tensor]) -> Tensor:
    parts = torch.autograd.grad(total, copies, retain_graph=True, materialize_grads=True)
    return torch.cat([part.reshape(len(part), -1) for part in parts], dim=1)


def _agrees(alone: Callable[[Tensor], Tensor], network: nn.Module, rows: Tensor) -> bool:
    """Return whether the network can be called one point at a time, and gives the same values so."""
    with torch.no_grad():
        expected = network(rows)
        with warnings.catch_warnings():
            # Where torch has no batching rule it warns and loops over the points, slower than over the rows.
            warnings.simplefilter("error")
            try:
                values = alone(rows)
            except (RuntimeError, NotImplementedError, Warning):
                return False
    bound = AGREEMENT * torch.finfo(expected.dtype).eps * expected.abs().max()
    return values.shape == expected.shape and bool(((values - expected).abs() <= bound).all())
