"""Where one can listen to a DeepXDE training: its raw losses, and the end of its loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import deepxde as dde
import torch
from torch import Tensor

LOOPS = ("_train_sgd", "_train_pytorch_lbfgs")


class Hooks:
    """Hooks on a model that trains; `remove` leaves no trace.

    The losses are taken where DeepXDE gets them from its data, before it multiplies by the weights: a weight of zero
    hides none. A callback is not told of an exception in train(), nor of its end where another callback fails at that,
    so its loops are watched.

    Args:
        model: compiled.
        tell: called with the raw losses, in the first evaluation of each step.
        leave: called when the loop ends, with the exception that ends it, which goes on its way afterwards, or None.
    """

    def __init__(
        self, model: dde.Model, tell: Callable[[Sequence[Tensor]], None], leave: Callable[[BaseException | None], None]
    ):
        self._model, self._tell, self._leave = model, tell, leave
        self._waiting = self._under_way = False
        self._beside: list[Tensor] | None = None
        self.optimizer = model.opt
        self._handles = [model.opt.register_step_pre_hook(self._begin), model.opt.register_step_post_hook(self._end)]
        self._restored: list[tuple[Any, str, Callable | None]] = []
        self._replace(model.data, "losses_train", self._hear)
        for name in LOOPS:
            if hasattr(model, name):
                self._replace(model, name, self._watch)

    @property
    def tested(self) -> list[Tensor] | None:
        """Raw losses after the last step, which DeepXDE computed to show them; None where it did not."""
        steps = self._model.losshistory.steps
        return self._beside if steps and steps[-1] == self._model.train_state.step else None

    def remove(self) -> None:
        """Put everything back."""
        for handle in self._handles:
            handle.remove()
        while self._restored:
            owner, name, before = self._restored.pop()
            if before is None:
                vars(owner).pop(name, None)
            else:
                setattr(owner, name, before)

    def _replace(self, owner: Any, name: str, by: Callable[[Callable], Callable]) -> None:
        self._restored.append((owner, name, vars(owner).get(name)))
        setattr(owner, name, by(getattr(owner, name)))

    def _begin(self, optimizer: torch.optim.Optimizer, arguments: tuple, named: dict) -> None:
        self._waiting, self._under_way, self._beside = True, True, None

    def _end(self, optimizer: torch.optim.Optimizer, arguments: tuple, named: dict) -> None:
        self._under_way = False

    def _hear(self, original: Callable) -> Callable:
        def losses_train(*arguments: Any, **named: Any) -> Any:
            found = original(*arguments, **named)
            losses = found if isinstance(found, list) else [found]
            if self._waiting:
                self._waiting = False
                self._tell(losses)
            elif self._beside is None and not self._under_way:
                self._beside = [each.detach() for each in losses]
            return found

        return losses_train

    def _watch(self, original: Callable) -> Callable:
        def loop(*arguments: Any, **named: Any) -> Any:
            try:
                found = original(*arguments, **named)
            except BaseException as error:
                self._leave(error)
                raise
            self._leave(None)
            return found

        return loop
