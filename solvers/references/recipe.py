"""How a reference solution is computed, and how far it is to be trusted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

Column = tuple[tuple[str, ...], np.ndarray, Mapping[str, str]]
"""Dimension names, values, and attributes with `units` and `long_name`."""


@dataclass(frozen=True)
class Refinement:
    """One row of the table that shows how good a reference is.

    Args:
        resolution: what was computed, such as "4096 modes, 400 steps".
        difference: relative L2 distance from the finest, or from another method.
        against: what the distance is from.
        seconds: of CPU time.
    """

    resolution: str
    difference: float
    against: str
    seconds: float


@dataclass(frozen=True, eq=False)
class Recipe:
    """A reference solution that can be computed anywhere, and is never downloaded.

    Args:
        name: of the reference, such as "kdv".
        settings: everything that makes this variant, plain numbers and texts.
        compute: returns name -> (dimensions, values, attributes), all that the solution is evaluated from.
        method: how, in a line.
        floor: relative L2 error of the solution on the problem's test grid.
        floor_origin: how the floor was found, in a line.
        refine: yields the rows of the table that shows the floor; takes minutes at most.
        version: raised whenever `compute` gives other values.
        sampled: name -> array to values of the solution, by which two computations are compared: another processor may
            cut a series elsewhere; None compares the arrays.

    Example:
        >>> Recipe("one", {}, lambda: {}, "by hand", 1e-16, "counted", lambda: iter(())).key
        '7340e2f861bc'
    """

    name: str
    settings: Mapping[str, float | int | str]
    compute: Callable[[], Mapping[str, Column]]
    method: str
    floor: float
    floor_origin: str
    refine: Callable[[], Iterator[Refinement]]
    version: int = 1
    sampled: Callable[[Mapping[str, np.ndarray]], np.ndarray] | None = None

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits that tell this reference from any other: a hash of name, settings and version."""
        told = json.dumps([self.name, dict(self.settings), self.version], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:12]


def grid(first: tuple[float, float], second: tuple[float, float], counts: tuple[int, int] = (101, 51)) -> np.ndarray:
    """Return the points of a uniform grid in two dimensions.

    Args:
        first: ends of the first axis.
        second: ends of the second.
        counts: of points along each.

    Returns:
        (2, points): the places along each axis.

    Example:
        >>> grid((0.0, 1.0), (0.0, 2.0), (2, 2)).tolist()
        [[0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 2.0, 2.0]]
    """
    lines = (np.linspace(*ends, count) for ends, count in zip((first, second), counts, strict=True))
    return np.stack([axis.ravel() for axis in np.meshgrid(*lines)])
