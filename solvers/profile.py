"""A self-similar Burgers profile from start to end: restarts, a second stage, and a judgement without the exact one."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from dynamics.recorder import Recorder
from solvers.acceptance import END, LOSS, PROBE_LOSS, Acceptance, judge
from solvers.loop import Step
from solvers.networks import MLP, Corrected, Odd, RandomFeatures
from solvers.operators import Operator, TangentProp
from solvers.optimizers import GaussNewton, Optimizer, SSBroyden
from solvers.points import Points
from solvers.problems import Problem, selfsimilar_burgers
from solvers.problems.selfsimilar_burgers import EDGE, LAMBDA
from solvers.training import steps

MARKS = (200, 400, 700, 1100)
"""Evaluations of the first stage after which the second one is tried: for k <= 3 the first mark nearly always does, and
a start that fails at the last is in another solution's valley."""

PROBE = 1100
"""Without a second stage: evaluations after which a start is given up for its loss or for where lambda is."""

FEATURES, SCALE = 200, 10.0
"""Of the second stage. For k = 3, 16 draws each: 200 features of scale 6 to 20 all reach errors below 3e-13, 100 of
scale 6 or 8 below 1e-11, 50 none."""

CORRECTED_LOSS = 1e-16
"""Largest loss of a corrected profile: over 586 trials good ones ended at 1e-18 or below, others at 2e-7 or above."""


@dataclass(frozen=True)
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
    odd random features, whose outer coefficients `GaussNewton` finds: what the network missed, to round-off. The
    network finds the valley, the smoothness condition selects lambda, and the second stage is linear collocation. What
    `solvers.acceptance.judge` refuses is tried again: later, and then from the next start.

    Args:
        k: number of the profile.
        seed: of the networks and points of all starts.
        interval: of lambda; the k-th by default.
        widths: of the network.
        evaluations: of one start's first stage; `MARKS[-1]`, or 7,000 without a second stage.
        starts: networks to try.
        second_stage: whether to correct the first network.
        operator: takes the derivatives; `TangentProp()` by default.
        record: folder for trajectories, or None.
        overwrite: replace files there.

    Returns:
        The first start that is accepted, else the last one, which then says why it is none.

    Raises:
        ValueError: fewer than one start, or what `selfsimilar_burgers` refuses.
        FileExistsError: a trajectory is there already and overwrite is False.

    Cost: for k <= 3 mostly 200 evaluations of about 1 ms and 5 to 15 singular value decompositions of 600 x 200.

    Example:
        >>> profile = find_profile(k=0, seed=0)
        >>> profile.accepted, abs(profile.coefficient - 0.5) < 1e-11
        (True, True)
    """
    if starts < 1:
        raise ValueError(f"expected at least one start, came {starts}: each is a network drawn anew")
    problem = selfsimilar_burgers(k, interval=interval)
    search = _Search(k, problem, operator or TangentProp(), Path(record) if record else None, overwrite)
    begin, rejected = time.process_time(), []
    for start in range(starts):
        result = search.start(f"start-{start}", 1000 * seed + start, widths, evaluations, second_stage)
        if result.acceptance.accepted or start == starts - 1:
            break
        rejected.append(result.acceptance.reasons)
    return Profile(
        result.network,
        result.step.coefficients[LAMBDA],
        result.acceptance,
        result.step.loss,
        result.first,
        search.evaluations,
        time.process_time() - begin,
        tuple(rejected),
        tuple(search.paths),
    )


@dataclass(frozen=True, eq=False)
class _Result:
    """Where a start ended: the network, its last step, what is said of it, and the first stage's lambda."""

    network: nn.Module
    step: Step
    acceptance: Acceptance
    first: float


@dataclass(eq=False)
class _Search:
    """What the starts of a search share, and what they cost together."""

    k: int
    problem: Problem
    operator: Operator
    folder: Path | None
    overwrite: bool
    evaluations: int = 0
    paths: list[Path] = field(default_factory=list)

    def start(
        self, name: str, seed: int, widths: tuple[int, ...], evaluations: int | None, second_stage: bool
    ) -> _Result:
        """Train one network, and correct it at every mark until the result is accepted."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = Odd(MLP(1, list(widths))).double()
        points = self.problem.sample(seed=seed)
        most = evaluations or (MARKS[-1] if second_stage else 7000)
        marks, result = [mark for mark in (*MARKS, most) if mark <= most], None
        with self._training(name, network, points, SSBroyden(), most) as (loop, recorder):
            for step in loop:
                over = step.status != "running" or step.evaluations >= most
                if second_stage and (over or step.evaluations >= marks[0]):
                    marks = [mark for mark in marks if mark > step.evaluations]
                    result = self._corrected(f"{name}-{step.evaluations}", network, points, step)
                    over = over or result.acceptance.accepted
                if over or (not second_stage and step.evaluations >= PROBE and self._hopeless(step)):
                    break
            if recorder is not None and step.status == "running":
                recorder.end("complete", f"left after {step.evaluations} evaluations")
        self.evaluations += step.evaluations
        return result or self._result(network, step, step.coefficients[LAMBDA], LOSS)

    def _corrected(self, name: str, network: nn.Module, points: Points, step: Step) -> _Result:
        """Return a copy of the network after the second stage."""
        correction = Odd(RandomFeatures(1, FEATURES, scale=SCALE))
        corrected = Corrected(copy.deepcopy(network), correction)
        with self._training(f"{name}-corrected", corrected, points, GaussNewton(), 30) as (loop, _):
            *_, last = loop
        self.evaluations += last.evaluations
        return self._result(corrected, last, step.coefficients[LAMBDA], CORRECTED_LOSS)

    @contextmanager
    def _training(self, name: str, network: nn.Module, points: Points, optimizer: Optimizer, most: int) -> Iterator:
        recorder = None
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.paths.append(self.folder / f"{name}.h5")
            recorder = Recorder(self.paths[-1], overwrite=self.overwrite)
        try:
            loop = steps(self.problem, network, self.operator, optimizer, points=points, steps=most, record=recorder)
            yield loop, recorder
        finally:
            if recorder is not None:
                recorder.close()

    def _hopeless(self, step: Step) -> bool:
        """Return whether the first stage leads nowhere."""
        lam, (low, high) = step.coefficients[LAMBDA], self.problem.settings["interval"]
        return not step.loss <= PROBE_LOSS or min(lam - low, high - lam) < END * (high - low)

    def _result(self, network: nn.Module, step: Step, first: float, limit: float) -> _Result:
        """Judge a network by what it is at the origin."""
        order, lam = 2 * self.k + 3, step.coefficients[LAMBDA]
        x = torch.linspace(0.0, EDGE, 101, dtype=torch.float64)[:, None]
        plan = TangentProp().plan(Points(x[:1], axes="x"), self.problem.partials)
        with torch.no_grad():
            jet = plan.series(network, order=order)
            missed = self.problem.residual(jet, plan.variable(order), {LAMBDA: lam})
            largest = float(network(x).abs().max())
        at_zero, wrong = (part.coefficients[:, 0, 0].tolist() for part in (jet[""], missed))
        interval = self.problem.settings["interval"]
        return _Result(network, step, judge(self.k, lam, interval, step.loss, wrong, at_zero, largest, limit), first)
