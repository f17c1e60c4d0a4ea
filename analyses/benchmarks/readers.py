"""Readers beside a writer: processes that poll a run while rows are appended, every row checked bit for bit.

Run as `python -m analyses.benchmarks.readers [--quick] [--json FILE]`; 2.5 minutes, 6 s with --quick. The writer's cost
is taken with and without readers, alone before and after.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Optional

import numpy as np
import typer

from analyses.benchmarks.machine import describe_machine
from analyses.terminal import keep, say, table
from dynamics.following.following import Follower
from dynamics.recorder import Recorder

SCALARS = 20
RATE = 1000
HERTZ = 20
FACTORS = np.arange(1, SCALARS + 1, dtype=np.int64) * 1_000_003 + 17
MASK = (1 << 40) - 1


@dataclass(frozen=True)
class Written:
    """What the writer measured.

    Args:
        rows: that it recorded.
        rows_per_second: by the wall clock.
        cpu_us: CPU time in the recorder per row, microseconds.
        late_ms: how late the last row was.
        longest_ms: longest call of the recorder.
    """

    rows: int
    rows_per_second: float
    cpu_us: float
    late_ms: float
    longest_ms: float


@dataclass(frozen=True)
class Read:
    """What one reader found.

    Args:
        polls: that it made.
        rows: that it saw.
        torn: rows whose values are not those of their step.
        gaps: deliveries that did not begin where the one before ended.
        errors: polls that failed, as text.
        cpu_ms: CPU time per poll.
        hertz: polls per second reached.
    """

    polls: int
    rows: int
    torn: int
    gaps: int
    errors: tuple[str, ...]
    cpu_ms: float
    hertz: float


def values(steps: np.ndarray) -> np.ndarray:
    """Return the scalars of rows, exact in float64, all of them different.

    Args:
        steps: (n,) int64.

    Returns:
        (n, 20) float64.

    Example:
        >>> values(np.array([0, 9]))[:, 0].tolist() == [1_000_020 * k * 7919 % 2**40 / 2**40 for k in (1, 10)]
        True
    """
    mixed = ((np.asarray(steps, np.int64)[:, None] + 1) * 7919 * FACTORS) & MASK
    return mixed / float(MASK + 1)


def write(path: str, seconds: float, outcome) -> None:
    """Append rows at a fixed rate.

    Args:
        path: of the new trajectory.
        seconds: for how long.
        outcome: connection that gets a `Written`.
    """
    count = round(seconds * RATE)
    names = [f"scalar_{number}" for number in range(SCALARS)]
    rows = values(np.arange(count)).tolist()
    cpu = longest = 0.0
    with Recorder(path) as recorder:
        start = time.perf_counter()
        for step, row in enumerate(rows):
            wait = start + step / RATE - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            record = dict(zip(names, row, strict=True))
            before, begun = time.thread_time(), time.perf_counter()
            recorder.record("series", step, **record)
            cpu += time.thread_time() - before
            longest = max(longest, time.perf_counter() - begun)
        took = time.perf_counter() - start
    late = took - (count - 1) / RATE
    outcome.send(Written(count, count / took, cpu / count * 1e6, late * 1e3, longest * 1e3))


def read(path: str, outcome) -> None:
    """Poll a run until it ends and check every row.

    Args:
        path: of the trajectory, which need not exist yet.
        outcome: connection that gets a `Read`.
    """
    follower, polls, seen, torn, gaps, errors = Follower(path), 0, 0, 0, 0, []
    cpu, start, due = 0.0, None, time.perf_counter()
    while True:
        before = time.thread_time()
        try:
            news = follower.poll()
        except Exception as error:  # Every failure is counted, whatever it is.
            errors.append(f"{type(error).__name__}: {error}")
            news = None
        took = time.thread_time() - before
        if news is not None and news.state != "waiting":
            start = start or time.perf_counter()
            polls, cpu = polls + 1, cpu + took
            for rows in news.rows.values():
                gaps += news.first["series"] != seen
                expected = np.arange(seen, seen + len(rows["step"]))
                came = np.stack([rows[f"scalar_{number}"] for number in range(SCALARS)], axis=1)
                same = (came.view(np.int64) == values(expected).view(np.int64)).all(axis=1) & (rows["step"] == expected)
                torn, seen = torn + int((~same).sum()), seen + len(expected)
        if len(errors) > 100 or (news is not None and news.ended):
            break
        due = max(due + 1 / HERTZ, time.perf_counter() - 1.0)
        time.sleep(max(0.0, due - time.perf_counter()))
    passed = time.perf_counter() - (start or time.perf_counter())
    outcome.send(Read(polls, seen, torn, gaps, tuple(errors), cpu / max(1, polls) * 1e3, polls / max(passed, 1e-9)))


def episode(folder: Path, seconds: float, readers: int) -> tuple[Written, list[Read]]:
    """Write for a while beside a number of readers.

    Args:
        folder: for the file.
        seconds: for how long.
        readers: processes.

    Returns:
        What the writer and the readers measured.
    """
    context = multiprocessing.get_context("spawn")
    path = str(folder / f"run-{time.monotonic_ns()}.h5")
    pipes = [context.Pipe(duplex=False) for _ in range(readers + 1)]
    processes = [context.Process(target=read, args=(path, sender)) for _, sender in pipes[1:]]
    for process in processes:
        process.start()
    if readers:
        # Imports are done by then: what is measured is polling.
        time.sleep(2.0)
    processes.append(context.Process(target=write, args=(path, seconds, pipes[0][1])))
    processes[-1].start()
    found = [receiver.recv() for receiver, _ in pipes]
    for process in processes:
        process.join()
    os.remove(path)
    return found[0], found[1:]


def main(
    quick: Annotated[bool, typer.Option("--quick", help="3 readers for 3 s.")] = False,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Write the results here.")] = None,  # noqa: UP045
) -> dict[str, object]:
    """Measure, print tables, and return the results.

    Args:
        quick: fewer readers, shorter.
        json_file: where to keep the results.

    Returns:
        What writer and readers measured, and the load of the machine.
    """
    seconds, readers = (3.0, 3) if quick else (60.0, 8)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        before, _ = episode(folder, seconds / 2, 0)
        beside, found = episode(folder, seconds, readers)
        after, _ = episode(folder, seconds / 2, 0)
    alone_us = (before.cpu_us + after.cpu_us) / 2
    alone_rate = 2 / (1 / before.rows_per_second + 1 / after.rows_per_second)
    slowed = {"cpu": beside.cpu_us / alone_us - 1, "pace": alone_rate / beside.rows_per_second - 1}
    _print([("alone, before", before), (f"beside {readers} readers", beside), ("alone, after", after)], found)
    say(f"writer slowed: {slowed['cpu']:+.1%} of its CPU time in the recorder, {slowed['pace']:+.2%} of its pace")
    results = {
        "machine": describe_machine(),
        "load": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "alone": [asdict(before), asdict(after)],
        "beside": asdict(beside),
        "readers": [asdict(one) for one in found],
        "slowed": slowed,
    }
    keep(results, json_file)
    return results


def _print(writers: list[tuple[str, Written]], readers: list[Read]) -> None:
    table(
        f"{SCALARS} scalars a row, {RATE} rows/s asked for, {os.cpu_count()} cores",
        ("writer", "rows", "rows/s", "CPU us a row", "last row late by ms", "longest call ms"),
        [
            (who, str(w.rows), f"{w.rows_per_second:.2f}", f"{w.cpu_us:.1f}", f"{w.late_ms:.1f}", f"{w.longest_ms:.1f}")
            for who, w in writers
        ],
    )
    lines = []
    for number, r in enumerate(readers, 1):
        counts = map(str, (number, r.polls, r.rows, r.torn, r.gaps, len(r.errors)))
        lines.append((*counts, f"{r.hertz:.1f}", f"{r.cpu_ms:.2f}"))
    header = ("reader", "polls", "rows", "torn rows", "gaps", "errors", "Hz", "CPU ms a poll")
    table(f"readers at {HERTZ} Hz", header, lines)
    rows, polls = sum(r.rows for r in readers), sum(r.polls for r in readers)
    torn, errors = sum(r.torn for r in readers), sum(len(r.errors) for r in readers)
    say(f"{torn} torn rows of {rows} read, {errors} errors in {polls} polls")


if __name__ == "__main__":
    typer.run(main)
