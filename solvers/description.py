"""A run described in plain values, for the record: what would be needed to repeat it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass

import numpy as np
from torch import nn

from solvers.objective import Objective
from solvers.operators.operator import Operator
from solvers.points import Points
from solvers.problems.problem import Problem


def describe_problem(problem: Problem) -> dict[str, object]:
    """Return a problem in plain values.

    Args:
        problem: any.

    Returns:
        Name, axes, box, settings and the floor of its solution.

    Example:
        >>> from solvers.problems import poisson_1d
        >>> describe_problem(poisson_1d())["solution_floor"]
        1e-15
    """
    box = {
        "axes": list(problem.axes),
        "lower": list(problem.domain.lower),
        "upper": list(problem.domain.upper),
    }
    return {
        "name": problem.name,
        **box,
        "settings": dict(problem.settings),
        "solution_floor": problem.solution_floor,
    }


def describe_operator(operator: Operator, plan: object) -> dict[str, object]:
    """Return an operator in plain values, with the steps and error estimates of its plan where it has them.

    Args:
        operator: any.
        plan: made by it.

    Returns:
        Name, order, exactness, fields; `steps`, `truncation`, `roundoff` for finite differences,
        `backend` for Taylor propagation.
    """
    fields = asdict(operator) if is_dataclass(operator) else {}
    stated = ("steps", "truncation", "roundoff", "backend")
    estimates = {name: getattr(plan, name) for name in stated if hasattr(plan, name)}
    return {
        "name": type(operator).__name__,
        "exact": operator.exact,
        "order": operator.order,
        **fields,
        **estimates,
    }


def describe_network(network: nn.Module) -> dict[str, object]:
    """Return a network in plain values.

    Args:
        network: any module.

    Returns:
        Class, shape of each parameter, printed form.
    """
    shapes = {name: list(p.shape) for name, p in network.named_parameters()}
    return {"name": type(network).__name__, "parameters": shapes, "text": str(network)}


def points_arrays(points: Points) -> dict[str, tuple[tuple[str, str], np.ndarray]]:
    """Return collocation points as the recorder stores them.

    Args:
        points: interior, boundary and initial points; kinds without points are left out.

    Returns:
        Kind -> (dimension names, (n, axes) array).
    """
    kinds = {kind: getattr(points, kind) for kind in ("interior", "boundary", "initial")}
    return {kind: ((f"{kind}_point", "axis"), rows.cpu().numpy()) for kind, rows in kinds.items() if len(rows)}


def points_labels(problem: Problem) -> dict[str, dict[str, object]]:
    """Return labels and attributes of the stored points.

    Args:
        problem: whose domain they fill.

    Returns:
        `coords` and `attrs` of `Recorder.store`.
    """
    box = {"lower": list(problem.domain.lower), "upper": list(problem.domain.upper)}
    return {"coords": {"axis": list(problem.axes)}, "attrs": box}


def describe(objective: Objective, optimizer: object, attention: object) -> Mapping[str, object]:
    """Return a training in plain values.

    Args:
        objective: problem, network, operator and points.
        optimizer: printed.
        attention: a dataclass, or None.

    Returns:
        A mapping that JSON can hold.
    """
    interior, boundary, initial = objective.points.counts
    return {
        "problem": describe_problem(objective.problem),
        "operator": describe_operator(objective.operator, objective.plan),
        "network": describe_network(objective.network),
        "optimizer": repr(optimizer),
        "points": {"interior": interior, "boundary": boundary, "initial": initial},
        "attention": asdict(attention) if attention is not None else None,
    }
