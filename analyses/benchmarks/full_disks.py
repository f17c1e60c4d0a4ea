"""Disks that fill up at random moments: committed rows stay intact, the message is clear, training stops or goes on.

Run as `python -m analyses.benchmarks.full_disks [--quick] [--json FILE]`; under a minute. A trial gets a file system of
its own in memory with a random number of free bytes where this process may mount one, otherwise a limit on the size of
files (`limited`); every second trial asks for the training to go on unrecorded.
"""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Optional

import numpy as np
import typer

from analyses.benchmarks.crashes import departures, scalars, snapshot, trials
from analyses.benchmarks.machine import describe_machine
from analyses.terminal import keep, table
from dynamics import Recorder, RecorderError
from dynamics.format import Stream, Variable

ROWS = 150
ENOUGH = 1_100_000
"""Bytes, fewer than all rows of a trial need."""


@contextmanager
def small_disk(size: int) -> Iterator[Path]:
    """Mount a file system of a given size.

    Args:
        size: in bytes.

    Yields:
        Where it is.

    Raises:
        PermissionError: this process may not.
    """
    folder = tempfile.mkdtemp()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
    try:
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            raise PermissionError("expected the right to mount a file system in memory, came none: run as root")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)
    finally:
        shutil.rmtree(folder)


@contextmanager
def limited(size: int) -> Iterator[Path]:
    """Limit the size of files that this process writes.

    Args:
        size: in bytes.

    Yields:
        A folder.
    """
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def train_on(path: Path, strict: bool) -> tuple[int, str, int]:
    """Record rows until the disk is full, and beyond where that was asked for.

    Args:
        path: of the new trajectory.
        strict: stop the training when the disk is full.

    Returns:
        Steps made, the message, rows of the series that were committed.
    """
    made, message, recorder = 0, "", None
    streams = [Stream("snapshots", [Variable("value", ("entry",))], {"entry": 3000}), Stream("evaluations")]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with Recorder(path, streams=streams, commit_every=0.0, strict=strict) as recorder:
                for step in range(ROWS):
                    recorder.record("series", step, **scalars(step))
                    if step % 3 == 0:
                        recorder.record("snapshots", step, value=snapshot(step))
                    for _ in range(step % 4):
                        recorder.record("evaluations", step, loss=float(step))
                    made = step + 1
        except RecorderError as error:
            message = str(error)
    message = message or (str(caught[0].message) if len(caught) == 1 else f"{len(caught)} warnings")
    return made, message, 0 if recorder is None else recorder.committed.get("series", 0)


def disk_trial(disk: Callable) -> Callable[[Path, np.random.Generator], list[str]]:
    """Return the trial of one kind of small disk.

    Args:
        disk: `small_disk` or `limited`.

    Returns:
        A function of a folder, which it leaves alone, and a generator.
    """

    def trial(folder: Path, rng: np.random.Generator) -> list[str]:
        strict = bool(rng.integers(2))
        with disk(int(rng.uniform(4096, ENOUGH))) as place:
            path = place / "run.h5"
            made, message, committed = train_on(path, strict)
            return _wrong(path, strict, made, message, committed)

    return trial


def _wrong(path: Path, strict: bool, made: int, message: str, committed: int) -> list[str]:
    found = [] if (made < ROWS) == strict else [f"strict={strict}, and {made} of {ROWS} steps were made"]
    if not any(part in message for part in ("No space left", "File too large", "cannot be created")):
        found.append(f"message without the cause: {message}")
    if committed == 0:
        # Nothing was promised; a file, if there is one, is empty or without rows.
        return found
    if f"{committed} rows of series are committed" not in message:
        found.append("message without what is safe")
    return found + departures(path, committed)


def main(
    quick: Annotated[bool, typer.Option("--quick", help="10 trials of each kind.")] = False,
    seed: int = 0,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Keep the results.")] = None,  # noqa: UP045
) -> list[dict[str, object]]:
    """Fill disks and count what is lost.

    Args:
        quick: few trials.
        seed: of the sizes.
        json_file: for the results.

    Returns:
        The counts by kind of disk.
    """
    rows, count = [], 10 if quick else 100
    for name, disk in (("full file system", small_disk), ("file size limit", limited)):
        with suppress(PermissionError):
            with disk(1 << 20):
                pass
            rows.append(trials(name, disk_trial(disk), count, seed))
    cells = [(row["trial"], f"{row['sound']} of {row['count']}", str(row["faults"] or "none")) for row in rows]
    table("disk full at a random moment", ("disk", "rows intact, message clear, as asked", "faults"), cells)
    keep({"machine": describe_machine(), "trials": rows}, json_file)
    return rows


if __name__ == "__main__":
    typer.run(main)
