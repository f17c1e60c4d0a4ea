"""The file of a Lightning training: begun, gone on with from a checkpoint, closed."""

from __future__ import annotations

import os
import warnings
from typing import Any, Protocol

import h5py

from dynamics.recorder import Recorder
from solvers.attaching.log import log_of


class Described(Protocol):
    """What a file is told of a training before its first row."""

    def describe(self, recorder: Recorder) -> None:
        """Tell it.

        Args:
            recorder: new.
        """


class TrajectoryFile:
    """A trajectory that several fits of one module write, one after the other.

    Args:
        path: absolute.
        overwrite: replace an existing file of another run.
        strict: raise what goes wrong.

    Example:
        >>> TrajectoryFile("/tmp/run.h5", False, False).position
        {}
    """

    def __init__(self, path: str, overwrite: bool, strict: bool):
        self.path, self._overwrite, self._strict = path, overwrite, strict
        self.recorder: Recorder | None = None
        self.position: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "recorder": None}

    @property
    def step(self) -> int:
        """Number of the step that comes next."""
        return 0 if self.recorder is None else log_of(self.recorder).step

    def open(self, training: Described) -> None:
        """Begin the file, or go on with it from the position.

        Args:
            training: that is recorded.

        Raises:
            FileExistsError: the path exists, holds another run, and is not to be replaced.
        """
        at = self.position
        if at and _run_of(self.path) == at["run_id"]:
            recorder = Recorder.reopen(self.path, at["rows"], strict=self._strict)
        else:
            config = {"goes_on_from": {name: at[name] for name in ("run_id", "path", "step")}} if at else {}
            recorder = Recorder(self.path, config=config, overwrite=self._overwrite, strict=self._strict)
            training.describe(recorder)
        log = log_of(recorder, at.get("step", 0))
        log.evaluations = at.get("evaluations", 0)
        # Ctrl-C waits while rows are written.
        self.recorder = recorder.__enter__()

    def sync(self) -> None:
        """Take the position of now, once there are rows; they are on the disk from then on."""
        recorder = self.recorder
        if recorder is None or not recorder.recording or not log_of(recorder).declared:
            return
        log = log_of(recorder)
        rows = recorder.sync()
        if recorder.recording:
            self.position = {
                "path": self.path,
                "run_id": recorder.run_id,
                "rows": rows,
                "step": log.step,
                "evaluations": log.evaluations,
            }

    def close(self, error: BaseException | None = None) -> None:
        """Close the file.

        Args:
            error: that ended the training, or None.

        Raises:
            Exception: whatever goes wrong, where strict.
        """
        recorder, self.recorder = self.recorder, None
        if recorder is None:
            return
        try:
            recorder.__exit__(None if error is None else type(error), error, None)
        except Exception as wrong:
            if self._strict:
                raise
            line = next(iter(str(wrong).splitlines()), "") or type(wrong).__name__
            warnings.warn(
                f"attach: the file is not closed ({line}); the training goes on", RuntimeWarning, stacklevel=2
            )


def _run_of(path: str) -> str | None:
    """Return the name of the run that a file holds, None of no file; a directory is asked for its segments' run."""
    if not os.path.exists(path):
        return None
    parts = sorted(os.path.join(path, name) for name in os.listdir(path)) if os.path.isdir(path) else [path]
    for part in parts:
        try:
            with h5py.File(part, "r") as file:
                found = file.attrs.get("run_id", "")
        except OSError:
            continue
        return found.decode() if isinstance(found, bytes) else str(found)
    return None
