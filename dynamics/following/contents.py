"""What a follower knows of the file it looks at: which streams it has, where they lie, what came late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from numpy import ndarray

from dynamics.following.delivered import Delivered
from dynamics.following.followed_late import FollowedLate
from dynamics.following.places import Look, ScalarPlace
from dynamics.following.stream_rows import StreamRows, stream_rows
from dynamics.format import STATUS, STOP_REASON


@dataclass(frozen=True, eq=False)
class Contents:
    """Status, streams, late entries and attributes of a file.

    Args:
        status: where `status` and `stop_reason` lie.
        streams: by name.
        late: entries of `/late`.
        attributes: of the root.
    """

    status: tuple[ScalarPlace, ...] = ()
    streams: Mapping[str, StreamRows] = field(default_factory=dict)
    late: FollowedLate = field(default_factory=FollowedLate)
    attributes: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def of(cls, look: Look, names: Sequence[str] | None, small: int) -> Contents:
        """Return what a file holds, without its rows.

        Args:
            look: at the file.
            names: of what is wanted, see `dynamics.following.following.Follower`.
            small: likewise.

        Returns:
            The contents.
        """
        status = tuple(ScalarPlace(look, name) for name in (STATUS, STOP_REASON))
        return cls(status, stream_rows(look, names, small), FollowedLate.of(look), dict(look.file.attrs))

    def continues(self, look: Look, delivered: Mapping[str, Delivered]) -> bool:
        """Return whether nothing was taken back and the last row that was delivered of each stream is still there.

        Another run that was copied over the file may lie elsewhere in it.

        Args:
            look: at the file.
            delivered: by stream.

        Returns:
            True where no stream says otherwise.
        """
        if self.late.counter is not None and int(self.late.counter.read(look)) < self.late.count:
            return False
        for name, stream in self.streams.items():
            count = delivered[name].count if name in delivered else 0
            if count and (
                stream.committed(look) < count or stream.common(look, delivered[name], count, count - 1) < count
            ):
                return False
        return True

    def rows(self, look: Look, name: str, start: int, stop: int) -> dict[str, ndarray]:
        """Return rows of a stream, late scalars among them.

        Args:
            look: at the file.
            name: of the stream.
            start: number of the first row.
            stop: number of the row after the last; of a stream that has only late entries, all behind `start` come.

        Returns:
            Arrays by variable; none for a stream without rows or without new ones.
        """
        if name in self.streams:
            rows = self.streams[name].read(look, start, stop)
            return rows | self.late.columns(name, rows["step"])
        if name in self.late.fresh:
            return {variable: values[start:] for variable, values in self.late.table(name).items()}
        return {}
