"""The jets of several plans at one parameter vector: what plans share is evaluated once."""

from __future__ import annotations

from torch import nn

from solvers.jet import Jet
from solvers.operators.detached import Detached
from solvers.operators.operator import Plan
from solvers.operators.rbf_fd_plan import RBFFDPlan
from solvers.operators.stack import Stack
from solvers.operators.tangent_prop import TangentPropPlan


class Jets:
    """Jets of one network, cut from it where a plan has an adjoint of its own.

    A plan is evaluated once, and plans on one node set share the network's values at the nodes. The gradient of what is
    computed from the jets is `flat_gradient(value, jets.detached, starts)`.

    Args:
        network: maps (n, axes) to (n, components); its parameters stay as they are meanwhile.
        stack: plans that one sparse product serves, or None.
    """

    def __init__(self, network: nn.Module, stack: Stack | None = None):
        self.network, self._stack = network, stack
        self._stacked: dict[Plan, Jet] = {}
        self.detached: list[Detached] = []
        self._jets: dict[Plan, Jet] = {}

    def __call__(self, plan: Plan) -> Jet:
        """Return the jet of a plan.

        Args:
            plan: of any operator.

        Returns:
            The jet; its graph may begin at leaves in `detached`.
        """
        if self._stack is not None and plan in self._stack.plans:
            if not self._stacked:
                self._stacked = self._stack.jets(self(self._stack.inner))
            return self._stacked[plan]
        if isinstance(plan, RBFFDPlan):
            return plan.of(self(plan.inner))
        if plan not in self._jets:
            self._jets[plan] = self._jet(plan)
        return self._jets[plan]

    def _jet(self, plan: Plan) -> Jet:
        detached = plan.detached(self.network) if isinstance(plan, TangentPropPlan) else None
        if detached is None:
            return plan(self.network)
        self.detached.append(detached)
        return detached.jet
