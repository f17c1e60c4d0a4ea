"""The steps of one optimizer in Lightning: which losses belong to each, and what its closure's value means."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from solvers.attaching.attachment import Silent

Evaluated = tuple[Tensor, Mapping[str, Any], Mapping[str, Any] | None]
"""Loss, raw terms and weights of an evaluation."""

DOES_NOTHING = "do_nothing_closure"
"""Name of what Lightning passes as a closure where there is none: `optimizer.step()` under manual optimisation."""


class WatchedStep:
    """An attachment, with hooks before and behind its own.

    Without a closure the losses since the last step are told before it, with one they are when its first evaluation is
    made; several of them are the parts of an accumulated gradient. There Lightning's closure returns a share of the
    last part's loss: the attachment is shown the sum of all shares, the optimizer what it always gets.

    Args:
        optimizer: without an attachment.
        attach: makes the attachment.
        losses: of the evaluations since the last step, which their owner fills.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, attach: Callable[[], Silent], losses: list[Evaluated]):
        self._losses, self._waits, self._inside = losses, False, False
        self._returned: Any = None
        self._shown = False
        first = optimizer.register_step_pre_hook(self._first)
        try:
            self.attached = attach()
        except BaseException:
            first.remove()
            raise
        self._handles = [
            first,
            optimizer.register_step_pre_hook(self._last),
            optimizer.register_step_post_hook(self._after),
        ]

    def remove(self) -> None:
        """Remove these hooks; the attachment stays."""
        while self._handles:
            self._handles.pop().remove()

    def evaluated(self) -> None:
        """Tell the losses, where this optimizer's step waits for those of its first evaluation."""
        if self._waits:
            self._waits = False
            self._tell()

    def _tell(self) -> None:
        losses, weights = mean_of([terms for _, terms, _ in self._losses]), self._losses[-1][2]
        if losses:
            self.attached.terms(weights=weights, **losses)

    def _first(self, optimizer: torch.optim.Optimizer, arguments: tuple, named: dict) -> tuple[tuple, dict] | None:
        closure = _closure(arguments, named)
        if closure is not None and _does_nothing(closure):
            # Called where the optimizer would call it first: a step without a closure, of the gradients that are there.
            closure()
            self._tell_all()
            return _with(arguments, named, None)
        if closure is None:
            self._tell_all()
            return None
        if self._inside:
            return None
        self._inside = self._waits = True
        self._shown = bool(self._losses)
        if not self._losses:
            return None
        before = sum(loss for loss, _, _ in self._losses)

        def shown() -> Any:
            self._returned = closure()
            return self._returned if self._returned is None else before + self._returned

        return _with(arguments, named, shown)

    def _last(self, optimizer: torch.optim.Optimizer, arguments: tuple, named: dict) -> tuple[tuple, dict] | None:
        closure = _closure(arguments, named)
        if closure is None or not self._shown:
            return None
        self._shown = False

        def restored() -> Any:
            closure()
            returned, self._returned = self._returned, None
            return returned

        return _with(arguments, named, restored)

    def _after(self, optimizer: torch.optim.Optimizer, arguments: tuple, named: dict) -> None:
        self._waits = self._inside = False
        self._losses.clear()

    def _tell_all(self) -> None:
        if self._losses:
            self._tell()
        self._losses.clear()


def mean_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the mean of each loss over the parts of an accumulated gradient, those left out that were not known.

    Args:
        rows: losses by name, a part each.

    Returns:
        By name.

    Example:
        >>> mean_of([{"a": 1.0, "b": math.nan}, {"a": 3.0, "b": 5.0}])
        {'a': 2.0, 'b': 5.0}
    """
    if len(rows) == 1:
        return dict(rows[0])
    found = {}
    for name in rows[0] if rows else ():
        known = [row[name] for row in rows if name in row and not math.isnan(row[name])]
        found[name] = sum(known) / len(known) if known else math.nan
    return found


def _closure(arguments: tuple, named: Mapping[str, Any]) -> Callable[[], Any] | None:
    closure = arguments[1] if len(arguments) > 1 else named.get("closure")
    return closure if callable(closure) else None


def _with(arguments: tuple, named: dict, closure: Callable[[], Any] | None) -> tuple[tuple, dict]:
    if len(arguments) > 1:
        return (arguments[0], closure, *arguments[2:]), named
    return arguments, {**named, "closure": closure}


def _does_nothing(closure: Any) -> bool:
    while isinstance(closure, partial) and closure.args:
        closure = closure.args[-1]
    return getattr(closure, "__name__", "") == DOES_NOTHING
