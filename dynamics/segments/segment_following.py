"""A run in segments followed while it is written: each poll lists the directory and reads the segments that are new."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from itertools import takewhile

import numpy as np

from dynamics.file.opening import written_on
from dynamics.following.following import BATCH, SMALL, Follower
from dynamics.following.news import News
from dynamics.format import STATUS, STOP_REASON
from dynamics.segments.segment_catalogue import Catalogue, Stacked
from dynamics.segments.segment_directory import SUFFIX, segment_numbers
from dynamics.segments.stack import Segment, Stack, read_together


class SegmentFollower:
    """Reads what is new in a directory of segments, again and again, as `Follower` does in a file.

    Args:
        path: the directory; it need not exist yet.
        names: what to read, each "stream" or "stream/variable"; None reads all variables of all streams that have at
            most `small` numbers a row. `step` and `time` of a stream are always read.
        small: see `names`.
        batch: largest number of rows of a stream that a poll delivers.

    Cost: 0.1 ms a poll where nothing is new, else as `Catalogue` and `Stack`.

    Example:
        >>> import tempfile
        >>> from dynamics.recorder import Recorder
        >>> path = os.path.join(tempfile.mkdtemp(), "run.segments")
        >>> follower = SegmentFollower(path, ["series/loss"])
        >>> follower.poll().state
        'waiting'
        >>> with Recorder(path, commit_every=0.0) as recorder:
        ...     recorder.record("series", step=0, loss=1.0)
        ...     recorder.record("series", step=1, loss=0.5)
        ...     first = follower.poll()
        ...     recorder.record("series", step=2, loss=0.25)
        >>> second = follower.poll()
        >>> [(n.state, n.rows["series"]["loss"].tolist(), n.first["series"]) for n in (first, second)]
        [('live', [1.0, 0.5], 0), ('closed', [0.25], 2)]
    """

    def __init__(
        self,
        path: str | os.PathLike,
        names: Sequence[str] | None = None,
        *,
        small: int = SMALL,
        batch: int = BATCH,
    ):
        self.path = os.fspath(path).rstrip(os.sep)
        self._names, self._small, self._batch = names, small, batch
        self._catalogue: Catalogue | None = None
        self._segments: list[Segment] = []
        self._delivered: dict[str, int] = {}
        self._read: dict[str, set[str]] = {}

    @property
    def attributes(self) -> Mapping[str, object]:
        """The root attributes of the last segment."""
        return self._catalogue.attributes if self._catalogue else {}

    @property
    def labels(self) -> dict[str, Mapping[str, list[str]]]:
        """Labels by stream and variable, for variables with one labelled dimension beside the rows."""
        streams = self._catalogue.streams if self._catalogue else {}
        return {name: _labels(stream) for name, stream in streams.items()}

    def poll(self) -> News:
        """List the directory, and read the rows that are new.

        Returns:
            The news.

        Raises:
            TrajectoryError: a segment is missing or damaged.
        """
        try:
            begun = bool(segment_numbers(self.path))
        except (FileNotFoundError, NotADirectoryError):
            begun = False
        if not begun:
            return News("waiting")
        if self._catalogue is None:
            self._catalogue = Catalogue(self.path)
        else:
            self._catalogue.update()
        catalogue, kept = self._catalogue, self._kept()
        rows, first, more = {}, {}, False
        for name, stream in catalogue.streams.items():
            wanted, start = self._wanted(stream), kept.get(name, 0)
            if wanted - self._read.get(name, wanted):
                # Rows that were delivered have got a variable more, NaN in most of them.
                start = 0
            stop = min(stream.count, start + self._batch)
            if stop > start or start < self._delivered.get(name, 0):
                rows[name] = _rows(stream, wanted, start, stop)
                first[name] = start
            more = more or stop < stream.count
        went_back = {name: (had, kept[name]) for name, had in self._delivered.items() if kept[name] < had}
        self._take(rows, first)
        return News(
            self._state(), catalogue.status[STATUS], catalogue.status[STOP_REASON], rows, first, went_back, more
        )

    def _kept(self) -> dict[str, int]:
        """Return how many of the delivered rows of each stream are still there: those of segments that are."""
        pairs = zip(self._segments, self._catalogue.segments, strict=False)
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        if common == len(self._segments):
            return dict(self._delivered)
        ends = self._catalogue.ends[common - 1] if common else {}
        return {name: min(had, ends.get(name, 0)) for name, had in self._delivered.items()}

    def _take(self, rows: Mapping[str, Mapping[str, np.ndarray]], first: Mapping[str, int]) -> None:
        self._segments = list(self._catalogue.segments)
        for name in [name for name in self._delivered if name not in self._catalogue.streams]:
            del self._delivered[name], self._read[name]
        for name, found in rows.items():
            self._delivered[name] = first[name] + len(found["step"])
            self._read[name] = set(found)

    def _wanted(self, stream: Stacked) -> set[str]:
        """Return the names of what is read of a stream; more of them with time."""
        names = {name for name, stack in stream.recorded.items() if self._is_wanted(stream.name, stack)}
        return names | {"step", "time"}

    def _is_wanted(self, stream: str, stack: Stack) -> bool:
        if self._names is None:
            return math.prod(stack.shape) <= self._small
        return stream in self._names or f"{stream}/{stack.name}" in self._names

    def _state(self) -> str:
        if self._catalogue.status[STATUS] != "running":
            return "closed"
        try:
            written = os.path.getmtime(self._segments[-1].path)
        except OSError:  # Removed at this moment: the next poll tells.
            return "live"
        return "live" if written_on(self.path, written) else "left"


def follower(path: str | os.PathLike, names: Sequence[str] | None = None) -> Follower | SegmentFollower:
    """Return what follows a trajectory of either kind.

    Args:
        path: a file, or a directory of segments; one that is not there yet is told by its name.
        names: what to read.

    Returns:
        The follower.
    """
    segmented = os.path.isdir(path) or os.fspath(path).rstrip(os.sep).endswith(SUFFIX)
    return SegmentFollower(path, names) if segmented else Follower(path, names)


def _rows(stream: Stacked, names: set[str], start: int, stop: int) -> dict[str, np.ndarray]:
    stacks = [stream.variables[name] for name in sorted(names)]
    blank = {stack.name: np.full((stop - start, *stack.shape), stack.absent, stack.dtype) for stack in stacks}
    return blank | read_together(stacks, start, stop)


def _labels(stream: Stacked) -> dict[str, list[str]]:
    found = {}
    for name, stack in stream.recorded.items():
        labels = stream.labels.get(stack.dims[1]) if len(stack.dims) == 2 else None
        if isinstance(labels, list):
            found[name] = [str(label) for label in labels]
    return found
