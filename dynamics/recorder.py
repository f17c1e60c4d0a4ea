"""The writer of trajectories: appends rows to streams, in memory first, then to a file that readers may open."""

from __future__ import annotations

import operator
import os
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import perf_counter

import numpy as np

from dynamics.file import late, layout, reopening
from dynamics.file.claim import RecorderError
from dynamics.file.provenance import root_attributes
from dynamics.file.rows import Rows
from dynamics.file.swmr_file import SwmrFile
from dynamics.file.termination import Termination
from dynamics.format import LATE, STATUS, STATUSES, STOP_REASON, Stream
from dynamics.left_open import close_at_exit
from dynamics.segments import segment_reopening
from dynamics.segments.segment_directory import SUFFIX as SEGMENTS_SUFFIX
from dynamics.segments.segments import Segments

RESERVED = (LATE, STATUS, STOP_REASON)


class Recorder:
    """Records a run into a trajectory file that can be read while it is being written and after a crash.

    Streams are declared, or taken from what is recorded before the first flush. That flush comes `commit_every`
    seconds after the start or when the first chunk is full, but never while only one step has been seen.

    A file needs a file system that is local, or parallel with POSIX semantics (SWMR mode: ordered writes, seen by
    readers as they come). On NFS, SMB and where locks are missing, record in segments: a directory of closed files,
    each written whole and renamed into place, in which variables may also appear at any time. A crash then costs the
    rows since the last segment.

    Args:
        path: the new file, or directory of segments.
        config: the run's configuration, stored as JSON.
        streams: declared streams: needed for arrays that first appear after the first flush.
        attrs: further root attributes; `seed`, `dtype`, `device` here take precedence over those in `config`.
        overwrite: replace an existing file, which stays as it is until the first rows of the new one are written.
        commit_every: longest time in seconds that rows wait in memory, checked whenever something is recorded; None is
            1 s, in segments 30 s.
        segments: record in segments; None: where the path ends in ".segments".
        strict: raise when the file cannot be written on. Otherwise say so once in a warning, with what is safe, and
            record nothing from then on: the training goes on.

    Raises:
        FileExistsError: the path exists and `overwrite` is not set.
        FileNotFoundError: the directory does not exist.
        PermissionError: the directory or file cannot be written.
        LockedError: another recorder, of this or another process, writes it.

    Example:
        >>> import os, tempfile
        >>> from dynamics.trajectory import open_trajectory
        >>> path = os.path.join(tempfile.mkdtemp(), "run.h5")
        >>> with Recorder(path, config={"seed": 0}) as recorder:
        ...     recorder.record("series", step=0, loss=1.0)
        ...     recorder.record("series", step=1, loss=0.5, rel_l2=0.1)
        >>> with open_trajectory(path) as trajectory:
        ...     trajectory["series/rel_l2"].values
        array([nan, 0.1])
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        config: Mapping | None = None,
        streams: Iterable[Stream] = (),
        attrs: Mapping | None = None,
        overwrite: bool = False,
        commit_every: float | None = None,
        segments: bool | None = None,
        strict: bool = True,
    ):
        start = perf_counter()
        path = os.fspath(path)
        segmented = path.rstrip(os.sep).endswith(SEGMENTS_SUFFIX) if segments is None else segments
        file = Segments(path, overwrite) if segmented else SwmrFile(path, overwrite)
        try:
            self._set_up(file, commit_every, strict, start)
            for stream in streams:
                self.declare(stream)
            self._config, self._attrs = dict(config or {}), dict(attrs or {})
            first = root_attributes(self._config, self._attrs)
            self._origin = {name: first[name] for name in ("created", "run_id")}
        except BaseException:
            file.discard()
            raise
        self._seconds = perf_counter() - start

    def _set_up(self, file: SwmrFile | Segments, commit_every: float | None, strict: bool, start: float) -> None:
        self.path = file.path
        self._file = file
        # A recorder that is forgotten, not closed, must not keep others from the path for the life of the process.
        weakref.finalize(self, file.lock.release)
        close_at_exit(self)
        self._start, self._committed_at, self._seconds = start, perf_counter(), 0.0
        self._segmented = isinstance(file, Segments)
        usual = 30.0 if self._segmented else 1.0
        self._commit_every, self._strict = usual if commit_every is None else commit_every, strict
        self._static: dict[str, tuple] = {}
        self._streams: dict[str, Rows] = {}
        self._late = late.Entries()
        self._config: dict[str, object] = {}
        self._attrs: dict[str, object] = {}
        self._origin: dict[str, object] = {}
        self._first_step: int | None = None
        self._second_step_seen = False
        self._state = "open"
        self._ending = ("complete", "")
        self._signals = Termination()

    @classmethod
    def reopen(
        cls,
        path: str | os.PathLike,
        rows: Mapping[str, int],
        *,
        config: Mapping | None = None,
        commit_every: float | None = None,
        strict: bool = True,
    ) -> Recorder:
        """Go on with a trajectory that an earlier run left, behind the rows that are named.

        The rows after them are given up: a copy without them takes the file's place, once it is verified, in one step;
        until then the file stays as it is. Its status is "running" again, and its clock goes on from the last row.
        Of a directory, the segments after those rows are removed, the last one first; the others stay as they are.

        Args:
            path: the trajectory, closed or left by a dead writer.
            rows: rows to keep of each stream, as `sync` gave them; 0 of those not named.
            config: entries of the recorded configuration that are others now, such as the number of steps.
            commit_every: longest time in seconds that rows wait in memory; None is 1 s, in segments 30 s.
            strict: raise when the file cannot be written on.

        Returns:
            The recorder; what was declared and stored is there already.

        Raises:
            TrajectoryError: no trajectory that can be read.
            ValueError: a stream has fewer committed rows than are to be kept, or no segment ends with them.
            PermissionError: the file is protected against writing.
            LockedError: another process writes the file.

        Example:
            >>> import os, tempfile
            >>> path = os.path.join(tempfile.mkdtemp(), "run.h5")
            >>> with Recorder(path) as recorder:
            ...     for step in range(5):
            ...         recorder.record("series", step, loss=1.0 / (1 + step))
            >>> with Recorder.reopen(path, {"series": 2}) as recorder:
            ...     recorder.record("series", 2, loss=9.0)
            >>> from dynamics.trajectory import open_trajectory
            >>> with open_trajectory(path) as trajectory:
            ...     trajectory["series/loss"].values
            array([1. , 0.5, 9. ])
        """
        start = perf_counter()
        again = segment_reopening.reopen if os.path.isdir(path) else reopening.reopen
        found = again(os.fspath(path), rows, config)
        recorder = cls.__new__(cls)
        recorder._set_up(found.file, commit_every, strict, start - found.seconds)
        recorder._streams, recorder._origin = found.streams, found.origin
        recorder._second_step_seen = True
        recorder._seconds = perf_counter() - start
        return recorder

    @property
    def seconds(self) -> float:
        """Wall time in seconds spent inside the recorder so far."""
        return self._seconds

    @property
    def run_id(self) -> str:
        """The run's own name, drawn at random; a resumed run keeps it."""
        return str(self._origin["run_id"])

    @property
    def committed(self) -> dict[str, int]:
        """Rows by stream that every reader sees, and that stay if this process dies; empty before the first flush."""
        return dict(self._file.committed)

    @property
    def recording(self) -> bool:
        """Whether what is recorded is written: open, and no write has failed."""
        return self._state == "open"

    def record(self, stream: str, /, step: int, *, time: float | None = None, **values: object) -> None:
        """Append a row to a stream.

        Args:
            stream: name of the stream, a group of the file.
            step: optimizer step; it increases from row to row, except in `evaluations`, whose rows are numbered.
            time: seconds since the start of the run; by default since the recorder was made.
            values: numbers and arrays by variable name; a scalar or float array that is left out is NaN.

        Raises:
            ValueError: the step does not increase, a shape changed, an array appeared after the first flush, or the
                recorder is closed.
            RecorderError: the file could not be written on.
        """
        if self._state == "unrecorded":
            return
        now = perf_counter()
        self._signals.busy += 1
        try:
            self._check_open()
            step = operator.index(step)
            seconds = now - self._start if time is None else float(time)
            rows = self._streams.get(stream)
            if rows is None:
                self._check_name(stream)
            if rows is None and (self._segmented or not self._file.frozen):
                rows = self._streams[stream] = Rows(Stream(stream))
            if rows is None:
                self._late.append_row(stream, step, seconds, values)
            else:
                self._late.append(stream, step, rows.append(step, seconds, values))
            self._flush_when_due(rows, step, now)
        finally:
            self._seconds += perf_counter() - now
            self._signals.leave()

    def sync(self) -> dict[str, int]:
        """Write everything recorded so far and wait until it is on the disk itself, not in the system's memory.

        Returns:
            Committed rows by stream, `late` among them: what `reopen` goes on from.

        Raises:
            RecorderError: the file could not be written on.

        Example:
            >>> import os, tempfile
            >>> with Recorder(os.path.join(tempfile.mkdtemp(), "run.h5")) as recorder:
            ...     recorder.record("series", 0, loss=1.0)
            ...     recorder.sync()
            {'series': 1, 'late': 0}
        """
        if self._state != "unrecorded":
            self._check_open()
            self._work(self._commit, self._file.sync)
        return self._late.rows | self.committed

    def store(
        self,
        group: str,
        /,
        *,
        coords: Mapping[str, Sequence] | None = None,
        attrs: Mapping | None = None,
        **arrays: tuple,
    ) -> None:
        """Store arrays that do not change, such as the points of a run; possible until the first flush.

        Args:
            group: name of the group, for instance "points".
            coords: labels by dimension, str or numbers; the others get a size only.
            attrs: attributes of the group.
            arrays: `(dims, array)` or `(dims, array, {"units": ..., "long_name": ...})` by name.

        Raises:
            ValueError: the first rows are written already, the group exists, or sizes do not agree.
        """
        start = perf_counter()
        self._check_open()
        if self._file.frozen:
            raise ValueError(
                f"{group}: expected before the first rows were written, came later: store it before recording"
            )
        self._check_name(group)
        if group in self._streams:
            raise ValueError(f"{group}: expected a new group, came the name of a stream: choose another name")
        arrays = {name: (dims, np.array(array), *rest) for name, (dims, array, *rest) in arrays.items()}
        layout.static_sizes(group, arrays, coords or {})
        self._static[group] = (arrays, dict(coords or {}), dict(attrs or {}))
        self._seconds += perf_counter() - start

    def declare(self, stream: Stream) -> None:
        """Declare a stream after the recorder was made; possible until the first flush.

        Args:
            stream: its variables, labels and attributes.

        Raises:
            ValueError: the first rows are written already, or the stream exists.
        """
        self._check_open()
        self._check_name(stream.name)
        if self._file.frozen or stream.name in self._streams:
            came = "a second time" if stream.name in self._streams else "after the first rows were written"
            raise ValueError(
                f"{stream.name}: expected a declaration before its first row, came one {came}: declare it earlier"
            )
        self._streams[stream.name] = Rows(stream, declared=True)

    def configure(self, config: Mapping | None = None, attrs: Mapping | None = None) -> None:
        """Add to configuration and root attributes, until the first flush; what is there already stays.

        Args:
            config: further configuration, stored as JSON.
            attrs: further root attributes.

        Raises:
            ValueError: the first rows are written already.
        """
        self._check_open()
        if self._file.frozen:
            raise ValueError(
                "configure: expected before the first rows were written, came later: call it before recording"
            )
        self._config = {**(config or {}), **self._config}
        self._attrs = {**(attrs or {}), **self._attrs}

    def end(self, status: str, reason: str = "") -> None:
        """Say how the run ended; `close()` writes it, so that whoever closes the file need not know.

        Args:
            status: complete, interrupted, diverged or failed.
            reason: one line that says why the run stopped; at most 256 bytes are kept.

        Raises:
            ValueError: the status is unknown.
        """
        if status not in STATUSES or status == "running":
            raise ValueError(f"expected a status of {', '.join(STATUSES[1:])}, came {status!r}: name one of them")
        self._ending = (status, reason)

    def close(self, status: str | None = None, reason: str = "") -> None:
        """Write what is left, then the status, and close the file; nothing happens if it is closed already.

        Args:
            status: complete, interrupted, diverged or failed; None is what `end` said, or complete.
            reason: one line that says why the run stopped; at most 256 bytes are kept.

        Raises:
            ValueError: the status is unknown.
        """
        if status is not None:
            self.end(status, reason)
        status, reason = self._ending
        if self._state != "open":
            return
        self._work(self._commit, lambda: self._file.finish(status, reason), self._closed)

    def close_left(self) -> None:
        """Close what the program left open at its end, as interrupted; a file without a row is none."""
        if self._state != "open" or self._discarded():
            return
        said = self._ending != ("complete", "")
        self.close(*(self._ending if said else ("interrupted", "the program ended without close()")))

    def __enter__(self) -> Recorder:
        self._signals.begin()
        return self

    def __exit__(self, kind, error, traceback) -> None:
        try:
            self._leave(kind, error)
        finally:
            # Not before: a second Ctrl-C must not end the closing in its middle.
            self._signals.end()

    def _leave(self, kind: type[BaseException] | None, error: BaseException | None) -> None:
        if kind is None:
            self.close()
            return
        if self._discarded():
            return
        interrupted = issubclass(kind, KeyboardInterrupt | SystemExit | GeneratorExit)
        line = next(iter(str(error).splitlines()), "")
        try:
            self.close(
                "interrupted" if interrupted else "failed", f"{kind.__name__}: {line}" if line else kind.__name__
            )
        except OSError as second:
            error.add_note(str(second))

    def _discarded(self) -> bool:
        """Give up a file in which nothing was recorded, and return whether it was one."""
        if self._file.frozen or any(rows.pending for rows in self._streams.values()):
            return False
        # No file, or the one that was to be replaced, is worth more than an empty one.
        if self._state == "open":
            self._state = "closed"
            self._file.discard()
        return True

    def _closed(self) -> None:
        self._state = "closed"

    def _check_open(self) -> None:
        if self._state == "closed":
            raise ValueError(f"{self.path}: expected an open recorder, came a closed one: record before close()")
        if self._state == "broken":
            raise RecorderError(f"{self.path}: recording stopped at an earlier write error; {self._file.safe()}")

    def _check_name(self, name: str) -> None:
        if name in RESERVED or not name.isidentifier() or name in self._static:
            raise ValueError(
                f"expected a stream's name: an identifier, not {', '.join(RESERVED)} or a stored group; came {name!r}: "
                "choose another name"
            )

    def _flush_when_due(self, rows: Rows | None, step: int, now: float) -> None:
        if self._first_step is None:
            self._first_step = step
        self._second_step_seen = self._second_step_seen or step != self._first_step
        if not self._second_step_seen:
            # The layout is taken from what is recorded before the first flush: a slow first step must not cut it short.
            return
        if now - self._committed_at >= self._commit_every:
            self._work(self._commit)
        elif rows is not None and self._file.full(rows):
            self._work(self._freeze, lambda: self._file.relieve(rows, self._streams.values(), self._late))

    def _freeze(self) -> None:
        if not self._file.frozen:
            # The configuration of now, the time and name of the beginning.
            attributes = root_attributes(self._config, self._attrs) | self._origin
            self._file.freeze(attributes, self._static, self._streams.values())

    def _commit(self) -> None:
        self._freeze()
        self._file.commit(self._streams.values(), self._late)
        self._committed_at = perf_counter()

    def _work(self, *tasks: Callable[[], None]) -> None:
        """Do something with the file, uninterrupted; a failure says what is safe."""
        start = perf_counter()
        self._signals.busy += 1
        try:
            for task in tasks:
                task()
        except (OSError, RuntimeError, ValueError) as error:
            self._fail(error)
        finally:
            if self._signals.busy == 1:  # Else `record` counts this time.
                self._seconds += perf_counter() - start
            self._signals.leave()

    def _fail(self, error: BaseException) -> None:
        came = _errno(error)
        self._state = "broken" if self._strict else "unrecorded"
        self._file.abandon(f"RecorderError: {came}")
        line = f"{self.path}: write failed ({came}); {self._file.safe()}"
        if self._strict:
            raise RecorderError(line) from error
        warnings.warn(f"{line}; what comes is not recorded, the training goes on", RuntimeWarning, stacklevel=5)


def _errno(error: BaseException) -> str:
    """Return what the system said: HDF5 wraps it into a message of many lines."""
    text = str(error)
    for part in text.split(","):
        if "error message" in part:
            return part.split("'")[1]
    return next(iter(text.splitlines()), type(error).__name__)
