"""The checkpoints beside a trajectory: the last two stay, older ones go once the new one stands."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable
from contextlib import suppress

from dynamics.file.claim import RecorderError
from dynamics.recorder import Recorder
from solvers.checkpoint import Checkpoint, path_at, paths_beside

KEPT = 2


class CheckpointStore:
    """Writes the checkpoints of one run and removes those that are no longer needed.

    Args:
        recorder: open, of the trajectory that they stand beside.
        strict: raise where one cannot be written; otherwise warn once, and go on.
        start: step of the checkpoint that the run goes on from, or None.
    """

    def __init__(self, recorder: Recorder, strict: bool = True, start: int | None = None):
        self.recorder, self.strict, self.steps = recorder, strict, [] if start is None else [start]
        self._warned = False

    @property
    def last(self) -> int | None:
        """Step of the latest one of this run, or None."""
        return self.steps[-1] if self.steps else None

    def write(self, step: int, make: Callable[[dict[str, int]], Checkpoint]) -> None:
        """Write one, behind the rows of all steps before.

        Args:
            step: number of updates made; none of its rows is recorded yet.
            make: rows by stream -> the checkpoint.

        Raises:
            RecorderError: rows or checkpoint cannot be written, and strict.
        """
        rows = self.recorder.sync()
        if not self.recorder.recording or rows.get("series") != step:
            # The trajectory has a gap, or ends before this step: nothing could go on from here.
            return
        path = path_at(self.recorder.path, step)
        try:
            make(rows).write(path)
        except OSError as error:
            self._fail(path, error)
        else:
            self.steps = [*self.steps, step][-KEPT:]
            self._clear()

    def _clear(self) -> None:
        """Remove what is not kept: older ones, those of a run that was replaced or cut, what a crash left half done."""
        for step, path in paths_beside(self.recorder.path):
            if step not in self.steps:
                with suppress(OSError):
                    os.remove(path)
        directory, name = os.path.split(self.recorder.path.rstrip(os.sep))
        half = re.compile(re.escape(name) + r"\.checkpoint-\d+\.npz\.tmp-\d+")
        for entry in os.listdir(directory or "."):
            if half.fullmatch(entry):
                with suppress(OSError):
                    os.remove(os.path.join(directory, entry))

    def _fail(self, path: str, error: OSError) -> None:
        stands = f"that of step {self.steps[-1]} stands" if self.steps else "there is none before it"
        line = f"{path}: this checkpoint cannot be written ({error.strerror or error}); {stands}"
        if self.strict:
            raise RecorderError(
                f"{line}, and all rows so far are committed: free space, or take checkpoint=None"
            ) from error
        if not self._warned:
            self._warned = True
            warnings.warn(f"{line}; the training goes on", RuntimeWarning, stacklevel=2)
