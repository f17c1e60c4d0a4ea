"""The directory of a segmented trajectory: closed files that are renamed into place one after the other."""

from __future__ import annotations

import os
import re
from contextlib import suppress

from dynamics.file.aside import sync_directory
from dynamics.file.claim import RecorderError, take
from dynamics.file.lock import Lock

SUFFIX = ".segments"
NAME = re.compile(r"segment-(\d{6,})\.h5")
ASIDE = re.compile(r"segment-\d{6,}\.h5\.tmp-\d+")


def segment_path(directory: str, number: int) -> str:
    """Return the path of a segment.

    Args:
        directory: of the trajectory.
        number: from 1 on.

    Returns:
        The path.

    Example:
        >>> segment_path("run.segments", 12)
        'run.segments/segment-000012.h5'
    """
    return os.path.join(directory, f"segment-{number:06}.h5")


def segment_numbers(directory: str) -> list[int]:
    """Return the numbers of the segments that are there, whatever else the directory holds.

    Args:
        directory: of the trajectory.

    Returns:
        The numbers, increasing.
    """
    found = (NAME.fullmatch(name) for name in os.listdir(directory))
    return sorted(int(match[1]) for match in found if match and match[0] == f"segment-{int(match[1]):06}.h5")


def segmented_size(path: str | os.PathLike) -> int:
    """Return the bytes that a trajectory takes.

    Args:
        path: a file, or the directory of a segmented one.

    Returns:
        Its size, that of all segments.
    """
    path = os.fspath(path)
    paths = [segment_path(path, number) for number in segment_numbers(path)] if os.path.isdir(path) else [path]
    return sum(os.path.getsize(one) for one in paths)


def check_directory(path: str, overwrite: bool) -> bool:
    """Refuse a path where no segmented trajectory can begin.

    Args:
        path: of the directory to be; an empty one that is there will do.
        overwrite: whether one that holds segments may be replaced.

    Returns:
        Whether the directory is there.

    Raises:
        FileExistsError: the path holds segments and may not be replaced, or it holds, or is, something else.
        FileNotFoundError: the directory it would lie in does not exist.
        PermissionError: it cannot be written.
    """
    parent = os.path.dirname(path) or "."
    if not os.path.isdir(parent):
        raise FileNotFoundError(f"{parent} does not exist; expected a directory for {path}: create it first")
    exists = os.path.lexists(path)
    if exists:
        _check(path, overwrite)
    if not os.access(parent, os.W_OK | os.X_OK) or (exists and not os.access(path, os.W_OK | os.X_OK)):
        raise PermissionError(f"{path} cannot be written; expected write permission: choose another place")
    return exists


def claim_directory(path: str, overwrite: bool) -> tuple[Lock, bool, bool]:
    """Make sure of a directory before the run starts: a new one is created, an old one stays as it is for now.

    Args:
        path: of the directory to be; an empty one that is there will do.
        overwrite: whether one that holds segments may be replaced.

    Returns:
        The lock that keeps other writers away, whether segments will be replaced, and whether the directory is new.
    """
    exists = check_directory(path, overwrite)
    lock = take(path)
    try:
        if not exists:
            os.mkdir(path)
        return lock, exists and bool(os.listdir(path)), not exists
    except BaseException:
        lock.release()
        raise


def put(directory: str, number: int, image: bytes) -> None:
    """Write a segment aside, wait until it is on the disk, and rename it into place.

    Args:
        directory: of the trajectory.
        number: of the segment.
        image: the bytes of the file.

    Raises:
        RecorderError: a segment of this number is there.
    """
    target = segment_path(directory, number)
    if os.path.lexists(target):
        raise RecorderError(f"{target} is there already: another process writes this trajectory")
    aside = f"{target}.tmp-{os.getpid()}"
    try:
        with open(aside, "wb") as file:
            file.write(image)
            file.flush()
            os.fsync(file.fileno())
        _rename(aside, target)
    except BaseException:
        with suppress(OSError):
            os.remove(aside)
        raise
    sync_directory(directory)


def replace(old: str, new: str) -> None:
    """Put a new directory in the place of an old one, whose segments are then removed.

    For an instant between two renames there is none; should the process die there, both lie beside it.

    Args:
        old: path of the directory that is replaced.
        new: path of the one that takes its place.
    """
    gone = f"{old}.old-{os.getpid()}"
    os.rename(old, gone)
    try:
        os.rename(new, old)
    except BaseException:
        os.rename(gone, old)
        raise
    sync_directory(os.path.dirname(old) or ".")
    with suppress(OSError):
        remove(gone)


def remove(directory: str) -> None:
    """Remove a directory and the segments in it; it stays where it holds anything else.

    Args:
        directory: to be removed.
    """
    remove_after(directory, 0)
    os.rmdir(directory)


def remove_after(directory: str, number: int) -> None:
    """Remove the segments after one of them, the last one first, and what dead writers have left half-written.

    Args:
        directory: of the trajectory.
        number: of the last segment that is kept.
    """
    for later in reversed(segment_numbers(directory)):
        if later > number:
            os.remove(segment_path(directory, later))
    for name in os.listdir(directory):
        if ASIDE.fullmatch(name):
            os.remove(os.path.join(directory, name))
    sync_directory(directory)


def _rename(aside: str, target: str) -> None:
    try:
        os.rename(aside, target)
    except FileNotFoundError:
        # A network file system that asks again after a lost answer reports its own success as a missing file.
        if not os.path.exists(target):
            raise


def _check(path: str, overwrite: bool) -> None:
    """Refuse a path that must not become the directory of a new trajectory."""
    if not os.path.isdir(path) or os.path.islink(path):
        raise FileExistsError(f"{path} is there; expected a new directory for the segments: choose another name")
    names = os.listdir(path)
    other = [name for name in names if not NAME.fullmatch(name) and not ASIDE.fullmatch(name)]
    if other:
        raise FileExistsError(
            f"{path} holds {other[0]}; expected a new directory, or one of segments alone: choose another name"
        )
    if names and not overwrite:
        raise FileExistsError(
            f"{path} exists; expected a new directory: choose another name or pass overwrite=True (--overwrite)"
        )
