"""Collocation with random features: each term's residual, and its linearisation, in the outer coefficients."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from solvers.jet import Jet
from solvers.networks import RandomFeatures
from solvers.operators.operator import Operator, Plan
from solvers.points import EQUATION, Points
from solvers.problems.problem import Problem
from solvers.shapes import INTERIOR, check_shapes

Weights = Mapping[str, float] | str | None
"""FeatureTerm -> factor of its squared residual, "balanced", or None for the problem's own."""


@dataclass(frozen=True, eq=False)
class System:
    """The weighted collocation system A c = b in float64: interior rows first, then each condition.

    Args:
        matrix: (rows, features); each term's rows carry the square root of its weight.
        right: (rows, 1).
        rows: term -> number of rows.
        plan: of the interior points.
    """

    matrix: Tensor
    right: Tensor
    rows: Mapping[str, int]
    plan: Plan


@dataclass(frozen=True, eq=False)
class FeatureTerm:
    """One term's residual as a function of the outer coefficients c; the jet of u = Phi c is linear in them.

    Args:
        name: "interior", or the condition's.
        plan: at the term's points.
        jet: of the features: partial -> (n, features).
        residual_of: jet of u -> residual (rows, equations).
    """

    name: str
    plan: Plan
    jet: Jet
    residual_of: Callable[[Jet], Tensor]

    def residual(self, coefficients: Tensor) -> Tensor:
        """Return R(u) at u = Phi c.

        Args:
            coefficients: (features, 1).

        Returns:
            (rows, 1).
        """
        return self._at({name: value @ coefficients for name, value in self.jet.values.items()})

    def linearise(self, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """Return J = sum_p dR/du_p Phi_p, p the partials, and R itself, by forward mode through the residual alone.

        Differences R(u + Phi) - R(u) would leave eps max|R| in every entry; the derivative does not.

        Args:
            coefficients: (features, 1): where.

        Returns:
            (rows, features) and (rows, 1).

        Raises:
            ValueError: a residual of several equations.
        """
        values = list(self.jet.values.values())
        at = tuple((value @ coefficients).expand_as(value).contiguous() for value in values)
        residual, matrix = self._tangent(at, tuple(value.detach() for value in values))
        if matrix.shape[1] != len(coefficients):
            raise ValueError(
                f"the term {self.name!r} has {matrix.shape[1] / len(coefficients):g} equations a point: least squares "
                f"takes one; make each equation a condition of its own"
            )
        return matrix, residual[:, :1]

    def is_linear(self) -> bool:
        """Return whether R(u) = L u - f, tried at some of the features.

        Returns:
            False also where R is not finite at u = 0.
        """
        # Eight features tell as well as all: a residual that bends does so along any of them.
        few = {name: value[:, :: max(1, value.shape[1] // 8)] for name, value in self.jet.values.items()}
        tried = replace(self, jet=replace(self.jet, values=few))
        like = next(iter(few.values()))
        matrix, at_zero = tried.linearise(like.new_zeros(like.shape[1], 1))
        if not (torch.isfinite(matrix).all() and torch.isfinite(at_zero).all()):
            return False
        allowed = 1e-9 * float(matrix.abs().max()) + 1e3 * torch.finfo(matrix.dtype).eps * float(at_zero.abs().max())
        for scale in (1.0, -2.0):
            bent = tried._at({name: scale * value for name, value in few.items()}) - at_zero - scale * matrix
            if not float(bent.abs().max()) <= allowed:
                return False
        return True

    def _at(self, values: Mapping[str, Tensor]) -> Tensor:
        return self.residual_of(replace(self.jet, values=values))

    def _tangent(self, at: tuple[Tensor, ...], direction: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        names = list(self.jet.values)
        with torch.no_grad():
            return torch.func.jvp(lambda *values: self._at(dict(zip(names, values, strict=True))), at, direction)


@torch.no_grad()
def terms_of(problem: Problem, features: RandomFeatures, operator: Operator, points: Points) -> tuple[FeatureTerm, ...]:
    """Return the terms of a problem, each with the jet of the features at its points; the costly part of an assembly.

    Args:
        problem: equation and conditions.
        features: M features.
        operator: takes their derivatives.
        points: not looked at: they may lie outside the domain.

    Returns:
        Interior first, then each condition.

    Raises:
        ValueError: features or derivatives that are not finite.
    """

    def term(name, where, partials, residual_at) -> FeatureTerm:
        plan = operator.plan(points.only(where), partials)
        jet = plan(features.features)
        if not all(torch.isfinite(value).all() for value in jet.values.values()):
            raise ValueError(
                f"the features or their derivatives are not finite at the points of {name!r}: lower the scale"
            )
        return FeatureTerm(name, plan, jet, residual_at(plan.points))

    def equation(own: Points):
        return lambda jet: problem.residual(jet, own.interior, {})

    def condition(it):
        return lambda own: lambda jet: it.residual(jet, own.rows, own.normals, {})

    conditions = [term(c.name, c.where, c.partials, condition(c)) for c in problem.conditions]
    return (term(INTERIOR, EQUATION, problem.partials, equation), *conditions)


def linearise(terms: tuple[FeatureTerm, ...], weights: Mapping[str, float], coefficients: Tensor) -> System:
    """Return the system J c' = J c - R(c), whose solution is the next Gauss-Newton iterate c'.

    Where R(u) = L u - f it is L Phi c' = f, whatever c is.

    Args:
        terms: of a problem.
        weights: term -> factor of its squared residual.
        coefficients: (features, 1): c.

    Returns:
        The weighted system.
    """
    blocks, rights, rows = [], [], {}
    for term in terms:
        matrix, residual = term.linearise(coefficients)
        scale = math.sqrt(weights[term.name])
        blocks.append(scale * matrix)
        rights.append(scale * (matrix @ coefficients - residual))
        rows[term.name] = len(matrix)
    return System(torch.cat(blocks), torch.cat(rights), rows, terms[0].plan)


def weights_of(
    problem: Problem, weights: Weights, terms: tuple[FeatureTerm, ...], coefficients: Tensor
) -> dict[str, float]:
    """Return the factor of each term's squared residual.

    "balanced" gives the interior 1 and each condition w = (max_i ||J_i|| / max_i ||C_i||)^2, the rows J_i of the
    interior and C_i of the condition linearised at c: the longest row of every term is then equally long, and the
    conditions hold to the relative accuracy of the equation however high its derivatives are.

    Args:
        problem: its conditions have weights of their own.
        weights: term -> factor, the others keep the problem's; "balanced"; or None.
        terms: of the problem.
        coefficients: (features, 1): c, for "balanced".

    Returns:
        FeatureTerm -> factor, all terms.

    Raises:
        ValueError: an unknown term or word, or a factor that is negative or not finite.
    """
    found = {INTERIOR: 1.0, **{condition.name: condition.weight for condition in problem.conditions}}
    if weights is None:
        return found
    if weights == "balanced":
        longest = {t.name: float(torch.linalg.vector_norm(t.linearise(coefficients)[0], dim=1).max()) for t in terms}
        reach = longest[INTERIOR]
        return {name: (reach / own) ** 2 if own > 0 and reach > 0 else 1.0 for name, own in longest.items()}
    if not isinstance(weights, Mapping):
        raise ValueError(f"expected weights as a mapping term -> factor, 'balanced' or None, came {weights!r}")
    for name, factor in weights.items():
        if name not in found:
            raise ValueError(f"{problem.name} has no term {name!r} to weight; expected one of {', '.join(found)}")
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 <= factor < math.inf:
            raise ValueError(f"expected a finite weight >= 0 for the term {name!r}, came {factor!r}")
    return {name: float(weights.get(name, own)) for name, own in found.items()}


def collocation(
    problem: Problem,
    features: RandomFeatures,
    operator: Operator,
    points: Points,
    weights: Weights = None,
    coefficients: Tensor | None = None,
) -> System:
    """Return the weighted system at any points, unchecked: they may lie a little outside the domain.

    Args:
        problem: equation and conditions.
        features: M features.
        operator: takes their derivatives.
        points: float64, on the features' device.
        weights: of the terms; at displaced points as a mapping, so that they stay the same.
        coefficients: (features, 1) that a nonlinear residual is linearised at; None is 0.

    Returns:
        The system.

    Example:
        >>> from solvers import AutoDiff, RandomFeatures, problems
        >>> problem = problems.poisson_1d()
        >>> collocation(problem, RandomFeatures(1, 5), AutoDiff(), problem.sample(interior=7)).matrix.shape
        torch.Size([9, 5])
    """
    terms = terms_of(problem, features, operator, points)
    at = torch.zeros_like(features.coefficient).detach() if coefficients is None else coefficients
    return linearise(terms, weights_of(problem, weights, terms, at), at)


def check_collocation(problem: Problem, features: RandomFeatures, operator: Operator, points: Points) -> None:
    """Refuse what has no collocation system.

    Args:
        problem: equation and conditions.
        features: M features.
        operator: takes their derivatives.
        points: float64, on the features' device.

    Raises:
        ValueError: unknown coefficients, points or features that do not match the problem, a residual of another shape.
    """
    problem.check(points)
    if features.weight.shape[1] != len(problem.axes):
        raise ValueError(
            f"{problem.name} has {len(problem.axes)} axes, the features have {features.weight.shape[1]} inputs: make "
            f"them with {type(features).__name__}({len(problem.axes)}, ...)"
        )
    if problem.coefficients:
        raise ValueError(f"{problem.name} has unknown coefficients: least squares solves for u alone; use train()")
    check_shapes(problem, lambda x: features.features(x)[:, :1], operator, points, {})
