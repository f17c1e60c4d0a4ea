"""Random features: assemble the collocation matrix, solve it by a truncated SVD, record its spectrum."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from dynamics.format import Stream
from dynamics.recorder import Recorder
from solvers.description import describe_network, describe_operator, describe_problem, points_arrays, points_labels
from solvers.device import available
from solvers.jet import Jet
from solvers.networks import RandomFeatures
from solvers.operators import AutoDiff
from solvers.operators.operator import Operator, Plan
from solvers.points import Points
from solvers.problems.problem import Problem
from solvers.scoring import Score
from solvers.shapes import INTERIOR, check_shapes

NOISE_MARGIN = 4.0
"""Largest measured ratio of the noise matrix's 2-norm to its estimate, over steps, orders, activations and scales."""


@dataclass(frozen=True, eq=False)
class System:
    """The collocation system A c = b in float64: interior rows first, then each condition.

    Args:
        matrix: (rows, features).
        right: (rows, 1).
        rows: term -> number of rows.
        operator_floor: 2-norm that round-off in finite-difference entries is expected to reach; 0 for exact operators.
        plan: of the interior points.
    """

    matrix: Tensor
    right: Tensor
    rows: Mapping[str, int]
    operator_floor: float
    plan: Plan


@dataclass(frozen=True, eq=False)
class Solution:
    """A least-squares solution.

    Args:
        network: the features with their coefficients filled in.
        singular_values: (features,) of the system, largest first.
        rank: singular values kept.
        floor: below it singular values are round-off, of the SVD or of the finite differences.
        residual: root mean square of the system's own residual over the interior rows.
        exact_residual: the same with exact derivatives; for exact operators the same number.
        rel_l2: relative L2 error off the collocation points, NaN without a known solution.
        max_error: largest error there.
        path: the trajectory, or None.
    """

    network: RandomFeatures
    singular_values: Tensor
    rank: int
    floor: float
    residual: float
    exact_residual: float
    rel_l2: float
    max_error: float
    path: Path | None


def assemble(problem: Problem, features: RandomFeatures, operator: Operator, points: Points) -> System:
    """Return the collocation system of a linear problem, built from the same residual that training uses.

    R(u) = L u - f is affine, so column j is its derivative at 0 along phi_j, and the right side is -R(0).

    Args:
        problem: linear in u.
        features: M features.
        operator: takes their derivatives.
        points: float64, on the features' device.

    Returns:
        The system.

    Raises:
        ValueError: the problem is not linear, or the points do not match it.
    """
    problem.check(points)
    if problem.coefficients:
        raise ValueError(f"{problem.name} has unknown coefficients: least squares solves for u alone; use train()")
    check_shapes(problem, lambda x: features.features(x)[:, :1], operator, points, {})
    conditions = [(c.name, c.where, c.partials, c.weight**0.5) for c in problem.conditions]
    blocks, rights, rows, noise, plans = [], [], {}, [], {}
    for name, where, partials, scale in [(INTERIOR, INTERIOR, problem.partials, 1.0), *conditions]:
        plan = plans[name] = operator.plan(points.only(where), partials)
        with torch.no_grad():
            matrix, right, factors = _affine(problem, name, plan(features.features), plan.points)
        blocks.append(scale * matrix)
        rights.append(scale * right)
        rows[name] = len(matrix)
        noise.append(scale * entry_noise(plan, features, factors) * (len(matrix) ** 0.5 + matrix.shape[1] ** 0.5))
    floor = NOISE_MARGIN * math.hypot(*noise)
    return System(torch.cat(blocks), torch.cat(rights), rows, floor, plans[INTERIOR])


def _affine(problem: Problem, term: str, jet: Jet, points: Points) -> tuple[Tensor, Tensor, dict[str, float]]:
    """Return L phi, f and the root mean square factor of each partial in L, where R(u) = L u - f; refuse another R."""
    condition = next((c for c in problem.conditions if c.name == term), None)

    def residual(values: Mapping[str, Tensor]) -> Tensor:
        at = replace(jet, values=values)
        if condition is None:
            return problem.residual(at, points.interior, {})
        return condition.residual(at, points.rows, points.normals, {})

    if not all(torch.isfinite(value).all() for value in jet.values.values()):
        raise ValueError(f"the features or their derivatives are not finite at the points of {term!r}: lower the scale")
    names = list(jet.values)
    zeros, given = [tuple(f(v) for v in jet.values.values()) for f in (torch.zeros_like, torch.Tensor.detach)]

    def tangent(direction) -> tuple[Tensor, Tensor]:
        # Differences R(u) - R(0) would leave eps max|f| in every entry; the derivative at 0 is L u itself.
        return torch.func.jvp(lambda *values: residual(dict(zip(names, values, strict=True))), zeros, direction)

    at_zero, matrix = tangent(given)
    eps = torch.finfo(matrix.dtype).eps
    for scale in (1.0, -2.0):
        bent = residual({name: scale * value for name, value in jet.values.items()}) - at_zero - scale * matrix
        if float(bent.abs().max()) > 1e-9 * float(matrix.abs().max()) + 1e3 * eps * float(at_zero.abs().max()):
            raise ValueError(
                f"{problem.name} is not linear in u (term {term!r}): least squares needs a linear problem: use train()"
            )
    factors = {}
    for index, name in enumerate(names):
        unit = tuple(torch.ones_like(v) if k == index else torch.zeros_like(v) for k, v in enumerate(zeros))
        factors[name] = _rms(tangent(unit)[1])
    return matrix, -at_zero[:, :1], factors


def entry_noise(plan: Plan, features: RandomFeatures, factors: Mapping[str, float]) -> float:
    """Return the root mean square of the round-off that finite differences put into the entries.

    Each value s(z) of the stencil, z = w . x + b, carries eps/sqrt(12) (s^2 + 2 z^2 s'^2)^(1/2): its own rounding and
    that of z and w . x. It is multiplied by the 2-norm of the stencil's weights and by the partial's factor in the
    equation. The rounding of weights and points is no part of it: it moves the large singular values and leaves the
    small ones small.

    Args:
        plan: of the operator; one without stencils is exact.
        features: evaluated at the plan's points.
        factors: root mean square factor of each single partial in the equation.

    Returns:
        Per entry; 0 for exact operators.
    """
    stencils = getattr(plan, "stencils", {})
    sizes = [factors[name] * math.hypot(*stencil.weights.values()) for name, stencil in stencils.items() if name]
    argument = plan.points.rows @ features.weight.T + features.bias
    value, slope = torch.func.jvp(features.activation, (argument,), (argument,))
    size = float((value.square() + 2 * slope.square()).mean().sqrt())
    return math.hypot(*sizes) * size * torch.finfo(torch.float64).eps / math.sqrt(12)


def solve_least_squares(
    problem: Problem,
    features: RandomFeatures,
    operator: Operator,
    *,
    points: Points | None = None,
    rcond: float | None = None,
    record: str | Path | None = None,
    overwrite: bool = False,
    config: Mapping[str, object] | None = None,
    device: str | torch.device = "cpu",
) -> Solution:
    """Solve a linear problem over the outer coefficients of random features, by SVD in float64.

    c = V diag(1/s_k, s_k > rcond s_1) U^T b. The matrix is never squared. O(rows features^2).

    Args:
        problem: linear in u.
        features: M features; their coefficients are filled in.
        operator: takes their derivatives.
        points: collocation points; None is a uniform grid of 2 M interior points and as many on the boundary (two
            in 1-D).
        rcond: relative cut of the singular values; None is eps max(rows, M).
        record: path of a new trajectory, or None.
        overwrite: replace an existing file at that path.
        config: recorded beside the description that is made here.
        device: "cpu" or "cuda" (its SVD is LAPACK's gesvd algorithm, never the faster Jacobi one).

    Returns:
        Coefficients, spectrum with its floor, residuals and errors.

    Raises:
        ValueError: the problem is not linear, the points do not match it, the operator cannot reach its partials.
        FileExistsError: the path exists and overwrite is False.

    Example:
        >>> from solvers import AutoDiff, RandomFeatures, problems
        >>> solution = solve_least_squares(problems.poisson_1d(), RandomFeatures(1, 100), AutoDiff())
        >>> solution.rel_l2 < 1e-9
        True
    """
    if not isinstance(features, RandomFeatures):
        raise ValueError(f"expected RandomFeatures, came {type(features).__name__}: train() takes any other network")
    device = available(device)
    features = features.to(device=device, dtype=torch.float64)
    count = len(features.coefficient)
    if points is None:
        points = problem.sample(interior=2 * count, boundary=2 * count, initial=2 * count, method="grid")
    points = points.to(device, torch.float64)
    system = assemble(problem, features, operator, points)
    driver = "gesvd" if device.type == "cuda" else None
    left, values, right = torch.linalg.svd(system.matrix, full_matrices=False, driver=driver)
    round_off = torch.finfo(torch.float64).eps * max(system.matrix.shape)
    rcond = round_off if rcond is None else rcond
    if not 0 <= rcond < 1:
        raise ValueError(f"expected 0 <= rcond < 1, a cut relative to the largest singular value, came {rcond}")
    rank = int((values > rcond * values[0]).sum())
    coefficients = right[:rank].T @ ((left[:, :rank].T @ system.right) / values[:rank, None])
    with torch.no_grad():
        features.coefficient.copy_(coefficients)
    solution = _solution(problem, features, operator, points, system, values, rank, round_off * float(values[0]))
    if record is not None:
        _record(record, overwrite, dict(config or {}), problem, operator, points, system, solution, rcond, driver)
        solution = replace(solution, path=Path(record))
    return solution


def _solution(problem, features, operator, points, system, values, rank, floor) -> Solution:
    residual = _rms((system.matrix @ features.coefficient - system.right)[: system.rows[INTERIOR]])
    exact = residual
    if not operator.exact:
        own = points.only(INTERIOR)
        with torch.no_grad():
            exact = _rms(problem.residual(AutoDiff().plan(own, problem.partials)(features), own.interior, {}))
    rel_l2, max_error = float("nan"), float("nan")
    if problem.solution is not None:
        rel_l2, max_error = Score(problem, values)(features)
    return Solution(features, values, rank, max(floor, system.operator_floor), residual, exact, rel_l2, max_error, None)


def _rms(residual: Tensor) -> float:
    return float(residual.detach().square().mean().sqrt())


def _record(record, overwrite, config, problem, operator, points, system: System, solution: Solution, rcond, driver):
    rows, columns = system.matrix.shape
    interior, boundary, initial = points.counts
    description = {
        "problem": describe_problem(problem),
        "operator": describe_operator(operator, system.plan),
        "network": describe_network(solution.network),
        "optimizer": f"truncated SVD, rcond={rcond:g}",
        "points": {"interior": interior, "boundary": boundary, "initial": initial},
        "rank": solution.rank,
    }
    attrs = {"dtype": "float64", "device": str(points.interior.device), "seed": solution.network.seed}
    spectrum = {
        "matrix": "collocation system",
        "rows": rows,
        "columns": columns,
        "driver": driver or "gesdd",
        "operator_floor": system.operator_floor,
    }
    residual = system.matrix @ solution.network.coefficient - system.right
    weights = [1.0, *(condition.weight for condition in problem.conditions)]
    weighted = [float(part.detach().square().mean()) for part in residual.split(list(system.rows.values()))]
    values = solution.singular_values.cpu().numpy()
    with Recorder(record, config=description | config, attrs=attrs, overwrite=overwrite) as recorder:
        recorder.declare(Stream("series", coords={"term": list(system.rows)}))
        recorder.declare(Stream("spectra", attrs=spectrum))
        recorder.store("points", **points_labels(problem), **points_arrays(points))
        recorder.record(
            "series",
            0,
            loss=sum(weighted),
            loss_raw=[v / w if w else float("nan") for v, w in zip(weighted, weights, strict=True)],
            loss_weight=weights,
            parameter_norm=float(torch.linalg.vector_norm(solution.network.coefficient.detach())),
            evaluations=1,
            rel_l2=solution.rel_l2,
            max_error=solution.max_error,
            exact_loss=solution.exact_residual**2,
        )
        floor = torch.finfo(torch.float64).eps * max(rows, columns) * values[0]
        recorder.record("spectra", 0, singular_value=values, floor=floor)
        recorder.record("residuals", 0, residual=residual[:interior, 0].detach().cpu().numpy())
        recorder.record("parameters", 0, value=solution.network.coefficient.detach().cpu().numpy()[:, 0])
