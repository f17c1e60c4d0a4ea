"""Domains, their boundaries, and nodes on them."""

from solvers.geometry.ball import Ball as Ball
from solvers.geometry.ball import Disk as Disk
from solvers.geometry.ball import Interval as Interval
from solvers.geometry.boundary import Boundary as Boundary
from solvers.geometry.cuboid import Cuboid as Cuboid
from solvers.geometry.cuboid import Rectangle as Rectangle
from solvers.geometry.curve import Curve as Curve
from solvers.geometry.difference import Difference as Difference
from solvers.geometry.level_set import LevelSet as LevelSet
from solvers.geometry.nodes import Nodes as Nodes
from solvers.geometry.polygon import Polygon as Polygon
from solvers.geometry.region import Region as Region
from solvers.geometry.scatter import scatter as scatter
from solvers.geometry.shape import Shape as Shape
from solvers.geometry.spacing import Spacing as Spacing

__all__ = [
    "Ball",
    "Boundary",
    "Cuboid",
    "Curve",
    "Difference",
    "Disk",
    "Interval",
    "LevelSet",
    "Nodes",
    "Polygon",
    "Rectangle",
    "Region",
    "Shape",
    "Spacing",
    "scatter",
]
