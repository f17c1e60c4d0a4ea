"""The error of a network trained on linear Poisson on the disk, on nodes that it was not trained on."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from solvers.geometry import Disk, scatter
from solvers.networks import MLP
from solvers.operators import TangentProp
from solvers.optimizers.optimizer import FlatParameters
from solvers.points import Points
from solvers.problems import disk_poisson

WIDTHS = [50] * 4
"""Of the tanh network."""
TEST_NODES = 21_748
"""As many as the paper's test set has."""


@cache
def judging_nodes() -> tuple[Points, Tensor]:
    """Return where errors are measured, and u there.

    Returns:
        Points, and (n, 1).
    """
    nodes = scatter(Disk(), count=TEST_NODES, seed=1)
    points = Points(nodes.inside, axes=("x", "y"))
    return points, disk_poisson().solution(points.interior)


class Judge:
    """Relative l2 errors of a network at the test nodes, in float64 whatever the network's precision is."""

    def __init__(self):
        points, self.exact = judging_nodes()
        self.network = MLP(2, WIDTHS).double()
        self.flat = FlatParameters(self.network)
        self.plan = TangentProp().plan(points, [""])

    @torch.no_grad()
    def __call__(self, vector: Tensor) -> float:
        """Return the error at a vector of parameters.

        Args:
            vector: (parameters,), float32 or float64.

        Returns:
            |u - u_exact| / |u_exact|.
        """
        self.flat.vector.copy_(vector)
        error = self.plan(self.network)[""] - self.exact
        return float(torch.linalg.vector_norm(error) / torch.linalg.vector_norm(self.exact))
