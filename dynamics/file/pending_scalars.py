"""Scalars of rows that wait in memory, packed as they came: a row costs one call, not one for each of its values."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import numpy as np


class Stretch:
    """Consecutive rows that hold the same scalars.

    Args:
        start: number of its first row.
        names: of the scalars.

    Example:
        >>> stretch = Stretch(5, ("a", "b"))
        >>> stretch.append(stretch.pack(1.0, 2.0))
        >>> stretch.append(stretch.pack(3.0, 4.0))
        >>> stretch.stop, stretch.columns(7).tolist()
        (7, [[1.0, 3.0], [2.0, 4.0]])
    """

    def __init__(self, start: int, names: tuple[str, ...]):
        self.start, self.names = start, names
        self.pack = struct.Struct(f"{len(names)}d").pack
        self._rows: list[bytes] = []
        self.append = self._rows.append

    @property
    def stop(self) -> int:
        """The number of the row after its last."""
        return self.start + len(self._rows)

    def columns(self, stop: int) -> np.ndarray:
        """Return the rows before `stop`, transposed.

        Args:
            stop: number of a row, after the first of the stretch.

        Returns:
            A contiguous array (names, rows), float64.
        """
        rows = self._rows[: stop - self.start]
        return np.ascontiguousarray(np.frombuffer(b"".join(rows)).reshape(len(rows), len(self.names)).T)

    def drop(self, stop: int) -> None:
        """Forget the rows before `stop`.

        Args:
            stop: number of the first row that is kept.
        """
        gone = max(0, stop - self.start)
        del self._rows[:gone]
        self.start += gone


class PendingScalars:
    """The scalars of numbered rows, from the first row that waits on.

    Example:
        >>> scalars = PendingScalars()
        >>> scalars.append(7, ("loss",), [0.5])
        >>> scalars.append(8, ("loss", "rel_l2"), [0.25, 0.1])
        >>> {name: block.tolist() for name, block in scalars.blocks(7, 9).items()}
        {'loss': [0.5, 0.25], 'rel_l2': [nan, 0.1]}
    """

    def __init__(self):
        self._stretches: list[Stretch] = []
        self._last = Stretch(0, ())

    def append(self, row: int, names: tuple[str, ...], values: Iterable[float]) -> None:
        """Add the scalars of a row.

        Args:
            row: its number, one more than that of the row before where rows wait.
            names: of the scalars; a row may have none.
            values: floats, in the order of the names.
        """
        last = self._last
        if names != last.names or not self._stretches:
            last = self._last = Stretch(row, names)
            self._stretches.append(last)
        last.append(last.pack(*values))

    def blocks(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """Return columns of the rows start to stop, without the names that none of them has.

        Args:
            start: number of the first row that waits.
            stop: number of the row after the last one wanted.

        Returns:
            Arrays (stop - start,), float64, by name; NaN where a row has no value.

        Cost: O(values), and O(names) for each change of the names from one row to the next.
        """
        blocks: dict[str, np.ndarray] = {}
        for stretch in self._stretches:
            last = min(stretch.stop, stop)
            if last <= stretch.start:
                break
            for name, column in zip(stretch.names, stretch.columns(last), strict=True):
                if len(column) == stop - start:
                    blocks[name] = column
                    continue
                if name not in blocks:
                    blocks[name] = np.full(stop - start, np.nan)
                blocks[name][stretch.start - start : last - start] = column
        return blocks

    def drop(self, stop: int) -> None:
        """Forget the rows before `stop`.

        Args:
            stop: number of the first row that is kept.
        """
        self._stretches = [stretch for stretch in self._stretches if stretch.stop > stop]
        for stretch in self._stretches[:1]:
            stretch.drop(stop)
