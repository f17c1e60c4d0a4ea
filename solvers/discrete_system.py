"""Equation and conditions on the nodes of one time, as a sparse system in the values at the nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from solvers.jet import TIME, Jet
from solvers.linearised import linearise
from solvers.operators.rbf_fd import RBFFD
from solvers.operators.rbf_fd_plan import RBFFDPlan
from solvers.points import EQUATION, Points
from solvers.problems.problem import Condition, Problem

# Radau IIA with three stages, order 5 (Hairer and Wanner, Solving Ordinary Differential Equations II, table IV.5.6).
_ROOT = 6**0.5
STAGES = np.array([(4 - _ROOT) / 10, (4 + _ROOT) / 10, 1.0])
RADAU = np.array(
    [
        [(88 - 7 * _ROOT) / 360, (296 - 169 * _ROOT) / 1800, (-2 + 3 * _ROOT) / 225],
        [(296 + 169 * _ROOT) / 1800, (88 + 7 * _ROOT) / 360, (-2 - 3 * _ROOT) / 225],
        [(16 - _ROOT) / 36, (16 + _ROOT) / 36, 1 / 9],
    ]
)


@dataclass(frozen=True, eq=False)
class Rows:
    """One term on the nodes of one time.

    Args:
        plan: of its rows.
        residual: (jet, x) -> (n, equations).
        components: of u.
    """

    plan: RBFFDPlan
    residual: Callable[[Jet, Tensor], Tensor]
    components: int

    @classmethod
    def of_equation(cls, problem: Problem, points: Points, operator: RBFFD) -> Rows:
        """Return the rows of the equation.

        Args:
            problem: whose equation.
            points: nodes of one time.
            operator: of the discretisation.

        Returns:
            The rows.
        """
        plan = operator.plan(points.only(EQUATION), problem.partials)
        return cls(plan, lambda jet, x: problem.residual(jet, x, {}), problem.components)

    @classmethod
    def of_condition(cls, problem: Problem, condition: Condition, points: Points, operator: RBFFD) -> Rows:
        """Return the rows of a condition.

        Args:
            problem: that it belongs to.
            condition: at the boundary or at the initial time.
            points: nodes of one time.
            operator: of the discretisation.

        Returns:
            The rows.
        """
        own = points.only(condition.where)
        plan = operator.plan(own, condition.partials)
        return cls(plan, lambda jet, x: condition.residual(jet, x, own.normals, {}), problem.components)

    def at(self, values: Mapping[str, np.ndarray], time: float) -> np.ndarray:
        """Return the residual.

        Args:
            values: "" and, where there is a time, "t" -> (nodes * components,).
            time: of the nodes.

        Returns:
            (n * equations,).
        """
        with torch.no_grad():
            return self._at_time(time)(self._jet(values)).reshape(-1).numpy()

    def matrices(self, values: Mapping[str, np.ndarray], time: float) -> dict[str, scipy.sparse.csr_array]:
        """Return the derivatives of the residual in u and in u_t.

        Args:
            values: as for `at`.
            time: of the nodes.

        Returns:
            "" and "t" -> (n * equations, nodes * components); those that do not occur are empty.

        Raises:
            ValueError: a residual that has not one row a point.
        """
        jet = self._jet(values)
        found = linearise(self.plan, jet, self._at_time(time))
        if found is None:
            raise ValueError(
                "expected residuals of one row a point, came pairs of points: RBF-FD has no periodic nodes, use "
                "problems without periodic conditions"
            )
        shape = next(iter(found.values())).shape
        return {name: found.get(name, scipy.sparse.csr_array(shape)) for name in ("", "t")}

    def _jet(self, values: Mapping[str, np.ndarray]) -> Jet:
        given = {name: torch.from_numpy(value.reshape(-1, self.components)) for name, value in values.items()}
        return self.plan.of(Jet(self.plan.points.axes, given, (self.plan.width, 0, 0)))

    def _at_time(self, time: float) -> Callable[[Jet], Tensor]:
        x = self.plan.points.rows
        if TIME in self.plan.points.axes:
            x = x.clone()
            x[:, self.plan.points.axes.index(TIME)] = time
        return partial(_swapped, self.residual, x)


def _swapped(residual, x, jet):
    return residual(jet, x)


@dataclass(frozen=True, eq=False)
class Steady:
    """Several terms at one time, in the values at the nodes.

    Args:
        rows: the terms.
        columns: how many of the unknowns, from the first on; the others are 0.
        time: of the nodes.
    """

    rows: Sequence[Rows]
    columns: int
    time: float = 0.0

    def residual(self, values: np.ndarray) -> np.ndarray:
        """Return what is left.

        Args:
            values: (columns,).

        Returns:
            (equations,).
        """
        given = self._given(values)
        return np.concatenate([rows.at(given, self.time) for rows in self.rows])

    def matrix(self, values: np.ndarray) -> scipy.sparse.csr_array:
        """Return its derivatives.

        Args:
            values: (columns,).

        Returns:
            (equations, columns).
        """
        given = self._given(values)
        blocks = [rows.matrices(given, self.time)[""] for rows in self.rows]
        return scipy.sparse.vstack(blocks, format="csr")[:, : self.columns]

    def _given(self, values: np.ndarray) -> dict[str, np.ndarray]:
        rest = self.rows[0].plan.width * self.rows[0].components - self.columns
        return {"": np.concatenate([values, np.zeros(rest)])}


@dataclass(frozen=True, eq=False)
class RadauStep:
    """The three stages of a time step, in the slopes u_t at each: u_i = u + step sum_j a_ij slopes_j.

    Args:
        rows: the terms; those without u_t hold at every stage.
        base: (nodes * components,) u at the start of the step.
        start: its time.
        step: its length.
    """

    rows: Sequence[Rows]
    base: np.ndarray
    start: float
    step: float

    def residual(self, slopes: np.ndarray) -> np.ndarray:
        """Return what is left.

        Args:
            slopes: (3 * nodes * components,).

        Returns:
            (3 * equations,).
        """
        stages = self._stages(slopes)
        return np.concatenate([rows.at(values, time) for values, time in stages for rows in self.rows])

    def matrix(self, slopes: np.ndarray) -> scipy.sparse.csr_array:
        """Return its derivatives.

        Args:
            slopes: (3 * nodes * components,).

        Returns:
            (3 * equations, 3 * nodes * components).
        """
        blocks = []
        for stage, (values, time) in enumerate(self._stages(slopes)):
            parts = [rows.matrices(values, time) for rows in self.rows]
            in_value, in_slope = (scipy.sparse.vstack([part[name] for part in parts], "csr") for name in ("", "t"))
            row = [self.step * factor * in_value for factor in RADAU[stage]]
            row[stage] = row[stage] + in_slope
            blocks.append(row)
        return scipy.sparse.block_array(blocks, format="csr")

    def end(self, slopes: np.ndarray) -> np.ndarray:
        """Return u at the end of the step, which is the last stage.

        Args:
            slopes: (3 * nodes * components,).

        Returns:
            (nodes * components,).
        """
        return self.base + self.step * RADAU[2] @ slopes.reshape(3, -1)

    def _stages(self, slopes: np.ndarray) -> list[tuple[dict[str, np.ndarray], float]]:
        """Return u and u_t at each stage, and its time."""
        by_stage = slopes.reshape(3, -1)
        values = self.base + self.step * (RADAU @ by_stage)
        pairs = zip(values, by_stage, strict=True)
        times = self.start + STAGES * self.step
        return [({"": u, "t": slope}, time) for (u, slope), time in zip(pairs, times, strict=True)]
