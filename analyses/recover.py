"""Recover a trajectory that a crash left, and say what was kept and what was lost."""

from __future__ import annotations

import os
from pathlib import Path

from analyses.share_bar import share_bar
from analyses.terminal import complain, facts, say
from dynamics.copies.recovery import recover
from dynamics.segments.segment_directory import segmented_size


def recover_file(path: Path, output: Path | None = None, *, overwrite: bool = False) -> bool:
    """Recover a file and print what came of it.

    Args:
        path: the trajectory, a file or a directory of segments.
        output: a new file for the result; None replaces the trajectory.
        overwrite: replace an existing output.

    Returns:
        Whether every committed row was kept.
    """
    size = segmented_size(str(path)) if path.is_dir() else os.path.getsize(path) if path.is_file() else 0
    with share_bar(f"recovering {path.name}", size) as tell:
        result = recover(path, output, overwrite=overwrite, progress=tell)
    if not result.needed:
        say(f"{path}: {result.status}, undamaged: nothing to recover")
        return True
    say(f"{result.path}: recovered, {os.path.getsize(result.path) / 1e6:.2f} MB")
    rows = ", ".join(f"{name} {count}" for name, count in sorted(result.rows.items()))
    status = result.status + (f" ({result.reason})" if result.reason else "")
    facts({"rows kept": rows or "none", "status": status, "lost": "" if result.lost else "nothing that was committed"})
    for line in result.lost:
        complain(f"lost: {line}")
    return not result.lost
