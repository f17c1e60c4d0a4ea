"""Checks a file against the format, for those who write trajectories without the recorder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import h5py
import numpy as np

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
from dynamics.opening import TrajectoryError, open_file, text

WITHOUT_VARIABLE = b"This is a netCDF dimension but not a netCDF variable"


def validate(path: str | os.PathLike) -> list[str]:
    """Name every departure of a file from the trajectory format.

    Args:
        path: any file; nothing in it is executed, and no link that leads out of it is followed.

    Returns:
        One line per departure, empty for a valid trajectory.

    Example:
        >>> validate("no_such_run.h5")
        ['no_such_run.h5: expected a trajectory, came no file: check the path']
    """
    with ExitStack() as opened:
        try:
            file, state = opened.enter_context(open_file(os.fspath(path)))
        except (TrajectoryError, OSError) as error:
            return [str(error)]
        found = []
        try:
            # The counters come first: of a running file, the rows counted here are seen by what is opened later.
            counts = _counts(file)
            found.extend(_links(file, ""))
            if not found:
                found.extend(_root(file))
                for name, group in file.items():
                    if isinstance(group, h5py.Group):
                        found.extend(_group(name, group, counts.get(name), state != "closed"))
        except Exception as error:  # Whatever a damaged file makes HDF5 raise is a finding too.
            found.append(
                f"{path}: cannot be read on: {type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
            )
        return found


def _counts(file: h5py.File) -> dict[str, int]:
    counts = {}
    for name in file:
        counter = f"{name}/{COMMITTED}"
        if isinstance(file.get(name, getlink=True), h5py.HardLink) and isinstance(file[name], h5py.Group):
            link = file[name].get(COMMITTED, getlink=True)
            if isinstance(link, h5py.HardLink) and file[counter].shape == () and file[counter].dtype == np.int64:
                counts[name] = int(file[counter][()])
    return counts


def _links(group: h5py.Group, path: str) -> Iterator[str]:
    """Yield the links that are no hard links, before anything follows them, and groups within groups."""
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            yield f"{path}/{name}: {type(link).__name__}; expected every group and dataset in the file itself"
        elif isinstance(item := group[name], h5py.Group):
            if path:
                yield f"{path}/{name}: a group in a group; expected streams at the root only"
            else:
                yield from _links(item, f"{path}/{name}")


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
    index = "entry" if name == LATE else INDEX.get(name, "evaluation" if "evaluation" in group else "step")
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
    if name == LATE or any(dataset.shape[0] < committed for dataset in growing):
        return
    steps = group[index][:committed]
    if np.any(np.diff(steps) <= 0):
        row = int(np.argmax(np.diff(steps) <= 0)) + 1
        yield f"/{name}/{index}: {steps[row]} after {steps[row - 1]} in row {row}; expected increasing values"


def _dataset(path: str, dataset: h5py.Dataset) -> Iterator[str]:
    kind = dataset.dtype.kind
    if kind == "O" and h5py.check_string_dtype(dataset.dtype) is None:
        yield f"{path}: holds objects or ragged arrays; expected numbers or label strings"
        return
    if kind not in "fiubSO":
        yield f"{path}: holds {dataset.dtype}; expected numbers or label strings"
    if dataset.external:
        yield f"{path}: data in another file; expected it in the file itself"
    if kind == "O" and not dataset.is_scale:
        yield f"{path}: strings of varying length; expected them as labels of a dimension only"
    if dataset.is_scale and _scale_name(dataset).startswith(WITHOUT_VARIABLE):
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


def _scale_name(dataset: h5py.Dataset) -> bytes:
    name = dataset.attrs.get("NAME", b"")
    return name.encode() if isinstance(name, str) else bytes(name)
