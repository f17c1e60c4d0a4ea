"""What all datasets of an untrusted file take together, in the file and in memory."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator

from dynamics.confined.worker import SILENT, Report

UNFOLDED_BYTES, UNFOLDED_RATIO, EAGER_RATIO = 128 << 20, 200, 8


class Extent:
    """Bytes that datasets say they take in the file, and bytes that they unfold to.

    A file that is being written grows between a look at its size and one at its chunks, so its size is asked for anew
    when something lies behind it.

    Args:
        path: of the file, which exists.
        report: told of progress.
    """

    def __init__(self, path: str, report: Report = SILENT):
        self.path, self.report = path, report
        self.size, self.disk = os.path.getsize(path), on_disk(path)
        self.stored, self.unfolded = 0, 0
        self.eager, self.longest = 0, {}

    def holds(self, end: int) -> bool:
        """Whether a byte lies in the file.

        Args:
            end: the byte behind those in question.

        Returns:
            False for one behind the end that the file has now.
        """
        if end > self.size:
            self.size, self.disk = os.path.getsize(self.path), on_disk(self.path)
        return end <= self.size

    @property
    def most(self) -> float:
        """Bytes that a file of this size may unfold to where all of it is read at once."""
        return max(UNFOLDED_BYTES, EAGER_RATIO * self.disk)

    def dangers(self) -> Iterator[str]:
        """Name what is wrong with all datasets together.

        Yields:
            One line per danger.
        """
        if not self.holds(self.stored):
            yield f"/: datasets of {self.stored} bytes; expected at most the file's {self.size}: they overlap, damaged"
        # Readers take in indices whole, as long as the longest dataset of their group.
        if (eager := self.eager + 8 * sum(self.longest.values())) > self.most:
            yield (
                f"/: indices and labels of {eager} bytes; expected at most {EAGER_RATIO} times the {self.disk} bytes "
                "on the disk: leave the file alone"
            )
        yield from self.bombs()

    def bombs(self) -> Iterator[str]:
        """Name a file that unfolds to far more than it takes on the disk.

        Yields:
            One line, or none.
        """
        if self.unfolded > max(UNFOLDED_BYTES, UNFOLDED_RATIO * self.disk):
            yield (
                f"/: {self.disk} bytes on the disk that unfold to {self.unfolded}; expected at most {UNFOLDED_RATIO} "
                "times as many: a decompression bomb, leave the file alone"
            )


def on_disk(path: str) -> float:
    """Return the bytes that a file takes on the disk: of holes, none need to be read.

    Args:
        path: of the file.

    Returns:
        The bytes, 0 where there is no file.
    """
    try:
        status = os.stat(path)
    except OSError:
        return 0
    return min(status.st_size, 512 * getattr(status, "st_blocks", math.inf))
