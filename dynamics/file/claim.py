"""A place for a new trajectory: checked and taken before anything is computed."""

from __future__ import annotations

import os

from dynamics.file.lock import Lock, LockedError, holder


class RecorderError(OSError):
    """The file could not be written on; the message says which rows are safe."""


def claim(path: str, overwrite: bool) -> tuple[Lock, bool]:
    """Make sure of a path before the run starts: a new file is created empty, an old one stays as it is for now.

    Args:
        path: of the file to be.
        overwrite: whether a file there may be replaced.

    Returns:
        The lock that keeps other writers away, and whether an existing file will be replaced.

    Raises:
        FileExistsError: the path exists and may not be replaced, or is a directory.
        FileNotFoundError: its directory does not exist.
        PermissionError: the directory or file cannot be written.
        LockedError: another process writes it.
    """
    directory = os.path.dirname(path) or "."
    if not os.path.isdir(directory):
        raise FileNotFoundError(f"{directory} does not exist; expected a directory for {path}: create it first")
    if os.path.isdir(path):
        raise FileExistsError(f"{path} is a directory; expected a new file: choose another name")
    exists = os.path.lexists(path)
    if exists and not overwrite:
        raise FileExistsError(
            f"{path} exists; expected a new file: choose another name or pass overwrite=True (--overwrite)"
            f"{_writer(path)}"
        )
    if not os.access(directory, os.W_OK | os.X_OK) or (exists and not os.access(path, os.W_OK)):
        raise PermissionError(f"{path} cannot be written; expected write permission: choose another place")
    lock = take(path)
    try:
        if not exists:
            _create(path)
    except BaseException:
        lock.release()
        raise
    return lock, exists


def take(path: str) -> Lock:
    """Return the lock of a trajectory.

    Args:
        path: the trajectory.

    Returns:
        The lock, taken.

    Raises:
        PermissionError: nothing may be created beside it.
        RecorderError: nothing can be created beside it.
    """
    try:
        return Lock(path)
    except LockedError:
        raise
    except PermissionError as error:
        raise PermissionError(
            f"{path} cannot be written ({error.strerror} in its directory): permit that, or choose another place"
        ) from error
    except OSError as error:
        raise RecorderError(f"{path} cannot be created ({error.strerror}): choose another place") from error


def _writer(path: str) -> str:
    found = holder(path)
    return f"; {found} is writing it" if found is not None and found.alive else ""


def _create(path: str) -> None:
    try:
        open(path, "xb").close()
    except PermissionError as error:
        raise PermissionError(f"{path} cannot be written ({error.strerror}): choose another place") from error
    except OSError as error:
        raise RecorderError(f"{path} cannot be created ({error.strerror}): choose another place") from error
