"""A problem: one PDE with its domain, conditions and solution, written once for every operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from solvers.domain import Box
from solvers.jet import TIME, Jet
from solvers.points import Points, sample

Residual = Callable[[Jet, Tensor, Mapping[str, Tensor]], Tensor]
"""residual(jet, x, coefficients) -> (n, equations), with x (n, axes)."""

ConditionResidual = Callable[[Jet, Tensor, Tensor, Mapping[str, Tensor]], Tensor]
"""residual(jet, x, normals, coefficients) -> (n, equations)."""


@dataclass(frozen=True)
class Condition:
    """A boundary, initial or periodicity condition: a residual on some of the points.

    Args:
        name: of the loss term.
        where: "boundary", "initial", or one or several parts of the boundary by name, whose rows are stacked.
        partials: what the residual reads from the jet.
        residual: residual(jet, x, normals, coefficients) -> (n, equations).
        weight: factor of its mean square in the loss.
    """

    name: str
    where: str | tuple[str, ...]
    partials: tuple[str, ...]
    residual: ConditionResidual
    weight: float = 1.0


@dataclass(frozen=True)
class Coefficient:
    """An unknown scalar that is trained beside the network.

    Args:
        name: how the residual looks it up.
        start: initial value.
        low: lower bound.
        high: upper bound.
    """

    name: str
    start: float
    low: float = float("-inf")
    high: float = float("inf")

    def __post_init__(self):
        if not self.low <= self.start <= self.high:
            raise ValueError(f"{self.name}: expected low <= start <= high, came {self.low}, {self.start}, {self.high}")


@dataclass(frozen=True)
class Problem:
    """A partial differential equation R(u) = 0 with its conditions and, where known, its solution.

    Args:
        name: of the problem, as `pinnscope run` takes it.
        domain: the box.
        partials: what the residual reads from the jet.
        residual: residual(jet, x, coefficients) -> (n, equations), with + - * / ** and `solvers.functions`.
        conditions: boundary and initial conditions, one loss term each.
        coefficients: unknown scalars, empty for forward problems.
        solution: x (n, axes) float64 on the CPU -> (n, components), or None.
        solution_floor: relative L2 error of `solution` itself; an error below it means nothing.
        test_shape: uniform grid that errors are measured on, one count an axis; empty takes 1001, 101 or 21.
        settings: the numbers that make this variant, for the record.
        components: of u: what the network must put out.

    Raises:
        ValueError: two conditions of one name, or one named "interior".

    Example:
        >>> from solvers.problems import poisson_1d
        >>> poisson_1d().partials
        ('xx',)
    """

    name: str
    domain: Box
    partials: tuple[str, ...]
    residual: Residual
    conditions: tuple[Condition, ...] = ()
    coefficients: tuple[Coefficient, ...] = ()
    solution: Callable[[Tensor], Tensor] | None = None
    solution_floor: float = float("nan")
    test_shape: tuple[int, ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    components: int = 1

    def __post_init__(self):
        names = ["interior", *(condition.name for condition in self.conditions)]
        if len(set(names)) < len(names):
            raise ValueError(f"{self.name}: expected conditions with names of their own, came {', '.join(names[1:])}")
        if not self.test_shape:
            each = {1: 1001, 2: 101}.get(len(self.axes), 21)
            object.__setattr__(self, "test_shape", (each,) * len(self.axes))

    @property
    def axes(self) -> tuple[str, ...]:
        """The axis letters of the domain."""
        return self.domain.axes

    def sample(self, **options) -> Points:
        """Draw collocation points of the domain.

        Args:
            **options: of `solvers.points.sample`: interior, boundary, initial, method, seed.

        Returns:
            Points in float64 on the CPU.
        """
        return sample(self.domain, **options)

    def check(self, points: Points) -> None:
        """Refuse points that do not belong to this problem.

        Args:
            points: collocation points.

        Raises:
            ValueError: other axes, points outside the domain, off the boundary or the initial time, periodic faces
                that are not paired, or a condition without points.
        """
        if points.axes != self.axes:
            raise ValueError(
                f"{self.name} has the axes {', '.join(self.axes)}, the points have {', '.join(points.axes)}: "
                f"draw them with problem.sample()"
            )
        for kind in ("interior", "boundary", "initial"):
            outside = self.domain.outside(getattr(points, kind))
            if outside.any():
                where = getattr(points, kind)[outside][0].tolist()
                raise ValueError(
                    f"{int(outside.sum())} {kind} points lie outside the domain of {self.name} "
                    f"{list(zip(self.domain.lower, self.domain.upper, strict=True))}, such as {where}: "
                    f"draw them with problem.sample()"
                )
        self._check_faces(points)
        for condition in self.conditions:
            if not sum(points.only(condition.where).counts):
                raise ValueError(
                    f"{self.name} has a condition {condition.name!r} on {condition.where!r}, the points have none there"
                )

    def _check_faces(self, points: Points) -> None:
        """Refuse boundary points off the boundary, initial points off the initial time, periodic faces not paired."""
        space = [axis != TIME for axis in self.axes]
        low, high = (points.boundary.new_tensor(limits) for limits in (self.domain.lower, self.domain.upper))
        slack = self.domain.slack(points.boundary)
        on_face = ((points.boundary - low).abs() <= slack) | ((points.boundary - high).abs() <= slack)
        inside = ~on_face[:, space].any(dim=1)
        if inside.any():
            where = points.boundary[inside][0].tolist()
            raise ValueError(
                f"{int(inside.sum())} boundary points of {self.name} lie inside the domain, such as {where}"
            )
        if TIME in self.axes:
            at = self.axes.index(TIME)
            late = (points.initial[:, at] - low[at]).abs() > slack[at]
            if late.any():
                where = points.initial[late][0].tolist()
                raise ValueError(f"initial points of {self.name} must have t = {float(low[at])}, came {where}")
        for axis in self.domain.periodic:
            lower, upper = (points.only(f"{axis}{side}").boundary for side in "-+")
            others = [name != axis for name in self.axes]
            if lower.shape != upper.shape or not torch.equal(lower[:, others], upper[:, others]):
                raise ValueError(
                    f"{self.name} is periodic in {axis}: expected the points of {axis}- and {axis}+ in pairs that "
                    f"differ in {axis} alone: draw them with problem.sample()"
                )
