"""The rows of one stream, for readers that look at a file twenty times a second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import h5py
import numpy as np

from dynamics.file.opening import text
from dynamics.following.delivered import Delivered
from dynamics.following.places import ColumnPlace, Look, ScalarPlace
from dynamics.format import COMMITTED, LATE

INDICES = ("step", "time")
BLOCK = 1 << 16


@dataclass(frozen=True, eq=False)
class StreamRows:
    """What is read of a stream, and where it lies.

    Args:
        name: of the stream.
        counter: of its committed rows.
        columns: by variable, `step` and `time` first.
        labels: of the variables with one labelled dimension beside the rows.
    """

    name: str
    counter: ScalarPlace
    columns: Mapping[str, ColumnPlace]
    labels: Mapping[str, list[str]] = field(default_factory=dict)

    def committed(self, look: Look) -> int:
        """Return the number of complete rows.

        Args:
            look: at the file.

        Returns:
            What the stream's counter says.
        """
        return int(self.counter.read(look))

    def read(self, look: Look, start: int, stop: int) -> dict[str, np.ndarray]:
        """Read rows, which must be committed.

        Args:
            look: at the file.
            start: number of the first.
            stop: number of the row after the last.

        Returns:
            Arrays (stop - start, ...) by variable.
        """
        return {name: column.read(look, start, stop) for name, column in self.columns.items()}

    def common(self, look: Look, known: Delivered, count: int, start: int = 0) -> int:
        """Return the number of rows up to the first that is not as it was delivered.

        Args:
            look: at the file.
            known: what was delivered.
            count: committed rows of the file.
            start: number of the row to begin with.

        Returns:
            The number of that row.
        """
        stop = min(count, known.count)
        for begin in range(max(0, start), stop, BLOCK):
            end = min(begin + BLOCK, stop)
            same = known.same(begin, *(self.columns[name].read(look, begin, end) for name in INDICES))
            if begin + same < end:
                return begin + same
        return stop


def stream_rows(look: Look, names: Sequence[str] | None, small: int) -> dict[str, StreamRows]:
    """Return what is to be read of a file.

    Args:
        look: at the file.
        names: "stream" or "stream/variable" each, None for all.
        small: largest number of numbers a row, for variables that are not named one by one.

    Returns:
        The streams by name, those without a wanted variable left out.
    """
    streams = {}
    for name, group in look.file.items():
        if name == LATE or not isinstance(group, h5py.Group) or COMMITTED not in group:
            continue
        if names is not None and not any(wanted.split("/")[0] == name for wanted in names):
            continue
        growing = {key: item for key, item in group.items() if isinstance(item, h5py.Dataset) and item.chunks}
        wanted = [key for key, item in growing.items() if key not in INDICES and _wanted(name, key, item, names, small)]
        labels = {key: found for key in wanted if (found := _labels(growing[key]))}
        columns = {key: ColumnPlace(look, f"{name}/{key}") for key in (*INDICES, *wanted)}
        streams[name] = StreamRows(name, ScalarPlace(look, f"{name}/{COMMITTED}"), columns, labels)
    return streams


def _wanted(stream: str, name: str, dataset: h5py.Dataset, names: Sequence[str] | None, small: int) -> bool:
    if names is not None and f"{stream}/{name}" in names:
        return True
    few = int(np.prod(dataset.shape[1:], dtype=np.int64)) <= small
    return few and dataset.dtype.kind in "fiub" and (names is None or stream in names)


def _labels(dataset: h5py.Dataset) -> list[str]:
    if dataset.ndim != 2 or not len(dataset.dims[1]):
        return []
    scale = dataset.dims[1][0]
    return [text(label) for label in scale[()]] if scale.dtype.kind in "OSU" and scale.ndim == 1 else []
