"""A residual on nodes, linearised: the sparse matrix C = dR/du of the network's values at the nodes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from solvers.jet import Jet
from solvers.operators.rbf_fd_plan import RBFFDPlan


def linearise(plan: RBFFDPlan, jet: Jet, residual: Callable[[Jet], Tensor]) -> dict[str, scipy.sparse.csr_array] | None:
    r"""Return the derivatives of a residual in the values at the nodes, and in their time derivatives.

    $$ C_\tau = \sum_k \mathrm{diag}\left(\frac{\partial R}{\partial (D_k \partial_t^\tau u)}\right) D_k $$

    Args:
        plan: its matrices are the D_k.
        jet: of the plan, where R is linearised.
        residual: jet -> (n, equations), row i of point i alone.

    Returns:
        Partial in time -> (n * equations, nodes * times * components), the equations of a row and the components of a
        node next to each other; None where the residual has not one row a point.

    Cost: one pointwise backward pass an equation.
    """
    leaves = {name: value.detach().requires_grad_(True) for name, value in jet.values.items()}
    with torch.enable_grad():
        rows = residual(Jet(jet.axes, leaves, jet.counts, jet.normals))
        columns = rows.unbind(dim=1) if rows.dim() == 2 else ()
    count, components = leaves[""].shape
    if not columns or len(rows) != count:
        return None
    equations = len(columns)
    found: dict[str, scipy.sparse.csr_array] = {}
    for equation, column in enumerate(columns):
        slopes = _slopes(column, leaves)
        for name, slope in slopes.items():
            for component in range(components):
                factors = slope[:, component]
                if not factors.any():
                    continue
                for time, matrix in plan.matrices(name).items():
                    part = _placed(
                        scipy.sparse.diags_array(factors) @ matrix, equation, equations, component, components
                    )
                    found[time] = found[time] + part if time in found else part
    if not found:
        found[""] = scipy.sparse.csr_array((count * equations, plan.width * components))
    return found


def _slopes(column: Tensor, leaves: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Return the derivatives of one equation in every partial, (n, components) float64 each."""
    if not column.requires_grad:
        return {}
    with torch.enable_grad():
        total = column.sum()
    gradients = torch.autograd.grad(total, list(leaves.values()), retain_graph=True, allow_unused=True)
    pairs = zip(leaves, gradients, strict=True)
    return {name: gradient.cpu().double().numpy() for name, gradient in pairs if gradient is not None}


def _placed(matrix, row: int, rows: int, column: int, columns: int) -> scipy.sparse.csr_array:
    """Return the matrix with its rows and columns among those of other equations and components."""
    if rows == columns == 1:
        return scipy.sparse.csr_array(matrix)
    unit = scipy.sparse.csr_array(([1.0], ([row], [column])), shape=(rows, columns))
    return scipy.sparse.csr_array(scipy.sparse.kron(matrix, unit, format="csr"))
