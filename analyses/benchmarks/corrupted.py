"""Thousands of corrupted files, each given to validate, info, recover and open_trajectory(check=True).

Run as `python -m analyses.benchmarks.corrupted [--quick] [--files 2000] [--seed 0] [--json FILE]`; about 20 minutes.
Counted: hangs, memory, crashes, files outside that were touched, errors that do not say what is wrong.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Optional

import typer

from analyses.benchmarks.corrupted_cases import Case, Workshop, schedule, write_secrets
from analyses.benchmarks.machine import describe_machine
from analyses.terminal import keep, say, table

HANG_SECONDS, GRACE_SECONDS = 5.0, 0.5
MEMORY_BYTES = 500_000_000
PATIENCE = 120.0


@dataclass
class Tally:
    """What happened to all files.

    Args:
        files: how many.
        hangs: calls that took longer than the limit and the time to kill a process.
        heavy: calls in which a child took more memory than it may, or this process much more than before.
        crashes: files at which the calling process died.
        touched: files at which something outside was read, changed or created.
        unclear: calls with an error that does not name the file and what is wrong.
        refused: by call, how many files it refused.
        deaths: children that were killed or crashed.
        slowest: longest call in seconds.
        memory: largest of a child in bytes.
        examples: some lines on what went wrong.
    """

    files: int = 0
    hangs: int = 0
    heavy: int = 0
    crashes: int = 0
    touched: int = 0
    unclear: int = 0
    refused: Counter = field(default_factory=Counter)
    deaths: int = 0
    slowest: float = 0.0
    memory: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, case: Case, calls: list[dict] | None, touched: list[str]) -> None:
        """Count one file.

        Args:
            case: what it was.
            calls: what the calls did, None where the process died.
            touched: what was touched.
        """
        self.files += 1
        self.crashes += calls is None
        self.touched += bool(touched)
        wrong = [f"touched {', '.join(touched)}"] if touched else []
        wrong += ["the calling process died"] if calls is None else []
        for call in calls or ():
            name, took, memory = call["name"], call["seconds"], call["memory"]
            self.refused[name] += call["refused"]
            self.deaths += call["died"]
            self.slowest, self.memory = max(self.slowest, took), max(self.memory, memory)
            if took > HANG_SECONDS + GRACE_SECONDS:
                self.hangs += 1
                wrong.append(f"{name} took {took:.1f} s")
            if memory > MEMORY_BYTES or call["grown"] > MEMORY_BYTES / 2:
                self.heavy += 1
                wrong.append(f"{name} took {max(memory, call['grown']) / 1e6:.0f} MB")
            if call["unclear"]:
                self.unclear += 1
                wrong.append(f"{name} says {call['unclear']!r}")
        self.examples += [f"{case.kind} ({case.sample}): {line}" for line in wrong]


class Subject:
    """The process that calls; a new one after each death."""

    def __init__(self, folder: Path):
        self.folder, self.process = folder, None

    def calls(self, path: Path, output: Path) -> list[dict] | None:
        """Have all calls made on a file.

        Args:
            path: of the file.
            output: of what is recovered.

        Returns:
            What each call did, None where the process died or did not come back.
        """
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "analyses.benchmarks.corrupted_calls"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=self.folder / "cwd",
                env=os.environ | {"TMPDIR": str(self.folder / "tmp"), "OMP_NUM_THREADS": "1", "PYTHONPATH": _root()},
                text=True,
            )
        try:
            self.process.stdin.write(json.dumps([str(path), str(output)]) + "\n")
            self.process.stdin.flush()
            answered = select.select([self.process.stdout], [], [], PATIENCE)[0]
            line = self.process.stdout.readline() if answered else ""
        except BrokenPipeError:
            line = ""
        if not line:
            self.close()
            return None
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


def measure(count: int, seed: int, leave_out: Collection[str] = ()) -> Tally:
    """Make the files one after the other and see what becomes of their readers.

    Args:
        count: how many, as long as there is one of every kind.
        seed: of the damage.
        leave_out: kinds that have no turn.

    Returns:
        The counts.
    """
    tally = Tally()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("work", "outside", "in", "out", "cwd", "tmp"):
            (folder / part).mkdir()
        write_secrets(folder / "outside")
        workshop, subject = Workshop(folder / "work", folder / "outside", seed), Subject(folder)
        try:
            for case in schedule(count, seed, leave_out):
                path = folder / "in" / "run.h5"
                workshop.make(case, path)
                # A link that is named is followed: that its target is read is no harm.
                reads = case.kind != "link to a file outside"
                _unread(folder / "outside")
                before = _traces(folder, reads)
                calls = subject.calls(path, folder / "out" / "recovered.h5")
                after = _traces(folder, reads)
                tally.add(case, calls, sorted(key for key in before | after if before.get(key) != after.get(key)))
                _clear(folder / "in")
                _clear(folder / "out")
        finally:
            subject.close()
    return tally


def main(
    files: Annotated[int, typer.Option(help="How many; at least one of every kind.")] = 2000,
    quick: Annotated[bool, typer.Option("--quick", help="One of every kind.")] = False,
    seed: Annotated[int, typer.Option(help="Of the damage.")] = 0,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Write the results here.")] = None,  # noqa: UP045
) -> Tally:
    """Measure, print the counts, and return them.

    Args:
        files: how many.
        quick: one of every kind.
        seed: of the damage.
        json_file: where to keep the results.

    Returns:
        The counts.
    """
    start = time.perf_counter()
    tally = measure(0 if quick else files, seed)
    seconds = time.perf_counter() - start
    limits = {
        f"calls that took over {HANG_SECONDS:g} s": tally.hangs,
        "calls that took over 500 MB": tally.heavy,
        "deaths of the calling process": tally.crashes,
        "files at which something outside was touched": tally.touched,
        "errors that do not say what is wrong": tally.unclear,
    }
    others = {
        **{f"files that {name} refused": count for name, count in sorted(tally.refused.items())},
        "child processes that died": tally.deaths,
        "slowest call": f"{tally.slowest:.2f} s",
        "largest child": f"{tally.memory / 1e6:.0f} MB",
        "all of it": f"{seconds:.0f} s",
    }
    rows = [(name, str(value)) for name, value in (limits | others).items()]
    table(f"{tally.files} corrupted files", ("what", "count"), rows)
    for line in tally.examples[:20]:
        say(f"  {line}")
    keep({"machine": describe_machine(), "files": tally.files, "seed": seed, **limits, **others}, json_file)
    return tally


def _root() -> str:
    return str(Path(__file__).parents[2])


def _traces(folder: Path, reads: bool) -> dict[str, tuple]:
    """Return what would show that something was touched: names, contents, times; of what is outside, also reads."""
    found = {}
    for part in ("in", "outside", "cwd", "tmp"):
        for entry in sorted((folder / part).rglob("*")):
            status = entry.lstat()
            read = status.st_atime_ns if reads and part == "outside" else 0
            small = entry.is_file() and not entry.is_symlink() and part == "in" and status.st_size < 1 << 25
            content = hashlib.sha256(entry.read_bytes()).hexdigest() if small else ""
            found[f"{part}/{entry.name}"] = (status.st_size, status.st_mtime_ns, read, content)
    return found


def _unread(folder: Path) -> None:
    """Make the files look as if they had not been read: many systems note only the first read after a change."""
    for entry in folder.iterdir():
        os.utime(entry, ns=(0, entry.stat().st_mtime_ns))


def _clear(folder: Path) -> None:
    for entry in folder.iterdir():
        entry.rmdir() if entry.is_dir() and not entry.is_symlink() else entry.unlink()


if __name__ == "__main__":
    typer.run(main)
