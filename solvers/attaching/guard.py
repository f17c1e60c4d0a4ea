"""What goes wrong with the recording stays with the recording: said once, and never the training's affair."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch

from dynamics.recorder import Recorder

INSIDE = tuple(os.path.dirname(os.path.abspath(file)) + os.sep for file in (__file__, torch.__file__))
"""Where a warning's line is not: it is that of the user's call, whatever of ours and torch's lies between."""


class Guard:
    """Runs what records. A part that fails is left out from then on; with the file gone, so is everything.

    Args:
        recorder: whose end ends everything.
        strict: raise what goes wrong instead.

    Example:
        >>> import tempfile, os
        >>> with Recorder(os.path.join(tempfile.mkdtemp(), "run.h5")) as recorder:
        ...     guard = Guard(recorder, strict=False)
        ...     with warnings.catch_warnings(record=True) as said:
        ...         warnings.simplefilter("always")
        ...         found = [guard.run("a part", 7, lambda: 1 / 0) for _ in range(3)]
        >>> found, len(said)
        ([None, None, None], 1)
    """

    def __init__(self, recorder: Recorder, strict: bool):
        self._recorder, self._strict = recorder, strict
        self._lost: set[str] = set()
        self.ended = False

    def run(self, part: str, step: int, call: Callable[..., Any], *arguments: Any) -> Any:
        """Call something, unless its part is lost already.

        Args:
            part: what it records, as the warning shall say it.
            step: under way.
            call: anything.
            *arguments: of the call.

        Returns:
            What it returned; None where it failed.

        Raises:
            Exception: whatever it was, where strict.
        """
        if self.ended or part in self._lost:
            return None
        try:
            return call(*arguments)
        except Exception as error:
            if self._strict:
                raise
            self.ended = isinstance(error, OSError) or not self._recorder.recording
            self._lost.add(part)
            what = "nothing more is" if self.ended else f"{part} not"
            line = next(iter(str(error).splitlines()), "") or type(error).__name__
            self.say(f"{what} recorded from step {step} on ({line}); the training goes on, strict=True raises")
            return None

    def say(self, line: str) -> None:
        """Warn.

        Args:
            line: what was lost and what to do.
        """
        warnings.warn(f"attach: {line}", RuntimeWarning, stacklevel=_level())


def _level() -> int:
    """Return how far the user's code is up from `say`."""
    frame, level = sys._getframe(2), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(INSIDE):
        frame, level = frame.f_back, level + 1
    return level
