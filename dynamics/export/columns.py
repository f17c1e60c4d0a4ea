"""The scalars of a stream, those inside small arrays included, as columns of a table."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr

from dynamics.export.exported import index_of
from dynamics.file.opening import text

SMALL = 64
"""Numbers a row up to which an array becomes columns."""
ROWS = 8192


@dataclass(frozen=True)
class TableColumn:
    """One column of a table.

    Args:
        variable: of the stream.
        labels: of the element along the variable's further dimensions, none for a scalar.
        place: of the element in a row.
        units: of its numbers.
        long_name: what it is.

    Example:
        >>> TableColumn("loss_raw", ("interior",), (0,)).name
        'loss_raw[interior]'
    """

    variable: str
    labels: tuple[str, ...] = ()
    place: tuple[int, ...] = ()
    units: str = "1"
    long_name: str = ""

    @property
    def name(self) -> str:
        """The variable, and in brackets the labels."""
        return f"{self.variable}[{','.join(self.labels)}]" if self.labels else self.variable


def columns(dataset: xr.Dataset) -> tuple[list[TableColumn], list[str]]:
    """Return the columns of a stream, and the variables that are too large for some.

    Args:
        dataset: a group that has an index.

    Returns:
        Columns, index and time first; names of variables with more than 64 numbers a row.

    Example:
        >>> rows = xr.Dataset({"loss": ("step", [1.0]), "big": (("step", "point"), np.zeros((1, 65)))}, {"step": [0]})
        >>> found, large = columns(rows)
        >>> [column.name for column in found], large
        (['step', 'loss'], ['big'])
    """
    index, found, large = index_of(dataset), [], []
    first = [name for name in (index, "step", "time") if name in dataset.variables]
    for name in dict.fromkeys((*first, *map(str, dataset.data_vars))):
        variable = dataset[name]
        if index not in variable.dims or variable.dtype.kind not in "fiub":
            continue
        others = [dim for dim in variable.dims if dim != index]
        sizes = [variable.sizes[dim] for dim in others]
        if int(np.prod(sizes, dtype=np.int64)) > SMALL:
            large.append(name)
            continue
        labels = [_labels(dataset, dim, size) for dim, size in zip(others, sizes, strict=True)]
        attrs = {key: text(variable.attrs.get(key, "")) for key in ("units", "long_name")}
        for place in itertools.product(*map(range, sizes)):
            named = tuple(labels[axis][at] for axis, at in enumerate(place))
            found.append(TableColumn(name, named, place, **attrs))
    return found, large


def row_blocks(dataset: xr.Dataset, found: list[TableColumn], rows: int = ROWS) -> Iterator[list[np.ndarray]]:
    """Yield the columns of a stream, some thousand rows at a time.

    Args:
        dataset: the group.
        found: from `columns`.
        rows: at a time.

    Yields:
        One array (rows,) per column.
    """
    index = index_of(dataset)
    names = list(dict.fromkeys(column.variable for column in found))
    for start in range(0, dataset.sizes[index], rows):
        part = {name: dataset[name].isel({index: slice(start, start + rows)}) for name in names}
        arrays = {name: block.transpose(index, ...).values for name, block in part.items()}
        yield [arrays[column.variable][(slice(None), *column.place)] for column in found]


def _labels(dataset: xr.Dataset, dim: str, size: int) -> list[str]:
    if dim in dataset.coords:
        return [text(label) for label in dataset[dim].values.tolist()]
    return [str(number) for number in range(size)]
