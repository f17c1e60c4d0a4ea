"""Record anybody's PyTorch training loop: hooks on the optimizer write our trajectory, the loop stays as it is."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dynamics.format import Stream
from dynamics.recorder import Recorder
from solvers.attaching.at_points import ResidualAt, checked_points, field_at
from solvers.attaching.attachment import Attachment, Silent
from solvers.attaching.block_gradients import Residuals
from solvers.attaching.described import describe_attached
from solvers.attaching.guard import Guard
from solvers.attaching.layers import Chosen, layers_at
from solvers.attaching.listener import Listener
from solvers.attaching.log import log_of, opened
from solvers.attaching.measurement import Measurement, cadences
from solvers.attaching.owned import OwnedParameters, is_compiled, original
from solvers.attaching.untouched import untouched
from solvers.attaching.writer import Writer
from solvers.cadence import Cadence

BLOCKS = 64


def attach(
    recorder: Recorder | None,
    optimizer: torch.optim.Optimizer,
    model: nn.Module,
    residuals: Residuals | None = None,
    terms: Callable[[], Mapping[str, Tensor]] | None = None,
    points: Tensor | None = None,
    *,
    every: Cadence | Mapping[str, Cadence] | None = None,
    activations: Chosen = None,
    scheduler: Any = None,
    blocks: int = BLOCKS,
    first: int = 0,
    strict: bool = False,
) -> Attachment | Silent:
    """Record the steps of an optimizer that somebody else's loop calls, until `detach()` or the end of a `with` block.

        with Recorder("run.h5") as recorder, attach(recorder, optimizer, model) as watched:
            for step in range(1000):
                optimizer.zero_grad(); loss = ...; loss.backward()
                watched.terms(pde=loss_pde, boundary=loss_bc)  # where there is no closure that returns the loss
                optimizer.step()

    Each call of optimizer.step() is a row of /series, each evaluation of its closure one of /evaluations where a step
    has several (L-BFGS). No number of the training changes: gradients, random numbers, modes and buffers are left, or
    put back, as they are. A step that an AMP scaler skips is none; infinite gradients are recorded as such. Of a
    closure that calls no backward the gradient norm is NaN. All attachments to one recorder count the same steps: give
    an L-BFGS phase its own beside Adam's, before the loop. Of a distributed training the first process records; in the
    others `recorder` may be None.

    What goes wrong with the recording (a full disk, a closed file, user code that fails) is said once in a warning; the
    part is left out and the training goes on.

    Args:
        recorder: open.
        optimizer: any; of each kind of wrapper, the one whose step() the loop calls.
        model: trained; compiled and data-parallel ones are measured by the module inside.
        residuals: (model, points) -> (n, equations), pure: gives /residuals, /homogeneity and, over blocks of the
            points, /gradients (of the mean square residual alone, without the conditions). Call the model that is
            passed.
        terms: -> raw losses by name, evaluated now and then in place of `watched.terms(...)`.
        points: (n, axes), on the model's device and in its dtype. They are copied: changed in place later, they are
            measured as they were. They also give mean and standard deviation of the model's first output.
        every: one cadence of all, or by stream (terms, parameters, field, compression, activations, residuals,
            homogeneity, gradients); the first and the last state are measured in any case. /activations, the raw
            ones, are recorded only where named here, and at points only.
        activations: names of modules, or a filter of names; None: the activation modules. At `points`, or without them
            in the loop's own passes, of which the largest counts.
        scheduler: its name is recorded; the rates are read from the optimizer in any case.
        blocks: of the gradients, fewer where there are fewer points.
        first: number of the first step, of a run that goes on.
        strict: raise what goes wrong with the recording.

    Returns:
        The attachment: `terms(...)`, `detach()`, `step`.

    Raises:
        ValueError: no open recorder; an optimizer that owns none of the model's parameters, or has an attachment;
            points that are not (n, axes), not the model's device or dtype, or missing; residuals without a graph.

    Cost: 2 to 4 passes over the parameters a step; the measurements, at their cadences, about a step each.

    Example:
        >>> import os, tempfile
        >>> from dynamics import open_trajectory
        >>> path, model = os.path.join(tempfile.mkdtemp(), "run.h5"), nn.Linear(1, 1)
        >>> sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with Recorder(path) as recorder, attach(recorder, sgd, model) as watched:
        ...     for _ in range(5):
        ...         sgd.zero_grad()
        ...         loss = (model(torch.ones(1, 1)) - 1).square().mean()
        ...         loss.backward()
        ...         watched.terms(data=loss)
        ...         sgd.step()
        >>> with open_trajectory(path) as trajectory:
        ...     int(trajectory["series/loss"].size), bool(trajectory["series/loss"][-1] < trajectory["series/loss"][0])
        (5, True)
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_rank():
        return Silent()
    recorder = opened(recorder)
    listened, model = not is_compiled(model), original(model)
    owned, when = OwnedParameters(optimizer, model), cadences(every)
    if residuals is not None and points is None:
        raise ValueError("expected points for the residuals, came none: pass points=, a tensor (n, axes)")
    if blocks < 2:
        raise ValueError(f"expected at least 2 blocks, came {blocks}: 64 is the default")
    names = {"names": owned.names}
    measured = [
        Measurement(
            "parameters",
            lambda moment: {"value": owned.vector().cpu().numpy()},
            lambda: Stream("parameters", attrs=names),
        )
    ]
    listener = None
    if points is not None:
        points = checked_points(points, model)
        raw = isinstance(every, Mapping) and "activations" in every
        with untouched(model, owned.parameters):
            measured.append(Measurement("field", lambda moment: field_at(model, points), None))
            layers = layers_at(model, points, activations)
            measured += [each for each in layers if raw or each.name != "activations"]
            if residuals is not None:
                measured += ResidualAt(residuals, model, points).measurements(owned, blocks)
    elif listened:
        listener = Listener(model, activations)
    log_of(recorder, first)
    guard = Guard(recorder, strict)
    writer = Writer(recorder, model, owned, measured, when, terms, listener, _many(optimizer), guard)
    found = Attachment(recorder, optimizer, writer, listener, guard)
    describe_attached(recorder, optimizer, model, points, scheduler)
    return found


def _many(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether a step needs a closure, as L-BFGS does, and so will evaluate it several times."""
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty
