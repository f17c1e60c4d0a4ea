"""Levenberg-Marquardt on the flat vector, with the normal equations of the smaller side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from solvers.optimizers.normal_equations import AHEAD, EPS, FORMS, DampedStep, NormalEquations
from solvers.optimizers.optimizer import Objective, StepInfo
from solvers.optimizers.options import NamedOptions
from solvers.optimizers.plateau import Plateau


@dataclass(eq=False)
class LevenbergMarquardtState:
    """The vector and the damping.

    Args:
        vector: (parameters,) flat buffer.
        damping: mu of the next step; NaN before the first.
        growth: factor of mu at the next rejection.
        plateau: whether the loss still falls.
    """

    vector: Tensor
    damping: float = math.nan
    growth: float = 2.0
    plateau: Plateau = field(default_factory=Plateau)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the state as arrays, for a checkpoint.

        Returns:
            Copies, by name; `LevenbergMarquardt.from_arrays` takes them.
        """
        scalars = np.array([self.damping, self.growth, *self.plateau.to_array()])
        return {"vector": self.vector.cpu().numpy().copy(), "scalars": scalars}


@dataclass(frozen=True)
class LevenbergMarquardt(NamedOptions):
    r"""Damped Gauss-Newton steps on the scaled residual r, whose sum of squares is the loss.

    $$ (J^T J + \mu I) s = -J^T r, \qquad \varrho = \frac{|r(x)|^2 - |r(x + s)|^2}{|r(x)|^2 - |r(x) + J s|^2} $$

    To s half the acceleration a of the damped path is added where 2 |a| <= `acceleration` |s|, which follows a curved
    valley of the loss further than its tangent and costs one residual and one product with J^T a trial:

    $$ a = -(J^T J + \mu I)^{-1} J^T \frac{\partial^2 r(x + t s)}{\partial t^2} $$

    A step is taken where rho > 0, then mu *= max(1/3, 1 - (2 rho - 1)^3); else mu *= 2, 4, 8, ... and the same Gram
    matrix is factored again. The dual form s = -J^T (J J^T + mu I)^{-1} r asks for the Gram matrix and products with
    J^T alone, never for a Jacobian. Where rounding leaves the matrix indefinite mu is raised. Everything is computed in
    float64; a float32 loss works and ends higher, where the rounding of its residual, 1e-7 of it, hides the decrease.

    The run ends, with the reason in `StepInfo.stopped`, where the gradient or the step falls below its tolerance, after
    10 steps that together lower the loss by less than `tolerance_change`, and where mu has grown too large. A step that
    is rejected throughout puts the vector back exactly.

    Args:
        damping: first mu, over the trace of J^T J.
        form: "primal", "dual", or "auto": dual where there are fewer rows than parameters.
        acceleration: largest 2 |a| / |s| that is used; 0 for plain steps.
        max_rejections: in one step; after them the next step begins with the mu that was reached.
        max_damping: mu over the trace that ends the run.
        tolerance_gradient: largest entry of the gradient that ends the run.
        tolerance_step: largest entry of a step, over the largest of the vector, that ends the run.
        tolerance_change: relative decrease of the loss; less of it counts as none.
        memory_fraction: of the memory at hand that the matrices may take.

    Raises:
        ValueError: an unknown option, a value out of range, or in `step` matrices that would not fit into memory.

    Source: H. B. Nielsen, Damping parameter in Marquardt's method, IMM-REP-1999-05, DTU; M. K. Transtrum,
        J. P. Sethna, arXiv 1201.5885, for the acceleration.

    Cost: a step takes one Gram matrix; a trial an n^3 / 3 factorisation, n the smaller side, two losses and in the dual
        form two products with J^T. On 828 nodes of the disk and 4 layers of 50, 0.08 s.

    Example:
        >>> from types import SimpleNamespace
        >>> def line(x):
        ...     r, j = torch.stack([x[0] - 1, 3 * x[1] - 6]), torch.tensor([[1.0, 0.0], [0.0, 3.0]]).double()
        ...     return SimpleNamespace(value=r @ r, gradient=2 * j.T @ r, scaled_residual=r, jacobian=j)
        >>> optimizer, vector = LevenbergMarquardt(), torch.zeros(2, dtype=torch.float64)
        >>> state, info = optimizer.step(line, optimizer.init(vector))
        >>> [round(x, 3) for x in vector.tolist()], round(info.damping, 3)
        ([0.99, 1.998], 0.01)
    """

    many_evaluations: ClassVar[bool] = True
    records: ClassVar[tuple[str, ...]] = ("damping",)

    damping: float = 1e-3
    form: str = "auto"
    acceleration: float = 0.75
    max_rejections: int = 20
    max_damping: float = 1e12
    tolerance_gradient: float = 1e-12
    tolerance_step: float = 1e-16
    tolerance_change: float = 1e-12
    memory_fraction: float = 0.5

    def __post_init__(self):
        self._require(["form"], self.form in FORMS, f"one of {', '.join(map(repr, FORMS))}")
        ordered = 0 < self.damping < self.max_damping < math.inf
        self._require(["damping", "max_damping"], ordered, "0 < damping < max_damping, shares of the trace")
        self._require(["acceleration"], 0 <= self.acceleration < math.inf, "a ratio of lengths, at least 0")
        self._require(["max_rejections"], self.max_rejections >= 0, "a number of rejections, at least 0")
        for name in ("tolerance_gradient", "tolerance_step", "tolerance_change"):
            self._require([name], 0 <= getattr(self, name) < math.inf, "a tolerance of at least 0")
        self._require(["memory_fraction"], 0 < self.memory_fraction <= 1, "a share of the memory, above 0, at most 1")

    def init(self, vector: Tensor) -> LevenbergMarquardtState:
        """Return the state before the first step.

        Args:
            vector: (parameters,) flat buffer; it is updated in place.

        Returns:
            The state.
        """
        return LevenbergMarquardtState(vector)

    def from_arrays(self, arrays: Mapping[str, np.ndarray], vector: Tensor) -> LevenbergMarquardtState:
        """Return the state that `LevenbergMarquardtState.to_arrays` has written.

        Args:
            arrays: from it.
            vector: (parameters,) flat buffer, which gets the stored values.

        Returns:
            The state.
        """
        vector.copy_(torch.from_numpy(np.asarray(arrays["vector"])))
        damping, growth, *plateau = np.asarray(arrays["scalars"]).tolist()
        return LevenbergMarquardtState(vector, damping, growth, Plateau(*plateau))

    def step(self, objective: Objective, state: LevenbergMarquardtState) -> tuple[LevenbergMarquardtState, StepInfo]:
        """Make one step: a linearisation, and trials with more and more damping until one is lower.

        Args:
            objective: vector -> evaluation with value, gradient, `scaled_residual`, and `jacobian` or `gram` and
                `transposed`.
            state: from `init` or the last step; its vector is updated in place.

        Returns:
            The state and what happened.
        """
        vector = state.vector
        evaluation = objective(vector)
        value, gradient = float(evaluation.value.detach()), evaluation.gradient.detach().double()
        if not (math.isfinite(value) and bool(torch.isfinite(gradient).all())):
            return state, StepInfo(stopped="the loss or its gradient is not finite: nothing to descend on")
        if float(gradient.abs().max()) <= self.tolerance_gradient:
            return state, StepInfo(stopped=f"gradient below tolerance_gradient = {self.tolerance_gradient:g}")
        state.plateau.start(value)
        normal = NormalEquations.of(objective, vector, self.form, self.memory_fraction)
        if math.isnan(state.damping):
            state.damping = self.damping * normal.trace
        return state, self._tried(objective, state, normal, value)

    def _tried(
        self, objective: Objective, state: LevenbergMarquardtState, normal: NormalEquations, value: float
    ) -> StepInfo:
        """Try steps of more and more damping, until one is lower; leave the vector there, or where it was."""
        vector, start, trace = state.vector, state.vector.clone(), normal.trace
        for _ in range(self.max_rejections + 1):
            damped = normal.step(state.damping)
            if not bool(torch.isfinite(damped.step).all()):
                return StepInfo(stopped="the Jacobian is not finite: no step can be computed", damping=damped.damping)
            vector.copy_(start.double() + self._bent(objective, normal, damped, start))
            reached = float(objective(vector).value.detach())
            gain = (value - reached) / damped.promised if damped.promised > 0 else -math.inf
            stopped = self._negligible(damped, start)
            # A loss that is not finite makes the gain NaN, which is no more above 0 than a rise of the loss.
            if gain > 0:
                state.damping = max(damped.damping * max(1 / 3, 1 - (2 * gain - 1) ** 3), EPS**2 * trace)
                state.growth = 2.0
                flat = state.plateau.reached(reached, self.tolerance_change)
                return StepInfo(stopped=stopped or flat, damping=damped.damping)
            vector.copy_(start)
            state.damping, state.growth = damped.damping * state.growth, 2 * state.growth
            if stopped is None and state.damping > self.max_damping * trace:
                stopped = f"no decrease possible: damping above max_damping = {self.max_damping:g} of the trace"
            if stopped:
                break
        return StepInfo(stopped=stopped, damping=damped.damping)

    def _bent(self, objective: Objective, normal: NormalEquations, damped: DampedStep, start: Tensor) -> Tensor:
        """Return s + a / 2, or s where the acceleration is too large for that; the vector is left at the start."""
        if not self.acceleration:
            return damped.step
        vector = normal.vector
        vector.copy_(start.double() + AHEAD * damped.step)
        ahead = objective(vector).scaled_residual
        vector.copy_(start)
        bend = normal.acceleration(damped, ahead)
        # False also where the residual ahead is not finite.
        small = 2 * float(bend.norm()) <= self.acceleration * float(damped.step.norm())
        return damped.step + bend / 2 if small else damped.step

    def _negligible(self, damped: DampedStep, start: Tensor) -> str | None:
        small = float(damped.step.abs().max()) <= self.tolerance_step * float(start.abs().max())
        return f"step below tolerance_step = {self.tolerance_step:g}" if small else None
