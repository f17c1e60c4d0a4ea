"""Pivot-free L D L^T of symmetric matrices, one matrix a vector lane: the lanes go through the same loops."""

from __future__ import annotations

from functools import partial

from solvers.kernels.instructions import POINTER, Instructions
from solvers.kernels.loops import integer, loop
from solvers.kernels.vectors import INT, Format, Vector


class Factorization(Instructions):
    """A module with the function `factor`.

    The matrix is K = [S, P; P^T, 0], S positive definite: n positive pivots come first, then negative ones, and no
    order of elimination is better than another. Right-hand sides b are further rows of the same matrix; their rows of
    L are D^-1 L^-1 b. The lower triangle lies in panels of B rows, panel p in B (p + 1) columns of B vectors, so that a
    block of B x B sums stays in registers while two panels go by: 2 B loads serve B^2 multiplications.

    Args:
        name: of the module.
        format: vector type.
        registers: vector registers of the processor.
    """

    def __init__(self, name: str, format: Format, registers: int):
        super().__init__(name, format)
        self.height = 4 if registers >= 32 else 3
        counts = range(1, self.height + 1)
        kinds = [POINTER] * 3 + [format.vector] + [INT] * 3
        self._panels = [
            self.define(f"panel{count}", kinds, partial(self._write_panel, count), format.vector) for count in counts
        ]
        self.factor = self.define("factor", [POINTER] * 3 + [INT] * 3, self._write_factor, format.vector)

    def vectors(self, rows: int) -> int:
        """Return the number of vectors that the panels of so many rows take.

        Args:
            rows: of the matrix and its right-hand sides.

        Returns:
            B^2 p (p + 1) / 2 for p panels.
        """
        panels = -(-rows // self.height)
        return self.height**2 * panels * (panels + 1) // 2

    def panel_start(self, builder, panel):
        """Return where a panel begins, counted in vectors.

        Args:
            builder: where.
            panel: which.

        Returns:
            The index.
        """
        pairs = builder.ashr(builder.mul(panel, builder.add(panel, integer(1))), integer(1))
        return builder.mul(pairs, integer(self.height**2))

    def row_start(self, builder, row):
        """Return where a row's first entry stands, counted in vectors; the next columns follow B vectors apart.

        Args:
            builder: where.
            row: which.

        Returns:
            The index.
        """
        panel = builder.udiv(row, integer(self.height))
        inside = builder.sub(row, builder.mul(panel, integer(self.height)))
        return builder.add(self.panel_start(builder, panel), inside)

    def group(self, builder, base, index, count: int) -> list[Vector]:
        """Return consecutive vectors.

        Args:
            builder: where.
            base: address of the first.
            index: which comes first.
            count: how many.

        Returns:
            The vectors.
        """
        return [self.load(builder, base, builder.add(index, integer(q))) for q in range(count)]

    def _write_panel(self, count, builder, matrix, buffer, inverses, sound, panel, positive, size):
        """Eliminate `count` rows: X = L D by earlier panels into the buffer, then L, then the pivots of the block.

        Returns `sound`, 1 in a lane until a pivot has the wrong sign or is not finite.
        """
        own = self.vector_at(builder, matrix, self.panel_start(builder, panel))
        before = builder.mul(panel, integer(self.height))
        loop(builder, integer(0), panel, 1, partial(self._eliminate, builder, count, matrix, own, buffer))
        block = self._scale(builder, count, own, buffer, inverses, before)
        for c in range(count):
            row = builder.add(before, integer(c))
            pivot = block[c, c]
            sound = self._judged(builder, sound, pivot, row, positive, size)
            inverse = 1.0 / pivot
            self.store(builder, inverses, row, inverse)
            scaled = {r: block[r, c] * inverse for r in range(c + 1, count)}
            column = builder.mul(row, integer(self.height))
            for r, value in scaled.items():
                self.store(builder, own, builder.add(column, integer(r)), value)
                for s in range(c + 1, r + 1):
                    block[r, s] = (-block[r, c]).fma(scaled[s], block[r, s])
        return sound

    def _eliminate(self, builder, count, matrix, own, buffer, other_panel):
        """Solve X L^T = A for one block of B columns."""
        height = self.height
        other = self.vector_at(builder, matrix, self.panel_start(builder, other_panel))
        first = builder.mul(other_panel, integer(height * height))
        places = [(r, c) for r in range(count) for c in range(height)]

        def entry(r, c):
            return builder.add(first, integer(height * c + r))

        def turn(k, *sums):
            ours, theirs = self.group(builder, buffer, k, count), self.group(builder, other, k, height)
            return [
                (-ours[r]).fma(theirs[c], self.of(builder, s)).value for (r, c), s in zip(places, sums, strict=True)
            ]

        given = [self.load(builder, own, entry(r, c)).value for r, c in places]
        sums = loop(builder, integer(0), first, height, turn, given)
        block = {place: self.of(builder, s) for place, s in zip(places, sums, strict=True)}
        for c in range(height):
            for s in range(c):
                factor = self.load(builder, other, entry(c, s))
                for r in range(count):
                    block[r, c] = (-block[r, s]).fma(factor, block[r, c])
        for (r, c), value in block.items():
            self.store(builder, buffer, entry(r, c), value)

    def _scale(self, builder, count, own, buffer, inverses, before) -> dict[tuple[int, int], Vector]:
        """Write L = X D^-1 left of the diagonal block, and return the block less X L^T."""
        height = self.height
        places = [(r, c) for r in range(count) for c in range(r + 1)]

        def turn(k, *sums):
            column = builder.mul(k, integer(height))
            inverse, ours = self.load(builder, inverses, k), self.group(builder, buffer, column, count)
            scaled = [value * inverse for value in ours]
            for r, value in enumerate(scaled):
                self.store(builder, own, builder.add(column, integer(r)), value)
            return [
                (-ours[r]).fma(scaled[c], self.of(builder, s)).value for (r, c), s in zip(places, sums, strict=True)
            ]

        start = builder.mul(before, integer(height))
        given = [self.load(builder, own, builder.add(start, integer(height * c + r))).value for r, c in places]
        sums = loop(builder, integer(0), before, 1, turn, given)
        return {place: self.of(builder, s) for place, s in zip(places, sums, strict=True)}

    def _judged(self, builder, sound, pivot: Vector, row, positive, size):
        """Return `sound` where the row is a right-hand side or its pivot has the right sign and is finite, else 0."""
        one, scalar = builder.icmp_signed("<", row, positive), self.format.scalar
        signed = pivot * self.broadcast(builder, builder.select(one, scalar(1.0), scalar(-1.0)))
        above = builder.fcmp_ordered(">", signed.value, pivot.constant(0.0).value)
        below = builder.fcmp_ordered("<", signed.value, pivot.constant(float("inf")).value)
        kept = builder.select(builder.and_(above, below), sound, pivot.constant(0.0).value)
        return builder.select(builder.icmp_signed("<", row, size), kept, sound)

    def _write_factor(self, builder, matrix, buffer, inverses, positive, size, rows):
        """Factor the matrix of `size` rows, `positive` of them with positive pivots, and its right-hand sides."""
        whole, edge = self.ends(builder, rows)
        left = builder.sub(rows, edge)
        *partial_panels, full = self._panels

        def turn(panel, sound):
            return (builder.call(full, [matrix, buffer, inverses, sound, panel, positive, size]),)

        ones = self.zero(builder).constant(1.0).value
        sound = loop(builder, integer(0), whole, 1, turn, (ones,))[0]
        done, last = builder.append_basic_block("done"), builder.block
        with builder.goto_block(done):
            result = builder.phi(self.format.vector)
        switch = builder.switch(left, done)
        result.add_incoming(sound, last)
        for count, function in enumerate(partial_panels, 1):
            case = builder.append_basic_block(f"rows{count}")
            switch.add_case(integer(count), case)
            builder.position_at_end(case)
            value = builder.call(function, [matrix, buffer, inverses, sound, whole, positive, size])
            builder.branch(done)
            result.add_incoming(value, case)
        builder.position_at_end(done)
        return result

    def ends(self, builder, size):
        """Return the number of whole panels, and the first row after them.

        Args:
            builder: where.
            size: number of rows.

        Returns:
            Two integers.
        """
        whole = builder.udiv(size, integer(self.height))
        return whole, builder.mul(whole, integer(self.height))
