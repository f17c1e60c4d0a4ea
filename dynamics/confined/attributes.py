"""The attributes of an untrusted file: how many there may be, how large, and of what type."""

from __future__ import annotations

import math
from collections.abc import Iterator

import h5py
import numpy as np
from h5py import h5a

from dynamics.confined.storage import items_refused
from dynamics.confined.worker import Report
from dynamics.file.opening import first_line

ATTRIBUTES, ATTRIBUTE_BYTES, ATTRIBUTE_ITEMS, TOTAL_BYTES = 1000, 1 << 24, 100_000, 1 << 25
SCALES = ("DIMENSION_LIST", "REFERENCE_LIST")
"""The attributes of dimension scales: the only ones that point at other objects."""


class Attributes:
    """What the attributes of a file may take together.

    Args:
        report: told which one is read.
        tolerant: name those that cannot be read as well, instead of raising what HDF5 raises.
    """

    def __init__(self, report: Report, tolerant: bool = False):
        self.report, self.tolerant, self.bytes = report, tolerant, 0

    @property
    def spent(self) -> bool:
        """Whether nothing more is to be read."""
        return self.bytes > TOTAL_BYTES

    def dangers(self, path: str, item: h5py.Group | h5py.Dataset) -> Iterator[tuple[str, str]]:
        """Name what makes it dangerous to read the attributes of an object; the others are read.

        Args:
            path: of the object.
            item: the object.

        Yields:
            Name of the attribute, "" for all of them, and a line.
        """
        if self.spent:
            return
        count = h5a.get_num_attrs(item.id)
        if count > ATTRIBUTES:
            yield "", f"{path}: {count} attributes; expected at most {ATTRIBUTES}: leave the file alone"
            return
        for index in range(count):
            try:
                yield from self._danger(path, item, index)
            except MemoryError:
                raise
            except Exception as error:
                if not self.tolerant:
                    raise
                yield "", f"{path}: its attributes cannot be read ({first_line(error)})"
                return
            if self.spent:
                return

    def _danger(self, path: str, item: h5py.Group | h5py.Dataset, index: int) -> Iterator[tuple[str, str]]:
        attribute = h5a.open(item.id, index=index)
        name = attribute.name.decode("utf-8", "surrogateescape")
        self.report.at(f"attribute {name} of {path}")
        size, items = attribute.get_storage_size(), math.prod(attribute.shape or ())
        if size > ATTRIBUTE_BYTES or items > ATTRIBUTE_ITEMS:
            yield (
                name,
                f"{path}: attribute {name} of {size} bytes, {items} items; expected at most {ATTRIBUTE_BYTES} "
                f"bytes, {ATTRIBUTE_ITEMS} items: leave the file alone",
            )
        elif name not in SCALES and (what := items_refused(attribute.get_type())):
            yield name, f"{path}: attribute {name} holds {what}; expected numbers or text: leave the file alone"
        elif name not in SCALES:
            try:
                # The length of a text stands where the text does: whether it can be read shows in reading it.
                self.bytes += size + _text_bytes(item.attrs[attribute.name])
            except MemoryError:
                raise
            except Exception as error:
                if not self.tolerant:
                    raise
                yield name, f"{path}: attribute {name} cannot be read ({first_line(error)})"
            if self.spent:
                yield "", f"{path}: attributes of more than {TOTAL_BYTES} bytes up to {name}: leave the file alone"


def _text_bytes(value: object) -> int:
    if isinstance(value, np.ndarray) and value.dtype.kind == "O":
        return sum(map(_text_bytes, value.flat))
    return len(value) if isinstance(value, str | bytes) else 0
