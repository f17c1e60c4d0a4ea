"""What a trajectory's configuration says of its run: problem, operator, accuracy of the reference, a title."""

from __future__ import annotations

import json

import xarray as xr


def section(trajectory: xr.DataTree, name: str) -> dict:
    """Return one section of the recorded configuration; a section that is a bare name becomes {"name": it}.

    Args:
        trajectory: any; the attribute `config` is JSON, or a mapping in trees made by hand.
        name: such as "problem" or "operator".

    Returns:
        The section, {} where it is absent or cannot be read.

    Example:
        >>> section(xr.DataTree(xr.Dataset(attrs={"config": '{"problem": {"name": "burgers"}}'})), "problem")
        {'name': 'burgers'}
    """
    config = trajectory.attrs.get("config", "{}")
    try:
        config = config if isinstance(config, dict) else json.loads(config)
    except (TypeError, ValueError):
        return {}
    found = config.get(name) if isinstance(config, dict) else None
    if isinstance(found, str):
        return {"name": found}
    return found if isinstance(found, dict) else {}


def solution_floor(trajectory: xr.DataTree) -> float:
    """Return the relative error of the problem's reference solution.

    Args:
        trajectory: any.

    Returns:
        The floor, a pure number; 0 where none is stated.

    Example:
        >>> solution_floor(xr.DataTree(xr.Dataset(attrs={"config": {"problem": {"solution_floor": 1e-15}}})))
        1e-15
    """
    floor = section(trajectory, "problem").get("solution_floor")
    return float(floor) if isinstance(floor, int | float) and floor > 0 else 0.0


def discretisation_error(trajectory: xr.DataTree) -> float:
    """Return the relative error that the run's discretisation has when it is solved directly.

    Args:
        trajectory: any.

    Returns:
        A pure number; 0 where none is stated.

    Example:
        >>> discretisation_error(xr.DataTree(xr.Dataset(attrs={"config": {"discretisation": {"rel_l2": 5e-6}}})))
        5e-06
    """
    error = section(trajectory, "discretisation").get("rel_l2")
    return float(error) if isinstance(error, int | float) and error > 0 else 0.0


def title(trajectory: xr.DataTree) -> str:
    """Return problem, operator and precision in a line for the head of a figure.

    Args:
        trajectory: any.

    Returns:
        What is known of the three, separated by commas; "run" where nothing is.

    Example:
        >>> title(xr.DataTree(xr.Dataset(attrs={"config": {"problem": "burgers"}, "dtype": "float32"})))
        'burgers, float32'
    """
    names = [str(section(trajectory, name).get("name", "")) for name in ("problem", "operator")]
    return ", ".join(name for name in (*names, str(trajectory.attrs.get("dtype", ""))) if name) or "run"
