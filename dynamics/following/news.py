"""What one look at a running trajectory brings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False)
class News:
    """What a poll found.

    Args:
        state: "waiting" (no file, or one without rows yet), "live", "left" (its writer died) or "closed".
        status: of the run, "" while waiting.
        reason: why the run stopped.
        rows: arrays (rows, ...) by stream and variable, for the streams that have news.
        first: number of the first of these rows, by stream; rows with this number and above that were delivered before
            are void.
        went_back: `(had, kept)` rows by stream, where the file holds other rows than those delivered before.
        more: whether further rows are there already; poll again at once.

    Example:
        >>> News("live").ended, News("closed", "complete").ended, News("closed", "complete", more=True).ended
        (False, True, False)
    """

    state: str
    status: str = ""
    reason: str = ""
    rows: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    first: Mapping[str, int] = field(default_factory=dict)
    went_back: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    more: bool = False

    @property
    def ended(self) -> bool:
        """Whether nobody writes the file any more and all of it was delivered."""
        return self.state in ("closed", "left") and not self.more

    def add_to(self, kept: dict[str, dict[str, np.ndarray]]) -> None:
        """Add the rows to those gathered before, in place of rows that are void.

        Args:
            kept: arrays by stream and variable, at first none; changed. NaN where a variable has no value.

        Example:
            >>> kept = {"series": {"step": np.array([0, 1]), "loss": np.array([1.0, 0.5])}}
            >>> new = {"step": np.array([1]), "loss": np.array([0.25]), "rel_l2": np.array([0.1])}
            >>> News("live", rows={"series": new}, first={"series": 1}).add_to(kept)
            >>> {name: values.tolist() for name, values in kept["series"].items()}
            {'step': [0, 1], 'loss': [1.0, 0.25], 'rel_l2': [nan, 0.1]}
        """
        for stream, new in self.rows.items():
            old, first = kept.get(stream, {}), self.first[stream]
            count = len(new.get("step", ()))
            kept[stream] = {
                name: _joined(old.get(name), new.get(name), first, count) for name in dict.fromkeys((*old, *new))
            }


def _joined(old: np.ndarray | None, new: np.ndarray | None, first: int, count: int) -> np.ndarray:
    if old is None:
        old = np.full((first, *new.shape[1:]), np.nan)
    if new is None:
        new = np.full((count, *old.shape[1:]), np.nan)
    return np.concatenate([old[:first], new])
