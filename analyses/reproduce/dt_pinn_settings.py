"""What is trained for the claims on discretely-trained PINNs: arms, sizes and budgets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from solvers.operators import RBFFD, AutoDiff, TangentProp
from solvers.operators.operator import Operator
from solvers.problems import Problem, disk_heat, disk_nonlinear_poisson, disk_poisson

AUTODIFF, TAYLOR, DISCRETE = "vanilla", "Taylor", "DT"
PAPER_COUNTS = (582, 828, 1663, 2236, 3196, 4977, 6114, 8767, 19638)
TIMES = np.linspace(0.0, 1.0, 25)
WIDTHS = (50,) * 4


@dataclass(frozen=True)
class Arm:
    """One way to take the derivatives of the loss.

    Args:
        method: "vanilla" (nested automatic differentiation, the paper's), "Taylor" (exact too, ours) or "DT" (RBF-FD).
        precision: 32 or 64 bits.
        order: of RBF-FD, None for the others.

    Example:
        >>> Arm(DISCRETE, 64, 5).label, Arm(AUTODIFF, 32).label
        ('DT p = 5, fp64', 'vanilla, fp32')
    """

    method: str
    precision: int
    order: int | None = None

    @property
    def label(self) -> str:
        """Name in tables and figures."""
        order = "" if self.order is None else f" p = {self.order}"
        return f"{self.method}{order}, fp{self.precision}"

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and points."""
        return {32: torch.float32, 64: torch.float64}[self.precision]

    @property
    def operator(self) -> Operator:
        """That takes the derivatives."""
        if self.method == DISCRETE:
            return RBFFD(order=self.order)
        return AutoDiff() if self.method == AUTODIFF else TangentProp()


VANILLA, VANILLA_64, TAYLOR_64 = Arm(AUTODIFF, 32), Arm(AUTODIFF, 64), Arm(TAYLOR, 64)


def discrete(*orders: int, precision: int = 64) -> tuple[Arm, ...]:
    """Return DT arms.

    Args:
        orders: of RBF-FD.
        precision: 32 or 64 bits.

    Returns:
        One an order.
    """
    return tuple(Arm(DISCRETE, precision, order) for order in orders)


@dataclass(frozen=True)
class Study:
    """A problem with the arms that are trained on it, all of them for the same CPU seconds.

    Args:
        name: "linear", "nonlinear" or "heat".
        problem: makes the problem.
        counts: numbers of nodes in space.
        arms: that are trained, from the same starts.
        seconds: of each run, at `per` nodes or fewer; more nodes get proportionally more.
        per: number of nodes.
        test: number of other nodes that the error is measured on; None for the collocation points themselves.
        timed: whether the nodes are repeated at 25 times.
    """

    name: str
    problem: Callable[[], Problem]
    counts: tuple[int, ...]
    arms: tuple[Arm, ...]
    seconds: float
    per: int = 1663
    test: int | None = 4977
    timed: bool = False

    def budget(self, count: int) -> float:
        """Return the seconds of one run.

        Args:
            count: of nodes.

        Returns:
            CPU seconds; wall seconds on a CUDA device.
        """
        return self.seconds * max(1.0, count / self.per)


@dataclass(frozen=True)
class Size:
    """A whole reproduction.

    Args:
        depths: of the networks whose Laplacian is taken.
        nodes: number of nodes that it is taken at.
        seeds: of weights.
        studies: trainings.
    """

    depths: tuple[int, ...]
    nodes: int
    seeds: int
    studies: tuple[Study, ...]


_BASELINES = (VANILLA, VANILLA_64, TAYLOR_64)

QUICK = Size(
    tuple(range(2, 9)),
    4977,
    3,
    (
        Study("linear", disk_poisson, (582, 1663), (*discrete(2, 3, 5), *discrete(5, precision=32), *_BASELINES), 6.0),
        Study("nonlinear", disk_nonlinear_poisson, (582,), (*discrete(3, 5), VANILLA, TAYLOR_64), 6.0),
        Study("heat", disk_heat, (200,), (*discrete(2, 3, 5), VANILLA, TAYLOR_64), 12.0, test=None, timed=True),
    ),
)
"""Minutes on one core."""

_ALL = (*discrete(2, 3, 4, 5), *discrete(2, 3, 4, 5, precision=32), *_BASELINES)

FULL = Size(
    tuple(range(2, 9)),
    19638,
    3,
    (
        Study("linear", disk_poisson, PAPER_COUNTS, _ALL, 60.0, test=21748),
        Study(
            "nonlinear",
            disk_nonlinear_poisson,
            PAPER_COUNTS,
            (*discrete(3, 4, 5), VANILLA, TAYLOR_64),
            60.0,
            test=21748,
        ),
        Study("heat", disk_heat, (828,), (*discrete(2, 3, 4, 5), VANILLA, TAYLOR_64), 600.0, test=None, timed=True),
    ),
)
"""The paper's sizes: about 30 hours on one core."""
