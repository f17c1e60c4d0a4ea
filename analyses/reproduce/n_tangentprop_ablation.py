"""What the loss of a self-similar profile must hold: one part of the formulation taken away at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from analyses.reproduce.n_tangentprop_training import Trained, trained
from analyses.terminal import table
from solvers.networks import MLP, Odd
from solvers.optimizers import SSBroyden
from solvers.problems import Problem
from solvers.problems.selfsimilar_burgers import selfsimilar_burgers


@dataclass(frozen=True)
class Formulation:
    """One way to write the loss.

    Args:
        orders: what is asked for at the origin, in words.
        lam: what becomes of lambda, "trained", "bounded" or "eliminated".
        highest: orders above m = 2k + 3 that are asked for too; None for no order at all.
        alone: only the highest one.
        normalised: divided by factorials.
        fixed: an order that is asked for in place of all these, whatever k; None for none.
    """

    orders: str
    lam: str
    highest: int | None = 2
    alone: bool = False
    normalised: bool = True
    fixed: int | None = None

    @property
    def label(self) -> str:
        """Name in tables."""
        return f"{self.orders}, lambda {self.lam}"

    def problem(self, k: int) -> Problem:
        """Return the problem.

        Args:
            k: number of the profile.

        Returns:
            The profile under this loss.
        """
        if self.highest is None:
            problem = selfsimilar_burgers(k, self.lam)
            return replace(problem, conditions=tuple(c for c in problem.conditions if c.name != "smoothness"), sets={})
        last = 2 * k + 3 + self.highest
        orders = (self.fixed,) if self.fixed else (last,) if self.alone else range(1, last + 1)
        return selfsimilar_burgers(k, self.lam, orders=orders, normalised=self.normalised)


FORMULATIONS = (
    Formulation("no order", "eliminated", None),
    Formulation("m alone, as published", "bounded", 0, alone=True, normalised=False),
    Formulation("3 alone, as in the author's code", "bounded", normalised=False, fixed=3),
    Formulation("m alone / m!", "bounded", 0, alone=True),
    Formulation("m alone / m!", "eliminated", 0, alone=True),
    Formulation("1 .. m", "bounded", 0),
    Formulation("1 .. m", "eliminated", 0),
    Formulation("1 .. m + 2", "bounded"),
    Formulation("1 .. m + 2", "trained"),
    Formulation("1 .. m + 2", "eliminated"),
)
"""From nothing to the default; orders of R^(j), divided by j! but in the second and third row."""

TRAPS = (
    "With u_1 = -1 and the lower coefficients 0, R_j = (lambda (j - 1) - 1) u_j: inside the interval every factor "
    "below order m = 2k + 3 is not 0, so that R_m = 0 leaves lambda = 1/(m - 1), with slope m - 1 and u_m = 1: "
    "perfectly conditioned in units of m!, while the mean of R^2 sees lambda only through X^m.",
    "At the two ends, lambda = 1/(2k + 1) and 1/(2k + 3), X = -U - sign(U) |U|^p with even p = 2k + 2 and 2k + 4 "
    "solves the equation on either side of 0, odd, with a kink at 0 that begins in the p-th derivative. The kink at "
    "the upper end is seen by orders up to m, that at the lower end, whose (2k + 3)-th derivative is continuous, only "
    "by those above; a lambda bounded by a tanh that comes near an end has no gradient to leave it.",
)
"""The two traps, in words; `tests` check the algebra."""


def ablation(
    ks: Sequence[int],
    seeds: Sequence[int],
    steps: int,
    widths: Sequence[int] = (20, 20),
    progress: Callable[[str], None] | None = None,
) -> list[Trained]:
    """Train every formulation from the same weights by SSBroyden.

    Args:
        ks: numbers of the profiles.
        seeds: of the weights.
        steps: of each.
        widths: of the network.
        progress: called with a line before each training.

    Returns:
        One record a formulation, profile and seed.
    """
    found = []
    for seed in seeds:
        for k in ks:
            for formulation in FORMULATIONS:
                if progress is not None:
                    progress(f"ablation: {formulation.label}, k = {k}, seed {seed}")
                network = odd_network(seed, widths)
                optimizer = SSBroyden()
                found.append(trained(formulation.label, formulation.problem(k), network, optimizer, steps, seed=seed))
    return found


def odd_network(seed: int, widths: Sequence[int] = (20, 20)) -> Odd:
    """Return f(x) - f(-x) of a tanh network in float64.

    Args:
        seed: of its weights.
        widths: of its hidden layers.

    Returns:
        The network.
    """
    torch.manual_seed(seed)
    return Odd(MLP(1, list(widths))).double()


def ablation_rows(runs: Sequence[Trained]) -> list[tuple[str, ...]]:
    """Return the table: each formulation, how often it found lambda, and where it ended per profile.

    Args:
        runs: from `ablation`.

    Returns:
        Rows of text.
    """
    ks, rows = sorted({run.k for run in runs}), []
    for label in dict.fromkeys(run.label for run in runs):
        own = [run for run in runs if run.label == label]
        cells = ["; ".join(_ended(run) for run in own if run.k == k) for k in ks]
        rows.append((label, f"{sum(run.ending == 'found' for run in own)}/{len(own)}", *cells))
    return rows


def _ended(run: Trained) -> str:
    return f"{run.ending}: {run.lam_error:.0e} (loss {run.loss:.0e})"


def show_ablation(runs: Sequence[Trained]) -> None:
    """Print the table of the ablation.

    Args:
        runs: from `ablation`.
    """
    ks = sorted({run.k for run in runs})
    header = ("orders at the origin, lambda", "found", *(f"k = {k}: |lambda error| (loss)" for k in ks))
    steps = max((run.steps for run in runs), default=0)
    title = f"Ablation of the loss, SSBroyden, up to {steps:,} steps; found: |lambda error| < 1e-4"
    table(title, header, ablation_rows(runs))
