"""A run followed while it is written: each poll opens the file, reads the counters, then only the rows that are new.

No file is held open between polls. Rows have numbers, and each delivery says with which it begins: mostly the one after
the last delivery, an earlier one where the run went back (resumed from a checkpoint, or another file in its place) or
where a scalar came late for a row that was delivered without it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from time import sleep

from dynamics.file.opening import DAMAGED, TrajectoryError, check_format, first_line, open_file, written_on
from dynamics.following.contents import Contents
from dynamics.following.delivered import Delivered
from dynamics.following.news import News
from dynamics.following.places import Look

TRIES, PAUSE = 4, 0.02
SMALL = 64
BATCH = 1 << 17


class Follower:
    """Reads what is new in a trajectory, again and again.

    Args:
        path: the trajectory; it need not exist yet.
        names: what to read, each "stream" or "stream/variable"; None reads all variables of all streams that have at
            most `small` numbers a row. `step` and `time` of a stream are always read.
        small: see `names`.
        batch: largest number of rows of a stream that a poll delivers.

    Cost: 1 to 2 ms a poll for a running file with 20 scalars.

    Example:
        >>> import os, tempfile
        >>> from dynamics.recorder import Recorder
        >>> path = os.path.join(tempfile.mkdtemp(), "run.h5")
        >>> follower = Follower(path, ["series/loss"])
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
        self.path = os.fspath(path)
        self._names, self._small, self._batch = names, small, batch
        self._open: Callable[[str], AbstractContextManager] = open_file
        self._identity: tuple | None = None
        self._contents = Contents()
        self._delivered: dict[str, Delivered] = {}

    @property
    def attributes(self) -> Mapping[str, object]:
        """The root attributes of the file."""
        return self._contents.attributes

    @property
    def labels(self) -> dict[str, Mapping[str, list[str]]]:
        """Labels by stream and variable, for variables with one labelled dimension beside the rows."""
        return {name: stream.labels for name, stream in self._contents.streams.items()}

    def poll(self) -> News:
        """Open the file, read what was committed since the last poll, and close it.

        Returns:
            The news.

        Raises:
            TrajectoryError: the file is no trajectory that can be read; another poll may succeed where it is being
                copied into place.
        """
        for attempt in range(TRIES):
            try:
                if not os.path.getsize(self.path):
                    return News("waiting")
                with Look(self.path, self._open) as look:
                    news = self._news(look)
                    if news is not None:
                        return news
            except (FileNotFoundError, NotADirectoryError):
                return News("waiting")
            except (OSError, RuntimeError, KeyError, TrajectoryError) as error:
                # The file may have gone, or another may have taken its place, between one look and the next.
                if attempt == TRIES - 1:
                    raise _unreadable(self.path, error) from error
                self._identity = None
            sleep(PAUSE)
        raise TrajectoryError(
            f"{self.path}: expected a file that stays for the time of a look, came new ones {TRIES} times: try again"
        )

    def _news(self, look: Look) -> News | None:
        """Read everything first, then take note of it: a read that fails may be tried again.

        None where another file has taken the place of the one that was looked at.
        """
        identity = (look.stat.st_dev, look.stat.st_ino, look.unclosed)
        same = identity == self._identity and self._contents.continues(look, self._delivered)
        contents = self._contents if same else self._look(look)
        if contents is None:
            return None
        # The status comes before the counters: once it is final, so are they.
        status, reason = (place.read(look).decode(errors="replace") for place in contents.status)
        # The writer promises late scalars before their rows; who reads them after the rows misses none.
        counts = {name: stream.committed(look) for name, stream in contents.streams.items()}
        entries = contents.late.read_on(look, self._wanted)
        contents = replace(contents, late=entries)
        kept = {name: self._kept(look, name, contents, counts.get(name, 0)) for name in self._delivered}
        rows, first, more = {}, {}, False
        for name in dict.fromkeys((*contents.streams, *entries.fresh, *kept)):
            start = self._start(name, kept.get(name, 0), contents)
            stop = min(counts.get(name, start), start + self._batch)
            found = contents.rows(look, name, start, stop)
            if len(found.get("step", ())) or start < self._had(name):
                rows[name], first[name] = found, start
            more = more or stop < counts.get(name, stop)
        went_back = {name: (self._had(name), left) for name, left in kept.items() if left < self._had(name)}
        self._take(identity, contents, rows, first)
        return News(self._state(look), status, reason, rows, first, went_back, more)

    def _look(self, look: Look) -> Contents | None:
        """Learn what a file holds that is not the one of the last poll, or not in the same state."""
        file = look.file
        there = os.stat(self.path)
        if (there.st_dev, there.st_ino) != (look.stat.st_dev, look.stat.st_ino):
            return None
        check_format(self.path, file)
        return Contents.of(look, self._names, self._small)

    def _had(self, name: str) -> int:
        return self._delivered[name].count if name in self._delivered else 0

    def _kept(self, look: Look, name: str, contents: Contents, count: int) -> int:
        """Return how many of the delivered rows of a stream the file still holds."""
        known, entries = self._delivered[name], contents.late
        renewed = contents.streams is not self._contents.streams
        if name in contents.streams:
            return contents.streams[name].common(look, known, count) if renewed else known.count
        if name not in entries.values:
            return 0
        if not renewed and name not in entries.fresh:
            return known.count
        table = entries.table(name)
        return known.same(0, table["step"], table["time"])

    def _start(self, name: str, kept: int, contents: Contents) -> int:
        """Return the number of the row to begin with: that of the first one that is new or has got something new."""
        before, now = self._contents.streams.get(name), contents.streams.get(name)
        if before is not None and now is not None and set(now.columns) - set(before.columns):
            return 0
        fresh = contents.late.fresh.get(name)
        return kept if fresh is None or name not in self._delivered else min(kept, self._delivered[name].row_of(fresh))

    def _take(self, identity: tuple, contents: Contents, rows: Mapping, first: Mapping) -> None:
        self._identity, self._contents = identity, contents
        for name, found in rows.items():
            known = self._delivered.setdefault(name, Delivered())
            known.cut(first[name])
            if found:
                known.extend(found["step"], found["time"])

    def _wanted(self, stream: str, name: str) -> bool:
        return self._names is None or stream in self._names or f"{stream}/{name}" in self._names

    def _state(self, look: Look) -> str:
        """Return "live" also for a file that was not written to for a while by a process that lives."""
        if not look.unclosed:
            return "closed"
        return "live" if written_on(self.path, look.stat.st_mtime) else "left"


def follow(path: str | os.PathLike, names: Sequence[str] | None = None, *, interval: float = 0.5) -> Iterator[News]:
    """Yield the news of a run until nobody writes it any more.

    Args:
        path: the trajectory; it need not exist yet.
        names: what to read, see `Follower`.
        interval: seconds between polls.

    Yields:
        News, also where there are none.

    Example:
        >>> import os, tempfile
        >>> from dynamics.recorder import Recorder
        >>> path = os.path.join(tempfile.mkdtemp(), "run.h5")
        >>> with Recorder(path) as recorder:
        ...     recorder.record("series", step=0, loss=1.0)
        >>> [(news.status, news.rows["series"]["loss"].tolist()) for news in follow(path)]
        [('complete', [1.0])]
    """
    # Imported here: it follows segments as this module does files.
    from dynamics.segments.segment_following import follower

    following = follower(path, names)
    while True:
        news = following.poll()
        yield news
        if news.ended:
            return
        if not news.more:
            sleep(interval)


def _unreadable(path: str, error: Exception) -> TrajectoryError:
    if isinstance(error, TrajectoryError):
        return error
    return TrajectoryError(f"{path}: expected readable rows, came {first_line(error)}: {DAMAGED}")
