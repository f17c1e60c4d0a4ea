"""What of an untrusted trajectory may be read at all by those who recover it: looked at before any value is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import h5py
import numpy as np
from h5py import h5g, h5o, h5t

from dynamics.confined.attributes import Attributes
from dynamics.confined.extent import Extent
from dynamics.confined.storage import block_dangers, is_chunked, misplaced, unsafe
from dynamics.confined.structure import DEPTH, OBJECTS
from dynamics.confined.worker import SILENT, Report
from dynamics.copies.counted_rows import increasing_rows, stored_rows
from dynamics.file.opening import DAMAGED, TrajectoryError, first_line
from dynamics.format import COMMITTED, LATE, LATE_DTYPES

NAMES, BLOCK = 1 << 16, 1 << 12
INDICES = ("evaluation", "step")
"""What counts the rows of a stream, in the order in which readers look for it."""


@dataclass(frozen=True)
class Admitted:
    """What may be read.

    Args:
        rows: by stream: those that are committed and have an index, and the entries of `/late`.
        leave_out: paths of groups, datasets ("path") and attributes ("path@name", "path@" for all of an object) that
            must not be touched, or cannot be opened.
        lost: one line each for what is left out.
    """

    rows: dict[str, int]
    leave_out: frozenset[str]
    lost: tuple[str, ...]


def admit(file: h5py.File, path: str, progress: Callable[[float], None] = SILENT) -> Admitted:
    """Look at links, attributes, and how each dataset is stored, and name what a recovery has to leave alone.

    Costs: metadata, chunk indices, and the names of `/late`.

    Args:
        file: open, not in SWMR mode.
        path: of the file.
        progress: told that the work goes on.

    Returns:
        What may be read.

    Raises:
        TrajectoryError: the file as a whole is none to be read: too many objects, small on the disk and huge in
            memory, or damaged at its root.

    Example:
        >>> import os
        >>> with h5py.File("example.h5", "w", driver="core", backing_store=False) as file:
        ...     file["elsewhere"] = h5py.ExternalLink("other.h5", "/")
        ...     admit(file, os.devnull).lost
        ('/elsewhere: ExternalLink, left out',)
    """
    work = _Admission(file, Extent(path, progress if isinstance(progress, Report) else SILENT))
    try:
        work.run()
    except _Refused as refusal:
        raise TrajectoryError(f"{path}: {refusal}") from None
    except MemoryError:
        raise
    except Exception as error:
        where = f" at {work.report.last}" if work.report.last else ""
        raise TrajectoryError(f"{path}: cannot be read{where} ({first_line(error)}): {DAMAGED}") from error
    return Admitted(work.rows, frozenset(work.leave_out), tuple(work.lost))


class _Refused(Exception):
    """Nothing of the file is to be read."""


class _Admission:
    """One look at a file."""

    def __init__(self, file: h5py.File, extent: Extent):
        self.file, self.extent, self.report = file, extent, extent.report
        self.attributes = Attributes(extent.report, tolerant=True)
        self.rows: dict[str, int] = {}
        self.leave_out: set[str] = set()
        self.lost: list[str] = []
        self._names: dict[str, list[str]] = {}
        self._seen = {_place(file.id): "/"}
        self._objects = 0

    def run(self) -> None:
        self._group("", self.file, 0)
        for path, names in self._names.items():
            if path.count("/") == 1 and COMMITTED in names and path not in self.leave_out:
                self._stream(path, names)
        self._late()
        for line in self.extent.bombs():
            raise _Refused(line)

    def _lose(self, path: str, what: str) -> None:
        self.leave_out.add(path)
        self.lost.append(f"{path}: {what}")

    def _group(self, path: str, group: h5py.Group, depth: int) -> None:
        self._attributes(path or "/", group)
        count = group.id.get_num_objs()
        self._objects += count
        if self._objects > OBJECTS:
            raise _Refused(f"{path or '/'}: {count} links; expected at most {OBJECTS} in a file: leave the file alone")
        self._names[path] = list(group)
        for name in self._names[path]:
            try:
                self._item(f"{path}/{name}", group, name, depth)
            except (MemoryError, _Refused):
                raise
            except Exception as error:  # Whatever HDF5 and h5py raise on damaged metadata, here and below.
                self._lose(f"{path}/{name}", f"cannot be read ({first_line(error)})")

    def _item(self, path: str, group: h5py.Group, name: str, depth: int) -> None:
        self.report.at(path)
        self.report(0.0)
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            self._lose(path, f"{type(link).__name__}, left out")
            return
        identifier = h5o.open(group.id, name.encode("utf-8", "surrogateescape"))
        if isinstance(identifier, h5t.TypeID):
            self._lose(path, "a named type, left out")
            return
        first = self._seen.setdefault(_place(identifier), path)
        if first != path:
            self._lose(path, f"the same as {first}, left out")
        elif not isinstance(identifier, h5g.GroupID):
            self._dataset(path, h5py.Dataset(identifier))
        elif depth == DEPTH:
            self._lose(path, f"more than {DEPTH} levels deep, left out")
        else:
            self._group(path, h5py.Group(identifier), depth + 1)

    def _attributes(self, path: str, item: h5py.Group | h5py.Dataset) -> None:
        for name, line in self.attributes.dangers(path, item):
            if self.attributes.spent:
                raise _Refused(line)
            self._lose(f"{path}@{name}", f"{_what(path, line).removeprefix(f'attribute {name} ')}, left out")

    def _dataset(self, path: str, dataset: h5py.Dataset) -> None:
        self._attributes(path, dataset)
        own = Extent(self.extent.path, self.report)
        found = [*unsafe(path, dataset, own)]
        if not found and not is_chunked(dataset):
            found = [*block_dangers(path, dataset, own)]
        elif not found:
            # Chunks that lie elsewhere, or an index of them that is damaged, cost rows: reading them shows which.
            with suppress(OSError, RuntimeError, ValueError):
                misplaced(path, dataset, None, own)
        if found:
            self._lose(path, f"{_what(path, found[0])}, left out")
        else:
            self.extent.unfolded += own.unfolded

    def _stream(self, path: str, names: list[str]) -> None:
        self.report.at(path)
        rows = self._counted(path)
        if isinstance(rows, str):
            self._lose(path, f"its number of rows cannot be read ({rows}), all of it is lost")
            return
        what = "entries" if path == f"/{LATE}" else "rows"
        needed = LATE_DTYPES if path == f"/{LATE}" else [name for name in INDICES if name in names][:1] or ["step"]
        absent = [name for name in needed if name not in names or f"{path}/{name}" in self.leave_out]
        if absent:
            self._lose(path, f"all {rows} {what} are lost, since {path}/{absent[0]} is")
            return
        short, name = min((stored_rows(self.file[f"{path}/{name}"], rows), name) for name in needed)
        if short < rows:
            if what == "rows":
                short = increasing_rows(self.file[f"{path}/{name}"], short, self.report)
            self.lost.append(f"{path}: {what} {short} to {rows - 1} of {rows} are lost, {path}/{name} ends there")
        self.rows[path[1:]] = short

    def _counted(self, path: str) -> int | str:
        """Return the counter of a stream, or why it has none."""
        counter = f"{path}/{COMMITTED}"
        if counter in self.leave_out:
            return f"{counter} is left out"
        dataset = self.file[counter]
        if not isinstance(dataset, h5py.Dataset) or dataset.shape != () or dataset.dtype != np.int64:
            return f"expected one int64 in {counter}, came something else"
        try:
            rows = int(dataset[()])
        except (OSError, RuntimeError) as error:
            return first_line(error)
        return rows if rows >= 0 else f"{counter} says {rows}"

    def _late(self) -> None:
        """Count what the columns take that late entries become."""
        self.report.at(f"/{LATE}/name")
        names, count = set(), self.rows.get(LATE, 0)
        column = self.file[f"/{LATE}/name"] if count else None
        for start in range(0, count, BLOCK):
            self.report(start / count)
            try:
                names.update(column[start : min(start + BLOCK, count)].tolist())
            except (OSError, RuntimeError, ValueError, TypeError):
                break
            if len(names) > NAMES:
                raise _Refused(f"/{LATE}/name: more than {NAMES} names; expected few: leave the file alone")
        for name in names:
            stream = name.decode("utf-8", "replace").partition("/")[0] if isinstance(name, bytes) else ""
            self.extent.unfolded += 8 * self.rows.get(stream, count)


def _what(path: str, line: str) -> str:
    """Return what a line says of an object, without what was expected."""
    return line.removeprefix(f"{path}: ").partition("; expected")[0]


def _place(identifier: h5o.ObjectID) -> tuple:
    info = h5o.get_info(identifier)
    return info.fileno, info.addr
