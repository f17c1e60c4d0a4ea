"""What a run's error was, as a whole, at its largest and by frequency, each with the floor that its reference sets."""

from __future__ import annotations

import numpy as np
import xarray as xr

from dynamics.configuration import solution_floor
from dynamics.residuals import ERROR

FLOORS = 3.0
"""An error below this many floors says nothing but that the reference is no better."""

WAVES = {"low": "0-4", "middle": "5-12", "high": "13+"}
"""Band of frequencies -> full waves across the box."""

LARGEST = "largest error"


def in_waves(band: str) -> str:
    """Return what the error of one band of frequencies is called.

    Args:
        band: of `WAVES`.

    Returns:
        A few words.

    Example:
        >>> in_waves("low")
        'L2 error in 0-4 waves'
    """
    return f"L2 error in {WAVES[band]} waves"


def error_columns(trajectory: xr.DataTree) -> dict[str, tuple[np.ndarray, float]]:
    """Return every error that was recorded, step by step, and its floor.

    The floor of the relative error and of its bands is that of the solution, ||e|| / ||u*||; that of the largest error
    is as large in units of the largest |u*|, and 0 in files that do not say how large that is.

    Args:
        trajectory: any.

    Returns:
        Name -> (step,) values, NaN where not measured, and floor; empty where no error was recorded.

    Example:
        >>> series = xr.Dataset({"max_error": ("step", [0.5, 0.25])}, attrs={"solution_max": 2.0})
        >>> tree = xr.DataTree.from_dict({"series": series})
        >>> tree.attrs["config"] = {"problem": {"solution_floor": 1e-7}}
        >>> error_columns(tree)["largest error"][1]
        2e-07
    """
    if "series" not in trajectory:
        return {}
    series, floor = trajectory["series"].dataset, solution_floor(trajectory)
    found = {ERROR: (series["rel_l2"].values, floor)} if "rel_l2" in series else {}
    if "max_error" in series:
        found[LARGEST] = series["max_error"].values, floor * _scale(series)
    if "error_band" in series and "band" in series.coords:
        columns = series["error_band"].transpose("band", "step").values
        labels = series["band"].values.astype(str).tolist()
        named = {label: values for label, values in zip(labels, columns, strict=True) if label in WAVES}
        found |= {in_waves(label): (values, floor) for label, values in named.items()}
    return found


def last_errors(trajectory: xr.DataTree) -> dict[str, tuple[float, float]]:
    """Return the last finite value of every error that was recorded, and its floor.

    Args:
        trajectory: any.

    Returns:
        Name -> value and floor.

    Example:
        >>> tree = xr.DataTree.from_dict({"series": xr.Dataset({"rel_l2": ("step", [0.5, float("nan")])})})
        >>> last_errors(tree)
        {'relative L2 error': (0.5, 0.0)}
    """
    finite = {name: (values[np.isfinite(values)], floor) for name, (values, floor) in error_columns(trajectory).items()}
    return {name: (float(values[-1]), floor) for name, (values, floor) in finite.items() if len(values)}


def _scale(series: xr.Dataset) -> float:
    """The largest |u*|; files are read as they come, and others than ours may hold anything there."""
    scale = series.attrs.get("solution_max")
    return float(scale) if isinstance(scale, int | float | np.number) and 0 < scale < np.inf else 0.0
