"""Products of matrices with tiles, in registers: the forward pass, its transpose, and the matrix's gradient."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from llvmlite import ir

from solvers.kernels.instructions import POINTER
from solvers.kernels.loops import blocks, integer, loop
from solvers.kernels.tiles import Tiles
from solvers.kernels.vectors import INT, Format
from solvers.layout import Layout


class Products(Tiles):
    """A module with the functions `multiply` and `accumulate`.

    A product keeps four outputs times a few vectors in registers, so that each load serves several multiplications; as
    many as there are registers for.

    Args:
        name: of the module.
        layout: rows of the series.
        format: vector type.
        registers: vector registers of the processor.
    """

    def __init__(self, name: str, layout: Layout, format: Format, registers: int):
        super().__init__(name, layout, format)
        self.wide = registers >= 32
        self.multiply = self.define("multiply", [POINTER] * 3 + [INT] * 4, self._write_multiply)
        self.accumulate = self.define("accumulate", [POINTER] * 4 + [INT] * 2, self._write_accumulate)

    def _write_multiply(self, builder, result, factor, matrix, over_outputs, over_inputs, outputs, inputs):
        """result[o] = sum_i matrix[o * over_outputs + i * over_inputs] factor[i], M vectors each."""
        start = 0
        for size in even_chunks(self.per_neuron, 6 if self.wide else 3):
            tile = partial(self._tile, builder, result, factor, matrix, over_outputs, over_inputs, inputs, start, size)
            blocks(builder, outputs, 4, tile)
            start += size

    def _tile(self, builder, result, factor, matrix, over_outputs, over_inputs, inputs, start, size, output, count):
        starts = [builder.mul(builder.add(output, integer(q)), over_outputs) for q in range(count)]

        def turn(i, *sums):
            row = builder.add(builder.mul(i, integer(self.per_neuron)), integer(start))
            values = [self.load(builder, factor, builder.add(row, integer(m))) for m in range(size)]
            column = builder.mul(i, over_inputs)
            following = []
            for q in range(count):
                weight = self.load_element(builder, matrix, builder.add(starts[q], column))
                weight = self.broadcast(builder, weight)
                following += [weight.fma(v, self.of(builder, sums[q * size + m])).value for m, v in enumerate(values)]
            return following

        zeros = [self.zero(builder).value] * (count * size)
        sums = loop(builder, integer(0), inputs, 1, turn, zeros)
        for q in range(count):
            row = builder.mul(builder.add(output, integer(q)), integer(self.per_neuron))
            for m in range(size):
                at = builder.add(row, integer(start + m))
                self.store(builder, result, at, self.of(builder, sums[q * size + m]))

    def _write_accumulate(self, builder, matrix, bias, cotangent, factor, outputs, inputs):
        """matrix[o, i] += sum over vectors and lanes of cotangent[o] factor[i]; bias[o] += the same of row 0 alone."""
        across = min(4, self.format.lanes)

        def output_block(output, count):
            body = partial(self._outer, builder, matrix, cotangent, factor, inputs, output, count)
            blocks(builder, inputs, across, body)
            for q in range(count):
                self._add_row_zero(builder, bias, cotangent, builder.add(output, integer(q)))

        blocks(builder, outputs, 4 if self.wide else 2, output_block)

    def _outer(self, builder, matrix, cotangent, factor, inputs, output, count, first, across):
        def starts(index, number):
            return [builder.mul(builder.add(index, integer(q)), integer(self.per_neuron)) for q in range(number)]

        rows, columns = starts(output, count), starts(first, across)

        def turn(m, *sums):
            left = [self.load(builder, cotangent, builder.add(row, m)) for row in rows]
            right = [self.load(builder, factor, builder.add(column, m)) for column in columns]
            pairs = [(a, b) for a in left for b in right]
            return [a.fma(b, self.of(builder, s)).value for (a, b), s in zip(pairs, sums, strict=True)]

        zeros = [self.zero(builder).value] * (count * across)
        sums = loop(builder, integer(0), integer(self.per_neuron), 1, turn, zeros)
        together = max(1, min(count, self.format.lanes // across))
        for q in range(0, count, together):
            lanes = sum_lanes(builder, sums[q * across : (q + together) * across], self.format)
            for part in range(together):
                at = builder.add(builder.mul(builder.add(output, integer(q + part)), inputs), first)
                self._add_to(builder, matrix, at, lanes, part * across, across)

    def _add_to(self, builder, base, at, lanes, begin: int, count: int) -> None:
        """Add `count` lanes, from `begin`, to elements in memory."""
        kind = ir.VectorType(self.format.scalar, count)
        mask = ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(begin, begin + count)))
        piece = builder.shuffle_vector(lanes, ir.Constant(lanes.type, ir.Undefined), mask)
        address = self.element_at(builder, base, at)
        known = builder.load(address, typ=kind, align=self.format.size)
        builder.store(builder.fadd(known, piece), address, align=self.format.size)

    def _add_row_zero(self, builder, bias, cotangent, output) -> None:
        row = builder.mul(output, integer(self.per_neuron))
        total = self.load(builder, cotangent, row)
        for v in range(1, self.vectors):
            total = total + self.load(builder, cotangent, builder.add(row, integer(v)))
        self._add_to(builder, bias, output, sum_lanes(builder, [total.value], self.format), 0, 1)


def even_chunks(total: int, largest: int) -> list[int]:
    """Split a number into parts that differ by at most one.

    Args:
        total: to be split.
        largest: no part is above it.

    Returns:
        The parts.

    Example:
        >>> even_chunks(14, 6)
        [5, 5, 4]
    """
    count = -(-total // largest)
    return [total // count + (part < total % count) for part in range(count)]


def sum_lanes(builder: ir.IRBuilder, vectors: Sequence[ir.Value], format: Format) -> ir.Value:
    """Return the sums over the lanes of several vectors, in the first lanes of one, by a tree of shuffles.

    Args:
        builder: where.
        vectors: a power of two of them, at most as many as lanes.
        format: of the vectors.

    Returns:
        A vector whose lane q is the sum of vector q.
    """
    lanes, current, stride = format.lanes, list(vectors), 1
    mask_type = ir.VectorType(ir.IntType(32), lanes)
    while stride < lanes:
        paired = [(current[q], current[q + 1]) for q in range(0, len(current), 2)] if len(current) > 1 else None
        low, high = [], []
        for position in range(lanes):
            block, inside = divmod(position, 2 * stride)
            from_second = inside >= stride
            base = block * 2 * stride + inside % stride + (lanes if from_second else 0)
            low.append(base)
            high.append(base + stride)
        if paired is None:
            # One vector is left: add its halves until the lanes agree.
            only = current[0]
            swap = [position ^ stride for position in range(lanes)]
            other = builder.shuffle_vector(only, only, ir.Constant(mask_type, swap))
            current = [builder.fadd(only, other)]
        else:
            current = [
                builder.fadd(
                    builder.shuffle_vector(a, b, ir.Constant(mask_type, low)),
                    builder.shuffle_vector(a, b, ir.Constant(mask_type, high)),
                )
                for a, b in paired
            ]
        stride *= 2
    return current[0]
