"""Rows of the series, where the layout of the file may have no place for what comes late."""

from __future__ import annotations

from collections.abc import Mapping

from dynamics.recorder import Recorder
from solvers.attaching.guard import Guard
from solvers.attaching.log import GROUP_RATE

RATES = (GROUP_RATE.name,)
ARRAYS = ("loss_raw", "loss_weight", *RATES)


class SeriesRows:
    """Writes rows; arrays that the layout has no place for, of terms or groups that came after its first, are left out.

    Args:
        recorder: open.
        guard: of the attachment.

    Example:
        >>> import os, tempfile
        >>> with Recorder(os.path.join(tempfile.mkdtemp(), "run.h5")) as recorder:
        ...     rows = SeriesRows(recorder, Guard(recorder, strict=False))
        ...     rows.write(0, {"loss": 1.0})
        ...     recorder.sync()
        {'series': 1, 'late': 0}
    """

    def __init__(self, recorder: Recorder, guard: Guard):
        self._recorder, self._guard = recorder, guard
        self._left_out: frozenset[str] = frozenset()

    def write(self, number: int, row: Mapping[str, object]) -> None:
        """Write a row.

        Args:
            number: of the step.
            row: by variable name.

        Raises:
            ValueError: what the recorder refuses for another reason.
        """
        for more in ((), RATES, ARRAYS):
            left_out = self._left_out.union(more)
            kept = {name: value for name, value in row.items() if name not in left_out} if left_out else row
            try:
                self._recorder.record("series", number, **kept)
            except ValueError:
                if more == ARRAYS or not self._recorder.recording:
                    raise
            else:
                break
        lost, self._left_out = [name for name in row if name in left_out - self._left_out], left_out
        if lost:
            self._guard.run(f"{', '.join(lost)} of /series is", number, _too_late)


def _too_late() -> None:
    raise ValueError(
        "the layout of the series is fixed at its first rows: tell all terms from the first step on, add groups before"
    )
