"""What a trajectory holds, in a few words: for those who do not want to open a file that they know nothing of."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Mapping
from operator import itemgetter

import h5py
import numpy as np

from dynamics.confined.guarded import printable, reading
from dynamics.confined.structure import look
from dynamics.confined.worker import SILENT, Report
from dynamics.file.labels import is_dimension_only
from dynamics.file.opening import check_format, text
from dynamics.format import COMMITTED, INDEX, LATE, STATUS_DTYPES

PROVENANCE = ("created", "dtype", "device", "seed", "host", "git_commit")
ROWS, BLOCK = 1024, 1 << 16


def summarise(path: str | os.PathLike, report: Report = SILENT) -> dict[str, object]:
    """Say what a file holds, where it can be read without harm.

    Args:
        path: any path.
        report: told of what is looked at, and of progress.

    Returns:
        `findings` (lines; the rest is there only where there are none), `state`, `status`, `stop_reason`, `attributes`
        (text by name), `problem`, `operator`, `coefficients` (last value by name), and `streams`: name, rows (None
        where nothing is counted), variables, sizes of the other dimensions. Text is printable.

    Example:
        >>> summarise("no_such_run.h5")["findings"]
        ['no_such_run.h5: expected a trajectory, came no file: check the path']
    """
    path, summary = os.fspath(path), {}

    def read(file: h5py.File, state: str) -> list[str]:
        check_format(path, file)
        seen = look(file, path, report)
        if seen.findings:
            return [f"{path}: {line}" for line in seen.findings]
        summary.update({"state": state, **_root(file), "streams": _streams(file, seen.committed)})
        return []

    return {"findings": reading(path, read, report), **summary}


def _root(file: h5py.File) -> dict[str, object]:
    config = _mapping(_json(file.attrs.get("config")))
    told = {name: printable(text(file.attrs[name])) for name in PROVENANCE if name in file.attrs}
    return {
        **{name: printable(text(file[name][()])) for name in STATUS_DTYPES},
        "attributes": told,
        "problem": printable(str(_mapping(config.get("problem")).get("name") or "")),
        "operator": printable(str(_mapping(config.get("operator")).get("name") or "")),
        "coefficients": _coefficients(file),
    }


def _streams(file: h5py.File, committed: Mapping[str, int]) -> list[tuple]:
    entries, found = _late(file), []
    for name, group in file.items():
        if name != LATE and isinstance(group, h5py.Group):
            variables, sizes = _contents(name, group, committed.get(name))
            found.append((name, committed.get(name), {*variables, *entries.pop(name, ())}, sizes))
    # A stream that appeared late has no group; each of its rows brought its time.
    found.extend((name, counts["time"], set(counts), {}) for name, counts in entries.items())
    return [
        (printable(name), rows, sorted(printable(key) for key in variables - {"time"}), sizes)
        for name, rows, variables, sizes in sorted(found, key=itemgetter(0))
    ]


def _late(file: h5py.File) -> dict[str, Counter]:
    """Count the committed entries of `/late` by stream and variable, some at a time."""
    found = {}
    if LATE in file:
        names, committed = file[LATE]["name"], int(file[LATE][COMMITTED][()])
        for start in range(0, committed, BLOCK):
            for name, count in Counter(names[start : min(start + BLOCK, committed)].tolist()).items():
                stream, variable = text(name).split("/", 1)
                found.setdefault(stream, Counter())[variable] += count
    return found


def _contents(name: str, group: h5py.Group, rows: int | None) -> tuple[list[str], dict[str, int]]:
    """Return the variables of a group and the sizes of its dimensions, apart from the one that grows."""
    index = INDEX.get(name, "evaluation" if "evaluation" in group else "step") if rows is not None else ""
    variables, sizes = [], {}
    for key, item in group.items():
        if not isinstance(item, h5py.Dataset) or key in (index, "time", COMMITTED):
            continue
        if item.is_scale:
            sizes[printable(key)] = item.shape[0] if item.shape else 1
        elif not (rows and item.chunks and item.size and not item.id.get_storage_size()):
            variables.append(key)
    return variables, sizes


def _coefficients(file: h5py.File) -> dict[str, float]:
    """Return the last finite value of each unknown coefficient, of the last rows."""
    group = file.get("coefficients")
    if not isinstance(group, h5py.Group) or not {"value", "coefficient", COMMITTED} <= set(group):
        return {}
    values, rows = group["value"], int(group[COMMITTED][()])
    labels = group["coefficient"]
    if values.ndim != 2 or values.dtype.kind != "f" or labels.shape != values.shape[1:]:
        return {}
    names = range(values.shape[1]) if is_dimension_only(labels) else labels[:]
    last = np.asarray(values[max(0, rows - ROWS) : rows], np.float64)
    found = {}
    for name, column in zip(names, last.T, strict=True):
        known = column[np.isfinite(column)]
        found[printable(text(name))] = float(known[-1]) if len(known) else math.nan
    return found


def _json(value: object) -> object:
    try:
        return json.loads(text(value))
    except (ValueError, RecursionError):
        return None


def _mapping(value: object) -> dict:
    return value if isinstance(value, dict) else {}
