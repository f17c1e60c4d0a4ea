"""Training: `steps` is a generator that the caller's loop owns, `train` is the same with a file and a progress bar."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import nn

from dynamics.recorder import Recorder
from solvers.attention import ResidualBasedAttention
from solvers.device import available
from solvers.loop import Loop, Step
from solvers.objective import Objective
from solvers.operators import RBFFD, Operator
from solvers.optimizers import Optimizer
from solvers.points import Points
from solvers.probes import Probe, standard_probes
from solvers.problems.problem import Problem
from solvers.progress import progress_bar


@dataclass(frozen=True)
class Run:
    """A finished training.

    Args:
        network: trained.
        status: "complete" or "diverged".
        reason: why it ended, where the optimizer or divergence ended it.
        step: number of updates made.
        loss: last loss.
        rel_l2: last relative L2 error, NaN where no solution is known or nothing was recorded.
        seconds: wall time of the loop.
        recording_seconds: of which spent measuring and writing; what probes set up once, such as a reference
            solution, is not in it.
        path: the trajectory, or None.
        coefficients: what the unknown coefficients of the problem came to, by name.
    """

    network: nn.Module
    status: str
    reason: str
    step: int
    loss: float
    rel_l2: float
    seconds: float
    recording_seconds: float
    path: Path | None
    coefficients: Mapping[str, float] = field(default_factory=dict)

    @property
    def recording_share(self) -> float:
        """Recording time over training time: the overhead that recording added."""
        return self.recording_seconds / max(self.seconds - self.recording_seconds, 1e-9)


Probes = Sequence[Probe] | Callable[[Objective], Sequence[Probe]] | None
"""Probes, a function that chooses them for an objective, or None: the standard ones where something is recorded."""


def _prepare(problem, network, operator, optimizer, points, probes, attention, recorded, seed, device, dtype) -> Loop:
    device = available(device)
    if points is None:
        # Stencils on points drawn at random have weights without bound.
        points = problem.sample(seed=seed, **({"method": "nodes"} if isinstance(operator, RBFFD) else {}))
    points = points.to(device, dtype)
    objective = Objective(problem, network.to(device=device, dtype=dtype), operator, points, compiled=True)
    if probes is None:
        probes = partial(standard_probes, optimizer=optimizer) if recorded else ()
    chosen = tuple(probes(objective) if callable(probes) else probes)
    return Loop(objective, optimizer, attention or ResidualBasedAttention(), attention is not None, chosen, seed)


def steps(
    problem: Problem,
    network: nn.Module,
    operator: Operator,
    optimizer: Optimizer,
    *,
    points: Points | None = None,
    steps: int,
    probes: Probes = None,
    attention: ResidualBasedAttention | None = None,
    record: Recorder | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float64,
) -> Iterator[Step]:
    """Return a generator of training steps, whose loop belongs to the caller.

    Yields the state after 0, 1, ..., `steps` updates, steps + 1 in all; measurements and the recorded row of a step are
    taken at its parameters, before the update. Leave the loop at any time: the file then says "interrupted", unless the
    recorder is closed with another status.

    Args:
        problem: equation, domain, conditions.
        network: any module that maps (n, axes) to (n, components); moved to device and dtype, trained in place.
        operator: takes the derivatives.
        optimizer: such as `Torch(torch.optim.Adam, lr=1e-3)`.
        points: collocation points; None draws the problem's defaults with `seed`, nodes for RBF-FD.
        steps: number of updates.
        probes: what to measure when; None is `standard_probes` for a recorded run and nothing otherwise.
        attention: residual-based attention in the loss; its weights are tracked also where None.
        record: an open recorder, which serves one training, or None.
        seed: of the points.
        device: "cpu" or "cuda".
        dtype: float64 or float32.

    Returns:
        The generator.

    Raises:
        ValueError: points that do not match the problem, an operator that cannot reach its partials, an absent device,
            a record that is no recorder.

    Example:
        >>> from solvers import AutoDiff, MLP, Torch, problems
        >>> _ = torch.manual_seed(0)
        >>> adam = Torch(torch.optim.Adam, lr=1e-2)
        >>> losses = [step.loss for step in steps(problems.poisson_1d(), MLP(1, [8]), AutoDiff(), adam, steps=200)]
        >>> len(losses), losses[-1] < losses[0] / 2
        (201, True)
    """
    if record is not None and not isinstance(record, Recorder):
        raise ValueError(
            f"expected an open Recorder, came {record!r}: write `with Recorder({str(record)!r}) as record:`"
        )
    count = _count(steps)
    loop = _prepare(
        problem, network, operator, optimizer, points, probes, attention, record is not None, seed, device, dtype
    )
    loop.recorder = record
    return loop.iterate(count)


def _count(steps: int) -> int:
    if steps < 1:
        raise ValueError(f"expected at least one step, came {steps}")
    return steps


def train(
    problem: Problem,
    network: nn.Module,
    operator: Operator,
    optimizer: Optimizer,
    *,
    points: Points | None = None,
    steps: int,
    probes: Probes = None,
    attention: ResidualBasedAttention | None = None,
    record: str | Path | Recorder | None = None,
    overwrite: bool = False,
    config: Mapping[str, object] | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float64,
    progress: bool = True,
) -> Run:
    """Train a network on a problem and, where asked, record its trajectory.

    Args:
        problem: equation, domain, conditions.
        network: any module that maps (n, axes) to (n, components); moved to device and dtype, trained in place.
        operator: takes the derivatives.
        optimizer: such as `Torch(torch.optim.Adam, lr=1e-3)`.
        points: collocation points; None draws the problem's defaults with `seed`, nodes for RBF-FD.
        steps: number of updates; the state after the last one is measured too.
        probes: what to measure when; None is `standard_probes` for a recorded run and nothing otherwise.
        attention: residual-based attention in the loss; its weights are tracked and recorded also where None.
        record: path of a new trajectory, an open recorder (it serves one training), or None.
        overwrite: replace an existing file at that path.
        config: recorded beside the description that is made here.
        seed: of the points.
        device: "cpu" or "cuda".
        dtype: float64 or float32.
        progress: show a progress bar (only on a terminal).

    Returns:
        The run; divergence is its status, not an exception.

    Raises:
        ValueError: points that do not match the problem, an operator that cannot reach its partials, an absent device.
        FileExistsError: the path exists and overwrite is False.

    Example:
        >>> from solvers import AutoDiff, MLP, Torch, problems
        >>> _ = torch.manual_seed(0)
        >>> run = train(problems.poisson_1d(), MLP(1, [8]), AutoDiff(), Torch(torch.optim.LBFGS, lr=1.0), steps=3)
        >>> run.status, run.step
        ('complete', 3)
    """
    count = _count(steps)
    loop = _prepare(
        problem, network, operator, optimizer, points, probes, attention, record is not None, seed, device, dtype
    )
    context = nullcontext(record)
    if record is not None and not isinstance(record, Recorder):
        attrs = {"seed": seed, "device": str(device)}
        context = Recorder(record, config={"steps": count, **(config or {})}, attrs=attrs, overwrite=overwrite)
    start = time.perf_counter()
    with context as recorder, progress_bar(count, problem.name, progress) as advance:
        loop.recorder = recorder
        for step in loop.iterate(count):
            advance(step.step, step.loss)
    reason = step.info.stopped or ("" if step.status == "complete" else f"loss is {step.loss} at step {step.step}")
    seconds = time.perf_counter() - start
    path = Path(recorder.path) if recorder is not None else None
    return Run(
        network,
        step.status,
        reason,
        step.step,
        step.loss,
        loop.rel_l2,
        seconds,
        loop.recording_seconds,
        path,
        step.coefficients,
    )
