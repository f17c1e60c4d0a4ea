"""The hooks on an optimizer: every step and every evaluation of its closure, seen without a change of any number."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import wraps
from types import TracebackType
from typing import Any
from weakref import WeakSet

import torch

from dynamics.recorder import Recorder
from solvers.attaching.guard import Guard
from solvers.attaching.listener import Listener
from solvers.attaching.owned import OwnedParameters
from solvers.attaching.step_under_way import StepUnderWay
from solvers.attaching.terms import Terms
from solvers.attaching.writer import TERMS, Writer

_attached: WeakSet[torch.optim.Optimizer] = WeakSet()

SERIES = "/series is"
LISTENING = "/compression is"
UNSEEN = (
    "no step was seen, nothing is recorded: attach the optimizer whose step() the loop calls, before the loop, and "
    "leave that call out of torch.compile"
)


class Silent:
    """The attachment of a process that records nothing: all but the first of a distributed training.

    Example:
        >>> with Silent() as watched:
        ...     watched.terms(pde=1.0)
        >>> watched.step
        0
    """

    @property
    def step(self) -> int:
        """Number of the step that comes next, or is under way."""
        return 0

    def terms(
        self, named: Mapping[str, Any] | None = None, /, *, weights: Mapping[str, Any] | None = None, **losses: Any
    ) -> None:
        """Take in losses and forget them.

        Args:
            named: losses by name.
            weights: by name.
            losses: by name.
        """

    def detach(self, *, measure: bool = True) -> None:
        """Do nothing.

        Args:
            measure: of no effect.
        """

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *error: object) -> None:
        return None


class Attachment(Silent):
    """Hooks on an optimizer that record its steps; made by `solvers.attach`, ended by `detach` or a `with` block.

    A row of the series is the state before its step, as `solvers.train` writes it: the loss there (of a closure, its
    first evaluation), the gradient that the optimizer got, the norm of the update that followed. The state after the
    last step is a row of its own, where its loss is known without a new pass, or else its error.

    Args:
        recorder: open.
        optimizer: without an attachment.
        writer: of its steps.
        listener: that the writer uses, or None.
        guard: that the writer uses.

    Raises:
        ValueError: an optimizer that has an attachment.
    """

    def __init__(
        self,
        recorder: Recorder,
        optimizer: torch.optim.Optimizer,
        writer: Writer,
        listener: Listener | None,
        guard: Guard,
    ):
        if optimizer in _attached:
            raise ValueError(
                f"expected an optimizer without an attachment, came {type(optimizer).__name__} that has one: "
                "detach() that first, or make the optimizer anew"
            )
        self._recorder, self._optimizer, self._writer = recorder, optimizer, writer
        self._listener, self._guard = listener, guard
        self._under_way: StepUnderWay | None = None
        self._opener = 0
        self._handles = [
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        ]
        _attached.add(optimizer)
        writer.listen()

    @property
    def step(self) -> int:
        """Number of the step that comes next, or is under way."""
        return self._writer.step

    def terms(
        self, named: Mapping[str, Any] | None = None, /, *, weights: Mapping[str, Any] | None = None, **losses: Any
    ) -> None:
        """Tell the unweighted losses of the step that comes, by name: before optimizer.step(), or in its closure.

        What is told several times before one step is taken for the parts of an accumulated gradient: the mean is
        recorded.

        Args:
            named: losses by name, for names that are no identifiers.
            weights: of the terms in the loss, those not named 1; None where they are 1 or not known.
            losses: scalar tensors or numbers.
        """
        if self._handles:
            self._guard.run(TERMS, self.step, self._tell, named, losses, weights)

    def _tell(self, named: Mapping[str, Any] | None, losses: Mapping[str, Any], weights: Any) -> None:
        self._writer.told.tell({**(named or {}), **losses}, weights)

    def detach(self, *, measure: bool = True) -> None:
        """Remove every hook, and record the state after the last step; nothing happens the second time.

        Args:
            measure: whether to; False where the next attachment's first step begins at that very state.
        """
        self._end(measure)

    def __enter__(self) -> Attachment:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(measure=kind is None)

    def _end(self, measure: bool) -> None:
        if not self._handles:
            return
        while self._handles:
            self._handles.pop().remove()
        _attached.discard(self._optimizer)
        if self._listener is not None:
            self._listener.end()
        self._under_way = None
        if not measure or self._guard.ended or not self._recorder.recording:
            return
        if not self._writer.seen:
            self._guard.say(UNSEEN)
        else:
            self._guard.run("the last state is", self.step, self._writer.finish)

    def _before(self, optimizer: torch.optim.Optimizer, arguments: tuple, named: dict) -> tuple[tuple, dict] | None:
        """Begin a step; return the arguments with a closure that is heard."""
        if torch.compiler.is_compiling():
            # A compiled step(): what is traced here would become part of it.
            return None
        frame = sys._getframe(1)
        if self._opener and _calls(frame, self._opener):
            # A class that calls its parent's step(): torch runs the hooks of both, the step is one.
            return None
        self._opener = id(frame)
        closure = arguments[1] if len(arguments) > 1 else named.get("closure")
        given = callable(closure)
        self._under_way = self._guard.run(SERIES, self.step, self._writer.begin, given)
        if not given or self._under_way is None:
            return None
        own = heard(closure, self._writer.owned, self._see)
        if len(arguments) > 1:
            return (arguments[0], own, *arguments[2:]), named
        return arguments, {**named, "closure": own}

    def _see(self, returned: Any, fresh: bool) -> None:
        if self._under_way is not None:
            self._guard.run(SERIES, self.step, self._writer.see, self._under_way, returned, fresh)

    def _after(self, optimizer: torch.optim.Optimizer, arguments: tuple, named: dict) -> None:
        """End the step that this very call of step() began."""
        if torch.compiler.is_compiling() or id(sys._getframe(1)) != self._opener:
            return
        self._opener = 0
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            self._guard.run(SERIES, self.step, self._writer.close, under_way)
        self._writer.told = Terms()
        if self._handles:
            self._guard.run(LISTENING, self.step, self._writer.listen)


def heard(closure: Callable[..., Any], owned: OwnedParameters, see: Callable[[Any, bool], None]) -> Callable[..., Any]:
    """Return a closure that does the same and tells each of its evaluations.

    Args:
        closure: of the user.
        owned: parameters of the optimizer.
        see: called with what the closure returned and whether it left a new gradient.

    Returns:
        The closure.
    """

    @wraps(closure)
    def evaluate(*arguments: Any, **named: Any) -> Any:
        before = owned.gradients()
        returned = closure(*arguments, **named)
        see(returned, owned.changed(before))
        return returned

    return evaluate


def _calls(frame: Any, opener: int) -> bool:
    """Return whether the call that opened the step is among those that led to this one."""
    code, frame = frame.f_code, frame.f_back
    while frame is not None and not (id(frame) == opener and frame.f_code is code):
        frame = frame.f_back
    return frame is not None
