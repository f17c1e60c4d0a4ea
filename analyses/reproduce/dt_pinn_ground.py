"""Nodes, test points and discretisation floors of one study, shared by all its arms and seeds."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from analyses.reproduce.dt_pinn_settings import TIMES, Study
from solvers.discrete_solution import solve_on_nodes
from solvers.geometry import Disk, Nodes, scatter
from solvers.operators import RBFFD
from solvers.points import EQUATION, Points
from solvers.problems import Problem


@dataclass(frozen=True)
class Floor:
    """The discretised equation solved directly.

    Args:
        study: its name.
        count: of nodes asked for, in space.
        order: of RBF-FD.
        rel_l2: its error.
        seconds: that finding it took, stencils included.
        noise: of the Laplacian in float32 per unit of u, as predicted.
    """

    study: str
    count: int
    order: int
    rel_l2: float
    seconds: float
    noise: float


@dataclass(eq=False)
class Ground:
    """The nodes of one study and size, shared by all its arms and seeds.

    Args:
        study: problem and budget.
        count: of nodes in space.
        device: "cpu" or "cuda".
    """

    study: Study
    count: int
    device: str = "cpu"

    @cached_property
    def problem(self) -> Problem:
        """The study's problem."""
        return self.study.problem()

    @cached_property
    def _nodes(self) -> Nodes:
        return scatter(Disk(), count=self.count)

    def points(self, ghosts: bool) -> Points:
        """Return the collocation points.

        Args:
            ghosts: with ghost nodes, and the equation at the boundary too (DT); without, and the equation inside only.

        Returns:
            Points.
        """
        return self._nodes.points(times=TIMES if self.study.timed else None, ghosts=ghosts)

    @cached_property
    def test(self) -> tuple[Tensor, Tensor]:
        """Where errors are measured, and the solution there."""
        if self.study.test is None:
            points = self.points(ghosts=False)
            rows = torch.cat([points.interior, points.boundary])
        else:
            rows = torch.from_numpy(scatter(Disk(), count=self.study.test, seed=1).inside)
        return rows.to(self.device), self.problem.solution(rows).to(self.device)

    def error(self, network: nn.Module, dtype: torch.dtype) -> float:
        """Return the relative L2 error of a network.

        Args:
            network: trained so far.
            dtype: of its weights.

        Returns:
            A number, in float64 whatever the network's precision.
        """
        rows, exact = self.test
        with torch.no_grad():
            error = network(rows.to(dtype)).double() - exact
            return float(torch.linalg.vector_norm(error) / torch.linalg.vector_norm(exact))

    def floor(self, order: int) -> Floor:
        """Return what the best network on this discretisation can be expected to reach.

        Args:
            order: of RBF-FD.

        Returns:
            Error of the direct solve.
        """
        start = time.process_time()
        points = self.points(ghosts=True)
        solved = solve_on_nodes(self.problem, points, RBFFD(order=order))
        seconds = time.process_time() - start
        with warnings.catch_warnings():
            # The number that the warning states is what is wanted.
            warnings.simplefilter("ignore", RuntimeWarning)
            plan = RBFFD(order=order).plan(points.only(EQUATION).to(dtype=torch.float32), ["laplacian"])
        noise = max(plan.roundoff.values())
        return Floor(self.study.name, self.count, order, solved.rel_l2, seconds, noise)
