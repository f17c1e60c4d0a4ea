"""All residuals of a loss as compiled code, from the network's jets to their cotangents: no graph, few calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from solvers.affine import Affine, as_affine
from solvers.compiled_residual import CompiledResidual, compile_residual
from solvers.jet import Jet
from solvers.operators.detached import Detached
from solvers.operators.operator import Plan
from solvers.operators.tangent_prop import TangentPropPlan

Pointwise = Callable[[Jet, Tensor, Tensor, Mapping[str, Tensor | Affine]], Tensor | Affine]
"""residual(jet, x, normals, coefficients), of the equation or of a condition."""


@dataclass(frozen=True, eq=False)
class CompiledTerm:
    """A term of the loss: its plan, its compiled residual, and what that takes besides the jet.

    Args:
        plan: of its points.
        compiled: the residual; with eliminated coefficients its value and then its slope in each, side by side.
        constants: that depend on the points alone.
        equations: columns of the residual.
    """

    plan: TangentPropPlan
    compiled: CompiledResidual
    constants: Tensor
    equations: int


class CompiledLoss:
    """The residuals of all terms, compiled.

    Args:
        terms: the equation's first.
        held: names of the coefficients that have an entry in the flat vector, in order.
        unknowns: names of the eliminated ones, in order.
    """

    def __init__(self, terms: Sequence[CompiledTerm], held: Sequence[str], unknowns: Sequence[str]):
        self.terms, self.held, self.unknowns = tuple(terms), tuple(held), tuple(unknowns)

    @classmethod
    def of(
        cls, terms: Sequence[tuple[Plan, Pointwise]], network: nn.Module, held: Sequence[str], unknowns: Sequence[str]
    ) -> CompiledLoss | None:
        """Compile the terms of a loss, or return None where one of them needs torch.

        Args:
            terms: plan and residual of each, the equation's first.
            network: whose jets they take.
            held: names of coefficients with an entry in the flat vector.
            unknowns: names of eliminated coefficients.

        Returns:
            None where a plan's jet is not cut from its network, or a residual is not covered.
        """
        found = []
        for plan, residual in terms:
            term = _compiled(plan, residual, network, held, unknowns)
            if term is None:
                return None
            found.append(term)
        return cls(found, held, unknowns)

    def evaluate(self, network: nn.Module, coefficients: Mapping[str, Tensor]) -> CompiledEvaluation | None:
        """Return all residuals at the network's present parameters, or None where it needs torch by now.

        Args:
            network: the same.
            coefficients: those that are held, by name.

        Returns:
            The residuals and what their gradient needs; None for a network that has changed since, as by a hook or a
            reparametrisation.
        """
        detached = {plan: plan.detached(network) for plan in dict.fromkeys(term.plan for term in self.terms)}
        if None in detached.values():
            return None
        return CompiledEvaluation(self, detached, self._scalars(coefficients))

    def _scalars(self, coefficients: Mapping[str, Tensor]) -> Tensor:
        like = self.terms[0].constants
        if not self.held:
            return like.new_empty(0)
        return torch.stack([coefficients[name].detach() for name in self.held])


class CompiledEvaluation:
    """Residuals at one parameter vector.

    Args:
        loss: compiled.
        detached: jets of the plans.
        scalars: held coefficients.
    """

    def __init__(self, loss: CompiledLoss, detached: Mapping[Plan, Detached], scalars: Tensor):
        self.loss, self.detached, self.scalars = loss, detached, scalars
        self.parts = [self._part(term) for term in loss.terms]

    def _part(self, term: CompiledTerm) -> Tensor | Affine:
        """Return a term's residual, affine in the eliminated coefficients."""
        values = term.compiled.forward(self.detached[term.plan].stacked, term.constants, self.scalars)
        if not self.loss.unknowns:
            return values
        columns = values.split(term.equations, dim=1)
        return Affine(columns[0], dict(zip(self.loss.unknowns, columns[1:], strict=True)))

    def gradient(
        self, cotangents: Sequence[Tensor], eliminated: Mapping[str, Tensor], starts: Mapping[Tensor, int], size: int
    ) -> tuple[Tensor, Tensor]:
        """Return the derivatives of sum_k cotangent_k . residual_k.

        Args:
            cotangents: of the terms' residuals, (n, equations) each.
            eliminated: coefficients by name, at their optimum.
            starts: parameter -> its first element in the flat buffer.
            size: of the buffer.

        Returns:
            In the parameters, (size,), and in the held coefficients, (held,).
        """
        flat, scalars = self.scalars.new_zeros(size), torch.zeros_like(self.scalars)
        stacks: dict[Plan, Tensor] = {}
        for term, cotangent in zip(self.loss.terms, cotangents, strict=True):
            if self.loss.unknowns:
                cotangent = torch.cat([cotangent, *(eliminated[name] * cotangent for name in self.loss.unknowns)], 1)
            stack, own = term.compiled.adjoint(
                self.detached[term.plan].stacked, term.constants, self.scalars, cotangent
            )
            stacks[term.plan] = stacks[term.plan] + stack if term.plan in stacks else stack
            scalars += own
        for plan, stack in stacks.items():
            self.detached[plan].pull_back(stack, flat, starts)
        return flat, scalars


def _compiled(
    plan: Plan, residual: Pointwise, network: nn.Module, held: Sequence[str], unknowns: Sequence[str]
) -> CompiledTerm | None:
    if not isinstance(plan, TangentPropPlan) or (detached := plan.detached(network)) is None:
        return None
    points = plan.points
    axes, kind = len(points.axes), next(kind for kind, count in enumerate(points.counts) if count)
    columns = torch.cat([points.rows, points.normals], dim=1) if len(points.normals) else points.rows
    equations = []

    def function(stack: Tensor, x: Tensor, scalars: Tensor) -> Tensor:
        rows, normals = x[:, :axes], x[:, axes:]
        counts = tuple(len(x) if i == kind else 0 for i in range(3))
        jet = Jet(points.axes, dict(zip(plan.names, stack.unbind(), strict=True)), counts, normals)
        given = dict(zip(held, scalars.unbind(), strict=True)) | {name: Affine.unknown(name) for name in unknowns}
        found = as_affine(residual(jet, rows, normals, given))
        equations[:] = [found.constant.shape[1]]
        zero = torch.zeros_like(found.constant)
        return torch.cat([found.constant, *(found.slopes.get(name, zero) for name in unknowns)], dim=1)

    shape = {
        "partials": len(plan.names),
        "components": detached.stacked.shape[2],
        "columns": columns.shape[1],
        "scalars": len(held),
        "dtype": columns.dtype,
    }
    try:
        compiled = compile_residual(function, **shape)
    except ValueError:
        # A residual that knows some points only, such as those of measurements, refuses the random ones it is tried at.
        return None
    if compiled is None:
        return None
    return CompiledTerm(plan, compiled, compiled.prepare(columns.contiguous()), equations[0])
