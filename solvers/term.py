"""A term of the loss: a boundary, initial or periodicity condition bound to its points."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from solvers.jet import Jet
from solvers.operators.operator import Operator, Plan
from solvers.points import Points
from solvers.problems.problem import Condition


@dataclass(frozen=True, eq=False)
class Term:
    """A condition bound to its points."""

    condition: Condition
    plan: Plan
    rows: Tensor
    normals: Tensor

    @classmethod
    def of(cls, condition: Condition, operator: Operator, points: Points) -> Term:
        """Bind a condition to its points.

        Args:
            condition: names its points.
            operator: plans its partials.
            points: all of the problem's.

        Returns:
            The term.
        """
        own = points.only(condition.where)
        return cls(condition, operator.plan(own, condition.partials), own.rows, own.normals)

    def residual(self, jet: Jet, coefficients) -> Tensor:
        """Return the condition's residual.

        Args:
            jet: of the network at this term's points.
            coefficients: unknown scalars by name.

        Returns:
            (n, equations).
        """
        return self.condition.residual(jet, self.rows, self.normals, coefficients)
