"""Where rows and counters lie in a file, so that they can be read again without asking HDF5.

In SWMR mode HDF5 reads its metadata anew whenever a file is opened, 0.2 ms for each dataset. What the recorder writes
stays where it is, though: chunks without filters and scalar datasets keep their place until the file is replaced. All
of a row is in the file before its counter is raised.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import cached_property

import h5py
import numpy as np
from h5py import h5d, h5s, h5t

from dynamics.file import superblock
from dynamics.file.opening import TrajectoryError


class Look:
    """One look at a file: its bytes, and HDF5 only where something asks for it.

    Args:
        path: of the file.
        opener: `dynamics.file.opening.open_file` or the like.
    """

    def __init__(self, path: str, opener: Callable[[str], AbstractContextManager]):
        self.path, self._opener, self._opened = path, opener, ExitStack()
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._opened.callback(os.close, self._descriptor)
        self.stat = os.fstat(self._descriptor)

    def __enter__(self) -> Look:
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()

    @cached_property
    def file(self) -> h5py.File:
        """The file, opened by HDF5 when it is first asked for and closed with the look."""
        file, _ = self._opened.enter_context(self._opener(self.path))
        return file

    @cached_property
    def unclosed(self) -> bool:
        """Whether a SWMR writer has it open, or died before it closed it."""
        block = superblock.read(self.path)
        return block is not None and block.swmr

    def bytes(self, offset: int, count: int) -> bytes:
        """Read bytes.

        Args:
            offset: of the first in the file.
            count: how many.

        Returns:
            All of them.

        Raises:
            OSError: the file is too short.
        """
        if hasattr(os, "pread"):
            found = os.pread(self._descriptor, count, offset)
        else:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            found = os.read(self._descriptor, count)
        if len(found) < count:
            raise OSError(f"{count} bytes at {offset} lie behind the end of the file")
        return found


class ScalarPlace:
    """Where a scalar dataset lies.

    Args:
        look: at the file.
        path: of the dataset.
    """

    def __init__(self, look: Look, path: str):
        dataset = look.file[path]
        self.path, self.dtype = path, dataset.dtype
        self._offset = dataset.id.get_offset() if _native(dataset) and dataset.chunks is None else None

    def read(self, look: Look) -> object:
        """Read the scalar.

        Args:
            look: at the same file, perhaps later.

        Returns:
            A number or bytes.
        """
        if self._offset is None:
            return look.file[self.path][()]
        return np.frombuffer(look.bytes(self._offset, self.dtype.itemsize), self.dtype)[0]


class ColumnPlace:
    """Where the rows of a dataset lie.

    Args:
        look: at the file.
        path: of the dataset, which is chunked.
    """

    def __init__(self, look: Look, path: str):
        dataset = look.file[path]
        self.path, self.dtype, self.shape = path, dataset.dtype, dataset.shape[1:]
        self._chunk = dataset.chunks[0]
        self._row = self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))
        self._direct = _native(dataset) and dataset.chunks[1:] == self.shape and self._row > 0
        self._offsets: dict[int, int] = {}

    def read(self, look: Look, start: int, stop: int) -> np.ndarray:
        """Read committed rows.

        Args:
            look: at the same file, perhaps later.
            start: number of the first.
            stop: number of the row after the last.

        Returns:
            A new array (stop - start, ...) in the stored type.

        Cost: 5 us a chunk and the reading; 0.2 ms once a chunk, to find it.
        """
        if stop <= start:
            return np.empty((0, *self.shape), self.dtype)
        if not self._direct or not self._find(look, start, stop):
            return rows_of(look.file, self.path, start, stop)
        parts = []
        for chunk in range(start // self._chunk, (stop - 1) // self._chunk + 1):
            base = chunk * self._chunk
            low, high = max(start, base) - base, min(stop - base, self._chunk)
            parts.append(look.bytes(self._offsets[chunk] + low * self._row, (high - low) * self._row))
        return np.frombuffer(bytearray().join(parts), self.dtype).reshape(stop - start, *self.shape)

    def _find(self, look: Look, start: int, stop: int) -> bool:
        """Find the chunks of rows; False where some were never written, so that HDF5 has to fill them in."""
        missing = [
            chunk for chunk in range(start // self._chunk, (stop - 1) // self._chunk + 1) if chunk not in self._offsets
        ]
        if missing:
            dataset = h5d.open(look.file.id, self.path.encode())
            for chunk in missing:
                found = dataset.get_chunk_info_by_coord((chunk * self._chunk, *(0 for _ in self.shape)))
                if found.byte_offset is None or found.size != self._chunk * self._row:
                    return False
                self._offsets[chunk] = found.byte_offset
        return True


def rows_of(file: h5py.File, path: str, start: int, stop: int) -> np.ndarray:
    """Read consecutive rows of a dataset by HDF5.

    Args:
        file: open.
        path: of the dataset.
        start: number of the first.
        stop: number of the row after the last.

    Returns:
        A new array (stop - start, ...) in the stored type.

    Raises:
        TrajectoryError: the dataset has fewer rows.
    """
    dataset = h5d.open(file.id, path.encode())
    shape = dataset.shape
    if shape[0] < stop:
        raise TrajectoryError(f"{path}: expected {stop} committed rows, came {shape[0]}: the file is damaged")
    rows = np.empty((stop - start, *shape[1:]), dataset.dtype)
    if rows.size:
        space = dataset.get_space()
        space.select_hyperslab((start, *(0 for _ in shape[1:])), rows.shape)
        dataset.read(h5s.create_simple(rows.shape), space, rows)
    return rows


def _native(dataset: h5py.Dataset) -> bool:
    """Return whether the numbers lie in the file as numpy has them: no filters, no types of HDF5's own."""
    plain = dataset.dtype.kind in "fiuS" and h5t.py_create(dataset.dtype).equal(dataset.id.get_type())
    unfiltered = dataset.id.get_create_plist().get_nfilters() == 0
    return plain and unfiltered and dataset.external is None and dataset.file.userblock_size == 0
