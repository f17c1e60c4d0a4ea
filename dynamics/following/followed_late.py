"""Late scalars of a file that is followed: the entries of `/late` so far, and which rows the newest belong to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from dynamics.file import late
from dynamics.following.places import ColumnPlace, Look, ScalarPlace
from dynamics.format import COMMITTED, LATE, LATE_DTYPES


@dataclass(frozen=True, eq=False)
class FollowedLate:
    """Committed entries of `/late`.

    Args:
        counter: where their number stands, None in a file without `/late`.
        entries: where they lie, by column.
        count: how many there are.
        values: `(steps, values)` by stream and variable.
        fresh: the least step of the newest entries by stream.

    Example:
        >>> entries = {"series": {"rel_l2": (np.array([4, 8]), np.array([0.5, 0.25]))}}
        >>> FollowedLate(count=2, values=entries).columns("series", np.array([2, 4, 6]))["rel_l2"].tolist()
        [nan, 0.5, nan]
    """

    counter: ScalarPlace | None = None
    entries: Mapping[str, ColumnPlace] = field(default_factory=dict)
    count: int = 0
    values: Mapping[str, Mapping[str, tuple]] = field(default_factory=dict)
    fresh: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, look: Look) -> FollowedLate:
        """Return what is known of a file before its entries are read.

        Args:
            look: at the file.

        Returns:
            No entries.
        """
        if LATE not in look.file:
            return cls()
        columns = {name: ColumnPlace(look, f"{LATE}/{name}") for name in LATE_DTYPES}
        return cls(ScalarPlace(look, f"{LATE}/{COMMITTED}"), columns)

    def read_on(self, look: Look, wanted: Callable[[str, str], bool]) -> FollowedLate:
        """Read the entries behind those that are known.

        Args:
            look: at the file.
            wanted: says of a stream and a variable whether they are followed.

        Returns:
            All entries.
        """
        count = int(self.counter.read(look)) if self.counter else 0
        if count <= self.count:
            return replace(self, fresh={})
        new = {name: column.read(look, self.count, count) for name, column in self.entries.items()}
        found = late.columns(new["name"], new["step"], new["value"])
        values, fresh = {stream: dict(variables) for stream, variables in self.values.items()}, {}
        for stream, variables in found.items():
            for name, entries in variables.items():
                if wanted(stream, name):
                    known = values.setdefault(stream, {})
                    known[name] = _joined(known[name], entries) if name in known else entries
                    fresh[stream] = min(int(entries[0].min()), fresh.get(stream, int(entries[0][0])))
        return replace(self, count=count, values=values, fresh=fresh)

    def columns(self, stream: str, index: np.ndarray) -> dict[str, np.ndarray]:
        """Return the late scalars of rows of a stream.

        Args:
            stream: its name.
            index: steps of the rows, increasing.

        Returns:
            One value per row, NaN where there is none, by variable.
        """
        return {name: late.align(index, *entries) for name, entries in self.values.get(stream, {}).items()}

    def table(self, stream: str) -> dict[str, np.ndarray]:
        """Return a stream that the file has no group for.

        Args:
            stream: its name.

        Returns:
            `step`, `time` (NaN where it was not recorded) and the variables, one value per row.
        """
        index, columns = late.table(self.values[stream])
        return {"step": index, "time": np.full(len(index), np.nan), **columns}


def _joined(known: tuple, new: tuple) -> tuple:
    return tuple(map(np.concatenate, zip(known, new, strict=True)))
