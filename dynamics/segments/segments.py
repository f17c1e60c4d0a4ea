"""A trajectory as a directory of closed files, each renamed into place: for file systems without locks."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from io import BytesIO
from stat import S_ISREG

import h5py

from dynamics.file import late, layout
from dynamics.file.claim import RecorderError
from dynamics.file.lock import Lock
from dynamics.file.rows import Column, Rows
from dynamics.format import COMMITTED, LATE, STATUS, STATUS_DTYPES, STOP_REASON
from dynamics.segments.segment_directory import claim_directory, put, segment_path
from dynamics.segments.segment_directory import replace as replace_directory

SEGMENT, FIRST_ROWS = "segment", "first_rows"
MOST_ROWS = 8192
MOST_BYTES = 16 << 20


@dataclass(frozen=True)
class Part:
    """A stream as one segment holds it: the variables that have values there, in chunks no longer than its rows.

    Args:
        rows: the stream.
        names: of its variables that are laid out.
        count: of its rows in the segment.
    """

    rows: Rows
    names: frozenset[str]
    count: int

    def __getattr__(self, name: str) -> object:
        return getattr(self.rows, name)

    @property
    def columns(self) -> dict[str, Column]:
        """The columns that are laid out."""
        columns = {name: column for name, column in self.rows.columns.items() if name in self.names}
        return {name: replace(column, chunk=self._least(column.chunk)) for name, column in columns.items()}

    def chunk(self) -> int:
        """Return the rows per chunk of the index, `step` and `time`.

        Returns:
            A power of two.
        """
        return self._least(self.rows.chunk())

    def _least(self, chunk: int) -> int:
        return min(chunk, 1 << max(0, self.count - 1).bit_length())


class Segments:
    """The directory of a recorder, `segment-000001.h5` and so on, from the claim on its path to its close.

    Each segment is a complete, closed trajectory, made in memory, written to a temporary name, synced, renamed: HDF5
    never sees the file system, and a name that is there stands for a whole file. The first one holds the arrays that do
    not change. Segments are never written again, so variables and streams may appear in any of them. The status of
    the last one counts. Interface and use as those of `SwmrFile`.

    Args:
        path: the new directory.
        overwrite: replace a directory of segments, which stays as it is until the first new segment stands.

    Raises:
        FileExistsError: the path holds a trajectory that may not be replaced, or anything else.
        FileNotFoundError: the directory it would lie in does not exist.
        PermissionError: it cannot be written.
        LockedError: another process writes it.
    """

    def __init__(self, path: str, overwrite: bool = False):
        path = path.rstrip(os.sep) or path
        self._set_up(path, *claim_directory(path, overwrite))

    def _set_up(self, path: str, lock: Lock, replaces: bool, new: bool) -> None:
        self.path, self.lock, self.replaces = path, lock, replaces
        self.committed: dict[str, int] = {}
        self._new, self._last = new, 0
        self._attributes: dict[str, object] | None = None
        self._static: Mapping[str, tuple] = {}
        self._waiting: dict[str, int] = {}
        self._offsets: dict[str, int] = {}
        self._identity = _identity(self._mark)

    @classmethod
    def again(
        cls, path: str, last: int, committed: Mapping[str, int], attributes: Mapping[str, object], lock: Lock
    ) -> Segments:
        """Return a directory that has segments already.

        Args:
            path: of the directory.
            last: number of its last segment.
            committed: rows by stream.
            attributes: of the root, for the segments to come.
            lock: of the path, taken.

        Returns:
            The directory, ready for the next segment.
        """
        segments = cls.__new__(cls)
        segments._set_up(path, lock, replaces=False, new=False)
        segments._last, segments.committed, segments._attributes = last, dict(committed), dict(attributes)
        segments._identity = _identity(segments._mark)
        return segments

    @property
    def frozen(self) -> bool:
        """Whether the root's attributes and the arrays that do not change are fixed; streams never are."""
        return self._attributes is not None

    def freeze(self, attributes: Mapping[str, object], static: Mapping[str, tuple], streams: Iterable[Rows]) -> None:
        """Fix what the first segment holds beside rows.

        Args:
            attributes: of the root.
            static: `(arrays, coords, attrs)` by group.
            streams: not needed.
        """
        self._attributes, self._static = dict(attributes), static

    def write(self, rows: Rows) -> None:
        """Do nothing: rows wait until a segment is written as a whole.

        Args:
            rows: of a stream.
        """

    def full(self, rows: Rows) -> bool:
        """Return whether a segment should be written before its time.

        Args:
            rows: of the stream that has just got a row.

        Returns:
            True where 8,192 rows of it wait, or arrays of 16 MB in all.
        """
        if rows.pending_bytes:
            self._waiting[rows.name] = rows.pending_bytes
        return len(rows.pending) >= MOST_ROWS or sum(self._waiting.values()) >= MOST_BYTES

    def relieve(self, rows: Rows, streams: Iterable[Rows], entries: late.Entries) -> None:
        """Write a segment.

        Args:
            rows: of the stream that is full.
            streams: all of them.
            entries: none come late here.
        """
        self.commit(streams, entries)

    def commit(self, streams: Iterable[Rows], entries: late.Entries) -> None:
        """Write everything that waits as the next segment; the first one is written though nothing waits.

        Args:
            streams: all of them.
            entries: none come late here.
        """
        streams = list(streams)
        if self._last == 0 or any(rows.pending for rows in streams):
            self._append(streams)

    def sync(self) -> None:
        """Do nothing: segments are on the disk itself before they have a name."""

    def finish(self, status: str, reason: str) -> None:
        """Write a segment without rows that says how the run ended.

        Args:
            status: of the run.
            reason: why it stopped.
        """
        self._append([], status, reason)
        self.lock.release()

    def discard(self) -> None:
        """Leave the path as it was: nothing was recorded."""
        if self._new and not self._last:
            with suppress(OSError):
                os.rmdir(self.path)
        self.lock.release()

    def abandon(self, reason: str) -> None:
        """Say in the directory, if it can be, that the run failed.

        Args:
            reason: for the stop reason.
        """
        if not self._last:
            self.discard()
            return
        try:
            self._append([], "failed", reason)
        except (OSError, RuntimeError, ValueError):
            self._patch("failed", reason)
        self.lock.release()

    def safe(self) -> str:
        """Return what a failure has left, as the message about it says it.

        Returns:
            The rows that are committed, by stream.
        """
        if not self._last:
            return "nothing was written yet: free space or choose another path"
        rows = ", ".join(f"{count} rows of {name}" for name, count in self.committed.items() if name != LATE)
        return f"{rows or 'no rows'} are committed, in segments 1 to {self._last}, which are whole"

    @property
    def _mark(self) -> str:
        """What must still be there: the last segment, before there is one the directory."""
        return segment_path(self.path, self._last) if self._last else self.path

    def _append(self, streams: list[Rows], status: str = "running", reason: str = "") -> None:
        """Write the next segment with all rows that wait."""
        number, counts = self._last + 1, {rows.name: len(rows.pending) for rows in streams}
        image, offsets = self._image(number, streams, status, reason)
        if self._last == 0 and self.replaces:
            self._begin_again(image)
        elif _identity(self._mark) != self._identity:
            raise RecorderError(f"{self.path} was removed or replaced while it was being written")
        else:
            put(self.path, number, image)
        for rows in streams:
            rows.drop(counts[rows.name])
        self._last, self._offsets, self._static = number, offsets, {}
        self._identity = _identity(self._mark)
        self._waiting.clear()
        self.committed |= {rows.name: rows.written for rows in streams} | {LATE: 0}

    def _begin_again(self, image: bytes) -> None:
        """Write the first segment of a directory that takes the place of another."""
        aside = f"{self.path}.tmp-{os.getpid()}"
        os.mkdir(aside)
        try:
            put(aside, 1, image)
            replace_directory(self.path, aside)
        except BaseException:
            with suppress(OSError):
                os.remove(segment_path(aside, 1))
            with suppress(OSError):
                os.rmdir(aside)
            raise

    def _image(self, number: int, streams: list[Rows], status: str, reason: str) -> tuple[bytes, dict[str, int]]:
        """Return a segment as bytes, and where its status lies in them."""
        blocks = {rows.name: rows.blocks(len(rows.pending)) for rows in streams if rows.pending}
        first = {name: self.committed.get(name, 0) for name in blocks}
        attributes = {**self._attributes, SEGMENT: number, FIRST_ROWS: json.dumps(first)}
        # The first one lays out all that is known by then, as a file does.
        parts = [
            Part(rows, frozenset(rows.columns if number == 1 else blocks[rows.name]), len(rows.pending))
            for rows in streams
            if number == 1 or rows.pending
        ]
        buffer = BytesIO(layout.image(attributes, self._static if number == 1 else {}, parts))
        with h5py.File(buffer, "r+", libver="latest") as file:
            for name, columns in blocks.items():
                count = len(columns["step"])
                layout.write(layout.growing(file[name]), columns, 0, count)
                file[name][COMMITTED][...] = count
            file[STATUS][...] = layout.fitting(status, STATUS)
            file[STOP_REASON][...] = layout.fitting(reason, STOP_REASON)
            offsets = {name: file[name].id.get_offset() for name in STATUS_DTYPES}
        return buffer.getvalue(), offsets

    def _patch(self, status: str, reason: str) -> None:
        # The disk is full: the one thing that is written into a segment that stands, where its bytes are there already.
        if not self._offsets:
            return
        with suppress(OSError), open(segment_path(self.path, self._last), "r+b") as file:
            for name, text in ((STOP_REASON, reason), (STATUS, status)):
                file.seek(self._offsets[name])
                file.write(layout.fitting(text, name).tobytes())


def _identity(path: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    # The number of a directory that was removed goes to the next one that is made; a file also has a size.
    return found.st_dev, found.st_ino, found.st_size * S_ISREG(found.st_mode)
