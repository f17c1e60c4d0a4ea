"""The losses of a PINA solver's conditions as its own evaluations compute them, and what each counts in the loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pina.solver import BaseSolver, EnsembleSolver
from torch import Tensor

OWN_LOSSES = ("_compute_condition_loss", "_regularize_condition_loss", "_loss_from_residual")
"""Methods in which a solver may put more into a condition's loss than its residual."""


class Overheard:
    """A method of an object, set in its place: it does the same and shows what it was given and returned.

    A copy or a pickle of the object has its plain method again.

    Args:
        owner: of the method.
        name: of the method.
        show: called with what was returned and the arguments.

    Example:
        >>> class Doubling:
        ...     def of(self, x):
        ...         return 2 * x
        >>> owner, shown = Doubling(), []
        >>> overheard = Overheard(owner, "of", lambda *seen: shown.append(seen))
        >>> owner.of(3), shown, overheard.remove(), owner.of(4), vars(owner)
        (6, [(6, 3)], None, 8, {})
    """

    def __init__(self, owner: Any, name: str, show: Callable[..., None]):
        self._owner, self._name, self._show, self._method = owner, name, show, getattr(owner, name)
        setattr(owner, name, self)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the method.

        Args:
            *arguments: of the method.
            **named: of the method.

        Returns:
            What it returns.
        """
        returned = self._method(*arguments, **named)
        self._show(returned, *arguments, *named.values())
        return returned

    def remove(self) -> None:
        """Leave the owner as it was."""
        if vars(self._owner).get(self._name) is self:
            delattr(self._owner, self._name)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return getattr(type(self._owner), self._name).__get__(memo.get(id(self._owner), self._owner))

    def __reduce__(self) -> tuple:
        return getattr, (self._owner, self._name)


class ConditionLosses:
    """Losses of the conditions, heard where the solver sums them up.

    The raw loss of a condition is the mean (or sum) of the solver's loss of the pure residual: without the weighting,
    the attention, an opponent's factor, causal weights or a penalty on the gradient. The weight is what makes the sum
    of weight times raw loss the solver's own loss.

    Args:
        solver: of PINA.
    """

    def __init__(self, solver: Any):
        self._solver = solver
        self._summed: tuple[Tensor, Mapping[str, Tensor], Mapping[str, Any]] | None = None
        self._residuals: dict[str, list[Tensor]] = {}
        self._pure: dict[str, list[Tensor]] = {}
        self._overheard = [Overheard(solver.weighting, "aggregate", self._sum)]
        if not isinstance(solver, EnsembleSolver) and any(
            getattr(type(solver), name) is not getattr(BaseSolver, name) for name in OWN_LOSSES
        ):
            for name, condition in solver.problem.conditions.items():
                self._overheard.append(Overheard(condition, "evaluate", self._keep(name)))

    def begin(self) -> None:
        """Forget what was evaluated outside of a training step."""
        self._residuals.clear()

    def end(self) -> None:
        """Leave the solver as it was."""
        while self._overheard:
            self._overheard.pop().remove()

    def terms(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the losses of the latest evaluation.

        Returns:
            Raw losses and weights by condition; NaN of a condition that was not in the batch.
        """
        if self._summed is None:
            return {}, {}
        total, losses, factors = self._summed
        missing = [name for name in self._solver.problem.conditions if name not in losses]
        unknown = dict.fromkeys(missing, torch.nan)
        if not self._pure and self._solver.weighting.aggregator_fn is torch.sum:
            return losses | unknown, factors
        raw = {name: self._raw(name, loss) for name, loss in losses.items()}
        counted = {name: factors[name] * loss for name, loss in losses.items()}
        share = total / sum(counted.values())
        weights = {
            name: torch.where(value == 0, share * factors[name], share * counted[name] / value)
            for name, value in raw.items()
        }
        return raw | unknown, weights

    def _keep(self, name: str) -> Callable[..., None]:
        def keep(residual: Tensor, *arguments: Any) -> None:
            self._residuals.setdefault(name, []).append(residual.detach())

        return keep

    def _sum(self, total: Tensor, losses: Mapping[str, Tensor], *arguments: Any) -> None:
        # Without what labelled tensors do in each call of theirs.
        with torch._C.DisableTorchFunctionSubclass():
            plain = {name: loss.detach().as_subclass(Tensor) for name, loss in losses.items()}
            total = total.detach().as_subclass(Tensor)
        self._summed = total, plain, dict(self._solver.weighting.last_saved_weights())
        self._pure, self._residuals = self._residuals, {}

    @torch.no_grad()
    def _raw(self, name: str, loss: Tensor) -> Tensor:
        found = self._pure.get(name)
        if not found:
            return loss
        parts = [each.as_subclass(Tensor) for each in found]
        of = self._solver.loss
        losses = [self._solver._apply_reduction(of(part, torch.zeros_like(part))) for part in parts]
        return sum(losses) / len(losses)
