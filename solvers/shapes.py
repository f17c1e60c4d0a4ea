"""Mistakes of shape, found before training: broadcasting would hide them behind a loss that falls."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from solvers.operators.operator import Network, Operator
from solvers.points import Points
from solvers.problems.problem import Condition, Problem

INTERIOR = "interior"
PROBED = 3


def check_shapes(
    problem: Problem, network: Network, operator: Operator, points: Points, coefficients: Mapping[str, Tensor]
) -> None:
    """Refuse a network or residual whose values do not belong to their points.

    Each residual is evaluated at up to three points, forwards and backwards: a residual that mixes points, as
    u - x[:, 0] does by broadcasting, does not turn round with them.

    Args:
        problem: equation and conditions.
        network: maps (n, axes) to (n, components).
        operator: takes the derivatives.
        points: all of the problem's.
        coefficients: unknown scalars by name.

    Raises:
        ValueError: network values that are not (points, components), a residual that is not (points, equations).
    """
    training = isinstance(network, nn.Module) and network.training
    if training:
        network.eval()
    try:
        parts = [(INTERIOR, INTERIOR, problem.partials, None)]
        parts += [(c.name, c.where, c.partials, c) for c in problem.conditions]
        for name, where, partials, condition in parts:
            count = min(PROBED, points.smallest(where))
            forwards, backwards = (
                _residual(problem, network, operator, points.only(where, rows), partials, condition, coefficients)
                for rows in (torch.arange(count), torch.arange(count).flip(0))
            )
            if not torch.isfinite(forwards).all():
                continue
            scale = float(forwards.detach().abs().max())
            if not torch.allclose(backwards, forwards.flip(0), rtol=1e-3, atol=1e-3 * scale):
                raise ValueError(
                    f"{problem.name}: the residual of {name!r} mixes points, shape {tuple(forwards.shape)} at {count}; "
                    f"expected row i to depend on point i alone: keep columns, as in x[:, 0:1]"
                )
    finally:
        if training:
            network.train()


def _residual(
    problem: Problem,
    network: Network,
    operator: Operator,
    points: Points,
    partials: tuple[str, ...],
    condition: Condition | None,
    coefficients: Mapping[str, Tensor],
) -> Tensor:
    rows, name = points.rows, INTERIOR if condition is None else condition.name
    values, expected = network(rows), (len(rows), problem.components)
    if not isinstance(values, Tensor) or tuple(values.shape) != expected:
        came = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(
            f"{type(network).__name__}: expected values of shape {expected} at {len(rows)} points of {problem.name}, "
            f"came {came}: give it {expected[1]} outputs, one column each"
        )
    jet = operator.plan(points, partials)(network)
    if condition is None:
        residual = problem.residual(jet, points.interior, coefficients)
    else:
        residual = condition.residual(jet, rows, points.normals, coefficients)
    if not isinstance(residual, Tensor) or residual.ndim != 2 or len(residual) > len(rows) or len(rows) % len(residual):
        came = tuple(residual.shape) if isinstance(residual, Tensor) else type(residual).__name__
        raise ValueError(
            f"{problem.name}: expected the residual of {name!r} to have shape (points, equations), one row a point, "
            f"came {came} at {len(rows)} points: keep columns, as in x[:, 0:1]"
        )
    return residual
