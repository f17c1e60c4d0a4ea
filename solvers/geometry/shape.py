"""A bounded domain in space: where it is, how large, how far from its boundary, and nodes on that boundary."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from solvers.geometry.boundary import Boundary
from solvers.geometry.spacing import Spacing, spacing_at

if TYPE_CHECKING:
    from solvers.geometry.difference import Difference

FACING = -0.9
"""Cosine between the normals of two walls below which they face each other across a thin place."""


class Shape(ABC):
    """A bounded open set of R^d; `outer - hole` takes a piece out of it.

    A subclass gives `dimension`, `lower`, `upper`, `measure`, `parts`, `signed_distance`, `outline` and `_nodes`.

    Attributes:
        thinnest: thickness in units of the spacing below which `boundary` refuses; below 1 where corners make every
            spacing look thin.
    """

    thinnest: float = 1.0

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Number of space axes d."""

    @property
    @abstractmethod
    def lower(self) -> tuple[float, ...]:
        """Lower corner of a box that holds the shape."""

    @property
    @abstractmethod
    def upper(self) -> tuple[float, ...]:
        """Upper corner of a box that holds the shape."""

    @property
    @abstractmethod
    def measure(self) -> float:
        """Length, area or volume."""

    @property
    @abstractmethod
    def parts(self) -> tuple[str, ...]:
        """Names of the boundary's parts, those that `boundary(...)` returns."""

    @abstractmethod
    def signed_distance(self, x: np.ndarray) -> np.ndarray:
        """Return the distance to the boundary, negative inside.

        Exact next to the boundary; further away at least of the right sign and no larger in size than the distance.

        Args:
            x: (n, d) float64.

        Returns:
            (n,) float64.
        """

    @abstractmethod
    def outline(self) -> np.ndarray:
        """Return dense points of the boundary, for checks and figures.

        Returns:
            (k, d) float64, corners included.
        """

    @abstractmethod
    def _nodes(self, spacing: Spacing) -> Boundary:
        """Return quasi-uniform boundary nodes; the spacing has been checked on the outline."""

    def boundary(self, spacing: Spacing) -> Boundary:
        """Return nodes on the boundary, quasi-uniform with the given spacing.

        Args:
            spacing: h, or a function (n, d) -> (n,).

        Returns:
            Points, outward unit normals and named parts.

        Raises:
            ValueError: a spacing that is not positive and finite, or a shape that is thinner than it.
        """
        h = spacing_at(spacing, self.outline())
        widest = min(high - low for low, high in zip(self.lower, self.upper, strict=True))
        if h.min() >= widest:
            raise ValueError(
                f"the domain is thinner than the spacing: {widest:.4g} wide, spacing {h.min():.4g}: "
                f"use spacing <= {widest / 4:.3g}"
            )
        nodes = self._nodes(spacing)
        self._refuse_thin(nodes, spacing_at(spacing, nodes.points))
        return nodes

    def _refuse_thin(self, nodes: Boundary, h: np.ndarray) -> None:
        """Refuse a domain whose other wall is nearer than `thinnest` h along the inward normal."""
        depth = self.thinnest * h
        through = np.flatnonzero(self.signed_distance(nodes.points - depth[:, None] * nodes.normals) >= 0)
        for node in through:
            inward = nodes.points[node] - np.linspace(0, depth[node], 65)[1:, None] * nodes.normals[node]
            out = self.signed_distance(inward) >= -1e-3 * depth[node]
            # The first steps are next to this wall itself.
            out &= np.arange(1, 65) > 2
            at = int(np.argmax(out))
            if self._normal(inward[at], 1e-2 * depth[node]) @ nodes.normals[node] < FACING:
                thickness = (at + 1) / 64 * depth[node]
                raise ValueError(
                    f"the domain is thinner than the spacing at boundary node {node}, {nodes.points[node].tolist()}: "
                    f"about {thickness:.3g} thick, spacing {h[node]:.3g}: use spacing <= {thickness / 4:.2g} there"
                )

    def _normal(self, point: np.ndarray, step: float) -> np.ndarray:
        """Return the outward direction of the wall that is nearest to a point on or just outside of it."""
        shifts = step * np.eye(self.dimension)
        slope = self.signed_distance(point + shifts) - self.signed_distance(point - shifts)
        return slope / max(float(np.linalg.norm(slope)), 1e-300)

    def __sub__(self, hole: Shape) -> Difference:
        from solvers.geometry.difference import Difference

        return Difference(self, hole)
