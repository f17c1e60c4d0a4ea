"""Scalars that appeared after the layout was frozen: from entries of `/late` to columns of their streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import h5py
import numpy as np

from dynamics.file.layout import write
from dynamics.file.rows import Rows
from dynamics.format import COMMITTED, KNOWN, LATE, LATE_DTYPES, Stream, Variable


class Entries:
    """Entries of `/late` that wait to be written; `written` counts those in the file."""

    def __init__(self):
        self.pending: list[tuple[int, bytes, float]] = []
        self.written = 0
        self._rows: dict[str, Rows] = {}

    @property
    def rows(self) -> dict[str, int]:
        """Rows by stream, of the streams that the file has no group for."""
        return {name: rows.written for name, rows in self._rows.items()}

    def append(self, stream: str, step: int, values: Mapping[str, float]) -> None:
        """Add scalars of a row.

        Args:
            stream: the stream's name.
            step: of the row.
            values: by variable name.
        """
        for name, value in values.items():
            self.pending.append((step, f"{stream}/{name}".encode(), value))

    def append_row(self, stream: str, step: int, seconds: float, values: Mapping[str, object]) -> None:
        """Add a row of a stream that the file has no group for.

        Args:
            stream: the stream's name.
            step: of the row.
            seconds: wall time of the row.
            values: scalars by variable name.
        """
        if stream not in self._rows:
            rows = Rows(Stream(stream))
            rows.frozen = True
            self._rows[stream] = rows
        rows = self._rows[stream]
        scalars = rows.append(step, seconds, values)
        rows.drop(1)
        self.append(stream, step, {"time": seconds, **scalars})

    def write(self, datasets: Mapping[str, h5py.Dataset]) -> None:
        """Write what waits behind what is in the file.

        Args:
            datasets: of `/late`, by name.
        """
        count = len(self.pending)
        if count:
            columns = zip(*self.pending, strict=True)
            blocks = {name: np.array(column) for name, column in zip(("step", "name", "value"), columns, strict=True)}
            write(datasets, blocks, self.written, self.written + count)
            self.pending, self.written = [], self.written + count


def columns(names: Sequence[bytes], steps: np.ndarray, values: np.ndarray) -> dict[str, dict[str, tuple]]:
    """Sort late entries into streams and variables.

    Args:
        names: b"stream/variable" of each entry.
        steps: step of each entry.
        values: value of each entry.

    Returns:
        `(steps, values)` by stream and variable.

    Example:
        >>> columns([b"series/rel_l2", b"series/lr"], np.array([3, 4]), np.array([0.5, 0.1]))["series"]["rel_l2"]
        (array([3]), array([0.5]))
    """
    names, streams = np.asarray(names, LATE_DTYPES["name"]), {}
    for name in dict.fromkeys(names.tolist()):
        stream, variable = name.decode().split("/", 1)
        streams.setdefault(stream, {})[variable] = (steps[names == name], values[names == name])
    return streams


def align(index: np.ndarray, steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the values on the rows of a stream, NaN on rows without one.

    Args:
        index: the stream's steps, increasing.
        steps: the steps of the values; those not in `index` are left out.
        values: the values.

    Returns:
        One value per row of the stream.

    Example:
        >>> align(np.array([0, 2, 4]), np.array([2, 9]), np.array([0.5, 1.0]))
        array([nan, 0.5, nan])
    """
    column = np.full(len(index), np.nan)
    rows = np.searchsorted(index, steps)
    there = rows < len(index)
    there[there] = index[rows[there]] == steps[there]
    column[rows[there]] = values[there]
    return column


def table(variables: Mapping[str, tuple]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the rows of a stream of which only late entries exist.

    Args:
        variables: `(steps, values)` by variable.

    Returns:
        The steps, and one column per variable.

    Example:
        >>> table({"a": (np.array([1]), np.array([5.0])), "b": (np.array([2]), np.array([6.0]))})[0]
        array([1, 2])
    """
    index = np.unique(np.concatenate([steps for steps, _ in variables.values()]))
    return index, {name: align(index, *entries) for name, entries in variables.items()}


def describe(stream: str, name: str) -> Variable:
    """Return what is known of a variable, or its bare name.

    Args:
        stream: the stream's name.
        name: the variable's name.

    Returns:
        The variable, scalar.

    Example:
        >>> describe("series", "my_metric").long_name
        'my metric'
    """
    return KNOWN.get(stream, {}).get(name) or Variable(name, (), name.replace("_", " "))


def read(file: h5py.File) -> dict[str, dict[str, tuple]]:
    """Read the committed entries of `/late`.

    Args:
        file: an open file.

    Returns:
        `(steps, values)` by stream and variable, empty where nothing came late.
    """
    if LATE not in file:
        return {}
    group = file[LATE]
    count = int(group[COMMITTED][()])
    return columns(*(group[name][:count] for name in ("name", "step", "value")))
