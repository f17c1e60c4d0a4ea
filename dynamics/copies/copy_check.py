"""Whether a copy of a trajectory says the same as its original, bit for bit."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack

import h5py
import numpy as np

from dynamics.copies.duplicate import address, attribute_names, committed, members, read_attribute
from dynamics.copies.folding import ENTRIES, WINDOW, entries, places
from dynamics.copies.stored_blocks import stored_blocks
from dynamics.file.opening import open_file
from dynamics.format import COMMITTED, LATE, ROW, STATUS_DTYPES

BLANK = np.float64(np.nan).view(np.int64)


def verify_copy(
    source: str, target: str, rows: Mapping[str, int], *, progress: Callable[[float], None] = lambda share: None
) -> list[str]:
    """Compare a copy with its original: every attribute, every array, every kept row, every late entry, bit for bit.

    Args:
        source: the original.
        target: the copy.
        rows: kept rows by stream, as `copy_rows` returned them.
        progress: told the share that is compared.

    Returns:
        One line per departure; empty for a true copy.

    Raises:
        TrajectoryError: one of the two cannot be opened.

    Example:
        >>> import os, tempfile
        >>> from dynamics.copies.copying import copy_rows
        >>> from dynamics.recorder import Recorder
        >>> path = os.path.join(tempfile.mkdtemp(), "run.h5")
        >>> with Recorder(path) as recorder:
        ...     recorder.record("series", step=0, loss=1.0)
        >>> verify_copy(path, path + ".copy", copy_rows(path, path + ".copy"))
        []
    """
    with ExitStack() as opened:
        original, copy = (opened.enter_context(open_file(path))[0] for path in (source, target))
        return list(departures(original, copy, rows, progress=progress))


def departures(
    original: h5py.File,
    copy: h5py.File,
    rows: Mapping[str, int],
    leave_out: Collection[str] = (),
    late_entries: int | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Iterator[str]:
    """Compare two open files as `verify_copy` does.

    Args:
        original: the one.
        copy: the other.
        rows: kept rows by stream.
        leave_out: paths that the copy was not to take over.
        late_entries: entries of `/late` that can be read; None for all that are committed.
        progress: told the share that is compared.

    Yields:
        Departures.
    """
    yield from _Comparison(original, copy, rows, leave_out, late_entries, progress).run()


class _Comparison:
    """One comparison under way."""

    def __init__(self, original, copy, rows, leave_out, late_entries, progress):
        self.original, self.copy, self.leave_out = original, copy, frozenset(leave_out)
        self.there, self.counts, self.asked = committed(original, leave_out), committed(copy), rows
        self.entries = self.there.get(LATE, 0) if late_entries is None else late_entries
        self.seen = {address(original)}
        self.places, self.copied = _places(original, leave_out), _places(copy)
        self.folded: dict[str, int] = {}
        self._bytes, self._size, self._progress = 0, max(1, original.id.get_filesize()), progress

    def run(self) -> Iterator[str]:
        for name in sorted(self.asked.keys() | self.there.keys()):
            wanted = 0 if name == LATE else self.asked.get(name, self.there.get(name))
            if self.counts.get(name) != wanted:
                yield f"/{name}/{COMMITTED}: {self.counts.get(name)}, expected {wanted}"
        yield from self._late()
        yield from self._group(self.original, self.copy, "")

    def _group(self, one: h5py.Group, other: h5py.Group, path: str) -> Iterator[str]:
        yield from self._attributes(one, other, path or "/")
        names = {name for name, _ in members(one, self.leave_out)}
        own = {LATE, *STATUS_DTYPES} if not path else set()
        made = {name.removeprefix(f"{path}/").split("/")[0] for name in self.folded if name.startswith(f"{path}/")}
        born = set(ROW) | {COMMITTED} if path[1:] in self.counts.keys() - self.there.keys() else set()
        for name in sorted(names - set(other)):
            yield f"{path}/{name}: missing in the copy"
        for name in sorted(set(other) - names - own - made - born):
            yield f"{path}/{name}: only in the copy"
        for name in sorted(names & set(other)):
            yield from self._item(one[name], other[name], f"{path}/{name}", self.counts.get(path[1:]))

    def _item(self, one: object, other: object, path: str, rows: int | None) -> Iterator[str]:
        if type(one) is not type(other):
            yield f"{path}: a {type(one).__name__} became a {type(other).__name__}"
        elif isinstance(one, h5py.Dataset):
            yield from self._dataset(one, other, path, rows)
        elif address(one) not in self.seen:
            self.seen.add(address(one))
            yield from self._group(one, other, path)

    def _attributes(self, one: h5py.Group | h5py.Dataset, other: h5py.Group | h5py.Dataset, path: str) -> Iterator[str]:
        names, others = set(attribute_names(one, self.leave_out)), set(attribute_names(other))
        for name in sorted(names ^ others):
            yield f"{path}: attribute {name} only in the {'original' if name in names else 'copy'}"
        for name in sorted(names & others):
            (kind, values), (other_kind, others_values) = read_attribute(one, name), read_attribute(other, name)
            if kind.get_type() != other_kind.get_type() or not _same(values, others_values):
                yield f"{path}: attribute {name} differs"

    def _dataset(self, one: h5py.Dataset, other: h5py.Dataset, path: str, rows: int | None) -> Iterator[str]:
        yield from self._attributes(one, other, path)
        grows = rows is not None and bool(one.shape) and one.maxshape[0] is None
        shape = (rows, *one.shape[1:]) if grows else one.shape
        if other.shape != shape or other.maxshape != one.maxshape or one.id.get_type() != other.id.get_type():
            yield f"{path}: {other.dtype} {other.shape}, expected {one.dtype} {shape}"
            return
        if f"{path}@DIMENSION_LIST" not in self.leave_out and _scales(one, self.places) != _scales(other, self.copied):
            yield f"{path}: other dimension scales"
        bookkeeping = path[1:] in STATUS_DTYPES or (rows is not None and path.endswith(f"/{COMMITTED}"))
        if shape is None or bookkeeping or path in self.folded:
            return
        if not _same(one.fillvalue, other.fillvalue):
            yield f"{path}: another fill value"
        for block in _stored_in_either(one, other, shape[0] if shape else None):
            values = one[block]
            self._done(values)
            if not _same(values, other[block]):
                yield f"{path}: values differ" + (f" in rows {block[0].start} to {block[0].stop - 1}" if block else "")
                return

    def _late(self) -> Iterator[str]:
        """Compare columns with their late entries: each on its row, and nothing elsewhere where the column is new."""
        for start in range(0, self.entries, ENTRIES):
            found = entries(self.original, start, min(start + ENTRIES, self.entries))
            for stream, variables in found.items():
                for name, (steps, values) in variables.items():
                    if stream in self.counts:
                        yield from self._cells(f"/{stream}/{name}", self.copy[f"{stream}/step"], steps, values)
        for path, count in self.folded.items():
            if path not in self.original and path in self.copy:
                column = self.copy[path]
                kept = sum(_filled(column[block]) for block in stored_blocks(column))
                if kept != count:
                    yield f"{path}: {kept} values, expected those of {count} late entries"

    def _cells(self, path: str, index: h5py.Dataset, steps: np.ndarray, values: np.ndarray) -> Iterator[str]:
        self.folded.setdefault(path, 0)
        self._done(values)
        first, last = bisect_left(index, steps.min()), bisect_right(index, steps.max())
        for start in range(first, last, WINDOW):
            window = slice(start, min(start + WINDOW, last))
            rows, there = places(index[window], steps)
            if not len(rows):
                continue
            self.folded[path] += _filled(values[there])
            if path not in self.copy:
                yield f"{path}: missing in the copy"
            elif self.copy[path].shape != index.shape or not _same(self.copy[path][window][rows], values[there]):
                yield f"{path}: differs from its late entries in rows {window.start} to {window.stop - 1}"

    def _done(self, values: np.ndarray) -> None:
        self._bytes += values.nbytes
        self._progress(min(1.0, self._bytes / self._size))


def _places(group: h5py.Group, leave_out: Collection[str] = (), known: dict[int, str] | None = None) -> dict[int, str]:
    """Return the path of each object by its address: where others are damaged, HDF5 finds no names for references."""
    known = {address(group): group.name} if known is None else known
    for name, item in members(group, leave_out):
        if address(item) not in known:
            known[address(item)] = f"{group.name.rstrip('/')}/{name}"
            if isinstance(item, h5py.Group):
                _places(item, leave_out, known)
    return known


def _scales(dataset: h5py.Dataset, places: Mapping[int, str]) -> list[list[str]]:
    """Return the scales of each axis, those that are left out aside."""
    if "DIMENSION_LIST" not in dataset.attrs:
        return [[]] * (dataset.ndim if dataset.shape is not None else 0)
    found = [[places.get(address(scale)) for scale in axis.values()] for axis in dataset.dims]
    return [[path for path in axis if path is not None] for axis in found]


def _stored_in_either(one: h5py.Dataset, other: h5py.Dataset, rows: int | None) -> Iterator[tuple[slice, ...]]:
    step = max(dataset.chunks[0] if dataset.chunks else 1 for dataset in (one, other))
    seen = set()
    for dataset in (other, one):
        for block in stored_blocks(dataset, rows, step):
            key = tuple((axis.start, axis.stop) for axis in block)
            if key not in seen:
                seen.add(key)
                yield block


def _same(one: object, other: object) -> bool:
    """Whether two arrays have the same type, shape and bits."""
    one, other = np.asarray(one), np.asarray(other)
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return one.tolist() == other.tolist() if one.dtype.hasobject else one.tobytes() == other.tobytes()


def _filled(values: np.ndarray) -> int:
    """Return the number of values that have other bits than a cell that nobody set."""
    return int(np.count_nonzero(np.ascontiguousarray(values, np.float64).view(np.int64) != BLANK))
