"""A self-similar Burgers profile from start to end: restarts, a second stage, and a judgement without the exact one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from solvers.acceptance import Acceptance, no_profile
from solvers.operators import Operator, TangentProp
from solvers.problems import selfsimilar_burgers
from solvers.profile_search import Candidate, ProfileSearch


@dataclass(frozen=True, eq=False)
class Profile:
    """A self-similar profile, found or not.

    Args:
        network: U, of the last start.
        coefficient: lambda.
        acceptance: whether this is a solution, the bar of lambda, and why not.
        loss: at the end.
        first: lambda of the first stage; its distance to `coefficient` is the first stage's error.
        evaluations: of the loss, all stages and starts.
        seconds: CPU time, likewise.
        rejected: what was wrong with each start before the last.
        paths: trajectories, one for each training.
        judged: every candidate in order, of which this is the last.
    """

    network: nn.Module
    coefficient: float
    acceptance: Acceptance
    loss: float
    first: float
    evaluations: int
    seconds: float
    rejected: tuple[tuple[str, ...], ...]
    paths: tuple[Path, ...]
    judged: tuple[Candidate, ...]

    @property
    def accepted(self) -> bool:
        """Whether it may be presented as a solution."""
        return self.acceptance.accepted

    @property
    def starts(self) -> int:
        """Networks that were begun with."""
        return len(self.rejected) + 1


def find_profile(
    k: int = 0,
    seed: int = 0,
    *,
    interval: tuple[float, float] | None = None,
    orders: Sequence[int] | None = None,
    widths: tuple[int, ...] = (20, 20),
    evaluations: int | None = None,
    starts: int = 10,
    second_stage: bool = True,
    operator: Operator | None = None,
    record: str | Path | None = None,
    overwrite: bool = False,
) -> Profile:
    """Find the k-th self-similar Burgers profile and its exponent, without looking at the exact one.

    An odd tanh network is trained by `SSBroyden` on `selfsimilar_burgers(k)`, lambda eliminated. A second stage adds
    `OddFeatures`, whose outer coefficients `GaussNewton` finds together with lambda: what the network missed, to
    round-off. The network finds the valley, the smoothness condition selects lambda, and the second stage is linear
    collocation. What `judge_profile` refuses is tried again: later, and then from the next start.

    Args:
        k: number of the profile.
        seed: of the networks, points and features of all starts.
        interval: of lambda; the k-th by default.
        orders: of the smoothness condition, as in `selfsimilar_burgers`.
        widths: of the network.
        evaluations: of one start's first stage; 1,100, or 7,000 without a second stage.
        starts: networks to try.
        second_stage: whether to correct the first network.
        operator: takes the first stage's derivatives; `TangentProp()` by default. The second stage has its own.
        record: folder for trajectories, or None.
        overwrite: replace files there.

    Returns:
        The first start that is accepted, else the last one, which then says why it is none; after the first where the
        interval has no smooth profile.

    Raises:
        ValueError: fewer than one start or evaluation, or what `selfsimilar_burgers` refuses.
        FileExistsError: a trajectory is there already and overwrite is False.

    Cost: for k <= 3 mostly 200 evaluations of about 1 ms and 10 to 15 singular value decompositions of 500 x 200.

    Example:
        >>> profile = find_profile(k=0, seed=0)
        >>> profile.accepted, abs(profile.coefficient - 0.5) < 1e-14
        (True, True)
    """
    if starts < 1:
        raise ValueError(f"expected at least one start, came {starts}: each is a network drawn anew")
    if evaluations is not None and evaluations < 1:
        raise ValueError(f"expected at least one evaluation, came {evaluations}: leave evaluations=None for the usual")
    problem = selfsimilar_burgers(k, interval=interval, orders=orders)
    folder = None if record is None else Path(record)
    search = ProfileSearch(problem, operator or TangentProp(), widths, evaluations, second_stage, folder, overwrite)
    begin, rejected = time.process_time(), []
    # One start is evidence enough where there is nothing to find.
    starts = 1 if no_profile(problem.settings["k"], *problem.settings["interval"]) else starts
    for start in range(starts):
        found = search.run(start, 1000 * seed + start)
        if found.acceptance.accepted or start == starts - 1:
            break
        rejected.append(found.acceptance.reasons)
    return Profile(
        found.network,
        found.coefficient,
        found.acceptance,
        found.loss,
        found.first,
        search.evaluations,
        time.process_time() - begin,
        tuple(rejected),
        tuple(search.paths),
        tuple(search.judged),
    )
