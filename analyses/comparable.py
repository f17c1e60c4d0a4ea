"""In what two runs differ: what makes their numbers hard to compare, and what else may be why they disagree."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from dynamics.configuration import section
from dynamics.spectrum_at import spectrum_at

TOLD = ("equation", "floor_origin", "reference", "solution_floor")
"""What is said of a problem and its solution beside what makes it this problem."""

OPERATOR = ("order", "step", "backend")
"""What tells two operators of one name apart; steps of other axes follow from it."""


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


def also_differ(first: xr.DataTree, second: xr.DataTree) -> list[str]:
    """Name what else differs and may be why two runs disagree: reference, network, weights, method, matrix, step.

    The references of one problem may differ in how good they are: with other floors, or another version's key.

    Operators of two names are what is compared, and not named here; of one name, their options are.

    Args:
        first: a trajectory.
        second: another.

    Returns:
        One line a difference, "what: first / second".

    Example:
        >>> trees = [xr.DataTree(xr.Dataset(attrs={"config": {"optimizer": name}})) for name in ("Adam", "L-BFGS")]
        >>> also_differ(*trees)
        ['method: Adam / L-BFGS']
    """
    pair = first, second
    operators = [section(tree, "operator") for tree in pair]
    found = _pairs(
        "method", *({"": _config(tree, "optimizer"), "attention": _config(tree, "attention")} for tree in pair)
    )
    if operators[0].get("name") == operators[1].get("name"):
        found += _pairs("operator", *({key: it[key] for key in OPERATOR if key in it} for it in operators))
    return [
        *_references(*(section(tree, "problem") for tree in pair))[1],
        *_networks(first, second),
        *_weights(first, second),
        *found,
        *_matrices(first, second),
        *_steps(first, second),
    ]


def causes(lines: list[str]) -> list[str]:
    """Return what differs, each once, without the values.

    Args:
        lines: of `differences` and `also_differ`.

    Returns:
        What stands before the colons; one word for all of the problem, and so on.

    Example:
        >>> causes(["points: box: 1 / 2", "points: interior: 20 / 19", "weight of interior: 1 / 2"])
        ['points', 'weights']
    """
    named = [line.partition(":")[0] for line in lines]
    groups = {"problem": "problem", "points": "points", "weight": "weights", "matrix": "matrix", "method": "method"}
    groups |= {"reference": "reference"}
    return list(dict.fromkeys(groups.get(name.split()[0], name) for name in named))


def same_problem(first: xr.DataTree, second: xr.DataTree) -> bool:
    """Tell whether two runs state the same problem, so that their errors measure one thing.

    Args:
        first: a trajectory.
        second: another.

    Returns:
        False where name, settings, box, equation or reference differ.

    Example:
        >>> trees = [xr.DataTree(xr.Dataset(attrs={"config": {"problem": name}})) for name in ("heat", "burgers")]
        >>> same_problem(*trees)
        False
    """
    return not _problems(first, second)


def variant(trajectory: xr.DataTree) -> str:
    """Return which problem a run states, with all that tells it from others of its name.

    Args:
        trajectory: any.

    Returns:
        A line of text.

    Example:
        >>> box = {"axes": ["x"], "lower": [-1.0], "upper": [1.0]}
        >>> problem = {"name": "burgers", "settings": {"viscosity": 0.01}, **box}
        >>> variant(xr.DataTree(xr.Dataset(attrs={"config": {"problem": problem}})))
        'burgers (viscosity 0.01, x in [-1, 1])'
    """
    found = section(trajectory, "problem")
    told, reference = [f"{key} {_short(value)}" for key, value in _settings(found).items()], found.get("reference")
    limits = [found.get(key) for key in ("axes", "lower", "upper")]
    if all(isinstance(one, list) for one in limits):
        told += [f"{axis} in [{_short(low)}, {_short(high)}]" for axis, low, high in zip(*limits, strict=False)]
    if isinstance(reference, dict) and reference.get("key"):
        told.append(f"reference {reference['key']}")
    return str(found.get("name", "unnamed")) + (f" ({', '.join(told)})" if told else "")


def _short(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def same_matrix(first: xr.DataTree, second: xr.DataTree) -> bool:
    """Tell whether the spectra of two runs are those of one kind of matrix.

    Args:
        first: a trajectory with `/spectra`.
        second: another.

    Returns:
        False where both name their matrix and the names differ.

    Example:
        >>> names = ("collocation system", "Jacobian")
        >>> spectra = [xr.Dataset(attrs={"matrix": name}) for name in names]
        >>> same_matrix(*(xr.DataTree.from_dict({"spectra": one}) for one in spectra))
        False
    """
    names = [tree["spectra"].attrs.get("matrix") for tree in (first, second)]
    return None in names or names[0] == names[1]


def _pairs(what: str, first: dict, second: dict) -> list[str]:
    keys = [*first, *(key for key in second if key not in first)]
    return [
        f"{f'{what} {key}'.strip()}: {first.get(key)} / {second.get(key)}"
        for key in keys
        # 1 and 1.0 are the same; NaN and NaN are too.
        if first.get(key) != second.get(key) and str(first.get(key)) != str(second.get(key))
    ]


def _problems(first: xr.DataTree, second: xr.DataTree) -> list[str]:
    """What states a problem: all that was recorded of it, but how good its solution is known and in which words."""
    pair = [section(tree, "problem") for tree in (first, second)]
    settings = [_settings(found) for found in pair]
    stated = [{key: value for key, value in found.items() if key not in (*TOLD, "settings")} for found in pair]
    return [*_pairs("problem", *stated), *_pairs("problem", *settings), *_equations(*pair), *_references(*pair)[0]]


def _settings(problem: dict) -> dict:
    found = problem.get("settings") or {}
    return found if isinstance(found, dict) else {"settings": found}


def _equations(first: dict, second: dict) -> list[str]:
    """Files from before version 1.5 do not say it."""
    told = [found.get("equation") for found in (first, second)]
    return _pairs("problem", *({"equation": text} for text in told)) if all(told) else []


def _references(first: dict, second: dict) -> tuple[list[str], list[str]]:
    """What makes two solutions those of two problems, and what only makes one of them better than the other."""
    pair = first, second
    floors = [found.get("solution_floor") for found in pair]
    known = all(isinstance(floor, int | float) and math.isfinite(floor) for floor in floors)
    better = _pairs("reference", *({"floor": f"{floor:.2g}"} for floor in floors)) if known else []
    told = [found.get("reference") if isinstance(found.get("reference"), dict) else {} for found in pair]
    names = [{"name": one.get("name")} for one in told]
    keys = [{"key": one.get("key")} for one in told]
    if not all(told):
        return [], better
    if names[0] != names[1] or not better:
        return [*_pairs("problem reference", *names), *_pairs("problem reference", *keys)], better
    return [], [*better, *_pairs("reference", *keys)]


def _config(tree: xr.DataTree, name: str) -> object:
    """A value of the configuration: a text, or the fields of a section without its name."""
    found = section(tree, name)
    return ", ".join(str(value) if key == "name" else f"{key}={value}" for key, value in found.items()) or None


def _networks(first: xr.DataTree, second: xr.DataTree) -> list[str]:
    networks = [section(tree, "network") for tree in (first, second)]
    given = [section(tree, "case").get("network") for tree in (first, second)]
    options = [dict(one) if isinstance(one, dict) else {} for one in given]
    seeds = [{"": tree.attrs.get("seed")} for tree in (first, second)]
    counts = [
        {"parameters": sum(math.prod(shape) for shape in it.get("parameters", {}).values()) or None} for it in networks
    ]
    found = _pairs("network", *({"name": it.get("name")} for it in networks))
    # Options of two networks of different names say nothing beside each other.
    found += _pairs("network", *(one | {"name": None} for one in options)) if not found else []
    found = found or _pairs("network", *counts)
    return (found or _printed(*(str(it.get("text", "")) for it in networks))) + _pairs("seed", *seeds)


def _printed(first: str, second: str) -> list[str]:
    """The first line in which two printed networks of one size differ: an activation, most often."""
    lines = zip(first.splitlines(), second.splitlines(), strict=False)
    apart = [(a.strip(), b.strip()) for a, b in lines if a != b]
    return [f"network: {apart[0][0]} / {apart[0][1]}"] if apart else []


def _weights(first: xr.DataTree, second: xr.DataTree) -> list[str]:
    if not all("series" in tree and "loss_weight" in tree["series"] for tree in (first, second)):
        return []
    # Attention moves the later ones by the run itself.
    start = [tree["series/loss_weight"].isel(step=0) for tree in (first, second)]
    return _pairs(
        "weight of", *({str(name): f"{float(one.sel(term=name)):.4g}" for name in one["term"].values} for one in start)
    )


def _matrices(first: xr.DataTree, second: xr.DataTree) -> list[str]:
    if not all("spectra" in tree for tree in (first, second)):
        return []
    attrs = [tree["spectra"].attrs for tree in (first, second)]
    shapes = [f"{one['rows']} x {one['columns']}" if {"rows", "columns"} <= set(one) else None for one in attrs]
    told = [{"": one.get("matrix"), "shape": shape} for one, shape in zip(attrs, shapes, strict=True)]
    details = ({key: one.get(key) for key in ("row_choice", "conditions", "scaling")} for one in attrs)
    return _pairs("matrix", *told) + (_pairs("matrix", *details) if same_matrix(first, second) else [])


def _steps(first: xr.DataTree, second: xr.DataTree) -> list[str]:
    pair = first, second
    found = []
    if all("spectra" in tree for tree in pair):
        found = _pairs("spectrum of", *({"step": int(spectrum_at(tree)["step"])} for tree in pair))
    if all("series" in tree and tree["series"].coords.get("step") is not None for tree in pair):
        found += _pairs("last", *({"step": int(tree["series/step"].max())} for tree in pair))
    return found


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
