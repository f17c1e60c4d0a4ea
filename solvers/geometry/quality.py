"""How even a set of nodes is: separation, fill distance, gaps between neighbours."""

from __future__ import annotations

import numpy as np
from scipy.spatial import Delaunay, cKDTree

from solvers.geometry.shape import Shape

FLAT = 1e-9
"""A Delaunay simplex flatter than this, against the cube of its edges, has no circumcentre worth a look."""
CHUNK = 4096


def neighbour_distances(nodes: np.ndarray) -> np.ndarray:
    """Return the distance of every node to the nearest other one.

    Args:
        nodes: (n, d), n at least 2.

    Returns:
        (n,).

    Example:
        >>> neighbour_distances(np.array([[0.0], [1.0], [3.0]])).tolist()
        [1.0, 1.0, 2.0]
    """
    return cKDTree(nodes).query(nodes, k=2)[0][:, 1]


def fill_distance(nodes: np.ndarray, shape: Shape, among: np.ndarray | None = None) -> float:
    """Return the radius of the largest ball without a node that is centred in a shape: max_x min_i |x - x_i|.

    Away from the boundary the distance to the nearest node has its maxima at the vertices of the Voronoi diagram, that
    is at the circumcentres of the Delaunay simplices. Those in the shape are looked at, largest first, and the
    distance from each to the nodes is measured anew, so that the answer is never too large; it is too small only where
    the largest ball is centred on the boundary itself.

    Args:
        nodes: (n, d), n above d.
        shape: its signed distance tells which centres count.
        among: indices of the nodes between which holes are looked for; None for all. Distances are to all nodes.

    Returns:
        A distance, to rounding; not-a-number where no circumcentre lies in the shape.

    Cost: one Delaunay triangulation: 0.7 s for 100,000 nodes in the plane.

    Example:
        >>> from solvers.geometry import Rectangle
        >>> corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> round(fill_distance(corners, Rectangle((0.0, 0.0), (1.0, 1.0))), 12)
        0.707106781187
    """
    centres, radii = _voronoi_vertices(nodes if among is None else nodes[among])
    order = np.argsort(-radii, kind="stable")
    centres, radii = centres[order], radii[order]
    tree, largest = cKDTree(nodes), np.nan
    for start in range(0, len(centres), CHUNK):
        if radii[start] <= largest:
            break
        chunk = centres[start : start + CHUNK]
        chunk = chunk[((chunk >= shape.lower) & (chunk <= shape.upper)).all(axis=1)]
        chunk = chunk[shape.signed_distance(chunk) <= 0] if len(chunk) else chunk
        if len(chunk):
            largest = np.fmax(largest, tree.query(chunk)[0].max())
    return float(largest)


def _voronoi_vertices(nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the circumcentres and circumradii of the Delaunay simplices that are not flat."""
    dimension = nodes.shape[1]
    if dimension == 1:
        line = np.sort(nodes[:, 0])
        return ((line[1:] + line[:-1]) / 2)[:, None], np.diff(line) / 2
    simplices = nodes[Delaunay(nodes).simplices]
    edges = simplices[:, 1:] - simplices[:, :1]
    squares = np.einsum("ijk,ijk->ij", edges, edges)
    solid = np.abs(np.linalg.det(edges)) > FLAT * squares.max(axis=1) ** (dimension / 2)
    relative = np.linalg.solve(2 * edges[solid], squares[solid][:, :, None])[:, :, 0]
    return simplices[solid, 0] + relative, np.linalg.norm(relative, axis=1)
