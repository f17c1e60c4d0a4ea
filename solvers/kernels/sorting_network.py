"""Sorting networks: the pairs to be compared do not depend on the keys, so that vector lanes sort side by side."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

STEP = 8
"""Sizes between which networks are made."""


def merge_exchange(size: int) -> np.ndarray:
    """Return the comparators of Batcher's merge exchange sort, about size log2(size)^2 / 4 of them.

    Source: Knuth, The Art of Computer Programming, vol. 3, Algorithm 5.2.2M.

    Args:
        size: number of keys.

    Returns:
        (comparators, 2) int32: the smaller key goes to the first place.

    Example:
        >>> merge_exchange(3).tolist()
        [[0, 2], [0, 1], [1, 2]]
    """
    top = 1 << max((size - 1).bit_length() - 1, 0)
    pairs, part = [np.zeros((0, 2), dtype=np.int32)], top
    while part and size > 1:
        stride, rest, distance = top, 0, part
        while True:
            first = np.arange(size - distance, dtype=np.int32)
            first = first[(first & part) == rest]
            pairs.append(np.stack([first, first + distance], axis=1))
            if stride == part:
                break
            distance, stride, rest = stride - part, stride >> 1, part
        part >>= 1
    return np.concatenate(pairs).astype(np.int32)


@lru_cache(maxsize=32)
def networks(most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the networks of 0, 8, 16, ... keys in one table.

    Args:
        most: the largest size, a multiple of 8.

    Returns:
        All comparators, and where each network begins, (most / 8 + 2,) int64.

    Example:
        >>> networks(16)[1].tolist()
        [0, 0, 19, 82]
    """
    tables = [merge_exchange(size) for size in range(0, most + 1, STEP)]
    starts = np.concatenate([[0], np.cumsum([len(table) for table in tables])])
    return np.concatenate(tables), starts.astype(np.int64)
