"""Training: `steps` is a generator that the caller's loop owns, `train` is the same with a file and a progress bar."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from pathlib import Path

import torch
from torch import nn

from dynamics.recorder import Recorder
from solvers.attention import ResidualBasedAttention
from solvers.cadence import Cadence
from solvers.checkpoints import attach, check_request
from solvers.device import available
from solvers.loop import Loop, Step
from solvers.objective import Objective
from solvers.operators import RBFFD, Operator
from solvers.optimizers import Optimizer
from solvers.points import Points
from solvers.probes import Probe, standard_probes
from solvers.problems.problem import Problem
from solvers.progress import progress_bar
from solvers.resumption import reopener, resumed_steps
from solvers.run import Run as Run
from solvers.step_boundary import step_boundary

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
    record: Recorder | str | Path | None = None,
    checkpoint: float | Cadence | None = None,
    resume: bool = False,
    anyway: bool = False,
    seed: int = 0,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float64,
) -> Iterator[Step]:
    """Return a generator of training steps, whose loop belongs to the caller.

    Yields the state after 0, 1, ..., `steps` updates, steps + 1 in all; measurements and the recorded row of a step are
    taken at its parameters, before the update. Leave the loop at any time: the file then says "interrupted", unless the
    recorder is closed with another status.

    With `checkpoint` the state of the training is kept beside the file, also where the loop is left. With `resume` it
    goes on from there, to the last bit as if it had not stopped; the file is opened and closed here:

        for step in steps(problem, network, operator, optimizer, record="run.h5", resume=True, steps=2000): ...

    Args:
        problem: equation, domain, conditions.
        network: any module that maps (n, axes) to (n, components); moved to device and dtype, trained in place.
        operator: takes the derivatives.
        optimizer: such as `Torch(torch.optim.Adam, lr=1e-3)`.
        points: collocation points; None draws the problem's defaults with `seed`, nodes for RBF-FD.
        steps: number of updates.
        probes: what to measure when; None is `standard_probes` for a recorded run and nothing otherwise.
        attention: residual-based attention in the loss; its weights are tracked also where None.
        record: an open recorder, which serves one training, or None; with `resume` the path of the trajectory.
        checkpoint: as in `train`.
        resume: go on from the latest checkpoint, as in `train`; the first step yielded is the checkpoint's.
        anyway: as in `train`.
        seed: of the points.
        device: "cpu" or "cuda".
        dtype: float64 or float32.

    Returns:
        The generator.

    Raises:
        ValueError: points that do not match the problem, an operator that cannot reach its partials, an absent device,
            a record that is no recorder, or no path where one is resumed.
        CheckpointError: nothing to resume, or the checkpoint of another training.

    Example:
        >>> from solvers import AutoDiff, MLP, Torch, problems
        >>> _ = torch.manual_seed(0)
        >>> adam = Torch(torch.optim.Adam, lr=1e-2)
        >>> losses = [step.loss for step in steps(problems.poisson_1d(), MLP(1, [8]), AutoDiff(), adam, steps=200)]
        >>> len(losses), losses[-1] < losses[0] / 2
        (201, True)
    """
    if record is not None and not resume and not isinstance(record, Recorder):
        raise ValueError(
            f"expected an open Recorder, came {record!r}: write `with Recorder({str(record)!r}) as record:`"
        )
    count = _count(steps)
    check_request(record, checkpoint, resume)
    loop = _prepare(
        problem, network, operator, optimizer, points, probes, attention, record is not None, seed, device, dtype
    )
    if resume:
        return resumed_steps(loop, count, reopener(loop, record, count, anyway), checkpoint)
    attach(loop, record, checkpoint)
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
    strict: bool = True,
    checkpoint: float | Cadence | None = None,
    resume: bool = False,
    anyway: bool = False,
    config: Mapping[str, object] | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float64,
    progress: bool = True,
) -> Run:
    """Train a network on a problem and, where asked, record its trajectory.

    With `checkpoint` the state of the training is kept beside the trajectory, as RUN.h5.checkpoint-STEP.npz: from time
    to time, at the end, and where Ctrl-C or SIGTERM ends it, after the step under way. `resume=True`, with everything
    else as before, goes on from the latest: on a CPU every stream is then, wall-clock times aside, to the last bit that
    of a run that was never stopped; rows recorded after the checkpoint are superseded. Global random generators of
    torch, numpy and Python are part of the state; a generator of one's own, or a module's attribute that is no buffer,
    is not.

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
        strict: raise where the trajectory or a checkpoint cannot be written; otherwise warn once and train on.
        checkpoint: seconds between checkpoints, or a cadence in steps such as Every(500); None: there are none.
        resume: go on with the trajectory at `record` from its latest checkpoint; `steps` is the number in all.
        anyway: resume also where versions, threads or the rounding of the loss differ from then.
        config: recorded beside the description that is made here.
        seed: of the points.
        device: "cpu" or "cuda".
        dtype: float64 or float32.
        progress: show a progress bar (only on a terminal).

    Returns:
        The run; divergence is its status, not an exception.

    Raises:
        ValueError: points that do not match the problem, an operator that cannot reach its partials, an absent device,
            checkpoints without a trajectory, an optimizer whose state they cannot hold.
        CheckpointError: nothing to resume, or the checkpoint of another training; the message names the difference.
        FileExistsError: the path exists and overwrite is False.

    Example:
        >>> from solvers import AutoDiff, MLP, Torch, problems
        >>> _ = torch.manual_seed(0)
        >>> run = train(problems.poisson_1d(), MLP(1, [8]), AutoDiff(), Torch(torch.optim.LBFGS, lr=1.0), steps=3)
        >>> run.status, run.step
        ('complete', 3)
    """
    count = _count(steps)
    check_request(record, checkpoint, resume, overwrite)
    loop = _prepare(
        problem, network, operator, optimizer, points, probes, attention, record is not None, seed, device, dtype
    )
    context: AbstractContextManager = nullcontext(record)
    if resume:
        context = reopener(loop, record, count, anyway, strict)()
    elif record is not None and not isinstance(record, Recorder):
        attrs = {"seed": seed, "device": str(device)}
        written = {"steps": count, **(config or {})}
        context = Recorder(record, config=written, attrs=attrs, overwrite=overwrite, strict=strict)
    start = time.perf_counter()
    with context as recorder, progress_bar(count, problem.name, progress) as advance:
        attach(loop, recorder, checkpoint, strict)
        with step_boundary(checkpoint is not None) as boundary, closing(loop.iterate(count)) as found:
            for step in found:
                advance(step.step, step.loss)
                boundary.reached()
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
