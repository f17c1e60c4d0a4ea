"""What a report says in words and tables: what was run, how it ended, what it reached, how it was made."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from dynamics.configuration import discretisation_error, section, solution_floor, title
from dynamics.errors import FLOORS, LARGEST, error_columns
from dynamics.format import format_version
from dynamics.report.configured import config_of, json_object, plain_text, value_text
from dynamics.report.panels import names_of
from dynamics.residuals import ERROR

REACHED = {
    "loss": "weighted loss",
    "exact_loss": "interior loss with exact derivatives",
    "held_out_loss": "interior loss at points not trained on",
    "rel_l2": ERROR,
    "max_error": LARGEST,
    "gradient_norm": "gradient norm",
    "learning_rate": "learning rate",
    "evaluations": "loss evaluations",
}


def heading(trajectory: xr.DataTree) -> str:
    """Return the name of a run: the title of its case, or else problem, operator and precision.

    Of a training loop that is not ours, network, optimizers and precision.

    Args:
        trajectory: any.

    Returns:
        One line of text.

    Example:
        >>> heading(xr.DataTree(xr.Dataset(attrs={"config": {"case": {"title": "Heat, 1-D"}}})))
        'Heat, 1-D'
    """
    named = section(trajectory, "case").get("title")
    if isinstance(named, str) and named.strip():
        return named
    if any(section(trajectory, name).get("name") for name in ("problem", "operator")):
        return title(trajectory)
    network, optimizers = (str(section(trajectory, name).get("name", "")) for name in ("network", "optimizer"))
    # Written by `solvers.attach` as calls: "Adam(lr=0.001, ...), then LBFGS(...)".
    made = ", then ".join(each.split("(")[0] for each in optimizers.split(", then "))
    return ", ".join(text for text in (network, made, title(trajectory)) if text)


def summary(trajectory: xr.DataTree) -> dict[str, str]:
    """Return what was run and how it ended.

    Args:
        trajectory: any.

    Returns:
        Name -> text, empty where the file does not say.

    Example:
        >>> tree = xr.DataTree(xr.Dataset(attrs={"config": {"problem": "burgers"}, "status": "complete"}))
        >>> {name: text for name, text in summary(tree).items() if text}
        {'Problem': 'burgers', 'Status': 'complete'}
    """
    network, points = section(trajectory, "network"), section(trajectory, "points")
    reason = _of(trajectory, "stop_reason")
    counts = [f"{count} {name}" for name, count in points.items() if isinstance(count, int) and count]
    return {
        "Problem": _named(section(trajectory, "problem"), ("settings",)),
        "Operator": _named(section(trajectory, "operator"), ("order", "step")),
        "Network": ", ".join(text for text in (str(network.get("name", "")), _parameters(network)) if text),
        "Optimizer": _optimizer(trajectory),
        "Points": ", ".join(counts),
        "Precision": " on ".join(text for text in (_of(trajectory, "dtype"), _of(trajectory, "device")) if text),
        "Status": _of(trajectory, "status") + (f": {reason}" if reason else ""),
        "Length": _length(trajectory),
    }


def reached(trajectory: xr.DataTree) -> list[tuple[str, str, str]]:
    """Return the last value of what was recorded at every step, and its least.

    Args:
        trajectory: any.

    Returns:
        Rows of name, last value and least value, each with its step; errors within three floors of their
        reference are given as that floor.

    Example:
        >>> series = xr.Dataset({"loss": ("step", [4.0, 1.0, 2.0])}, {"step": [0, 5, 10]})
        >>> reached(xr.DataTree.from_dict({"series": series}))
        [('weighted loss', '2 (10)', '1 (5)')]
    """
    if "series" not in trajectory:
        return []
    series = trajectory["series"].dataset
    named = {told: series[name].values for name, told in REACHED.items() if name in series}
    errors = error_columns(trajectory)
    named |= {told: values for told, (values, _) in errors.items()}
    if "loss_raw" in series:
        raw = series["loss_raw"].transpose("step", "term")
        named |= {f"{label} term, unweighted": raw.values[:, k] for k, label in enumerate(names_of(raw, "term"))}
    steps = series["step"].values if "step" in series.coords else np.arange(series.sizes["step"])
    floors = {told: floor for told, (_, floor) in errors.items()}
    rows = [_reached(told, steps, values, floors.get(told)) for told, values in named.items()]
    rows = [row for row in rows if row]
    if own := discretisation_error(trajectory):
        told = _above(own, solution_floor(trajectory), ", the reference's floor")
        rows.append((f"{ERROR} of the discretisation alone", told, ""))
    return rows


def provenance(trajectory: xr.DataTree, name: str = "") -> dict[str, str]:
    """Return how the file was made.

    Args:
        trajectory: any.
        name: of the file.

    Returns:
        Name -> text, empty where the file does not say. The host's name is left out: reports are passed on.

    Example:
        >>> provenance(xr.DataTree(), "run.h5")["File"]
        'run.h5'
    """
    versions = ", ".join(
        f"{package} {version}" for package, version in json_object(_of(trajectory, "versions")).items()
    )
    made = ("File", name), ("Started", _of(trajectory, "created").replace("T", " "))
    wrote = " ".join(text for text in (_of(trajectory, "format"), _of(trajectory, "format_version")) if text)
    return {
        **dict(made),
        "Format": f"{wrote} (read by {format_version()})" if wrote else "",
        "Versions": versions,
        "Seed": _of(trajectory, "seed"),
        "Device": _of(trajectory, "device"),
        "Commit": _of(trajectory, "git_commit"),
        "Streams": ", ".join(f"{group} ({_rows(node)})" for group, node in sorted(trajectory.children.items())),
    }


def number(value: float) -> str:
    """Return a number to three digits, whole numbers as they are.

    Args:
        value: any.

    Returns:
        Text.

    Example:
        >>> number(0.012345), number(1500.0), number(float("inf"))
        ('1.23e-02', '1500', 'inf')
    """
    whole = math.isfinite(value) and float(value).is_integer() and abs(value) < 1e7
    return str(int(value)) if whole else f"{value:.2e}"


def _reached(told: str, steps, values, floor: float | None) -> tuple[str, str, str] | None:
    """A row of `reached`; a floor of None is that of something else than an error."""
    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        return None
    last, least = known[-1], known[np.argmin(values[known])]
    shown = _above(values[last], floor, ", the reference's floor")
    meant = values[last] > FLOORS * (floor or 0.0) if floor is not None else True
    meant = meant and told not in ("gradient norm", "learning rate", "loss evaluations")
    return told, f"{shown} ({steps[last]})", f"{_above(values[least], floor)} ({steps[least]})" if meant else ""


def _above(value: float, floor: float | None, said: str = "") -> str:
    """A number, or its floor where it lies within three of them."""
    return f"<= {floor:.1e}{said}" if floor and value <= FLOORS * floor else number(value)


def _of(trajectory: xr.DataTree, name: str) -> str:
    """Return an attribute of the file, or the dataset of that name in trees made without `open_trajectory`."""
    if name in trajectory.attrs:
        return plain_text(np.asarray(trajectory.attrs[name]).item())
    return plain_text(trajectory.dataset[name].values.item()) if name in trajectory.dataset else ""


def _named(found: dict, beside: tuple[str, ...]) -> str:
    more = {**found.get("settings", {})} if isinstance(found.get("settings"), dict) and "settings" in beside else {}
    more |= {key: found[key] for key in beside if key != "settings" and found.get(key) is not None}
    told = ", ".join(f"{key} {value_text(value)}" for key, value in more.items())
    return str(found.get("name", "")) + (f" ({told})" if told else "")


def _parameters(network: dict) -> str:
    shapes = network.get("parameters")
    if not isinstance(shapes, dict):
        return ""
    try:
        total = sum(math.prod(int(size) for size in shape) for shape in shapes.values())
    except (TypeError, ValueError):
        return ""
    return f"{total:,} parameters"


def _optimizer(trajectory: xr.DataTree) -> str:
    """The case says it in the user's words; the run's own record is the constructor's call."""
    case = section(trajectory, "case").get("optimizer")
    if isinstance(case, dict) and "name" in case:
        told = ", ".join(f"{key} {value_text(value)}" for key, value in case.items() if key != "name")
        text = f"{case['name']} ({told})" if told else str(case["name"])
    else:
        text = value_text(config_of(trajectory).get("optimizer") or "")
    return text + (" with residual-based attention" if section(trajectory, "attention") else "")


def _length(trajectory: xr.DataTree) -> str:
    if "series" not in trajectory or not trajectory["series"].sizes.get("step"):
        return ""
    series = trajectory["series"].dataset
    told = f"up to step {series['step'].values[-1]}" if "step" in series.coords else f"{series.sizes['step']} rows"
    seconds = series["time"].values if "time" in series.coords else np.empty(0)
    return told + (f", {seconds[-1]:.3g} s" if len(seconds) and np.isfinite(seconds[-1]) else "")


def _rows(node: xr.DataTree) -> str:
    index = next((dim for dim in ("step", "evaluation") if dim in node.sizes), None)
    return f"{node.sizes[index]} rows" if index else "once"
