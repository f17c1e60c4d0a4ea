"""What of a trajectory can be read, copied and compared: the part of a recovery that a child process does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import h5py

from dynamics.confined.guarded import FINDINGS, LINE, check_start, printable
from dynamics.copies.admitted import Admitted, admit
from dynamics.copies.copy_check import departures
from dynamics.copies.copying import copy_open
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
        return _salvaged(path, target, progress)
    except Exception as error:  # Of a damaged file, whatever HDF5 and h5py raise.
        with suppress(OSError):
            os.remove(target)
        if isinstance(error, MemoryError):
            raise
        return {"error": _named(path, target, error)}


def _salvaged(path: str, target: str, progress: Callable[[float], None]) -> dict[str, object]:
    with as_closed(path) as (file, closed):
        check_format(path, file)
        admitted = admit(file, path, progress)
        status, reason = _ending(file, admitted)
        found = survey(file, admitted, _from(0, progress)) if closed else None
        if found and status != "running" and not found.lost and not found.trailing:
            return _answer(found.rows, found, status, reason, False)
        if status == "running":
            status, reason = "interrupted", f"recovered: {_writer(file)} ended without closing it"
        copied, found = _copied(file, path, target, admitted, found, (status, reason), progress)
        with open_file(target) as (copy, _):
            wrong = list(departures(file, copy, copied, found.leave_out, found.rows.get(LATE, 0), _from(2, progress)))
    if wrong:
        raise TrajectoryError(f"{path}: expected an exact copy, came another: {'; '.join(wrong[:3])}: try again")
    return _answer(copied, found, status, reason, True)


def _answer(rows: dict[str, int], found: Readable, status: str, reason: str, needed: bool) -> dict[str, object]:
    lost = [printable(line[:LINE]) for line in found.lost[:FINDINGS]]
    if len(found.lost) > FINDINGS:
        lost.append(f"/: {len(found.lost) - FINDINGS} further losses, not named here")
    kept = {name: count for name, count in rows.items() if name != LATE}
    return {"rows": kept, "lost": lost, "status": status, "reason": printable(reason), "needed": needed}


def _named(path: str, target: str, error: Exception) -> str:
    """Return what an error says, with the path of the file that it is about."""
    if isinstance(error, OSError) and error.filename == target:
        return f"{path}: its copy {target}: {error.strerror}"
    line = str(error) if isinstance(error, TrajectoryError) else f"cannot be read ({first_line(error)}): {DAMAGED}"
    return printable((line if path in line else f"{path}: {line}")[:LINE])


@contextmanager
def as_closed(path: str) -> Iterator[tuple[h5py.File, bool]]:
    """Open a file that nobody writes, whatever its writer left in its first bytes.

    Args:
        path: the file.

    Yields:
        The open file, and whether it had been closed at the length that it has.

    Raises:
        TrajectoryError: HDF5 cannot open it, or it begins with something else.
    """
    block = superblock.read(path)
    if block is None:
        with open_file(path) as (file, _):
            check_start(path, file)
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
    file: h5py.File,
    path: str,
    target: str,
    admitted: Admitted,
    found: Readable | None,
    status: tuple[str, str],
    progress: Callable[[float], None],
) -> tuple[dict[str, int], Readable]:
    """Copy a file; what cannot be read of it is looked for only where it has not been, and where a copy fails."""
    most = max(UNFOLDED_BYTES, UNFOLDED_RATIO * file.id.get_filesize())

    def copy(found: Readable) -> tuple[dict[str, int], Readable]:
        tell, left_out = _from(1, progress), found.leave_out
        rows = copy_open(file, target, found.rows, leave_out=left_out, status=status, most=most, progress=tell)
        return rows, found

    if found is not None:
        return copy(found)
    try:
        return copy(Readable(admitted.rows, admitted.leave_out, admitted.lost, True))
    except Exception as error:
        if isinstance(error, MemoryError) or getattr(error, "filename", None) == target:
            raise
        found = survey(file, admitted, _from(0, progress))
        if found.lost == admitted.lost:
            raise TrajectoryError(f"{path}: cannot be copied ({first_line(error)}): {DAMAGED}") from error
    return copy(found)


def _from(part: int, progress: Callable[[float], None]) -> Callable[[float], None]:
    """Tell the progress within one of three parts: reading, copying, comparing."""
    return lambda share: progress((part + share) / 3)


def _ending(file: h5py.File, admitted: Admitted) -> tuple[str, str]:
    """Return status and stop reason; running and none where they cannot be read."""
    if admitted.leave_out.intersection({f"/{STATUS}", f"/{STOP_REASON}"}):
        return "running", ""
    try:
        status, reason = (text(file[name][()]) for name in (STATUS, STOP_REASON))
    except Exception:
        return "running", ""
    return (status, reason) if status in STATUSES else ("running", "")


def _writer(file: h5py.File) -> str:
    try:
        pid, host = (text(file.attrs.get(name, "")) for name in ("pid", "host"))
    except Exception:
        return "its writer"
    return f"process {pid} on {host}" if pid and host else "its writer"
