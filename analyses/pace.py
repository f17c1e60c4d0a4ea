"""How fast a run goes, from the steps and times of its rows, whatever its clock does."""

from __future__ import annotations

import math

import numpy as np

ROWS, SECONDS = 4096, 10.0


def pace(steps: np.ndarray, times: np.ndarray) -> float:
    """Return the steps per second of the last rows, about the last ten seconds of the run.

    A clock that jumps back, stands still or was not recorded costs the intervals where it does so and nothing else.

    Args:
        steps: (n,) increasing.
        times: (n,) seconds since the start of the run.

    Returns:
        The rate, NaN where no interval tells it.

    Example:
        >>> pace(np.array([0, 1, 2, 3, 4]), np.array([0.0, 0.5, 1.0, -99.0, -98.5]))
        2.0
    """
    taken, passed = _intervals(steps[-ROWS:], times[-ROWS:])
    recent = np.cumsum(passed[::-1])[::-1] - passed < SECONDS
    return float(taken[recent].sum() / passed[recent].sum()) if len(passed) else math.nan


def elapsed(times: np.ndarray) -> float:
    """Return the seconds that a run has taken by its own clock, jumps back left out.

    Args:
        times: (n,) seconds since the start of the run.

    Returns:
        Seconds, NaN without rows that tell them.

    Example:
        >>> elapsed(np.array([0.25, 1.25, -100.0, -99.0]))
        2.25
    """
    known = times[np.isfinite(times)]
    if not len(known):
        return math.nan
    forward = np.diff(known)
    return float(max(known[0], 0.0) + forward[forward > 0].sum())


def duration(seconds: float) -> str:
    """Return a time span as text.

    Args:
        seconds: of the span.

    Returns:
        "h:mm:ss", with days before it from one on, "-" where it is not known.

    Example:
        >>> duration(59.7), duration(3661.0), duration(2e5), duration(float("nan"))
        ('0:01:00', '1:01:01', '2 d 7:33:20', '-')
    """
    if not math.isfinite(seconds) or seconds < 0:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days} d " * (days > 0) + f"{hours}:{minutes:02}:{rest:02}"


def _intervals(steps: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    taken, passed = np.diff(np.asarray(steps, float)), np.diff(times)
    kept = np.isfinite(passed) & (passed > 0) & (taken > 0)
    return taken[kept], passed[kept]
