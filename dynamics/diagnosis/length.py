"""Whether a run has gone on long enough to be judged by its own values."""

from __future__ import annotations

from dynamics.diagnosis.log import Log

SHORTEST = 100
"""Rows of the series below which a run is too short to be called stuck or unconverged, ..."""

FEWEST, LONG = 20, 1000
"""... unless they are so many at least, out of so many steps or evaluations: a log that keeps few of its rows."""


def long_enough(log: Log) -> bool:
    """Return whether a run has steps enough to be called stuck or unconverged.

    Args:
        log: of the run.

    Returns:
        Whether there are 100 rows, or 20 of 1000 steps or evaluations.
    """
    rows = len(log.steps)
    if rows < FEWEST:
        return False
    spent = log.last("evaluations")
    return rows >= SHORTEST or max(log.last_step - int(log.steps[0]), 0 if spent is None else spent[1]) >= LONG
