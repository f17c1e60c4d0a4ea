"""Solving a problem window by window: the loop of the quasi-Newton benchmark, which counts evaluations and CPU time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import torch
from scipy.stats import qmc
from torch import Tensor, nn

from analyses.benchmarks.hard_conditions import Function, compile_factored, factored
from analyses.benchmarks.quasi_newton_recipes import Recipe
from solvers.domain import Box
from solvers.jacobian import jacobian
from solvers.jet import TIME
from solvers.networks import HardBoundary
from solvers.objective import Objective
from solvers.operators import TangentProp
from solvers.optimizers import GaussNewton, Optimizer
from solvers.points import Points
from solvers.problems import Problem

RCOND = 1e-10
"""Of the fit to a network's values, which are good to fewer digits."""

TOLERANCE = 0.5
"""The second stage ends where a whole step takes off less than this share of the loss."""


@dataclass(eq=False)
class Marched:
    """A solution in pieces, and what it cost.

    Args:
        ends: of the windows.
        pieces: u in each.
        first: u in each before the second stage; a window begins where the one before ended after it.
        mirrored: whether u is known for x > 0 only, being odd.
        seconds: CPU time, of both stages.
        correcting: CPU time of the second stage.
        evaluations: of the loss and its gradient, in the first stage.
        losses: at the end of each window's first stage.
        corrected: at the end of its second stage.
        steps: of Gauss-Newton, in each window.
        status: "complete", or why a window ended early.
    """

    ends: list[float] = field(default_factory=list)
    pieces: list[nn.Module] = field(default_factory=list)
    first: list[nn.Module] = field(default_factory=list)
    mirrored: bool = False
    seconds: float = 0.0
    correcting: float = 0.0
    evaluations: int = 0
    losses: list[float] = field(default_factory=list)
    corrected: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    status: str = "complete"

    def __call__(self, x: Tensor) -> Tensor:
        """Return u.

        Args:
            x: (n, 2), time last where there are several windows.

        Returns:
            (n, 1).
        """
        return self._joined(self.pieces, x)

    def uncorrected(self, x: Tensor) -> Tensor:
        """Return what the first stages of all windows have found.

        Args:
            x: (n, 2).

        Returns:
            (n, 1).
        """
        return self._joined(self.first, x)

    def _joined(self, pieces: list[nn.Module], x: Tensor) -> Tensor:
        if self.mirrored:
            mirrored, sign = torch.cat([x[:, :1].abs(), x[:, 1:]], dim=1), x[:, :1].sign()
        else:
            mirrored, sign = x, 1.0
        window = torch.bucketize(x[:, 1].contiguous(), x.new_tensor(self.ends[:-1]))
        u = x.new_empty(len(x), 1)
        for index, piece in enumerate(pieces):
            u[window == index] = piece(mirrored[window == index])
        return sign * u


class At(nn.Module):
    """A function of (x, t) at one time, as a function of (x, t) still.

    Args:
        function: of (x, t).
        time: t_0.
    """

    def __init__(self, function: Function, time: float):
        super().__init__()
        self.function, self.time = function, time

    def forward(self, x: Tensor) -> Tensor:
        """Return f(x, t_0).

        Args:
            x: (n, 2).

        Returns:
            (n, 1).
        """
        return self.function(torch.cat([x[:, :1], 0 * x[:, 1:] + self.time], dim=-1))


def march(recipe: Recipe, optimizer: Callable[[], Optimizer], seed: int, share: float = 1.0) -> Marched:
    """Solve a problem by its recipe.

    Args:
        recipe: how.
        optimizer: makes one; each window begins with a fresh one.
        seed: of networks and points.
        share: of the recipe's evaluations.

    Returns:
        Solution and cost; the first window whose loss is not finite is the last.
    """
    torch.manual_seed(seed)
    problem, found = recipe.problem(), Marched(mirrored=recipe.odd)
    began, lift = time.process_time(), recipe.start
    timed = TIME in problem.axes
    whole = replace(problem.domain, lower=(0.0, *problem.domain.lower[1:])) if recipe.odd else problem.domain
    edges = np.linspace(whole.lower[-1], whole.upper[-1], recipe.windows + 1).tolist()
    for number, (low, high) in enumerate(pairwise(edges)):
        network = recipe.network().double()
        box = _window(whole, low, high)
        if recipe.soft and number == 0:
            posed, solution = _softly(problem, recipe.soft, box), network
        else:
            distance = _distance(recipe.factor, low, high) if timed else recipe.factor
            posed, solution = factored(problem, distance, lift, box), HardBoundary(network, distance, lift)
        found.losses.append(_solve(posed, network, optimizer(), recipe, seed, share, found))
        network.requires_grad_(False)
        found.ends.append(high)
        found.first.append(solution)
        if not math.isfinite(found.losses[-1]):
            found.pieces.append(solution)
            found.status = f"diverged in window {number + 1}"
            break
        if recipe.correction is not None:
            solution = _correct(problem, solution, lift, recipe, box, seed, found)
        found.pieces.append(solution)
        lift = At(solution, high)
    found.seconds = time.process_time() - began
    return found


def _window(box: Box, low: float, high: float) -> Box:
    return replace(box, lower=(*box.lower[:-1], low), upper=(*box.upper[:-1], high))


def _distance(factor: Function | None, low: float, high: float) -> Function:
    def distance(x: Tensor) -> Tensor:
        rise = (x[:, 1:] - low) / (high - low)
        return rise if factor is None else factor(x) * rise

    return distance


def _softly(problem: Problem, weight: float, box: Box) -> Problem:
    """Return the problem in a window, its initial condition in the loss; the network is periodic by itself."""
    initial = tuple(replace(each, weight=weight) for each in problem.conditions if each.where == "initial")
    return replace(problem, conditions=initial, domain=Box(box.axes, box.lower, box.upper))


def _solve(
    posed: Problem,
    network: nn.Module,
    optimizer: Optimizer,
    recipe: Recipe,
    seed: int,
    share: float,
    found: Marched,
) -> float:
    """Minimise; return the loss at the end."""
    budget = max(1, round(share * recipe.evaluations))
    objective = Objective(posed, network, TangentProp(), _draw(posed, recipe.points, recipe.crowding, seed))
    compile_factored(objective)
    state, reason = optimizer.init(objective.vector), None
    while objective.evaluations < budget and reason is None:
        state, info = optimizer.step(objective, state)
        reason = info.stopped
    found.evaluations += objective.evaluations
    if reason is not None:
        found.status = reason
    return float(objective(objective.vector).value.detach())


def _correct(
    problem: Problem,
    solution: nn.Module,
    lift: Function | None,
    recipe: Recipe,
    box: Box,
    seed: int,
    found: Marched,
) -> nn.Module:
    """Return features in the network's place: fitted to its values first, then by Gauss-Newton to the equation.

    The error is then that of the features, whatever the network's was, if Gauss-Newton arrives; see `Correction`.
    """
    began, correction = time.process_time(), recipe.correction
    low, high = box.lower[-1], box.upper[-1]
    distance = _distance(correction.factor, low, high) if TIME in problem.axes else correction.factor
    features = correction.features(correction.columns, low, high, seed)
    posed = factored(problem, distance, lift, box)
    points = _draw(posed, correction.points, recipe.crowding, seed + 1)
    objective = Objective(posed, features, TangentProp(backend="taylor"), points)
    _fit(features, distance, lift, solution, points.interior)
    optimizer = GaussNewton(rcond=correction.rcond, tolerance=TOLERANCE)
    state = optimizer.init(objective.vector)
    found.steps.append(0)
    for _ in range(correction.steps):
        state, info = optimizer.step(objective, state)
        found.steps[-1] += 1
        if info.stopped is not None:
            break
    found.corrected.append(float(objective(objective.vector).value.detach()))
    found.correcting += time.process_time() - began
    return HardBoundary(features.requires_grad_(False), distance, lift)


def _fit(features: nn.Module, distance: Function, lift: Function | None, solution: nn.Module, x: Tensor) -> None:
    """Give features the coefficients with which g + D F is nearest to the solution at the points."""
    (coefficient,) = features.parameters()
    # Linear in the coefficients: the derivative in them is the matrix itself.
    plan = TangentProp(backend="taylor").plan(Points(x, axes=("x", "t")[: x.shape[1]]), ("",))
    with torch.no_grad():
        sides = solution(x) - (0 if lift is None else lift(x)), distance(x)
        matrix = sides[1] * jacobian(plan, features, lambda jet: jet[""], [coefficient]).detach()
        sizes = torch.linalg.vector_norm(matrix, dim=0)
        found = torch.linalg.lstsq(matrix / sizes, sides[0], rcond=RCOND, driver="gelsd").solution
        coefficient.copy_(found / sizes[:, None])


def _draw(posed: Problem, count: int, crowding: float, seed: int) -> Points:
    """Return scrambled Sobol points, crowded to x = 0 where the recipe says so."""
    box = posed.domain
    unit = torch.from_numpy(qmc.Sobol(2, rng=seed).random_base2(math.ceil(math.log2(count)))[:count])
    rows = box.scale(unit)
    if crowding:
        rows[:, 0] = torch.sinh(crowding * rows[:, 0]) / math.sinh(crowding)
    if not posed.conditions:
        return Points(rows, axes=box.axes)
    sampled = posed.sample(interior=1, boundary=4, initial=max(16, count // 4), seed=seed)
    return replace(sampled, interior=rows)
