"""What is recorded of a PINA solver: its network, the residual of its physical condition, the losses of all of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from pina.solver import BaseSolver
from torch import Tensor, nn

from dynamics.recorder import Recorder
from solvers.attaching.spread import box
from solvers.attaching.untouched import untouched
from solvers.callbacks.lightning.module import Compiled
from solvers.callbacks.pina.condition import MeasuredCondition
from solvers.callbacks.pina.labels import Labelled, labelled, takes_plain
from solvers.callbacks.pina.losses import ConditionLosses

OUTSIDE = "mean(lambda r^2)"
FEW = 8


def is_solver(module: object) -> bool:
    """Return whether a module is one of PINA's solvers.

    Args:
        module: any.

    Returns:
        Whether it is.

    Example:
        >>> is_solver(nn.Linear(1, 1))
        False
    """
    return isinstance(module, BaseSolver)


class SolverTraining:
    """A PINA solver in training.

    Args:
        solver: any of PINA's.
        number: of the recorded optimizer, and so of its network.
        condition: name of the condition that is measured; None: that of the interior.
        asked: what the user measures instead, as arguments of `solvers.attach`.
        strict: raise what goes wrong in the problem's solution and equation.

    Raises:
        ValueError: no such condition, or one without points.
    """

    def __init__(self, solver: Any, number: int, condition: str | None, asked: Mapping[str, Any], strict: bool):
        self.module, self._asked, self._strict = solver, asked, strict
        models = list(solver._pina_models)
        network = models[min(number, len(models) - 1)]
        # Self-adaptive weights and discriminators stand beside the one model that is the solution.
        self._opponent = number > 0 and hasattr(solver, "model")
        self.condition = None if self._opponent else MeasuredCondition.of(solver, condition)
        self.model: Any = Compiled(network)
        if self.condition is not None:
            plain = takes_plain(network, self.condition.points)
            self.model = network if plain else Labelled(network, self.condition.labels)
        self._losses = None if self._opponent else ConditionLosses(solver)

    @property
    def measured(self) -> Mapping[str, Any]:
        """Arguments of `solvers.attach`: points, residuals and, where they are known, solution, unknowns, attention."""
        problem, found = self.module.problem, {}
        if self.condition is not None:
            found = {"points": self.condition.points}
            if self.condition.equation is not None and self._works("the residual", self._residual_of_few):
                found["residuals"] = self._residuals
            if callable(getattr(problem, "solution", None)) and self._works("the solution", self._solution_of_few):
                found["solution"] = self._solution
            attention = self.condition.attention()
            if attention is not None:
                weights, rule = attention
                found |= {"attention": weights, "attention_rule": {**rule, "form": OUTSIDE}}
        if getattr(self.module, "_params", None) and not self._opponent:
            found["coefficients"] = dict(self.module._params)
        return {**found, **self._asked}

    def describe(self, recorder: Recorder) -> None:
        """Tell a file the names of solver, problem and axes.

        Args:
            recorder: new.
        """
        config: dict[str, object] = {"solver": type(self.module).__name__}
        name = {"name": type(self.module.problem).__name__}
        if self.condition is None or "points" in self._asked:
            recorder.configure({**config, "problem": name})
            return
        rows = self.condition.points.double().cpu().numpy()
        lower, upper = box(rows)
        corners = {"lower": lower.tolist(), "upper": upper.tolist()}
        axes = self.condition.labels
        problem = {**name, "axes": axes, **corners}
        recorder.configure({**config, "problem": problem, "condition": self.condition.name})
        recorder.store("points", coords={"axis": axes}, attrs=corners, interior=(("interior_point", "axis"), rows))

    def begin(self) -> None:
        """Begin a batch."""
        if self._losses is not None:
            self._losses.begin()

    def end(self) -> None:
        """Leave the solver as it was."""
        if self._losses is not None:
            self._losses.end()

    def terms(self, loss: Tensor) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
        """Return the losses of the conditions in the evaluation whose backward pass comes.

        Args:
            loss: scalar.

        Returns:
            Raw losses by condition, and what each counts in the loss; of an opponent the loss alone.
        """
        if self._losses is None:
            return {"loss": loss}, None
        return self._losses.terms()

    def _residuals(self, model: nn.Module, points: Tensor) -> Tensor:
        given = labelled(points, self.condition.labels)
        output = labelled(model(given.as_subclass(Tensor)), list(self.module.problem.output_variables))
        return self.condition.equation.residual(given, output, self.module._params).as_subclass(Tensor)

    def _solution(self, points: Tensor) -> Tensor:
        found = self.module.problem.solution(labelled(points, self.condition.labels))
        first = self.module.problem.output_variables[0]
        # Products of labelled tensors have lost their labels.
        return (found.extract([first]) if getattr(found, "_labels", None) else found).as_subclass(Tensor)

    def _residual_of_few(self) -> bool:
        points = self.condition.points[:FEW].clone().requires_grad_(True)
        return self._residuals(self.model, points).requires_grad

    def _solution_of_few(self) -> bool:
        return len(self._solution(self.condition.points[:FEW])) == len(self.condition.points[:FEW])

    def _works(self, part: str, call: Callable[[], bool]) -> bool:
        """Return whether the user's code can be called by ours: where it cannot, the training goes on without."""
        try:
            with untouched(self.module, []):
                works, why = call(), "it is of another kind"
        except Exception as error:
            if self._strict:
                raise
            works, why = False, next(iter(str(error).splitlines()), type(error).__name__)
        if not works:
            warnings.warn(f"attach: {part} of the PINA problem is not recorded ({why})", RuntimeWarning, stacklevel=2)
        return works
