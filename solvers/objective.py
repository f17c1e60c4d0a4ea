"""The loss as a function of the flat parameter vector: residual terms, their weights, value and gradient, lazily."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from solvers.jacobian import directional, jacobian
from solvers.jet import Jet
from solvers.operators.jets import Jets
from solvers.operators.operator import Operator, Plan
from solvers.operators.rbf_fd import RBFFD
from solvers.operators.stack import Stack
from solvers.optimizers.optimizer import FlatParameters
from solvers.points import EQUATION, Points
from solvers.problems.problem import Problem
from solvers.shapes import INTERIOR, check_shapes
from solvers.tangent_kernel import discrete_gram
from solvers.term import Term

ScaledResidual = Callable[[Jet, Mapping[str, Tensor]], Tensor]
"""(jet, coefficients) -> (n, equations), scaled so that the sum of squares is the term's share of the loss."""


@dataclass(frozen=True)
class Counted:
    """One loss evaluation, as the file keeps it: loss, gradient norm and distance from where the step began."""

    loss: float
    gradient_norm: float
    step_length: float


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

    Raises:
        ValueError: points that do not match the problem, partials that the operator cannot reach, network values that
            are not (points, components), a residual that is not (points, equations).
    """

    def __init__(self, problem: Problem, network: nn.Module, operator: Operator, points: Points):
        problem.check(points)
        if isinstance(operator, RBFFD):
            operator = operator.suited_to(problem.partials, problem.axes)
        self.problem, self.network, self.operator, self.points = problem, network, operator, points
        self.parameters = FlatParameters(
            network,
            {c.name: c.start for c in problem.coefficients},
            {c.name: (c.low, c.high) for c in problem.coefficients},
        )
        check_shapes(problem, network, operator, points, self.parameters.coefficients)
        self.equation_points = points.only(EQUATION)
        self.plan = operator.plan(self.equation_points, problem.partials)
        self.conditions = [Term.of(condition, operator, points) for condition in problem.conditions]
        self.stack = Stack.of([self.plan, *(term.plan for term in self.conditions)])
        self.attention: Tensor | None = None
        self.evaluations = 0
        self._history: list[Counted] = []
        self._latest: tuple[int, Evaluation] | None = None
        self._origin = self.vector.clone()

    @property
    def vector(self) -> Tensor:
        """The flat parameters."""
        return self.parameters.vector

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the loss terms, the interior first."""
        return (INTERIOR, *(term.condition.name for term in self.conditions))

    @property
    def weights(self) -> tuple[float, ...]:
        """Fixed weights of the terms."""
        return (1.0, *(term.condition.weight for term in self.conditions))

    def __call__(self, vector: Tensor) -> Evaluation:
        """Return the evaluation at the vector.

        Args:
            vector: the buffer itself, or values to be written into it.

        Returns:
            Lazy residuals, value and gradient.
        """
        if vector is not self.vector:
            self.vector.copy_(vector)
        version = self.vector._version
        if self._latest is None or self._latest[0] != version:
            self._latest = (version, Evaluation(self))
        return self._latest[1]

    def begin_step(self) -> Evaluation:
        """Return the evaluation at the current vector and measure step lengths from here.

        A line search ends where the next step begins: that evaluation is not made again. Under attention it is, since
        the weights of the loss have changed.

        Returns:
            The evaluation that the step starts from.
        """
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

    def start_coefficients(self) -> list[float]:
        """Return the unknown coefficients that the step began from.

        Returns:
            One number each, in the problem's order.
        """
        count = len(self.problem.coefficients)
        return self._origin[len(self._origin) - count :].tolist()

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
            coefficients: unknown scalars by name; those of the flat buffer by default.

        Returns:
            (n, equations).
        """
        coefficients = self.parameters.coefficients if coefficients is None else coefficients
        return self.problem.residual(jet, plan.points.interior, coefficients)


class Evaluation:
    """Residuals, loss and gradient at one parameter vector; each is computed when first asked for.

    `gradient_norm` is NaN until the gradient has been asked for.
    """

    def __init__(self, objective: Objective):
        self._objective = objective
        self.gradient_norm = float("nan")
        self._version = objective.vector._version
        self._jet = Jets(objective.network, objective.stack)

    @cached_property
    def residual(self) -> Tensor:
        """The equation's residual on its points, (n, equations)."""
        self._objective.evaluations += 1
        # With a graph also where the first to ask wants none: the gradient will need it.
        with torch.enable_grad():
            return self._objective.equation(self._objective.plan, self._jet(self._objective.plan))

    @cached_property
    def condition_residuals(self) -> list[Tensor]:
        """The residual of each condition, (n, equations) each."""
        objective = self._objective
        coefficients = objective.parameters.coefficients
        with torch.enable_grad():
            return [term.residual(self._jet(term.plan), coefficients) for term in objective.conditions]

    @cached_property
    def _losses(self) -> tuple[Tensor, Tensor]:
        """Raw and weighted mean square of every term, each (terms,)."""
        objective = self._objective
        raw = torch.stack([mean_square(self.residual), *map(mean_square, self.condition_residuals)])
        first = raw[0] if objective.attention is None else mean_square(objective.attention[:, None] * self.residual)
        return raw.detach(), torch.stack([first, *raw[1:]]) * raw.new_tensor(objective.weights)

    @cached_property
    def value(self) -> Tensor:
        """The loss, a scalar; the attention weights of the moment are used. For its gradient ask `gradient`."""
        return self._losses[1].sum()

    @property
    def raw(self) -> Tensor:
        """Unweighted mean square of each term, (terms,)."""
        return self._losses[0]

    @property
    def effective_weights(self) -> Tensor:
        """Weighted over raw, (terms,), fixed where raw is 0: loss = sum of weight * raw, also under attention."""
        fixed = self.raw.new_tensor(self._objective.weights)
        return torch.where(self.raw == 0, fixed, self._losses[1].detach() / self.raw)

    @cached_property
    def gradient(self) -> Tensor:
        """Gradient of the loss in the flat buffer, (parameters,); frees the graph and counts the evaluation."""
        objective = self._objective
        self._check_version()
        gradient = objective.parameters.gradient(self.value, self._jet.detached)
        self.gradient_norm = float(torch.linalg.vector_norm(gradient))
        objective._history.append(Counted(float(self.value.detach()), self.gradient_norm, objective.update_norm()))
        return gradient

    def _check_version(self) -> None:
        if self._objective.vector._version != self._version:
            raise RuntimeError(
                "the parameters have changed since this evaluation was made, its gradient would mix two points: ask "
                "objective(objective.vector) again"
            )

    def scaled_terms(
        self, plan: Plan | None = None, rows: Tensor | None = None, attended: bool = True
    ) -> list[tuple[Plan, ScaledResidual]]:
        """Return each term's plan, and its residual scaled so that the loss is the sum of squares; the interior first.

        Args:
            plan: of other interior points than the objective's, whose mean square then stands for the interior term.
            rows: which of the objective's points these are, for their attention; None for all of them.
            attended: whether the attention weights are in the scale.

        Returns:
            Pairs of a plan and a function (jet, coefficients) -> (n, equations).
        """
        objective = self._objective
        interior = objective.plan if plan is None else plan
        plans = [interior, *(term.plan for term in objective.conditions)]
        residuals = [partial(objective.equation, interior), *(term.residual for term in objective.conditions)]

        def scaled(residual, weight, attention, jet: Jet, coefficients: Mapping[str, Tensor]) -> Tensor:
            values = residual(jet, coefficients)
            values = values if attention is None else attention[:, None] * values
            return values * (weight / len(values)) ** 0.5

        attention = objective.attention if attended else None
        attention = attention if rows is None or attention is None else attention[rows]
        attentions = [attention] + [None] * len(objective.conditions)
        parts = zip(residuals, objective.weights, attentions, strict=True)
        return list(zip(plans, (partial(scaled, *part) for part in parts), strict=True))

    @cached_property
    def scaled_residual(self) -> Tensor:
        """Residuals of all terms, interior first, scaled so that the sum of their squares is the loss, (rows,)."""
        attention, first = self._objective.attention, self.residual.detach()
        residuals = [first if attention is None else attention[:, None] * first]
        residuals += [residual.detach() for residual in self.condition_residuals]
        weights = zip(residuals, self._objective.weights, strict=True)
        return torch.cat([(residual * (weight / len(residual)) ** 0.5).reshape(-1) for residual, weight in weights])

    def transposed(self, vector: Tensor) -> Tensor:
        """Return the transposed Jacobian of `scaled_residual` times a vector, by one more pass forward and backward.

        Args:
            vector: (rows,).

        Returns:
            (parameters,).
        """
        self._check_version()
        objective, jets = self._objective, Jets(self._objective.network, self._objective.stack)
        with torch.enable_grad():
            coefficients = objective.parameters.coefficients
            parts = [scaled(jets(plan), coefficients).reshape(-1) for plan, scaled in self.scaled_terms()]
            return objective.parameters.gradient(torch.cat(parts) @ vector, jets.detached)

    @cached_property
    def jacobian(self) -> Tensor:
        """Derivatives of `scaled_residual` in the flat buffer, (rows, parameters): the gradient is 2 J^T r."""
        return torch.cat([self.jacobian_of(plan, scaled) for plan, scaled in self.scaled_terms()])

    def jacobian_of(self, plan: Plan, scaled: ScaledResidual) -> Tensor:
        """Return the derivatives of one term's scaled residuals in the flat buffer.

        Args:
            plan: of the term, from `scaled_terms`.
            scaled: its residual, from there too.

        Returns:
            (n * equations, parameters), the equations of a point next to each other.
        """
        flat = self._objective.parameters
        residual = partial(_swap, scaled, flat.coefficients)
        weights = jacobian(plan, self._objective.network, residual, flat.parameters)
        return torch.cat([weights, *self._coefficient_columns(plan, scaled)], dim=1)

    @cached_property
    def gram(self) -> Tensor:
        """The tangent kernel J J^T of the residuals, (rows, rows); on nodes C K C^T, without the Jacobian."""
        flat = self._objective.parameters
        terms = [(plan, partial(_swap, scaled, flat.coefficients)) for plan, scaled in self.scaled_terms()]
        known = None if flat.coefficients else discrete_gram(terms, self._objective.network, flat.parameters)
        return self.jacobian @ self.jacobian.T if known is None else known

    def directional(self, vector: Tensor) -> Tensor:
        """Return the Jacobian times a vector, without the Jacobian.

        Args:
            vector: (parameters,).

        Returns:
            (rows,).
        """
        objective = self._objective
        network, flat = objective.network, objective.parameters
        tangents = [flat.part(vector, parameter) for parameter in flat.parameters]
        changes = [flat.part(vector, coefficient) for coefficient in flat.coefficients.values()]
        results = []
        for plan, scaled in self.scaled_terms():
            residual = partial(_swap, scaled, flat.coefficients)
            change = directional(plan, network, residual, flat.parameters, tangents)
            for column, amount in zip(self._coefficient_columns(plan, scaled), changes, strict=True):
                change = change + column[:, 0] * amount
            results.append(change)
        return torch.cat(results)

    def _coefficient_columns(self, plan: Plan, scaled) -> list[Tensor]:
        """Return the derivatives of a term in each unknown coefficient, (rows, 1) each."""
        coefficients = self._objective.parameters.coefficients
        if not coefficients:
            return []
        with torch.no_grad():
            jet = plan(self._objective.network)
        names, values = list(coefficients), tuple(c.detach() for c in coefficients.values())

        def residual(*given: Tensor) -> Tensor:
            return scaled(jet, dict(zip(names, given, strict=True))).reshape(-1, 1)

        directions = torch.eye(len(values), dtype=values[0].dtype, device=values[0].device)
        return [torch.func.jvp(residual, values, tuple(direction))[1] for direction in directions]


def _swap(scaled: Callable, coefficients: Mapping[str, Tensor], jet: Jet) -> Tensor:
    return scaled(jet, coefficients)


def mean_square(residual: Tensor) -> Tensor:
    """Return the mean over points of the sum over equations of the square.

    Args:
        residual: (n, equations).

    Returns:
        A scalar.
    """
    return residual.square().sum() / len(residual)
