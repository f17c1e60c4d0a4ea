"""Nodes on a boundary, with outward normals and named parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

UNIT = 1e-6
"""How far from 1 a normal's length may be: single-precision data pass, a forgotten division does not."""


@dataclass(frozen=True, eq=False)
class Boundary:
    """Points of a boundary.

    Args:
        points: (m, d) float64.
        normals: (m, d) outward unit normals.
        parts: names -> indices into `points`; every point is in exactly one part.

    Raises:
        ValueError: shapes that differ, normals that are not of length 1, or parts that are no partition.

    Example:
        >>> Boundary(np.array([[0.0], [1.0]]), np.array([[-1.0], [1.0]]), {"x-": [0], "x+": [1]}).parts["x+"].tolist()
        [1]
    """

    points: np.ndarray
    normals: np.ndarray
    parts: Mapping[str, np.ndarray]

    def __post_init__(self):
        points, normals = (np.asarray(getattr(self, name), dtype=np.float64) for name in ("points", "normals"))
        parts = {name: np.asarray(index, dtype=np.int64) for name, index in self.parts.items()}
        if points.ndim != 2 or points.shape != normals.shape:
            raise ValueError(f"expected a normal for each (m, d) point, came {points.shape} and {normals.shape}")
        lengths = np.linalg.norm(normals, axis=1)
        if len(lengths) and not (worst := np.abs(lengths - 1.0)).max() <= UNIT:
            node = int(np.nanargmax(np.where(np.isnan(worst), np.inf, worst)))
            raise ValueError(
                f"normals: expected unit vectors, came length {lengths[node]:.6g} at boundary node {node}: "
                f"divide them by their length"
            )
        held = np.sort(np.concatenate([*parts.values(), np.empty(0, np.int64)]))
        if not np.array_equal(held, np.arange(len(points))):
            raise ValueError(f"parts: expected each of {len(points)} points in exactly one part, came {sorted(parts)}")
        for name, value in (("points", points), ("normals", normals), ("parts", parts)):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.points)

    def flipped(self) -> Boundary:
        """Return the same points seen from the other side: normals reversed.

        Returns:
            A boundary.
        """
        return Boundary(self.points, -self.normals, self.parts)

    def renamed(self, names: Mapping[str, str]) -> Boundary:
        """Return the same points with other names of their parts.

        Args:
            names: old name -> new name, for every part.

        Returns:
            A boundary.
        """
        return Boundary(self.points, self.normals, {names[name]: index for name, index in self.parts.items()})

    @staticmethod
    def joined(pieces: Iterable[Boundary]) -> Boundary:
        """Return several boundaries as one; parts of one name become one part.

        Args:
            pieces: at least one boundary, all of one dimension.

        Returns:
            Their points in that order.

        Example:
            >>> end = Boundary(np.array([[1.0]]), np.array([[1.0]]), {"x+": [0]})
            >>> Boundary.joined([end, end]).parts["x+"].tolist()
            [0, 1]
        """
        pieces, parts, start = list(pieces), {}, 0
        for piece in pieces:
            for name, index in piece.parts.items():
                parts[name] = np.concatenate([parts.get(name, np.empty(0, np.int64)), index + start])
            start += len(piece)
        points, normals = (np.concatenate([getattr(p, name) for p in pieces]) for name in ("points", "normals"))
        return Boundary(points, normals, parts)
