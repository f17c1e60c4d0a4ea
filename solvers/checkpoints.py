"""When a training leaves checkpoints, and what is in them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from math import isfinite
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from dynamics.recorder import Recorder
from solvers.cadence import Cadence
from solvers.checkpoint import Checkpoint
from solvers.checkpoint_store import CheckpointStore
from solvers.identity import identity
from solvers.nested_arrays import pack
from solvers.snapshot import take_snapshot

if TYPE_CHECKING:
    from solvers.loop import Loop


class Checkpoints:
    """Takes checkpoints of a training between its steps; taking one changes nothing.

    Args:
        loop: the training.
        store: where they go.
        when: seconds of wall time between two of them, or a cadence in steps.

    Raises:
        ValueError: no time and no cadence.
    """

    def __init__(self, loop: Loop, store: CheckpointStore, when: float | Cadence):
        self.loop, self.store, self.when = loop, store, check_when(when)
        self._at = perf_counter()

    def try_out(self, state: Any) -> None:
        """Make sure, before hours are spent, that the state is one that a checkpoint can hold.

        Args:
            state: of the optimizer, at the start.

        Raises:
            ValueError: it is not, and what stands in the way.
        """
        pack(take_snapshot(self.loop, state, None))

    def before(self, step: int, state: Any, stopped: str | None, last: bool) -> dict[str, object] | None:
        """Return the state at the start of a step, where a checkpoint is due; at the end of a training it always is.

        Args:
            step: number of updates made.
            state: of the optimizer.
            stopped: why it wants to end, or None.
            last: whether the training ends here.

        Returns:
            The snapshot, for `keep`, or None.
        """
        if not self._due(step, last):
            return None
        with self._timed():
            return take_snapshot(self.loop, state, stopped)

    def keep(self, step: int, snapshot: Mapping[str, object], loss: float | None) -> None:
        """Write a checkpoint, before any row of its step is recorded.

        Args:
            step: number of updates made.
            snapshot: from `before`.
            loss: here, or None.
        """
        with self._timed():
            run_id = self.store.recorder.run_id

            def make(rows: dict[str, int]) -> Checkpoint:
                return Checkpoint(step, run_id, rows, loss, self._identity, dict(self.loop.streams), snapshot)

            self.store.write(step, make)
            self._at = perf_counter()

    def leave(self, step: int, state: Any, stopped: str | None) -> None:
        """Leave a checkpoint where the loop is left between two steps, unless the file is closed.

        Args:
            step: number of updates made.
            state: of the optimizer.
            stopped: why it wants to end, or None.
        """
        finite = bool(self.loop.objective.vector.isfinite().all())
        if not (finite and self.store.recorder.recording) or step == self.store.last:
            return
        try:
            self.keep(step, take_snapshot(self.loop, state, stopped), None)
        except OSError as error:
            # Whatever ends the run must not be hidden by this.
            warnings.warn(f"no checkpoint of step {step}: {error}", RuntimeWarning, stacklevel=2)

    def _due(self, step: int, last: bool) -> bool:
        # None before the first update, and none twice.
        if step == 0 or step == self.store.last or not self.store.recorder.recording:
            return False
        if last:
            return True
        if isinstance(self.when, int | float):
            return perf_counter() - self._at >= self.when
        return self.when.due(step)

    @cached_property
    def _identity(self) -> dict[str, object]:
        return identity_of(self.loop)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        start = perf_counter()
        try:
            yield
        finally:
            self.loop.recording_seconds += perf_counter() - start


def attach(loop: Loop, recorder: Recorder | None, when: float | Cadence | None, strict: bool = True) -> None:
    """Let a training record and, where asked, leave checkpoints.

    Args:
        loop: the training, at its start or at the checkpoint that it goes on from.
        recorder: open, or None.
        when: seconds of wall time between checkpoints, or a cadence in steps; None: there are none.
        strict: raise where one cannot be written.
    """
    loop.recorder = recorder
    if when is not None:
        start = None if loop.start is None else loop.start.step
        loop.checkpoints = Checkpoints(loop, CheckpointStore(recorder, strict, start), when)


def check_request(
    record: Recorder | str | Path | None, when: float | Cadence | None, resume: bool, overwrite: bool = False
) -> None:
    """Refuse what makes no sense, before anything is computed.

    Args:
        record: recorder or path of the trajectory.
        when: of the checkpoints.
        resume: whether to go on from one.
        overwrite: whether to replace the trajectory.

    Raises:
        ValueError: checkpoints or a resume without a trajectory, a resume that begins anew.
    """
    if when is not None:
        check_when(when)
        if record is None:
            raise ValueError(f"checkpoint={when!r} without a trajectory to stand beside: pass record='run.h5' too")
    if resume and overwrite:
        raise ValueError("resume=True goes on, overwrite=True begins anew: take one of them")
    if resume and (record is None or isinstance(record, Recorder)):
        raise ValueError(f"expected the path of the trajectory to resume, came record={record!r}: pass record='run.h5'")


def identity_of(loop: Loop) -> dict[str, object]:
    """Return what a training is; another goes on with its checkpoints only where it is the same.

    Args:
        loop: the training.

    Returns:
        Nested plain values.
    """
    rule = loop.rule if loop.use_attention else None
    return identity(loop.objective, loop.optimizer, rule, loop.probes, loop.seed)


def check_when(when: float | Cadence) -> float | Cadence:
    """Return the time or cadence of checkpoints, or refuse.

    Args:
        when: seconds, or a cadence in steps.

    Returns:
        The same.

    Raises:
        ValueError: seconds that are not positive and finite, or something else.
    """
    seconds = isinstance(when, int | float) and not isinstance(when, bool) and isfinite(when) and when > 0
    if not (seconds or hasattr(when, "due")):
        raise ValueError(
            f"expected checkpoint=60.0 for one every 60 seconds, Every(500) for one every 500 steps, or None, came "
            f"{when!r}"
        )
    return when
