"""One writer a trajectory: a lock file beside it that names who writes, and tells a living writer from a dead one."""

from __future__ import annotations

import json
import os
import platform
from contextlib import suppress
from dataclasses import asdict, dataclass

SUFFIX = ".lock"


class LockedError(OSError):
    """Another process writes this trajectory; the message names it."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Args:
        host: name of its machine.
        pid: of its process there.
        started: when that process started, in a unit of its own; "" where the system does not tell. Process numbers
            are used again, pairs of number and start are not.
    """

    host: str
    pid: int
    started: str = ""

    @classmethod
    def here(cls) -> Holder:
        """Return this process.

        Returns:
            The holder that a lock taken now would name.
        """
        return cls(platform.node(), os.getpid(), _started(os.getpid()))

    @property
    def alive(self) -> bool | None:
        """Whether the process still runs; None for one on another machine, of which nothing is known here.

        One that was killed and that its parent has not asked for yet, a zombie, writes nothing any more.
        """
        if self.host != platform.node():
            return None
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return not self.started or _started(self.pid) == self.started

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class Lock:
    """The right to write a trajectory, until `release`.

    A lock left by a process that is dead is taken over; two processes that both find it dead cannot both get it.

    Args:
        path: the trajectory, which need not exist.

    Raises:
        LockedError: a living process holds it, or one on another machine.

    Example:
        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "run.h5")
        >>> lock = Lock(path)
        >>> holder(path).pid == os.getpid(), holder(path).alive
        (True, True)
        >>> lock.release()
        >>> holder(path) is None
        True
    """

    def __init__(self, path: str):
        self.path = lock_path(path)
        self.owner = Holder.here()
        for _ in range(3):
            if self._take():
                return
            found = holder(path)
            if found is None:
                continue
            if found.alive is not False:
                raise LockedError(_refusal(path, found, self.path))
            self._clear(found)
        raise LockedError(
            f"{self.path}: expected to take this lock, cannot: others keep taking it (try again), or it is no "
            "lock of ours (remove it if nobody writes the trajectory)"
        )

    def release(self) -> None:
        """Give the right back; a lock that is another's by now stays, and a forked process has none to give."""
        if self.owner.pid == os.getpid() and _read(self.path) == self.owner:
            with suppress(OSError):
                os.remove(self.path)

    def _take(self) -> bool:
        # Written aside and linked into place: whoever sees the lock sees all of it.
        aside = f"{self.path}.{os.getpid()}"
        with open(aside, "w", encoding="utf-8") as file:
            json.dump(asdict(self.owner), file)
        try:
            os.link(aside, self.path)
        except FileExistsError:
            return False
        except OSError:
            return self._create()
        finally:
            os.remove(aside)
        return True

    def _create(self) -> bool:
        """Take the lock where the file system has no hard links."""
        try:
            with open(self.path, "x", encoding="utf-8") as file:
                json.dump(asdict(self.owner), file)
        except FileExistsError:
            return False
        return True

    def _clear(self, dead: Holder) -> None:
        # Renamed before it is looked at again: of two that found the same dead lock, one moves it.
        aside = f"{self.path}.{os.getpid()}"
        with suppress(FileNotFoundError):
            os.rename(self.path, aside)
            if _read(aside) != dead:
                with suppress(FileExistsError):
                    os.link(aside, self.path)
            os.remove(aside)


def holder(path: str) -> Holder | None:
    """Return who holds the lock of a trajectory.

    Args:
        path: the trajectory.

    Returns:
        The holder, alive or dead; None where there is no lock, or none that can be read.
    """
    return _read(lock_path(path))


def lock_path(path: str) -> str:
    """Return where the lock of a trajectory lies; two names of one file have one lock.

    Args:
        path: the trajectory.

    Returns:
        The path of its lock file.

    Example:
        >>> os.path.basename(lock_path("run.h5"))
        'run.h5.lock'
    """
    return os.path.realpath(path).rstrip(os.sep) + SUFFIX


def _refusal(path: str, found: Holder, lock: str) -> str:
    if found == Holder.here():
        return (
            f"{path} is being written by another recorder of this process: close that one first, or restart "
            "the session if no name holds it any more"
        )
    elsewhere = "" if found.alive else f"; if it is dead, remove {lock}"
    return f"{path} is being written by {found}: wait for it, end it, or choose another name{elsewhere}"


def _read(path: str) -> Holder | None:
    try:
        with open(path, encoding="utf-8") as file:
            entry = json.loads(file.read(4096))
        return Holder(str(entry["host"]), int(entry["pid"]), str(entry.get("started", "")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _started(pid: int) -> str:
    """Return the start time of a process as Linux tells it, in clock ticks since boot; "" of a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name stands in brackets and may hold brackets and spaces itself; field 3 of the whole line follows.
            fields = file.read().rpartition(b")")[2].split()
        return "" if fields[0] in (b"Z", b"X") else fields[19].decode()
    except (OSError, IndexError):
        return ""
