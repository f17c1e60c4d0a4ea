"""The process that the benchmark of corrupted files watches: it makes all calls that read a file, and tells of them.

Reads lines of JSON, [file, output], from standard input; answers each with a list of what the calls did.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from analyses import info
from dynamics import open_trajectory, validation
from dynamics.confined import confined
from dynamics.copies import recovery
from dynamics.file import trust
from dynamics.file.lock import LockedError
from dynamics.file.opening import TrajectoryError

BARE = re.compile(r"^(\S+: )?Unable to synchronously \w+")
EXPECTED = (TrajectoryError, LockedError, OSError)


class Observed:
    """`dynamics.confined.confined.run`, remembering what its children took."""

    def __init__(self):
        self.run, self.memory, self.died = confined.run, 0, 0

    def __call__(self, *args: object, **options: object) -> confined.Outcome:
        """Run a task and look at its outcome.

        Args:
            args: of `run`.
            options: of `run`.

        Returns:
            The outcome.
        """
        outcome = self.run(*args, **options)
        self.memory = max(self.memory, outcome.memory)
        self.died += bool(outcome.death) and outcome.seconds > 0
        return outcome


def judge(name: str, path: str, call: Callable[[], list[str]], observed: Observed) -> dict:
    """Make one call.

    Args:
        name: of the call.
        path: of the file, which every error must name.
        call: returns the lines that were said, none where the file was read.
        observed: sees the children.

    Returns:
        What it did: seconds, memory of children, growth of this process, whether it refused, and what was unclear.
    """
    observed.memory, observed.died = 0, 0
    before, start, unclear = _peak(), time.perf_counter(), ""
    try:
        lines = call()
    except EXPECTED as error:
        lines = [str(error)]
        unclear = "" if path in lines[0] else f"{type(error).__name__}: {error}"
    except Exception as error:
        lines = [str(error)]
        unclear = f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - start
    unclear = unclear or next((line for line in lines if not is_clear(line)), "")
    return {
        "name": name,
        "seconds": seconds,
        "memory": observed.memory,
        "grown": _peak() - before,
        "died": observed.died,
        "refused": bool(lines),
        "unclear": unclear[:300],
    }


def is_clear(line: str) -> bool:
    """Whether a line can be shown to a user: printable, and more than what HDF5 alone says.

    Args:
        line: of an error or a finding.

    Returns:
        Whether it is.

    Example:
        >>> is_clear("Unable to synchronously open file"), is_clear("/series/step: missing; every stream has it")
        (False, True)
    """
    return line.isprintable() and len(line) > 20 and ":" in line and not BARE.match(line) and "Traceback" not in line


def all_calls(path: str, output: str, observed: Observed) -> list[dict]:
    """Make all calls on a file.

    Args:
        path: of the file.
        output: of what is recovered.
        observed: sees the children.

    Returns:
        What each did.
    """
    calls = {
        "validate": lambda: validation.validate(path),
        "info": lambda: _info(path),
        "recover": lambda: _recover(path, output),
        "open_trajectory": lambda: _open(path),
    }
    return [judge(name, path, call, observed) for name, call in calls.items()]


def _info(path: str) -> list[str]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        info.show(Path(path))
    # Of a file that is read, what is printed must be harmless, and none of it from outside.
    text = said.getvalue().replace("\n", "")
    return [] if text.isprintable() and "SECRET" not in text else [f"{path}: printed {text[:200]!r}\n"]


def _recover(path: str, output: str) -> list[str]:
    found = recovery.recover(path, output, overwrite=True)
    return [f"{path}: lost {line}" for line in found.lost]


def _open(path: str) -> list[str]:
    with open_trajectory(path, check=True):
        return []


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Answer until nobody asks."""
    observed = Observed()
    for module in (validation, info, trust, confined):
        module.run = observed
    # Its own output is the answers alone.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        path, output = json.loads(line)
        answers.write(json.dumps(all_calls(path, output, observed)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
