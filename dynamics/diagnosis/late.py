"""The end of a run: over which rows it is judged."""

from __future__ import annotations

import numpy as np

LATE_SHARE = 20
"""The end of a run is its last twentieth, ..."""

LEAST_LATE = 5
"""... and five rows at least."""


def late(values: np.ndarray, rows: int | None = None) -> np.ndarray:
    """Return the median over the end of a run, without what is not known.

    Args:
        values: (rows, ...), rows in the order of the steps.
        rows: that are the end; None: the last twentieth, and five at least.

    Returns:
        (...) medians; NaN where nothing is finite.

    Example:
        >>> float(late(np.array([9.0, 9.0, 1.0, 2.0, np.nan, 3.0, 100.0])))
        2.5
    """
    rows = values[-(usual(len(values)) if rows is None else rows) :]
    known = np.isfinite(rows)
    filled = np.ma.masked_array(rows, ~known)
    return np.ma.filled(np.ma.median(filled, axis=0).astype(np.float64), np.nan)


def usual(rows: int) -> int:
    """Return how many rows are the end of a run whose steps are alike.

    Args:
        rows: of the run.

    Returns:
        Number of rows.

    Example:
        >>> usual(1000), usual(7)
        (50, 5)
    """
    return max(LEAST_LATE, rows // LATE_SHARE)


def end_by_evaluations(evaluations: np.ndarray) -> int:
    """Return how many rows are the end of a run whose steps may evaluate the loss many times.

    A row is the state before its step, so its distance from the end is what its own and all later steps evaluate. A run
    of Adam's steps and then of L-BFGS's, of 50 evaluations each, must not be judged by where Adam left it.

    Args:
        evaluations: (rows,) of the loss up to and with the step of each row.

    Returns:
        Number of rows, no more than `usual`.

    Example:
        >>> end_by_evaluations(np.arange(1, 1001.0)), end_by_evaluations(np.array([58.0, 109, 161, 221, 281, 281]))
        (50, 1)
    """
    rows = usual(len(evaluations))
    if len(evaluations) < 2 or not np.isfinite(evaluations).all() or (np.diff(evaluations) < 0).any():
        return rows
    before = np.concatenate(([0.0], evaluations[:-1]))
    distance = evaluations[-1] - before
    return int(np.clip((distance <= usual(int(evaluations[-1]))).sum(), 1, rows))
