"""The starts of a search for a self-similar profile: each a network, corrected at marks until one is accepted."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from dynamics.recorder import Recorder
from solvers.acceptance import CORRECTED_LOSS, END, LOSS, PROBE_LOSS, Acceptance, no_profile
from solvers.loop import Step
from solvers.networks import MLP, Corrected, Odd, RandomFeatures
from solvers.networks.odd_features import OddFeatures
from solvers.operators import Operator, TangentProp
from solvers.optimizers import Evaluations, GaussNewton, Optimizer, Schedule, SSBroyden
from solvers.points import Points
from solvers.problems import Problem, selfsimilar_burgers
from solvers.problems.selfsimilar_burgers import LAMBDA
from solvers.profile_judgement import judge_profile
from solvers.training import steps

MARKS = (200, 400, 700, 1100)
"""Evaluations of the first stage after which the second one is tried: for k <= 3 the first mark nearly always does, and
a start that fails at the last is in another solution's valley."""

PLAIN = 7000
"""Evaluations of a start without a second stage."""

PROBE = 1100
"""Without a second stage: evaluations after which a start is given up for its loss or for where lambda is."""

FEATURES, SCALE = 200, 10.0
"""Of the second stage. For k = 3, 16 draws each: 200 features of scale 6 to 20 all reach errors below 3e-13, 100 of
scale 6 or 8 below 1e-11, 50 none."""

TOLERANCE = 0.1
"""Of the second stage: it ends where a whole step takes off less than this share of the loss."""

CORRECTIONS = 20
"""Most Gauss-Newton steps; good starts take 9 to 16."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A network that has been judged.

    Args:
        network: U.
        coefficient: lambda.
        loss: at the end.
        acceptance: whether it is a solution, the bar of lambda, and why not.
        first: lambda of the first stage.
        start: number of the start, from 0.
        corrected: whether it has a second stage.
    """

    network: nn.Module
    coefficient: float
    loss: float
    acceptance: Acceptance
    first: float
    start: int
    corrected: bool


@dataclass(eq=False)
class ProfileSearch:
    """What the starts of a search share, and what they cost together.

    Args:
        problem: `selfsimilar_burgers` with lambda eliminated.
        operator: takes the first stage's derivatives.
        widths: of the networks.
        most: evaluations of one start's first stage, or None for `MARKS[-1]`, without a second stage `PLAIN`.
        second_stage: whether to correct the networks.
        folder: for trajectories, or None.
        overwrite: replace files there.
        evaluations: of the loss so far.
        paths: trajectories so far.
        judged: every candidate so far.
    """

    problem: Problem
    operator: Operator
    widths: tuple[int, ...] = (20, 20)
    most: int | None = None
    second_stage: bool = True
    folder: Path | None = None
    overwrite: bool = False
    evaluations: int = 0
    paths: list[Path] = field(default_factory=list)
    judged: list[Candidate] = field(default_factory=list)

    def run(self, start: int, seed: int) -> Candidate:
        """Train one network, and correct it at every mark until the result is accepted.

        Args:
            start: number of the start, which names its files.
            seed: of network, points and features.

        Returns:
            The accepted candidate, else the last one.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = Odd(MLP(1, list(self.widths))).double()
        points = self.problem.sample(seed=seed)
        most = self.most or (MARKS[-1] if self.second_stage else PLAIN)
        optimizer, name = Schedule((SSBroyden(), Evaluations(most))), f"start-{start}"
        with self._training(name, self.problem, network, points, optimizer, self.operator, most) as (loop, recorder):
            step, found = self._first_stage(loop, network, points, start, seed)
            if recorder is not None and step.status == "running":
                recorder.end("complete", f"left after {step.evaluations} evaluations")
        self.evaluations += step.evaluations
        return found or self._judged(network, step, step.coefficients[LAMBDA], start, False)

    def _first_stage(self, loop: Iterator[Step], network: nn.Module, points: Points, start: int, seed: int):
        """Return the last step taken and the last corrected candidate, or None."""
        marks, found = list(MARKS), None
        for step in loop:
            over = step.status != "running"
            if not self.second_stage:
                over = over or (step.evaluations >= PROBE and self._hopeless(step))
            elif step.status != "diverged" and (over or (marks and step.evaluations >= marks[0])):
                marks = [mark for mark in marks if mark > step.evaluations]
                found = self._corrected(network, points, step, start, seed)
                over = over or found.acceptance.accepted
            if over:
                break
        return step, found

    def _corrected(self, network: nn.Module, points: Points, step: Step, start: int, seed: int) -> Candidate:
        """Return a copy of the network after the second stage."""
        first = step.coefficients[LAMBDA]
        correction = OddFeatures(RandomFeatures(1, FEATURES, scale=SCALE, seed=seed))
        corrected = Corrected(copy.deepcopy(network), correction)
        settings = {**self.problem.settings, "how": "trained", "interval": self._limits()}
        problem = selfsimilar_burgers(**settings, start=first)
        # The series that the Jacobian is made of, so that both round saturated features alike.
        operator, optimizer = TangentProp(backend="taylor"), GaussNewton(tolerance=TOLERANCE)
        name = f"start-{start}-{step.evaluations}-corrected"
        with self._training(name, problem, corrected, points, optimizer, operator, CORRECTIONS) as (loop, _):
            *_, last = loop
        self.evaluations += last.evaluations
        return self._judged(corrected, last, first, start, True)

    def _limits(self) -> tuple[float, float]:
        """Return bounds of lambda for the second stage.

        Wider than the interval: a first lambda on its end would be held there by the Jacobian, and the steps would lead
        to the best fit with that lambda. Where there is nothing to find the interval stays, as evidence of that.
        """
        low, high = self.problem.settings["interval"]
        return (low, high) if no_profile(self.problem.settings["k"], low, high) else (low / 2, 2 * high)

    @contextmanager
    def _training(
        self,
        name: str,
        problem: Problem,
        network: nn.Module,
        points: Points,
        optimizer: Optimizer,
        operator: Operator,
        most: int,
    ) -> Iterator:
        recorder = None
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.paths.append(self.folder / f"{name}.h5")
            recorder = Recorder(self.paths[-1], overwrite=self.overwrite)
        try:
            yield steps(problem, network, operator, optimizer, points=points, steps=most, record=recorder), recorder
        finally:
            if recorder is not None:
                recorder.close()

    def _hopeless(self, step: Step) -> bool:
        """Return whether the first stage leads nowhere."""
        lam, (low, high) = step.coefficients[LAMBDA], self.problem.settings["interval"]
        return not step.loss <= PROBE_LOSS or min(lam - low, high - lam) < END * (high - low)

    def _judged(self, network: nn.Module, step: Step, first: float, start: int, corrected: bool) -> Candidate:
        lam, limit = step.coefficients[LAMBDA], CORRECTED_LOSS if corrected else LOSS
        low, high = self.problem.settings["interval"]
        # Beyond an end it counts as trapped there; NaN stays.
        lam = low if lam < low else high if lam > high else lam
        acceptance = judge_profile(self.problem, network, lam, step.loss, limit)
        self.judged.append(Candidate(network, lam, step.loss, acceptance, first, start, corrected))
        return self.judged[-1]
