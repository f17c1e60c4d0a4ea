"""The next state of a file, made aside and put in its place in one step."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress


def aside(path: str) -> str:
    """Return where the next state of a file is made.

    Args:
        path: of the file; of a link, the file that it names counts.

    Returns:
        A path in the same directory, so that one renaming puts it in place.

    Example:
        >>> os.path.basename(aside("run.h5")) == f"run.h5.tmp-{os.getpid()}"
        True
    """
    return f"{os.path.realpath(path)}.tmp-{os.getpid()}"


def put_in_place(made: str, path: str) -> None:
    """Let a file take the place, and the permissions, of another.

    Args:
        made: path of the file.
        path: that it gets; of a link, the file that it names is replaced.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp(), "run.h5")
        >>> _ = path.write_text("before"), Path(aside(path)).write_text("after")
        >>> put_in_place(aside(path), path)
        >>> path.read_text(), os.listdir(path.parent)
        ('after', ['run.h5'])
    """
    place = os.path.realpath(path)
    # There may be no file yet, and not every file system has permissions.
    with suppress(OSError):
        shutil.copymode(place, made)
    os.replace(made, place)
    sync_directory(os.path.dirname(place))


def sync_directory(directory: str) -> None:
    """Wait until the names in a directory are on the disk, where the system can do that.

    Args:
        directory: any.
    """
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
