"""The loss as a function of the flat parameter vector: residual terms, their weights, value and gradient, lazily."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import NoReturn

import torch
from torch import Tensor, nn

from solvers.compiled_loss import CompiledLoss
from solvers.evaluation import Counted, Evaluation
from solvers.jet import Jet
from solvers.operators.operator import Operator, Plan
from solvers.operators.rbf_fd import RBFFD
from solvers.operators.stack import Stack
from solvers.optimizers.optimizer import FlatParameters
from solvers.points import EQUATION, Points
from solvers.problems.problem import Condition, Problem
from solvers.shapes import INTERIOR, check_shapes
from solvers.term import Term


class Objective:
    """Loss of a network on a problem, L = w_0 mean((lambda r)^2) + sum_k w_k mean(r_k^2).

    The first term is the equation's residual on the interior points, and on the boundary too where there are ghost
    points (`equation_points`); the others are the conditions. `attention` holds
    the factor lambda of the residual, or None for 1: the root of the attention weights where these stand outside the
    square. Evaluations at an unchanged vector are shared, so a probe or an optimizer that asks again pays nothing;
    `evaluations` counts those whose residual was computed.

    Args:
        problem: equation and conditions.
        network: maps (n, axes) to (n, components).
        operator: how derivatives are taken.
        points: collocation points, on the network's device and in its dtype.
        compiled: run the residuals as compiled code where that covers them; compiling takes 0.02 to 0.15 s a term, once
            a process for equal ones, and an evaluation then has no graph.

    Raises:
        ValueError: points or a network that do not match the problem, partials that the operator cannot reach, network
            values that are not (points, components), a residual that is not (points, equations).
    """

    def __init__(
        self, problem: Problem, network: nn.Module, operator: Operator, points: Points, *, compiled: bool = False
    ):
        points = problem.completed(points)
        problem.check(points)
        if isinstance(operator, RBFFD):
            operator = operator.suited_to(problem.partials, problem.axes)
        self.problem, self.network, self.operator, self.points = problem, network, operator, points
        self.parameters = FlatParameters(network, problem.coefficients)
        self.unknowns = {c.name: c for c in problem.coefficients if c.how == "eliminated"}
        check_shapes(problem, network, operator, points, self.starts)
        if problem.examine is not None:
            problem.examine(network)
        self.equation_points = points.only(EQUATION)
        self.plan = operator.plan(self.equation_points, _shared(problem))
        self.conditions = [self._term(condition) for condition in problem.conditions]
        self.stack = Stack.of([self.plan, *(term.plan for term in self.conditions)])
        self.compiled = self._compile() if compiled else None
        self.attention: Tensor | None = None
        self.evaluations = 0
        self._history: list[Counted] = []
        self._latest: tuple[tuple[int, ...], Evaluation] | None = None
        self._origin = self.vector.clone()

    def _term(self, condition: Condition) -> Term:
        """Return a condition at its points; where the equation has them too, they share its plan and so their jet."""
        if condition.where == INTERIOR and self.equation_points.counts == self.points.only("interior").counts:
            return Term(condition, self.plan, self.equation_points.rows, self.equation_points.normals)
        return Term.of(condition, self.operator, self.points)

    def _compile(self) -> CompiledLoss | None:
        """Return the residuals of all terms as compiled code, or None where torch is needed."""
        problem = self.problem

        def equation(jet: Jet, x: Tensor, normals: Tensor, coefficients: Mapping[str, Tensor]) -> Tensor:
            return problem.residual(jet, x, coefficients)

        terms = [(self.plan, equation), *((term.plan, term.condition.residual) for term in self.conditions)]
        return CompiledLoss.of(terms, self.network, list(self.parameters.coefficients), list(self.unknowns))

    @property
    def vector(self) -> Tensor:
        """The flat parameters."""
        return self.parameters.vector

    @property
    def starts(self) -> dict[str, Tensor]:
        """Unknown coefficients by name, the eliminated ones at their start."""
        held = self.parameters.values()
        return _Named((c.name, held.get(c.name, self.vector.new_tensor(c.start))) for c in self.problem.coefficients)

    @property
    def coefficients(self) -> dict[str, Tensor]:
        """Unknown coefficients by name at the present vector, those with an entry in it with a graph."""
        if not self.unknowns:
            return self.parameters.values()
        held, found = self.parameters.values(), self(self.vector).eliminated
        return {c.name: held.get(c.name, found.get(c.name)) for c in self.problem.coefficients}

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the loss terms, the interior first."""
        return (INTERIOR, *(term.condition.name for term in self.conditions))

    @cached_property
    def weights(self) -> tuple[float, ...]:
        """Fixed weights of the terms."""
        return (1.0, *(term.condition.weight for term in self.conditions))

    def __call__(self, vector: Tensor) -> Evaluation:
        """Return the evaluation at the vector.

        Args:
            vector: the buffer itself, or values to be written into it.

        Returns:
            Lazy residuals, value and gradient.

        Raises:
            RuntimeError: values for a network whose parameters have been moved elsewhere, or frozen.
        """
        if vector is not self.vector:
            self.parameters.check()
            self.vector.copy_(vector)
        version = self.parameters.version
        if self._latest is None or self._latest[0] != version:
            self._latest = (version, Evaluation(self))
        return self._latest[1]

    def begin_step(self) -> Evaluation:
        """Return the evaluation at the current vector and measure step lengths from here.

        A line search ends where the next step begins: that evaluation is not made again. Under attention it is, since
        the weights of the loss have changed.

        Returns:
            The evaluation that the step starts from.

        Raises:
            RuntimeError: a network whose parameters have been moved elsewhere, or frozen, since the loss was made.
        """
        self.parameters.check()
        self._origin.copy_(self.vector)
        self._history.clear()
        if self.attention is not None:
            self._latest = None
        return self(self.vector)

    def evaluated(self) -> list[Counted]:
        """Return the evaluations since `begin_step` whose gradient was taken.

        Returns:
            In order.
        """
        return list(self._history)

    def start_norm(self) -> float:
        """Return the size of the vector that the step began from.

        Returns:
            2-norm.
        """
        return float(torch.linalg.vector_norm(self._origin))

    def update_norm(self) -> float:
        """Return how far the vector has moved since `begin_step`.

        Returns:
            2-norm of the difference.
        """
        return float(torch.linalg.vector_norm(self.vector - self._origin))

    def interior_residual(self, plan: Plan, network=None) -> Tensor:
        """Return the equation's residual on a plan of interior points.

        Args:
            plan: of the problem's partials.
            network: another function in the network's place, or None.

        Returns:
            (n, equations).
        """
        return self.equation(plan, plan(network or self.network))

    def equation(self, plan: Plan, jet: Jet, coefficients: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return the equation's residual of a jet.

        Args:
            plan: of interior points.
            jet: at these points.
            coefficients: unknown scalars by name; the present ones by default.

        Returns:
            (n, equations).
        """
        coefficients = self.coefficients if coefficients is None else coefficients
        return self.problem.residual(jet, plan.points.interior, coefficients)


class _Named(dict):
    """Coefficients by name, which says what there is where another one is asked for."""

    def __missing__(self, name: str) -> NoReturn:
        raise KeyError(
            f"a residual asks for the coefficient {name!r}, the problem has {', '.join(self) or 'none'}: declare "
            f"Coefficient({name!r}, start) among the problem's coefficients"
        )


def _shared(problem: Problem) -> tuple[str, ...]:
    """Return the partials of the equation and of the conditions at its points, which share one jet."""
    others = (condition.partials for condition in problem.conditions if condition.where == INTERIOR)
    return tuple(dict.fromkeys([*problem.partials, *(name for partials in others for name in partials)]))
