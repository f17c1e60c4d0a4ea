"""What is measured for the claims on n-TangentProp: methods, networks, orders and budgets, quick and in full."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from solvers.operators import AutoDiff, TangentProp
from solvers.operators.operator import Operator

NESTED, FUSED, PARTITIONS = "nested autodiff", "TangentProp", "TangentProp, paper's sums"
METHODS: dict[str, Operator] = {NESTED: AutoDiff(), FUSED: TangentProp(), PARTITIONS: TangentProp(rule="partitions")}
"""Nested automatic differentiation, our recurrences in compiled code, and Algorithm 1 of the paper."""

Shape = tuple[int, int]
"""Hidden layers and their width."""
STANDARD: Shape = (3, 24)
BATCH = 256


@dataclass(frozen=True)
class Runtimes:
    """What is timed for figures 1 to 5; the grid of the authors' code has depths 3, 5, 7 and orders 1, 3, 6, 8.

    Args:
        orders: highest derivatives for the standard network, ascending.
        depths: hidden layers of the grid's networks.
        widths: of their layers.
        batches: numbers of points of the grid.
        grid_orders: highest derivatives of the grid, ascending.
        rounds: trials of a setting; the paper has 100. Slow settings get three.
        patience: CPU seconds of a trial above which nothing is timed.
        grid_patience: likewise in the grid.
    """

    orders: tuple[int, ...] = tuple(range(10))
    depths: tuple[int, ...] = (3, 7)
    widths: tuple[int, ...] = (24, 64, 128)
    batches: tuple[int, ...] = (32, 256, 1024)
    grid_orders: tuple[int, ...] = (1, 3, 6)
    rounds: int = 7
    patience: float = 3.0
    grid_patience: float = 0.3

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Networks of the grid."""
        return tuple((depth, width) for depth in self.depths for width in self.widths)


QUICK_RUNTIMES = Runtimes()
FULL_RUNTIMES = Runtimes(
    depths=(3, 5, 7),
    widths=(24, 32, 48, 64, 76, 88, 104, 128),
    batches=(32, 64, 256, 1024, 4096),
    grid_orders=(1, 3, 6, 8),
    rounds=25,
    patience=20.0,
    grid_patience=10.0,
)


@dataclass(frozen=True)
class Size:
    """A whole reproduction.

    Args:
        runtimes: of figures 1 to 5.
        profiles: values of k that are solved by the default loss.
        published: values of k that the published protocol is run for.
        seeds: of both.
        protocol: steps of Adam and of L-BFGS; 15,000 and 30,000 in the paper.
        rate: of Adam.
        replays: k -> evaluations by nested differentiation.
        ends: k -> steps of each optimizer under both operators.
        ablated: values of k of the ablation.
        ablation_seeds: of its weights.
        ablation_steps: of SSBroyden.
        spectra: steps of the three trainings whose spectra are taken, by case.
    """

    runtimes: Runtimes
    profiles: tuple[int, ...] = (0, 1, 2, 3)
    published: tuple[int, ...] = (0, 1, 2, 3)
    seeds: int = 3
    protocol: tuple[int, int] = (500, 1000)
    rate: float = 1.5e-4
    replays: Mapping[int, int] = field(default_factory=lambda: {0: 20, 1: 20, 2: 20})
    ends: Mapping[int, int] = field(default_factory=lambda: {0: 200, 1: 60, 2: 8})
    ablated: tuple[int, ...] = (1, 2, 3)
    ablation_seeds: int = 1
    ablation_steps: int = 400
    spectra: tuple[int, int, int] = (1000, 500, 200)

    def parts(self, seeds: int) -> int:
        """Return how many parts the work has, for the progress bar.

        Args:
            seeds: of the profiles.

        Returns:
            A number.
        """
        trained = len(self.profiles) * (seeds + 1) + len(self.published) * seeds
        ablated = FORMULATIONS * len(self.ablated) * self.ablation_seeds
        return 1 + self.runtimes.rounds + trained + len(self.replays) + len(self.ends) + ablated + 2


FORMULATIONS = 10
"""Rows of the ablation."""

QUICK = Size(QUICK_RUNTIMES)
FULL = Size(
    FULL_RUNTIMES,
    profiles=tuple(range(7)),
    seeds=10,
    protocol=(15_000, 30_000),
    replays={0: 200, 1: 200, 2: 20},
    ends={0: 2000, 1: 500, 2: 20},
    ablation_seeds=5,
    ablation_steps=1500,
    spectra=(3000, 1500, 1000),
)


def named(shape: Shape) -> str:
    """Return a network's name.

    Args:
        shape: hidden layers and their width.

    Returns:
        Text.

    Example:
        >>> named((3, 24))
        '3x24'
    """
    return f"{shape[0]}x{shape[1]}"
