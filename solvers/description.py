"""A run described in plain values, for the record: what would be needed to repeat it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from dataclasses import fields as dataclass_fields

import numpy as np
from torch import nn

from solvers.domain import Box
from solvers.objective import Objective
from solvers.operators.operator import Operator
from solvers.operators.rbf_fd_plan import RBFFDPlan
from solvers.points import EQUATION, Points
from solvers.problems.problem import Problem
from solvers.references.recipe import Recipe

OF_THIS_MACHINE = ("cache",)
"""Fields of operators that say where, not what."""


def describe_problem(problem: Problem) -> dict[str, object]:
    """Return a problem in plain values.

    Args:
        problem: any.

    Returns:
        Name, axes, box, settings; the equation, the floor of its solution and how that was found; where the solution is
        computed, the reference's name, key and method; the shape, printed, where it is no box; unknown coefficients
        with start, bounds, how they are found and, where known, the true value.

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
    shape = {} if isinstance(problem.domain, Box) else {"shape": repr(problem.domain.shape)}
    return {
        "name": problem.name,
        **box,
        **shape,
        "settings": dict(problem.settings),
        **({"equation": problem.equation} if problem.equation else {}),
        "solution_floor": problem.solution_floor,
        **({"floor_origin": problem.floor_origin} if problem.floor_origin else {}),
        **({"reference": describe_reference(problem.reference)} if problem.reference else {}),
        **({"coefficients": _coefficients(problem)} if problem.coefficients else {}),
    }


def describe_reference(recipe: Recipe) -> dict[str, str]:
    """Return in plain values what a solution is computed by.

    Args:
        recipe: of the reference.

    Returns:
        Name, key and method.

    Example:
        >>> from solvers.problems import burgers
        >>> describe_reference(burgers().reference)["method"]
        'Cole-Hopf, trapezoid rule of 801 nodes'
    """
    return {"name": recipe.name, "key": recipe.key, "method": recipe.method}


def _coefficients(problem: Problem) -> dict[str, dict[str, object]]:
    """Return the unknown coefficients by name; None where there is no bound and where the truth is not known."""
    return {
        c.name: {
            name: value if name == "how" or math.isfinite(value) else None
            for name, value in asdict(c).items()
            if name != "name"
        }
        for c in problem.coefficients
    }


def describe_operator(operator: Operator, plan: object) -> dict[str, object]:
    """Return an operator in plain values, with the steps and error estimates of its plan where it has them.

    Args:
        operator: any.
        plan: made by it.

    Returns:
        Name, order, exactness, fields, but no path of this machine; `steps`, `truncation`, `roundoff` for finite
        differences, `backend` for Taylor propagation, `roundoff`, `stencil` and `nodes` (their number, ghosts included)
        for RBF-FD.
    """
    fields = {f.name: getattr(operator, f.name) for f in dataclass_fields(operator)} if is_dataclass(operator) else {}
    fields = {name: repr(v) if is_dataclass(v) else v for name, v in fields.items() if name not in OF_THIS_MACHINE}
    stated = ("steps", "truncation", "roundoff", "backend")
    estimates = {name: getattr(plan, name) for name in stated if hasattr(plan, name)}
    if isinstance(plan, RBFFDPlan):
        estimates |= {"stencil": asdict(plan.recipe), "nodes": len(plan.nodes.nodes)}
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
        points: kinds without points are left out; "interior" is where the equation is asked for; sets come by name.

    Returns:
        Kind -> (dimension names, (n, axes) array).
    """
    kinds = {"interior": points.only(EQUATION).interior, "boundary": points.boundary, "initial": points.initial}
    kinds |= points.sets
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
    points = objective.points
    counts = {"interior": len(points.interior), "boundary": len(points.boundary), "initial": len(points.initial)}
    counts |= {"ghost": len(points.ghost)} if len(points.ghost) else {}
    counts |= {name: len(rows) for name, rows in points.sets.items()}
    return {
        "problem": describe_problem(objective.problem),
        "operator": describe_operator(objective.operator, objective.plan),
        "network": describe_network(objective.network),
        "optimizer": repr(optimizer),
        "points": counts,
        "attention": asdict(attention) if attention is not None else None,
    }
