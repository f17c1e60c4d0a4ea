"""Going on with a trajectory: a copy cut to the rows that count takes its place, and rows are appended behind them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress

import h5py
import numpy as np

from dynamics.copies.copying import committed, copy_rows, verify_copy
from dynamics.file.aside import aside
from dynamics.file.claim import take
from dynamics.file.labels import labels_of
from dynamics.file.opening import TrajectoryError, open_file, text
from dynamics.file.reopened import Reopened, attributes_again
from dynamics.file.rows import Rows
from dynamics.file.swmr_file import SwmrFile
from dynamics.format import COMMITTED, INDEX, LATE, ROW, Stream, Variable


def reopen(path: str, rows: Mapping[str, int], config: Mapping[str, object] | None = None) -> Reopened:
    """Open a trajectory for writing behind its first rows.

    Args:
        path: the trajectory, closed or left by a dead writer.
        rows: rows to keep by stream; 0 of those not named.
        config: entries of the recorded configuration that are others now.

    Returns:
        The file in SWMR mode, its streams, and where they end.

    Raises:
        TrajectoryError: no trajectory that can be read.
        ValueError: fewer committed rows than are to be kept.
        PermissionError: the file is protected against writing.
        LockedError: another process writes the file.
    """
    if not os.path.isfile(path):
        raise TrajectoryError(f"{path}: expected a trajectory to go on with, came no file: check the path")
    if not os.access(path, os.W_OK):
        raise PermissionError(f"{path} cannot be written; expected write permission to go on with it: change its mode")
    lock = take(path)
    temporary = aside(path)
    try:
        rows = _every_stream(path, rows)
        copy_rows(path, temporary, rows, status=("running", ""))
        if found := verify_copy(path, temporary, rows):
            raise TrajectoryError(f"{path}: expected an exact copy to go on with, came another: {found[0]}")
        with h5py.File(temporary, "r+", libver="latest") as copy:
            copy.attrs.update(attributes_again(copy.attrs, rows, config))
            origin = {name: text(copy.attrs.get(name, "")) for name in ("created", "run_id")}
            streams = {name: rows_of(group) for name, group in copy.items() if name != LATE and _grows(group)}
            seconds = max((_last(group["time"]) for group in copy.values() if _grows(group)), default=0.0)
        return Reopened(SwmrFile.again(path, temporary, streams, lock), streams, seconds, origin)
    except BaseException:
        with suppress(OSError):
            os.remove(temporary)
        lock.release()
        raise


def rows_of(group: h5py.Group) -> Rows:
    """Return the stream that a group holds, ready for the rows behind those it has.

    Args:
        group: of a closed trajectory.

    Returns:
        Its rows: columns, labels and the last step are the group's.
    """
    name = group.name.strip("/")
    index = INDEX.get(name) or next(key for key, d in group.items() if d.is_scale and d.maxshape == (None,))
    skipped = (*ROW, index, COMMITTED)
    growing = {key: d for key, d in group.items() if d.ndim and d.maxshape[0] is None and key not in skipped}
    variables = [_variable(key, dataset) for key, dataset in growing.items()]
    coords = {dim: labels_of(group[dim]) for variable in variables for dim in variable.dims}
    rows = Rows(Stream(name, variables, coords, dict(group.attrs), index), declared=bool(variables))
    rows.resume(group[index].shape[0], int(group["step"][-1]) if len(group["step"]) else None)
    return rows


def _every_stream(path: str, rows: Mapping[str, int]) -> dict[str, int]:
    with open_file(path) as (file, _):
        # Late scalars go with the rows of their steps.
        return dict.fromkeys(committed(file).keys() - {LATE}, 0) | dict(rows)


def _variable(name: str, dataset: h5py.Dataset) -> Variable:
    dims = tuple(axis[0].name.rsplit("/", 1)[1] for axis in list(dataset.dims)[1:])
    described = (text(dataset.attrs.get(key, "")) for key in ("long_name", "units"))
    return Variable(name, dims, *described, dtype=dataset.dtype.str[1:])


def _grows(group: object) -> bool:
    return isinstance(group, h5py.Group) and COMMITTED in group and "time" in group


def _last(times: h5py.Dataset) -> float:
    value = float(times[-1]) if len(times) else 0.0
    return value if np.isfinite(value) else 0.0
