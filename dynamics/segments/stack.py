"""One variable along the segments of a trajectory: which segment holds which rows, and how they are read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import h5py
import numpy as np

from dynamics.file.opening import DAMAGED, TrajectoryError, first_line


@dataclass(frozen=True)
class Segment:
    """A closed file of a segmented trajectory, as it was when it was first looked at.

    Args:
        path: of the file.
        inode: of the file.
        size: in bytes.
        written: when, in nanoseconds; the numbers of files that were removed are used again.
    """

    path: str
    inode: int
    size: int
    written: int

    @classmethod
    def at(cls, path: str) -> Segment:
        """Return the segment that lies at a path now.

        Args:
            path: of the file.

        Returns:
            The segment.
        """
        found = os.stat(path)
        return cls(path, found.st_ino, found.st_size, found.st_mtime_ns)

    @property
    def same(self) -> bool:
        """Whether the file at its path is still this one."""
        return Segment.at(self.path) == self

    @contextmanager
    def open(self) -> Iterator[h5py.File]:
        """Open the file, without locks: what has this name is never written again.

        Yields:
            The open file.

        Raises:
            TrajectoryError: it is gone, is another by now, or cannot be read.
        """
        try:
            if not self.same:
                raise TrajectoryError(
                    f"{self.path}: expected the segment that was there before, came another: open the trajectory again"
                )
            with h5py.File(self.path, "r", locking=False) as file:
                yield file
        except FileNotFoundError as error:
            raise TrajectoryError(
                f"{self.path}: expected the segment that was there before, came none: open the trajectory again"
            ) from error
        except (OSError, RuntimeError, KeyError, TypeError, AttributeError) as error:
            raise TrajectoryError(
                f"{self.path}: expected a whole segment, came one HDF5 cannot read ({first_line(error)}): {DAMAGED}"
            ) from error


@dataclass(frozen=True)
class Span:
    """Consecutive rows of a stream that lie in one segment.

    Args:
        segment: the file.
        start: first row.
        stop: row after the last.
    """

    segment: Segment
    start: int
    stop: int


@dataclass
class Stack:
    """A variable whose rows lie in several segments; rows of segments that lack it are NaN.

    Args:
        group: name of its group.
        name: of the variable.
        dims: names of the dimensions, the one that grows first.
        shape: of a row.
        stored: the type in the segments.
        attrs: long_name, units and any others.
        spans: the rows that are there, increasing.
        count: rows of the stream.
    """

    group: str
    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    stored: np.dtype
    attrs: dict[str, object]
    spans: list[Span] = field(default_factory=list)
    count: int = 0

    @property
    def dtype(self) -> np.dtype:
        """The stored type; float64 for integers that some rows lack, since they have no NaN."""
        there = sum(span.stop - span.start for span in self.spans)
        return self.stored if self.stored.kind == "f" or there >= self.count else np.dtype(float)

    @property
    def absent(self) -> float:
        """What stands where a row has no value; integers have one in every row."""
        return np.nan if self.dtype.kind == "f" else 0

    def read(self, rows: np.ndarray, inner: tuple = ()) -> np.ndarray:
        """Read some rows; each segment that holds one of them is opened once.

        Args:
            rows: their numbers, int64, in any order.
            inner: slices forwards or arrays of int64, one for each further axis; all of it where empty.

        Returns:
            An array (rows, ...).

        Raises:
            TrajectoryError: a segment is gone or damaged.

        Cost: 0.5 to 1 ms a segment.
        """
        inner = inner or (slice(None),) * len(self.shape)
        sizes = zip(self.shape, inner, strict=True)
        shape = [len(range(size)[key]) if isinstance(key, slice) else len(key) for size, key in sizes]
        found = np.full((len(rows), *shape), self.absent, self.dtype)
        if not self.spans or not len(rows):
            return found
        owner = np.searchsorted([span.start for span in self.spans], rows, "right") - 1
        order = np.argsort(owner, kind="stable")
        owners, starts = np.unique(owner[order], return_index=True)
        for number, positions in zip(owners, np.split(order, starts[1:]), strict=True):
            span = self.spans[number]
            positions = positions[rows[positions] < span.stop] if number >= 0 else []
            if len(positions):
                found[positions] = self._block(span, rows[positions] - span.start, inner)
        return found

    def dataset(self, file: h5py.File, span: Span) -> h5py.Dataset:
        """Return the variable in a segment.

        Args:
            file: the segment, open.
            span: the rows that are there.

        Returns:
            The dataset.

        Raises:
            TrajectoryError: it has another shape than it had.
        """
        dataset = file[self.group][self.name]
        self._check(dataset.shape, span)
        return dataset

    def whole(self, file: h5py.File, span: Span) -> np.ndarray:
        """Read all rows of a segment by the lower level of h5py, several times faster for small ones.

        Args:
            file: the segment, open.
            span: the rows that are there.

        Returns:
            The rows.
        """
        dataset = h5py.h5d.open(file.id, f"{self.group}/{self.name}".encode())
        self._check(dataset.shape, span)
        values = np.empty(dataset.shape, dataset.dtype)
        dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
        return values

    def _check(self, shape: tuple[int, ...], span: Span) -> None:
        if shape != (span.stop - span.start, *self.shape):
            raise TrajectoryError(
                f"{span.segment.path}: expected shape {(span.stop - span.start, *self.shape)} of "
                f"{self.group}/{self.name}, came {shape}: {DAMAGED}"
            )

    def _block(self, span: Span, rows: np.ndarray, inner: tuple) -> np.ndarray:
        low, high = int(rows.min()), int(rows.max()) + 1
        with span.segment.open() as file:
            dataset = self.dataset(file, span)
            whole = tuple(key if isinstance(key, slice) else slice(None) for key in inner)
            block = dataset[(slice(low, high), *whole)][rows - low]
        for axis, key in enumerate(inner, start=1):
            if not isinstance(key, slice):
                block = np.take(block, key, axis)
        return block


def read_together(stacks: Iterable[Stack], start: int, stop: int) -> dict[str, np.ndarray]:
    """Read consecutive rows of several variables; each segment is opened once for all of them.

    Args:
        stacks: of one stream.
        start: first row.
        stop: row after the last.

    Returns:
        Arrays (rows, ...) by name, without the variables that none of these rows has.
    """
    found: dict[str, np.ndarray] = {}
    held: dict[Segment, list[tuple[Stack, Span]]] = {}
    for stack in stacks:
        spans = [span for span in stack.spans if span.start < stop and span.stop > start]
        if spans:
            found[stack.name] = np.full((stop - start, *stack.shape), stack.absent, stack.dtype)
        for span in spans:
            held.setdefault(span.segment, []).append((stack, span))
    for segment, pairs in held.items():
        with segment.open() as file:
            for stack, span in pairs:
                low, high = max(start, span.start), min(stop, span.stop)
                block = stack.whole(file, span)[low - span.start : high - span.start]
                found[stack.name][low - start : high - start] = block
    return found
