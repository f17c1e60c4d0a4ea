"""What a log says, value by value in the order of writing, put in order where a run was restarted."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np

from dynamics.trajectory import TrajectoryError

MOST_VALUES = 20_000_000
MOST_NAMES = 4096
LARGEST_STEP = 2**53


@dataclass(frozen=True)
class Ordered:
    """A log as columns over increasing steps.

    Args:
        step: (n,) int64, strictly increasing.
        columns: (n,) float64 by name; NaN where a step has no value.
        time: (n,) float64 in s, NaN where unknown.
        superseded: values that a later and different one replaced, or that were given up at a restart.
        last: the value that was written last, by name; it tells a NaN that was logged from one that was not.

    Example:
        >>> Ordered(np.array([0]), {"loss": np.array([1.0])}, np.array([0.0]), 0, {"loss": 1.0}).superseded
        0
    """

    step: np.ndarray
    columns: dict[str, np.ndarray]
    time: np.ndarray
    superseded: int
    last: dict[str, float]


class Entries:
    """The values of a log in the order in which they were written.

    Args:
        source: name of the file, for errors.

    Example:
        >>> entries = Entries("log")
        >>> for step, loss in ((0, 1.0), (10, 0.5), (20, 9.0), (10, 0.4)):
        ...     entries.add("loss", step, loss)
        >>> ordered = entries.ordered()
        >>> ordered.step.tolist(), ordered.columns["loss"].tolist(), ordered.superseded
        ([0, 10], [1.0, 0.4], 2)
    """

    def __init__(self, source: str):
        self._source = source
        self._names: dict[str, int] = {}
        self._name, self._step = array("l"), array("q")
        self._value, self._time = array("d"), array("d")
        self._restarts: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self._step)

    def add(self, name: str, step: int, value: float, time: float = np.nan) -> None:
        """Take in one value.

        Args:
            name: as the log calls it.
            step: 0 to 2^53.
            value: any float.
            time: s, NaN where unknown.

        Raises:
            TrajectoryError: The log has more values or names than are read.
        """
        number = self._names.setdefault(name, len(self._names))
        if len(self._names) > MOST_NAMES or len(self._step) >= MOST_VALUES:
            raise TrajectoryError(
                f"{self._source}: expected at most {MOST_NAMES} names and {MOST_VALUES} values, came more: "
                "log less often, or export fewer columns"
            )
        self._name.append(number)
        self._step.append(step)
        self._value.append(value)
        self._time.append(time)

    def restart(self, step: int) -> None:
        """Declare all that was added so far void from a step on.

        Args:
            step: the first one that is trained again.
        """
        self._restarts.append((len(self._step), step))

    def ordered(self) -> Ordered:
        r"""Put the values in order: the later one counts.

        $$ \{\, i : s_i < \min_{j > i,\; j \in R} s_j \,\} $$

        R are the values whose step lies before that of the value of the same name before, and the restarts that the log
        declares: there a training was taken up again, and what any name said of later steps was given up. Of two values
        of one name at one step the last counts.

        Returns:
            The columns; steps without any value left are gone.

        Cost: O(n log n).
        """
        name, step = np.frombuffer(self._name, np.dtype("l")), np.frombuffer(self._step, np.int64)
        value, time = np.frombuffer(self._value), np.frombuffer(self._time)
        kept = np.flatnonzero(step < self._void_from(name, step))
        # The last of equal (name, step) in the order of writing.
        order = kept[np.lexsort((kept, step[kept], name[kept]))]
        same = (name[order][1:] == name[order][:-1]) & (step[order][1:] == step[order][:-1])
        # One that is only repeated, as the epoch is, is not superseded.
        repeated = int((same & (value[order][1:] == value[order][:-1])).sum())
        order = np.sort(order[np.append(~same, True)]) if len(order) else order
        steps, row = np.unique(step[order], return_inverse=True)
        columns = {}
        for label, number in self._names.items():
            chosen = name[order] == number
            columns[label] = np.full(len(steps), np.nan)
            columns[label][row[chosen]] = value[order][chosen]
        times = np.full(len(steps), np.nan)
        times[row] = time[order]
        last = {label: float(value[name == number][-1]) for label, number in self._names.items()}
        return Ordered(steps, columns, times, len(step) - len(order) - repeated, last)

    def _void_from(self, name: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Return for each value the least step at which something written later takes the training up again."""
        again = np.full(len(step) + 1, np.iinfo(np.int64).max)
        order = np.argsort(name, kind="stable")
        back = (np.diff(name[order]) == 0) & (np.diff(step[order]) < 0)
        places = order[1:][back]
        again[places] = step[places]
        for place, first in self._restarts:
            again[place] = min(again[place], first)
        # again[i] voids what was written before i; the value i itself stands.
        return np.minimum.accumulate(again[::-1])[::-1][1:]
