"""The rows of one stream that are still in memory, and what the stream looks like."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from dynamics.file.column import Column
from dynamics.file.pending_scalars import PendingScalars
from dynamics.format import COMMITTED, INDEX, KNOWN, LATE_DTYPES, ROW, Stream, Variable

LONG_CHUNKS = ("series", "evaluations")
CHUNK_BYTES = 64 * 1024
NAME_BYTES = np.dtype(LATE_DTYPES["name"]).itemsize
FLOATS = frozenset((float, np.float64))


class Rows:
    """The pending rows of one stream: checked, converted and kept until the recorder writes them.

    Args:
        stream: the declared stream, or a bare `Stream(name)` for one that is only recorded.
        declared: create the variables that the stream names (all known ones when it names none), given or not.

    Example:
        >>> rows = Rows(Stream("series"))
        >>> rows.append(0, 0.0, {"loss": 1.0, "loss_raw": [0.25, 0.75]})
        {}
        >>> rows.columns["loss_raw"].shape, rows.sizes
        ((2,), {'term': 2})
    """

    def __init__(self, stream: Stream, declared: bool = False):
        self.name = stream.name
        self.attrs = dict(stream.attrs)
        self.index = INDEX.get(stream.name, stream.index)
        self.known = {**KNOWN.get(stream.name, {}), **{v.name: v for v in stream.variables}}
        self.labels = {dim: list(c) for dim, c in stream.coords.items() if not isinstance(c, int | np.integer)}
        self.sizes = {dim: int(c) if isinstance(c, int | np.integer) else len(c) for dim, c in stream.coords.items()}
        self.columns: dict[str, Column] = {}
        self.frozen = False
        self.pending = array("q")
        """The steps of the rows that wait."""
        self.pending_bytes = 0
        self.written = 0
        self._chunk = self.chunk()
        self._times = array("d")
        self._scalars = PendingScalars()
        self._arrays: dict[str, dict[int, np.ndarray]] = {}
        self._usual: tuple[str, ...] | None = None
        self._last: int | None = None
        for variable in (stream.variables or self.known.values()) if declared else ():
            self._declare(variable)

    @property
    def by_step(self) -> bool:
        """Whether the rows are indexed by step, rather than by their own number."""
        return self.index == "step"

    @property
    def due(self) -> int:
        """The row at which the largest chunk of the pending rows is full."""
        return (self.written // self._chunk + 1) * self._chunk

    def chunk(self, shape: tuple[int, ...] = (), itemsize: int = 8) -> int:
        """Return the rows per chunk of a column: about 64 KiB, a power of two, so that chunks of columns align.

        Args:
            shape: shape of one row.
            itemsize: bytes of one number.

        Returns:
            The number of rows, at least 1, at most 1024 (series, evaluations) or 128.

        Example:
            >>> Rows(Stream("series")).chunk(), Rows(Stream("gradients")).chunk((101, 101))
            (1024, 1)
        """
        most = 1024 if self.name in LONG_CHUNKS else 128
        rows = CHUNK_BYTES // max(1, itemsize * math.prod(shape))
        return min(most, 1 << max(0, rows.bit_length() - 1))

    def append(self, step: int, time: float, values: Mapping[str, object]) -> dict[str, float]:
        """Add a row, or refuse it as a whole.

        Args:
            step: optimizer step of the row, larger than that of the row before (equal is allowed where the index
                is not the step).
            time: seconds since the start of the run.
            values: numbers and arrays by variable name.

        Returns:
            The scalars that came too late to have a column of their own.

        Raises:
            ValueError: the step does not increase, a shape changed, or an array came late.
        """
        self._check_step(step)
        names, scalars = tuple(values), values.values()
        if names == self._usual and FLOATS.issuperset(set(map(type, scalars))):
            # Nothing but scalars that have columns, as in the row before: the way of almost all rows.
            self._keep(step, time, names, scalars)
            return {}
        kept, arrays, late = self._sort(values)
        self._check_integers(arrays)
        row = self._keep(step, time, tuple(kept), kept.values())
        for name, value in arrays.items():
            self._arrays.setdefault(name, {})[row] = value
            self.pending_bytes += value.nbytes
        self._usual = names if len(kept) == len(names) else None
        return late

    def blocks(self, count: int) -> dict[str, np.ndarray]:
        """Return the first pending rows as arrays, without the variables that none of them has.

        Args:
            count: number of rows.

        Returns:
            Arrays (count, ...) by name: the stream's index, `step`, `time`, and the recorded variables.
        """
        start, stop = self.written, self.written + count
        blocks = {
            self.index: np.arange(start, stop),
            "step": np.array(self.pending[:count], np.int64),
            "time": np.array(self._times[:count], np.float64),
            **self._scalars.blocks(start, stop),
        }
        for name, values in self._arrays.items():
            rows = [values.get(row) for row in range(start, stop)]
            if any(row is not None for row in rows):
                blocks[name] = self.columns[name].block(rows)
        return blocks

    def drop(self, count: int) -> None:
        """Forget the first pending rows once they are in the file.

        Args:
            count: number of rows.
        """
        self.written += count
        del self.pending[:count], self._times[:count]
        self._scalars.drop(self.written)
        left = {n: {row: v for row, v in values.items() if row >= self.written} for n, values in self._arrays.items()}
        self._arrays = {name: values for name, values in left.items() if values}
        self.pending_bytes = sum(value.nbytes for values in self._arrays.values() for value in values.values())

    def _keep(self, step: int, time: float, names: tuple[str, ...], scalars) -> int:
        """Take in a row that was checked; return its number."""
        row = self.written + len(self.pending)
        self.pending.append(step)
        self._times.append(time)
        self._scalars.append(row, names, scalars)
        self._last = step
        return row

    def _sort(self, values: Mapping[str, object]) -> tuple[dict, dict, dict]:
        """Return the scalars and the arrays of a row, converted, and the scalars that have no column."""
        kept, arrays, late = {}, {}, {}
        for name, value in values.items():
            column = self.columns.get(name)
            if column is not None and not column.shape and type(value) in FLOATS:
                kept[name] = value
            elif column is None and self.frozen:
                late[name] = self._late(name, value)
            else:
                read = self._read(name, value)
                column = column or self._admit(name, read)
                self._check_shape(column, read)
                if column.shape:
                    arrays[name] = read.astype(column.variable.dtype)
                else:
                    kept[name] = float(read)
        return kept, arrays, late

    def resume(self, written: int, last: int | None) -> None:
        """Go on behind rows that a file has already, whose layout is fixed.

        Args:
            written: number of these rows.
            last: step of the last one, None where there is none.
        """
        self.written, self._last, self.frozen = written, last, True

    def _declare(self, variable: Variable) -> None:
        if variable.name in (*ROW, COMMITTED) or any(dim not in self.sizes for dim in variable.dims):
            return
        shape = tuple(self.sizes[dim] for dim in variable.dims)
        self._add_column(variable, shape)

    def _add_column(self, variable: Variable, shape: tuple[int, ...]) -> Column:
        dtype = np.dtype((variable.dtype or "f8") if shape else "f8")
        variable = Variable(variable.name, variable.dims, variable.long_name, variable.units, dtype.str[1:])
        column = Column(variable, shape, self.chunk(shape, dtype.itemsize))
        self.columns[variable.name] = column
        return column

    def _check_name(self, name: str) -> None:
        if name in (*ROW, COMMITTED) or name in self.sizes or not name.isidentifier():
            raise ValueError(
                f"{self.name}/{name}: expected the name of a variable; {name!r} is a dimension, a column that every "
                "stream has, or no identifier: choose another name"
            )

    def _admit(self, name: str, array: np.ndarray) -> Column:
        self._check_name(name)
        variable = self.known.get(name) or _unknown(name, array)
        variable = variable if variable.dtype else replace(variable, dtype=_dtype(array))
        if len(variable.dims) != array.ndim:
            raise ValueError(
                f"{self.name}/{name}: expected dimensions ({', '.join(variable.dims)}), came shape {array.shape}: "
                "pass one value per element of each dimension, or record it under another name"
            )
        for dim, size in zip(variable.dims, array.shape, strict=True):
            if self.sizes.setdefault(dim, size) != size:
                raise ValueError(
                    f"{self.name}/{name}: expected {self.sizes[dim]} along {dim}, as before, came {size}: "
                    "correct the stream's coords, or use another dimension for this variable"
                )
        return self._add_column(variable, array.shape)

    def _read(self, name: str, value: object) -> np.ndarray:
        try:
            array = np.asarray(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"{self.name}/{name}: expected a number or an array, came {type(value).__name__} ({error}): "
                "pass floats, numpy arrays or detached CPU tensors"
            ) from error
        if array.dtype.kind not in "fiub":
            raise ValueError(
                f"{self.name}/{name}: expected real numbers, came {array.dtype}: record complex values as two "
                "variables, text in config or attrs"
            )
        return array

    def _late(self, name: str, value: object) -> float:
        self._check_name(name)
        array = self._read(name, value)
        if array.ndim or not self.by_step:
            what = f"an array of shape {array.shape}" if array.ndim else f"a scalar of {self.name!r}"
            raise ValueError(late_array(self.name, name, what, array))
        if len(f"{self.name}/{name}".encode()) > NAME_BYTES:
            raise ValueError(
                f"{self.name}/{name}: expected at most {NAME_BYTES} bytes for a name that appears late: shorten it, "
                "or record it from the first step on"
            )
        return float(array)

    def _check_step(self, step: int) -> None:
        if self._last is None or step > self._last or (not self.by_step and step == self._last):
            return
        raise ValueError(
            f"{self.name}: expected a step after {self._last}, came {step}: record all values of a step in one call"
        )

    def _check_shape(self, column: Column, array: np.ndarray) -> None:
        if array.shape != column.shape:
            raise ValueError(
                f"{self.name}/{column.variable.name}: expected shape {column.shape}, as before, came {array.shape}: "
                "record a value whose shape changes under a new name, or in a stream of its own"
            )

    def _integers(self) -> list[str]:
        return [name for name, column in self.columns.items() if column.shape and column.variable.dtype[0] in "iu"]

    def _check_integers(self, arrays: Mapping[str, np.ndarray]) -> None:
        for name in self._integers():
            if name not in arrays:
                dtype = self.columns[name].variable.dtype
                raise ValueError(
                    f"{self.name}/{name}: expected a value in every row, since {dtype} has no NaN: "
                    "record it every time, or declare it with dtype='f8'"
                )


def late_array(stream: str, name: str, what: str, array: np.ndarray) -> str:
    """Return the message for a value that came after the layout of the file was frozen.

    Args:
        stream: name of the stream.
        name: name of the variable.
        what: what came, as the message shall say it.
        array: the value.

    Returns:
        The message, with the declaration that would have made room for it.
    """
    dims = tuple(f"{name}_{axis}" for axis in range(array.ndim))
    known = KNOWN.get(stream, {}).get(name)
    dims = known.dims if known and len(known.dims) == array.ndim else dims
    sizes = ", ".join(f"{dim!r}: {size}" for dim, size in zip(dims, array.shape, strict=True))
    index = INDEX.get(stream, "step")
    index = "" if index == "step" else f", index={index!r}"
    return (
        f"{stream}/{name}: expected before the first rows were written, came {what} later: declare it, "
        f"Recorder(..., streams=[Stream({stream!r}, [Variable({name!r}, {dims!r})], coords={{{sizes}}}{index})])"
    )


def _unknown(name: str, array: np.ndarray) -> Variable:
    dims = tuple(f"{name}_{axis}" for axis in range(array.ndim))
    return Variable(name, dims, name.replace("_", " "), dtype=_dtype(array))


def _dtype(array: np.ndarray) -> str:
    return "f4" if array.dtype in (np.float32, np.float16) else "f8"
