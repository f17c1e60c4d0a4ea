"""A shape with holes."""

from __future__ import annotations

import numpy as np

from solvers.geometry.boundary import Boundary
from solvers.geometry.shape import Shape
from solvers.geometry.spacing import Spacing

TOUCH = 1e-9
"""Distance between two boundaries, over the size of the outer shape, at which they touch."""


class Difference(Shape):
    """The outer shape without its holes, which lie inside of it and apart from each other.

    Parts: the outer shape's own names (its "boundary" becomes "outer"); a hole's "boundary" becomes "hole", its other
    parts "hole-" + name; for the second hole "hole2", and so on.

    Args:
        outer: a shape.
        *holes: shapes of the same dimension. A hole that is a Difference itself is refused, an outer one is flattened.

    Raises:
        ValueError: another dimension, a hole that lies outside, sticks out, touches the boundary or another hole.

    Example:
        >>> from solvers.geometry.ball import Disk
        >>> ring = Disk() - Disk(radius=0.5)
        >>> ring.parts, ring.signed_distance(np.array([[0.6, 0.0]])).round(12).tolist()
        (('outer', 'hole'), [-0.1])
    """

    def __init__(self, outer: Shape, *holes: Shape):
        if isinstance(outer, Difference):
            outer, holes = outer.outer, outer.holes + holes
        self.outer, self.holes = outer, tuple(holes)
        self.thinnest = min(shape.thinnest for shape in (outer, *holes))
        for number, hole in enumerate(self.holes):
            self._refuse_hole(number, hole)

    def _refuse_hole(self, number: int, hole: Shape) -> None:
        if not isinstance(hole, Shape) or hole.dimension != self.outer.dimension:
            raise ValueError(f"expected a hole of dimension {self.outer.dimension}, came {hole!r}")
        if isinstance(hole, Difference):
            raise ValueError(
                f"hole {number + 1} has holes itself, so that the domain falls apart: use the pieces as domains"
            )
        outline = hole.outline()
        touch = TOUCH * max(high - low for low, high in zip(self.lower, self.upper, strict=True))
        distance = self.outer.signed_distance(outline)
        if (distance > -touch).all():
            raise ValueError(f"hole {number + 1}, {hole!r}, lies outside of {self.outer!r}: move it inside or leave it")
        if (distance > -touch).any():
            where = outline[int(np.argmax(distance))].tolist()
            raise ValueError(
                f"hole {number + 1}, {hole!r}, sticks out of {self.outer!r} or touches its boundary near {where}: "
                f"boundaries must not meet; move or shrink the hole, or give the outline as one Polygon or Curve"
            )
        for other in self.holes[:number]:
            overlap = (other.signed_distance(outline) < touch).any()
            if overlap or (hole.signed_distance(other.outline()) < touch).any():
                raise ValueError(
                    f"hole {number + 1}, {hole!r}, meets the hole {other!r}: move them apart, or give their union as "
                    f"one hole"
                )
        if (hole.signed_distance(self.outer.outline()) < touch).any():
            raise ValueError(f"hole {number + 1}, {hole!r}, reaches round {self.outer!r}: move or shrink the hole")

    def __repr__(self) -> str:
        return " - ".join(map(repr, (self.outer, *self.holes)))

    @property
    def dimension(self) -> int:
        """That of the outer shape."""
        return self.outer.dimension

    @property
    def lower(self) -> tuple[float, ...]:
        """That of the outer shape."""
        return self.outer.lower

    @property
    def upper(self) -> tuple[float, ...]:
        """That of the outer shape."""
        return self.outer.upper

    @property
    def measure(self) -> float:
        """That of the outer shape less those of the holes."""
        return self.outer.measure - sum(hole.measure for hole in self.holes)

    def _names(self) -> list[dict[str, str]]:
        """Return new names of the parts, for the outer shape and each hole."""
        prefixes = ["", *("hole" if number == 1 else f"hole{number}" for number in range(1, len(self.holes) + 1))]
        names = []
        for shape, prefix in zip((self.outer, *self.holes), prefixes, strict=True):
            kept = {part: f"{prefix}-{part}" if prefix else part for part in shape.parts}
            names.append(kept | ({"boundary": prefix or "outer"} if "boundary" in kept else {}))
        return names

    @property
    def parts(self) -> tuple[str, ...]:
        """Those of the outer shape, then those of the holes."""
        return tuple(name for names in self._names() for name in names.values())

    def signed_distance(self, x: np.ndarray) -> np.ndarray:
        """Return the distance to the nearest boundary: max(outer, -hole, ...).

        Args:
            x: (n, d) float64.

        Returns:
            (n,).
        """
        distance = self.outer.signed_distance(x)
        for hole in self.holes:
            distance = np.maximum(distance, -hole.signed_distance(x))
        return distance

    def outline(self) -> np.ndarray:
        """Return dense points of all boundaries.

        Returns:
            (k, d).
        """
        return np.concatenate([shape.outline() for shape in (self.outer, *self.holes)])

    def _nodes(self, spacing: Spacing) -> Boundary:
        pieces = [self.outer.boundary(spacing), *(hole.boundary(spacing).flipped() for hole in self.holes)]
        return Boundary.joined(piece.renamed(names) for piece, names in zip(pieces, self._names(), strict=True))
