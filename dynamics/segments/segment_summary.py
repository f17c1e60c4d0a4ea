"""What a trajectory in segments holds, in a few words, as `dynamics.file.summary` says it of a file."""

from __future__ import annotations

import json
import os

import numpy as np

from dynamics.confined.guarded import printable
from dynamics.file.opening import TrajectoryError, written_on
from dynamics.file.summary import PROVENANCE, ROWS
from dynamics.format import STATUS, STOP_REASON
from dynamics.segments.segment_catalogue import Catalogue, Stacked


def summarise_segments(path: str | os.PathLike) -> dict[str, object]:
    """Say what a directory of segments holds; indices and labels are read, and the last coefficients.

    Args:
        path: the directory.

    Returns:
        The keys of `dynamics.file.summary.summarise`. State: "closed" by a run that ended, else "live", or "left" where
        no living writer is known.

    Example:
        >>> summarise_segments("no_run")["findings"]
        ['no_run: expected a directory of segments, came none (No such file or directory): check the path']
    """
    path = os.fspath(path)
    try:
        catalogue = Catalogue(path)
        coefficients = _coefficients(catalogue.streams.get("coefficients"))
    except TrajectoryError as error:
        return {"findings": [printable(str(error))]}
    config = _mapping(catalogue.attributes.get("config"))
    names = {key: config.get(key) for key in ("problem", "operator")}
    names = {key: str(value.get("name") or "") if isinstance(value, dict) else "" for key, value in names.items()}
    told = {name: str(catalogue.attributes[name]) for name in PROVENANCE if name in catalogue.attributes}
    return {
        "findings": [],
        "state": _state(catalogue),
        **{name: printable(catalogue.status[name]) for name in (STATUS, STOP_REASON)},
        "attributes": {name: printable(value) for name, value in told.items()},
        **{key: printable(value) for key, value in names.items()},
        "coefficients": coefficients,
        "streams": [_stream(group) for _, group in sorted(catalogue.groups.items())],
    }


def _stream(group: Stacked) -> tuple[str, int | None, list[str], dict[str, int]]:
    variables = sorted(printable(name) for name in {*group.recorded, *group.scalars} - {"time"})
    sizes = {dim: labels if isinstance(labels, int) else len(labels) for dim, labels in group.labels.items()}
    sizes = {printable(dim): size for dim, size in sizes.items()}
    return printable(group.name), group.count if group.index else None, variables, sizes


def _coefficients(stream: Stacked | None) -> dict[str, float]:
    """Return the last finite value of each unknown coefficient, of the last rows."""
    if stream is None or not isinstance(stream.labels.get("coefficient"), list) or "value" not in stream.variables:
        return {}
    last = stream.variables["value"].read(np.arange(stream.count)[-ROWS:])
    found = {}
    for label, column in zip(stream.labels["coefficient"], last.T, strict=True):
        known = column[np.isfinite(column)]
        found[printable(str(label))] = float(known[-1]) if len(known) else float("nan")
    return found


def _state(catalogue: Catalogue) -> str:
    if catalogue.status[STATUS] != "running":
        return "closed"
    written = os.path.getmtime(catalogue.segments[-1].path)
    return "live" if written_on(catalogue.path, written) else "left"


def _mapping(text: object) -> dict:
    try:
        value = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
