"""Checks a file against the format, for those who write trajectories without the recorder."""

from __future__ import annotations

import os
from collections.abc import Iterator

import h5py
import numpy as np

from dynamics.confined.confined import run
from dynamics.confined.guarded import reading
from dynamics.confined.structure import look
from dynamics.confined.worker import SILENT, Report
from dynamics.file.labels import is_dimension_only
from dynamics.file.opening import text
from dynamics.format import (
    COMMITTED,
    FORMAT,
    FORMAT_VERSION,
    INDEX,
    LATE,
    LATE_DTYPES,
    ROOT_ATTRIBUTES,
    STATUS_DTYPES,
    STATUSES,
)

BLOCK = 1 << 20


def validate(path: str | os.PathLike) -> list[str]:
    """Name every departure of a file from the trajectory format.

    The file is read in a child process with limits (`dynamics.confined`). What makes it dangerous to read comes first,
    and alone; so does what ended the child.

    Args:
        path: any file, or the directory of a run in segments; nothing in it is executed, and no link that leads out of
            it is followed.

    Returns:
        One line per departure, empty for a valid trajectory.

    Example:
        >>> validate("no_such_run.h5")
        ['no_such_run.h5: expected a trajectory, came no file: check the path']
    """
    if os.path.isdir(path):
        from dynamics.segments.segment_validation import validate_segments

        return validate_segments(os.fspath(path), validate)
    outcome = run("validate", path)
    return [outcome.death] if outcome.death else list(outcome.value)


def departures(path: str, report: Report = SILENT) -> list[str]:
    """Name every departure of a file from the format, in the process that may die of it.

    Args:
        path: any file.
        report: told of what is looked at, and of progress.

    Returns:
        One line per departure.
    """

    def read(file: h5py.File, state: str) -> list[str]:
        seen = look(file, path, report)
        found = list(seen.findings or _nested(file))
        if not found:
            found.extend(_root(file))
            for name, group in file.items():
                if isinstance(group, h5py.Group):
                    report.at(f"/{name}")
                    found.extend(_group(name, group, seen.committed.get(name), state != "closed"))
                    found.extend(_order(name, group, seen.committed.get(name, 0), report))
        return found

    return reading(path, read, report)


def _nested(file: h5py.File) -> Iterator[str]:
    for path in file:
        if isinstance(file.get(path, getlink=True), h5py.HardLink) and isinstance(file[path], h5py.Group):
            for name in file[path]:
                link = file[path].get(name, getlink=True)
                if isinstance(link, h5py.HardLink) and isinstance(file[path][name], h5py.Group):
                    yield f"/{path}/{name}: a group in a group; expected streams at the root only"


def _root(file: h5py.File) -> Iterator[str]:
    for name in ROOT_ATTRIBUTES:
        if name not in file.attrs:
            yield f"/: attribute {name} is missing"
    if "format" in file.attrs and text(file.attrs["format"]) != FORMAT:
        yield f"/: format is {text(file.attrs['format'])!r}; expected {FORMAT!r}"
    version = text(file.attrs.get("format_version", f"{FORMAT_VERSION[0]}.0"))
    if version.split(".")[0] != str(FORMAT_VERSION[0]):
        yield f"/: format_version is {version!r}; expected {FORMAT_VERSION[0]}.x"
    for name in STATUS_DTYPES:
        if not isinstance(file.get(name), h5py.Dataset) or file[name].dtype.kind != "S" or file[name].shape != ():
            yield f"/{name}: missing; expected a scalar dataset of type {STATUS_DTYPES[name]}"
        elif name == "status" and text(file[name][()]) not in STATUSES:
            yield f"/status: {text(file[name][()])!r}; expected one of {', '.join(STATUSES)}"
    for name, item in file.items():
        if isinstance(item, h5py.Dataset) and name not in STATUS_DTYPES:
            yield f"/{name}: a dataset at the root; expected it in a group, since groups have indices of their own"


def _group(name: str, group: h5py.Group, committed: int | None, live: bool) -> Iterator[str]:
    for key, dataset in group.items():
        yield from _dataset(f"/{name}/{key}", dataset)
    index = _index(name, group)
    if COMMITTED not in group and index not in group and "time" not in group:
        return
    missing = [
        key for key in (index, COMMITTED, *(LATE_DTYPES if name == LATE else ("step", "time"))) if key not in group
    ]
    for key in dict.fromkeys(missing):
        yield f"/{name}/{key}: missing; every stream has it"
    if COMMITTED in group and committed is None:
        yield f"/{name}/committed: expected a scalar int64"
    elif not missing:
        yield from _rows(name, group, index, committed, live)


def _rows(name: str, group: h5py.Group, index: str, committed: int, live: bool) -> Iterator[str]:
    growing = [d for k, d in group.items() if k == index or (d.ndim and group[index] in d.dims[0].values())]
    for dataset in growing:
        if dataset.shape[0] < committed or (not live and dataset.shape[0] != committed):
            yield f"{dataset.name}: {dataset.shape[0]} rows; committed says {committed}"


def _order(name: str, group: h5py.Group, committed: int, report: Report) -> Iterator[str]:
    """Check that the index increases, some rows at a time."""
    index = _index(name, group)
    if name == LATE or index not in group or group[index].ndim != 1 or group[index].dtype.kind not in "iuf":
        return
    committed = min(committed, group[index].shape[0])
    for start in range(0, committed, BLOCK):
        # The last of the block before stands in front.
        first = max(0, start - 1)
        steps = group[index][first : min(start + BLOCK, committed)]
        report(start / committed)
        if np.any(steps[1:] <= steps[:-1]):
            row = int(np.argmax(steps[1:] <= steps[:-1])) + 1
            yield (
                f"/{name}/{index}: {steps[row]} after {steps[row - 1]} in row {first + row}; expected increasing values"
            )
            return


def _index(name: str, group: h5py.Group) -> str:
    return "entry" if name == LATE else INDEX.get(name, "evaluation" if "evaluation" in group else "step")


def _dataset(path: str, dataset: h5py.Dataset) -> Iterator[str]:
    kind = dataset.dtype.kind
    if kind == "O" and h5py.check_string_dtype(dataset.dtype) is None:
        yield f"{path}: holds objects or ragged arrays; expected numbers or label strings"
        return
    if kind not in "fiubSO":
        yield f"{path}: holds {dataset.dtype}; expected numbers or label strings"
    if kind == "O" and not dataset.is_scale:
        yield f"{path}: strings of varying length; expected them as labels of a dimension only"
    if is_dimension_only(dataset):
        return
    if not dataset.is_scale:
        yield from _axes(path, dataset)
    if "long_name" not in dataset.attrs:
        yield f"{path}: attribute long_name is missing"
    if kind in "fiub" and "units" not in dataset.attrs:
        yield f"{path}: attribute units is missing; 1 for a pure number"
    if path.startswith("/spectra/") and kind == "f" and dataset.dtype.itemsize != 8:
        yield f"{path}: {dataset.dtype}; expected float64, since small singular values are read from it"


def _axes(path: str, dataset: h5py.Dataset) -> Iterator[str]:
    for axis, dimension in enumerate(dataset.dims):
        scales = dimension.values()
        if not scales:
            yield f"{path}: axis {axis} has no dimension scale; attach one"
        for scale in scales:
            if (scale.name or "").rsplit("/", 1)[0] != path.rsplit("/", 1)[0]:
                yield f"{path}: axis {axis} has the scale {scale.name}; expected one of its own group"
            elif axis and scale.shape != (dataset.shape[axis],):
                yield f"{path}: axis {axis} has {dataset.shape[axis]} entries, its scale {scale.name} {scale.shape}"
