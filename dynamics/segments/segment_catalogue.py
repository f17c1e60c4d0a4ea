"""What the segments of a trajectory hold together, read with h5py alone: streams, labels, rows, status."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from time import sleep

import h5py
import numpy as np

from dynamics.file.labels import labels_of
from dynamics.file.opening import DAMAGED, PAUSE, TRIES, TrajectoryError, check_format, text
from dynamics.file.rows import Rows
from dynamics.format import COMMITTED, INDEX, LATE, ROW, STATUS_DTYPES, Stream, Variable
from dynamics.segments.segment_directory import segment_numbers, segment_path
from dynamics.segments.segments import FIRST_ROWS, SEGMENT
from dynamics.segments.stack import Segment, Span, Stack

OF_HDF5 = frozenset(("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "coordinates", "_Netcdf4Dimid"))


@dataclass
class Stacked:
    """A group along the segments.

    Args:
        name: of the group.
        index: name of the dimension that grows, "" for arrays that do not.
        attrs: of the group.
        labels: by dimension: str or numbers, or the size.
        label_attrs: attributes of the labels.
        variables: by name, the index among them.
        scalars: single values, of groups that do not grow, with their attributes.
        steps: values of the index in each segment.
        count: rows so far.
    """

    name: str
    index: str
    attrs: dict[str, object]
    labels: dict[str, list | int] = field(default_factory=dict)
    label_attrs: dict[str, dict] = field(default_factory=dict)
    variables: dict[str, Stack] = field(default_factory=dict)
    scalars: dict[str, tuple[np.ndarray, dict]] = field(default_factory=dict)
    steps: list[np.ndarray] = field(default_factory=list)
    count: int = 0

    @property
    def recorded(self) -> dict[str, Stack]:
        """The variables but the index, without those that were declared and never recorded."""
        return {
            name: stack
            for name, stack in self.variables.items()
            if name != self.index and (stack.spans or not self.count)
        }

    def rows(self, *, written: bool) -> Rows:
        """Return the stream as a recorder knows it.

        Args:
            written: as if it had written the rows that are there; else as if it had none.

        Returns:
            The stream: its columns and labels.
        """
        stacks = [stack for name, stack in self.variables.items() if name not in (*ROW, self.index)]
        variables = [_variable(stack) for stack in stacks]
        dims = {dim for stack in stacks for dim in stack.dims[1:]}
        labels = {dim: labels for dim, labels in self.labels.items() if dim in dims}
        rows = Rows(Stream(self.name, variables, labels, self.attrs, self.index), declared=bool(variables))
        if written:
            last = self.variables["step"].read(np.arange(self.count)[-1:])
            rows.resume(self.count, int(last[0]) if len(last) else None)
            rows.frozen = False
        return rows


class Catalogue:
    """The segments of a directory and what they hold; `update` adds those that have come since.

    `ends` holds the rows by stream up to the end of each segment.

    Args:
        path: of the directory.

    Raises:
        TrajectoryError: no directory of segments, a number that is missing, a segment that is damaged or does not
            belong to the others; the message names it.

    Cost: 6 to 9 ms a segment with 55 variables; of their arrays only the indices are read.
    """

    def __init__(self, path: str):
        self.path = path.rstrip(os.sep) or path
        self._clear()
        self.update()

    def _clear(self) -> None:
        self.segments: list[Segment] = []
        self.ends: list[dict[str, int]] = []
        self._run: object = None
        self.attributes: dict[str, object] = {}
        self.status: dict[str, str] = {}
        self.groups: dict[str, Stacked] = {}

    @property
    def streams(self) -> dict[str, Stacked]:
        """The groups whose rows grow."""
        return {name: group for name, group in self.groups.items() if group.index}

    @property
    def committed(self) -> dict[str, int]:
        """Rows by stream."""
        return {name: stream.count for name, stream in self.streams.items()}

    def update(self) -> None:
        """Take in the segments that are new; all of them where those known before are no longer the same.

        Raises:
            TrajectoryError: as for the catalogue itself, which is empty then.
        """
        for tried in range(TRIES):
            numbers = self._numbers()
            if not self._still_there(len(numbers)):
                self._clear()
            try:
                for number in range(len(self.segments) + 1, len(numbers) + 1):
                    self._add(number, numbers)
                return
            except TrajectoryError:
                self._clear()
                # A writer may have replaced the directory, or a listing may have missed a name that came meanwhile.
                sleep(PAUSE)
                if tried == TRIES - 1 or self._numbers() == numbers:
                    raise

    def _still_there(self, count: int) -> bool:
        try:
            return not self.segments or (count >= len(self.segments) and self.segments[-1].same)
        except OSError:
            return False

    def _numbers(self) -> list[int]:
        try:
            numbers = segment_numbers(self.path)
        except OSError as error:
            raise TrajectoryError(
                f"{self.path}: expected a directory of segments, came none ({error.strerror}): check the path"
            ) from error
        if not numbers:
            raise TrajectoryError(
                f"{self.path}: expected a trajectory, came a directory without segments: name a file, or wait if its "
                "run has only begun"
            )
        return numbers

    def _add(self, number: int, numbers: list[int]) -> None:
        path = segment_path(self.path, number)
        if numbers[number - 1] != number:
            raise TrajectoryError(
                f"{path}: expected this segment before segment {numbers[number - 1]}, came none: copy it again, or "
                f"move the later ones away to read what comes before"
            )
        try:
            segment = Segment.at(path)
        except OSError as error:
            raise TrajectoryError(f"{path}: expected a segment, came none ({error.strerror}): try again") from error
        with segment.open() as file:
            check_format(path, file)
            first = self._first_rows(path, number, file.attrs)
            for name, item in file.items():
                if isinstance(item, h5py.Group) and name != LATE:
                    self._group(segment, name, item, first.get(name, 0))
            if number == len(numbers):
                self.status = {name: text(file[name][()]) for name in STATUS_DTYPES}
                skipped = (SEGMENT, FIRST_ROWS)
                self.attributes = {key: _plain(value) for key, value in file.attrs.items() if key not in skipped}
        self.segments.append(segment)
        self.ends.append(self.committed)

    def _first_rows(self, path: str, number: int, attrs: Mapping[str, object]) -> dict[str, int]:
        """Return the rows of each stream that come before a segment, once it is sure to belong to the others."""
        came, first, run = (attrs.get(name) for name in (SEGMENT, FIRST_ROWS, "run_id"))
        if came != number or not isinstance(first, str):
            raise TrajectoryError(
                f"{path}: expected segment {number} of a run, came {'none' if came is None else came}: "
                "copy the directory again"
            )
        self._run = run if number == 1 else self._run
        if run != self._run:
            raise TrajectoryError(
                f"{path}: expected a segment of run {self._run}, came one of run {run}: copy the directory again"
            )
        return json.loads(first)

    def _group(self, segment: Segment, name: str, group: h5py.Group, first: int) -> None:
        names = [key.decode() for key in group.id]
        grows = COMMITTED in names
        stacked = self.groups.get(name)
        if stacked is None:
            attrs = {key: _plain(value) for key, value in group.attrs.items() if key not in OF_HDF5}
            stacked = self.groups[name] = Stacked(name, _index(name, names) if grows else "", attrs)
        elif not grows or not stacked.index:
            raise TrajectoryError(f"{segment.path}: expected no group {name} again, came one: {DAMAGED}")
        count = int(_values(group, COMMITTED)) if grows else 0
        if grows and first != stacked.count:
            raise TrajectoryError(
                f"{segment.path}: expected rows of {name} from {stacked.count} on, came some from {first} on: "
                "copy the directory again"
            )
        span = Span(segment, stacked.count, stacked.count + count)
        stacked.count += count
        for key in names:
            if key != COMMITTED:
                self._dataset(stacked, group, key, span)
        if grows:
            self._index_values(stacked, group, span)
        for stack in stacked.variables.values():
            stack.count = stacked.count if grows else stack.count

    def _dataset(self, stacked: Stacked, group: h5py.Group, name: str, span: Span) -> None:
        """Take in a variable or the labels of a dimension."""
        if name in stacked.labels:
            self._check_labels(stacked, group, name, span)
            return
        stack = stacked.variables.get(name)
        if stack is None and _is_labels(stacked, group[name], name):
            stacked.labels[name] = labels_of(group[name])
            stacked.label_attrs[name] = _attributes(group[name])
            return
        if not stacked.index and group[name].shape == ():
            stacked.scalars[name] = (group[name][()], _attributes(group[name]))
            return
        if stack is None:
            stack = stacked.variables[name] = _stack(stacked, group[name])
        # The lower level of h5py: this is what is done most often.
        dataset = h5py.h5d.open(group.id, name.encode())
        shape = dataset.shape
        if not stacked.index:
            stack.count = shape[0]
            stack.spans = [Span(span.segment, 0, stack.count)]
            return
        if shape[1:] != stack.shape or shape[0] != span.stop - span.start:
            raise TrajectoryError(
                f"{span.segment.path}: expected shape {(span.stop - span.start, *stack.shape)} of "
                f"{stacked.name}/{name}, came {shape}: {DAMAGED}"
            )
        if dataset.get_storage_size() or (not all(shape[1:]) and shape[0]):
            stack.spans.append(span)

    def _check_labels(self, stacked: Stacked, group: h5py.Group, name: str, span: Span) -> None:
        expected = stacked.labels[name]
        if isinstance(expected, int):
            came = h5py.h5d.open(group.id, name.encode()).shape[0]
        else:
            came = _plain_list(_values(group, name))
        if came != expected:
            raise TrajectoryError(
                f"{span.segment.path}: expected the labels {_short(expected)} of {stacked.name}/{name}, as in the "
                f"segments before, came {_short(came)}: {DAMAGED}"
            )

    def _index_values(self, stacked: Stacked, group: h5py.Group, span: Span) -> None:
        steps = _values(group, stacked.index)
        earlier = next((before[-1:] for before in reversed(stacked.steps) if len(before)), steps[:0])
        if np.any(np.diff(np.concatenate([earlier, steps])) <= 0):
            raise TrajectoryError(
                f"{span.segment.path}: expected {stacked.index} of {stacked.name} to increase, came values that do "
                f"not: {DAMAGED}"
            )
        stacked.steps.append(steps)


def _index(name: str, names: Iterable[str]) -> str:
    return INDEX.get(name) or ("evaluation" if "evaluation" in names else "step")


def _stack(stacked: Stacked, dataset: h5py.Dataset) -> Stack:
    dims = tuple((axis[0].name or "").rsplit("/", 1)[-1] if len(axis) else stacked.index for axis in dataset.dims)
    name = dataset.name.rsplit("/", 1)[-1]
    shape = dataset.shape[1:]
    return Stack(stacked.name, name, dims, shape, dataset.dtype, _attributes(dataset))


def _variable(stack: Stack) -> Variable:
    described = (str(stack.attrs.get(key, usual)) for key, usual in (("long_name", ""), ("units", "1")))
    return Variable(stack.name, stack.dims[1:], *described, dtype=stack.dtype.str[1:])


def _is_labels(stacked: Stacked, dataset: h5py.Dataset, name: str) -> bool:
    return bool(dataset.is_scale) and name != stacked.index


def _plain_list(labels: np.ndarray) -> list:
    return [text(label) if isinstance(label, bytes) else label for label in labels.tolist()]


def _values(group: h5py.Group, name: str) -> np.ndarray:
    """Read a whole dataset by the lower level of h5py, several times faster for small ones."""
    dataset = h5py.h5d.open(group.id, name.encode())
    values = np.empty(dataset.shape, dataset.dtype)
    dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
    return values


def _attributes(dataset: h5py.Dataset) -> dict[str, object]:
    return {name: _plain(value) for name, value in dataset.attrs.items() if name not in OF_HDF5}


def _plain(value: object) -> object:
    return text(value) if isinstance(value, bytes) else value


def _short(labels: object) -> str:
    line = str(labels)
    return line if len(line) <= 60 else f"{line[:57]}..."
