"""In what two runs differ that makes their numbers hard to compare: problem, points, precision."""

from __future__ import annotations

import numpy as np
import xarray as xr

from dynamics.configuration import section


def differences(first: xr.DataTree, second: xr.DataTree) -> list[str]:
    """Name every difference of problem, points and precision between two trajectories.

    Points are compared as they are stored in `/points`: kinds, counts, boxes, coordinates up to the rounding of the
    coarser precision; where a file has none, the counts of its configuration.

    Args:
        first: a trajectory.
        second: another.

    Returns:
        One line a difference, "what: first / second"; empty for runs that compare.

    Example:
        >>> single, double = (xr.DataTree(xr.Dataset(attrs={"dtype": name})) for name in ("float32", "float64"))
        >>> differences(single, double)
        ['precision: float32 / float64']
    """
    return [*_problems(first, second), *_points(first, second), *_precisions(first, second)]


def _pairs(what: str, first: dict, second: dict) -> list[str]:
    keys = [*first, *(key for key in second if key not in first)]
    return [
        f"{what} {key}: {first.get(key)} / {second.get(key)}"
        for key in keys
        if str(first.get(key)) != str(second.get(key))
    ]


def _problems(first: xr.DataTree, second: xr.DataTree) -> list[str]:
    return _pairs("problem", section(first, "problem"), section(second, "problem"))


def _points(first: xr.DataTree, second: xr.DataTree) -> list[str]:
    if not all("points" in tree for tree in (first, second)):
        return _pairs("points", section(first, "points"), section(second, "points"))
    stored = [tree["points"].to_dataset() for tree in (first, second)]
    boxes = [{key: points.attrs[key] for key in ("lower", "upper") if key in points.attrs} for points in stored]
    counts = [{str(name): array.shape[0] for name, array in points.data_vars.items()} for points in stored]
    found = _pairs("points: box", *boxes) + _pairs("points:", *counts)
    for name in sorted(set(counts[0]) & set(counts[1])):
        a, b = (points[name].values for points in stored)
        if a.shape != b.shape:
            found += [f"points: {name} of shape {a.shape} / {b.shape}"] if len(a) == len(b) else []
        elif (apart := _apart(a, b)) is not None:
            found.append(f"points: {name} lie up to {apart:.1e} apart (the same number at other places)")
    return found


def _apart(a: np.ndarray, b: np.ndarray) -> float | None:
    """Largest distance in a coordinate, None where rounding explains it; points are compared in the order stored."""
    coarsest = max((np.finfo(x.dtype).eps for x in (a, b) if np.issubdtype(x.dtype, np.floating)), default=0.0)
    apart = float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0.0))
    return None if apart <= 4 * coarsest * np.abs(a).max(initial=0.0) else apart


def _precisions(first: xr.DataTree, second: xr.DataTree) -> list[str]:
    names = [str(tree.attrs.get("dtype", "")).removeprefix("torch.") or "unknown" for tree in (first, second)]
    return [f"precision: {names[0]} / {names[1]}"] if names[0] != names[1] else []
