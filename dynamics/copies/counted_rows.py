"""How many of the rows that a counter claims were ever written."""

from __future__ import annotations

import math
from collections.abc import Callable

import h5py
import numpy as np

BLOCK = 1 << 16


def stored_rows(column: object, rows: int) -> int:
    """Return how many of the first rows of a column are stored without a gap.

    Costs: a look at each entry of its index of chunks.

    Args:
        column: one in which a writer writes every row.
        rows: what the counter says.

    Returns:
        The rows; all of them where that cannot be told from the chunks.

    Example:
        >>> with h5py.File("example.h5", "w", driver="core", backing_store=False) as file:
        ...     file.create_dataset("step", (3,), "i8", maxshape=(None,), chunks=(2,))[:] = [0, 1, 2]
        ...     file["step"].resize(1000, axis=0)
        ...     stored_rows(file["step"], 1000)
        4
    """
    if not isinstance(column, h5py.Dataset) or not column.shape or not column.chunks:
        return rows
    starts, end = [], 0
    try:
        column.id.chunk_iter(lambda chunk: starts.append(chunk.chunk_offset[0]))
    except (OSError, RuntimeError):
        return rows
    for start in sorted(starts):
        if start > end:
            break
        end = start + column.chunks[0]
    return min(rows, end, column.shape[0])


def increasing_rows(index: h5py.Dataset, rows: int, report: Callable[[float], None]) -> int:
    """Return how many of the first values of an index increase: behind the last that was written stand zeros.

    Args:
        index: of a stream.
        rows: that are stored.
        report: told of progress.

    Returns:
        The rows; all of them where they cannot be read, or are no numbers.
    """
    last = -math.inf
    if index.ndim != 1 or index.dtype.kind not in "iuf":
        return rows
    for start in range(0, rows, BLOCK):
        report(start / rows)
        try:
            values = index[start : min(start + BLOCK, rows)]
        except (OSError, RuntimeError, ValueError, TypeError):
            return rows
        falls = np.flatnonzero(values[1:] <= values[:-1])
        if values[0] <= last or len(falls):
            return start + (0 if values[0] <= last else int(falls[0]) + 1)
        last = values[-1]
    return rows
