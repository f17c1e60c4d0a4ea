"""Solutions with the factors L D L^T of one matrix a vector lane."""

from __future__ import annotations

from solvers.kernels.factorization import Factorization
from solvers.kernels.instructions import POINTER
from solvers.kernels.loops import integer, loop
from solvers.kernels.vectors import INT, Format, Vector


class Substitution(Factorization):
    """A module with the functions `factor`, `take`, `forward` and `backward`.

    Args:
        name: of the module.
        format: vector type.
        registers: vector registers of the processor.
    """

    def __init__(self, name: str, format: Format, registers: int):
        super().__init__(name, format, registers)
        self.take = self.define("take", [POINTER] * 2 + [INT] * 3, self._write_take)
        self.forward = self.define("forward", [POINTER] * 3 + [INT], self._write_forward)
        self.backward = self.define("backward", [POINTER] * 2 + [INT], self._write_backward)

    def _write_take(self, builder, matrix, solution, size, rows, count):
        """Copy the right-hand sides' rows of L, which are D^-1 L^-1 b, into runs of `rows` vectors."""

        def side(which):
            at = self.vector_at(builder, matrix, self.row_start(builder, builder.add(size, which)))
            into = self.vector_at(builder, solution, builder.mul(which, rows))

            def turn(j):
                self.store(builder, into, j, self.load(builder, at, builder.mul(j, integer(self.height))))

            loop(builder, integer(0), size, 1, turn)

        loop(builder, integer(0), count, 1, side)

    def _write_forward(self, builder, matrix, inverses, side, size):
        """Overwrite b by D^-1 L^-1 b."""
        whole, edge = self.ends(builder, size)

        def panel(number):
            at = self.vector_at(builder, matrix, self.panel_start(builder, number))
            self._reduce(builder, at, self.height, side, builder.mul(number, integer(self.height)))

        def single(row):
            at = self.vector_at(builder, matrix, self.row_start(builder, row))
            self._reduce(builder, at, 1, side, row)

        def scale(row):
            value = self.load(builder, side, row) * self.load(builder, inverses, row)
            self.store(builder, side, row, value)

        loop(builder, integer(0), whole, 1, panel)
        loop(builder, edge, size, 1, single)
        loop(builder, integer(0), size, 1, scale)

    def _reduce(self, builder, at, count, side, first):
        """Subtract the known entries of L^-1 b from the next `count`."""

        def turn(k, *sums):
            known = self.load(builder, side, k)
            factors = self.group(builder, at, builder.mul(k, integer(self.height)), count)
            pairs = zip(factors, sums, strict=True)
            return [(-factor).fma(known, self.of(builder, s)).value for factor, s in pairs]

        given = [value.value for value in self.group(builder, side, first, count)]
        values = [self.of(builder, s) for s in loop(builder, integer(0), first, 1, turn, given)]
        for c, value in enumerate(values):
            self.store(builder, side, builder.add(first, integer(c)), value)
            for r in range(c + 1, count):
                values[r] = (-value).fma(self._inside(builder, at, first, r, c), values[r])

    def _inside(self, builder, at, first, r: int, c: int) -> Vector:
        """Return an entry of L in a panel's diagonal block."""
        column = builder.mul(builder.add(first, integer(c)), integer(self.height))
        return self.load(builder, at, builder.add(column, integer(r)))

    def _write_backward(self, builder, matrix, solution, size):
        """Overwrite z by the solution of L^T x = z."""
        whole, edge = self.ends(builder, size)

        def single(step):
            row = builder.sub(builder.sub(size, integer(1)), step)
            at = self.vector_at(builder, matrix, self.row_start(builder, row))
            self._subtract(builder, at, 1, solution, row)

        def panel(step):
            number = builder.sub(builder.sub(whole, integer(1)), step)
            at = self.vector_at(builder, matrix, self.panel_start(builder, number))
            self._subtract(builder, at, self.height, solution, builder.mul(number, integer(self.height)))

        loop(builder, integer(0), builder.sub(size, edge), 1, single)
        loop(builder, integer(0), whole, 1, panel)

    def _subtract(self, builder, at, count, solution, first):
        """Finish `count` unknowns, and subtract them from those above."""
        values = self.group(builder, solution, first, count)
        for c in range(count - 1, -1, -1):
            for r in range(c + 1, count):
                values[c] = (-values[r]).fma(self._inside(builder, at, first, r, c), values[c])
            self.store(builder, solution, builder.add(first, integer(c)), values[c])

        def turn(j):
            total = self.load(builder, solution, j)
            factors = self.group(builder, at, builder.mul(j, integer(self.height)), count)
            for value, factor in zip(values, factors, strict=True):
                total = (-value).fma(factor, total)
            self.store(builder, solution, j, total)

        loop(builder, integer(0), first, 1, turn)
