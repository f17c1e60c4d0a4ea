"""The rows of a stream that a follower has passed on: their number, and enough to know them again in another file."""

from __future__ import annotations

import numpy as np


class Delivered:
    """Steps and times of the rows that were delivered.

    Example:
        >>> known = Delivered()
        >>> known.extend(np.array([0, 10]), np.array([0.1, 0.2]))
        >>> known.extend(np.array([20]), np.array([0.3]))
        >>> known.count, known.row_of(10), known.row_of(11)
        (3, 1, 2)
        >>> known.cut(2)
        >>> known.count
        2
    """

    def __init__(self):
        self._steps, self._times = np.empty(0, np.int64), np.empty(0)
        self.count = 0

    def extend(self, steps: np.ndarray, times: np.ndarray) -> None:
        """Add rows.

        Args:
            steps: (n,) int64.
            times: (n,) float64.
        """
        stop = self.count + len(steps)
        if stop > len(self._steps):
            # Half as much again: the rows of a long run are not copied at every poll.
            size = max(stop, len(self._steps) * 3 // 2)
            self._steps, self._times = (_resized(array, self.count, size) for array in (self._steps, self._times))
        self._steps[self.count : stop], self._times[self.count : stop] = steps, times
        self.count = stop

    def cut(self, count: int) -> None:
        """Forget the rows from one on.

        Args:
            count: rows that are kept, where there are as many.
        """
        self.count = min(self.count, count)

    def row_of(self, step: int) -> int:
        """Return the number of the first row with this step or a later one.

        Args:
            step: any.

        Returns:
            The row, `count` where all steps are before.
        """
        return int(np.searchsorted(self._steps[: self.count], step))

    def same(self, start: int, steps: np.ndarray, times: np.ndarray) -> int:
        """Count rows that are what was delivered, bit for bit, up to the first that is not.

        Args:
            start: number of the first row.
            steps: (n,) int64.
            times: (n,) float64.

        Returns:
            Their number, at most n.
        """
        stop = min(self.count, start + len(steps))
        width = max(0, stop - start)
        # As integers: a time may be NaN.
        alike = (self._steps[start:stop] == steps[:width]) & (
            self._times[start:stop].view(np.int64) == np.ascontiguousarray(times[:width], np.float64).view(np.int64)
        )
        return width if alike.all() else int(np.argmin(alike))


def _resized(array: np.ndarray, count: int, size: int) -> np.ndarray:
    grown = np.empty(size, array.dtype)
    grown[:count] = array[:count]
    return grown
