"""Recorded trainings of a self-similar profile: what became of lambda and U, at which price."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from solvers import train
from solvers.cadence import Every
from solvers.objective import Objective
from solvers.operators import TangentProp
from solvers.optimizers import Optimizer
from solvers.points import Points
from solvers.probes.parameters import parameters
from solvers.probes.probe import Probe
from solvers.problems import Problem
from solvers.problems.self_similar_profile import SelfSimilarProfile
from solvers.problems.selfsimilar_burgers import EDGE, LAMBDA

SNAPSHOT = 50
"""Steps from one set of recorded parameters to the next."""
TEST = np.linspace(-EDGE, EDGE, 2001)
"""Where U is compared with the exact profile."""
FOUND, END = 1e-4, 0.02
"""|lambda error| below which a profile is found; share of the interval within which lambda is at an end."""


@dataclass(frozen=True)
class Trained:
    """One training.

    Args:
        label: what was trained.
        k: number of the profile.
        seed: of the weights.
        lam: what lambda came to.
        u_error: max |U - exact|.
        loss: the last one.
        steps: of the optimizer.
        evaluations: of loss and gradient.
        seconds: of CPU, recording left out.
        reason: why it ended before its steps, or "".
        path: name of the trajectory, or "".
    """

    label: str
    k: int
    seed: int
    lam: float
    u_error: float
    loss: float
    steps: int
    evaluations: int
    seconds: float
    reason: str = ""
    path: str = ""

    @property
    def lam_error(self) -> float:
        """|lambda - 1/(2k + 2)|."""
        return abs(self.lam - exact_lambda(self.k))

    @property
    def ending(self) -> str:
        """Where lambda ended: "found" within 1e-4, "upper end" or "lower end" within 2 % of it, or "between"."""
        low, high = interval(self.k)
        if self.lam_error < FOUND:
            return "found"
        near = END * (high - low)
        return "upper end" if high - self.lam < near else "lower end" if self.lam - low < near else "between"

    def plain(self) -> dict[str, object]:
        """Return the record as JSON can hold it.

        Returns:
            Field -> value, with `lam_error` and `ending`.
        """
        return asdict(self) | {"lam_error": self.lam_error, "ending": self.ending}


def exact_lambda(k: int) -> float:
    """Return the exponent of the k-th smooth profile.

    Args:
        k: its number.

    Returns:
        1/(2k + 2).

    Example:
        >>> exact_lambda(1)
        0.25
    """
    return 1 / (2 * k + 2)


def interval(k: int) -> tuple[float, float]:
    """Return where lambda is searched.

    Args:
        k: number of the profile.

    Returns:
        1/(2k + 3) and 1/(2k + 1).

    Example:
        >>> interval(2)
        (0.14285714285714285, 0.2)
    """
    return 1 / (2 * k + 3), 1 / (2 * k + 1)


def trained(
    label: str,
    problem: Problem,
    network: nn.Module,
    optimizer: Optimizer,
    steps: int,
    *,
    seed: int,
    points: Points | None = None,
    path: Path | None = None,
    probes: Callable[[Objective], Sequence[Probe]] | None = None,
) -> Trained:
    """Train a profile and judge it; with a path, lambda is recorded at every step and parameters at every 50th.

    Args:
        label: what it is.
        problem: a self-similar profile.
        network: float64.
        optimizer: any.
        steps: of it.
        seed: for the record; the network has its weights already.
        points: of the problem; drawn by it where None.
        path: of the trajectory, replaced where it is; None records nothing.
        probes: objective -> what to record; the parameters alone where None.

    Returns:
        The record.
    """
    seen: list[Objective] = []

    def choose(objective: Objective) -> Sequence[Probe]:
        seen.append(objective)
        if path is None:
            return ()
        return (parameters(Every(SNAPSHOT)),) if probes is None else probes(objective)

    begun = time.process_time()
    run = train(
        problem,
        network,
        TangentProp(),
        optimizer,
        points=points,
        steps=steps,
        probes=choose,
        record=path,
        overwrite=True,
        seed=seed,
        progress=False,
    )
    # Recording is measured in wall seconds: its share is the same.
    spent = (time.process_time() - begun) * (1 - min(run.recording_seconds / max(run.seconds, 1e-9), 1.0))
    k = int(problem.settings["k"])
    return Trained(
        label,
        k,
        seed,
        run.coefficients[LAMBDA],
        profile_error(run.network, k),
        run.loss,
        run.step,
        seen[0].evaluations,
        spent,
        run.reason,
        path.name if path is not None else "",
    )


def profile_error(network: nn.Module, k: int) -> float:
    """Return the largest deviation from the exact profile.

    Args:
        network: maps (n, 1) to (n, 1), float64.
        k: number of the profile.

    Returns:
        max |U - exact| over 2001 points of [-2, 2].
    """
    with torch.no_grad():
        u = network(torch.from_numpy(TEST)[:, None])[:, 0].numpy()
    return float(np.abs(u - SelfSimilarProfile.smooth(k)(TEST)).max())
