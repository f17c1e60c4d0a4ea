"""Interchangeable derivative operators: `operator.plan(points, partials)`, then `plan(network)`."""

from solvers.operators.autodiff import AutoDiff as AutoDiff
from solvers.operators.finite_difference import FiniteDifference as FiniteDifference
from solvers.operators.operator import Operator as Operator
from solvers.operators.operator import Plan as Plan
from solvers.operators.rbf_fd import RBFFD as RBFFD
from solvers.operators.rules import register_rule as register_rule
from solvers.operators.tangent_prop import TangentProp as TangentProp

__all__ = ["RBFFD", "AutoDiff", "FiniteDifference", "Operator", "Plan", "TangentProp", "register_rule"]
