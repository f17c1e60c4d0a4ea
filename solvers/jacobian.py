"""The Jacobian of residuals in the parameters, one row a residual, without one backward pass a row.

Points do not see each other, so one backward pass gives the cotangents Zbar_i of every linear map at all points i at
once; the row of point i is the outer product of Zbar_i with what the map was given there, summed over the rows of the
series: dR_i/dW = sum_k Zbar_ki Y_ki^T.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.func import jvp

from solvers.jet import Jet
from solvers.linearised import linearise
from solvers.networks.substitution import call_with
from solvers.operators.operator import Plan
from solvers.operators.rbf_fd_plan import RBFFDPlan
from solvers.operators.tangent_prop import TangentPropPlan
from solvers.pointwise import by_copies
from solvers.series import Series

Residual = Callable[[Jet], Tensor]
"""jet -> (n, equations), row i of point i alone."""


@dataclass(frozen=True, eq=False)
class Tap:
    """One use of a linear map: its parameters, what it was given and what came out, (rows, n, width)."""

    weight: Tensor
    bias: Tensor | None
    given: Tensor
    result: Tensor


class _TappedSeries(Series):
    """A series that keeps what linear maps are given."""

    taps: list[Tap]

    def linear(self, weight: Tensor, bias: Tensor | None = None) -> Series:
        # Cut from the parameters, so that what still leads to one in the end was not seen here.
        result = super().linear(weight.detach(), None if bias is None else bias.detach())
        if weight.requires_grad or (bias is not None and bias.requires_grad):
            if not result.coefficients.requires_grad:
                result.coefficients.requires_grad_(True)
            self.taps.append(Tap(weight, bias, self.coefficients, result.coefficients))
        return result


def jacobian(plan: Plan, network: nn.Module, residual: Residual, parameters: Sequence[Tensor]) -> Tensor:
    """Return the derivatives of every residual in every parameter.

    Args:
        plan: of a derivative operator.
        network: maps (n, axes) to (n, components).
        residual: jet -> (n, equations); row i may depend on point i alone, means over points are not seen through.
        parameters: of the network, P numbers in all. One that is used otherwise than in linear maps costs one backward
            pass a row, batched.

    Returns:
        (n * equations, P), the equations of a point next to each other.

    Raises:
        ValueError: residuals that are not (n, equations).

    Cost: one backward pass an equation, and n P numbers written, several times that with `AutoDiff` and
        `FiniteDifference` (`by_copies`); where a network or residual allows neither way, one backward pass a row,
        batched.

    Example:
        >>> from solvers import Points, TangentProp
        >>> network = nn.Linear(1, 1).double()
        >>> plan = TangentProp().plan(Points([[2.0], [3.0]]), ["", "x"])
        >>> jacobian(plan, network, lambda jet: jet["x"] + jet[""], list(network.parameters()))
        tensor([[3., 1.],
                [4., 1.]], dtype=torch.float64)
    """
    with torch.enable_grad():
        try_first = _by_nodes if isinstance(plan, RBFFDPlan) else _by_taps if _propagates(plan) else by_copies
        rows = try_first(plan, network, residual, parameters)
        if rows is None:
            every_row = _one_by_one if isinstance(plan, RBFFDPlan) else _by_batches
            rows = every_row(_checked(residual(_twice_differentiable(plan)(network)), plan), parameters)
        return rows


def _checked(residuals: Tensor, plan: Plan) -> Tensor:
    if residuals.dim() != 2:
        raise ValueError(
            f"expected residuals of shape (points, equations), came {tuple(residuals.shape)} at "
            f"{sum(plan.points.counts)} points: keep columns, as in x[:, 0:1]"
        )
    return residuals


def _propagates(plan: Plan) -> bool:
    return isinstance(plan, TangentPropPlan) and plan.requested != "nested"


def _twice_differentiable(plan: Plan) -> Plan:
    """Return a plan whose jets can be differentiated twice, and in batches, which compiled ones cannot."""
    if isinstance(plan, RBFFDPlan):
        return plan.with_inner(_twice_differentiable(plan.inner))
    return replace(plan, requested="taylor") if _propagates(plan) and plan.requested != "partitions" else plan


def _by_taps(
    plan: TangentPropPlan, network: nn.Module, residual: Residual, parameters: Sequence[Tensor]
) -> Tensor | None:
    """Return the Jacobian, or None where parameters enter by other ways than linear maps."""
    taps, coefficients = tapped(plan, network)
    count = len(plan.rows)
    if not taps:
        return None
    residuals = _checked(residual(plan.jet(plan.combination.partials(coefficients))), plan)
    beside = torch.autograd.grad(residuals.sum(), parameters, retain_graph=True, allow_unused=True)
    if len(residuals) != count or any(gradient is not None for gradient in beside):
        return None
    equations = [_rows_of(column, taps, parameters) for column in residuals.unbind(dim=1)]
    return torch.stack(equations, dim=1).flatten(0, 1)


def tapped(plan: TangentPropPlan, network: nn.Module) -> tuple[list[Tap], Tensor]:
    """Return every use of a linear map on the way from the points to the network's series, and the series.

    Args:
        plan: of Taylor propagation.
        network: maps (n, axes) to (n, components).

    Returns:
        Uses with what they were given and what came out, none where a map mixes points; and (rows, n, components).
    """
    series = _TappedSeries.along(*plan.line)
    series.taps = taps = []
    coefficients = plan.coefficients(network, series)
    if any(tap.given.dim() != 3 or tap.given.shape[1] != len(plan.rows) for tap in taps):
        return [], coefficients
    return taps, coefficients


def _by_nodes(plan: RBFFDPlan, network: nn.Module, residual: Residual, parameters: Sequence[Tensor]) -> Tensor | None:
    """Return the Jacobian as a sparse matrix times that of the values at the nodes, or None where rows mix points."""
    with torch.no_grad():
        jet = plan(network)
    matrices = linearise(plan, jet, residual)
    if matrices is None:
        return None
    total = None
    for name, matrix in matrices.items():
        nodal = jacobian(plan.inner, network, lambda jet, name=name: jet[name], parameters)
        part = torch.from_numpy(matrix @ nodal.detach().cpu().numpy()).to(nodal)
        total = part if total is None else total + part
    return total


def _rows_of(column: Tensor, taps: Sequence[Tap], parameters: Sequence[Tensor]) -> Tensor:
    """Return the rows of one equation, (n, P)."""
    count = len(column)
    blocks = {parameter: column.new_zeros(count, *parameter.shape) for parameter in parameters}
    results = [tap.result for tap in taps]
    cotangents = torch.autograd.grad(column.sum(), results, retain_graph=True, materialize_grads=True)
    for tap, cotangent in zip(taps, cotangents, strict=True):
        weights = torch.einsum("rnj,rni->nji", cotangent, tap.given.detach())
        _add(blocks, tap.weight, weights, parameters)
        if tap.bias is not None:
            _add(blocks, tap.bias, cotangent[0], parameters)
    return torch.cat([blocks[parameter].reshape(count, -1) for parameter in parameters], dim=1)


def _add(blocks: dict[Tensor, Tensor], used: Tensor, rows: Tensor, parameters: Sequence[Tensor]) -> None:
    """Add the rows that belong to a matrix: a parameter, or computed from some, as weight normalisation does."""
    if used in blocks:
        blocks[used] += rows
    elif used.requires_grad and not used.is_leaf:
        for parameter, part in zip(parameters, _batched(used, parameters, rows), strict=True):
            blocks[parameter] += part


def _by_batches(residuals: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Return the Jacobian by backward passes of all rows, batched."""
    flat = residuals.reshape(-1)
    if not flat.requires_grad:
        return flat.new_zeros(len(flat), sum(p.numel() for p in parameters))
    seeds = torch.eye(len(flat), dtype=flat.dtype, device=flat.device)
    parts = _batched(flat, parameters, seeds)
    return torch.cat([part.reshape(len(flat), -1) for part in parts], dim=1)


def _one_by_one(residuals: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Return the Jacobian by a backward pass a row, where batches cannot pass a sparse product."""
    kept = {"retain_graph": True, "materialize_grads": True}
    rows = [torch.autograd.grad(value, parameters, **kept) for value in residuals.reshape(-1)]
    return torch.stack([torch.cat([part.reshape(-1) for part in row]) for row in rows])


def _batched(values: Tensor, parameters: Sequence[Tensor], seeds: Tensor) -> list[Tensor]:
    """Return the parameters' gradients for a batch of cotangents, zeros for a parameter that does not occur."""
    parts = torch.autograd.grad(values, parameters, seeds, is_grads_batched=True, retain_graph=True, allow_unused=True)
    pairs = zip(parts, parameters, strict=True)
    return [p.new_zeros(len(seeds), *p.shape) if part is None else part for part, p in pairs]


def directional(
    plan: Plan, network: nn.Module, residual: Residual, parameters: Sequence[Tensor], tangents: Sequence[Tensor]
) -> Tensor:
    """Return the Jacobian times a vector, without forming the Jacobian.

    Args:
        plan: of a derivative operator.
        network: maps (n, axes) to (n, components).
        residual: jet -> (n, equations).
        parameters: of the network.
        tangents: one for each parameter, of its shape.

    Returns:
        (n * equations,).

    Cost: two evaluations of the residual with `TangentProp`, three backward passes otherwise.
    """
    plan = _twice_differentiable(plan)
    names = {id(parameter): name for name, parameter in network.named_parameters()}

    def evaluate(*values: Tensor) -> Tensor:
        given = {names[id(p)]: value for p, value in zip(parameters, values, strict=True)}
        return residual(plan(_Replaced(network, given))).reshape(-1)

    if _propagates(plan):
        # Some of torch's own parametrisations have no forward mode.
        with suppress(NotImplementedError):
            return jvp(evaluate, tuple(p.detach() for p in parameters), tuple(tangents))[1]
    return _by_two_adjoints(residual(plan(network)).reshape(-1), parameters, tangents)


def _by_two_adjoints(flat: Tensor, parameters: Sequence[Tensor], tangents: Sequence[Tensor]) -> Tensor:
    """Return J v as the derivative of w -> v . J^T w: reverse mode twice, where forward mode is not to be had."""
    weights = torch.zeros_like(flat, requires_grad=True)
    transposed = torch.autograd.grad(flat, parameters, weights, create_graph=True, materialize_grads=True)
    return torch.autograd.grad(transposed, [weights], list(tangents), materialize_grads=True)[0]


class _Replaced:
    """A network with other parameters."""

    def __init__(self, network: nn.Module, parameters: dict[str, Tensor]):
        self.network, self.parameters = network, parameters

    def __call__(self, rows):
        return call_with(self.network, self.parameters, rows)
