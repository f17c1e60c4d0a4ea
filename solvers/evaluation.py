"""The loss at one parameter vector: residuals, value, gradient and Jacobian, each when first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from solvers.affine import Affine
from solvers.compiled_loss import CompiledEvaluation
from solvers.elimination import Elimination
from solvers.jacobian import directional, jacobian
from solvers.jet import Jet
from solvers.operators.jets import Jets
from solvers.operators.operator import Plan
from solvers.tangent_kernel import discrete_gram

if TYPE_CHECKING:
    from solvers.objective import Objective

ScaledResidual = Callable[[Jet, Mapping[str, Tensor]], Tensor]
"""(jet, coefficients) -> (n, equations), scaled so that the sum of squares is the term's share of the loss."""


@dataclass(frozen=True)
class Counted:
    """One loss evaluation, as the file keeps it: loss, gradient norm and distance from where the step began."""

    loss: float
    gradient_norm: float
    step_length: float


class Evaluation:
    """Residuals, loss and gradient at one parameter vector; each is computed when first asked for.

    `gradient_norm` is NaN until the gradient has been asked for.
    """

    def __init__(self, objective: Objective):
        self._objective = objective
        self.gradient_norm = float("nan")
        self._version = objective.parameters.version
        self._jet = Jets(objective.network, objective.stack)

    @cached_property
    def residual(self) -> Tensor:
        """The equation's residual on its points, (n, equations)."""
        if self._objective.unknowns:
            return self._elimination.residuals[0]
        return self._equation(self._objective.parameters.values())

    @cached_property
    def condition_residuals(self) -> list[Tensor]:
        """The residual of each condition, (n, equations) each."""
        if self._objective.unknowns:
            return self._elimination.residuals[1:]
        return self._conditions(self._objective.parameters.values())

    def _equation(self, coefficients: Mapping[str, Tensor | Affine]) -> Tensor | Affine:
        objective = self._objective
        self._check_version()
        objective.evaluations += 1
        if self._compiled is not None:
            return self._compiled.parts[0]
        with torch.enable_grad():
            return objective.equation(objective.plan, self._jet(objective.plan), coefficients)

    def _conditions(self, coefficients: Mapping[str, Tensor | Affine]) -> list[Tensor | Affine]:
        self._check_version()
        if self._compiled is not None:
            return self._compiled.parts[1:]
        with torch.enable_grad():
            return [term.residual(self._jet(term.plan), coefficients) for term in self._objective.conditions]

    @cached_property
    def _compiled(self) -> CompiledEvaluation | None:
        objective = self._objective
        if objective.compiled is None:
            return None
        return objective.compiled.evaluate(objective.network, objective.parameters.values())

    @cached_property
    def _elimination(self) -> Elimination:
        """Every term as an affine function of the unknowns, and their optimum."""
        objective = self._objective
        unknown = {name: Affine.unknown(name) for name in objective.unknowns}
        coefficients = objective.parameters.values() | unknown
        parts = [self._equation(coefficients), *self._conditions(coefficients)]
        # A formulation is refused at once; later on the like is an accident of the network.
        return Elimination(objective.unknowns, parts, self._weigh, refuse=objective.evaluations == 1)

    def _weigh(self, number: int, rows: Tensor) -> Tensor:
        """Return rows of a term as they stand in the scaled residual, whose squares sum to the loss."""
        attention = self._objective.attention if number == 0 else None
        rows = rows if attention is None else attention[:, None] * rows
        return rows * (self._objective.weights[number] / len(rows)) ** 0.5

    @cached_property
    def eliminated(self) -> dict[str, Tensor]:
        """Coefficients without an entry in the flat vector: least-squares optima at this vector."""
        return self._elimination.values if self._objective.unknowns else {}

    @cached_property
    def coefficients(self) -> dict[str, float]:
        """All unknown coefficients by name, in the problem's order; ask before the vector moves on."""
        held = self._objective.parameters.values() | self.eliminated
        return {c.name: float(held[c.name].detach()) for c in self._objective.problem.coefficients}

    @cached_property
    def _losses(self) -> tuple[Tensor, Tensor]:
        """Raw and weighted mean square of every term, each (terms,)."""
        attention, weights = self._objective.attention, self._objective.weights
        # With a graph also where the first to ask wants none: the gradient will need it.
        with torch.enable_grad():
            raw = torch.stack([mean_square(self.residual), *map(mean_square, self.condition_residuals)])
            first = raw[0] if attention is None else mean_square(attention[:, None] * self.residual)
            return raw.detach(), torch.stack([first, *raw[1:]]) * raw.new_tensor(weights)

    @cached_property
    def value(self) -> Tensor:
        """The loss, a scalar; the attention weights of the moment are used. For its gradient ask `gradient`."""
        with torch.enable_grad():
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
        """Gradient of the loss in the flat buffer, (parameters,); frees the graph and counts the evaluation.

        It is 0 for a trained coefficient on a bound that a descent would push it beyond, and beyond its bounds.
        """
        objective, gradient = self._objective, self._full_gradient
        if self._fixed:
            gradient[self._fixed] = 0
        self.gradient_norm = float(torch.linalg.vector_norm(gradient))
        objective._history.append(Counted(float(self.value.detach()), self.gradient_norm, objective.update_norm()))
        return gradient

    @cached_property
    def _full_gradient(self) -> Tensor:
        self._check_version()
        if self._compiled is None:
            return self._objective.parameters.gradient(self.value, self._jet.detached)
        return self._compiled_gradient()

    @cached_property
    def _fixed(self) -> list[int]:
        """Places of trained coefficients that their bounds hold."""
        flat = self._objective.parameters
        return flat.outward(self._full_gradient) if flat.on_bound else []

    @torch.no_grad()
    def _compiled_gradient(self) -> Tensor:
        """Return the gradient through compiled residuals: of the sum of w/n r^2 it is 2 w/n r, led back."""
        flat, parts = self._objective.parameters, [self.residual, *self.condition_residuals]
        cotangents = [2 * self._weigh(number, self._weigh(number, part)) for number, part in enumerate(parts)]
        gradient, scalars = self._compiled.gradient(cotangents, self.eliminated, flat.starts, len(flat.vector))
        for (name, entry), change in zip(flat.coefficients.items(), scalars, strict=True):
            gradient[flat.starts[entry]] = change * flat.slope(name)
        return gradient

    def _check_version(self) -> None:
        if self._objective.parameters.version != self._version:
            raise RuntimeError(
                "the parameters have changed since this evaluation was made, what it says would mix two points: ask "
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
        parts = [self.residual, *self.condition_residuals]
        return torch.cat([self._weigh(number, part.detach()).reshape(-1) for number, part in enumerate(parts)])

    def _projected(self, rows: Tensor) -> Tensor:
        """Return rows of the scaled residual without what the eliminated coefficients take out of them."""
        return self._elimination.projected(rows) if self._objective.unknowns else rows

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
            coefficients = objective.coefficients
            parts = [scaled(jets(plan), coefficients).reshape(-1) for plan, scaled in self.scaled_terms()]
            found = objective.parameters.gradient(torch.cat(parts) @ self._projected(vector), jets.detached)
        found[self._fixed] = 0
        return found

    @cached_property
    def jacobian(self) -> Tensor:
        """Derivatives of `scaled_residual` in the flat buffer, (rows, parameters): the gradient is 2 J^T r.

        Where coefficients are eliminated it is Kaufman's: their slopes are projected out. The column of a trained one
        that its bound holds is 0.
        """
        self._check_version()
        found = self._projected(torch.cat([self.jacobian_of(plan, scaled) for plan, scaled in self.scaled_terms()]))
        found[:, self._fixed] = 0
        return found

    def jacobian_of(self, plan: Plan, scaled: ScaledResidual) -> Tensor:
        """Return the derivatives of one term's scaled residuals in the flat buffer, eliminated coefficients held.

        Args:
            plan: of the term, from `scaled_terms`.
            scaled: its residual, from there too.

        Returns:
            (n * equations, parameters), the equations of a point next to each other.
        """
        flat = self._objective.parameters
        residual = partial(_swap, scaled, self._objective.coefficients)
        weights = jacobian(plan, self._objective.network, residual, flat.parameters)
        return torch.cat([weights, *self._coefficient_columns(plan, scaled)], dim=1)

    @cached_property
    def gram(self) -> Tensor:
        """The tangent kernel J J^T of the residuals, (rows, rows); on nodes C K C^T, without the Jacobian."""
        flat = self._objective.parameters
        terms = [(plan, partial(_swap, scaled, {})) for plan, scaled in self.scaled_terms()]
        known = (
            None
            if self._objective.problem.coefficients
            else discrete_gram(terms, self._objective.network, flat.parameters)
        )
        return self.jacobian @ self.jacobian.T if known is None else known

    def directional(self, vector: Tensor) -> Tensor:
        """Return the Jacobian times a vector, without the Jacobian.

        Args:
            vector: (parameters,).

        Returns:
            (rows,).
        """
        self._check_version()
        objective = self._objective
        network, flat = objective.network, objective.parameters
        if self._fixed:
            vector = vector.clone()
            vector[self._fixed] = 0
        tangents = [flat.part(vector, parameter) for parameter in flat.parameters]
        changes = [flat.part(vector, coefficient) for coefficient in flat.coefficients.values()]
        results = []
        for plan, scaled in self.scaled_terms():
            residual = partial(_swap, scaled, objective.coefficients)
            change = directional(plan, network, residual, flat.parameters, tangents)
            for column, amount in zip(self._coefficient_columns(plan, scaled), changes, strict=True):
                change = change + column[:, 0] * amount
            results.append(change)
        return self._projected(torch.cat(results))

    def _coefficient_columns(self, plan: Plan, scaled) -> list[Tensor]:
        """Return the derivatives of a term in each coefficient's entry of the flat buffer, (rows, 1) each."""
        flat, coefficients = self._objective.parameters, self._objective.parameters.coefficients
        if not coefficients:
            return []
        others = {name: value.detach() for name, value in self.eliminated.items()}
        with torch.no_grad():
            jet = plan(self._objective.network)
        names, values = list(coefficients), tuple(c.detach() for c in coefficients.values())

        def residual(*given: Tensor) -> Tensor:
            entries = dict(zip(names, given, strict=True))
            return scaled(jet, flat.values(entries) | others).reshape(-1, 1)

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
    flat = residual.reshape(-1)
    return flat.dot(flat) / len(residual)
