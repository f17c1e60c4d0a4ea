"""The neural tangent kernel of a network's values, and the Gram matrix C K C^T of residuals on nodes.

No Jacobian is formed: with the inputs A_l and the cotangents D_l of every linear map,
K = sum_l (D_l D_l^T) o (A_l A_l^T + 1), an n x n matrix from products of width at most the layers'.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import scipy.sparse
import torch
from torch import Tensor, nn

from solvers.jacobian import Tap, tapped
from solvers.jet import Jet
from solvers.linearised import linearise
from solvers.operators.operator import Plan
from solvers.operators.rbf_fd_plan import RBFFDPlan
from solvers.operators.tangent_prop import TangentPropPlan

BLOCK = 128
"""Rows of the kernel at a time: a block and its factors stay in the cache of one core."""


def tangent_kernel(plan: Plan, network: nn.Module, parameters: Sequence[Tensor]) -> Tensor | None:
    r"""Return the kernel of a network's values at the points of a plan.

    $$ K_{ij} = \sum_p \frac{\partial u(x_i)}{\partial \theta_p} \frac{\partial u(x_j)}{\partial \theta_p} $$

    Args:
        plan: of the value alone.
        network: maps (n, axes) to (n, 1).
        parameters: that are trained.

    Returns:
        (n, n); None where it must come from the Jacobian: several components, a parameter that is used otherwise than
        in one linear map, a plan of derivatives.

    Cost: n^2 times the sum of the layers' widths, 15 ms for 923 nodes and 4 layers of 50;
        the Jacobian's own product takes n^2 times the parameters.

    Example:
        >>> from solvers import Points, TangentProp
        >>> plan = TangentProp().plan(Points([[2.0], [3.0]]), [""])
        >>> linear = nn.Linear(1, 1).double()
        >>> tangent_kernel(plan, linear, list(linear.parameters())).tolist()
        [[5.0, 7.0], [7.0, 10.0]]
    """
    if not isinstance(plan, TangentPropPlan) or plan.layout.rows != 1 or plan.requested in ("nested", "partitions"):
        return None
    with torch.enable_grad():
        taps, values = tapped(plan, network)
        used = [p for tap in taps for p in (tap.weight, tap.bias) if p is not None and p.requires_grad]
        if not taps or values.shape[2] != 1 or len(used) != len({id(p) for p in used}):
            return None
        if {id(p) for p in used} != {id(p) for p in parameters}:
            return None
        total = values.sum()
        beside = torch.autograd.grad(total, parameters, retain_graph=True, allow_unused=True)
        if any(gradient is not None for gradient in beside):
            return None
        cotangents = torch.autograd.grad(total, [tap.result for tap in taps], materialize_grads=True)
    factors = [_factors(tap, cotangent) for tap, cotangent in zip(taps, cotangents, strict=True)]
    return _summed(factors, len(values[0]))


def _factors(tap: Tap, cotangent: Tensor) -> tuple[Tensor, Tensor]:
    """Return D and A of a linear map; a bias is a weight whose input is 1."""
    inputs = [tap.given.detach()[0]] if tap.weight.requires_grad else []
    if tap.bias is not None and tap.bias.requires_grad:
        inputs.append(torch.ones_like(cotangent[0][:, :1]))
    return cotangent[0], torch.cat(inputs, dim=1)


def _summed(factors: Sequence[tuple[Tensor, Tensor]], count: int) -> Tensor:
    """Return the sum of (D D^T) o (A A^T), by blocks of rows that stay in the cache, up to the diagonal."""
    kernel = factors[0][0].new_empty(count, count)
    for start in range(0, count, BLOCK):
        end = min(start + BLOCK, count)
        block = torch.zeros_like(kernel[start:end, :end])
        for cotangents, inputs in factors:
            block.addcmul_(cotangents[start:end] @ cotangents[:end].T, inputs[start:end] @ inputs[:end].T)
        kernel[start:end, :end] = block
        kernel[:start, start:end] = block[:, :start].T
    return kernel


def discrete_gram(
    terms: Sequence[tuple[Plan, Callable[[Jet], Tensor]]], network: nn.Module, parameters: Sequence[Tensor]
) -> Tensor | None:
    """Return J J^T of residuals on one node set as C K C^T.

    Args:
        terms: plan and residual of each.
        network: maps (n, axes) to (n, 1).
        parameters: that are trained.

    Returns:
        (rows, rows), float64 on the CPU as the residuals; None where it must come from the Jacobian.

    Cost: the kernel's, and 2 nodes times the entries of C twice.
    """
    plans = [plan for plan, _ in terms]
    if not all(isinstance(plan, RBFFDPlan) and plan.inner is plans[0].inner for plan in plans):
        return None
    kernel = tangent_kernel(plans[0].inner, network, parameters)
    if kernel is None:
        return None
    with torch.no_grad():
        jet = plans[0].inner(network)
        matrices = [linearise(plan, plan.of(jet), residual) for plan, residual in terms]
    if any(found is None or set(found) != {""} for found in matrices):
        return None
    stacked = scipy.sparse.vstack([found[""] for found in matrices], format="csr")
    half = stacked @ kernel.cpu().numpy()
    return torch.from_numpy(stacked @ half.T).to(kernel)
