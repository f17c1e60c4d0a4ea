"""Ctrl-C and requests to end that wait for the end of a step, where the state of the training is whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from dynamics.file.termination import CAUGHT


class StepBoundary:
    """Signals wait until `reached`, which hands them to whoever had them before; a second one does not wait."""

    def __init__(self):
        self._before: dict[int, object] = {}
        self._came: int | None = None

    def begin(self) -> None:
        """Take the signals that have a handler; nothing in threads other than the main one."""
        if threading.current_thread() is threading.main_thread():
            for number in CAUGHT:
                if callable(before := signal.getsignal(number)):
                    self._before[number] = before
                    signal.signal(number, self._handle)

    def end(self) -> None:
        """Give the signals back, those that somebody else took meanwhile excepted."""
        for number, before in self._before.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, before)

    def reached(self) -> None:
        """Let what has come in take effect: the state is whole."""
        if self._came is not None:
            number, self._came = self._came, None
            self._before[number](number, None)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # A step may be long: who asks twice means now.
        waits, self._came = self._came is None, number
        if not waits:
            self._before[number](number, frame)


@contextmanager
def step_boundary(wanted: bool = True) -> Iterator[StepBoundary]:
    """Make signals wait for the end of a step while the block runs.

    Args:
        wanted: False lets them come as they do.

    Yields:
        The boundary, to be told where a step ends.

    Example:
        >>> import os
        >>> with step_boundary() as boundary:
        ...     os.kill(os.getpid(), signal.SIGINT)
        ...     print("the step goes on")
        ...     try:
        ...         boundary.reached()
        ...     except KeyboardInterrupt:
        ...         print("and ends here")
        the step goes on
        and ends here
    """
    boundary = StepBoundary()
    if wanted:
        boundary.begin()
    try:
        yield boundary
    finally:
        boundary.end()
