"""Errors of a network against its problem's solution."""

from __future__ import annotations

import torch
from torch import Tensor

from solvers.problems.problem import Problem


class Score:
    """Relative L2 and largest error on the problem's uniform test grid, which no training point needs to meet.

    rel_l2 = ||u - u*|| / ||u*|| over the grid, u* the problem's solution in float64. The grid and u* are computed once.

    Args:
        problem: must have a solution.
        like: a tensor of the network's dtype and device.

    Raises:
        ValueError: the problem has no solution to compare with, or one of another shape.
    """

    def __init__(self, problem: Problem, like: Tensor):
        if problem.solution is None:
            raise ValueError(f"{problem.name} has no solution to score against")
        grid = problem.domain.grid(problem.test_shape)
        self._solution = problem.solution(grid).to(like.device)
        if self._solution.shape != (len(grid), problem.components):
            raise ValueError(
                f"{problem.name}: expected a solution of shape ({len(grid)}, {problem.components}), "
                f"came {tuple(self._solution.shape)}: keep columns, as in x[:, 0:1]"
            )
        self._grid = grid.to(device=like.device, dtype=like.dtype)

    @torch.no_grad()
    def __call__(self, network) -> tuple[float, float]:
        """Return the errors of a network.

        Args:
            network: maps (n, axes) to (n, components).

        Returns:
            Relative L2 error and largest absolute error.
        """
        error = network(self._grid).double() - self._solution
        relative = torch.linalg.vector_norm(error) / torch.linalg.vector_norm(self._solution)
        return float(relative), float(error.abs().max())
