"""`recover` killed at random moments: the original or the verified result stands there, and the next one finishes.

Run as `python -m analyses.benchmarks.recoveries [--count 100] [--quick] [--json FILE]`; about 3 minutes, 15 s with
--quick. One writer is killed after some MB; each trial recovers a copy of what it left in a process of its own, which
SIGKILL ends at a random moment. Linux only, as the kill is.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Optional

import typer

from analyses.benchmarks.machine import describe_machine
from analyses.terminal import keep, table
from dynamics import validate
from dynamics.copies.copying import verify_copy
from dynamics.copies.recovery import recover
from dynamics.file.opening import TrajectoryError

WRITER = """
import os, sys
import numpy as np
from dynamics import Recorder
recorder = Recorder(sys.argv[1], commit_every=0.05)
for step in range(10**9):
    recorder.record("series", step, loss=1.0 / (step + 1), loss_raw=[step, 2.0 * step])
    if step % 20 == 0:
        recorder.record("parameters", step, value=np.full(2000, step / 3))
        recorder.record("extra", step, late=float(step))
    if step % 1000 == 0 and os.path.getsize(sys.argv[1]) > int(sys.argv[2]):
        print("enough", flush=True)
"""
RECOVERY = """
import sys
from dynamics.copies.recovery import recover
print("ready", flush=True)
recover(sys.argv[1])
"""
LONGEST = 120.0


def crashed(path: Path, size: int) -> None:
    """Leave a file whose writer was killed, with its lock.

    Args:
        path: of the new file.
        size: in bytes, at least.
    """
    with _process(WRITER, path, size) as writer:
        writer.stdout.readline()
        time.sleep(0.1)
        writer.kill()


def duration(left: Path, folder: Path) -> float:
    """Return the time that a recovery takes when nobody disturbs it.

    Args:
        left: the crashed file.
        folder: an empty one.

    Returns:
        Seconds, without the start of the process.
    """
    path = _again(left, folder)
    with _process(RECOVERY, path) as process:
        process.stdout.readline()
        start = time.monotonic()
        process.wait(LONGEST)
        return time.monotonic() - start


def trial(left: Path, folder: Path, delay: float) -> tuple[str, list[str]]:
    """Kill a recovery and look at what it leaves.

    Args:
        left: the crashed file.
        folder: an empty one.
        delay: seconds until the kill.

    Returns:
        What stood there ("original" or "result") or "over" for a recovery that was faster, and everything wrong.
    """
    path = _again(left, folder)
    with _process(RECOVERY, path) as process:
        process.stdout.readline()
        time.sleep(delay)
        over = process.poll() is not None
        process.send_signal(signal.SIGKILL)
        process.wait(LONGEST)
    same = path.read_bytes() == left.read_bytes()
    wrong = [] if same else _compared(left, path)
    try:
        rows = recover(path).rows
        wrong += verify_copy(str(left), str(path), rows | {"late": 0}) + [str(line) for line in validate(path)]
    except (TrajectoryError, OSError) as error:
        wrong.append(f"second recovery: {error}")
    wrong += [f"litter: {name}" for name in os.listdir(folder) if name != path.name]
    return "over" if over else "original" if same else "result", wrong


def _compared(left: Path, path: Path) -> list[str]:
    try:
        return verify_copy(str(left), str(path), {}) + validate(path)
    except (TrajectoryError, OSError) as error:
        return [f"unreadable: {error}"]


def _again(left: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in (left.name, f"{left.name}.lock"):
        shutil.copy2(left.parent / name, folder / name)
    return folder / left.name


def _process(code: str, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True)


def main(
    count: Annotated[int, typer.Option(min=1, help="Recoveries to kill.")] = 100,
    quick: Annotated[bool, typer.Option("--quick", help="5 recoveries of a small file.")] = False,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Write the results here.")] = None,  # noqa: UP045
) -> dict[str, object]:
    """Kill, print a table, and return the results.

    Args:
        count: recoveries to kill.
        quick: 5 recoveries of a small file.
        seed: of the moments.
        json_file: where to keep the results.

    Returns:
        Counts, and everything that went wrong.
    """
    count, size = (5, 2_000_000) if quick else (count, 20_000_000)
    moments, found, wrong, good = random.Random(seed), Counter(), [], 0
    with tempfile.TemporaryDirectory() as name:
        left, folder = Path(name, "left", "run.h5"), Path(name, "trial")
        left.parent.mkdir()
        crashed(left, size)
        megabytes = left.stat().st_size / 1e6
        whole = duration(left, folder)
        longest = 1.05 * whole
        while found["original"] + found["result"] < count and found["over"] <= 3 * count:
            what, faults = trial(left, folder, moments.uniform(0, longest))
            found[what] += 1
            good += not faults
            wrong += faults
            # Machines are busier at some times than at others.
            longest *= 0.95 if what == "over" else 1.01
    results = {
        "machine": describe_machine(),
        "file_mb": round(megabytes, 1),
        "recovery_s": round(whole, 3),
        "trials": found.total(),
        "killed": found.total() - found["over"],
        "good": good,
        "found": dict(found),
        "wrong": wrong,
    }
    lines = [
        ("rows intact, file readable, second recovery finishes, no litter", f"{good} of {found.total()}"),
        ("killed with the original in place", str(found["original"])),
        ("killed with the result in place", str(found["result"])),
        ("over before the kill, tried again", str(found["over"])),
    ]
    table(f"recoveries of {megabytes:.1f} MB killed within {whole:.2f} s", ("what", "count"), lines)
    keep(results, json_file)
    return results


if __name__ == "__main__":
    typer.run(main)
