"""Bravais lattices clipped to a shape: hexagonal in the plane, body-centred cubic in space."""

from __future__ import annotations

import math
from itertools import product

import numpy as np

from solvers.geometry.shape import Shape

EDGES = {2: (1.0, math.sqrt(3.0)), 3: (2 / math.sqrt(3.0),) * 3}
"""Edges of the rectangular cell of two places, in units of the distance between nearest places."""
COVERING = {2: 1 / math.sqrt(3.0), 3: math.sqrt(5 / 12)}
"""Radius of the largest hole, in units of the distance between nearest places."""
CLIP = {2: 0.58, 3: 0.55}
"""Least depth of a node before relaxation, in units of the spacing: half a lattice row, and a little room."""
CENTRE = 0.5
"""Place of the cell's second node, in units of its edges; the first is the corner."""
BLOCK = {2: (8, 5), 3: (5, 5, 5)}
"""Cells a block: one signed distance decides about a whole block that is far from the boundary."""
LARGEST = 20_000_000
"""Most places that a scattering may ask for."""


def cell_volume(dimension: int) -> float:
    """Return the volume a lattice place takes, in units of the spacing to the power of the dimension.

    The densest planar packing takes sqrt(3)/2; the body-centred cubic lattice takes 4/(3 sqrt(3)) and has the smallest
    largest gap of all lattices in space.

    Args:
        dimension: 1, 2 or 3.

    Returns:
        A number.

    Example:
        >>> round(cell_volume(2), 4), round(cell_volume(3), 4)
        (0.866, 0.7698)
    """
    return math.prod(EDGES[dimension]) / 2 if dimension > 1 else 1.0


def clipped_lattice(shape: Shape, spacing: float, clip: float, reach: float, shift: np.ndarray):
    """Return the lattice places deeper than `clip` below a shape's boundary, and how deep they are.

    The bounding box is cut into blocks of cells. As no signed distance overstates how far the boundary is, the one at
    a block's centre tells whether the whole block is outside, or deeper than `reach`; places are looked at one by one
    in the other blocks only.

    Args:
        shape: in the plane or in space.
        spacing: distance between nearest places.
        clip: least depth of a place.
        reach: depth beyond which no depth is wanted.
        shift: (d,) of the lattice, in units of its blocks.

    Returns:
        Places (n, d), block after block, and their depths (n,), infinite beyond `reach` where a block was not looked
        into.

    Raises:
        ValueError: more than twenty million places.
    """
    dimension = shape.dimension
    edges = spacing * np.array(EDGES[dimension])
    block = edges * BLOCK[dimension]
    lower, upper = np.array(shape.lower), np.array(shape.upper)
    origin = lower - block * shift
    counts = np.ceil((upper - origin) / block).astype(int)
    refuse_crowds(2 * math.prod(float(n) for n in counts) * math.prod(BLOCK[dimension]), shape, spacing)
    corners = np.array(list(product(*map(range, counts)))) * block + origin
    inside = -shape.signed_distance(corners + block / 2)
    radius = np.linalg.norm(block) / 2
    cells = np.array(list(product(*map(range, BLOCK[dimension])))) * edges
    template = np.concatenate([cells, cells + CENTRE * edges])
    whole = inside > reach + radius
    deep = _places(corners[whole], template)
    cut = _places(corners[~whole & (inside > clip - radius)], template)
    cut = cut[((cut > lower) & (cut < upper)).all(axis=1)]
    depth = -shape.signed_distance(cut)
    kept = depth > clip
    return np.concatenate([cut[kept], deep]), np.concatenate([depth[kept], np.full(len(deep), np.inf)])


def _places(corners: np.ndarray, template: np.ndarray) -> np.ndarray:
    return (corners[:, None] + template).reshape(-1, template.shape[1])


def refuse_crowds(places: float, shape: Shape, spacing: float):
    """Raise if a scattering would ask for more places than fit in memory.

    Args:
        places: their number.
        shape: to be filled.
        spacing: that is asked for; its smallest value where it varies.

    Raises:
        ValueError: more than twenty million places.
    """
    if places > LARGEST:
        factor = (places / LARGEST) ** (1 / shape.dimension)
        raise ValueError(
            f"spacing {spacing:.3g} asks for about {places:.1e} lattice places, {LARGEST:.0e} is the most: "
            f"use a spacing {factor:.3g} times as large"
        )
