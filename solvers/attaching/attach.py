"""Record anybody's PyTorch training loop: hooks on the optimizer write our trajectory, the loop stays as it is."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dynamics.format import Stream
from dynamics.recorder import Recorder
from solvers.attaching.accepted import accepted
from solvers.attaching.at_points import Solution, checked_points
from solvers.attaching.attachment import Attachment, Silent
from solvers.attaching.attention_at import AttentionAt, Rule
from solvers.attaching.block_gradients import Residuals
from solvers.attaching.coefficients import Coefficients, ModelAndCoefficients
from solvers.attaching.described import describe_attached
from solvers.attaching.from_loop import FromLoop
from solvers.attaching.guard import Guard
from solvers.attaching.known_errors import KnownErrors
from solvers.attaching.layers import Chosen
from solvers.attaching.listener import Listener
from solvers.attaching.log import log_of, opened
from solvers.attaching.measurement import Measurement, array, cadences
from solvers.attaching.owned import OwnedParameters, is_compiled, original
from solvers.attaching.planned import of_model, of_points
from solvers.attaching.uncompiled import uncompiled
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
    coefficients: Mapping[str, Tensor] | None = None,
    solution: Solution | None = None,
    attention: Callable[[], Tensor] | None = None,
    attention_rule: Rule = None,
    errors: Callable[[], Mapping[str, float]] | None = None,
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
    an L-BFGS phase its own, beside Adam's or behind it. Of a distributed training the first process records; in the
    others `recorder` may be None.

    What goes wrong with the recording (a full disk, a closed file, user code that fails) is said once in a warning; the
    part is left out and the training goes on.

    Args:
        recorder: open.
        optimizer: any; of each kind of wrapper, the one whose step() the loop calls.
        model: trained; compiled and data-parallel ones are measured by the module inside.
        residuals: (model, points) -> (n, equations), pure: gives /residuals, /homogeneity and, over blocks of the
            points, /gradients (of the interior loss mean(r^2) alone, weighted as the attention says, without the
            conditions). Call the model that is passed: one that holds its model itself costs a backward pass a block.
        terms: -> raw losses by name, evaluated now and then in place of `watched.terms(...)`.
        points: (n, axes), on the model's device and in its dtype. They are copied: changed in place later, they are
            measured as they were. They also give mean and standard deviation of the first output of a model that is
            called with them alone; of a `forward(x, t)` or an `nn.ModuleList` only `residuals` is measured there.
        every: one cadence of all, or by stream (terms, parameters, field, compression, activations, residuals,
            homogeneity, gradients); the first and the last state are measured in any case. /activations, the raw
            ones, are recorded only where named here, and at points only.
        activations: names of modules, or a filter of names; None: the activation modules. At 1,024 of the `points`, or
            where the model is not called with them alone, in the loop's own passes, of which the largest counts.
        scheduler: its name is recorded; the rates are read from the optimizer in any case.
        coefficients: unknown ones that the optimizer trains, by name: a row of /coefficients each step. What is known
            of them goes into the recorder's `config`, as {"problem": {"coefficients": {"nu": {"low": 0.0}}}}.
        solution: exact values of the model's first output at `points`, or a function of them: `rel_l2` and `max_error`
            of the series, at the cadence "field".
        attention: -> the present weights (n,) of `points`, asked for when a step begins: they join /residuals and
            /homogeneity, and the loss of which /gradients are taken. As the raw loss of the interior tell the mean
            square residual, and as its weight the ratio of the attention's loss to it.
        attention_rule: a `ResidualBasedAttention`, or a dict for the file, whose "form" says how the weights stand in
            the loss: "mean((lambda r)^2)", the default, or "mean(lambda r^2)", as of trained weights (SA-PINN).
        errors: -> the latest `rel_l2`, `max_error` or both that the loop knows by itself, in place of `solution`: each
            is taken into the row of the first step that begins with it. Asked at each step: have it look up, not
            compute.
        blocks: of the gradients, fewer where there are fewer points.
        first: number of the first step, of a run that goes on.
        strict: raise what goes wrong with the recording.

    Returns:
        The attachment: `terms(...)`, `detach()`, `step`.

    Raises:
        ValueError: no open recorder; an optimizer that owns none of the model's parameters, or has an attachment;
            points that are not (n, axes), not the model's device or dtype, or missing; residuals without a graph; a
            solution or attention that is not that of the points; a coefficient that is no tensor of one number, or is
            not the optimizer's.

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
    accepted(optimizer, model)
    listened, model = not is_compiled(model), original(model)
    named = model if coefficients is None else ModelAndCoefficients(model, coefficients)
    owned, when = OwnedParameters(optimizer, named), cadences(every)
    given = {"residuals": residuals, "solution": solution, "attention": attention, "attention_rule": attention_rule}
    _check(given, points, terms, errors, blocks)
    names = {"names": owned.names}
    measured = [
        Measurement(
            "parameters",
            lambda moment: {"value": array(owned.vector())},
            lambda: Stream("parameters", attrs=names),
        )
    ]
    listener, weights, by_points = None, None, []
    if points is not None:
        points = checked_points(points, model)
        raw = isinstance(every, Mapping) and "activations" in every
        with untouched(model, owned.parameters), uncompiled(model):
            weights = None if attention is None else AttentionAt(attention, attention_rule, points)
            by_points = of_model(model, points, solution, activations, raw)
            measured += [*by_points, *of_points(owned, model, points, residuals, weights, blocks)]
    if listened and not by_points:
        listener = Listener(model, activations)
    trained = None if coefficients is None else Coefficients(coefficients, owned, recorder)
    told = FromLoop(terms, None if errors is None else KnownErrors(errors), trained)
    log_of(recorder, first)
    guard = Guard(recorder, strict)
    writer = Writer(recorder, model, owned, measured, when, told, listener, _many(optimizer), guard)
    found = Attachment(recorder, optimizer, writer, listener, guard)
    describe_attached(recorder, optimizer, model, points, scheduler, weights)
    return found


def _check(given: Mapping[str, object], points: Tensor | None, terms: object, errors: object, blocks: int) -> None:
    """Refuse arguments that do not go together."""
    for name, value in given.items():
        if value is not None and points is None:
            raise ValueError(f"expected points for the {name}, came none: pass points=, a tensor (n, axes)")
    functions = {
        "residuals": (given["residuals"], "residuals=lambda model, points: ..."),
        "terms": (terms, "terms=lambda: {'pde': ...}"),
        "errors": (errors, "errors=lambda: latest"),
    }
    for name, (value, how) in functions.items():
        if value is not None and not callable(value):
            raise ValueError(f"expected {name} as a function, came {type(value).__name__}: write {how}")
    if given["attention_rule"] is not None and given["attention"] is None:
        raise ValueError(
            "expected attention beside its rule, came none: pass attention=lambda: weights, (n,) of points"
        )
    if given["solution"] is not None and errors is not None:
        raise ValueError("expected the solution or the errors, came both: pass solution= alone to have them computed")
    if blocks < 2:
        raise ValueError(f"expected at least 2 blocks, came {blocks}: 64 is the default")


def _many(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether a step needs a closure, as L-BFGS does, and so will evaluate it several times."""
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty
