"""The entries of `/late` made columns of their streams in another file, some at a time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping

import h5py
import numpy as np

from dynamics.file import late
from dynamics.file.layout import attach, create_stream, growing
from dynamics.file.opening import DAMAGED, TrajectoryError, first_line
from dynamics.file.rows import Rows
from dynamics.format import COMMITTED, LATE, STATUS_DTYPES, Stream

ENTRIES = 1 << 16
WINDOW = 1 << 17
RESERVED = (LATE, *STATUS_DTYPES)


def fold(
    source: h5py.File,
    count: int,
    target: h5py.File,
    limits: Mapping[str, int],
    done: Callable[[int], None] = lambda count: None,
) -> dict[str, int]:
    """Write late entries into columns of a file that holds the rows of its streams already.

    Streams of which only late entries exist are created. Memory does not grow with the number of entries.

    Args:
        source: has `/late`.
        count: its first entries that are taken.
        target: has the streams, cut to their rows; entries of other rows are left out.
        limits: most rows of a stream that is created here, by its name; no limit for others.
        done: told the bytes of the entries that are done.

    Returns:
        Rows by stream, of the streams that were created here.
    """
    made: dict[str, int] = {}
    for start in range(0, count, ENTRIES):
        stop = min(start + ENTRIES, count)
        for stream, variables in entries(source, start, stop).items():
            if stream not in target:
                create_stream(target, Rows(Stream(stream)))
                made[stream] = 0
            group = target[stream]
            if stream in made:
                made[stream] = _append(group, made[stream], variables, limits.get(stream))
            rows = group["step"].shape[0]
            for name, (steps, values) in variables.items():
                column = group[name] if name in group else _column(group, name)
                _check(column, rows)
                fill(group["step"], column, steps, values)
                done(values.nbytes)
    return made


def entries(source: h5py.File, start: int, stop: int) -> dict[str, dict[str, tuple]]:
    """Read some entries of `/late`.

    Args:
        source: has them.
        start: the first.
        stop: the one after the last.

    Returns:
        `(steps, values)` by stream and variable.

    Raises:
        TrajectoryError: one has no name of a stream and a variable.
    """
    names, steps, values = (source[LATE][name][start:stop] for name in ("name", "step", "value"))
    try:
        found = late.columns(names, steps, values)
    except ValueError as error:
        raise TrajectoryError(
            f"/late: expected names such as series/loss, came {first_line(error)}: {DAMAGED}"
        ) from error
    for stream, variables in found.items():
        odd = [name for name in variables if not name.isidentifier() or name == COMMITTED]
        if odd or not stream.isidentifier() or stream in RESERVED:
            came = f"{stream}/{next(iter(odd or variables))}"
            raise TrajectoryError(f"/late: expected names such as series/loss, came {came}: {DAMAGED}")
    return found


def fill(index: h5py.Dataset, column: h5py.Dataset, steps: np.ndarray, values: np.ndarray) -> None:
    """Set a column on the rows of some steps; the other rows stay as they are.

    Args:
        index: the stream's steps, increasing.
        column: of the same length.
        steps: those not in the index are left out.
        values: one a step.
    """
    first, last = bisect_left(index, steps.min()), bisect_right(index, steps.max())
    for start in range(first, last, WINDOW):
        window = slice(start, min(start + WINDOW, last))
        rows, there = places(index[window], steps)
        if len(rows):
            block = column[window]
            block[rows] = values[there]
            column[window] = block


def places(index: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find steps in an index.

    Args:
        index: increasing.
        steps: any.

    Returns:
        The rows of those that are there, and which ones are.

    Example:
        >>> places(np.array([0, 2, 4]), np.array([2, 3, 9]))
        (array([1]), array([ True, False, False]))
    """
    rows = np.searchsorted(index, steps)
    there = rows < len(index)
    there[there] = index[rows[there]] == steps[there]
    return rows[there], there


def _append(group: h5py.Group, rows: int, variables: Mapping[str, tuple], limit: int | None) -> int:
    """Append the rows of a block of entries, and return the number of rows."""
    steps = np.unique(np.concatenate([steps for steps, _ in variables.values()]))
    last = group["step"][rows - 1] if rows else steps[0] - 1
    if steps[0] < last:
        raise TrajectoryError(
            f"/late: expected steps of {group.name[1:]} that increase, came {steps[0]} after {last}: {DAMAGED}"
        )
    new = steps[steps > last][: None if limit is None else max(0, limit - rows)]
    for dataset in growing(group).values():
        if dataset.shape:
            dataset.resize(rows + len(new), axis=0)
    group["step"][rows:] = new
    return rows + len(new)


def _column(group: h5py.Group, name: str) -> h5py.Dataset:
    stream = group.name[1:]
    variable, rows = late.describe(stream, name), group["step"].shape[0]
    column = group.create_dataset(
        name,
        (rows,),
        "f8",
        maxshape=(None,),
        chunks=(Rows(Stream(stream)).chunk(),),
        fillvalue=np.nan,
        track_times=False,
    )
    column.attrs.update({"long_name": variable.long_name, "units": variable.units})
    attach(group, column, ("evaluation" if "evaluation" in group else "step",))
    return column


def _check(column: object, rows: int) -> None:
    if not isinstance(column, h5py.Dataset) or column.shape != (rows,) or column.dtype.kind != "f":
        raise TrajectoryError(
            f"/late: expected entries of scalar variables, came {column.name[1:]}, which is none: {DAMAGED}"
        )
