"""Polygons."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from solvers.geometry.arclength import equispaced
from solvers.geometry.boundary import Boundary
from solvers.geometry.segments import crossing, signed_distance
from solvers.geometry.shape import Shape
from solvers.geometry.spacing import Spacing, spacing_at

CLOSEST = 0.5
"""Smallest distance of two nodes on either side of a corner, in units of h."""


@dataclass(frozen=True, eq=False)
class Polygon(Shape):
    """A simple polygon, closed from its last vertex to its first; parts "edge0", "edge1", ... in that order.

    Boundary nodes stay half a step off the corners (more where a corner is sharper than 60 degrees), so that each has
    one normal.

    Args:
        vertices: (k, 2), at least 3, in either orientation.

    Raises:
        ValueError: fewer than 3 vertices or not finite, repeated neighbours, or edges that cross or touch.

    Example:
        >>> Polygon([(0, 0), (2, 0), (0, 1)]).measure
        1.0
    """

    vertices: np.ndarray
    thinnest = 0.45

    def __post_init__(self):
        vertices = np.asarray(self.vertices, dtype=np.float64)
        if vertices.ndim != 2 or vertices.shape[1:] != (2,) or len(vertices) < 3:
            raise ValueError(f"vertices: expected shape (k, 2) with k >= 3, came {vertices.shape}: add vertices")
        if not np.isfinite(vertices).all():
            raise ValueError("vertices: expected finite coordinates: remove the vertices that are nan or infinite")
        object.__setattr__(self, "vertices", vertices)
        small = 1e-12 * float(np.ptp(vertices, axis=0).max())
        for at in np.flatnonzero(self.lengths <= small):
            following = (at + 1) % len(vertices)
            raise ValueError(
                f"vertices {at} and {following} are the same point {vertices[at].tolist()}: remove vertex {following}; "
                f"the last vertex is joined to the first without being repeated"
            )
        if pair := crossing(vertices):
            raise ValueError(
                f"edges {pair[0]} and {pair[1]} of the polygon cross or touch: expected a polygon that does not meet "
                f"itself; put the vertices in order along the boundary, or move one that lies on another edge"
            )

    def __repr__(self) -> str:
        return f"Polygon({len(self.vertices)} vertices, area {self.measure:.6g})"

    @property
    def dimension(self) -> int:
        """2."""
        return 2

    @property
    def lower(self) -> tuple[float, ...]:
        """Smallest coordinates of the vertices."""
        return tuple(self.vertices.min(axis=0).tolist())

    @property
    def upper(self) -> tuple[float, ...]:
        """Largest coordinates of the vertices."""
        return tuple(self.vertices.max(axis=0).tolist())

    @property
    def measure(self) -> float:
        """Area, by the shoelace formula."""
        return abs(self._signed_area())

    @property
    def lengths(self) -> np.ndarray:
        """Lengths of the edges, (k,)."""
        return np.linalg.norm(self._edges(), axis=1)

    @property
    def parts(self) -> tuple[str, ...]:
        """One part an edge."""
        return tuple(f"edge{number}" for number in range(len(self.vertices)))

    def signed_distance(self, x: np.ndarray) -> np.ndarray:
        """Return the distance to the nearest edge, signed by the parity of crossings; exact everywhere.

        Args:
            x: (n, 2) float64.

        Returns:
            (n,).
        """
        return signed_distance(x, self.vertices)

    def outline(self) -> np.ndarray:
        """Return the vertices and points of the edges, at most 1/512 of the perimeter apart.

        Returns:
            (k, 2), in order.
        """
        pieces = np.ceil(512 * self.lengths / self.lengths.sum()).astype(int)
        rows = zip(self.vertices, self._edges(), pieces, strict=True)
        return np.concatenate([start + edge * (np.arange(n) / n)[:, None] for start, edge, n in rows])

    def _edges(self) -> np.ndarray:
        return np.roll(self.vertices, -1, axis=0) - self.vertices

    def _signed_area(self) -> float:
        shifted = self.vertices - self.vertices[0]
        following = np.roll(shifted, -1, axis=0)
        return float((shifted[:, 0] * following[:, 1] - shifted[:, 1] * following[:, 0]).sum() / 2)

    def _half_sines(self) -> np.ndarray:
        """Return sin(angle / 2) at each vertex, of the angle between its two edges (the smaller one)."""
        leaving = self._edges() / self.lengths[:, None]
        cosine = np.clip(-(leaving * np.roll(leaving, 1, axis=0)).sum(axis=1), -1, 1)
        return np.sqrt((1 - cosine) / 2)

    def _nodes(self, spacing: Spacing) -> Boundary:
        edges, lengths = self._edges(), self.lengths
        h = spacing_at(spacing, self.vertices)
        # Nodes at a distance c + h/2 from a corner are 2 (c + h/2) sin(angle / 2) apart across it.
        clip = np.maximum(0.0, (CLOSEST / 2 / self._half_sines() - 0.5) * h)
        outward = np.stack([edges[:, 1], -edges[:, 0]], axis=1) / lengths[:, None]
        outward *= math.copysign(1.0, self._signed_area())
        pieces = []
        for at, (start, edge, length) in enumerate(zip(self.vertices, edges, lengths, strict=True)):
            ends = np.array([clip[at], length - clip[(at + 1) % len(clip)]]) / length
            self._refuse_short(at, (ends[1] - ends[0]) * length, spacing)
            t = equispaced(
                lambda t, start=start, edge=edge, length=length: (
                    length / spacing_at(spacing, start + t[:, None] * edge)
                ),
                np.linspace(*ends, 65 if callable(spacing) else 2),
                offset=0.5,
            )
            points = start + t[:, None] * edge
            pieces.append(Boundary(points, np.tile(outward[at], (len(t), 1)), {f"edge{at}": np.arange(len(t))}))
        self._refuse_pinch(h)
        return Boundary.joined(pieces)

    def _refuse_pinch(self, h: np.ndarray) -> None:
        """Refuse a vertex that points at another edge across less than `thinnest` h of the domain."""
        for at, vertex in enumerate(self.vertices):
            start, edges = (np.delete(a, [at - 1, at], axis=0) for a in (self.vertices, self._edges()))
            along = np.clip(((vertex - start) * edges).sum(axis=1) / (edges**2).sum(axis=1), 0, 1)
            across = start + along[:, None] * edges - vertex
            nearest = across[np.argmin((across**2).sum(axis=1))]
            width = float(np.linalg.norm(nearest))
            if width < self.thinnest * h[at] and self.signed_distance((vertex + nearest / 2)[None])[0] < 0:
                raise ValueError(
                    f"the domain is thinner than the spacing at vertex {at}, {vertex.tolist()}: {width:.3g} thick, "
                    f"spacing {h[at]:.3g}: use spacing <= {width / 4:.2g} there"
                )

    def _refuse_short(self, at: int, room: float, spacing: Spacing) -> None:
        """Refuse an edge that has no room for a node at half the spacing from its neighbours."""
        middle = self.vertices[at] + self._edges()[at] / 2
        h = float(spacing_at(spacing, middle[None])[0])
        if room < CLOSEST * h:
            raise ValueError(
                f"edge{at} of the polygon is {self.lengths[at]:.3g} long, with room for {max(room, 0):.3g} between "
                f"its corners: too short for the spacing {h:.3g}; use a spacing below it, remove a vertex, or give a "
                f"smooth outline as Curve(points)"
            )
