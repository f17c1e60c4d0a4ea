"""The spectrum of the residuals' Jacobian during training: of some fixed rows often, of all rows at the end."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dynamics.drivers import EPS, decompose, error_constant
from solvers.cadence import AtEnd, Cadence, Logarithmic
from solvers.evaluation import Evaluation
from solvers.noise import entry_floor, redraw
from solvers.objective import Objective
from solvers.operators.operator import Plan
from solvers.points import EQUATION, Points
from solvers.probes import Labels, Moment, Probe, once
from solvers.term import Term

BLOCK = 256
"""Points whose rows are computed together: their copies of the parameters still fit the processor's caches."""

DRIVER = "gesdd"
"""Its errors are relative to sigma_1, as those that the entries carry are: a finer method would gain nothing."""

QR_FIRST = 1.5
"""Ratio of a matrix's sides above which the SVD is that of its triangular factor, whose floor is the same."""

NOISE_POINTS = 32
"""Points whose rows are redrawn for the round-off of the entries: four draws of an eighth of 256 points."""


def jacobian_spectrum(
    rows: int | None = 256,
    every: Cadence = Logarithmic(20),
    last: bool = True,
    conditions: bool = False,
) -> Probe:
    r"""Return the probe of the singular values of S = d(residuals)/d(parameters), whose squares are the kernel's.

    $$ S_{ij} = \sqrt{w / n} \, \lambda_i \, \partial r_i / \partial \theta_j $$

    on n fixed interior points, with the loss's weight w and, where the loss has it, attention lambda: the sum of
    squares of the scaled residuals is then the loss, estimated from these points, and the spectra of few and of many
    points approach the same limit. The SVD is that of S in float64: S S^T would lose every value below sqrt(eps)
    sigma_1.

    Each row of the stream holds `singular_value`, `floor` (round-off of the SVD), `entry_floor` (that of the entries,
    measured by `solvers.noise` on at most 32 of the points) and `seconds`, what the row cost. Where S is not finite
    they are NaN.

    Args:
        rows: number n of interior points, the (2k + 1) N // 2n th of all N, k = 0 .. n - 1; N or more, or None, takes
            all of them. Each has one row an equation.
        every: when.
        last: whether the last step also has the spectrum of all interior points, in a stream `spectra_all` of one row;
            there is none where `spectra` has them all.
        conditions: whether the rows of the boundary and initial conditions are there too, each kind with its own w / n.

    Returns:
        Probe of the stream "spectra"; attributes of the group state rows, columns, the choice of points, and the number
        of operations.

    Raises:
        ValueError: rows below 1.

    Cost: (r equations) P numbers, and 2 k^2 (l - k/3) + 8/3 k^3 operations for the SVD of r x P, k = min(r, P) and
        l = max(r, P): 20 ms for 256 points and 3,297 parameters, 3 s for 2,000 points, on one core.

    Example:
        >>> from solvers import MLP, AutoDiff, problems
        >>> problem, _ = problems.poisson_1d(), torch.manual_seed(0)
        >>> objective = Objective(problem, MLP(1, [8]).double(), AutoDiff(), problem.sample(interior=40))
        >>> moment = Moment(0, objective, objective.begin_step(), torch.ones(40))
        >>> jacobian_spectrum(rows=10).measure(moment)["singular_value"].shape
        (10,)
    """
    if rows is not None and (isinstance(rows, bool) or not isinstance(rows, int) or rows < 1):
        raise ValueError(f"expected at least 1 row, or None for all of them, came {rows!r}")

    def beside(objective: Objective) -> Sequence[Probe]:
        fewer = rows is not None and rows < len(objective.equation_points.interior)
        return [_probe("spectra_all", None, AtEnd(), conditions)] if last and fewer else []

    return _probe("spectra", rows, every, conditions, beside)


def _probe(stream: str, rows: int | None, every: Cadence, conditions: bool, beside=lambda objective: ()) -> Probe:
    of = once(lambda moment: Selection.of(moment.objective, rows))

    def measure(moment: Moment) -> dict[str, object]:
        start = time.perf_counter()
        selection, evaluation = of(moment), moment.evaluation
        matrix = selection.matrix(evaluation, conditions)
        values, floor = spectrum_of(matrix)
        found = {"singular_value": values, "floor": floor}
        found["entry_floor"] = selection.entry_floor(evaluation, conditions)
        return {**found, "seconds": time.perf_counter() - start}

    def labels(moment: Moment) -> Labels:
        return of(moment).labels(moment.evaluation, rows, conditions)

    dims = {"singular_value": ("index",), "floor": (), "entry_floor": (), "seconds": ()}
    return Probe(stream, dims, measure, every, labels, beside)


def spectrum_of(matrix: Tensor) -> tuple[np.ndarray, float]:
    """Return the singular values of a tensor in float64, and the floor of their SVD.

    Args:
        matrix: (rows, columns), of any precision and device.

    Returns:
        (min(rows, columns),) values, largest first, and the floor; NaN where the matrix is not finite, which is data.

    Example:
        >>> spectrum_of(torch.tensor([[3.0, 0.0, 0.0], [0.0, 4.0, 0.0]]))[0].tolist()
        [4.0, 3.0]
    """
    if not torch.isfinite(matrix).all():
        return np.full(min(matrix.shape), np.nan), float("nan")
    few, many = sorted(matrix.shape)
    tall = (matrix if matrix.shape[0] == many else matrix.T).double()
    # Bidiagonalisation runs at the speed of memory, QR at that of the processor.
    factor = torch.linalg.qr(tall, mode="r")[1] if many > QR_FIRST * few else tall
    if factor.is_cuda:
        values = torch.linalg.svdvals(factor, driver="gesvd").cpu().numpy()
        constant = error_constant(matrix.shape, "gesvd")
    else:
        found = decompose(factor.numpy(), DRIVER)
        values, constant = found.values, found.constant
    return values, float(constant * EPS * values[0])


@dataclass(frozen=True, eq=False)
class Selection:
    """Interior points whose rows of the Jacobian are taken, planned in blocks.

    Args:
        objective: whose points these are.
        index: of the points, among the objective's interior points.
        plans: (plan, its part of the index), block by block.
        quiet: those of the index at which round-off is measured.
    """

    objective: Objective
    index: Tensor
    plans: Sequence[tuple[Plan, Tensor]]
    quiet: Tensor

    @classmethod
    def of(cls, objective: Objective, rows: int | None) -> Selection:
        """Choose and plan the points.

        Args:
            objective: has the points and the operator.
            rows: how many points; None for all.

        Returns:
            The selection.
        """
        total = len(objective.equation_points.interior)
        index = evenly(total, total if rows is None else min(rows, total)).to(objective.vector.device)
        blocks = index.split(BLOCK)
        plans = [(_plan(objective, objective.points.only(EQUATION, block)), block) for block in blocks]
        quiet = index[evenly(len(index), min(NOISE_POINTS, len(index))).to(index.device)]
        return cls(objective, index, plans, quiet)

    def matrix(self, evaluation: Evaluation, conditions: bool = False) -> Tensor:
        """Return S.

        Args:
            evaluation: of the current parameters.
            conditions: whether the conditions' rows follow.

        Returns:
            (rows, parameters), in the training's dtype.
        """
        parts = [self._rows(evaluation, plan, block) for plan, block in self.plans]
        if conditions:
            parts += [evaluation.jacobian_of(*term) for term in evaluation.scaled_terms()[1:]]
        return torch.cat(parts).detach()

    def entry_floor(self, evaluation: Evaluation, conditions: bool = False) -> float:
        """Return the floor that round-off in the entries of S puts under its singular values.

        Measured on at most 32 of the points, and of each condition's where its rows are there; the floors of the terms
        add as squares. The attention of the points that are not measured is taken as the largest.

        Args:
            evaluation: of the current parameters.
            conditions: whether the conditions' rows are there.

        Returns:
            In the unit of S.
        """
        objective = self.objective

        def evaluate(points: Points) -> Tensor:
            plan = _plan(objective, points)
            return self._rows(evaluation, plan, self.quiet, attended=False).detach()

        sample = redraw(evaluate, objective.points.only(EQUATION, self.quiet))
        largest = 1.0 if objective.attention is None else float(objective.attention[self.index].abs().max())
        floors = [largest * entry_floor(sample, len(sample) * len(self.index) // len(self.quiet))]
        if conditions:
            floors += [self._condition_floor(evaluation, k) for k in range(len(objective.conditions))]
        return math.hypot(*floors)

    def _condition_floor(self, evaluation: Evaluation, position: int) -> float:
        objective = self.objective
        condition, weight = objective.conditions[position].condition, objective.weights[position + 1]
        held = objective.points.smallest(condition.where)
        some = evenly(held, min(NOISE_POINTS, held)).to(objective.vector.device)
        rows = len(evaluation.condition_residuals[position])

        def evaluate(points: Points) -> Tensor:
            plan = objective.operator.plan(points, condition.partials)
            term = Term(condition, plan, points.rows, points.normals)
            return evaluation.jacobian_of(plan, lambda *given: term.residual(*given) * (weight / rows) ** 0.5).detach()

        sample = redraw(evaluate, objective.points.only(condition.where, some))
        return entry_floor(sample, len(sample) * held // len(some))

    def _rows(self, evaluation: Evaluation, plan: Plan, block: Tensor, attended: bool = True) -> Tensor:
        """Return the rows of a block, whose own mean square is scaled to that of all points."""
        interior = evaluation.scaled_terms(plan, block, attended)[0]
        return evaluation.jacobian_of(*interior) * (len(block) / len(self.index)) ** 0.5

    def labels(self, evaluation: Evaluation, asked: int | None, conditions: bool) -> Labels:
        """Return what the group's attributes say.

        Args:
            evaluation: of the first parameters.
            asked: number of points asked for.
            conditions: whether the conditions' rows are there.

        Returns:
            Attributes, and the number of singular values.
        """
        objective = self.objective
        total, points = len(objective.equation_points.interior), len(self.index)
        terms = [evaluation.residual, *(evaluation.condition_residuals if conditions else [])]
        rows = points * terms[0].shape[1] + sum(term.numel() for term in terms[1:])
        columns = len(objective.vector)
        few, many = sorted((rows, columns))
        choice = f"(2k + 1) * {total} // {2 * points}, k = 0 .. {points - 1}, of {total} interior points"
        attrs = {
            "matrix": "Jacobian of the scaled residuals",
            "rows": rows,
            "columns": columns,
            "points": points,
            "row_choice": choice if points < total else f"all {total} interior points{_unmet(asked, total)}",
            "conditions": "included" if conditions else "left out",
            "scaling": "sqrt(weight / points), and the attention of the loss",
            "noise_points": len(self.quiet),
            "operations": float(2 * few**2 * (many - few / 3) + 8 / 3 * few**3),
            "driver": "cusolver gesvd" if objective.vector.is_cuda else DRIVER,
        }
        return Labels({"index": few}, attrs)


def _unmet(asked: int | None, total: int) -> str:
    return f", {asked} were asked for" if asked is not None and asked > total else ""


def _plan(objective: Objective, points: Points) -> Plan:
    return objective.operator.plan(points, objective.problem.partials)


def evenly(total: int, count: int) -> Tensor:
    """Return evenly spread indices, the middles of `count` equal parts of 0 .. total.

    Args:
        total: number to choose from.
        count: number chosen, at most total.

    Returns:
        (count,) increasing and distinct, int64.

    Example:
        >>> evenly(10, 4).tolist()
        [1, 3, 6, 8]
    """
    return (2 * torch.arange(count) + 1) * total // (2 * count)
