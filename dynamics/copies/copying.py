"""A clean copy of a trajectory: committed rows only, late scalars in columns, closed, ready to be written on."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping

import h5py
import numpy as np

from dynamics.copies.copy_check import verify_copy as verify_copy
from dynamics.copies.duplicate import (
    address,
    committed,
    copy_attributes,
    copy_values,
    create_dataset,
    create_group,
    members,
)
from dynamics.copies.folding import fold
from dynamics.copies.new_file import new_file
from dynamics.file.layout import create_late, fitting
from dynamics.file.opening import DAMAGED, TrajectoryError, check_format, open_file
from dynamics.file.rows import Rows
from dynamics.format import COMMITTED, LATE, STATUS_DTYPES, Stream

ARCHIVE_BYTES = 1 << 18
COMPRESSIONS = (None, "gzip")


def copy_rows(
    source: str,
    target: str,
    rows: Mapping[str, int] | None = None,
    *,
    compression: str | None = None,
    level: int = 4,
    status: tuple[str, str] | None = None,
    progress: Callable[[float], None] | None = None,
) -> dict[str, int]:
    """Copy a trajectory, whether it is closed, being written or left behind, into a new file.

    Attributes, labels, arrays and groups that nobody knows are kept; rows behind the counters are not. The entries of
    `/late` become columns of their streams. Memory does not grow with the file: blocks of 1 MiB pass, 0.4 GB/s for
    scalars, 1 GB/s for arrays.

    Args:
        source: the trajectory.
        target: the new file.
        rows: rows to be kept of each stream, of `late` its entries; all committed ones of a stream that is not named.
            Entries of `/late` that have become columns since count as kept.
        compression: "gzip" for an archive, with shuffle and chunks of 256 KiB; None for the layout of the recorder.
        level: of gzip, 1 to 9.
        status: status and stop reason of the copy; None for those of the source.
        progress: told the share of the values that is copied.

    Returns:
        Rows of the copy by stream; those of `late` are 0.

    Raises:
        ValueError: fewer rows are committed than are to be kept, an unknown stream, or an unknown compression.
        TrajectoryError: the source is no trajectory, or holds what cannot be copied.
        OSError: a file cannot be read or written, or the target exists; there is no target then.

    Example:
        >>> import os, tempfile
        >>> from dynamics.recorder import Recorder
        >>> path = os.path.join(tempfile.mkdtemp(), "run.h5")
        >>> with Recorder(path) as recorder:
        ...     for step in range(5):
        ...         recorder.record("series", step=step, loss=1.0)
        >>> copy_rows(path, path + ".copy", {"series": 3})
        {'series': 3, 'late': 0}
    """
    if compression not in COMPRESSIONS or not 1 <= level <= 9:
        raise ValueError(
            f"expected compression None or 'gzip' with a level of 1 to 9, came {compression!r} with {level}: name one"
        )
    with open_file(source) as (file, _):
        # The counters come first: of a running file, the rows counted here are seen by what is opened later.
        counts = committed(file)
        check_format(source, file)
        kept = _kept(source, counts, rows or {})
        level = level if compression else None
        copied = copy_open(file, target, counts | kept, level=level, status=status, progress=progress)
    short = [name for name, count in (rows or {}).items() if name != LATE and copied.get(name, 0) < count]
    if short:
        os.remove(target)
        raise ValueError(_too_few(source, short[0], rows[short[0]], copied.get(short[0])))
    return copied


def copy_open(
    file: h5py.File,
    target: str,
    rows: Mapping[str, int],
    *,
    leave_out: Collection[str] = (),
    level: int | None = None,
    status: tuple[str, str] | None = None,
    most: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> dict[str, int]:
    """Copy an open trajectory as `copy_rows` does.

    Args:
        file: the trajectory.
        target: the new file.
        rows: of every stream of the file and of `late`; of a stream that only `/late` knows the most rows to keep.
        leave_out: paths of groups and datasets that are not to be touched.
        level: of gzip; None for the layout of the recorder.
        status: status and stop reason of the copy; None for those of the source.
        most: bytes of values that may be copied; a small file can unfold to any size.
        progress: told the share of the values that is copied.

    Returns:
        Rows of the copy by stream.
    """
    with new_file(target) as (made, sink):
        copy = _Copy(file, made, sink, rows, frozenset(leave_out), level, most, progress)
        copy.run(status)
        return copy.counts


class _Copy:
    """One copy under way."""

    def __init__(self, file, made, sink, rows, leave_out, level, most, progress):
        self.file, self.made, self.sink = file, made, sink
        self.rows, self.leave_out, self.level = rows, leave_out, level
        self.paths: dict[int, str] = {}
        self.counts: dict[str, int] = {}
        self._bytes, self._most, self._progress = 0, most, progress
        self._size = max(1, file.id.get_filesize())

    def run(self, status: tuple[str, str] | None) -> None:
        self._group(self.file, self.made, None)
        if LATE not in self.made:
            create_late(self.made)
        self._attach()
        self._status(status)
        if self.rows.get(LATE):
            self.counts |= fold(self.file, self.rows[LATE], self.made, self.rows, self._done)
        self.counts.pop(LATE, None)
        self.counts[LATE] = 0
        for name, count in self.counts.items():
            self.made[name][COMMITTED][...] = count

    def _group(self, source: h5py.Group, target: h5py.Group, rows: int | None) -> None:
        """Copy what a group holds; `rows` of the datasets that grow, where it is a stream."""
        self.paths[address(source)] = target.name
        copy_attributes(source, target, self.leave_out)
        for name, item in members(source, self.leave_out):
            if address(item) in self.paths:
                # A second name of one object, or a circle.
                target[name] = target[self.paths[address(item)]]
            elif isinstance(item, h5py.Dataset):
                self._dataset(item, target, name, rows)
            else:
                stream = source.name == "/" and COMMITTED in item and name in self.rows
                count = (0 if name == LATE else self.rows[name]) if stream else None
                if stream:
                    self.counts[name] = count
                self._group(item, create_group(item, target, name), count)

    def _dataset(self, source: h5py.Dataset, parent: h5py.Group, name: str, rows: int | None) -> None:
        grows = bool(source.shape is not None and source.maxshape and source.maxshape[0] is None)
        if grows and rows is not None and source.shape[0] < rows:
            source.id.refresh()
        if grows and rows is not None and source.shape[0] < rows:
            raise TrajectoryError(
                f"{source.name}: expected the {rows} rows that are committed, came {source.shape[0]}: {DAMAGED}"
            )
        in_stream = grows and rows is not None
        chunk = self._chunk(source, parent.name[1:], in_stream) if grows else None
        length = rows if in_stream else None
        made = create_dataset(source, parent, name, length, chunk, self.level if chunk else None)
        self.paths[address(source)] = made.name
        copy_attributes(source, made, self.leave_out)
        if name != COMMITTED or rows is None:
            copy_values(source, made, length, self._done)

    def _chunk(self, source: h5py.Dataset, stream: str, in_stream: bool) -> int | None:
        """Return the rows of a chunk; None leaves it as it is, in groups that are no streams."""
        row = source.dtype.itemsize * int(np.prod(source.shape[1:], dtype=object))
        if self.level is not None:
            return 1 << max(0, (ARCHIVE_BYTES // max(1, row)).bit_length() - 1)
        if stream == LATE:
            return 1024
        return Rows(Stream(stream)).chunk(source.shape[1:], source.dtype.itemsize) if in_stream else None

    def _attach(self) -> None:
        """Tie the copies to their scales, as the originals are."""
        for path in self.paths.values():
            source, target = self.file[path], self.made[path]
            if f"{path}@DIMENSION_LIST" in self.leave_out or f"{path}@" in self.leave_out:
                continue
            if not isinstance(source, h5py.Dataset) or "DIMENSION_LIST" not in source.attrs:
                continue
            for axis, dimension in enumerate(source.dims):
                for scale in dimension.values():
                    path = self.paths.get(address(scale))
                    if path is not None:
                        target.dims[axis].attach_scale(self.made[path])

    def _status(self, status: tuple[str, str] | None) -> None:
        for (name, dtype), text in zip(STATUS_DTYPES.items(), status or ("running", ""), strict=True):
            if name not in self.made:
                self.made.create_dataset(name, data=fitting(text, name), dtype=dtype, track_times=False)
            elif status is not None:
                self.made[name][...] = fitting(text, name)

    def _done(self, count: int) -> None:
        self.sink.check()
        self._bytes += count
        if self._most is not None and self._bytes > self._most:
            raise TrajectoryError(
                f"{self.file.filename}: expected values of at most {self._most} bytes, came more: they unfold from "
                f"{self._size}, a decompression bomb"
            )
        if self._progress is not None:
            self._progress(min(1.0, self._bytes / self._size))


def _kept(source: str, counts: Mapping[str, int], rows: Mapping[str, int]) -> dict[str, int]:
    for name, count in rows.items():
        if count < 0 or (name != LATE and name in counts and counts[name] < count):
            raise ValueError(_too_few(source, name, count, counts.get(name)))
    return {name: min(count, counts.get(LATE, 0)) if name == LATE else count for name, count in rows.items()}


def _too_few(source: str, name: str, asked: int, there: int | None) -> str:
    came = f"{there} committed ones" if there is not None else "no such stream"
    return f"{source}: expected {asked} rows of {name} to keep, came {came}: ask for no more than there are"
