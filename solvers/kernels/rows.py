"""Activations, and their adjoints, on the rows of series along several directions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from solvers.kernels.recurrences import Activation, adjoint
from solvers.layout import Layout


def direction_rows(layout: Layout) -> list[tuple[int, int]]:
    """Return the rows of order 1 and the direction that each belongs to.

    Args:
        layout: of the series.

    Returns:
        (row, direction counted over all groups).

    Example:
        >>> direction_rows(Layout.single(3))
        [(1, 0)]
    """
    pairs, before = [], 0
    for index, group in enumerate(layout.groups):
        pairs += [(layout.row(index, v, 1), before + v) for v in range(group.directions)]
        before += group.directions
    return pairs


def _directions(layout: Layout, rows: Sequence, share: bool) -> Iterator[tuple[int, int, list]]:
    """Yield group, direction and its coefficients; with `share` a collapsed row is dealt equally to its directions.

    Everything below is affine in the highest coefficient with a factor that the directions share, so equal parts give
    the right sum.
    """
    for index, group in enumerate(layout.groups):
        top = rows[layout.row(index, 0, group.order)]
        if group.collapsed and share:
            top = top * (1.0 / group.directions)
        for v in range(group.directions):
            lower = [rows[layout.row(index, v, k)] for k in range(group.order)]
            yield index, v, [*lower, top if group.collapsed else rows[layout.row(index, v, group.order)]]


def activated(activation: Activation, layout: Layout, z: Sequence) -> list:
    """Return the rows of f(z).

    Args:
        activation: f.
        layout: of the rows.
        z: one element a row.

    Returns:
        One element a row.
    """
    result: list = [None] * layout.rows
    if not layout.groups:
        result[0] = activation.expand(z)[0][0]
    for index, v, series in _directions(layout, z, share=True):
        y, _ = activation.expand(series)
        for k, value in enumerate(y):
            row = layout.row(index, v, k)
            summed = k == layout.groups[index].order and layout.groups[index].collapsed and v > 0
            result[row] = result[row] + value if summed else value
    return result


def pulled_back(activation: Activation, layout: Layout, saved: Sequence, cotangent: Sequence) -> list:
    """Return the rows of zbar from those of ybar.

    Args:
        activation: f.
        layout: of the rows.
        saved: rows of y where the activation has a slope of y, of z otherwise.
        cotangent: rows of ybar.

    Returns:
        One element a row: the adjoint of `activated`.
    """

    def slope(series):
        return activation.slope(series) if activation.slope else activation.expand(series)[1]

    result: list = [None] * layout.rows
    result[0] = slope(saved[:1])[0] * cotangent[0]
    bars = _directions(layout, cotangent, share=False)
    for (index, v, series), (_, _, bar) in zip(_directions(layout, saved, share=True), bars, strict=True):
        s = slope(series)
        for k in range(1, len(series)):
            result[layout.row(index, v, k)] = adjoint(s, bar, k)
        for k in range(1, len(series)):
            result[0] = result[0] + s[k] * bar[k]
    return result
