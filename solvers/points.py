"""Collocation points: where a residual is asked for, and the nodes that stencils may reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch
from scipy.stats import qmc
from torch import Tensor

from solvers.domain import Box
from solvers.jet import TIME

EQUATION = "equation"
"""The points where the equation is asked for: the interior, and the boundary too where there are ghost points."""

KINDS = ("interior", "boundary", "initial", "ghost", EQUATION)
"""Names that stand for points of every problem."""

UNIT = 1e-5
"""How far from 1 the length of a normal may be."""


@dataclass(frozen=True, eq=False)
class Points:
    """Interior, boundary, initial and ghost points of a problem; arrays are converted to float64 tensors.

    A ghost point adds an unknown, so the equation is then asked for at the boundary too: as many equations as unknowns.

    Args:
        interior: (n, axes) points where the equation holds.
        boundary: (m, axes) points on the boundary, or None.
        initial: (k, axes) points at the initial time, or None.
        ghost: (g, axes) points outside, evaluated but never rows, or None.
        normals: (m, axes) outward unit normals of the boundary points, or None.
        parts: names of boundary parts -> indices into `boundary`.
        times: (steps,) a time grid: interior, boundary and ghost points are then nodes x times, time slowest.
        axes: the axis letters.
        sets: names of further sets inside the domain, which conditions ask for by name -> (n, axes) points: the
            neighbourhood of a point, where something was measured.
        nodes: the set that these points were taken from, or lie in: operators with stencils reach for its points.
            None where the set is this one.

    Raises:
        ValueError: an array whose shape or values do not fit the axes.

    Example:
        >>> Points(interior=np.zeros((5, 2)), axes=("x", "y")).counts
        (5, 0, 0)
    """

    interior: Tensor
    boundary: Tensor | None = None
    initial: Tensor | None = None
    ghost: Tensor | None = None
    normals: Tensor | None = None
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    times: Tensor | None = None
    axes: tuple[str, ...] = ("x",)
    sets: Mapping[str, Tensor] = field(default_factory=dict)
    nodes: Points | None = field(default=None, repr=False)

    def __post_init__(self):
        object.__setattr__(self, "axes", tuple(self.axes))
        for name in ("interior", "boundary", "initial", "ghost", "normals"):
            object.__setattr__(self, name, self._checked(name, getattr(self, name)))
        object.__setattr__(self, "sets", {name: self._checked(name, rows) for name, rows in self.sets.items()})
        if taken := sorted({*KINDS, *self.parts} & set(self.sets)):
            raise ValueError(
                f"expected sets with names of their own, came {taken[0]!r}: it is a kind or a part already"
            )
        if self.times is not None and not isinstance(self.times, Tensor):
            object.__setattr__(self, "times", torch.as_tensor(np.asarray(self.times, dtype=np.float64)))
        device = self.boundary.device
        parts = {name: torch.as_tensor(index, dtype=torch.long, device=device) for name, index in self.parts.items()}
        object.__setattr__(self, "parts", parts)
        for name, index in parts.items():
            if len(index) and not 0 <= int(index.min()) <= int(index.max()) < len(self.boundary):
                raise ValueError(
                    f"part {name!r}: expected indices of {len(self.boundary)} boundary points, came {index.tolist()}"
                )
        if len(self.normals) not in (0, len(self.boundary)):
            raise ValueError(f"expected one normal a boundary point ({len(self.boundary)}), came {len(self.normals)}")
        self._check_normals()

    def _check_normals(self) -> None:
        lengths = torch.linalg.vector_norm(self.normals, dim=1)
        wrong = ((lengths - 1).abs() > UNIT).nonzero()
        if len(wrong):
            first = int(wrong[0])
            raise ValueError(
                f"expected unit normals, came {len(wrong)} of other lengths, such as {float(lengths[first]):.3g} at "
                f"boundary point {first}: divide them by their lengths, if their directions can be trusted"
            )

    def _checked(self, name: str, value: object) -> Tensor:
        if value is None:
            like = self.interior if isinstance(self.interior, Tensor) else torch.empty(0, dtype=torch.float64)
            return like.new_empty((0, len(self.axes)))
        value = value if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value, dtype=np.float64))
        if value.ndim != 2 or value.shape[1] != len(self.axes):
            raise ValueError(
                f"{name}: expected shape (n, {len(self.axes)}) for axes {self.axes}, came {tuple(value.shape)}"
            )
        if not value.is_floating_point() or not torch.isfinite(value).all():
            raise ValueError(
                f"{name}: expected finite floating-point coordinates, came {value.dtype} or non-finite values"
            )
        return value

    @property
    def counts(self) -> tuple[int, int, int]:
        """Numbers of interior, boundary and initial points."""
        return len(self.interior), len(self.boundary), len(self.initial)

    @property
    def support(self) -> Points:
        """The set whose points stencils may reach: `nodes`, or this one."""
        return self if self.nodes is None else self.nodes

    @property
    def rows(self) -> Tensor:
        """All points that become rows of a jet: interior, boundary, initial."""
        return torch.cat([self.interior, self.boundary, self.initial])

    def to(self, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float64) -> Points:
        """Return the same points on another device or in another dtype.

        Args:
            device: where the tensors live.
            dtype: float32 or float64.

        Returns:
            New points; indices in `parts` keep their type.
        """
        moved = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, value in moved.items():
            if isinstance(value, Tensor):
                moved[name] = value.to(device=device, dtype=dtype)
        moved["parts"] = {name: index.to(device) for name, index in self.parts.items()}
        moved["sets"] = {name: rows.to(device, dtype) for name, rows in self.sets.items()}
        moved["nodes"] = None if self.nodes is None else self.nodes.to(device, dtype)
        return Points(**moved)

    def within(self, nodes: Points) -> Points:
        """Return the same points as seen by stencils of another set's points.

        Args:
            nodes: the set; `AutoDiff` and other operators without stencils take no notice of it.

        Returns:
            New points.

        Raises:
            ValueError: other axes.
        """
        if nodes.axes != self.axes:
            raise ValueError(f"expected nodes with the axes {', '.join(self.axes)}, came {', '.join(nodes.axes)}")
        return replace(self, nodes=nodes.support)

    def _closed(self) -> Tensor:
        """Return where the equation is asked for; on a time grid all nodes of a time, then those of the next."""
        if not len(self.ghost):
            return self.interior
        steps = 1 if self.times is None else len(self.times)
        kinds = [rows.reshape(steps, -1, rows.shape[1]) for rows in (self.interior, self.boundary)]
        return torch.cat(kinds, dim=1).flatten(0, 1)

    def smallest(self, where: str | tuple[str, ...]) -> int:
        """Return the number of points of a kind, or of the smallest of several parts of the boundary.

        Args:
            where: a kind, a part's or a set's name, or several parts' names.

        Returns:
            A number.
        """
        names = where if isinstance(where, tuple) else (where,)
        return min(sum(self.only(name).counts) for name in names)

    def only(self, where: str | tuple[str, ...], rows: Tensor | None = None) -> Points:
        """Return one kind of points alone: "interior", "boundary", "initial", parts of the boundary, or a set, by name.

        "equation" stands for the points where the equation is asked for, which then are all interior, as a set's are.

        Args:
            where: a kind, a part's or a set's name, or several parts' names, whose points are then stacked in order.
            rows: indices into the kind, or into each part; None takes all.

        Returns:
            Points that hold nothing else.

        Raises:
            ValueError: no such kind, part or set.

        Example:
            >>> box = Box(("x",), (0.0,), (1.0,))
            >>> sample(box, interior=4).only("x+").boundary.tolist()
            [[1.0]]
        """
        rows = slice(None) if rows is None else rows
        empty = replace(
            self,
            interior=self.interior[:0],
            boundary=None,
            initial=None,
            ghost=None,
            normals=None,
            parts={},
            times=None,
            sets={},
            nodes=self.support,
        )
        if where == EQUATION:
            return replace(empty, interior=self._closed()[rows])
        if where in ("interior", "initial"):
            return replace(empty, **{where: getattr(self, where)[rows]})
        if where in self.sets:
            return replace(empty, interior=self.sets[where][rows])
        if where == "boundary":
            normals = self.normals[rows] if len(self.normals) else None
            return replace(empty, boundary=self.boundary[rows], normals=normals)
        names = (where,) if isinstance(where, str) else where
        if alone := sorted({*KINDS, *self.sets} & {*names} - {*self.parts}):
            raise ValueError(
                f"expected parts of the boundary to be stacked, came {alone[0]!r}, which stands alone: ask for it by "
                f"itself, in a condition of its own"
            )
        if missing := [name for name in names if name not in self.parts]:
            raise ValueError(
                f"points have no part {missing[0]!r}; expected interior, boundary, initial, equation or "
                f"{sorted({*self.parts, *self.sets})}: give Points(parts={{{missing[0]!r}: indices}}), or sets= where "
                f"they are not on the boundary"
            )
        index = torch.cat([self.parts[name][rows] for name in names])
        normals = self.normals[index] if len(self.normals) else None
        return replace(empty, boundary=self.boundary[index], normals=normals)


def sample(
    domain: Box,
    *,
    interior: int = 1024,
    boundary: int = 256,
    initial: int = 128,
    method: str = "lhs",
    seed: int = 0,
) -> Points:
    """Draw the collocation points of a box, once and reproducibly.

    Args:
        domain: the box.
        interior: number of interior points (a grid rounds it to a d-th power).
        boundary: number of boundary points in all, shared among the faces; a 1-D box always has its two ends.
        initial: number of points at the initial time; ignored where there is no time axis.
        method: "lhs" (Latin hypercube, the setting of the papers) or "grid" (uniform, faces excluded).
        seed: of the random draws.

    Returns:
        Points in float64 on the CPU, with normals and one part a face; the two faces of a periodic axis are paired.

    Raises:
        ValueError: an unknown method, or a count below 1.

    Example:
        >>> sample(Box(("x", "y"), (-1.0, -1.0), (1.0, 1.0)), interior=9, boundary=8, method="grid").counts
        (9, 8, 0)
    """
    if method not in ("lhs", "grid"):
        raise ValueError(f"unknown sampling method {method!r}; expected 'lhs' or 'grid'")
    if min(interior, boundary, initial) < 1:
        raise ValueError(f"expected at least one point of each kind, came {interior=}, {boundary=}, {initial=}")
    rng = np.random.default_rng(seed)
    faces, normals, parts = _faces(domain, boundary, method, rng)
    start = None
    if TIME in domain.axes:
        start = domain.scale(_unit(len(domain.axes), initial, method, rng, pinned={domain.axes.index(TIME): 0.0}))
    inside = domain.scale(_unit(len(domain.axes), interior, method, rng))
    return Points(inside, faces, start, None, normals, parts, axes=domain.axes)


def _unit(dimension: int, count: int, method: str, rng, pinned: Mapping[int, float] | None = None) -> Tensor:
    """Return `count` points of the unit cube, some coordinates pinned to a face."""
    pinned = pinned or {}
    free = [i for i in range(dimension) if i not in pinned]
    unit = np.empty((count, dimension))
    if not free:
        unit = unit[:1]
    elif method == "lhs":
        unit[:, free] = qmc.LatinHypercube(len(free), rng=rng).random(count)
    else:
        side = max(1, round(count ** (1 / len(free))))
        line = (np.arange(side) + 1) / (side + 1)
        grid = np.stack(np.meshgrid(*[line] * len(free), indexing="ij"), axis=-1).reshape(-1, len(free))
        unit = np.empty((len(grid), dimension))
        unit[:, free] = grid
    for axis, value in pinned.items():
        unit[:, axis] = value
    return torch.from_numpy(unit)


def _faces(domain: Box, count: int, method: str, rng) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    each = max(1, count // len(domain.faces))
    points, normals, parts, start = [], [], {}, 0
    for axis in domain.space:
        position = domain.axes.index(axis)
        lower = _unit(len(domain.axes), each, method, rng, pinned={position: 0.0})
        upper = (
            lower.clone() if axis in domain.periodic else _unit(len(domain.axes), each, method, rng, {position: 1.0})
        )
        upper[:, position] = 1.0
        for side, unit, sign in (("-", lower, -1.0), ("+", upper, 1.0)):
            normal = torch.zeros_like(unit)
            normal[:, position] = sign
            points.append(domain.scale(unit))
            normals.append(normal)
            parts[axis + side] = torch.arange(start, start + len(unit))
            start += len(unit)
    return torch.cat(points), torch.cat(normals), parts
