"""Datasets cut into blocks that fit into memory, without those that nothing was ever written to."""

from __future__ import annotations

from collections.abc import Iterator

import h5py
import numpy as np

BLOCK_BYTES = 1 << 20


def stored_blocks(dataset: h5py.Dataset, rows: int | None = None, step: int = 1) -> Iterator[tuple[slice, ...]]:
    """Cut a dataset into blocks of about a MiB, leaving out those that nothing was ever written to.

    Costs: as many blocks as are stored, whatever the shape says.

    Args:
        dataset: any that has a shape.
        rows: of the first axis to be cut; None for all.
        step: blocks begin at multiples of it, where that many rows fit into one.

    Yields:
        One slice per axis, for each block.
    """
    shape = dataset.shape if rows is None else (rows, *dataset.shape[1:])
    if not dataset.id.get_storage_size():
        return
    if not dataset.chunks:
        yield from blocks(shape, dataset.dtype.itemsize)
        return
    corners: list[tuple[int, ...]] = []
    chunk = dataset.chunks
    dataset.id.chunk_iter(lambda stored: corners.append(stored.chunk_offset))
    if any(length < size for length, size in zip(chunk[1:], shape[1:], strict=True)):
        for corner in sorted(corners):
            if corner[0] < shape[0]:
                ends = (min(c + n, size) for c, n, size in zip(corner, chunk, shape, strict=True))
                yield tuple(slice(c, end) for c, end in zip(corner, ends, strict=True))
        return
    count = _rows_of_block(shape, dataset.dtype.itemsize, max(step, chunk[0]))
    stored = np.unique([corner[0] for corner in corners])
    starts = np.unique([stored // count, (stored + chunk[0] - 1) // count]) if count >= chunk[0] else None
    for start in starts * count if starts is not None else stored:
        length = min(int(start) + (count if starts is not None else chunk[0]), shape[0]) - int(start)
        if length > 0:
            for first, *inner in blocks((length, *shape[1:]), dataset.dtype.itemsize):
                yield (slice(int(start) + first.start, int(start) + first.stop), *inner)


def blocks(shape: tuple[int, ...], itemsize: int, step: int = 1) -> Iterator[tuple[slice, ...]]:
    """Cut an array into blocks of at most about a MiB.

    Args:
        shape: of the array.
        itemsize: bytes of an element.
        step: blocks are multiples of it along the first axis, where that many rows fit.

    Yields:
        One slice per axis, for each block.

    Example:
        >>> list(blocks((3, 2), 1 << 18))
        [(slice(0, 2, None), slice(0, 2, None)), (slice(2, 3, None), slice(0, 2, None))]
    """
    if not shape:
        yield ()
        return
    rest = itemsize * int(np.prod(shape[1:], dtype=object))
    if rest > BLOCK_BYTES:
        for row in range(shape[0]):
            for inner in blocks(shape[1:], itemsize):
                yield (slice(row, row + 1), *inner)
        return
    count = _rows_of_block(shape, itemsize, step)
    for start in range(0, shape[0], count):
        yield (slice(start, min(start + count, shape[0])), *(slice(0, size) for size in shape[1:]))


def _rows_of_block(shape: tuple[int, ...], itemsize: int, step: int) -> int:
    count = BLOCK_BYTES // max(1, itemsize * int(np.prod(shape[1:], dtype=object)))
    return max(1, count // step * step or count)
