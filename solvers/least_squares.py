"""Random features: solve a problem over their outer coefficients by least squares, and record every spectrum."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from dynamics.format import Stream
from dynamics.recorder import Recorder
from solvers.collocation import Weights, check_collocation, terms_of, weights_of
from solvers.collocation_spectrum import CollocationSpectrum
from solvers.description import describe_network, describe_operator, describe_problem, points_arrays, points_labels
from solvers.device import available
from solvers.domain import Box
from solvers.gauss_newton import Iterate, gauss_newton
from solvers.networks import RandomFeatures
from solvers.operators import RBFFD, AutoDiff
from solvers.operators.operator import Operator
from solvers.points import EQUATION, Points
from solvers.problems.problem import Problem
from solvers.regression import METHODS, check_method, round_off
from solvers.scoring import BANDS, Errors, Score
from solvers.shapes import INTERIOR


@dataclass(frozen=True, eq=False)
class Solution:
    """A least-squares solution.

    Args:
        network: the features with their coefficients filled in.
        spectrum: of the last linear solve, computed when it is asked for.
        residual: root mean square of the equation's residual over the interior points, as the operator sees it.
        exact_residual: the same with exact derivatives; for exact operators the same number.
        rel_l2: relative L2 error off the collocation points, NaN without a known solution.
        max_error: largest error there.
        error_bands: relative L2 error there by frequency, as `solvers.scoring.BANDS`; NaN where `Score` knows none.
        solution_max: largest absolute value of the known solution there, NaN without one.
        weights: term -> factor of its squared residual.
        iterations: linear solves done; 1 where the problem is linear.
        stopped: "linear"; or why Gauss-Newton stopped: "converged", "round-off", "stuck" or "iterations".
        path: the trajectory, or None.
    """

    network: RandomFeatures = field(repr=False)
    spectrum: CollocationSpectrum = field(repr=False)
    residual: float
    exact_residual: float
    rel_l2: float
    max_error: float
    error_bands: tuple[float, ...]
    solution_max: float
    weights: Mapping[str, float]
    iterations: int
    stopped: str
    path: Path | None

    @property
    def singular_values(self) -> Tensor:
        """Singular values of the weighted system (of the last linearised one), largest first."""
        return self.spectrum.values

    @property
    def rank(self) -> int:
        """Directions that the solution has coefficients in."""
        return self.spectrum.regression.rank

    @property
    def floor(self) -> float:
        """Below it singular values are round-off, of the SVD and of the entries; measured when it is asked for."""
        return self.spectrum.floor


def solve_least_squares(
    problem: Problem,
    features: RandomFeatures,
    operator: Operator,
    *,
    points: Points | None = None,
    weights: Weights = None,
    method: str = "svd",
    rcond: float | None = None,
    iterations: int = 50,
    record: str | Path | None = None,
    overwrite: bool = False,
    config: Mapping[str, object] | None = None,
    device: str | torch.device = "cpu",
) -> Solution:
    """Minimise sum_terms weight ||R_term(sum_j c_j phi_j)||^2 over the outer coefficients c, in float64.

    Where every term is linear in u, which is tried on some features and checked at the solution, one linear
    least-squares problem is solved. Otherwise Gauss-Newton starts from the features' own coefficients (0 where they are
    fresh) and solves one an iteration, with the step halved until the residual falls; `gauss_newton` says when it
    stops, and `Solution.stopped` what it was. The matrix is never squared.

    Args:
        problem: linear or nonlinear in u.
        features: M features; their coefficients are filled in.
        operator: takes their derivatives, once.
        points: collocation points; None is a uniform grid of 2 M interior points and as many on the boundary (two
            in 1-D); 2 M nodes for RBF-FD and on domains that are no boxes.
        weights: term -> factor of its squared residual, the others keep the problem's; "balanced" makes the longest
            row of each condition as long as that of the equation (`weights_of`); None is the problem's.
        method: "svd" (truncated), "qr" (column-pivoted, basic solution, 0.5 to 0.7 of the time) or
            "tikhonov"; `solve_regression` defines them.
        rcond: cut relative to the largest singular value, or for "tikhonov" the damping; None is eps max(rows, M), for
            "tikhonov" generalised cross-validation.
        iterations: the most that Gauss-Newton may do.
        record: path of a new trajectory, or None; each linear solve is a step, with its spectrum.
        overwrite: replace an existing file at that path.
        config: recorded beside the description that is made here.
        device: "cpu" or "cuda" (its SVD is LAPACK's gesvd algorithm, never the faster Jacobi one).

    Returns:
        Coefficients, spectrum with its floor, residuals and errors.

    Raises:
        ValueError: the points do not match the problem, the operator cannot reach its partials, an unknown method or
            term, weights or rcond out of range, a residual that is not finite where Gauss-Newton starts.
        FileExistsError: the path exists and overwrite is False.

    Cost: M columns of derivatives at each point, then 2 rows M^2 + about 4 M^3 operations a linear solve ("svd").

    Example:
        >>> from solvers import AutoDiff, RandomFeatures, problems
        >>> solution = solve_least_squares(problems.poisson_1d(), RandomFeatures(1, 100), AutoDiff())
        >>> solution.rel_l2 < 1e-9, solution.stopped
        (True, 'linear')
    """
    if not isinstance(features, RandomFeatures):
        raise ValueError(
            f"expected RandomFeatures or LocalFeatures, came {type(features).__name__}: train() takes any other network"
        )
    check_method(method, rcond)
    if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 1:
        raise ValueError(f"expected iterations as an integer >= 1, came {iterations!r}")
    device = available(device)
    features = features.to(device=device, dtype=torch.float64)
    count = len(features.coefficient)
    if points is None and (isinstance(operator, RBFFD) or not isinstance(problem.domain, Box)):
        points = problem.sample(interior=2 * count, method="nodes")
    elif points is None:
        points = problem.sample(interior=2 * count, boundary=2 * count, initial=2 * count, method="grid")
    points = points.to(device, torch.float64)
    check_collocation(problem, features, operator, points)
    score = None if problem.solution is None else Score(problem, points.interior)
    terms, start = terms_of(problem, features, operator, points), features.coefficient.detach().clone()
    factors = weights_of(problem, weights, terms, start)
    with ExitStack() as stack:
        recorder = None
        solves = gauss_newton(terms, factors, start, method=method, rcond=rcond, iterations=iterations)
        for step, iterate in enumerate(solves):
            if step == 0:
                _warn_if_wide(iterate.system.matrix.shape)
            if not iterate.stopped and record is None:
                continue
            with torch.no_grad():
                features.coefficient.copy_(iterate.coefficients)
            solution = _solution(problem, features, operator, points, iterate, factors, step + 1, record, score)
            if record is not None:
                if recorder is None:
                    described = _description(problem, operator, points, iterate, solution, method, rcond)
                    attrs = {"dtype": "float64", "device": str(device), "seed": features.seed}
                    recorder = stack.enter_context(
                        Recorder(record, config=described | dict(config or {}), attrs=attrs, overwrite=overwrite)
                    )
                    _declare(recorder, problem, points, iterate, score)
                _record(recorder, step, iterate, solution)
    return solution


def _warn_if_wide(shape: tuple[int, int]) -> None:
    rows, columns = shape
    if columns > rows:
        warnings.warn(
            f"{columns} features meet {rows} rows: some coefficients leave every residual at 0, which says nothing of "
            f"the error between the points; take more points or fewer features",
            RuntimeWarning,
            stacklevel=3,
        )


def _solution(problem, features, operator, points, iterate: Iterate, weights, count, record, score) -> Solution:
    residual = exact = _rms(iterate.residuals[INTERIOR])
    if not operator.exact:
        own = points.only(EQUATION)
        with torch.no_grad():
            exact = _rms(problem.residual(AutoDiff().plan(own, problem.partials)(features), own.interior, {}))
    errors = Errors(math.nan, math.nan, (math.nan,) * len(BANDS)) if score is None else score(features)
    path = None if record is None else Path(record)
    spectrum = CollocationSpectrum.of(iterate.regression, problem, features, operator, points, weights, iterate.at)
    return Solution(
        features,
        spectrum,
        residual,
        exact,
        errors.rel_l2,
        errors.max_error,
        errors.bands,
        math.nan if score is None else score.solution_max,
        weights,
        count,
        iterate.stopped or "",
        path,
    )


def _rms(residual: Tensor) -> float:
    return float(residual.detach().square().mean().sqrt())


def _description(problem, operator, points, iterate: Iterate, solution: Solution, method, rcond) -> dict[str, object]:
    interior, boundary, initial = points.counts
    solver = METHODS[method] if iterate.stopped == "linear" else f"Gauss-Newton, {METHODS[method]}"
    cut = rcond
    if rcond is None:
        cut = round_off(iterate.regression.shape)
    chosen = "damping by generalised cross-validation" if (method, rcond) == ("tikhonov", None) else f"rcond={cut:g}"
    return {
        "problem": describe_problem(problem),
        "operator": describe_operator(operator, iterate.system.plan),
        "network": describe_network(solution.network),
        "optimizer": f"{solver}, {chosen}",
        "points": {"interior": interior, "boundary": boundary, "initial": initial},
        "rank": solution.rank,
    }


def _declare(recorder: Recorder, problem, points, iterate: Iterate, score) -> None:
    rows, columns = iterate.regression.shape
    spectrum = {
        "matrix": "collocation system",
        "rows": rows,
        "columns": columns,
        "dtype": "float64",
        "driver": iterate.regression.driver,
        "entry_floor_origin": "measured: third differences of the entries between almost equal points",
    }
    coords = {"term": list(iterate.system.rows), "band": list(BANDS)}
    scale = {} if score is None else {"solution_max": score.solution_max}
    recorder.declare(Stream("series", coords=coords, attrs=scale))
    recorder.declare(Stream("spectra", attrs=spectrum))
    recorder.store("points", **points_labels(problem), **points_arrays(points))


def _record(recorder: Recorder, step: int, iterate: Iterate, solution: Solution) -> None:
    raw = {name: float(part.square().mean()) for name, part in iterate.residuals.items()}
    coefficients = iterate.coefficients[:, 0].cpu().numpy()
    recorder.record(
        "series",
        step,
        loss=math.fsum(solution.weights[name] * value for name, value in raw.items()),
        loss_raw=list(raw.values()),
        loss_weight=[solution.weights[name] for name in raw],
        parameter_norm=float(torch.linalg.vector_norm(iterate.coefficients)),
        update_norm=iterate.update_norm,
        evaluations=iterate.evaluations,
        rel_l2=solution.rel_l2,
        max_error=solution.max_error,
        error_band=list(solution.error_bands),
        exact_loss=solution.exact_residual**2,
        rank=solution.rank,
    )
    recorder.record("spectra", step, **solution.spectrum.row())
    recorder.record("residuals", step, residual=iterate.residuals[INTERIOR][:, 0].cpu().numpy())
    recorder.record("parameters", step, value=coefficients)
