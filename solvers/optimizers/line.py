"""The loss along a line from the present vector, evaluated in the vector's own memory."""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor

from solvers.optimizers.line_search import Trial
from solvers.optimizers.optimizer import Objective


class Line:
    """The loss at x + t d as trials of a line search.

    Every trial is written into the vector, since the network's parameters are views of it.

    Args:
        objective: vector -> evaluation with value and gradient; evaluated here at once.
        vector: (parameters,) flat buffer, at x.

    Example:
        >>> from types import SimpleNamespace
        >>> vector = torch.tensor([3.0], dtype=torch.float64)
        >>> line = Line(lambda x: SimpleNamespace(value=(x**2).sum(), gradient=2 * x), vector)
        >>> line.aim(-line.gradient)
        Trial(step=0.0, value=9.0, slope=-36.0)
        >>> line(0.25), float(vector)
        (Trial(step=0.25, value=2.25, slope=-18.0), 1.5)
    """

    def __init__(self, objective: Objective, vector: Tensor):
        self._objective, self.vector, self.start = objective, vector, vector.clone()
        self._from = self.start.double()
        self.value, self.gradient = self._evaluate()
        self.direction = torch.zeros_like(self.gradient)
        self.latest, self.latest_gradient = Trial(0.0, self.value, 0.0), self.gradient

    def _evaluate(self) -> tuple[float, Tensor]:
        evaluation = self._objective(self.vector)
        value = float(evaluation.value.detach())
        # A copy: the gradient outlives the step, and an objective may write the next one over it.
        gradient = evaluation.gradient.detach() if math.isfinite(value) else torch.full_like(self.vector, math.nan)
        return value, gradient.to(torch.float64, copy=True)

    def aim(self, direction: Tensor) -> Trial:
        """Choose the direction.

        Args:
            direction: (parameters,) float64.

        Returns:
            The trial at t = 0, with the slope g d.
        """
        self.direction = direction
        return Trial(0.0, self.value, float(self.gradient @ direction))

    def descends(self, start: Trial) -> bool:
        """Return whether the slope is negative beyond its rounding.

        Args:
            start: from `aim`.

        Returns:
            False also for what is not finite.
        """
        size = self.size * float(torch.linalg.vector_norm(self.direction))
        return math.isfinite(size) and start.slope < -torch.finfo(torch.float64).eps * size

    @cached_property
    def size(self) -> float:
        """2-norm of the gradient at x."""
        return float(torch.linalg.vector_norm(self.gradient))

    @cached_property
    def extent(self) -> float:
        """Largest entry of x."""
        return largest(self.start)

    @property
    def smallest(self) -> float:
        """The step that moves the largest entry of the vector by its rounding."""
        reach = largest(self.direction)
        return torch.finfo(self.vector.dtype).eps * self.extent / reach if reach else 0.0

    def __call__(self, step: float) -> Trial:
        """Evaluate the loss at x + t d.

        Args:
            step: t.

        Returns:
            The trial.
        """
        self.vector.copy_(torch.add(self._from, self.direction, alpha=step))
        value, self.latest_gradient = self._evaluate()
        self.latest = Trial(step, value, float(self.latest_gradient @ self.direction))
        return self.latest

    def settle(self, step: float) -> None:
        """Put the vector at a step, which costs an evaluation where it was not the last one.

        Args:
            step: t; 0 puts the vector back exactly.
        """
        if step == 0:
            self.vector.copy_(self.start)
        elif self.latest.step != step:
            self(step)

    @property
    def displacement(self) -> Tensor:
        """How far the vector really is from x, rounding included, (parameters,) float64."""
        return self.vector.double() - self._from


def largest(vector: Tensor) -> float:
    """Return the largest absolute entry of a vector.

    Args:
        vector: 1-D.

    Returns:
        Its maximum norm.
    """
    return float(vector.abs().max())
