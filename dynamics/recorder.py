"""The writer of trajectories: appends rows to streams, in memory first, then to an HDF5 file in SWMR mode.

The layout of the file is fixed before SWMR mode starts and nothing is created afterwards: HDF5 does not refuse it, but
readers would see undefined data. Whatever a `committed` counter promises was flushed before the counter was raised.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from time import perf_counter

import h5py
import numpy as np

from dynamics import late, layout
from dynamics.claim import RecorderError, claim
from dynamics.format import COMMITTED, LATE, STATUS, STATUS_DTYPES, STATUSES, STOP_REASON, Stream
from dynamics.provenance import root_attributes
from dynamics.rows import Rows

PENDING_BYTES = 1 << 20
RESERVED = (LATE, STATUS, STOP_REASON)


class Recorder:
    """Records a run into a trajectory file that can be read while it is being written and after a crash.

    Streams are declared, or taken from what is recorded before the first flush. That flush comes `commit_every`
    seconds after the start or when the first chunk is full, but never while only one step has been seen.

    Args:
        path: the new file.
        config: the run's configuration, stored as JSON.
        streams: declared streams: needed for arrays that first appear after the first flush.
        attrs: further root attributes; `seed`, `dtype`, `device` here take precedence over those in `config`.
        overwrite: replace an existing file, which stays as it is until the first rows of the new one are written.
        commit_every: longest time in seconds that rows wait in memory, checked whenever something is recorded.

    Raises:
        FileExistsError: the path exists and `overwrite` is not set.
        FileNotFoundError: the directory does not exist.
        PermissionError: the directory or file cannot be written.

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
        commit_every: float = 1.0,
    ):
        self.path = os.fspath(path)
        self._start = self._committed_at = perf_counter()
        self._seconds = 0.0
        self._commit_every = commit_every
        self._static: dict[str, tuple] = {}
        self._streams: dict[str, Rows] = {}
        for stream in streams:
            self._check_name(stream.name)
            self._streams[stream.name] = Rows(stream, declared=True)
        self._late = late.Entries()
        self._datasets: dict[str, dict[str, h5py.Dataset]] = {}
        self._committed: dict[str, int] = {}
        self._first_step: int | None = None
        self._second_step_seen = False
        self._frozen = False
        self._state = "open"
        self._offsets: dict[str, int] = {}
        self._config, self._attrs = dict(config or {}), dict(attrs or {})
        self._created = root_attributes(self._config, self._attrs)
        self._ending = ("complete", "")
        self._file: h5py.File | None = None
        self._replaces = claim(self.path, overwrite)
        self._seconds = perf_counter() - self._start

    @property
    def seconds(self) -> float:
        """Wall time in seconds spent inside the recorder so far."""
        return self._seconds

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
        now = perf_counter()
        try:
            self._check_open()
            step = operator.index(step)
            seconds = now - self._start if time is None else float(time)
            rows = self._streams.get(stream)
            if rows is None:
                self._check_name(stream)
            if rows is None and not self._frozen:
                rows = self._streams[stream] = Rows(Stream(stream))
            if rows is None:
                self._late.append_row(stream, step, seconds, values)
            else:
                self._late.append(stream, step, rows.append(step, seconds, values))
            self._flush_when_due(rows, step, now)
        finally:
            self._seconds += perf_counter() - now

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
        if self._frozen:
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
        if self._datasets or stream.name in self._streams:
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
        if self._frozen:
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
        start = perf_counter()
        with self._guard():
            self._commit()
            for name, datasets in self._datasets.items():
                layout.write(datasets, {}, 0, self._committed[name])
            self._file[STOP_REASON][...] = layout.fitting(reason, STOP_REASON)
            self._file.flush()
            self._file[STATUS][...] = layout.fitting(status, STATUS)
            self._file.flush()
            self._file.close()
        self._state = "closed"
        if self._committed[LATE]:
            self._fold_late()
        self._seconds += perf_counter() - start

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if kind is None:
            self.close()
            return
        if not self._frozen and not any(rows.pending for rows in self._streams.values()):
            # Nothing was recorded: no file, or the one that was to be replaced, is worth more than an empty one.
            self._state = "closed"
            if not self._replaces:
                with suppress(OSError):
                    os.remove(self.path)
            return
        interrupted = issubclass(kind, KeyboardInterrupt | SystemExit | GeneratorExit)
        line = next(iter(str(error).splitlines()), "")
        try:
            self.close(
                "interrupted" if interrupted else "failed", f"{kind.__name__}: {line}" if line else kind.__name__
            )
        except OSError as second:
            error.add_note(str(second))

    def _attributes(self) -> dict[str, object]:
        """Return the root attributes: the configuration of now, the time of creation."""
        return {**root_attributes(self._config, self._attrs), "created": self._created["created"]}

    def _check_open(self) -> None:
        if self._state == "closed":
            raise ValueError(f"{self.path}: expected an open recorder, came a closed one: record before close()")
        if self._state == "broken":
            raise RecorderError(f"{self.path}: recording stopped at an earlier write error; {self._safe()}")

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
            with self._guard():
                self._commit()
        elif rows is not None and (rows.pending_bytes >= PENDING_BYTES or rows.written + len(rows.pending) >= rows.due):
            with self._guard():
                self._freeze()
                self._write(rows)

    def _freeze(self) -> None:
        """Write everything the file will ever hold, enter SWMR mode and let readers at it."""
        if self._frozen:
            return
        temporary = f"{self.path}.tmp-{os.getpid()}"
        try:
            with open(temporary, "wb") as file:
                file.write(layout.image(self._attributes(), self._static, self._streams.values()))
            self._file = h5py.File(temporary, "r+", libver="latest")
            self._file.swmr_mode = True
            os.replace(temporary, self.path)
        except BaseException:
            with suppress(OSError):
                os.remove(temporary)
            raise
        names = (*self._streams, LATE)
        self._datasets = {name: layout.growing(self._file[name]) for name in names}
        self._committed = dict.fromkeys(names, 0)
        self._offsets = {name: self._file[name].id.get_offset() for name in STATUS_DTYPES}
        for rows in self._streams.values():
            rows.frozen = True
        self._frozen = True

    def _write(self, rows: Rows) -> None:
        count = len(rows.pending)
        if count:
            layout.write(self._datasets[rows.name], rows.blocks(count), rows.written, rows.written + count)
            rows.drop(count)

    def _commit(self) -> None:
        self._freeze()
        for rows in self._streams.values():
            self._write(rows)
        self._late.write(self._datasets[LATE])
        self._file.flush()
        counts = {rows.name: rows.written for rows in self._streams.values()} | {LATE: self._late.written}
        for name, count in counts.items():
            if count != self._committed[name]:
                self._datasets[name][COMMITTED][...] = count
        self._file.flush()
        self._committed = counts
        self._committed_at = perf_counter()

    def _fold_late(self) -> None:
        """Tidy up: `/late` becomes columns, unless a reader holds the file or the disk is full; readers fold anyway."""
        with suppress(OSError, RuntimeError):
            if late.room_to_fold(self.path):
                with h5py.File(self.path, "r+", libver="latest") as file:
                    # In SWMR mode still, when somebody in this process holds the file open.
                    if not file.swmr_mode:
                        late.fold(file)

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Turn HDF5's write errors into one that says what is safe."""
        try:
            yield
        except (OSError, RuntimeError, ValueError) as error:
            self._state = "broken"
            self._abandon(error)
            raise RecorderError(f"{self.path}: write failed ({_errno(error)}); {self._safe()}") from error

    def _safe(self) -> str:
        if not self._frozen:
            return "nothing was written yet: free space or choose another path"
        rows = ", ".join(f"{count} rows of {name}" for name, count in self._committed.items() if name != LATE)
        return f"{rows or 'no rows'} are committed, and the file is readable up to there"

    def _abandon(self, error: BaseException) -> None:
        """Leave the file as it is on disk.

        After a failed write HDF5 keeps its dirty buffers and writes them again when the file is closed and when the
        interpreter exits; failing again, it crashes there. Its descriptor is pointed at the null device instead.
        """
        if self._file is not None:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, self._file.id.get_vfd_handle())
            os.close(null)
            with suppress(OSError, RuntimeError):
                self._file.close()
        if self._frozen:
            self._patch_status("failed", f"RecorderError: {_errno(error)}")
        elif not self._replaces:
            with suppress(OSError):
                os.remove(self.path)

    def _patch_status(self, status: str, reason: str) -> None:
        # Both datasets are contiguous and allocated, so their bytes can be replaced without HDF5.
        with suppress(OSError), open(self.path, "r+b") as file:
            for name, text in ((STOP_REASON, reason), (STATUS, status)):
                file.seek(self._offsets[name])
                file.write(layout.fitting(text, name).tobytes())


def _errno(error: BaseException) -> str:
    """Return what the system said: HDF5 wraps it into a message of many lines."""
    text = str(error)
    for part in text.split(","):
        if "error message" in part:
            return part.split("'")[1]
    return next(iter(text.splitlines()), type(error).__name__)
