"""Mistakes of shape, found before training: broadcasting would hide them behind a loss that falls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from solvers.jet import Jet
from solvers.operators.operator import Network, Operator
from solvers.points import EQUATION, Points
from solvers.problems.problem import Condition, Problem

INTERIOR = "interior"
PROBED = 3


def check_shapes(
    problem: Problem, network: Network, operator: Operator, points: Points, coefficients: Mapping[str, Tensor]
) -> None:
    """Refuse a network or residual whose values do not belong to their points.

    The network and each residual are evaluated at up to three points, forwards and backwards: what mixes points, as
    u - x[:, 0] does by broadcasting, does not turn round with them. The residual is given the same jet both times:
    taken anew, a finite difference would differ by its round-off.

    Args:
        problem: equation and conditions.
        network: maps (n, axes) to (n, components).
        operator: takes the derivatives.
        points: all of the problem's.
        coefficients: unknown scalars by name.

    Raises:
        ValueError: network values that are not (points, components), a residual that is not (points, equations), either
            of them mixing points.
    """
    training = isinstance(network, nn.Module) and network.training
    if training:
        network.eval()
    try:
        parts = [(INTERIOR, EQUATION, problem.partials, None)]
        parts += [(c.name, c.where, c.partials, c) for c in problem.conditions]
        for name, where, partials, condition in parts:
            count = min(PROBED, points.smallest(where))
            own = points.only(where, torch.arange(count))
            back = _turned(len(own.rows), count).to(own.rows.device)
            _check_network(problem, network, own.rows, back)
            jet = operator.plan(own, partials)(network)
            forwards = _residual(problem, jet, own.rows, own.normals, condition, coefficients)
            turned = replace(jet, values={key: value[back] for key, value in jet.values.items()})
            normals = own.normals[back] if len(own.normals) else own.normals
            turned = replace(turned, normals=normals)
            backwards = _residual(problem, turned, own.rows[back], normals, condition, coefficients)
            if not torch.isfinite(forwards).all():
                continue
            if not _agree(backwards, forwards[_turned(len(forwards), count).to(forwards.device)]):
                raise ValueError(
                    f"{problem.name}: the residual of {name!r} mixes points, shape {tuple(forwards.shape)} at {count}; "
                    f"expected row i to depend on point i alone: keep columns, as in x[:, 0:1]"
                )
    finally:
        if training:
            network.train()


def _turned(rows: int, count: int) -> Tensor:
    """Return the rows backwards; each of several parts turns round by itself, since their rows are pairs."""
    parts = rows // count if rows % count == 0 else 1
    return torch.arange(rows).reshape(parts, -1).flip(1).reshape(-1)


def _agree(first: Tensor, second: Tensor) -> bool:
    scale = float(second.detach().abs().max())
    return bool(torch.allclose(first, second, rtol=1e-3, atol=1e-3 * scale))


def _check_network(problem: Problem, network: Network, rows: Tensor, back: Tensor) -> None:
    expected = len(rows), problem.components
    try:
        values = network(rows)
    except RuntimeError as error:
        raise ValueError(
            f"{type(network).__name__} does not take points of {problem.name}, of shape (n, {rows.shape[1]}) in "
            f"{rows.dtype}, axes {', '.join(problem.axes)}: {error}. Give it {rows.shape[1]} inputs"
        ) from error
    if not isinstance(values, Tensor) or tuple(values.shape) != expected:
        came = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(
            f"{type(network).__name__}: expected values of shape {expected} at {len(rows)} points of {problem.name}, "
            f"came {came}: give it {expected[1]} outputs, one column each"
        )
    if torch.isfinite(values).all() and not _agree(network(rows[back]), values[back]):
        raise ValueError(
            f"{type(network).__name__} mixes points: expected row i of its values to depend on point i alone, they do "
            f"not turn round with the points"
        )


def _residual(
    problem: Problem,
    jet: Jet,
    rows: Tensor,
    normals: Tensor,
    condition: Condition | None,
    coefficients: Mapping[str, Tensor],
) -> Tensor:
    name = INTERIOR if condition is None else condition.name
    if condition is None:
        residual = problem.residual(jet, rows, coefficients)
    else:
        residual = condition.residual(jet, rows, normals, coefficients)
    if not isinstance(residual, Tensor) or residual.ndim != 2 or len(residual) > len(rows) or len(rows) % len(residual):
        came = tuple(residual.shape) if isinstance(residual, Tensor) else type(residual).__name__
        raise ValueError(
            f"{problem.name}: expected the residual of {name!r} to have shape (points, equations), one row a point, "
            f"came {came} at {len(rows)} points: keep columns, as in x[:, 0:1]"
        )
    return residual
