"""Whether a file can be read without harm: its links, attributes and datasets against the bytes that it has.

Everything here runs on untrusted files, in the child process of `dynamics.confined`. Only metadata, counters and
small blocks are read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import h5py
from h5py import h5g, h5o, h5t

from dynamics.confined.attributes import Attributes
from dynamics.confined.counted import Counted
from dynamics.confined.extent import Extent
from dynamics.confined.guarded import reading
from dynamics.confined.storage import dangers
from dynamics.confined.worker import SILENT, Report
from dynamics.format import COMMITTED

OBJECTS, DEPTH = 10_000, 8


def examine(path: str | os.PathLike, report: Report = SILENT) -> list[str]:
    """Name what makes a file dangerous to read.

    Costs: metadata and chunk indices, a few microseconds a chunk and some MB of memory.

    Args:
        path: any path.
        report: told of what is looked at, and of progress.

    Returns:
        One line per finding: what it is, what was expected, what came. Empty for a file that can be read.

    Example:
        >>> import h5py, os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "run.h5")
        >>> with h5py.File(path, "w") as file:
        ...     file["loss"] = h5py.SoftLink("/etc")
        >>> examine(path)
        ['/loss: SoftLink; expected every group and dataset in the file itself']
    """
    path = os.fspath(path)
    return reading(path, lambda file, state: list(look(file, path, report).findings), report)


@dataclass(frozen=True)
class Look:
    """What a look at an open file has found.

    Args:
        findings: what makes it dangerous to read.
        committed: complete rows by stream.
    """

    findings: tuple[str, ...]
    committed: dict[str, int]


def look(file: h5py.File, path: str, report: Report = SILENT) -> Look:
    """Look at an open file without reading its rows.

    Args:
        file: opened by `dynamics.confined.guarded.opened`.
        path: of the file.
        report: told of what is looked at, and of progress.

    Returns:
        The findings, and the counters, each read before the datasets that it counts.
    """
    walk = _Walk(file, Extent(path, report), report)
    found = list(walk.group("", file, 0)) or list(walk.extent.dangers())
    return Look(tuple(found), walk.committed)


class _Walk:
    """The way through a file: every object once, none by a link that leaves the file."""

    def __init__(self, file: h5py.File, extent: Extent, report: Report):
        self.extent, self.report = extent, report
        self.seen = {_place(file.id): "/"}
        self.attributes = Attributes(report)
        self.objects, self.committed = 0, {}

    def group(self, path: str, group: h5py.Group, depth: int) -> Iterator[str]:
        """Yield the findings of a group and of all that is in it."""
        yield from self._attributes(path or "/", group)
        count = group.id.get_num_objs()
        self.objects += count
        if self.objects > OBJECTS:
            if self.objects - count <= OBJECTS:
                yield f"{path or '/'}: {count} links; expected at most {OBJECTS} in a file: leave the file alone"
            return
        names = []
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.HardLink):
                names.append(name)
            else:
                yield f"{path}/{name}: {type(link).__name__}; expected every group and dataset in the file itself"
        committed = None
        if path and COMMITTED in names:
            stream = Counted(path, group, names, self.extent, self.report)
            yield from stream.findings()
            committed = stream.committed
            if committed is not None:
                self.committed[path[1:]] = committed
        for name in names:
            yield from self._item(f"{path}/{name}", group, name, depth, committed)

    def _item(self, path: str, group: h5py.Group, name: str, depth: int, committed: int | None) -> Iterator[str]:
        self.report.at(path)
        identifier = h5o.open(group.id, name.encode("utf-8", "surrogateescape"))
        if isinstance(identifier, h5t.TypeID):
            yield f"{path}: a named type; expected groups and datasets only: leave the file alone"
            return
        first, below = self.seen.setdefault(_place(identifier), path), isinstance(identifier, h5g.GroupID)
        if first != path:
            what = "a group in a group" if below else "a dataset"
            yield f"{path}: {what} that is {first} as well; expected one name for everything"
        elif below and depth == DEPTH:
            yield f"{path}: a group in a group; expected at most {DEPTH} levels: leave the file alone"
        elif below:
            yield from self.group(path, h5py.Group(identifier), depth + 1)
        else:
            dataset = h5py.Dataset(identifier)
            yield from self._attributes(path, dataset)
            yield from dangers(path, dataset, committed, self.extent)
            self.report(0.0)

    def _attributes(self, path: str, item: h5py.Group | h5py.Dataset) -> Iterator[str]:
        yield from (line for _, line in self.attributes.dangers(path, item))


def _place(identifier: h5o.ObjectID) -> tuple:
    info = h5o.get_info(identifier)
    return info.fileno, info.addr
