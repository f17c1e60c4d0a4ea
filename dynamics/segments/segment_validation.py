"""Checks the segments of a trajectory, each by itself and then as parts of one run."""

from __future__ import annotations

import os
from collections.abc import Callable

from dynamics.file.opening import TrajectoryError
from dynamics.segments.segment_catalogue import Catalogue
from dynamics.segments.segment_directory import segment_numbers, segment_path


def validate_segments(path: str, validate: Callable[[str], list[str]]) -> list[str]:
    """Name every departure of the segments in a directory.

    Args:
        path: of the directory.
        validate: names the departures of a file.

    Returns:
        One line per departure, which begins with the segment's name; empty for a valid trajectory.
    """
    numbers = segment_numbers(path)
    names = {number: segment_path(path, number) for number in range(1, max(numbers, default=0) + 1)}
    found = []
    for number, name in names.items():
        base = os.path.basename(name)
        if number in numbers:
            found.extend(f"{base}: {line.removeprefix(f'{name}: ')}" for line in validate(name))
        else:
            found.append(f"{base}: missing; expected every segment up to {max(numbers)}")
    if not found:
        # Each can be read without harm: now what they are together.
        try:
            Catalogue(path)
        except TrajectoryError as error:
            found.append(str(error).removeprefix(os.path.join(path, "")))
    return found
