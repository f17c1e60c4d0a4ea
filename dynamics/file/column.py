"""One variable of a stream as it is stored: the shape of its rows, and how many lie in a chunk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dynamics.format import Variable


@dataclass(frozen=True)
class Column:
    """One variable of a stream with the shape of its rows and the number of rows in a chunk.

    Args:
        variable: name, dims, unit and dtype.
        shape: shape of one row, `()` for a scalar.
        chunk: rows per chunk, a power of two.
    """

    variable: Variable
    shape: tuple[int, ...]
    chunk: int

    def block(self, values: list) -> np.ndarray:
        """Return the values of consecutive rows as one array, NaN where a row has none (None).

        Args:
            values: one value, or None, per row.

        Returns:
            The array (rows, *shape) in the stored type.

        Example:
            >>> Column(Variable("loss"), (), 1024).block([1.0, None])
            array([ 1., nan])
        """
        if not self.shape:
            return np.array([np.nan if value is None else value for value in values], self.variable.dtype)
        dtype = np.dtype(self.variable.dtype)
        block = np.full((len(values), *self.shape), np.nan if dtype.kind == "f" else 0, dtype)
        for row, value in enumerate(values):
            if value is not None:
                block[row] = value
        return block
