"""The losses that optimizers are measured on: one that costs nothing, and that of a small network."""

from __future__ import annotations

import torch
from torch import Tensor

from analyses.benchmarks.clocked import Loss
from solvers.networks import MLP
from solvers.objective import Objective
from solvers.operators import AutoDiff
from solvers.problems import poisson_1d


def chained_rosenbrock(vector: Tensor) -> tuple[float, Tensor]:
    """Return a cheap loss that takes many iterations, sum of 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2, and its gradient.

    Args:
        vector: (parameters,).

    Returns:
        Value and gradient.

    Example:
        >>> chained_rosenbrock(torch.tensor([0.0, 1.0], dtype=torch.float64))
        (101.0, tensor([ -2., 200.], dtype=torch.float64))
    """
    head, bend, away = vector[:-1], vector[1:] - vector[:-1] ** 2, 1 - vector[:-1]
    gradient = torch.zeros_like(vector)
    gradient[:-1] = -400 * head * bend - 2 * away
    gradient[1:] += 200 * bend
    return float(100 * bend @ bend + away @ away), gradient


def poisson_network(seed: int) -> tuple[Loss, Tensor]:
    """Return the loss of a 2x20 network on the Poisson equation on an interval, and its start.

    Args:
        seed: of the network and its 64 points.

    Returns:
        Loss, and the vector of 481 parameters.

    Example:
        >>> loss, vector = poisson_network(0)
        >>> len(vector), loss(vector)[0] > 0
        (481, True)
    """
    torch.manual_seed(seed)
    problem = poisson_1d()
    points = problem.sample(interior=64, boundary=2, seed=seed)
    objective = Objective(problem, MLP(1, [20, 20]).double(), AutoDiff(), points)

    def loss(vector: Tensor) -> tuple[float, Tensor]:
        evaluation = objective(vector)
        return float(evaluation.value.detach()), evaluation.gradient

    return loss, objective.vector
