"""Torch's own optimizers behind the protocol: the one stateful exception."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from solvers.optimizers.optimizer import Objective, StepInfo


@dataclass(eq=False)
class TorchState:
    """The flat vector, torch's optimizer on it, and its scheduler."""

    vector: Tensor
    optimizer: torch.optim.Optimizer
    scheduler: Any = None

    def to_arrays(self) -> dict[str, object]:
        """Return the state for a checkpoint: what torch's own `state_dict` holds of optimizer and scheduler.

        Returns:
            Copies: the vector, and nested values; `Torch.from_arrays` takes them.

        Raises:
            ValueError: a scheduler without `state_dict`.
        """
        if self.scheduler is not None and not hasattr(self.scheduler, "state_dict"):
            raise ValueError(
                f"expected a scheduler with state_dict and load_state_dict, came {type(self.scheduler).__name__}: "
                "without them no checkpoint can hold it"
            )
        scheduler = None if self.scheduler is None else deepcopy(self.scheduler.state_dict())
        optimizer = deepcopy(self.optimizer.state_dict())
        return {"vector": self.vector.cpu().numpy().copy(), "optimizer": optimizer, "scheduler": scheduler}


class Torch:
    """Any `torch.optim` optimizer on the flat vector, with an optional learning-rate scheduler.

    The whole network is one tensor, so an elementwise optimizer takes one kernel a step instead of one a parameter.
    L-BFGS stops where torch's own tests say that nothing is left to gain, and the reason is kept.

    Args:
        factory: the optimizer's class.
        scheduler: optimizer -> learning-rate scheduler, such as `functools.partial(StepLR, step_size=100)`; stepped
            once a step.
        **options: of the class.

    Raises:
        ValueError: an option that the class does not have.

    Example:
        >>> Torch(torch.optim.Adam, lr=1e-3).options
        {'lr': 0.001}
    """

    def __init__(
        self,
        factory: type[torch.optim.Optimizer],
        scheduler: Callable[[torch.optim.Optimizer], Any] | None = None,
        **options,
    ):
        known = [name for name in inspect.signature(factory).parameters if name != "params"]
        if unknown := sorted(set(options) - set(known)):
            raise ValueError(f"torch.optim.{factory.__name__} has no option {unknown[0]!r}; it has {', '.join(known)}")
        self.factory, self.scheduler, self.options = factory, scheduler, options

    def __repr__(self) -> str:
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        options += "" if self.scheduler is None else f", scheduler={self.scheduler!r}"
        return f"Torch({self.factory.__name__}{options})"

    @property
    def many_evaluations(self) -> bool:
        """Whether a step evaluates the loss several times, as L-BFGS does."""
        closure = inspect.signature(self.factory.step).parameters.get("closure")
        return closure is not None and closure.default is inspect.Parameter.empty

    def init(self, vector: Tensor) -> TorchState:
        """Return torch's optimizer on the vector.

        Args:
            vector: (parameters,) flat buffer; it is updated in place.

        Returns:
            The state.

        Raises:
            ValueError: a value that torch refuses, or a scheduler that waits for a metric.
        """
        optimizer = self.factory([vector], **self.options)
        scheduler = self.scheduler and self.scheduler(optimizer)
        if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            raise ValueError(
                "ReduceLROnPlateau waits for a metric: expected a scheduler that steps without, such as StepLR"
            )
        return TorchState(vector, optimizer, scheduler)

    def from_arrays(self, arrays: Mapping[str, Any], vector: Tensor) -> TorchState:
        """Return the state that `TorchState.to_arrays` has written; what follows is the same to the last bit.

        Args:
            arrays: from it.
            vector: (parameters,) flat buffer, which gets the stored values.

        Returns:
            The state.

        Raises:
            ValueError: a state of another number of parameters, or of an optimizer with other groups or a scheduler.

        Example:
            >>> adam, vector = Torch(torch.optim.Adam, lr=1e-2), torch.ones(2)
            >>> restored = adam.from_arrays(adam.init(vector).to_arrays(), torch.zeros(2))
            >>> restored.vector.tolist(), restored.optimizer.param_groups[0]["lr"]
            ([1.0, 1.0], 0.01)
        """
        if (arrays["scheduler"] is None) != (self.scheduler is None):
            came = "none" if arrays["scheduler"] is None else "that of one"
            raise ValueError(f"expected a state for scheduler={self.scheduler!r}, came {came}: restore with the same")
        values = torch.from_numpy(arrays["vector"])
        if values.shape != vector.shape:
            raise ValueError(
                f"expected a state of {vector.numel()} parameters, came one of {values.numel()}: "
                "restore with the network that wrote it"
            )
        vector.copy_(values)
        # A new scheduler changes the rates of its optimizer: it comes first, and what was stored over it.
        state = self.init(vector)
        state.optimizer.load_state_dict(arrays["optimizer"])
        # torch casts what it loads to the vector's precision, such as NAdam's float32 product of rates.
        for name, value in state.optimizer.state[vector].items():
            stored = arrays["optimizer"]["state"][0][name]
            if isinstance(value, Tensor) and value.dtype != stored.dtype:
                state.optimizer.state[vector][name] = stored.to(value.device, copy=True)
        if state.scheduler is not None:
            state.scheduler.load_state_dict(arrays["scheduler"])
        return state

    def copy(self, state: TorchState, vector: Tensor, factor: float = 1.0) -> TorchState:
        """Return an independent copy of a state on another vector, with everything but the scheduler.

        Args:
            state: from `init`; not changed.
            vector: (parameters,) flat buffer of the copy; its precision is that of the copied moments.
            factor: of the learning rate.

        Returns:
            The copy.

        Example:
            >>> adam = Torch(torch.optim.Adam, lr=1e-2)
            >>> copied = adam.copy(adam.init(torch.ones(2)), torch.ones(2), factor=0.5)
            >>> copied.optimizer.param_groups[0]["lr"]
            0.005
        """
        optimizer = self.factory([vector], **self.options)
        # torch keeps the given tensors wherever they need no cast, the step count among them.
        optimizer.load_state_dict(deepcopy(state.optimizer.state_dict()))
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * factor
        return TorchState(vector, optimizer)

    def step(self, objective: Objective, state: TorchState) -> tuple[TorchState, StepInfo]:
        """Make one step of torch's optimizer; for L-BFGS that is up to `max_iter` iterations.

        Args:
            objective: vector -> evaluation.
            state: from `init`; torch updates it in place.

        Returns:
            The same state and what happened.
        """
        many = isinstance(state.optimizer, torch.optim.LBFGS)
        seen: list[Seen] = []

        def closure() -> Tensor:
            evaluation = objective(state.vector)
            state.vector.grad = evaluation.gradient
            if many:
                seen.append(Seen(state.vector.clone(), float(evaluation.value.detach()), _largest(evaluation.gradient)))
            return evaluation.value.detach()

        rate = float(state.optimizer.param_groups[0]["lr"])
        done = state.optimizer.state[state.vector].get("n_iter", 0) if many else 0
        state.optimizer.step(closure)
        if state.scheduler is not None:
            state.scheduler.step()
        stopped = _lbfgs_stop(state, seen, done) if many else None
        return state, StepInfo(rate, stopped)


@dataclass(frozen=True, eq=False)
class Seen:
    """One evaluation of the closure: where, the loss and the largest entry of the gradient."""

    vector: Tensor
    loss: float
    gradient: float


def _largest(gradient: Tensor) -> float:
    return float(gradient.abs().max())


def _lbfgs_stop(state: TorchState, seen: list[Seen], done: int) -> str | None:
    """Return which of torch's tests ended L-BFGS, or None where it only used up its iterations.

    torch.optim.LBFGS tests in this order and tells nobody: gradient before starting; directional derivative; iteration
    and evaluation limits; gradient; step; change of loss. The accepted point is one that the closure has seen.
    """
    group = state.optimizer.param_groups[0]
    memory = state.optimizer.state[state.vector]
    gradient = f"gradient below tolerance_grad = {group['tolerance_grad']:g}"
    change = f"tolerance_change = {group['tolerance_change']:g}"
    if memory["n_iter"] == done:
        return gradient
    if not torch.isfinite(state.vector).all():
        return None
    if float(memory["prev_flat_grad"].dot(memory["d"])) > -group["tolerance_change"]:
        return f"no descent left: directional derivative above -{change}"
    if memory["n_iter"] - done >= group["max_iter"] or len(seen) >= group["max_eval"]:
        return None
    accepted = next((point for point in reversed(seen) if torch.equal(point.vector, state.vector)), None)
    if accepted is not None and accepted.gradient <= group["tolerance_grad"]:
        return gradient
    if _largest(memory["d"] * memory["t"]) <= group["tolerance_change"]:
        return f"step below {change}"
    if accepted is not None and abs(accepted.loss - memory["prev_loss"]) < group["tolerance_change"]:
        return f"change of loss below {change}"
    return None
