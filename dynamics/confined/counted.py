"""The counter of a stream against the rows that the file has: what a reader takes a counter's word for."""

from __future__ import annotations

from collections.abc import Iterator

import h5py
import numpy as np

from dynamics.confined.extent import Extent
from dynamics.confined.storage import REPORTED, dangers
from dynamics.confined.worker import Report
from dynamics.format import COMMITTED, LATE, LATE_DTYPES

BLOCK = 1 << 16


class Counted:
    """A group with a counter, in an untrusted file.

    Args:
        path: of the group.
        group: open.
        names: of its hard links.
        extent: what the datasets unfold to; columns that late entries make are added.
        report: told of progress.
    """

    def __init__(self, path: str, group: h5py.Group, names: list[str], extent: Extent, report: Report):
        self.path, self.group, self.names, self.extent, self.report = path, group, names, extent, report
        self.committed = None
        self.committed = self._counter()

    def findings(self) -> Iterator[str]:
        """Name what is wrong with the rows that are counted.

        Yields:
            One line per finding.
        """
        if self.committed is None:
            return
        late = self.path == f"/{LATE}"
        # In the order in which the reader looks for it.
        index = next((name for name in ("step",) * late or ("evaluation", "step") if name in self.names), None)
        if index is None:
            yield f"{self.path}/step: missing; every stream has it"
            return
        wrong = [line for name in (tuple(LATE_DTYPES) if late else (index,)) for line in self._covered(name)]
        yield from wrong
        if late and not wrong:
            yield from self._late()

    def _counter(self) -> int | None:
        """Return the number of committed rows, None where that is no number."""
        counter = self._dataset(COMMITTED)
        if counter is None or counter.shape != () or counter.dtype != np.int64:
            return None
        return int(counter[()])

    def _dataset(self, name: str) -> h5py.Dataset | None:
        """Return a dataset that can be read without harm, None else: what is wrong is said where all are looked at."""
        self.report.at(f"{self.path}/{name}")
        item = self.group[name] if name in self.names else None
        if not isinstance(item, h5py.Dataset):
            return None
        return None if any(dangers("", item, self.committed, Extent(self.extent.path, self.report))) else item

    def _covered(self, name: str) -> Iterator[str]:
        """Check that a column that must be complete is."""
        column = self._dataset(name)
        if column is None:
            return
        rows = column.shape[0] if column.ndim == 1 else -1
        if not 0 <= self.committed <= rows:
            yield f"{self.path}/{name}: {max(rows, 0)} rows; committed says {self.committed}"
        elif (
            column.chunks
            and column.chunks[0] * (there := _stored_chunks(column, self.committed, self.report)) < self.committed
        ):
            yield f"{self.path}/{name}: {there} chunks of {column.chunks[0]} rows; committed says {self.committed}"

    def _late(self) -> Iterator[str]:
        """Check the names of late entries, and what columns they make."""
        column, *others = (self._dataset(name) for name in ("name", "step", "value"))
        seen = set()
        if column is None:
            return
        if column.dtype.kind != "S":
            yield f"{self.path}/name: expected names of {LATE_DTYPES['name']}, came something else: damaged"
            return
        for start in range(0, self.committed, BLOCK):
            stop = min(start + BLOCK, self.committed)
            seen.update(column[start:stop].tolist())
            # Readers take in all of it. That compressed chunks unfold to no more shows in reading them.
            for other in others:
                if other is not None:
                    other[start:stop]
            self.report(start / self.committed)
            if len(seen) > BLOCK:
                break
        if len(seen) > BLOCK:
            yield f"{self.path}/name: more than {BLOCK} names; expected few: leave the file alone"
            return
        self.extent.eager += 80 * self.committed
        rows = {}
        for name in seen:
            stream, variable = _parts(name)
            if not stream or not variable:
                yield f"{self.path}/name: {name!r}; expected stream/variable: damaged"
                return
            if stream not in rows:
                rows[stream] = self._rows_of(stream)
            # The reader makes a column of every name.
            self.extent.unfolded += 8 * rows[stream]

    def _rows_of(self, stream: str) -> int:
        file = self.group.file
        if not isinstance(file.get(stream, getlink=True), h5py.HardLink) or not isinstance(file[stream], h5py.Group):
            return self.committed
        group = file[stream]
        hard = isinstance(group.get(COMMITTED, getlink=True), h5py.HardLink)
        return Counted("", group, [COMMITTED] * hard, self.extent, self.report).committed or 0


def _parts(name: bytes) -> tuple[str, str]:
    """Return stream and variable of a late entry, empty where its name is no text."""
    try:
        stream, _, variable = name.decode().partition("/")
    except UnicodeDecodeError:
        return "", ""
    return stream, variable


def _stored_chunks(column: h5py.Dataset, committed: int, report: Report) -> int:
    there = 0

    def visit(chunk) -> None:
        nonlocal there
        there += chunk.chunk_offset[0] < committed
        if not there % REPORTED:
            report(0.0)

    column.id.chunk_iter(visit)
    return there
