"""A curve in one line of text, over the logarithm of the step."""

from __future__ import annotations

import numpy as np

LEVELS = "▁▂▃▄▅▆▇█"
PLAIN_LEVELS = "_.-=+*#@"


def sparkline(step, values, width: int, *, logarithmic: bool = True, levels: str = LEVELS) -> str:
    """Draw values over log10(step + 1), a character a column: the last finite value in it, the last one's till then.

    Args:
        step: (n,) not negative, increasing.
        values: (n,).
        width: columns.
        logarithmic: draw log10 of the values; those that have none are left out.
        levels: a character per height, lowest first.

    Returns:
        Text of `width` characters, blank before the first value.

    Example:
        >>> sparkline([0, 9, 99], [1.0, 1e-1, 1e-4], 4)
        '██▆▁'
    """
    step, values = np.asarray(step, float), np.asarray(values, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        heights = np.log10(values) if logarithmic else values
    kept = np.isfinite(heights) & (step >= 0)
    if not kept.any() or width < 1:
        return " " * width
    place, heights = np.log10(step[kept] + 1), heights[kept]
    furthest = place.max() or 1.0
    column = np.minimum(place / furthest * width, width - 1).astype(int)
    drawn = np.full(width, -1)
    drawn[column] = np.arange(len(column))
    # A column without a row of its own shows the value before it.
    drawn = np.maximum.accumulate(drawn)
    low, high = heights.min(), heights.max()
    middle = len(levels) // 2 - 1
    level = np.full(len(heights), middle)
    if high > low:
        level = ((heights - low) / (high - low) * (len(levels) - 1)).round().astype(int)
    return "".join(levels[level[row]] if row >= 0 else " " for row in drawn)
