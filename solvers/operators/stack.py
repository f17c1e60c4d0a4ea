"""The matrices of several plans on one node set as one: a single sparse product serves all terms of a loss."""

from __future__ import annotations

from collections.abc import Sequence

import scipy.sparse

from solvers.jet import Jet
from solvers.operators.operator import Plan
from solvers.operators.rbf_fd_plan import RBFFDPlan
from solvers.operators.sparse_product import SparseProduct


class Stack:
    """Plans that take the same values at the same nodes, and their matrices one below the other.

    Args:
        plans: that share one evaluation of the network.
    """

    def __init__(self, plans: Sequence[RBFFDPlan]):
        self.plans, self.inner = tuple(plans), plans[0].inner
        self._products: dict[str, tuple[SparseProduct, list[int]]] = {}
        for name in set().union(*(plan.in_time for plan in plans)):
            matrices = [plan.stacked(name) if name in plan.in_time else None for plan in plans]
            rows = [0 if matrix is None else matrix.shape[0] for matrix in matrices]
            if any(rows):
                whole = scipy.sparse.vstack([matrix for matrix in matrices if matrix is not None], format="csr")
                product = SparseProduct(whole, plans[0].points.interior, plans[0].operator.backend)
                self._products[name] = product, rows

    @classmethod
    def of(cls, plans: Sequence[Plan]) -> Stack | None:
        """Return the stack of those plans that share the nodes of the first, or None where there are none to share.

        Args:
            plans: of a loss, the equation's first.

        Returns:
            The stack.
        """
        first = plans[0]
        if not isinstance(first, RBFFDPlan):
            return None
        return cls([plan for plan in plans if isinstance(plan, RBFFDPlan) and plan.inner is first.inner])

    def jets(self, inner: Jet) -> dict[RBFFDPlan, Jet]:
        """Return the jet of every plan.

        Args:
            inner: of the evaluation that they share.

        Returns:
            Plan -> jet.
        """
        names = set().union(*(plan.in_time for plan in self.plans))
        values = {name: self.plans[0].nodal(inner[name]) for name in names}
        blocks = {name: product(values[name]).split(rows) for name, (product, rows) in self._products.items()}
        found = {}
        for number, plan in enumerate(self.plans):
            own = {name: values[name] for name in plan.in_time}
            parts = {name: blocks[name][number] if name in blocks else None for name in own}
            parts = {name: part if part is not None and len(part) else None for name, part in parts.items()}
            found[plan] = plan.jet(own, parts)
        return found
