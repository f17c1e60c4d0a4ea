"""The optimizer protocol, and the flat parameter buffer that every optimizer works on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from solvers.operators.detached import Detached, flat_gradient, flat_starts
from solvers.problems.coefficient import Coefficient

UNBOUNDED = (float("-inf"), float("inf"))
_VERSION = attrgetter("_version")


class Evaluated(Protocol):
    """What an optimizer may ask of the loss at one vector; each is computed when first asked for."""

    @property
    def value(self) -> Tensor:
        """The loss, a scalar."""
        ...

    @property
    def gradient(self) -> Tensor:
        """Its gradient, (parameters,)."""
        ...


Objective = Callable[[Tensor], Evaluated]
"""The loss as a function of the flat vector."""


@dataclass(frozen=True)
class StepInfo:
    """What one optimizer step did.

    Args:
        learning_rate: in use during the step; NaN where the notion does not apply.
        stopped: None, or the reason why another step would change nothing.
        step_length: factor of the search direction that was taken, of a line search.
        damping: mu of a damped Gauss-Newton step.
    """

    learning_rate: float = float("nan")
    stopped: str | None = None
    step_length: float = float("nan")
    damping: float = float("nan")


class Optimizer(Protocol):
    """Pure `init` and `step`: the state goes in and comes out; `state.vector` holds the parameters."""

    def init(self, vector: Tensor) -> Any:
        """Return the state at the start.

        Args:
            vector: (parameters,) flat buffer.

        Returns:
            A state with an attribute `vector`.
        """
        ...

    def step(self, objective: Objective, state: Any) -> tuple[Any, StepInfo]:
        """Make one step.

        Args:
            objective: vector -> evaluation with value and gradient, lazily.
            state: from `init` or the last step.

        Returns:
            The next state and what happened.
        """
        ...


class FlatParameters:
    """One contiguous buffer that all parameters of a network, and the unknown coefficients, are views of.

    Writing to `vector` changes the network; nothing is copied per step.

    Args:
        network: its trainable parameters move into the buffer, in order.
        coefficients: unknown scalars; those that are trained or bounded have an entry at the buffer's end, and the
            trained ones are projected onto their bounds by `clamp`.

    Raises:
        ValueError: the network has no trainable parameter, or parameters on several devices or dtypes.

    Example:
        >>> network = nn.Linear(2, 1, bias=False)
        >>> flat = FlatParameters(network)
        >>> _ = flat.vector.fill_(3.0)
        >>> network.weight.tolist()
        [[3.0, 3.0]]
    """

    def __init__(
        self,
        network: nn.Module,
        coefficients: Sequence[Coefficient] = (),
    ):
        self.names = [name for name, p in network.named_parameters() if p.requires_grad]
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        if not self.parameters:
            raise ValueError(f"{type(network).__name__} has no trainable parameter")
        if len({(p.dtype, p.device) for p in self.parameters}) > 1:
            raise ValueError(
                "expected all parameters on one device and in one dtype: call network.to(device, dtype) first"
            )
        like = self.parameters[0]
        self._held = {c.name: c for c in coefficients if c.how != "eliminated"}
        self.coefficients = {
            name: torch.tensor(c.entry, dtype=like.dtype, device=like.device, requires_grad=True)
            for name, c in self._held.items()
        }
        leaves = self.leaves
        self.vector = torch.cat([leaf.detach().reshape(-1) for leaf in leaves])
        self.starts = flat_starts(leaves)
        for leaf, start in self.starts.items():
            leaf.data = self.vector[start : start + leaf.numel()].view(leaf.shape)

    @property
    def version(self) -> tuple[int, ...]:
        """What changes with the values, written through the vector or, as by `load_state_dict`, through a parameter."""
        return (self.vector._version, *map(_VERSION, self.starts))

    def check(self) -> None:
        """Refuse a network whose parameters no longer are views of the vector: it would be trained without moving.

        Raises:
            RuntimeError: parameters that have been moved elsewhere, as by another `FlatParameters`, or frozen.
        """
        first, size = self.vector.data_ptr(), self.vector.element_size()
        if any(leaf.data_ptr() != first + size * start for leaf, start in self.starts.items()):
            raise RuntimeError(
                "the network's parameters no longer lie in this loss's vector: another training or Objective of the "
                "same network, network.to(...) or a copy has moved them; make a new Objective, or give each its own "
                "copy.deepcopy(network)"
            )
        if frozen := [name for name, p in zip(self.names, self.parameters, strict=True) if not p.requires_grad]:
            raise RuntimeError(
                f"{frozen[0]} was frozen after this loss was made: freeze parameters first, then make a new Objective"
            )

    @torch.no_grad()
    def clamp(self) -> None:
        """Project the trained coefficients onto their bounds, in place."""
        for name, c in self._held.items():
            if c.how == "trained" and (c.low, c.high) != UNBOUNDED:
                # Through the vector, whose version says that everything computed from it is out of date; so it is left
                # alone where nothing changes.
                entry = self.part(self.vector, self.coefficients[name])
                if not c.low <= float(entry) <= c.high:
                    entry.clamp_(c.low, c.high)

    def values(self, entries: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Return the coefficients that the buffer's entries stand for.

        Args:
            entries: by name; those of the buffer by default.

        Returns:
            Scalars by name, with the entries' graph. A trained one is its entry put onto its bounds, so that a line
            search that leaves them sees the loss at which its step will end.
        """
        found = dict(self.coefficients if entries is None else entries)
        for name, c in self._held.items():
            if c.how == "bounded":
                found[name] = c.middle + c.half * torch.tanh(found[name])
            elif (c.low, c.high) != UNBOUNDED:
                found[name] = found[name].clamp(c.low, c.high)
        return found

    def slope(self, name: str) -> Tensor | float:
        """Return the derivative of a coefficient in its entry of the buffer.

        Args:
            name: of one that is trained or bounded.

        Returns:
            1, 0 beyond the bounds, or half the width of the bounds times 1 - tanh^2.
        """
        c, entry = self._held[name], self.coefficients[name].detach()
        if c.how == "bounded":
            return c.half * (1 - torch.tanh(entry) ** 2)
        return ((entry >= c.low) & (entry <= c.high)).to(entry)

    def outward(self, gradient: Tensor) -> list[int]:
        """Return the entries of trained coefficients on a bound that a descent would push beyond it.

        Args:
            gradient: (parameters,).

        Returns:
            Places in the buffer.
        """
        found = []
        for name, c in self._held.items():
            place = self.starts[self.coefficients[name]]
            if c.how == "trained" and (c.low, c.high) != UNBOUNDED:
                entry, slope = self.vector[place], gradient[place]
                if bool(((entry <= c.low) & (slope > 0)) | ((entry >= c.high) & (slope < 0))):
                    found.append(place)
        return found

    @property
    def on_bound(self) -> bool:
        """Whether a trained coefficient lies on one of its bounds, or beyond."""
        held = ((self.coefficients[name].detach(), c) for name, c in self._held.items() if c.how == "trained")
        return any(not bool((c.low < entry) & (entry < c.high)) for entry, c in held)

    @property
    def leaves(self) -> list[Tensor]:
        """The tensors behind the buffer: parameters, then coefficients."""
        return [*self.parameters, *self.coefficients.values()]

    def part(self, vector: Tensor, leaf: Tensor) -> Tensor:
        """Return the entries of a vector that belong to a parameter or coefficient.

        Args:
            vector: (parameters,), ordered as the buffer.
            leaf: one of `leaves`.

        Returns:
            A view of the leaf's shape.
        """
        start = self.starts[leaf]
        return vector[start : start + leaf.numel()].view(leaf.shape)

    def gradient(self, value: Tensor, detached: Sequence[Detached] = ()) -> Tensor:
        """Return the gradient of a scalar in the buffer's order; a parameter that does not occur gets zeros.

        Args:
            value: scalar with a graph, which is freed.
            detached: jets in it that were cut from the network.

        Returns:
            (parameters,).
        """
        return flat_gradient(value, detached, self.starts)


def flatten(tensors: Sequence[Tensor]) -> Tensor:
    """Join tensors into one flat vector.

    Args:
        tensors: any shapes, one dtype and device.

    Returns:
        1-D.
    """
    return torch.cat([tensor.reshape(-1) for tensor in tensors])
