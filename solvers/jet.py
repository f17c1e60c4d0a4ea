"""A network's values and partial derivatives at a set of points, by axis letters."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations_with_replacement

import numpy as np
import torch
from torch import Tensor

from solvers.series import Series

TIME = "t"
NORMAL = "n"
_BLANKS = re.compile(r"\s*([+-])\s*")
_TERM = re.compile(r"([+-]?)(\d+\.?\d*|\.\d+)?([a-zA-Z]*)")


@lru_cache(maxsize=256)
def parse_partial(name: str, axes: tuple[str, ...]) -> Mapping[str, float]:
    """Split a partial into single derivatives and their coefficients.

    `"xxxx+2xxyy+yyyy"` is u_xxxx + 2 u_xxyy + u_yyyy. Letters are sorted by axis, so "yx" is "xy". The aliases
    "laplacian" and "bilaplacian" run over the space axes (all but "t"); "" is the value itself.

    Args:
        name: the partial, as a user writes it.
        axes: the axis letters of the domain.

    Returns:
        Canonical letters -> coefficient.

    Raises:
        ValueError: a letter that is no axis, or text that is no partial.

    Example:
        >>> parse_partial("xx+2yx", ("x", "y"))
        {'xx': 1.0, 'xy': 2.0}
        >>> parse_partial("bilaplacian", ("x", "y"))
        {'xxxx': 1.0, 'xxyy': 2.0, 'yyyy': 1.0}
    """
    space = [axis for axis in axes if axis != TIME]
    name = _BLANKS.sub(r"\1", name)
    if name == "laplacian":
        return {axis * 2: 1.0 for axis in space}
    if name == "bilaplacian":
        pairs = combinations_with_replacement(space, 2)
        return {first * 2 + second * 2: 1.0 if first == second else 2.0 for first, second in pairs}
    if name == "":
        return {"": 1.0}
    parts: dict[str, float] = {}
    position = 0
    while position < len(name):
        match = _TERM.match(name, position)
        sign, number, letters = match.groups()
        if not letters or (position and not sign):
            raise ValueError(_not_a_partial(name, axes))
        if unknown := sorted(set(letters) - set(axes)):
            raise ValueError(_not_a_partial(name, axes, f"; {', '.join(unknown)} is no axis"))
        canonical = "".join(sorted(letters, key=axes.index))
        coefficient = float(number or 1) * (-1 if sign == "-" else 1)
        parts[canonical] = parts.get(canonical, 0.0) + coefficient
        position = match.end()
    return parts


def _not_a_partial(name: str, axes: tuple[str, ...], detail: str = "") -> str:
    return (
        f"{name!r} is not a partial{detail}: expected letters of the axes {', '.join(axes)} such as {axes[0] * 2!r}, "
        f"a sum such as 'xx+yy', 'laplacian', 'bilaplacian', or 'n' on the boundary"
    )


def canonical(parts: Mapping[str, float]) -> str:
    """Return the one name of a sum of single derivatives, however it was written.

    Terms go by order, then by letters; vanishing terms are left out unless all vanish.

    Args:
        parts: canonical letters -> coefficient, as `parse_partial` returns them.

    Returns:
        A name that `parse_partial` reads.

    Example:
        >>> canonical({"yy": 0.5, "xx": 1.0}), canonical({"xxyy": 2.0, "x": -1.0})
        ('xx+0.5yy', '-x+2xxyy')
    """
    terms = {letters: c for letters, c in parts.items() if c} or dict.fromkeys(parts, 0.0)
    name = ""
    for letters in sorted(terms, key=lambda letters: (len(letters), letters)):
        size = abs(terms[letters])
        sign = "-" if terms[letters] < 0 else "+" if name else ""
        name += sign + ("" if size == 1 else np.format_float_positional(size, trim="-")) + letters
    return name


@lru_cache(maxsize=1024)
def axes_of(letters: str, axes: tuple[str, ...]) -> tuple[int, ...]:
    """Return the axes of a single derivative, by position.

    Names of several letters, x1 to x100, serve the aliases "laplacian" and "bilaplacian".

    Args:
        letters: of a single derivative.
        axes: the axis letters of the domain.

    Returns:
        One index a derivative, in the order of the letters.

    Example:
        >>> axes_of("xxy", ("x", "y")), axes_of("x10x1", ("x1", "x10"))
        ((0, 0, 1), (1, 0))
    """
    if all(len(axis) == 1 for axis in axes):
        return tuple(map(axes.index, letters))
    # Longest first, or x1 would be found in x10.
    pattern = "|".join(sorted(map(re.escape, axes), key=len, reverse=True))
    return tuple(map(axes.index, re.findall(pattern, letters)))


def single_partials(partials: Iterable[str], axes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the single derivatives that a list of partials needs, lowest order first.

    Args:
        partials: as a user writes them; "n" (the normal derivative) needs every first derivative in space.
        axes: the axis letters of the domain.

    Returns:
        Canonical letters without repetition; the value "" always comes first.

    Example:
        >>> single_partials(["xx+yy", "n"], ("x", "y"))
        ('', 'x', 'y', 'xx', 'yy')
    """
    needed = {""}
    for name in partials:
        needed |= {axis for axis in axes if axis != TIME} if name == NORMAL else set(parse_partial(name, axes))
    return tuple(sorted(needed, key=lambda letters: (len(axes_of(letters, axes)), axes_of(letters, axes))))


@dataclass(frozen=True, eq=False)
class Jet:
    """Values and partials of a network at points, each (n, components), rows interior, boundary, initial.

    `jet[""]` is u, `jet["xx"]` is u_xx, `jet["xx+yy"]` and `jet["laplacian"]` are sums of what was planned, `jet["n"]`
    is the normal derivative at boundary rows. `jet.interior`, `jet.boundary` and `jet.initial` are views. Partials may
    share memory or be leaves of a graph: combine them by new expressions, not in place.

    Args:
        axes: the axis letters.
        values: single derivatives, canonical letters -> (n, components).
        counts: numbers of interior, boundary and initial rows.
        normals: outward unit normals of the boundary rows, (boundary, axes), or None.

    Example:
        >>> import torch
        >>> x = torch.tensor([[2.0]])
        >>> jet = Jet(("x",), {"": x**3, "xx": 6 * x}, (1, 0, 0))
        >>> jet["xx"].item()
        12.0
    """

    axes: tuple[str, ...]
    values: Mapping[str, Tensor]
    counts: tuple[int, int, int]
    normals: Tensor | None = None

    def __repr__(self) -> str:
        return f"Jet({', '.join(map(repr, self.values))} at {sum(self.counts)} points)"

    def __getitem__(self, name: str) -> Tensor:
        if name == NORMAL:
            return self._normal()
        if name in self.values:
            return self.values[name]
        parts = parse_partial(name, self.axes)
        if (whole := canonical(parts)) in self.values:
            return self.values[whole]
        if missing := [letters for letters in parts if letters not in self.values]:
            if (multiple := self._multiple(parts)) is not None:
                return multiple
            whole = next((key for key in self.values if missing[0] in parse_partial(key, self.axes)), None)
            inside = f", it is only inside the sum {whole!r}" if whole else ""
            raise KeyError(
                f"partial {missing[0]!r} was not planned{inside}; expected one of {sorted(self.values)}: "
                f"add it to the partials given to operator.plan"
            )
        terms = [self.values[letters] if c == 1 else c * self.values[letters] for letters, c in parts.items()]
        return sum(terms[1:], terms[0])

    def series(self, letters: str, along: str, order: int) -> Series:
        """Return a partial as its Taylor series along an axis, made of the partials of higher order.

        Args:
            letters: of a single derivative.
            along: letter of the axis.
            order: of the series; the partials up to letters + along * order must have been planned.

        Returns:
            Of shape (n, components).

        Example:
            >>> import torch
            >>> x = torch.tensor([[2.0]])
            >>> Jet(("x",), {"": x**3, "x": 3 * x**2, "xx": 6 * x}, (1, 0, 0)).series("", "x", 2).coefficients.flatten()
            tensor([ 8., 12.,  6.])
        """
        stack = torch.stack([self[letters + along * j] for j in range(order + 1)])
        return Series(stack / stack.new_tensor([float(math.factorial(j)) for j in range(order + 1)])[:, None, None])

    def _multiple(self, parts: Mapping[str, float]) -> Tensor | None:
        """Return a sum that is a multiple of one that was planned."""
        for name, value in self.values.items():
            planned = parse_partial(name, self.axes)
            if len(planned) > 1 and planned.keys() == parts.keys():
                ratios = {parts[letters] / planned[letters] for letters in parts if planned[letters]}
                if len(ratios) == 1 and all(planned.values()):
                    return ratios.pop() * value
        return None

    def _normal(self) -> Tensor:
        if self.normals is None or self.counts[0] or self.counts[2]:
            raise KeyError("'n' exists on boundary rows with normals only: take jet.boundary, give Points(normals=...)")
        space = [(i, axis) for i, axis in enumerate(self.axes) if axis != TIME]
        terms = [self.normals[:, i : i + 1] * self[axis] for i, axis in space]
        return sum(terms[1:], terms[0])

    def _rows(self, kind: int) -> Jet:
        start = sum(self.counts[:kind])
        rows = slice(start, start + self.counts[kind])
        counts = tuple(count if i == kind else 0 for i, count in enumerate(self.counts))
        values = {letters: value[rows] for letters, value in self.values.items()}
        return replace(self, values=values, counts=counts, normals=self.normals if kind == 1 else None)

    @property
    def interior(self) -> Jet:
        """The rows of the interior points, as a jet of views."""
        return self._rows(0)

    @property
    def boundary(self) -> Jet:
        """The rows of the boundary points, as a jet of views."""
        return self._rows(1)

    @property
    def initial(self) -> Jet:
        """The rows of the initial points, as a jet of views."""
        return self._rows(2)
