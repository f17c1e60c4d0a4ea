"""What of a damaged trajectory can still be read: the first rows of each stream, and what has to be left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import h5py

from dynamics.copies.admitted import Admitted
from dynamics.copies.duplicate import attribute_names, check_storage, read_attribute
from dynamics.copies.folding import ENTRIES, entries
from dynamics.copies.stored_blocks import blocks, stored_blocks
from dynamics.file.opening import first_line
from dynamics.format import INDEX, LATE, LATE_DTYPES, STATUS_DTYPES


@dataclass(frozen=True)
class Readable:
    """What can be read of a file.

    Args:
        rows: by stream: the longest beginning that all its variables have, and the entries of `/late`.
        leave_out: paths of groups, datasets ("path") and attributes ("path@name", "path@" for all of an object) that
            cannot be read.
        lost: one line each for what is lost.
        trailing: whether rows that were never committed stand behind the others.
    """

    rows: dict[str, int]
    leave_out: frozenset[str]
    lost: tuple[str, ...]
    trailing: bool


def survey(file: h5py.File, admitted: Admitted, progress: Callable[[float], None] = lambda fraction: None) -> Readable:
    """Read all of a file once, and note what cannot be read.

    Args:
        file: open, not in SWMR mode: there HDF5 waits without end for damage to pass.
        admitted: what of it may be touched.
        progress: told the share that has been read, as far as can be told.

    Returns:
        What can be read.

    Example:
        >>> with h5py.File("example.h5", "w", driver="core", backing_store=False) as file:
        ...     file["series/committed"], file["series/step"] = 0, [0]
        ...     survey(file, Admitted({"series": 0}, frozenset(), ())).rows
        {'series': 0}
    """
    work = _Survey(file, admitted, progress)
    work.run()
    return Readable(work.rows, frozenset(work.leave_out), tuple(work.lost), work.trailing)


class _Survey:
    """One survey under way."""

    def __init__(self, file: h5py.File, admitted: Admitted, progress: Callable[[float], None]):
        self.file, self.admitted, self._progress = file, admitted, progress
        self.rows: dict[str, int] = {}
        self.leave_out, self.lost = set(admitted.leave_out), list(admitted.lost)
        self.trailing = False
        self._read, self._size = 0, max(1, file.id.get_filesize())

    def run(self) -> None:
        self._attributes("/", self.file)
        for name in self.file:
            item = self._open(f"/{name}")
            if isinstance(item, h5py.Dataset):
                self._array(f"/{name}", item, replaced=name in STATUS_DTYPES)
            elif item is not None and name in self.admitted.rows:
                self._stream(name, item, self.admitted.rows[name])
            elif item is not None:
                self._group(f"/{name}", item)

    def _open(self, path: str) -> h5py.Group | h5py.Dataset | None:
        """Return what a name stands for; None where there is nothing that a copy could take over."""
        if path in self.leave_out:
            return None
        try:
            item = self.file[path]
        except MemoryError:
            raise
        except Exception as error:  # Whatever HDF5 and h5py raise on damaged metadata, here and below.
            self._lose(path, f"cannot be read ({first_line(error)})")
            return None
        self._attributes(path, item)
        return item

    def _lose(self, path: str, what: str) -> None:
        self.leave_out.add(path)
        self.lost.append(f"{path}: {what}")

    def _attributes(self, path: str, item: h5py.Group | h5py.Dataset) -> None:
        try:
            names = attribute_names(item, self.leave_out)
        except Exception as error:
            self._lose(f"{path}@", f"its attributes cannot be read ({first_line(error)})")
            return
        for name in names:
            try:
                read_attribute(item, name)
            except MemoryError:
                raise
            except Exception as error:
                self._lose(f"{path}@{name}", f"cannot be kept ({first_line(error)})")
        try:
            _ = isinstance(item, h5py.Dataset) and item.shape and [list(axis.values()) for axis in item.dims]
        except Exception as error:
            self._lose(f"{path}@DIMENSION_LIST", f"its dimension scales cannot be read ({first_line(error)})")

    def _group(self, path: str, group: h5py.Group) -> None:
        for name in group:
            item = self._open(f"{path}/{name}")
            if isinstance(item, h5py.Dataset):
                self._array(f"{path}/{name}", item)
            elif item is not None:
                self._group(f"{path}/{name}", item)

    def _array(self, path: str, dataset: h5py.Dataset, replaced: bool = False) -> None:
        """Read a dataset that has to be read as a whole."""
        try:
            check_storage(dataset)
            for block in stored_blocks(dataset) if dataset.shape is not None else ():
                self._count(dataset[block].nbytes)
        except MemoryError:
            raise
        except Exception as error:
            if replaced:
                self.leave_out.add(path)
            else:
                self._lose(path, f"cannot be read ({first_line(error)})")

    def _stream(self, name: str, group: h5py.Group, rows: int) -> None:
        readable = {}
        for key in group:
            path = f"/{name}/{key}"
            dataset = self._open(path)
            if isinstance(dataset, h5py.Dataset) and dataset.shape and dataset.maxshape[0] is None:
                self.trailing |= dataset.shape[0] > rows
                readable[key] = self._prefix(dataset, min(rows, dataset.shape[0]))
            elif isinstance(dataset, h5py.Dataset):
                self._array(path, dataset)
            elif dataset is not None:
                self._group(path, dataset)
        if name == LATE:
            readable["name"] = self._entries(min(readable.values(), default=0))
        self._cut(name, rows, readable)

    def _cut(self, name: str, rows: int, readable: dict[str, int]) -> None:
        """Settle how many rows are kept: a variable of which nothing can be read is given up, not the others."""
        needed = {INDEX.get(name, "step"), "step", "time"} if name != LATE else {*LATE_DTYPES}
        what = "entries" if name == LATE else "rows"
        for key, count in readable.items():
            if rows and not count and key not in needed:
                self._lose(f"/{name}/{key}", f"none of its {rows} rows can be read")
        kept = {key: count for key, count in readable.items() if f"/{name}/{key}" not in self.leave_out}
        absent = [f"/{name}/{key}" for key in needed if f"/{name}/{key}" in self.leave_out]
        if absent:
            self._lose(f"/{name}", f"all {rows} {what} are lost, since {absent[0]} is")
            return
        self.rows[name] = min(kept.values(), default=rows)
        short = min(kept, key=kept.get, default="")
        if self.rows[name] < rows:
            first = self.rows[name]
            self.lost.append(f"/{name}: {what} {first} to {rows - 1} of {rows} are lost, /{name}/{short} ends there")

    def _prefix(self, dataset: h5py.Dataset, rows: int) -> int:
        """Return how many of the first rows can be read."""
        try:
            check_storage(dataset)
            stored = list(stored_blocks(dataset, rows))
        except MemoryError:
            raise
        except Exception:
            # A damaged index of chunks: no more rows than there are bytes to hold them are tried.
            row = max(1, dataset.id.get_type().get_size() * int(dataset.size // max(1, dataset.shape[0])))
            rows = min(rows, self._size // row + 1)
            stored = list(
                blocks((rows, *dataset.shape[1:]), dataset.id.get_type().get_size(), (dataset.chunks or (1,))[0])
            )
        for block in stored:
            if not self._reads(dataset, block):
                length = dataset.chunks[0] if dataset.chunks else 1
                for start in range(block[0].start, block[0].stop, length):
                    if not self._reads(dataset, (slice(start, min(start + length, block[0].stop)), *block[1:])):
                        return start
        return rows

    def _reads(self, dataset: h5py.Dataset, block: tuple[slice, ...]) -> bool:
        try:
            self._count(dataset[block].nbytes)
        except MemoryError:
            raise
        except Exception:
            return False
        return True

    def _entries(self, count: int) -> int:
        """Return how many of the first entries of `/late` mean something."""
        for start in range(0, count, ENTRIES):
            try:
                entries(self.file, start, min(start + ENTRIES, count))
            except Exception:
                return start
        return count

    def _count(self, count: int) -> None:
        self._read += count
        self._progress(min(1.0, self._read / self._size))
