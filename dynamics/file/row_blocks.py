"""Rows of a recorded variable, some megabytes at a time: snapshots of a long run do not fit into memory together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

BLOCK_BYTES = 1 << 24


def row_blocks(variable: xr.DataArray, block_bytes: int | None = None) -> Iterator[np.ndarray]:
    """Yield consecutive rows of a variable along its first dimension, without keeping them in it.

    Args:
        variable: (n, ...), loaded or not.
        block_bytes: read at a time, or one row where that is more; None is 16 MB.

    Yields:
        Arrays (rows, ...), one of no rows where n is 0.

    Cost: reading.

    Example:
        >>> [len(block) for block in row_blocks(xr.DataArray(np.zeros((5, 2))), block_bytes=32)]
        [2, 2, 1]
    """
    row = variable.dtype.itemsize * int(np.prod(variable.shape[1:], dtype=np.int64))
    rows = max(1, (block_bytes or BLOCK_BYTES) // max(1, row))
    for start in range(0, max(1, len(variable)), rows):
        yield variable[start : start + rows].values
