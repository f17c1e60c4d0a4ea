"""A child process that works for this one: started, asked, listened to with a deadline, and ended with this one."""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
from contextlib import suppress
from time import monotonic

import h5py
import numpy as np

import dynamics

START_SECONDS = 60.0
LINE_BYTES = (1 << 23) + 4096
BOOT = "import sys; sys.path += sys.argv[1:]; from dynamics.confined.worker import serve; serve()"


class Ended(Exception):
    """The child said nothing more: it ended, or the deadline passed."""


class Keeper:
    """A child process in which `dynamics.confined.worker` answers.

    It sees the interpreter's own library and the folders of numpy, h5py and this package, nothing of the environment's
    paths and no plugin of HDF5.
    """

    def __init__(self):
        folders = {os.path.dirname(os.path.dirname(os.path.abspath(file))): None for file in _packages()}
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", BOOT, *folders],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(),
            start_new_session=os.name == "posix",
        )
        self._buffer = b""

    def ask(self, request: dict) -> None:
        """Send a request.

        Args:
            request: for `dynamics.confined.worker`.

        Raises:
            Ended: nobody is there to take it.
        """
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except OSError as error:
            raise Ended from error

    def line(self, deadline: float) -> bytes:
        """Wait for the next line of the answer.

        Args:
            deadline: on the clock of `time.monotonic`.

        Returns:
            The line, without its end.

        Raises:
            Ended: no line will come any more.
            TimeoutError: none came in time.
        """
        while b"\n" not in self._buffer:
            if not select.select([self.process.stdout], [], [], max(0.0, deadline - monotonic()))[0]:
                raise TimeoutError
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            if not data or len(self._buffer) > LINE_BYTES:
                raise Ended
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def close(self, kill: bool = True) -> int:
        """End the child.

        Args:
            kill: at once; else when it has seen that nobody asks any more.

        Returns:
            Its exit code.
        """
        if kill:
            self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):
                pipe.close()
        return self.process.wait()


_idle: dict[int, list[Keeper]] = {}


def take() -> Keeper:
    """Return a child that waits for requests, a new one where none does.

    Returns:
        The child; nobody else asks it until `give_back`.
    """
    # By process: what a fork of this process inherits is the original's.
    waiting = _idle.setdefault(os.getpid(), [])
    return waiting.pop() if waiting else Keeper()


def give_back(keeper: Keeper) -> None:
    """Keep a child that has answered for the next request.

    Args:
        keeper: from `take`.
    """
    _idle.setdefault(os.getpid(), []).append(keeper)


@atexit.register
def _close_all() -> None:
    for keeper in _idle.pop(os.getpid(), []):
        keeper.close()


def environment() -> dict[str, str]:
    """Return the environment of a process that reads untrusted files.

    Returns:
        This one's, without the variables by which HDF5 finds plugins and files, one thread for all libraries.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HDF5_")}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    locking = os.environ.get("HDF5_USE_FILE_LOCKING", "BEST_EFFORT")
    return kept | threads | {"HDF5_PLUGIN_PRELOAD": "::", "HDF5_USE_FILE_LOCKING": locking}


def _packages() -> tuple[str, str, str]:
    return dynamics.__file__, np.__file__, h5py.__file__
