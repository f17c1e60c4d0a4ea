"""The condition of a PINA problem that is measured: which it is, at what points, under what weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pina import LabelTensor
from pina.equation.zoo import FixedFlux, FixedGradient, FixedLaplacian, FixedValue
from torch import Tensor

MOST = 2000
"""Points at which it is measured."""

FIXED = (FixedValue, FixedGradient, FixedFlux, FixedLaplacian)
"""Equations that state a boundary or initial value."""


class MeasuredCondition:
    """A condition, and a fixed sample of the points that it is trained at.

    Args:
        name: of the condition.
        solver: of PINA.

    Raises:
        ValueError: no such condition, or one without points.
    """

    def __init__(self, name: str, solver: Any):
        conditions = solver.problem.conditions
        if name not in _at_points(solver):
            came = "a name of none" if name not in conditions else "one without points"
            known = ", ".join(_at_points(solver)) or "none"
            raise ValueError(f"expected a condition with points, {known}, came {name!r}, {came}: name one of them")
        self.name, self._solver = name, solver
        self.equation, given = getattr(conditions[name], "equation", None), conditions[name].input
        # In the order in which the solver is given them, which is that of its weights.
        order = torch.tensor(_order(solver, name, len(given)))
        self._kept = torch.linspace(0, len(order) - 1, min(MOST, len(order))).round().long()
        named = isinstance(given, LabelTensor)
        self.labels = list(solver.problem.input_variables if named else map("x{}".format, range(1, given.shape[1] + 1)))
        rows = (given.extract(self.labels) if named else given).as_subclass(Tensor).detach()
        parameter = next(solver._pina_models[0].parameters())
        self.points = rows[order[self._kept].to(rows.device)].to(parameter.device, parameter.dtype)

    @classmethod
    def of(cls, solver: Any, name: str | None) -> MeasuredCondition | None:
        """Return the condition that is named, or that of the interior.

        Args:
            solver: of PINA.
            name: of a condition; None: of those with an equation that is none of PINA's fixed values and whose points
                fill most axes, the one with most points inside of their box, then most points; of data where no
                condition has an equation.

        Returns:
            The condition, None where none has points: a solver of graphs.
        """
        if name is None:
            name = max(_at_points(solver), key=lambda each: _rank(solver.problem.conditions[each]), default=None)
        return None if name is None else cls(name, solver)

    def attention(self) -> tuple[Callable[[], Tensor], dict[str, object]] | None:
        """Return the weights that the solver gives the points, and their rule.

        Returns:
            None where there are none, or where batches in random order give none of them a point of its own.
        """
        solver = self._solver
        if not _in_order(solver, self.name):
            return None
        if self.name in getattr(solver, "weight_buffers", {}):
            rule = {"name": type(solver).__name__, "gamma": solver.gamma, "eta": solver.eta}
            return (lambda: getattr(solver, solver.weight_buffers[self.name])[self._kept]), rule
        held = getattr(getattr(solver, "weights", None), self.name, None)
        if held is None or not hasattr(solver.weights, "func"):
            return None
        return (lambda: solver.weights.func(held)[self._kept]), {"name": type(solver).__name__}


def _at_points(solver: Any) -> list[str]:
    inputs = {name: getattr(condition, "input", None) for name, condition in solver.problem.conditions.items()}
    return [name for name, rows in inputs.items() if isinstance(rows, Tensor) and rows.ndim == 2 and len(rows)]


def _rank(condition: Any) -> tuple[bool, bool, int, float, int]:
    rows = condition.input.as_subclass(Tensor).detach()
    lower, upper = rows.amin(dim=0), rows.amax(dim=0)
    filled = upper > lower
    inside = ((rows > lower) & (rows < upper))[:, filled].all(dim=1).double().mean()
    equation = getattr(condition, "equation", None)
    stated = equation is not None, not isinstance(equation, FIXED)
    return *stated, int(filled.sum()), round(float(inside), 1), len(rows)


def _datasets(solver: Any) -> Any:
    return getattr(solver.trainer.datamodule, "train_datasets", {})


def _order(solver: Any, name: str, count: int) -> list[int]:
    return list(_datasets(solver)[name].indices) if name in _datasets(solver) else list(range(count))


def _in_order(solver: Any, name: str) -> bool:
    """Return whether each batch holds the same points at the same places: one batch of all, or no shuffling."""
    module = solver.trainer.datamodule
    return name in _datasets(solver) and (module.batch_size is None or not module.shuffle)
