"""A file made aside that takes another's place in one step, with what dead predecessors left cleared away."""

from __future__ import annotations

import glob
import os
import platform
import shutil
from contextlib import suppress

from dynamics.file.claim import take
from dynamics.file.lock import Holder, Lock

ASIDE = ("recovering", "repacking", "tmp")


class Replacement:
    """The right to replace a trajectory, or to make another file of it, until the end of a `with` block.

    Args:
        path: the trajectory.
        output: another file; None to replace the trajectory, whose lock is held then.
        purpose: in the name of the file that is made aside, one of `ASIDE`.
        overwrite: replace an existing output.

    Raises:
        FileExistsError: the output exists, or is the trajectory itself.
        FileNotFoundError: the output's directory does not exist.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp(), "run.h5")
        >>> _ = path.write_text("old")
        >>> with Replacement(str(path), None, "repacking") as replacement:
        ...     _ = Path(replacement.temporary).write_text("new")
        ...     replacement.commit()
        >>> path.read_text(), os.listdir(path.parent)
        ('new', ['run.h5'])
    """

    def __init__(self, path: str, output: str | os.PathLike | None, purpose: str, *, overwrite: bool = False):
        self.path, self.in_place = path, output is None
        self.place = os.path.realpath(path if output is None else os.fspath(output))
        self.temporary = f"{self.place}.{purpose}-{os.getpid()}"
        self._lock: Lock | None = None
        if output is None:
            return
        if os.path.exists(output) and self.place == os.path.realpath(path):
            raise FileExistsError(f"{output} is the trajectory itself: name another output, or none to replace it")
        if os.path.lexists(output) and (not overwrite or os.path.isdir(output)):
            raise FileExistsError(
                f"{output} exists; expected a new file: choose another name or pass overwrite=True (--overwrite)"
            )
        if not os.path.isdir(os.path.dirname(self.place)):
            raise FileNotFoundError(f"{os.path.dirname(self.place)} is no directory: create it first")

    def __enter__(self) -> Replacement:
        if self.in_place:
            self._lock = take(self.path)
        self._clear()
        return self

    def __exit__(self, kind, error, traceback) -> None:
        with suppress(OSError):
            os.remove(self.temporary)
        self._release()

    def commit(self) -> None:
        """Put the file that was made aside in its place; on the disk it is either there or not."""
        if os.path.exists(self.place):
            shutil.copymode(self.place, self.temporary)
        os.replace(self.temporary, self.place)
        # Elsewhere than on POSIX systems a directory cannot be opened, and need not be.
        with suppress(OSError):
            directory = os.open(os.path.dirname(self.place), os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def _clear(self) -> None:
        """Remove what processes that died in the middle of this left."""
        for kind in (*(f".{purpose}-" for purpose in ASIDE), ".lock."):
            lead = self.place + kind
            for path in glob.glob(glob.escape(lead) + "*"):
                pid = path.removeprefix(lead)
                if pid.isdecimal() and Holder(platform.node(), int(pid)).alive is False:
                    with suppress(OSError):
                        os.remove(path)
