"""Reading untrusted files in a child process with limits: what kills the child is a finding, not our end."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from types import MappingProxyType

from dynamics.confined.extent import on_disk
from dynamics.confined.guarded import irregular
from dynamics.confined.keeper import START_SECONDS, Ended, Keeper, give_back, take
from dynamics.confined.worker import FORKS
from dynamics.file.opening import DAMAGED

MEMORY, SECONDS = 500_000_000, 5.0
BYTES_PER_SECOND = 100e6
"""A healthy file takes longer the larger it is: this much of it is allowed for each second more."""


@dataclass(frozen=True)
class Task:
    """Something that is done with an untrusted file.

    Args:
        function: of ours, as module:name; called with the path, the arguments and a `dynamics.confined.worker.Report`.
        writes: whether it writes files.
        endless: whether any time will do as long as there is progress.
    """

    function: str
    writes: bool = False
    endless: bool = False


TASKS = MappingProxyType(
    {
        "examine": Task("dynamics.confined.structure:examine"),
        "validate": Task("dynamics.validation:departures"),
        "summarise": Task("dynamics.file.summary:summarise"),
        "recover": Task("dynamics.copies.recovery:copy_readable", writes=True, endless=True),
    }
)
"""What can be asked for; no name ever comes from a file."""


@dataclass(frozen=True)
class Outcome:
    """How a task ended.

    Args:
        value: what it returned, as JSON has it; None where it died.
        death: what ended it instead, in a line that names the file; "" where nothing did.
        memory: largest resident memory of the child in bytes, 0 where the system does not tell.
        seconds: wall time of the reading, without the start of the child.
    """

    value: object = None
    death: str = ""
    memory: int = 0
    seconds: float = 0.0


def run(
    task: str,
    path: str | os.PathLike,
    *,
    arguments: Sequence[str] = (),
    memory: int = MEMORY,
    seconds: float = SECONDS,
    progress: Callable[[float], None] | None = None,
) -> Outcome:
    """Do something with an untrusted file in a child process.

    The child waits a while for further requests and forks for each (Linux), so that only the first of many costs its
    start. Memory is limited where the system has `resource`, time everywhere.

    Args:
        task: one of `TASKS`.
        path: the file; opened by the child alone, and not at all unless it is a regular file.
        arguments: of the task.
        memory: limit in bytes.
        seconds: longest time without progress; tasks that are not endless also end after that and 1 s per 100 MB.
        progress: called with the fraction that is done.

    Returns:
        The outcome.

    Raises:
        RuntimeError: no child process can be started.

    Example:
        >>> run("examine", "no_such_run.h5").value
        ['no_such_run.h5: expected a trajectory, came no file: check the path']
    """
    work, path = TASKS[task], os.fspath(path)
    if refusal := irregular(path):
        return Outcome(death=refusal)
    total = math.inf if work.endless else seconds + on_disk(path) / BYTES_PER_SECOND
    request = {
        "function": work.function,
        "path": path,
        "arguments": list(arguments),
        "folder": os.getcwd(),
        "memory": memory,
        "cpu": None if work.endless else math.ceil(total) + 1,
        "writes": work.writes,
        "alone": not FORKS,
    }
    exchange = _Exchange(path, memory, seconds, total, progress or (lambda fraction: None))
    return exchange.listen(request) if os.name == "posix" else exchange.once(request)


class _Exchange:
    """One request and what came of it."""

    def __init__(self, path: str, memory: int, seconds: float, total: float, progress: Callable[[float], None]):
        self.path, self.memory, self.seconds, self.total, self.progress = path, memory, seconds, total, progress
        self.at, self.answer, self.late = "", None, False

    def listen(self, request: dict) -> Outcome:
        keeper, pid = self._begin(request)
        start, peak, status = monotonic(), 0, None
        end = start + self.total
        deadline = min(end, start + self.seconds)
        try:
            while status is None:
                line = keeper.line(deadline)
                if line[:1] == b"E":
                    status, peak = json.loads(line[1:])
                elif self._hear(line):
                    deadline = min(end, monotonic() + self.seconds)
        except TimeoutError:
            self.late = True
            os.kill(pid, signal.SIGKILL)
            if pid != keeper.process.pid:
                status, peak = _last(keeper)
        except Ended:
            pass
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            keeper.close()
            raise
        took = monotonic() - start
        if status is None:
            # Where nothing forks, the child has answered its one request and ended.
            code = keeper.close(kill=False)
            status = -code if code < 0 else code << 8
        else:
            give_back(keeper)
        return self._outcome(os.waitstatus_to_exitcode(status), peak, took)

    def once(self, request: dict) -> Outcome:
        keeper, start = Keeper(), monotonic()
        try:
            output, _ = keeper.process.communicate(json.dumps(request).encode() + b"\n", self.total + START_SECONDS)
        except subprocess.TimeoutExpired:
            self.late = True
            keeper.process.kill()
            output, _ = keeper.process.communicate()
        for line in output.splitlines():
            self._hear(line)
        return self._outcome(keeper.process.returncode, 0, monotonic() - start)

    def _begin(self, request: dict) -> tuple[Keeper, int]:
        """Find a child that takes the request; one that waited may just have ended for want of any."""
        for _ in range(3):
            keeper = take()
            try:
                keeper.ask(request)
                return keeper, int(keeper.line(monotonic() + START_SECONDS)[1:])
            except (Ended, TimeoutError):
                keeper.close()
            except BaseException:
                keeper.close()
                raise
        raise RuntimeError(
            "expected a child process that imports h5py, came its end: see what `python -I -c 'import h5py'` says"
        )

    def _hear(self, line: bytes) -> bool:
        """Take in a line of the child; return whether it is a sign of progress."""
        kind, text = line[:1], line[1:]
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return False
        if kind == b"A":
            self.at = str(value)
        elif kind == b"R" and isinstance(value, dict):
            self.answer = value
        elif kind == b"P":
            self.progress(value)
        return kind == b"P"

    def _outcome(self, code: int, peak: int, took: float) -> Outcome:
        answer = self.answer or {}
        if "value" in answer and code == 0:
            return Outcome(answer["value"], "", peak, took)
        return Outcome(None, f"{self.path}: {self._death(answer, code)}", peak, took)

    def _death(self, answer: dict, code: int) -> str:
        where = f" at {self.at}" if self.at else ""
        name = signal.Signals(-code).name if code < 0 and -code in {*signal.Signals} else f"exit code {code}"
        if self.late or name == "SIGXCPU":
            limit = f"{self.seconds:g} s" if self.total == math.inf else f"{min(self.total, self.seconds):g} s"
            return f"expected to be read within {limit}, came no end{where}, so its reader was killed: {DAMAGED}"
        if "memory" in answer or _starved(answer.get("error", "")):
            return f"expected to be read within {self.memory / 1e6:g} MB, came a demand for more{where}: {DAMAGED}"
        if "error" in answer:
            return f"cannot be read on{where}: {answer['error']}: {DAMAGED}"
        if name == "SIGKILL":
            return (
                f"expected to be read, came the end of its reader by SIGKILL{where}: give the machine memory, try again"
            )
        return f"expected a file that HDF5 can read, came a crash of its reader ({name}){where}: {DAMAGED}"


def _starved(error: str) -> bool:
    return "memory allocation failed" in error or "nable to allocate" in error


def _last(keeper: Keeper) -> tuple[int | None, int]:
    """Return status and memory of a fork that was killed, from the last line about it."""
    while True:
        try:
            line = keeper.line(monotonic() + START_SECONDS)
        except (Ended, TimeoutError):
            return None, 0
        if line[:1] == b"E":
            return tuple(json.loads(line[1:]))
