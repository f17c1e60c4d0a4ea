"""A function of x and t as a Legendre series on each rectangle of a mesh, without what does not count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.polynomial import legendre

from solvers.references.recipe import Column


class PiecewiseLegendre:
    """Sum of c_ij P_i(t) P_j(x) on each element in x and slab in t, in their own coordinates from -1 to 1.

    Args:
        arrays: "t_edges" (slabs + 1,), "x_edges" (elements + 1,), "lengths" (slabs, elements, orders): how many j
            there are for each i, and "coefficients", one after the other in this order.

    Example:
        >>> block = np.array([[[1.0, 0.5, 1e-20]]])
        >>> columns = PiecewiseLegendre.columns([0, 1], [0, 2], [block], 1e-16)
        >>> kept = PiecewiseLegendre({name: values for name, (_, values, _) in columns.items()})
        >>> len(kept.coefficients), kept(np.array([2.0]), np.array([0.3])).tolist()
        (2, [1.5])
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        self.t_edges, self.x_edges = arrays["t_edges"], arrays["x_edges"]
        self.lengths, self.coefficients = arrays["lengths"], arrays["coefficients"]
        self._ends = np.concatenate([[0], np.cumsum(self.lengths, dtype=np.int64)])

    @staticmethod
    def columns(
        t_edges: Sequence[float], x_edges: Sequence[float], blocks: Sequence[np.ndarray], tolerance: float
    ) -> dict[str, Column]:
        """Return the arrays of a function, with dimensions and attributes.

        Args:
            t_edges: of the slabs.
            x_edges: of the elements.
            blocks: one a slab, (elements, orders, degrees) coefficients c_ij.
            tolerance: the last coefficients of each order in t that are no larger are left out.

        Returns:
            Name -> (dimensions, values, attributes).
        """
        whole = np.array(blocks)
        large = np.abs(whole) > tolerance
        degrees = np.arange(1, whole.shape[-1] + 1)
        lengths = (large * degrees).max(axis=-1)
        kept = degrees <= lengths[..., None]
        pure = {"units": "1"}
        return {
            "t_edges": (("t_edge",), np.asarray(t_edges, float), {**pure, "long_name": "times between slabs"}),
            "x_edges": (("x_edge",), np.asarray(x_edges, float), {**pure, "long_name": "places between elements"}),
            "lengths": (
                ("slab", "element", "order"),
                lengths.astype(np.uint8),
                {**pure, "long_name": "number of coefficients in x for each order in t"},
            ),
            "coefficients": (("coefficient",), whole[kept], {**pure, "long_name": "Legendre coefficients"}),
        }

    def __call__(self, x: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Return the function.

        Args:
            x: places, 1-D; the outer rectangles go on beyond the mesh.
            t: times, of the same shape.

        Returns:
            Values, of the same shape.
        """
        slab, later = _placed(t, self.t_edges)
        element, along = _placed(x, self.x_edges)
        elements = len(self.x_edges) - 1
        block = slab * elements + element
        order = np.argsort(block, kind="stable")
        values = np.empty(len(x))
        for rows in np.split(order, np.flatnonzero(np.diff(block[order])) + 1):
            if len(rows):
                series = self._series(*divmod(int(block[rows[0]]), elements))
                values[rows] = _valued(series, along[rows], later[rows])
        return values

    def _series(self, slab: int, element: int) -> np.ndarray:
        """Return (orders, degrees) of one rectangle."""
        lengths = self.lengths[slab, element]
        series = np.zeros((len(lengths), int(lengths.max())))
        start = np.ravel_multi_index((slab, element, 0), self.lengths.shape)
        rest = self.coefficients[self._ends[start] : self._ends[start + len(lengths)]]
        series[np.arange(series.shape[1]) < lengths[:, None]] = rest
        return series


def _placed(places: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of the interval that holds each place, and where in it from -1 to 1."""
    index = np.clip(np.searchsorted(edges, places, side="right") - 1, 0, len(edges) - 2)
    low, high = edges[index], edges[index + 1]
    return index, (2 * places - low - high) / (high - low)


def _valued(series: np.ndarray, x: np.ndarray, t: np.ndarray) -> np.ndarray:
    if not series.size:
        return np.zeros(len(x))
    in_t = legendre.legvander(t, series.shape[0] - 1)
    in_x = legendre.legvander(x, series.shape[1] - 1)
    return np.einsum("ni,ni->n", in_t @ series, in_x)
