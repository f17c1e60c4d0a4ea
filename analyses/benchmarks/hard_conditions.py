"""A problem restated for the free part N of an ansatz u = g + D N: its conditions hold by construction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import comb, prod

import torch
from torch import Tensor

from solvers.compiled_loss import CompiledLoss, CompiledTerm
from solvers.compiled_residual import compile_residual
from solvers.domain import Box
from solvers.jet import Jet, parse_partial
from solvers.objective import Objective
from solvers.operators import TangentProp
from solvers.points import Points
from solvers.problems import Problem

Function = Callable[[Tensor], Tensor]
"""x (n, axes) -> (n, 1), written with + - * / ** and `solvers.functions`, or a network."""


def splits(letters: str) -> list[tuple[str, str, int]]:
    """Return how a product's derivative shares its letters among the factors.

    Args:
        letters: of a single derivative, sorted by axis.

    Returns:
        (of one factor, of the other, how often) by Leibniz' rule.

    Example:
        >>> splits("xx")
        [('', 'xx', 1), ('x', 'x', 2), ('xx', '', 1)]
    """
    counts = [(axis, letters.count(axis)) for axis in dict.fromkeys(letters)]
    found = []
    for taken in product(*(range(count + 1) for _, count in counts)):
        one = "".join(axis * k for (axis, _), k in zip(counts, taken, strict=True))
        other = "".join(axis * (count - k) for (axis, count), k in zip(counts, taken, strict=True))
        found.append((one, other, prod(comb(count, k) for (_, count), k in zip(counts, taken, strict=True))))
    return found


def _by_order(names: set[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=lambda name: (len(name), name)))


@dataclass(eq=False)
class FactoredResidual:
    """The residual of u = g + D N as one of N; the derivatives of D and g are kept for the last points.

    Args:
        problem: of u.
        distance: D.
        lift: g, zero where None.
        singles: derivatives of u that the residual takes.
        needed: derivatives of N.
    """

    problem: Problem
    distance: Function
    lift: Function | None
    singles: tuple[str, ...]
    needed: tuple[str, ...]

    def __post_init__(self):
        self._last: tuple[Tensor, Tensor] | None = None

    def __call__(self, jet: Jet, x: Tensor, coefficients) -> Tensor:
        """Return the residual.

        Args:
            jet: of N.
            x: (n, axes).
            coefficients: of the problem.

        Returns:
            (n, equations).
        """
        return self.combined(jet, x, self.columns(x))

    def columns(self, x: Tensor) -> Tensor:
        """Return the derivatives of D and then of g.

        Args:
            x: (n, axes).

        Returns:
            (n, needed + singles).
        """
        if self._last is None or self._last[0] is not x:
            distance, lift = self._derivatives(self.distance, x, self.needed), x.new_zeros(len(x), len(self.singles))
            if self.lift is not None:
                lift = self._derivatives(self.lift, x, self.singles)
            self._last = x, torch.cat([distance, lift], dim=1)
        return self._last[1]

    def _derivatives(self, function: Function, x: Tensor, names: Sequence[str]) -> Tensor:
        with torch.no_grad():
            jet = TangentProp().plan(Points(x, axes=self.problem.axes), names)(function)
            return torch.cat([jet[name] for name in names], dim=1)

    def combined(self, jet: Jet, x: Tensor, columns: Tensor) -> Tensor:
        """Return the residual, every number of which comes from the arguments.

        Args:
            jet: of N.
            x: (n, axes).
            columns: from `columns`.

        Returns:
            (n, equations).
        """
        parts = columns.split(1, dim=1)
        factor = dict(zip(self.needed, parts, strict=False))
        partials = {
            single: sum((times * factor[one] * jet[other] for one, other, times in splits(single)), start=start)
            for single, start in zip(self.singles, parts[len(self.needed) :], strict=True)
        }
        return self.problem.residual(Jet(self.problem.axes, partials, (len(x), 0, 0), None), x, {})


def factored(problem: Problem, distance: Function, lift: Function | None = None, domain: Box | None = None) -> Problem:
    """Return the problem of N in u = g + D N, without the conditions, which D and g must fulfil.

    The derivatives of u are put together from those of N by Leibniz' rule, those of D and g are computed once for each
    set of points. So N may stay a plain chain of layers, which compiled code takes as a whole; a module that
    multiplies its output by D may not.

    Args:
        problem: of u.
        distance: D, zero where u = g is given.
        lift: g, zero where None.
        domain: another box to solve in, such as a window of time; the problem's own by default.

    Returns:
        The problem of N; its faces are not periodic, whoever wants that takes a periodic N.

    Example:
        >>> from solvers.problems import poisson_1d
        >>> factored(poisson_1d(), lambda x: x * (1 - x)).partials
        ('', 'x', 'xx')
    """
    axes, box = problem.axes, domain or problem.domain
    singles = _by_order({single for name in problem.partials for single in parse_partial(name, axes)})
    needed = _by_order({part for single in singles for part, _, _ in splits(single)})
    residual = FactoredResidual(problem, distance, lift, singles, needed)
    return replace(
        problem,
        domain=Box(box.axes, box.lower, box.upper),
        partials=needed,
        residual=residual,
        conditions=(),
        solution=None,
    )


def compile_factored(objective: Objective) -> Objective:
    """Run the residual of a `factored` problem as compiled code, with the derivatives of D and g as given columns.

    Args:
        objective: of such a problem, and a network that compiled code takes as a whole; any other is left alone.

    Returns:
        The same object.
    """
    residual, plan, x = objective.problem.residual, objective.plan, objective.equation_points.rows
    if not isinstance(residual, FactoredResidual) or (detached := plan.detached(objective.network)) is None:
        return objective
    axes, columns = x.shape[1], torch.cat([x, residual.columns(x)], dim=1)

    def function(stack: Tensor, columns: Tensor, scalars: Tensor) -> Tensor:
        jet = Jet(residual.problem.axes, dict(zip(plan.names, stack.unbind(), strict=True)), (len(columns), 0, 0), None)
        return residual.combined(jet, columns[:, :axes], columns[:, axes:])

    shape = {"partials": len(plan.names), "components": detached.stacked.shape[2], "columns": columns.shape[1]}
    compiled = compile_residual(function, **shape, scalars=0, dtype=x.dtype)
    if compiled is not None:
        term = CompiledTerm(plan, compiled, compiled.prepare(columns), compiled.equations)
        objective.compiled = CompiledLoss([term], (), ())
    return objective
