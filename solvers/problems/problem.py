"""A problem: one PDE with its domain, conditions and solution, written once for every operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from scipy.stats import qmc
from torch import Tensor, nn

from solvers.domain import Box
from solvers.geometry import Cuboid, Interval, Region
from solvers.jet import TIME, Jet
from solvers.points import Points, sample
from solvers.problems.coefficient import Coefficient
from solvers.problems.domain_text import domain_text
from solvers.problems.observed import Observed
from solvers.references.recipe import Recipe

Residual = Callable[[Jet, Tensor, Mapping[str, Tensor]], Tensor]
"""residual(jet, x, coefficients) -> (n, equations), with x (n, axes)."""

ConditionResidual = Callable[[Jet, Tensor, Tensor, Mapping[str, Tensor]], Tensor]
"""residual(jet, x, normals, coefficients) -> (n, equations)."""

SOBOL = 13
"""Scattered test points are two to this power."""


@dataclass(frozen=True)
class Condition:
    """A boundary, initial or periodicity condition: a residual on some of the points.

    Args:
        name: of the loss term.
        where: "interior", "boundary", "initial", a set of the problem's by name, or one or several parts of the
            boundary, whose rows are stacked.
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
class Problem:
    """A partial differential equation R(u) = 0 with its conditions and, where known, its solution.

    Args:
        name: of the problem, as `pinnscope run` takes it.
        domain: a box, or a region of any shape.
        partials: what the residual reads from the jet.
        residual: residual(jet, x, coefficients) -> (n, equations), with + - * / ** and `solvers.functions`.
        conditions: boundary and initial conditions, one loss term each.
        coefficients: unknown scalars, empty for forward problems.
        solution: x (n, axes) float64 on the CPU -> (n, components), or what is `observed`; or None.
        solution_floor: relative L2 error of `solution` itself; an error below it means nothing.
        test_shape: uniform grid that errors are measured on, one count an axis; empty takes 1001, 101 or 21 on one, two
            or three axes, and stays empty on more, where no grid is small enough.
        settings: the numbers that make this variant, for the record.
        components: of u: what the network must put out.
        sets: names of point sets of its own -> (n, axes), float64: where something was measured, the neighbourhood of
            a point. Conditions ask for them by name.
        sampling: what `sample` takes unless told otherwise, such as {"interior": 150}.
        examine: network -> None, or an error for one that cannot solve this problem, and why.
        equation: the equation in a line of plain text with the numbers of this variant, such as "u_t = 0.1 u_xx".
        floor_origin: how `solution_floor` was found, in a line.
        reference: how the solution is computed, None for one in closed form.
        observed: what is compared with the solution, None for what the network puts out.

    Raises:
        ValueError: two conditions of one name, or one named "interior"; two coefficients of one name; a test_shape with
            another number of counts than axes.

    Example:
        >>> from solvers.problems import poisson_1d
        >>> poisson_1d().partials
        ('xx',)
    """

    name: str
    domain: Box | Region
    partials: tuple[str, ...]
    residual: Residual
    conditions: tuple[Condition, ...] = ()
    coefficients: tuple[Coefficient, ...] = ()
    solution: Callable[[Tensor], Tensor] | None = None
    solution_floor: float = float("nan")
    test_shape: tuple[int, ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    components: int = 1
    sets: Mapping[str, Tensor] = field(default_factory=dict)
    sampling: Mapping[str, object] = field(default_factory=dict)
    examine: Callable[[nn.Module], None] | None = None
    equation: str = ""
    floor_origin: str = ""
    reference: Recipe | None = None
    observed: Observed | None = None

    def __post_init__(self):
        names = ["interior", *(condition.name for condition in self.conditions)]
        if len(set(names)) < len(names):
            raise ValueError(f"{self.name}: expected conditions with names of their own, came {', '.join(names[1:])}")
        unknown = [coefficient.name for coefficient in self.coefficients]
        if len(set(unknown)) < len(unknown):
            raise ValueError(f"{self.name}: expected coefficients with names of their own, came {', '.join(unknown)}")
        rows = {name: torch.as_tensor(rows, dtype=torch.float64) for name, rows in self.sets.items()}
        object.__setattr__(self, "sets", rows)
        if not self.test_shape:
            each = {1: (1001,), 2: (101, 101), 3: (21, 21, 21)}.get(len(self.axes), ())
            object.__setattr__(self, "test_shape", each)
        elif len(self.test_shape) != len(self.axes):
            raise ValueError(
                f"{self.name}: expected a test_shape with a count for each of the axes {', '.join(self.axes)}, came "
                f"{self.test_shape}: leave it out for the usual one"
            )

    @property
    def axes(self) -> tuple[str, ...]:
        """The axis letters of the domain."""
        return self.domain.axes

    @property
    def domain_text(self) -> str:
        """The domain in a line, such as "x in [-1, 1], t in [0, 1]" or "disk"."""
        return domain_text(self.domain)

    def sample(self, **options) -> Points:
        """Draw collocation points of the domain.

        Args:
            **options: of `solvers.points.sample` for a box: interior, boundary, initial, method, seed; of
                `Region.sample` for any other region, and for a box with method="nodes": interior, times, ghost_layers,
                seed. Without ghost_layers there are as many as `ghost_layers` says.

        Returns:
            Points in float64 on the CPU.

        Raises:
            ValueError: nodes in a periodic box or in more than three dimensions, or an option that the domain does not
                know or refuses.

        Example:
            >>> from solvers.problems import poisson_2d
            >>> points = poisson_2d().sample(interior=100, method="nodes")
            >>> len(points.boundary), len(points.ghost)
            (32, 32)
        """
        domain = self.domain
        if options.get("method") != "nodes":
            options = {**self.sampling, **options}
        if isinstance(domain, Box):
            if options.get("method") != "nodes":
                return self.completed(sample(domain, **options))
            domain = self._region(domain)
        return self.completed(domain.sample(**{"ghost_layers": self.ghost_layers, **options}))

    def test_points(self) -> Tensor:
        """Return the points that errors are measured at: a uniform grid, or scattered ones in more than 3 axes.

        Without a `test_shape` they are 8192 scrambled Sobol points of the box, the same ones always; of a region those
        that lie in it.

        Returns:
            (n, axes) float64 on the CPU.

        Example:
            >>> from solvers.problems import poisson_2d
            >>> poisson_2d().test_points().shape
            torch.Size([10201, 2])
        """
        if self.test_shape:
            return self.domain.grid(self.test_shape)
        unit = torch.from_numpy(qmc.Sobol(len(self.axes), scramble=True, rng=0).random_base2(SOBOL))
        if isinstance(self.domain, Box):
            return self.domain.scale(unit)
        points = self.domain.box.scale(unit)
        return points[~self.domain.outside(points)]

    def completed(self, points: Points) -> Points:
        """Return points that have the problem's own sets.

        Args:
            points: with sets of these names or without; theirs stay.

        Returns:
            The same points where nothing is missing.

        Example:
            >>> from solvers.problems import poisson_1d
            >>> points = poisson_1d().sample(interior=4)
            >>> poisson_1d().completed(points) is points
            True
        """
        missing = {name: rows.to(points.interior) for name, rows in self.sets.items() if name not in points.sets}
        return replace(points, sets={**missing, **points.sets}) if missing else points

    def scattered(self, count: int, seed: int) -> Points:
        """Draw interior points that have no order among them, to look at what happens between others.

        Args:
            count: how many.
            seed: of the draw.

        Returns:
            Interior points alone, in float64 on the CPU.

        Example:
            >>> from solvers.problems import disk_poisson
            >>> disk_poisson().scattered(7, seed=1).counts
            (7, 0, 0)
        """
        method = {} if isinstance(self.domain, Box) else {"method": "random"}
        return self.sample(interior=count, seed=seed, **method).only("interior")

    @property
    def ghost_layers(self) -> int:
        """Conditions that hold at a point of the boundary, the most of any part: each needs a layer of ghost nodes."""
        held = {part: 0 for part in self.domain.faces}
        for condition in self.conditions:
            names = (condition.where,) if isinstance(condition.where, str) else condition.where
            for part in held:
                held[part] += "boundary" in names or part in names
        return max(held.values())

    def _region(self, box: Box) -> Region:
        """Return a box as a region, which has nodes."""
        if box.periodic:
            raise ValueError(
                f"{self.name} is periodic in {', '.join(box.periodic)}, and nodes are not: use method='lhs' or 'grid'"
            )
        space = [box.axes.index(axis) for axis in box.space]
        if space != list(range(len(space))):
            raise ValueError(f"nodes need the time as the last axis, came {', '.join(box.axes)}")
        if len(space) > 3:
            raise ValueError(
                f"{self.name} has {len(space)} dimensions, and nodes are laid out in 3 at most: use method='lhs'"
            )
        lower, upper = ([limits[i] for i in space] for limits in (box.lower, box.upper))
        shape = Interval(lower[0], upper[0]) if len(space) == 1 else Cuboid(tuple(lower), tuple(upper))
        timed = TIME in box.axes
        return Region(shape, box.axes, (box.lower[-1], box.upper[-1]) if timed else None)

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
        kinds = {kind: getattr(points, kind) for kind in ("interior", "boundary", "initial")}
        for kind, rows in {**kinds, **points.sets}.items():
            outside = self.domain.outside(rows)
            if outside.any():
                where = rows[outside][0].tolist()
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
        if len(points.normals) and not isinstance(self.domain, Box):
            inward = self.domain.inward(points.boundary, points.normals)
            if inward.any():
                raise ValueError(
                    f"{int(inward.sum())} normals of {self.name} lead inwards, such as that of boundary point "
                    f"{int(inward.nonzero()[0])}: expected outward ones, turn their signs"
                )
        inside = self.domain.off_boundary(points.boundary)
        if inside.any():
            where = points.boundary[inside][0].tolist()
            raise ValueError(
                f"{int(inside.sum())} boundary points of {self.name} lie inside the domain, such as {where}"
            )
        if TIME in self.axes:
            at = self.axes.index(TIME)
            start, slack = self.domain.lower[at], self.domain.slack(points.initial)[at]
            late = (points.initial[:, at] - start).abs() > slack
            if late.any():
                where = points.initial[late][0].tolist()
                raise ValueError(f"initial points of {self.name} must have t = {start}, came {where}")
        for axis in self.domain.periodic:
            lower, upper = (points.only(f"{axis}{side}").boundary for side in "-+")
            others = [name != axis for name in self.axes]
            if lower.shape != upper.shape or not torch.equal(lower[:, others], upper[:, others]):
                raise ValueError(
                    f"{self.name} is periodic in {axis}: expected the points of {axis}- and {axis}+ in pairs that "
                    f"differ in {axis} alone: draw them with problem.sample()"
                )
