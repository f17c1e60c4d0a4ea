"""The discretisation solved directly, without a network: what the best network on these nodes could find."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from solvers.discrete_system import RadauStep, Rows, Steady
from solvers.jet import TIME
from solvers.newton import SparseNewton
from solvers.operators.rbf_fd import RBFFD
from solvers.points import Points
from solvers.problems.problem import Problem

KINDS = ("interior", "boundary", "ghost")


@dataclass(frozen=True, eq=False)
class DiscreteSolution:
    """Values at the nodes that make every discretised residual zero.

    Args:
        values: (times, nodes, components) at interior, then boundary nodes; one time without a time axis.
        rel_l2: relative L2 error of `values` at all times; NaN where no solution is known, or that of what is observed
            and not of u. It is the discretisation floor: a network trained on this discretisation cannot be expected
            below.
        residual: largest residual that is left, relative to that of the first guess; the worst of all time steps.
        iterations: Newton steps, the most of any time step.
    """

    values: Tensor
    rel_l2: float
    residual: float
    iterations: int


def solve_on_nodes(problem: Problem, points: Points, operator: RBFFD, *, substeps: int = 1) -> DiscreteSolution:
    """Solve equation and conditions on the nodes by sparse LU and Newton's method, without a network.

    In time, where the nodes have times, by the Radau IIA formula of three stages (order 5): the network's own time
    derivative is exact, and the formula's error is far below that in space.

    Args:
        problem: without unknown coefficients.
        points: with as many rows of equation and conditions as nodes: one layer of ghost nodes a condition at the
            boundary, or none where there is one Dirichlet condition.
        operator: of the discretisation.
        substeps: time steps between two of the points' times.

    Returns:
        The solution with its error.

    Raises:
        ValueError: rows and unknowns that differ in number, unknown coefficients, an operator without nodes, nodes
            without times, a singular matrix, or Newton steps that do not converge.

    Cost: one sparse LU a Newton step, 0.03 s for 900 nodes of the plane, 0.4 s for 3,400; a linear problem in time
        takes one LU of three times the size, and two solves a step.

    Example:
        >>> from solvers.problems import poisson_1d
        >>> nodes = torch.linspace(-1, 1, 41, dtype=torch.float64)[:, None]
        >>> points = Points(nodes[1:-1], nodes[[0, -1]], parts={"x-": [0], "x+": [1]})
        >>> solve_on_nodes(poisson_1d(), points, RBFFD(order=4)).rel_l2 < 1e-4
        True
    """
    if not isinstance(operator, RBFFD):
        raise ValueError(f"expected RBFFD(...), whose derivatives are matrices on the nodes, came {operator!r}")
    operator = operator.suited_to(problem.partials, problem.axes)
    if problem.coefficients:
        raise ValueError(
            f"{problem.name} has unknown coefficients, which its discretisation alone does not determine: give them "
            f"values"
        )
    if isinstance(substeps, bool) or not isinstance(substeps, int) or substeps < 1:
        raise ValueError(f"expected substeps to be 1, 2, ..., came {substeps!r}")
    points = points.to("cpu", torch.float64)
    problem.check(points)
    if TIME in points.axes:
        return _in_time(problem, points, operator, substeps)
    system = Steady(_evolving(problem, points, operator), sum(map(len, _rows(points))) * problem.components)
    root = SparseNewton(problem.name).solve(system, np.zeros(system.columns))
    return _solution(problem, points, [root.values], root.residual, root.iterations)


def _rows(points: Points) -> list[Tensor]:
    return [getattr(points, kind) for kind in KINDS]


def _evolving(problem: Problem, points: Points, operator: RBFFD) -> list[Rows]:
    """Return what holds at every time: the equation and the conditions at the boundary."""
    conditions = [condition for condition in problem.conditions if condition.where != "initial"]
    rows = [Rows.of_condition(problem, condition, points, operator) for condition in conditions]
    return [Rows.of_equation(problem, points, operator), *rows]


def _in_time(problem: Problem, points: Points, operator: RBFFD, substeps: int) -> DiscreteSolution:
    if points.times is None:
        raise ValueError(f"{problem.name}: expected points that are nodes x times: problem.sample(method='nodes')")
    times, first = points.times.numpy(), _first_time(points)
    evolving = _evolving(problem, first, operator)
    newton, values = SparseNewton(problem.name), _initial(problem, first, operator, float(times[0]))
    found, slopes, worst, most = [values], np.zeros(3 * len(values)), 0.0, 0
    for before, after in pairwise(times):
        step = (after - before) / substeps
        for substep in range(substeps):
            system = RadauStep(evolving, values, before + substep * step, step)
            root = newton.solve(system, slopes)
            slopes, values = root.values, system.end(root.values)
            worst, most = max(worst, root.residual), max(most, root.iterations)
        found.append(values)
    return _solution(problem, points, found, worst, most)


def _first_time(points: Points) -> Points:
    """Return the nodes at the first time."""
    steps, count = len(points.times), len(points.boundary) // len(points.times)
    kinds = {kind: rows[: len(rows) // steps] for kind, rows in zip(KINDS, _rows(points), strict=True)}
    parts = {name: index[index < count] for name, index in points.parts.items()}
    return replace(points, **kinds, normals=points.normals[:count], parts=parts, times=points.times[:1], nodes=None)


def _initial(problem: Problem, first: Points, operator: RBFFD, time: float) -> np.ndarray:
    """Return u at the first time, 0 at the ghosts.

    The stages of Radau IIA take any value where the equations hold no u_t, whatever stood there before the step: the
    formula's matrix is regular.
    """
    initial = [condition for condition in problem.conditions if condition.where == "initial"]
    inside = (len(first.interior) + len(first.boundary)) * problem.components
    rows = [Rows.of_condition(problem, condition, first, operator) for condition in initial]
    equations = sum(len(each.plan.points.initial) for each in rows) * problem.components
    if equations != inside:
        raise ValueError(
            f"{problem.name}: expected one initial value a node, {inside} in all, came {equations}: give the interior "
            f"and boundary nodes at the first time as Points(initial=...)"
        )
    root = SparseNewton(problem.name).solve(Steady(rows, inside, time), np.zeros(inside))
    return np.concatenate([root.values, np.zeros(len(first.ghost) * problem.components)])


def _solution(problem: Problem, points: Points, found: list[np.ndarray], residual: float, iterations: int):
    """Return the record, with the relative L2 error at interior and boundary nodes, at all times."""
    steps = len(found)
    inside = torch.cat([rows.reshape(steps, -1, rows.shape[1]) for rows in (points.interior, points.boundary)], dim=1)
    values = torch.from_numpy(np.stack(found)).reshape(steps, -1, problem.components)[:, : inside.shape[1]]
    if problem.solution is None or problem.observed is not None:
        return DiscreteSolution(values, float("nan"), residual, iterations)
    exact = problem.solution(inside.flatten(0, 1)).reshape(values.shape)
    error = torch.linalg.vector_norm(values - exact) / torch.linalg.vector_norm(exact)
    return DiscreteSolution(values, float(error), residual, iterations)
