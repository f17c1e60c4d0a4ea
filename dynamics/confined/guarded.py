"""Opening an untrusted file: nothing that is no regular file, nothing that HDF5 would wait for, and errors as findings.

Everything here runs in the child process of `dynamics.confined.confined`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from time import sleep

import h5py

from dynamics.confined.worker import SILENT, Report
from dynamics.file import superblock
from dynamics.file.opening import DAMAGED, TrajectoryError, first_line, open_file, state_of

FINDINGS, LINE = 100, 1000
TRIES, PAUSE = 8, 0.1


def reading(path: str, read: Callable[[h5py.File, str], list[str]], report: Report = SILENT) -> list[str]:
    """Open an untrusted file and list what is found in it.

    What is found in a file that is being written may be a write that was seen half: then it is read again.

    Args:
        path: any path.
        read: lists findings of an open file and its state, "closed", "live" or "left".
        report: told of what is looked at.

    Returns:
        The findings, those of opening and reading it included; printable.
    """
    for trial in range(TRIES):
        try:
            report.at("its superblock")
            with opened(path) as (file, state):
                found = read(file, state)
        except MemoryError:
            raise
        except TrajectoryError as error:
            found = [str(error)]
        except Exception as error:  # On damaged metadata HDF5 and h5py raise anything.
            where = f" at {report.last}" if report.last else ""
            found = [f"{path}: cannot be read on{where}: {type(error).__name__}: {first_line(error)}: {DAMAGED}"]
        if not found or trial == TRIES - 1 or not _is_live(path):
            break
        sleep(PAUSE)
    more = [f"{path}: expected no findings, came {len(found) - FINDINGS} more"] if len(found) > FINDINGS else []
    return [printable(line[:LINE]) for line in (*found[:FINDINGS], *more)]


@contextmanager
def opened(path: str) -> Iterator[tuple[h5py.File, str]]:
    """Open an untrusted file, never in SWMR mode: there, HDF5 waits without end for a wrong checksum to come right.

    Args:
        path: any path.

    Yields:
        The open file, and its state: "closed", "live" or "left".

    Raises:
        TrajectoryError: it cannot be opened, is no regular file, or does not begin as HDF5.
    """
    if refusal := irregular(path):
        raise TrajectoryError(refusal)
    with ExitStack() as opened:
        block = _superblock(path)
        if block is not None and block.swmr:
            state = "live" if _is_live(path) else "left"
            view = opened.enter_context(superblock.AsClosed(path, growing=state == "live"))
            file = opened.enter_context(_view(path, view))
        else:
            file, state = opened.enter_context(open_file(path))
        if block is not None and block.end > block.size and state == "closed":
            raise TrajectoryError(f"{path}: expected {block.end} bytes, came {block.size}: {DAMAGED}")
        check_start(path, file)
        yield file, state


def check_start(path: str, file: h5py.File) -> None:
    """Refuse a file that begins with something else, which what is made of it would lose.

    Args:
        path: for the message.
        file: open.

    Raises:
        TrajectoryError: it has a user block.
    """
    if file.userblock_size:
        raise TrajectoryError(
            f"{path}: expected an HDF5 file from its first byte on, came a user block of {file.userblock_size} "
            "bytes before it: cut it off (h5unjam) where you trust it"
        )


def irregular(path: str) -> str:
    """Say why a path is not to be opened: something other than a file may wait without end, or act.

    Args:
        path: any path; links are followed.

    Returns:
        The refusal, "" for a regular file, a directory (which cannot be opened anyway) and no file at all.

    Example:
        >>> irregular("/dev/null")
        '/dev/null: expected a trajectory, came a device: name a file'
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return ""
    kinds = {stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket", stat.S_ISCHR: "a device", stat.S_ISBLK: "a device"}
    what = next((name for test, name in kinds.items() if test(mode)), "")
    return f"{path}: expected a trajectory, came {what}: name a file" if what else ""


def printable(line: str) -> str:
    r"""Return a line without anything that a terminal would obey.

    Args:
        line: may hold names from a file.

    Returns:
        The line, unprintable characters written as Python writes them.

    Example:
        >>> printable("red: \x1b[31m")
        'red: \\x1b[31m'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def _superblock(path: str) -> superblock.Superblock | None:
    return superblock.read(path) if os.path.isfile(path) and os.access(path, os.R_OK) else None


def _is_live(path: str) -> bool:
    return _superblock(path) is not None and state_of(path) == "live"


def _view(path: str, view: superblock.AsClosed) -> h5py.File:
    try:
        return h5py.File(view, "r")
    except (OSError, RuntimeError) as error:
        raise TrajectoryError(
            f"{path}: expected a trajectory, came a file that HDF5 cannot open ({first_line(error)}): {DAMAGED}"
        ) from error
