"""The process that reads untrusted files: it answers requests, each in a fork with limits on memory and time."""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Callable
from importlib import import_module

from dynamics.file.opening import first_line

RESULT_BYTES = 1 << 23
IDLE_SECONDS = 30.0
MAPPED = 45_000_000
"""Bytes of the interpreter and its libraries that are resident without being counted as data, with room to spare."""
FORKS = sys.platform == "linux"
"""Elsewhere a process that has loaded numpy is not safe to fork: there, each request has a process of its own."""


class Report:
    """What a task says while it works; each line goes to the process that asked.

    Args:
        output: descriptor of a pipe, None to keep silent.
    """

    def __init__(self, output: int | None = None):
        self.output, self.last = output, ""

    def __call__(self, fraction: float) -> None:
        """Tell of progress: the time limit starts anew.

        Args:
            fraction: of the work, 0 to 1.
        """
        self._tell(b"P", float(fraction))

    def at(self, what: str) -> None:
        """Tell what is about to be read, should it be the last thing that is.

        Args:
            what: a name.
        """
        self.last = what[:200]
        self._tell(b"A", self.last)

    def _tell(self, kind: bytes, value: object) -> None:
        if self.output is not None:
            _write(self.output, kind + json.dumps(value).encode() + b"\n")


SILENT = Report()


def serve() -> None:
    """Answer requests from standard input, until it ends or nobody asks for a while."""
    output = os.dup(1)
    silence = os.open(os.devnull, os.O_WRONLY)
    # What HDF5 or the C library print in their agony is nobody's result.
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    while not FORKS or select.select([0], [], [], IDLE_SECONDS)[0]:
        line = sys.stdin.buffer.readline()
        if not line:
            return
        request = json.loads(line)
        module, _, name = request["function"].partition(":")
        # Imported before the limits hold, and once for all requests.
        function = getattr(import_module(module), name)
        if request["alone"]:
            _work(function, request, output)
            return
        _fork(function, request, output)


def _fork(function: Callable, request: dict, output: int) -> None:
    """Run a request in a fork, and tell how that ended; when whoever asked is gone, so is the fork."""
    ended, alive = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(ended)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        _work(function, request, output)
        os._exit(0)
    os.close(alive)
    if 0 in select.select([ended, 0], [], [])[0]:
        os.kill(pid, 9)
    os.close(ended)
    _, status, usage = os.wait4(pid, 0)
    _write(output, b"E" + json.dumps([status, usage.ru_maxrss * 1024]).encode() + b"\n")


def _work(function: Callable, request: dict, output: int) -> None:
    _write(output, b"S%d\n" % os.getpid())
    try:
        _limit(request)
        os.chdir(request["folder"])
        answer = {"value": function(request["path"], *request["arguments"], Report(output))}
        text = json.dumps(answer)
    except MemoryError:
        text = json.dumps({"memory": True})
    except BaseException as error:
        text = json.dumps({"error": f"{type(error).__name__}: {first_line(error)[:500]}"})
    if len(text) > RESULT_BYTES:
        text = json.dumps({"error": f"its contents take {len(text)} bytes to tell; expected at most {RESULT_BYTES}"})
    _write(output, b"R" + text.encode() + b"\n")


def _limit(request: dict) -> None:
    try:
        import resource
    except ImportError:  # Windows: there, the time limit of whoever asked has to do.
        return
    # Address space would count what libraries map and never touch; data is what can become resident.
    limits = {"RLIMIT_DATA": request["memory"] - MAPPED, "RLIMIT_CORE": 0}
    if request["cpu"] is not None:
        limits["RLIMIT_CPU"] = request["cpu"]
    if not request["writes"]:
        limits["RLIMIT_FSIZE"] = 0
    for name, value in limits.items():
        hard = resource.getrlimit(getattr(resource, name))[1]
        most = value + (name == "RLIMIT_CPU")  # A second between the signal that says why, and the one that kills.
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(getattr(resource, name), (min(value, most), most))


def _write(output: int, data: bytes) -> None:
    while data:
        data = data[os.write(output, data) :]
