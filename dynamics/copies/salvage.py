"""What of a trajectory can be read, copied and compared: the part of a recovery that a child process does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import h5py

from dynamics.copies.copy_check import departures
from dynamics.copies.copying import copy_open
from dynamics.copies.duplicate import committed
from dynamics.copies.readable import Readable, survey
from dynamics.file import superblock
from dynamics.file.opening import DAMAGED, TrajectoryError, check_format, first_line, open_file, text
from dynamics.format import LATE, STATUS, STATUSES, STOP_REASON

UNFOLDED_BYTES, UNFOLDED_RATIO = 1 << 30, 200
"""A copy may be this large, or this many times the file, before it is taken for a decompression bomb."""


def copy_readable(path: str, target: str, progress: Callable[[float], None]) -> dict[str, object]:
    """Copy what can be read of a trajectory into a new file and compare the two: the part that reads untrusted data.

    Args:
        path: the trajectory; nobody writes it.
        target: the new file.
        progress: told the share of the work that is done, at least every few MiB.

    Returns:
        `rows`, `lost`, `status`, `reason` and `needed` as `Recovery` has them, or `error`: why there is no copy.
    """
    try:
        with as_closed(path) as (file, closed):
            check_format(path, file)
            status, reason = _ending(file)
            found = survey(file, _from(0, progress)) if closed else None
            if found and status != "running" and not found.lost and not found.trailing:
                kept = {name: count for name, count in found.rows.items() if name != LATE}
                return {"rows": kept, "lost": [], "status": status, "reason": reason, "needed": False}
            if status == "running":
                status, reason = "interrupted", f"recovered: {_writer(file)} ended without closing it"
            copied, found = _copied(file, target, found, (status, reason), progress)
            with open_file(target) as (copy, _):
                wrong = list(
                    departures(file, copy, copied, found.leave_out, found.rows.get(LATE, 0), _from(2, progress))
                )
        if wrong:
            raise TrajectoryError(f"{path}: expected an exact copy, came another: {'; '.join(wrong[:3])}: try again")
    except (TrajectoryError, OSError) as error:
        with suppress(OSError):
            os.remove(target)
        return {"error": str(error)}
    rows = {name: count for name, count in copied.items() if name != LATE}
    return {"rows": rows, "lost": list(found.lost), "status": status, "reason": reason, "needed": True}


@contextmanager
def as_closed(path: str) -> Iterator[tuple[h5py.File, bool]]:
    """Open a file that nobody writes, whatever its writer left in its first bytes.

    Args:
        path: the file.

    Yields:
        The open file, and whether it had been closed at the length that it has.

    Raises:
        TrajectoryError: HDF5 cannot open it.
    """
    block = superblock.read(path)
    if block is None:
        with open_file(path) as (file, _):
            yield file, True
        return
    with superblock.AsClosed(path) as view:
        try:
            file = h5py.File(view, "r")
        except (OSError, RuntimeError) as error:
            raise TrajectoryError(
                f"{path}: expected a trajectory, came a file that HDF5 cannot open ({first_line(error)}): {DAMAGED}"
            ) from error
        with file:
            yield file, not _flags(path) and block.size >= block.end


def _flags(path: str) -> int:
    """Return what the superblock says of writers: 0 once the last one has closed the file."""
    with open(path, "rb") as file:
        return file.read(superblock.FLAGS + 1)[superblock.FLAGS]


def _copied(
    file: h5py.File, target: str, found: Readable | None, status: tuple[str, str], progress: Callable[[float], None]
) -> tuple[dict[str, int], Readable]:
    """Copy a file; what cannot be read of it is looked for only where it has not been, and where a copy fails."""
    most = max(UNFOLDED_BYTES, UNFOLDED_RATIO * file.id.get_filesize())
    if found is None:
        try:
            whole = Readable(committed(file), frozenset(), (), True)
            return copy_open(file, target, whole.rows, status=status, most=most, progress=_from(1, progress)), whole
        except MemoryError:
            raise
        except Exception as error:
            found = survey(file, _from(0, progress))
            if not found.lost:
                raise OSError(
                    f"{target}: cannot be written ({first_line(error)}): free space, or name another"
                ) from error
    copied = copy_open(
        file, target, found.rows, leave_out=found.leave_out, status=status, most=most, progress=_from(1, progress)
    )
    return copied, found


def _from(part: int, progress: Callable[[float], None]) -> Callable[[float], None]:
    """Tell the progress within one of three parts: reading, copying, comparing."""
    return lambda share: progress((part + share) / 3)


def _ending(file: h5py.File) -> tuple[str, str]:
    """Return status and stop reason; running and none where they cannot be read."""
    try:
        status, reason = (text(file[name][()]) for name in (STATUS, STOP_REASON))
    except Exception:
        return "running", ""
    return (status, reason) if status in STATUSES else ("running", "")


def _writer(file: h5py.File) -> str:
    pid, host = file.attrs.get("pid", ""), text(file.attrs.get("host", ""))
    return f"process {text(pid)} on {host}" if pid != "" and host else "its writer"
