"""Opening a file of any kind as what it is: closed, being written, or left behind by a writer that died."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from time import sleep, time

import h5py

from dynamics.file import superblock
from dynamics.file.lock import holder
from dynamics.format import COMMITTED, FORMAT, FORMAT_VERSION

SWMR = {"swmr": True, "libver": "latest"}
TRIES, PAUSE = 4, 0.05
STILL = 3.0
"""Seconds without a write after which an unclosed file of unknown writer is taken for one that was left behind."""
DAMAGED = "the file is damaged or truncated; copy it again, or run with another file"


class TrajectoryError(ValueError):
    """The file is no trajectory that can be read, or lacks a variable; the message says what to do."""


@contextmanager
def open_file(path: str) -> Iterator[tuple[h5py.File, str]]:
    """Open a file as what it is: closed, being written, or left unclosed by a writer that died.

    One that was left is looked at as if it had been closed: HDF5 in SWMR mode waits without end for a damaged checksum
    to come right.

    Args:
        path: the file.

    Yields:
        The open file, and its state: "closed", "live" or "left".

    Raises:
        TrajectoryError: there is no such file, it is not HDF5, or HDF5 cannot open it.
    """
    _check_path(path)
    for _ in range(TRIES):
        block, state = superblock.read(path), state_of(path)
        if state != "closed" and block.size < block.end:
            # For an instant this may be so while the writer flushes; it stays so for a file that was cut off.
            sleep(PAUSE)
            _check_extent(path)
        with ExitStack() as opened:
            try:
                source = opened.enter_context(superblock.AsClosed(path)) if state == "left" else path
                file = opened.enter_context(h5py.File(source, "r", **(SWMR if state == "live" else {})))
            except BlockingIOError:
                sleep(PAUSE)
                continue
            except (OSError, RuntimeError) as error:
                if state != state_of(path):
                    continue
                raise TrajectoryError(
                    f"{path}: expected a trajectory, came a file that HDF5 cannot open ({first_line(error)}): "
                    "it is truncated, or not closed and not in SWMR mode"
                ) from error
            yield file, state
            return
    raise TrajectoryError(
        f"{path}: expected a trajectory, came a file that another process has locked for writing: try again"
    )


def state_of(path: str) -> str:
    """Return whether a file is closed, being written or left behind.

    Args:
        path: an HDF5 file.

    Returns:
        "closed", "live" or "left".
    """
    block = superblock.read(path)
    if block is None or not block.swmr:
        return "closed"
    return "live" if written_on(path, os.path.getmtime(path)) else "left"


def written_on(path: str, written: float) -> bool:
    """Return whether somebody writes a trajectory that is not closed.

    Its lock tells; a writer on another machine is believed. Without a lock, one that was written to just now counts.

    Args:
        path: the trajectory.
        written: when it was written to last, in seconds since the epoch.

    Returns:
        False for one that was left behind.

    Example:
        >>> written_on("no_such_run.h5", time()), written_on("no_such_run.h5", time() - 60)
        (True, False)
    """
    found = holder(path)
    return time() - written <= STILL if found is None else found.alive is not False


def _check_path(path: str) -> None:
    if not os.path.exists(path):
        raise TrajectoryError(f"{path}: expected a trajectory, came no file: check the path")
    if os.path.isdir(path):
        raise TrajectoryError(f"{path}: expected a trajectory, came a directory: name a file in it")
    if not os.access(path, os.R_OK):
        raise TrajectoryError(f"{path}: expected a readable file, came one without read permission: change its mode")
    if not os.path.getsize(path):
        raise TrajectoryError(
            f"{path}: expected a trajectory, came an empty file: its run has written no rows yet, or died before it did"
        )
    if not h5py.is_hdf5(path):
        with open(path, "rb") as file:
            start = file.read(8)
        raise TrajectoryError(
            f"{path}: expected an HDF5 file, came {os.path.getsize(path)} bytes that start with {start!r}: "
            "pass the file that a Recorder wrote"
        )


def check_format(path: str, file: h5py.File) -> None:
    """Refuse an HDF5 file that is no trajectory of a version that can be read.

    Args:
        path: for the message.
        file: open.

    Raises:
        TrajectoryError: another format, or a newer major version.
    """
    if text(file.attrs.get("format")) != FORMAT:
        groups, attributes = ", ".join(file) or "none", ", ".join(file.attrs) or "none"
        raise TrajectoryError(
            f"{path}: expected the attribute format={FORMAT!r}, came another HDF5 file (groups: {groups}; "
            f"attributes: {attributes}): pass the file that a Recorder wrote"
        )
    version = text(file.attrs.get("format_version"))
    major = version.split(".")[0]
    if not major.isdigit():
        raise TrajectoryError(f"{path}: expected a format version such as 1.0, came {version!r}: {DAMAGED}")
    if int(major) > FORMAT_VERSION[0]:
        raise TrajectoryError(
            f"{path}: expected format version {FORMAT_VERSION[0]}.x, came {version}: upgrade pinnscope to read it"
        )


def _check_extent(path: str) -> None:
    """Refuse a file whose committed rows lie behind its end: HDF5 reads zeros there in SWMR mode."""
    block = superblock.read(path)
    if block is None or block.size >= block.end:
        return
    lost = None
    try:
        with superblock.AsClosed(path) as view, h5py.File(view, "r") as file:
            for group in file.values():
                lost = lost or _lost(group, block.size)
    except Exception as error:  # Whatever HDF5 raises on metadata that is cut off.
        lost = first_line(error)
    if lost:
        raise TrajectoryError(f"{path}: expected {block.end} bytes, came {block.size} ({lost}): {DAMAGED}")


def _lost(group: object, size: int) -> str | None:
    """Return the name of a variable some of whose committed rows lie behind the end of the file."""
    if isinstance(group, h5py.Dataset):
        return None
    rows = int(group[COMMITTED][()]) if COMMITTED in group else 0
    for dataset in group.values():
        offset = dataset.id.get_offset() or 0
        last = _last_byte(dataset, rows) if dataset.chunks else offset + dataset.id.get_storage_size()
        if last > size:
            return f"rows of {dataset.name[1:]} are lost"
    return None


def _last_byte(dataset: h5py.Dataset, rows: int) -> int:
    last = 0

    def visit(chunk) -> None:
        nonlocal last
        if chunk.chunk_offset[0] < rows:
            last = max(last, chunk.byte_offset + chunk.size)

    dataset.id.chunk_iter(visit)
    return last


def text(value: object) -> str:
    """Return an attribute or a label as str.

    Args:
        value: str, bytes or anything else.

    Returns:
        Its text, with replacement marks for bytes that are no UTF-8.

    Example:
        >>> text(b"complete")
        'complete'
    """
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def first_line(error: BaseException) -> str:
    """Return what an error says in a line: HDF5's messages have many.

    Args:
        error: any.

    Returns:
        The first line of its message, its type's name where there is none.

    Example:
        >>> first_line(OSError("no room, or so"))
        'no room, or so'
    """
    return next(iter(str(error).splitlines()), type(error).__name__)
