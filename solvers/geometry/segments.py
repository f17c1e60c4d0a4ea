"""Closed chains of straight segments in the plane: do they cross, how far is a point, is it inside."""

from __future__ import annotations

import numpy as np

CHUNK = 4096
"""Points at a time, so that temporaries stay in the cache."""
PAIRS = 1 << 20
COLLINEAR = 1e-12
"""Area of a triangle, over the square of the chain's size, below which its corners lie on a line."""


def cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return u_x v_y - u_y v_x of vectors in the plane.

    Args:
        u: (n, 2).
        v: (n, 2).

    Returns:
        (n,).
    """
    return u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]


def signed_distance(x: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Return the distance to a closed chain of segments, negative where it winds round an odd number of times.

    Args:
        x: (n, 2) float64.
        corners: (k, 2); segment i runs from corner i to i + 1, the last back to the first.

    Returns:
        (n,). Cost: about 20 operations a point and segment; memory does not grow with their product.

    Example:
        >>> triangle = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> signed_distance(np.array([[0.25, 0.25], [0.5, -2.0]]), triangle).tolist()
        [-0.25, 2.0]
    """
    x = np.asarray(x, dtype=np.float64)
    result = np.empty(len(x))
    ends = np.roll(corners, -1, axis=0)
    edges = ends - corners
    rows = np.column_stack([corners, edges, ends[:, 1], 1 / (edges**2).sum(axis=1)]).tolist()
    for start in range(0, len(x), CHUNK):
        px, py = np.ascontiguousarray(x[start : start + CHUNK].T)
        nearest, inside = np.full(len(px), np.inf), np.zeros(len(px), dtype=bool)
        for ax, ay, ex, ey, by, inverse in rows:
            dx, dy = px - ax, py - ay
            # Of the corners themselves: rounded differences would let two neighbours both count, or neither.
            straddles = (py < ay) != (py < by)
            if straddles.any():
                # The ray to the right of the point meets the segment where ex dy / ey > dx.
                inside ^= straddles & (dx < dy * (ex / ey))
            along = dx * ex
            along += dy * ey
            along *= inverse
            np.clip(along, 0.0, 1.0, out=along)
            dx -= along * ex
            dy -= along * ey
            dx *= dx
            dy *= dy
            dx += dy
            np.minimum(nearest, dx, out=nearest)
        np.sqrt(nearest, out=nearest)
        result[start : start + CHUNK] = np.where(inside, -nearest, nearest)
    return result


def crossing(corners: np.ndarray) -> tuple[int, int] | None:
    """Return two segments of a closed chain that meet other than at the corner they share, or None.

    Segments that touch count, and so do neighbours that fold back onto each other.

    Args:
        corners: (k, 2), no two neighbours equal.

    Returns:
        Indices (i, j), i < j, of one such pair. Cost: a sort, then the pairs whose x ranges overlap, in pieces.

    Example:
        >>> crossing(np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]))
        (0, 2)
    """
    count, ends = len(corners), np.roll(corners, -1, axis=0)
    low, high = np.minimum(corners, ends), np.maximum(corners, ends)
    order = np.argsort(low[:, 0], kind="stable")
    partners = np.searchsorted(low[order, 0], high[order, 0], side="right") - np.arange(count) - 1
    start = 0
    while start < count:
        stop = start + max(1, int(np.searchsorted(np.cumsum(partners[start:]), PAIRS)))
        number = partners[start:stop]
        first = np.repeat(np.arange(start, start + len(number)), number)
        second = first + 1 + np.arange(len(first)) - np.repeat(np.cumsum(number) - number, number)
        i, j = order[first], order[second]
        near = (low[i, 1] <= high[j, 1]) & (low[j, 1] <= high[i, 1])
        i, j = np.minimum(i[near], j[near]), np.maximum(i[near], j[near])
        met = np.flatnonzero(_meet(corners, ends, i, j))
        if len(met):
            return int(i[met[0]]), int(j[met[0]])
        start = stop
    return None


def _meet(a: np.ndarray, b: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Return which pairs of segments i < j whose boxes overlap meet; of neighbours, which fold back."""
    count, small = len(a), COLLINEAR * float(np.ptp(a, axis=0).max()) ** 2
    after, before = j == i + 1, (i == 0) & (j == count - 1)
    # Neighbours share a corner: they meet elsewhere where the second runs back along the first.
    p, q = b[i] - a[i], b[j] - a[j]
    folds = (np.abs(cross(p, q)) <= small) & ((p * q).sum(axis=1) < 0)
    sides = [cross(b[m] - a[m], point - a[m]) for m, point in ((i, a[j]), (i, b[j]), (j, a[i]), (j, b[i]))]
    sides = [np.where(np.abs(side) <= small, 0.0, np.sign(side)) for side in sides]
    # Segments on one line have no sides; they meet, since their boxes do.
    apart = (sides[0] * sides[1] > 0) | (sides[2] * sides[3] > 0)
    return np.where(after | before, folds, ~apart)
