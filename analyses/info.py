"""Show what a trajectory holds: streams, rows, variables, provenance; and who writes it."""

from __future__ import annotations

import re
from pathlib import Path

from rich.markup import escape

from analyses.terminal import complain, say, table
from dynamics.confined.confined import run
from dynamics.file.lock import holder
from dynamics.file.opening import TrajectoryError
from dynamics.file.trust import ensure_sound
from dynamics.segments.segment_directory import segment_numbers, segment_path, segmented_size
from dynamics.segments.segment_summary import summarise_segments

STATES = {"live": ", not closed: being written", "left": ", not closed: its writer has left it"}


def show(path: Path) -> None:
    """Print the contents of a trajectory.

    The file is read by a child process with limits alone, so that it may come from anywhere: nothing in it can hang,
    crash or fill this one. Its names are printed without what a terminal would obey. Arrays are not loaded. The
    segments of a directory, which their writer has closed, are read here.

    Args:
        path: the trajectory, a file or a directory of segments.

    Raises:
        TrajectoryError: not a trajectory that can be read.
    """
    if path.is_dir():
        for number in segment_numbers(str(path)):
            ensure_sound(segment_path(str(path), number), True)
        summary = summarise_segments(path)
        if summary["findings"]:
            raise TrajectoryError(summary["findings"][0])
        _show(path, summary, segmented_size(str(path)))
        return
    outcome = run("summarise", path)
    found = [outcome.death] if outcome.death else outcome.value["findings"]
    for line in found[1:]:
        complain(line)
    if found:
        raise TrajectoryError(found[0])
    _show(path, outcome.value, path.stat().st_size)


def checkpoints(path: Path) -> list[int]:
    """Return the steps of the checkpoints that lie beside a trajectory.

    Args:
        path: the trajectory, RUN.h5.

    Returns:
        Steps of the files RUN.h5.checkpoint-STEP.npz, increasing; they are not opened.
    """
    pattern = re.compile(re.escape(f"{path.name}.checkpoint-") + r"(\d+)\.npz")
    return sorted(int(name[1]) for entry in path.parent.iterdir() if (name := pattern.fullmatch(entry.name)))


def _show(path: Path, summary: dict, size: int) -> None:
    say(f"{path}: {summary['status']}{STATES.get(summary['state'], '')}, {size / 1e6:.2f} MB")
    if summary["stop_reason"]:
        say(f"  stopped: {summary['stop_reason']}")
    say("  " + ", ".join(f"{name} {value}" for name, value in summary["attributes"].items() if value))
    if summary["problem"]:
        say(f"  problem {summary['problem']}, operator {summary['operator']}")
    if summary["coefficients"]:
        say("  coefficients " + ", ".join(f"{name} {last:.10g}" for name, last in summary["coefficients"].items()))
    if writer := holder(str(path)):
        lives = {True: "alive", False: "dead"}.get(writer.alive, "on another machine, not known whether alive")
        say(f"  writer: {writer}, {lives}")
    if steps := checkpoints(path):
        say(f"  checkpoints at steps {', '.join(map(str, steps))}")
    rows = [
        (
            escape(name),
            "-" if count is None else str(count),
            escape(", ".join(variables)),
            escape(", ".join(f"{dim} {size}" for dim, size in sizes.items())),
        )
        for name, count, variables, sizes in summary["streams"]
    ]
    table("", ("stream", "rows", "variables", "other dimensions"), rows)
