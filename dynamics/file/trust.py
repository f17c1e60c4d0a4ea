"""Which files are looked at by a child process before this one opens them."""

from __future__ import annotations

import os

from dynamics.confined.confined import run
from dynamics.file import superblock
from dynamics.file.lock import holder
from dynamics.file.opening import TrajectoryError

SHOWN = 3
_checked: set[tuple] = set()


def ensure_sound(path: str, check: bool | None = None, complete: bool = True) -> None:
    """Refuse a file that cannot be read without harm.

    Args:
        path: the file.
        check: look at it in a child process, or not; None: where nobody has vouched for it. That is done by the writer
            that closed it, by one that is alive, and by this function, for as long as the file stays the same.
        complete: with None, whether the run ended as planned; what its file says of that.

    Raises:
        TrajectoryError: something was found; the message names it.

    Example:
        >>> ensure_sound("no_such_run.h5")
        Traceback (most recent call last):
        dynamics.file.opening.TrajectoryError: no_such_run.h5: expected a trajectory, came no file: check the path
    """
    if check is False or (check is None and ((complete and _closed(path)) or _vouched(path))):
        return
    mark = _mark(path)
    outcome = run("examine", path)
    found = [outcome.death] if outcome.death else list(outcome.value)
    if found:
        more = f"; and {len(found) - SHOWN} more: pinnscope validate names them" if len(found) > SHOWN else ""
        text = "; ".join(found[:SHOWN]) + more
        raise TrajectoryError(text if text.startswith(path) else f"{path}: {text}")
    if mark is not None:
        _checked.add(mark)


def _closed(path: str) -> bool:
    """Whether the writer has closed the file, and it is as long as it was then."""
    try:
        block = superblock.read(path) if os.path.isfile(path) else None
    except OSError:
        return False
    return block is not None and not block.swmr and block.end == block.size


def _vouched(path: str) -> bool:
    found = holder(path)
    return _mark(path) in _checked or (found is not None and found.alive is True)


def _mark(path: str) -> tuple | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size
