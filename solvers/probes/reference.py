"""Whether the problem's own solution satisfies what is being trained: its residual in every term of the loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from solvers.cadence import Cadence, Every
from solvers.evaluation import mean_square
from solvers.jet import Jet
from solvers.operators import FiniteDifference
from solvers.points import Points
from solvers.probes.held_out import HELD_OUT_SEED
from solvers.probes.probe import Labels, Moment, Probe, once
from solvers.problems.problem import Problem

POINTS = 256
INSIDE = 0.9
"""Share of the box, about its middle, that the points are drawn from: the differences reach beyond them."""

VANISHING = 1e-12
"""Mean square of the equation's largest part, over that of the solution, below which it counts as zero."""

ONCE = Every(2**62)


def reference_residual(every: Cadence = ONCE) -> Probe:
    r"""Return the probe of the residual that the problem's solution u* leaves in each term of the loss.

    $$ e_k = \overline{|r_k[u^*]|^2}, \qquad
       s_k = \max_p \overline{|r_k[u^*] - r_k[u^*, p \to 0]|^2} $$

    with p the partials that the term reads: s_k is the mean square of the largest of its parts. Where e_k is of the
    size of s_k, u* is no solution of what is trained: a sign, a coefficient or the data differ. Derivatives of u* are
    central differences of order 4 in float64 at their best step; of a solution with layers thinner than some 0.01 they
    are wrong in the second digit (Burgers of viscosity 0.01/pi: e_k = 0.004 s_k).

    A condition that holds u at zero has no part of its own size, so s_k is never below the mean square of u* inside;
    nor has Laplace's equation where every derivative vanishes on u*, as for x y.

    Args:
        every: when; it never changes, so once.

    Returns:
        Probe of the stream "reference": `residual` and `scale`, one value a term; NaN in a term that cannot be
        evaluated: partials above order 4, a solution that is not defined there.

    Raises:
        ValueError: when first asked, a problem without a solution, one whose solution is of what is observed and not of
            what the network puts out, or one with unknown coefficients.

    Source: ours.

    Cost: some 10 evaluations of the solution at 256 points, once.

    Example:
        >>> reference_residual().stream
        'reference'
    """
    found = once(lambda moment: _terms(moment))

    def measure(moment: Moment):
        residual, scale = zip(*found(moment), strict=True)
        return {"residual": list(residual), "scale": list(scale)}

    def labels(moment: Moment) -> Labels:
        return Labels({"term": list(moment.objective.terms)}, {"points": POINTS, "derivatives": "differences, order 4"})

    return Probe("reference", {"residual": ("term",), "scale": ("term",)}, measure, every, labels)


def _terms(moment: Moment) -> list[tuple[float, float]]:
    problem = moment.objective.problem
    if problem.solution is None or problem.coefficients:
        lacks = "a solution" if problem.solution is None else "known coefficients"
        raise ValueError(f"{problem.name}: expected a problem with {lacks} for reference_residual(): leave it out")
    if problem.observed is not None:
        raise ValueError(
            f"{problem.name}: expected a solution of what the network puts out for reference_residual(), came one of "
            f"{', '.join(problem.observed.names)}, which no residual takes: leave it out"
        )
    points = moment.objective.points.to("cpu", torch.float64)
    inside = _inside(problem)
    size = float(mean_square(problem.solution(inside.interior)))
    value, scale = _term(problem, inside, problem.partials, lambda jet: problem.residual(jet, inside.interior, {}), 0.0)
    # Each derivative of a polynomial such as x y, which is harmonic, may vanish: what is left is round-off.
    results = [(value, size if scale < VANISHING * size else scale)]
    for condition in problem.conditions:
        own = points.only(condition.where)

        def residual(jet: Jet, condition=condition, own=own) -> Tensor:
            return condition.residual(jet, own.rows, own.normals, {})

        results.append(_term(problem, own, condition.partials, residual, size))
    return results


def _inside(problem: Problem) -> Points:
    """Return points drawn well inside the domain."""
    drawn = problem.scattered(POINTS, HELD_OUT_SEED)
    low, high = (drawn.interior.new_tensor(side) for side in (problem.domain.lower, problem.domain.upper))
    middle = (low + high) / 2
    return replace(drawn, interior=middle + INSIDE * (drawn.interior - middle))


def _term(
    problem: Problem, points: Points, partials: tuple[str, ...], residual: Callable[[Jet], Tensor], least: float
) -> tuple[float, float]:
    """Return mean square of one term's residual on the solution, and of the largest of its parts."""
    nowhere = float("nan"), float("nan")
    try:
        jet = FiniteDifference(order=4).plan(points, partials)(problem.solution)
    except (ValueError, ArithmeticError):
        return nowhere
    whole = residual(jet)
    parts = [whole - residual(Without(jet, (partial,))) for partial in partials]
    scale = max([least, *(float(mean_square(part)) for part in parts)])
    value = float(mean_square(whole))
    return (value, scale) if torch.isfinite(whole).all() else nowhere


class Without:
    """A jet in which some partials are zero.

    Args:
        jet: any.
        partials: which, as the residual asks for them.

    Example:
        >>> one = torch.ones(1, 1)
        >>> Without(Jet(("x",), {"": one, "x": one}, (1, 0, 0)), ("x",))["x"].item()
        0.0
    """

    def __init__(self, jet: Jet, partials: tuple[str, ...]):
        self._jet, self._partials = jet, partials

    def __getitem__(self, name: str) -> Tensor:
        value = self._jet[name]
        return torch.zeros_like(value) if name in self._partials else value
