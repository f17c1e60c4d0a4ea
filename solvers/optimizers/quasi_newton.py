"""The step that quasi-Newton methods share: a direction, a strong Wolfe search along it, tests of the end."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from solvers.optimizers.line import Line, largest
from solvers.optimizers.line_search import Search, StrongWolfe
from solvers.optimizers.optimizer import Objective, StepInfo
from solvers.optimizers.options import NamedOptions
from solvers.optimizers.rounding import loss_rounding

EPS = float(np.finfo(np.float64).eps)
DOUBT = 100.0
"""Factor of the loss's rounding after a failed search along a descent: what was learnt is worth another search."""


class QuasiNewton(NamedOptions):
    """Base of methods that learn the inverse Hessian from steps and changes of the gradient.

    A subclass is a frozen dataclass with the options named here. Its state has `vector`, `gradient` (float64, at the
    vector where the last step ended, else empty), `plateau`, and `caution`, a factor of the loss's rounding.
    """

    many_evaluations: ClassVar[bool] = True
    records: ClassVar[tuple[str, ...]] = ("step_length",)

    max_evaluations: int
    decrease: float
    curvature: float
    tolerance_gradient: float
    tolerance_step: float
    tolerance_change: float
    noise: float | None

    def __post_init__(self):
        self._require(["max_evaluations"], self.max_evaluations >= 1, "at least one evaluation a search")
        wolfe = 0 < self.decrease < 0.5 and self.decrease < self.curvature < 1
        self._require(["decrease", "curvature"], wolfe, "0 < decrease < 1/2 and decrease < curvature < 1")
        for name in ("tolerance_gradient", "tolerance_step", "tolerance_change"):
            self._require([name], 0 <= getattr(self, name) < math.inf, "a tolerance of at least 0")
        self._require(["noise"], self.noise is None or 0 <= self.noise < 1, "None or a share of the loss, below 1")

    def step(self, objective: Objective, state: Any) -> tuple[Any, StepInfo]:
        """Make one iteration: a direction, and a line search along it.

        Args:
            objective: vector -> evaluation with value and gradient.
            state: from `init` or the last step; it and its vector are updated in place.

        Returns:
            The state and what happened.
        """
        line = Line(objective, state.vector)
        if not (math.isfinite(line.value) and math.isfinite(line.size)):
            return state, StepInfo(stopped="the loss or its gradient is not finite: nothing to descend on")
        state.plateau.start(line.value)
        if self._small(line.gradient):
            return state, StepInfo(stopped=self._reason("gradient"))
        if not (state.gradient.shape == line.gradient.shape and torch.equal(line.gradient, state.gradient)):
            self._arrive(state, line.gradient)
        search = self._search(line, state)
        line.settle(search.trial.step)
        if search.trial.step == 0:
            state.gradient = state.gradient[:0]
            return state, StepInfo(stopped=_no_decrease(state.vector.dtype))
        moved = line.displacement
        self._learn(state, line, moved)
        state.gradient = line.latest_gradient
        return state, StepInfo(stopped=self._ended(state, line, moved), step_length=search.trial.step)

    def _arrive(self, state: Any, gradient: Tensor) -> None:
        """Prepare for a gradient that is not the one the last step ended with."""
        raise NotImplementedError

    def _direction(self, state: Any, line: Line) -> Tensor | None:
        """Return the quasi-Newton direction, None where nothing has been learnt."""
        raise NotImplementedError

    def _forget(self, state: Any) -> None:
        """Drop all that has been learnt."""
        raise NotImplementedError

    def _learn(self, state: Any, line: Line, s: Tensor) -> None:
        """Take in the step just made."""
        raise NotImplementedError

    def _search(self, line: Line, state: Any) -> Search:
        """Return the search along the quasi-Newton direction, else along steepest descent with nothing learnt."""
        direction = self._direction(state, line)
        if direction is not None:
            start = line.aim(direction)
            while line.descends(start):
                search = self._wolfe(line, state)(line, start, 1.0, line.smallest)
                if search.trial.step > 0:
                    return search
                if not self._doubt(line, state):
                    break
            self._forget(state)
        state.caution = 1.0
        start = line.aim(-line.gradient)
        first = min(1.0, 1 / float(line.gradient.abs().sum()))
        return self._wolfe(line, state)(line, start, first, line.smallest)

    def _noise(self, line: Line, state: Any) -> float:
        return loss_rounding(line.value, line.vector.dtype, state.caution) if self.noise is None else self.noise

    def _wolfe(self, line: Line, state: Any) -> StrongWolfe:
        return StrongWolfe(self.decrease, self.curvature, self._noise(line, state), self.max_evaluations)

    def _doubt(self, line: Line, state: Any) -> bool:
        """Take the loss for less accurate than before, after a search that found nothing lower; False at the limit."""
        before = self._noise(line, state)
        state.caution *= DOUBT
        return self._noise(line, state) > before

    @staticmethod
    def _curved(line: Line, s: Tensor, curvature: float) -> bool:
        """Return whether s y is positive beyond the rounding of the gradients."""
        size = max(line.size, float(torch.linalg.vector_norm(line.latest_gradient)))
        return curvature > 10 * EPS * float(torch.linalg.vector_norm(s)) * size

    def _ended(self, state: Any, line: Line, moved: Tensor) -> str | None:
        """Return why another step would change nothing, or None."""
        flat = state.plateau.reached(line.latest.value, self.tolerance_change)
        if self._small(state.gradient):
            return self._reason("gradient")
        if largest(moved) <= self.tolerance_step * line.extent:
            return self._reason("step")
        return flat

    def _small(self, gradient: Tensor) -> bool:
        return largest(gradient) <= self.tolerance_gradient

    def _reason(self, kind: str) -> str:
        return f"{kind} below tolerance_{kind} = {getattr(self, f'tolerance_{kind}'):g}"


def _no_decrease(dtype: torch.dtype) -> str:
    said = "no decrease possible: the loss falls neither along the quasi-Newton direction nor along the gradient"
    return said if dtype == torch.float64 else f"{said}, in {str(dtype).removeprefix('torch.')}: float64 goes lower"
