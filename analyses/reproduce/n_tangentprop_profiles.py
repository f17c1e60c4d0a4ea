"""Self-similar profiles: ours with restarts and a second stage, and the published loss and protocol, all recorded."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from analyses.reproduce.n_tangentprop_history import History, history, joined, snapshots
from analyses.reproduce.n_tangentprop_published import (
    published_network,
    published_optimizer,
    published_points,
    published_problem,
)
from analyses.reproduce.n_tangentprop_training import Trained, exact_lambda, interval, profile_error, trained
from solvers.operators import TangentProp
from solvers.optimizers.optimizer import FlatParameters
from solvers.points import Points
from solvers.problems.selfsimilar_burgers import EDGE
from solvers.profile import find_profile

OURS, PUBLISHED = "SSBroyden, then Gauss-Newton", "published loss, Adam + L-BFGS"


@dataclass(frozen=True)
class Found:
    """A profile that `find_profile` has found, and what is known of it afterwards.

    Args:
        k: number of the profile.
        seed: of the starts.
        accepted: whether it may be presented as a solution, judged without the exact one.
        bar: of lambda, judged likewise.
        lam_error: |lambda - 1/(2k + 2)|.
        first_error: likewise, after SSBroyden and before Gauss-Newton.
        u_error: max |U - exact|.
        evaluations: of loss and gradient, rejected starts included.
        seconds: of CPU, rejected starts included.
        starts: networks begun with.
    """

    k: int
    seed: int
    accepted: bool
    bar: float
    lam_error: float
    first_error: float
    u_error: float
    evaluations: int
    seconds: float
    starts: int

    def plain(self) -> dict[str, object]:
        """Return the record as JSON can hold it.

        Returns:
            Field -> value.
        """
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Drawn:
    """A recorded profile as figures show it.

    Args:
        label: what it is.
        k: number of the profile.
        network: at the end.
        lam_error: |lambda - 1/(2k + 2)| there.
        u_error: max |U - exact|.
        course: loss and lambda of every step, from the trajectory.
    """

    label: str
    k: int
    network: nn.Module
    lam_error: float
    u_error: float
    course: History

    def derivatives(self, x: np.ndarray, order: int) -> np.ndarray:
        """Return U and its derivatives.

        Args:
            x: points in [-2, 2].
            order: highest derivative.

        Returns:
            (order + 1, points).
        """
        letters = ["x" * j for j in range(order + 1)]
        plan = TangentProp().plan(Points(x[:, None], axes="x"), letters)
        with torch.no_grad():
            jet = plan(self.network)
            return np.stack([jet[name][:, 0].numpy() for name in letters])


def solve(k: int, seed: int) -> Found:
    """Find a profile from a seed, without recording.

    Args:
        k: number of the profile.
        seed: of the starts.

    Returns:
        What came.
    """
    profile = find_profile(k, seed)
    exact, u_error = exact_lambda(k), profile_error(profile.network, k)
    errors = abs(profile.coefficient - exact), abs(profile.first - exact)
    spent = (profile.evaluations, profile.seconds, profile.starts)
    return Found(k, seed, profile.accepted, profile.acceptance.bar, *errors, u_error, *spent)


def record_profile(k: int, seed: int, folder: Path) -> Drawn:
    """Find a profile again and record its trainings.

    Args:
        k: number of the profile.
        seed: of the starts.
        folder: of the trajectories, profile-k{k}/start-*.h5.

    Returns:
        The profile, its course read back from the accepted start's files.
    """
    profile = find_profile(k, seed, record=folder / f"profile-k{k}", overwrite=True)
    first = f"start-{profile.starts - 1}"
    own = [path for path in profile.paths if path.stem == first or path.stem.startswith(f"{first}-")]
    # The second stage may have been tried before; the last one counts.
    course = joined([history(path) for path in dict.fromkeys((own[0], own[-1]))])
    error = abs(profile.coefficient - exact_lambda(k))
    return Drawn(OURS, k, profile.network, error, profile_error(profile.network, k), course)


@dataclass(frozen=True)
class Protocol:
    """A training by the published protocol.

    Args:
        run: as it ended.
        start_error: |lambda error| of the middle of the interval, where lambda begins.
        adam_error: |lambda error| where Adam ended.
    """

    run: Trained
    start_error: float
    adam_error: float

    def plain(self) -> dict[str, object]:
        """Return the record as JSON can hold it.

        Returns:
            Field -> value.
        """
        return vars(self) | {"run": self.run.plain()}


def protocol(k: int, seed: int, steps: tuple[int, int], folder: Path, rate: float) -> Protocol:
    """Train the published network under the published loss, with correct derivatives, by Adam and then by L-BFGS.

    Args:
        k: number of the profile.
        seed: of the weights.
        steps: of Adam and of L-BFGS, 15,000 and 30,000 in the paper.
        folder: of the trajectory, published-k{k}-seed{seed}.h5.
        rate: of Adam, 1.5e-4 in the paper.

    Returns:
        The training.
    """
    problem, path = published_problem(k), folder / f"published-k{k}-seed{seed}.h5"
    run = trained(
        PUBLISHED,
        problem,
        published_network(seed),
        published_optimizer(steps[0], rate),
        sum(steps),
        seed=seed,
        points=published_points(problem),
        path=path,
    )
    course, exact = history(path), exact_lambda(k)
    after = course.lam[np.searchsorted(course.steps, min(steps[0], course.steps[-1]))]
    return Protocol(run, abs(sum(interval(k)) / 2 - exact), abs(float(after) - exact))


def drawn(found: Protocol, folder: Path) -> Drawn:
    """Read a training by the published protocol back from its file.

    Args:
        found: the training.
        folder: of the trajectory.

    Returns:
        The network at the end, and the course.
    """
    run, network = found.run, published_network(found.run.seed)
    flat = FlatParameters(network)
    # Behind the network's parameters stands that of lambda.
    flat.vector.copy_(torch.from_numpy(snapshots(folder / run.path)[1][-1][: len(flat.vector)]))
    return Drawn(PUBLISHED, run.k, network, run.lam_error, run.u_error, history(folder / run.path))


def grid(points: int = 401) -> np.ndarray:
    """Return where profiles are drawn.

    Args:
        points: number of them.

    Returns:
        Equidistant in [-2, 2].
    """
    return np.linspace(-EDGE, EDGE, points)
