"""Some steps of Adam and of L-BFGS under both operators: the whole price of training, and the optimizer's share."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from analyses.reproduce.n_tangentprop_published import HISTORY, RATE
from analyses.reproduce.n_tangentprop_replay import OPERATORS, published_objective
from solvers.objective import Objective
from solvers.optimizers import LBFGS, Optimizer, Torch


@dataclass(frozen=True)
class EndToEnd:
    """Some steps of an optimizer under one operator.

    Args:
        k: number of the profile.
        optimizer: "Adam" or "L-BFGS".
        operator: name of the operator.
        steps: made.
        evaluations: of loss and gradient.
        seconds: CPU seconds of all.
        share: of them that was not spent in evaluations, the optimizer's own.
        loss: at the end.
    """

    k: int
    optimizer: str
    operator: str
    steps: int
    evaluations: int
    seconds: float
    share: float
    loss: float


@dataclass(eq=False)
class _Timed:
    """An objective that adds up the CPU seconds of its evaluations."""

    objective: Objective
    seconds: float = 0.0

    def __call__(self, vector: Tensor) -> _TimedEvaluation:
        return _TimedEvaluation(self, self.clocked(lambda: self.objective(vector)))

    def clocked(self, call: Callable[[], Any]) -> Any:
        begun = time.process_time()
        try:
            return call()
        finally:
            self.seconds += time.process_time() - begun


@dataclass(frozen=True, eq=False)
class _TimedEvaluation:
    timed: _Timed
    evaluation: Any

    @property
    def value(self) -> Tensor:
        return self.timed.clocked(lambda: self.evaluation.value)

    @property
    def gradient(self) -> Tensor:
        return self.timed.clocked(lambda: self.evaluation.gradient)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.evaluation, name)


OPTIMIZERS: dict[str, Callable[[], Optimizer]] = {
    "Adam": lambda: Torch(torch.optim.Adam, lr=RATE),
    "L-BFGS": lambda: LBFGS(history=HISTORY),
}


def end_to_end(k: int, steps: int) -> list[EndToEnd]:
    """Train the published loss some steps by Adam and by L-BFGS under both operators, from the same weights.

    Args:
        k: number of the profile.
        steps: of each.

    Returns:
        Four records.
    """
    found = []
    for name, optimizer in OPTIMIZERS.items():
        for label, operator in OPERATORS.items():
            objective = published_objective(k, operator())
            found.append(_descended(objective, optimizer(), steps, k, name, label))
    return found


def _descended(objective: Objective, optimizer: Optimizer, steps: int, k: int, name: str, label: str) -> EndToEnd:
    # Compiled before the clock starts; the optimizer then begins at the weights that the others begin at.
    _ = objective(objective.vector.clone()).gradient
    before, timed = objective.evaluations, _Timed(objective)
    gc.collect()
    begun, made = time.process_time(), 0
    state, stopped = optimizer.init(objective.vector), None
    while made < steps and stopped is None:
        objective.begin_step()
        state, info = optimizer.step(timed, state)
        made, stopped = made + 1, info.stopped
    spent = time.process_time() - begun
    evaluations = objective.evaluations - before
    loss = float(objective(objective.vector).value.detach())
    return EndToEnd(k, name, label, made, evaluations, spent, max(1 - timed.seconds / spent, 0.0), loss)
