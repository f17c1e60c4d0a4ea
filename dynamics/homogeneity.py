"""Homogeneity of residuals or attention weights over the cells of a regular grid."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr

from dynamics.file.row_blocks import row_blocks
from dynamics.trajectory import TrajectoryError, require


def cell_index(points, lower, upper, cells: int | Sequence[int] = 10) -> np.ndarray:
    r"""Return the cell of a regular grid on a box in which each point lies.

    $$ i_k = \lfloor c_k (x_k - l_k) / (u_k - l_k) \rfloor $$

    per axis, the upper face counted to the last cell, the axes combined in C order. Valid for any box and
    dimension. Do this once per run; `cell_moments` takes the result at every step.

    Args:
        points: (n, d), float.
        lower: (d,) lower corner of the box, in the unit of the points.
        upper: (d,) upper corner.
        cells: cells per axis, one number or d of them.

    Returns:
        (n,) int64, in [0, product of the cells).

    Raises:
        ValueError: If the shapes disagree, the box is empty, or a point lies outside of it by more than
            rounding.

    Source: arXiv 2403.18494 uses 10 x 10 cells in (x, t); the general box is ours.

    Cost: O(n d).

    Example:
        >>> cell_index([[-1.0, 0.0], [1.0, 0.0], [1.0, 1.0]], lower=[-1, 0], upper=[1, 1], cells=2).tolist()
        [0, 2, 3]
    """
    points = np.asarray(points, np.float64)
    lower, upper = np.asarray(lower, np.float64), np.asarray(upper, np.float64)
    if points.ndim != 2 or lower.shape != points.shape[1:] or upper.shape != points.shape[1:]:
        raise ValueError(
            f"expected points (n, d) and corners (d,), got {points.shape}, {lower.shape}, {upper.shape}; "
            "one row per point, one number per axis in each corner"
        )
    if not (upper > lower).all():
        raise ValueError(f"expected lower < upper on every axis, got {lower} and {upper}; leave out axes of no extent")
    counts = np.broadcast_to(np.asarray(cells, np.int64), lower.shape)
    if (counts < 1).any():
        raise ValueError(f"expected at least one cell per axis, got {cells}; 10 is the published choice")
    place = (points - lower) / (upper - lower)
    # Points of a training in float32 are rounded in proportion to where the box lies, not to how wide it is.
    slack = 1e-6 + np.finfo(np.float32).eps * np.maximum(np.abs(lower), np.abs(upper)) / (upper - lower)
    outside = ~((place > -slack) & (place < 1 + slack)).all(axis=1)
    if outside.any():
        first = int(np.argmax(outside))
        raise ValueError(
            f"expected points inside {lower} to {upper}, got {points[first]} "
            f"(point {first}, {outside.sum()} in all); pass the corners of the points' own box"
        )
    each = np.clip((place * counts).astype(np.int64), 0, counts - 1)
    return np.ravel_multi_index(tuple(each.T), tuple(counts))


def cells_per_axis(axes: int) -> int:
    """Return how many cells along each axis leave points in most of them: 10 up to three axes, 1,000 in all beyond.

    Args:
        axes: of the domain.

    Returns:
        The number, at least 1.

    Example:
        >>> [cells_per_axis(axes) for axes in (1, 2, 3, 5, 10)]
        [10, 10, 10, 3, 1]
    """
    return 10 if axes <= 3 else max(1, int(1000 ** (1 / axes)))


def cell_moments(values, index) -> tuple[float, float]:
    r"""Average within each cell, then take mean and root mean square over the cells.

    $$ \bar v_k = \frac{1}{n_k} \sum_{i \in k} v_i, \qquad \mathrm{mean}_k \bar v_k, \qquad
       \sqrt{\mathrm{mean}_k \bar v_k^2} $$

    Cells without a point are left out. For residuals pass |r|: signed values cancel within a cell.

    Args:
        values: (n,), float, any unit.
        index: (n,) cell of each value, from `cell_index`.

    Returns:
        Mean and root mean square over the cells, in the unit of the values.

    Raises:
        ValueError: If the two differ in length or are empty.

    Source: arXiv 2403.18494 (residual homogeneity).

    Cost: two passes over n numbers; cheap enough for every recorded step.

    Example:
        >>> cell_moments([1.0, 3.0, 4.0], [0, 0, 7])
        (3.0, 3.1622776601683795)
    """
    values, index = np.asarray(values, np.float64), np.asarray(index)
    if values.ndim != 1 or values.shape != index.shape or not values.size:
        raise ValueError(
            f"expected one value per cell number, got shapes {values.shape} and {index.shape}; "
            "flatten the residual, and recompute cell_index when the points change"
        )
    count = np.bincount(index)
    used = count > 0
    average = np.bincount(index, weights=values)[used] / count[used]
    return float(average.mean()), float(np.sqrt(np.mean(average**2)))


def cell_averages(points, values, lower, upper, cells: int | Sequence[int] = 10) -> tuple[float, float]:
    """Do `cell_index` and `cell_moments` in one call, for points that are used once.

    Args:
        points: (n, d), float.
        values: (n,), float.
        lower: (d,) lower corner of the box.
        upper: (d,) upper corner.
        cells: cells per axis, one number or d of them.

    Returns:
        Mean and root mean square over the cells of the cell averages, in the unit of the values.

    Raises:
        ValueError: From either of the two.

    Source: arXiv 2403.18494 (residual homogeneity).

    Cost: O(n d).

    Example:
        >>> cell_averages([[0.1], [0.9]], [0.0, 2.0], [0.0], [1.0], cells=2)
        (1.0, 1.4142135623730951)
    """
    return cell_moments(values, cell_index(points, lower, upper, cells))


def homogeneity(values, cells) -> float:
    r"""Compute the homogeneity of values over cells.

    $$ \phi = \mathrm{mean}_k \bar v_k \Big/ \sqrt{\mathrm{mean}_k \bar v_k^2} $$

    1 where all cell averages are equal, 1/sqrt(cells) where one cell holds everything.

    Args:
        values: (n,), non-negative, any unit.
        cells: (n,) cell of each value, from `cell_index`.

    Returns:
        A pure number; NaN if every value is zero.

    Raises:
        ValueError: If the two differ in length or are empty.

    Source: arXiv 2403.18494 (residual homogeneity).

    Cost: two passes over n numbers.

    Example:
        >>> homogeneity([4.0, 0.0, 0.0, 0.0], [0, 1, 2, 3])
        0.5
    """
    mean, rms = cell_moments(values, cells)
    return mean / rms if rms > 0 else float("nan")


def _box(trajectory: xr.DataTree, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    """Find the corners of the domain: as recorded, else the range of the points."""
    attrs = trajectory["points"].attrs
    if "lower" in attrs and "upper" in attrs:
        return _corner(attrs["lower"]), _corner(attrs["upper"]), "attributes of /points"
    lower, upper = points.min(axis=0), points.max(axis=0)
    return lower, np.where(upper > lower, upper, lower + 1), "range of the points"


def _corner(attribute) -> np.ndarray:
    """Read a corner: numbers, or the JSON text that the recorder makes of a list."""
    return np.atleast_1d(json.loads(attribute) if isinstance(attribute, str) else attribute).astype(float)


def _from_residuals(trajectory: xr.DataTree, cells: int | None) -> xr.Dataset:
    """Compute /homogeneity from |r| at the points, and from attention weights where they are."""
    interior, residual = require(trajectory, "points/interior", "residuals/residual").values()
    points = np.asarray(interior.values, np.float64)
    points = points.reshape(len(points), -1)
    cells = cells_per_axis(points.shape[1]) if cells is None else cells
    lower, upper, origin = _box(trajectory, points)
    index = cell_index(points, lower, upper, cells)
    values = {"residual": residual.transpose("step", ...)}
    if "attention" in trajectory["residuals"]:
        values["attention"] = trajectory["residuals/attention"].transpose("step", ...)
    names = sorted(values)
    moments = np.array([[cell_moments(np.abs(row), index) for row in _rows(values[name])] for name in names])
    coords = {"quantity": names, **({"step": residual["step"]} if "step" in residual.coords else {})}
    data = {name: (("step", "quantity"), moments[:, :, k].T) for k, name in enumerate(("cell_mean", "cell_rms"))}
    return xr.Dataset(data, coords, {"cells": cells, "box": origin, "origin": "computed from /residuals"})


def _rows(variable: xr.DataArray) -> Iterator[np.ndarray]:
    return (row for block in row_blocks(variable) for row in block)


def residual_homogeneity(trajectory: xr.DataTree, *, cells: int | None = None) -> xr.Dataset:
    r"""Follow the homogeneity of residuals and attention weights over the run.

    phi(step, quantity) = cell_mean / cell_rms, in [1/sqrt(k), 1] for k cells that hold points. "attention" is the
    homogeneity of the residual-based attention weights, the published quantity: a smoothed residual that lags by the
    weights' memory, about 1/(1 - decay) steps. "residual" is that of |r| itself: no lag, and noisier.

    Args:
        trajectory: `/homogeneity` (`cell_mean`, `cell_rms`), or else `residuals/residual` and
            `points/interior`; the box is then that of the attributes `lower` and `upper` of `/points`, else
            the range of the points.
        cells: cells per axis, where phi is computed from the residuals; None takes `cells_per_axis`.

    Returns:
        `phi` (step, quantity), a pure number; NaN where all values are zero. Attribute `origin` says where it
        is from.

    Raises:
        TrajectoryError: If the trajectory has neither; the variables are named.

    Source: arXiv 2403.18494; its authors' code fixes the box to [-1, 1] x [0, 1], ours takes the domain's
        own.

    Cost: reading; O(steps * points) when computed from the residuals.

    Example:
        >>> dims = ("step", "quantity")
        >>> moments = {"cell_mean": (dims, [[3.0]]), "cell_rms": (dims, [[4.0]])}
        >>> recorded = xr.Dataset(moments, {"step": [1], "quantity": ["residual"]})
        >>> residual_homogeneity(xr.DataTree.from_dict({"homogeneity": recorded})).phi.item()
        0.75
    """
    if "homogeneity" in trajectory:
        mean, rms = require(trajectory, "homogeneity/cell_mean", "homogeneity/cell_rms").values()
        attrs = {**trajectory["homogeneity"].attrs, "origin": "recorded in /homogeneity"}
    elif "residuals" in trajectory and "points" in trajectory:
        computed = _from_residuals(trajectory, cells)
        mean, rms, attrs = computed.cell_mean, computed.cell_rms, computed.attrs
    else:
        raise TrajectoryError(
            "expected homogeneity/cell_mean and homogeneity/cell_rms, or residuals/residual and "
            f"points/interior; the trajectory has {sorted(trajectory.children) or 'no groups'}; "
            "record one of the two streams"
        )
    phi = (mean / rms.where(rms > 0)).transpose("step", "quantity")
    if phi["quantity"].dtype.kind == "S":
        phi["quantity"] = phi["quantity"].astype(str)
    phi = phi.assign_attrs(units="1", long_name="homogeneity over the cells, mean over root mean square")
    return xr.Dataset({"phi": phi}, attrs=attrs)
