"""Attachments to the optimizers behind Lightning's wrappers, and the losses that belong to each of their steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from dynamics.recorder import Recorder
from solvers.attaching.attach import attach
from solvers.attaching.attachment import Silent
from solvers.attaching.guard import Guard
from solvers.attaching.log import log_of
from solvers.callbacks.lightning.file import TrajectoryFile
from solvers.callbacks.lightning.module import ModuleTraining
from solvers.callbacks.lightning.step import WatchedStep


class WatchedOptimizers:
    """The recorded optimizer of a trainer and those of the same parameters, an attachment each, to one recorder.

    Args:
        recorder: open.
        training: that is recorded.
        number: of the recorded optimizer.
        how: further arguments of `solvers.attach`.
    """

    def __init__(self, recorder: Recorder, training: ModuleTraining, number: int, how: Mapping[str, Any]):
        self._recorder, self._training, self._number, self._how = recorder, training, number, how
        self.guard = Guard(recorder, bool(how["strict"]))
        self._known: list[torch.optim.Optimizer] = []
        self._steps: list[WatchedStep] = []
        self._others: list[Any] = []
        self._attached: list[Silent] = []
        self._losses: list[tuple[Tensor, Mapping[str, Any], Mapping[str, Any] | None]] = []

    def follow(self, trainer: Any, file: TrajectoryFile) -> None:
        """Attach to the trainer's optimizers, unless they are those of before.

        Args:
            trainer: of Lightning.
            file: of the recorder.

        Raises:
            ValueError: fewer than the number asked for.
        """
        now = [getattr(each, "_optimizer", each) for each in trainer.optimizers]
        if len(now) == len(self._known) and all(a is b for a, b in zip(now, self._known, strict=True)):
            return
        # What an exception does: no state of its own is measured, the next optimizer's first step is at the same one.
        self._leave(lambda attached: attached.detach(measure=False))
        if self._number >= len(now):
            raise ValueError(
                f"expected the number of one of {len(now)} optimizers, came {self._number}: they are counted from 0"
            )
        if not _parameters(now[self._number]):
            raise ValueError(
                f"expected an optimizer to record, came {type(now[self._number]).__name__}, which has no parameters: "
                "return one from configure_optimizers, or leave this callback out"
            )
        again, self._known = bool(self._known), now
        own = {id(p) for p in _parameters(now[self._number])}
        for number, optimizer in enumerate(now):
            if number == self._number or {id(p) for p in _parameters(optimizer)} == own:
                self._watch(optimizer, _scheduler(trainer, optimizer), file, again)
            else:
                self._others.append(optimizer.register_step_post_hook(lambda *step: self._losses.clear()))

    def take(self, loss: Tensor) -> None:
        """Take in the loss of an evaluation, before its backward pass.

        Args:
            loss: scalar.
        """
        terms = self.guard.run("the terms of the loss are", log_of(self._recorder).step, self._training.terms, loss)
        self._losses.append((loss, *(terms or ({}, None))))
        for step in self._steps:
            step.evaluated()

    def end(self, error: BaseException | None) -> None:
        """Remove every hook.

        Args:
            error: that ended the training; None: the state after the last step is recorded.
        """
        # A file that is gone was said already.
        measure = error is None and self._recorder.recording
        self._leave(lambda attached: attached.detach(measure=measure))

    def _watch(self, optimizer: torch.optim.Optimizer, scheduler: Any, file: TrajectoryFile, again: bool) -> None:
        def attached() -> Silent:
            options = {**self._training.measured, **self._how, "scheduler": scheduler}
            if again and "coefficients" in options:
                moved = self.guard.run("/coefficients is", file.step, _moved, optimizer, options["coefficients"])
                options["coefficients"] = moved
            return attach(self._recorder, optimizer, self._training.model, first=file.step, **options)

        step = WatchedStep(optimizer, attached, self._losses)
        self._steps.append(step)
        self._attached.append(step.attached)

    def _leave(self, out_of: Callable[[Silent], None]) -> None:
        for step in self._steps:
            step.remove()
        for handle in self._others:
            handle.remove()
        attached, self._steps, self._others, self._attached = self._attached, [], [], []
        self._losses.clear()
        for each in reversed(attached):
            out_of(each)


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _moved(optimizer: torch.optim.Optimizer, coefficients: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the coefficients, unless an optimizer that came on the way leaves them where they are."""
    own = {id(p) for p in _parameters(optimizer)}
    if left := [name for name, value in coefficients.items() if id(value) not in own]:
        raise ValueError(
            f"the new {type(optimizer).__name__} does not move {', '.join(left)}, which PINA's SwitchOptimizer leaves "
            "out: train the unknown parameters before the switch"
        )
    return coefficients


def _scheduler(trainer: Any, optimizer: torch.optim.Optimizer) -> Any:
    """Return the scheduler of an optimizer, None where it has none."""
    found = [each.scheduler for each in trainer.lr_scheduler_configs]
    return next((each for each in found if getattr(each, "optimizer", None) is optimizer), None)
