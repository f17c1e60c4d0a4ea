"""One optimizer step while it runs: where it began, and every evaluation of its closure."""

from __future__ import annotations

from typing import Any

from solvers.attaching.owned import OwnedParameters, norm, numbers
from solvers.attaching.terms import loss_of
from solvers.evaluation import Counted


class StepUnderWay:
    """What is known of a step before it ends.

    Args:
        number: of the step.
        owned: parameters of the optimizer.
        closure: whether the optimizer was given one.

    Example:
        >>> import torch
        >>> layer = torch.nn.Linear(1, 1)
        >>> step = StepUnderWay(0, OwnedParameters(torch.optim.SGD(layer.parameters(), lr=0.1), layer), True)
        >>> step.see(torch.tensor(3.0), fresh=False)
        Counted(loss=3.0, gradient_norm=nan, step_length=0.0)
    """

    def __init__(self, number: int, owned: OwnedParameters, closure: bool):
        self.number, self._owned = number, owned
        self.rates = owned.rates
        self.start = owned.vector()
        self.gradient = None if closure else owned.gradient_norm()
        self.evaluations: list[Counted] = []
        self.loss_known = False

    def see(self, returned: Any, fresh: bool) -> Counted:
        """Take in an evaluation of the closure.

        Args:
            returned: by the closure.
            fresh: whether it left a new gradient.

        Returns:
            Loss, norm of the gradient (NaN where there is no new one), distance from the step's beginning.
        """
        loss = loss_of(returned)
        gradient = self._owned.gradient_norm()
        size, length, *value = numbers(
            gradient, norm(self._owned.vector() - self.start), *([] if loss is None else [loss])
        )
        self.loss_known = self.loss_known or bool(value)
        found = Counted(value[0] if value else float("nan"), size if fresh else float("nan"), length)
        self.evaluations.append(found)
        return found

    @property
    def loss(self) -> float | None:
        """The closure's loss at the step's beginning, None where it returned none."""
        return self.evaluations[0].loss if self.loss_known else None

    def row(self) -> dict[str, float]:
        """Return norms and rate of the step that was made, of the state before it as in every series.

        Returns:
            By variable name.
        """
        now = self._owned.vector()
        moved = norm(now - self.start) if now.shape == self.start.shape else self.start.new_full((), float("nan"))
        own = [] if self.gradient is None else [self.gradient]
        update, size, *gradient = numbers(moved, norm(self.start), *own)
        if self.gradient is None:
            gradient = [self.evaluations[0].gradient_norm if self.evaluations else float("nan")]
        return {
            "learning_rate": self.rates[0],
            "gradient_norm": gradient[0],
            "update_norm": update,
            "parameter_norm": size,
        }

    def accepted(self, update: float) -> Counted | None:
        """Return the evaluation at the parameters that the step ended with.

        Args:
            update: norm of the whole update.

        Returns:
            The latest one at the same distance from the beginning, None where there is none.
        """
        return next((each for each in reversed(self.evaluations) if each.step_length == update), None)
