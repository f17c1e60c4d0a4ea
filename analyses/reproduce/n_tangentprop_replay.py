"""The parameters of a recorded run read back: both operators evaluate loss and gradient there, and are timed."""

from __future__ import annotations

import gc
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from analyses.reproduce.n_tangentprop_history import snapshots
from analyses.reproduce.n_tangentprop_published import published_network, published_points, published_problem
from analyses.reproduce.n_tangentprop_settings import FUSED, NESTED
from solvers.objective import Objective
from solvers.operators import AutoDiff, TangentProp
from solvers.operators.operator import Operator

OPERATORS = {NESTED: AutoDiff, FUSED: TangentProp}
PLAIN = f"{FUSED}, residual in torch"
"""Compiled are only the network's derivatives, as if the residual were any Python code."""
REPEATS = 5
"""Evaluations of the faster operator at one snapshot; their mean counts."""


@dataclass(frozen=True)
class Replay:
    """What the evaluations of one recorded run cost under both operators.

    Args:
        k: number of the profile.
        steps: whose parameters were read back.
        nested: CPU seconds of loss and gradient by nested differentiation, one a step.
        fused: likewise by `TangentProp`, the residual's own arithmetic compiled too.
        plain_residual: likewise, the residual in torch.
        losses: there, by `TangentProp`; the file's own, where these are the run's parameters.
        loss_differences: relative deviation of the losses, one a step.
        gradient_differences: largest deviation of the gradients over their largest entry, one a step.
        rounding: the same deviation over the largest entry of 2 |J|^T |r|, whose terms the gradient is a sum of: what
            is lost where they cancel, near a minimum, is not in it.
    """

    k: int
    steps: list[int]
    nested: list[float]
    fused: list[float]
    plain_residual: list[float]
    losses: list[float]
    loss_differences: list[float]
    gradient_differences: list[float]
    rounding: list[float]

    @property
    def ratios(self) -> list[float]:
        """Time of nested differentiation over `TangentProp`, one a step."""
        return [a / b for a, b in zip(self.nested, self.fused, strict=True)]

    @property
    def ratio(self) -> float:
        """Ratio of the summed times."""
        return sum(self.nested) / sum(self.fused)

    @property
    def plain_ratio(self) -> float:
        """Ratio of the summed times where the residual is left to torch."""
        return sum(self.nested) / sum(self.plain_residual)

    def plain(self) -> dict[str, object]:
        """Return the record as JSON can hold it.

        Returns:
            Field -> value, with the ratios.
        """
        return asdict(self) | {"ratio": self.ratio, "plain_ratio": self.plain_ratio}


def replay(path: Path, k: int, most: int) -> Replay:
    """Evaluate the published loss and its gradient at recorded parameters by both operators, in turns.

    Args:
        path: trajectory of a training under `published_problem(k)`.
        k: number of the profile.
        most: evaluations by nested differentiation; evenly spread over the recorded ones.

    Returns:
        Times and deviations.
    """
    steps, vectors = snapshots(path)
    chosen = np.unique(np.linspace(0, len(steps) - 1, min(most, len(steps))).round().astype(int))
    objectives = {name: published_objective(k, operator()) for name, operator in OPERATORS.items()}
    objectives[PLAIN] = published_objective(k, TangentProp(), compiled=False)
    for objective in objectives.values():
        # Compiled, and in memory.
        _ = objective(objective.vector).gradient
    times: dict[str, list[float]] = {name: [] for name in objectives}
    differences, losses = [], []
    for index in chosen:
        vector, found = torch.from_numpy(vectors[index]), {}
        for name in objectives if index % 2 else reversed(objectives):
            seconds, loss, gradient = _evaluated(objectives[name], vector, 1 if name == NESTED else REPEATS)
            times[name].append(seconds)
            found[name] = (loss, gradient)
        losses.append(found[FUSED][0])
        size = _size(objectives[FUSED], vector)
        differences.append(_differences(*(found[name] for name in OPERATORS), size))
    columns = [list(column) for column in zip(*differences, strict=True)]
    return Replay(k, [int(steps[i]) for i in chosen], *times.values(), losses, *columns)


def published_objective(k: int, operator: Operator, compiled: bool = True) -> Objective:
    """Return the published loss of the published network.

    Args:
        k: number of the profile.
        operator: takes the derivatives.
        compiled: whether the residual's own arithmetic is, where the operator allows it.

    Returns:
        The objective, at the weights of seed 0.
    """
    problem = published_problem(k)
    return Objective(problem, published_network(0), operator, published_points(problem), compiled=compiled)


def _evaluated(objective: Objective, vector: Tensor, repeats: int) -> tuple[float, float, Tensor]:
    gc.disable()
    try:
        begun = time.process_time()
        for _ in range(repeats):
            evaluation = objective(vector)
            gradient = evaluation.gradient
        seconds = (time.process_time() - begun) / repeats
    finally:
        gc.enable()
    return seconds, float(evaluation.value.detach()), gradient


def _size(objective: Objective, vector: Tensor) -> float:
    """Return the largest entry of 2 |J|^T |r|."""
    evaluation = objective(vector)
    return 2 * float((evaluation.jacobian.abs().T @ evaluation.scaled_residual.abs()).max())


def _differences(one: tuple[float, Tensor], other: tuple[float, Tensor], size: float) -> tuple[float, float, float]:
    (loss, gradient), (expected, exact) = one, other
    largest = float((gradient - exact).abs().max())
    return abs(loss - expected) / abs(expected), largest / float(exact.abs().max()), largest / size
