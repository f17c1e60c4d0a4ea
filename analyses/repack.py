"""Compress a trajectory for the archive, and say what that gained."""

from __future__ import annotations

import os
from pathlib import Path

from analyses.share_bar import share_bar
from analyses.terminal import say
from dynamics.copies.repacking import repack
from dynamics.file.opening import TrajectoryError


def repack_file(path: Path, output: Path | None = None, *, level: int = 4, overwrite: bool = False) -> None:
    """Compress a file and print its sizes before and after.

    Args:
        path: the trajectory.
        output: a new file for the result; None replaces the trajectory.
        level: of gzip, 1 to 9.
        overwrite: replace an existing output.

    Raises:
        TrajectoryError: a directory of segments, or no closed trajectory.
    """
    if path.is_dir():
        raise TrajectoryError(
            f"{path}: expected a file, came a directory: join its segments first, pinnscope recover {path} -o NEW.h5"
        )
    size = os.path.getsize(path) if path.is_file() else 0
    with share_bar(f"repacking {path.name}", size) as tell:
        result = repack(path, output, level=level, overwrite=overwrite, progress=tell)
    share = result.after / result.before
    say(f"{result.path}: {result.before / 1e6:.2f} MB before, {result.after / 1e6:.2f} MB after ({share:.0%})")
    say("  every value compared, bit for bit")
