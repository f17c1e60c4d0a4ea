"""A loss that clocks the optimizer between its evaluations, and our optimizers as they run on one."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace

import torch
from torch import Tensor

from solvers.optimizers.optimizer import Optimizer, StepInfo

Loss = Callable[[Tensor], tuple[float, Tensor]]
"""Vector -> value and gradient."""


class Enough(Exception):
    """The evaluations are used up."""


@dataclass(eq=False)
class Clocked:
    """A loss that takes the CPU time between its evaluations, and ends the run after some of them.

    Args:
        loss: vector -> value and gradient.
        evaluations: after which the run ends.
        entered: CPU seconds at the beginning of each evaluation.
        left: CPU seconds at the end of each.
        lowest: value seen.
    """

    loss: Loss
    evaluations: int
    entered: list[float] = field(default_factory=list)
    left: list[float] = field(default_factory=list)
    lowest: float = float("inf")

    def __call__(self, vector: Tensor) -> tuple[float, Tensor]:
        """Evaluate.

        Args:
            vector: (parameters,).

        Returns:
            Value and gradient.

        Raises:
            Enough: all evaluations are made.
        """
        self.entered.append(time.process_time())
        if len(self.entered) > self.evaluations:
            raise Enough
        value, gradient = self.loss(vector)
        self.lowest = min(self.lowest, value)
        self.left.append(time.process_time())
        return value, gradient

    def overhead(self, skipped: int) -> float:
        """Return what the optimizer took an evaluation.

        Args:
            skipped: first evaluations that are left out, while the history fills.

        Returns:
            Mean CPU seconds.
        """
        gaps = [entered - left for entered, left in zip(self.entered[1:], self.left, strict=False)][skipped:]
        return statistics.fmean(gaps)


def steps(optimizer: Optimizer, loss: Loss, vector: Tensor) -> Iterator[StepInfo]:
    """Run one of our optimizers until it stops, sharing the evaluation at an unchanged vector as training does.

    Args:
        optimizer: of many evaluations a step.
        loss: vector -> value and gradient; it may end the run.
        vector: start, updated in place.

    Yields:
        What each step says of itself; the last, why it is the last.
    """
    latest: list = [None, None]

    def objective(at: Tensor) -> SimpleNamespace:
        if latest[0] != at._version:
            value, gradient = loss(at)
            latest[:] = at._version, SimpleNamespace(value=torch.tensor(value), gradient=gradient)
        return latest[1]

    state, info = optimizer.init(vector), None
    while info is None or info.stopped is None:
        state, info = optimizer.step(objective, state)
        yield info
