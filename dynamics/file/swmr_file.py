"""A trajectory as one HDF5 file in SWMR mode: rows first, then the counters that promise them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress

import h5py

from dynamics.copies import copying
from dynamics.file import late, layout
from dynamics.file.aside import aside, put_in_place
from dynamics.file.claim import RecorderError, claim
from dynamics.file.lock import Lock
from dynamics.file.rows import Rows
from dynamics.format import COMMITTED, LATE, STATUS, STATUS_DTYPES, STOP_REASON

PENDING_BYTES = 1 << 20
FOLDED_BYTES = 64 << 20
"""Size of a file up to which late scalars become columns when it is closed; a larger one is not copied for that."""


class SwmrFile:
    """The file of a recorder, from the claim on its path to its close.

    The layout is fixed before SWMR mode starts and nothing is created afterwards: HDF5 does not refuse it, but readers
    would see undefined data. Whatever a `committed` counter promises was flushed before the counter was raised.

    Args:
        path: the new file.
        overwrite: replace an existing file, which stays as it is until the first rows of the new one are written.

    Raises:
        FileExistsError: the path exists and may not be replaced.
        FileNotFoundError: its directory does not exist.
        PermissionError: the directory or file cannot be written.
        LockedError: another process writes it.
    """

    def __init__(self, path: str, overwrite: bool = False):
        self._set_up(path, *claim(path, overwrite))

    def _set_up(self, path: str, lock: Lock, replaces: bool) -> None:
        self.path, self.lock, self.replaces = path, lock, replaces
        # Of a link, the file that it names is the one that is written; and the working directory may change.
        self._place = os.path.realpath(path)
        self.committed: dict[str, int] = {}
        self._file: h5py.File | None = None
        self._datasets: dict[str, dict[str, h5py.Dataset]] = {}
        self._offsets: dict[str, int] = {}

    @classmethod
    def again(cls, path: str, temporary: str, streams: Iterable[str], lock: Lock) -> SwmrFile:
        """Return a file that has rows already.

        Args:
            path: of the trajectory.
            temporary: its copy, which takes its place.
            streams: names.
            lock: of the path, taken.

        Returns:
            The file, in SWMR mode.
        """
        file = cls.__new__(cls)
        file._set_up(path, lock, replaces=True)
        file.begin(temporary, streams)
        return file

    @property
    def frozen(self) -> bool:
        """Whether the layout is fixed."""
        return self._file is not None

    def freeze(self, attributes: Mapping[str, object], static: Mapping[str, tuple], streams: Iterable[Rows]) -> None:
        """Write everything the file will ever hold, enter SWMR mode and let readers at it.

        Args:
            attributes: of the root.
            static: `(arrays, coords, attrs)` by group.
            streams: all of them.
        """
        if self.frozen:
            return
        temporary = aside(self._place)
        try:
            with open(temporary, "wb") as file:
                file.write(layout.image(attributes, static, streams))
            self.begin(temporary, [rows.name for rows in streams])
        except BaseException:
            with suppress(OSError):
                os.remove(temporary)
            raise
        for rows in streams:
            rows.frozen = True

    def begin(self, temporary: str, streams: Iterable[str]) -> None:
        """Enter SWMR mode in a file that lies aside, and put it in its place.

        Args:
            temporary: path of a closed trajectory in the same directory.
            streams: names of its streams.
        """
        file = h5py.File(temporary, "r+", libver="latest")
        file.swmr_mode = True
        put_in_place(temporary, self._place)
        names = (*streams, LATE)
        self._datasets = {name: layout.growing(file[name]) for name in names}
        self.committed = {name: int(file[name][COMMITTED][()]) for name in names}
        self._offsets = {name: file[name].id.get_offset() for name in STATUS_DTYPES}
        self._file = file

    def write(self, rows: Rows) -> None:
        """Write the waiting rows of a stream, without promising them.

        Args:
            rows: of the stream.
        """
        count = len(rows.pending)
        if count:
            layout.write(self._datasets[rows.name], rows.blocks(count), rows.written, rows.written + count)
            rows.drop(count)

    def full(self, rows: Rows) -> bool:
        """Return whether a stream should not wait for the next commit.

        Args:
            rows: of the stream.

        Returns:
            True where a chunk is full, or much waits.
        """
        return rows.pending_bytes >= PENDING_BYTES or rows.written + len(rows.pending) >= rows.due

    def relieve(self, rows: Rows, streams: Iterable[Rows], entries: late.Entries) -> None:
        """Write the rows of a stream that is full.

        Args:
            rows: of the stream.
            streams: all of them; the others wait.
            entries: of `/late`; they wait.
        """
        self.write(rows)

    def commit(self, streams: Iterable[Rows], entries: late.Entries) -> None:
        """Write everything that waits, and promise it.

        Args:
            streams: all of them.
            entries: of `/late`.

        Raises:
            RecorderError: the file is gone, or another stands in its place.
        """
        for rows in streams:
            self.write(rows)
        entries.write(self._datasets[LATE])
        self._file.flush()
        counts = {rows.name: rows.written for rows in streams} | {LATE: entries.written}
        # Late entries first, and on their own: a process that dies between two counters, or within a flush, which goes
        # through the datasets in an order of its own, must not have promised rows without their late scalars.
        self._promise(LATE, counts)
        if counts[LATE] != self.committed[LATE]:
            self._file.flush()
        for rows in streams:
            self._promise(rows.name, counts)
        self._file.flush()
        self.committed = counts
        if not self._in_place():
            raise RecorderError(f"{self.path} was removed or replaced while it was being written")

    def _promise(self, name: str, counts: Mapping[str, int]) -> None:
        if counts[name] != self.committed[name]:
            self._datasets[name][COMMITTED][...] = counts[name]

    def sync(self) -> None:
        """Wait until what is committed is on the disk itself."""
        os.fsync(self._file.id.get_vfd_handle())

    def finish(self, status: str, reason: str) -> None:
        """Cut the datasets to their committed rows, write how the run ended and close the file.

        Args:
            status: of the run.
            reason: why it stopped.
        """
        for name, datasets in self._datasets.items():
            layout.write(datasets, {}, 0, self.committed[name])
        self._file[STOP_REASON][...] = layout.fitting(reason, STOP_REASON)
        self._file.flush()
        self._file[STATUS][...] = layout.fitting(status, STATUS)
        self._file.flush()
        self._file.close()
        if self.committed[LATE] and os.path.getsize(self._place) <= FOLDED_BYTES:
            self._fold()
        self.lock.release()

    def discard(self) -> None:
        """Leave the path as it was: nothing was recorded."""
        if not self.replaces and not self.frozen:
            with suppress(OSError):
                os.remove(self._place)
        self.lock.release()

    def abandon(self, reason: str) -> None:
        """Leave the file as it is on disk, after a failed write.

        HDF5 keeps its dirty buffers and writes them again when the file is closed and when the interpreter exits;
        failing again, it crashes there. Its descriptor is pointed at the null device instead.

        Args:
            reason: for the file's stop reason.
        """
        if not self.frozen:
            self.discard()
            return
        in_place = self._in_place()
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, self._file.id.get_vfd_handle())
        os.close(null)
        with suppress(OSError, RuntimeError):
            self._file.close()
        if in_place:
            self._patch("failed", reason)
        self.lock.release()

    def safe(self) -> str:
        """Return what a failure has left, as the message about it says it.

        Returns:
            The rows that are committed, by stream.
        """
        if not self.frozen:
            return "nothing was written yet: free space or choose another path"
        counts = [f"{count} rows of {name}" for name, count in self.committed.items() if count and name != LATE]
        return f"{', '.join(counts) or 'no rows'} are committed, and the file is readable up to there"

    def _fold(self) -> None:
        """Make columns of `/late`, in a copy: should this fail, the file is as it was, and readers fold anyway."""
        temporary = aside(self._place)
        try:
            copying.copy_rows(self._place, temporary)
            put_in_place(temporary, self._place)
        except (OSError, RuntimeError, ValueError):
            with suppress(OSError):
                os.remove(temporary)

    def _in_place(self) -> bool:
        try:
            there, ours = os.stat(self._place), os.fstat(self._file.id.get_vfd_handle())
        except FileNotFoundError:
            return False
        except OSError:  # A file system that does not answer for a moment is no reason to end a run.
            return True
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def _patch(self, status: str, reason: str) -> None:
        # Both datasets are contiguous and allocated, so their bytes can be replaced without HDF5.
        with suppress(OSError), open(self._place, "r+b") as file:
            for name, text in ((STOP_REASON, reason), (STATUS, status)):
                file.seek(self._offsets[name])
                file.write(layout.fitting(text, name).tobytes())
