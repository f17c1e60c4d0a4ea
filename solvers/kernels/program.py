"""The program that carries Taylor series through a whole perceptron, tile by tile, and its adjoint.

A tile is V vectors of points. Neuron j of a layer owns M = rows * V vectors, row-major: the tile of a layer stays in
cache while it is multiplied, activated and multiplied again; nothing of the network's graph is written to memory.

    forward    Z_l = W_l Y_l (all rows), z_0 += b_l, Y_{l+1} = f(Z_l) by recurrence
    backward   Zbar = adjoint(Ybar), Wbar_l += Zbar Y_l^T, bbar_l += row 0 of Zbar, Ybar_l = W_l^T Zbar
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from llvmlite import ir

from solvers.kernels.instructions import POINTER, Instructions
from solvers.kernels.loops import blocks, integer, loop
from solvers.kernels.recurrences import Activation
from solvers.kernels.rows import activated, direction_rows, pulled_back
from solvers.kernels.vectors import INT, Format, Vector
from solvers.layout import Layout


class Program(Instructions):
    """Functions `forward` and `backward` for one activation, layout and floating-point type, as LLVM instructions.

    Widths, depth and the number of points are arguments of the functions: one program serves all networks.

    Args:
        activation: between the linear layers.
        layout: rows of the series.
        format: vector type.
        registers: vector registers of the processor.
    """

    def __init__(self, activation: Activation, layout: Layout, format: Format, registers: int):
        super().__init__("perceptron", format)
        self.activation, self.layout = activation, layout
        self.wide = registers >= 32
        self.vectors = tile_vectors(layout.rows)
        self.per_neuron = layout.rows * self.vectors
        self.points = self.vectors * format.lanes
        self.copies = 1 if activation.slope else 2
        self._multiply = self.define("multiply", [POINTER] * 3 + [INT] * 4, self._write_multiply)
        self._accumulate = self.define("accumulate", [POINTER] * 4 + [INT] * 2, self._write_accumulate)
        self._activate = self.define("activate", [POINTER] * 3 + [INT], self._write_activate)
        self._pull_back = self.define("pull_back", [POINTER] * 2 + [INT], self._write_pull_back)
        self._enter = self.define("enter", [POINTER] * 3 + [INT] * 3, self._write_enter)
        self._hidden = self.define("hidden", [POINTER] * 4 + [INT], self._write_hidden, POINTER)
        self._move = self.define("move", [POINTER] * 3 + [INT] * 3 + [ir.IntType(1)], self._write_move)
        self.forward = self.define("forward", FORWARD, self._write_forward, public=True)
        self.backward = self.define("backward", BACKWARD, self._write_backward, public=True)

    # Products.

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

    # Activations.

    def _rows(self, builder, base, neuron, v) -> list[Vector]:
        return [self.load(builder, base, self._row_index(builder, neuron, r, v)) for r in range(self.layout.rows)]

    def _row_index(self, builder, neuron, row: int, v):
        start = builder.add(builder.mul(neuron, integer(self.per_neuron)), v)
        return builder.add(start, integer(row * self.vectors))

    def _each(self, builder, neurons, body) -> None:
        loop(
            builder,
            integer(0),
            neurons,
            1,
            lambda neuron: loop(builder, integer(0), integer(self.vectors), 1, lambda v: body(neuron, v)) and None,
        )

    def _write_activate(self, builder, result, argument, bias, neurons):
        """Result = f(argument + bias) in every row; the argument keeps its bias where the adjoint will need it."""

        def neuron_vector(neuron, v):
            z = self._rows(builder, argument, neuron, v)
            z[0] = z[0] + self.broadcast(builder, self.load_element(builder, bias, neuron))
            if self.copies == 2:
                self.store(builder, argument, self._row_index(builder, neuron, 0, v), z[0])
            for row, value in enumerate(activated(self.activation, self.layout, z)):
                self.store(builder, result, self._row_index(builder, neuron, row, v), value)

        self._each(builder, neurons, neuron_vector)

    def _write_pull_back(self, builder, cotangent, saved, neurons):
        """Turn the cotangent of f(z) into that of z, in place; saved is f(z) or z."""

        def neuron_vector(neuron, v):
            known, bar = self._rows(builder, saved, neuron, v), self._rows(builder, cotangent, neuron, v)
            for row, value in enumerate(pulled_back(self.activation, self.layout, known, bar)):
                self.store(builder, cotangent, self._row_index(builder, neuron, row, v), value)

        self._each(builder, neurons, neuron_vector)

    # Edges.

    def _write_enter(self, builder, tile, points, directions, first, count, axes):
        """Fill the input's tile: points in row 0, directions in the rows of order 1, zero elsewhere."""
        last = builder.sub(count, integer(1))

        def axis(i):
            def lane(p):
                at = builder.add(first, p)
                # The last tile repeats the last point; its results are left out.
                at = builder.select(builder.icmp_signed("<", at, count), at, last)
                value = self.load_element(builder, points, builder.add(builder.mul(at, axes), i))
                row = builder.mul(i, integer(self.per_neuron * self.format.lanes))
                builder.store(value, self.element_at(builder, tile, builder.add(row, p)), align=self.format.size)

            loop(builder, integer(0), integer(self.points), 1, lane)
            rows = dict(direction_rows(self.layout))
            for row in range(1, self.layout.rows):
                value = self.zero(builder)
                if row in rows:
                    at = builder.add(builder.mul(integer(rows[row]), axes), i)
                    value = self.broadcast(builder, self.load_element(builder, directions, at))
                for v in range(self.vectors):
                    self.store(builder, tile, self._row_index(builder, i, row, integer(v)), value)

        loop(builder, integer(0), axes, 1, axis)

    def _write_move(self, builder, tile, outside, bias, first, count, components, inwards):
        """Copy outputs to (rows, points, components), adding the bias to row 0, or their cotangents into the tile."""
        last = builder.sub(count, first)
        whole = integer(self.points)
        valid = builder.select(builder.icmp_signed("<", last, whole), last, whole)

        def component(c):
            for row in range(self.layout.rows):
                column = builder.mul(builder.add(integer(row * 1), integer(0)), count)
                outer = builder.add(builder.mul(builder.add(column, first), components), c)
                inner = builder.mul(builder.add(builder.mul(c, integer(self.layout.rows)), integer(row)), whole)
                self._copy(builder, tile, outside, bias, inner, outer, components, c, valid, inwards, row)

        loop(builder, integer(0), components, 1, component)

    def _copy(self, builder, tile, outside, bias, inner, outer, components, c, valid, inwards, row):
        def inside_at(p):
            return self.element_at(builder, tile, builder.add(inner, p))

        def outside_at(p):
            return self.element_at(builder, outside, builder.add(outer, builder.mul(p, components)))

        shift = self.load_element(builder, bias, c) if row == 0 else None

        def out(p):
            value = builder.load(inside_at(p), typ=self.format.scalar, align=self.format.size)
            value = value if shift is None else builder.fadd(value, shift)
            builder.store(value, outside_at(p), align=self.format.size)

        def into(p):
            value = builder.load(outside_at(p), typ=self.format.scalar, align=self.format.size)
            builder.store(value, inside_at(p), align=self.format.size)

        def nothing(p):
            builder.store(ir.Constant(self.format.scalar, 0.0), inside_at(p), align=self.format.size)

        with builder.if_else(inwards) as (then, otherwise):
            with then:
                loop(builder, integer(0), valid, 1, into)
                loop(builder, valid, integer(self.points), 1, nothing)
            with otherwise:
                loop(builder, integer(0), valid, 1, out)

    # The network.

    def _tile_bytes(self, builder, width):
        return builder.mul(width, integer(self.per_neuron * self.format.size * self.format.lanes))

    def _skip(self, builder, base, size):
        return builder.gep(base, [size], source_etype=ir.IntType(8))

    def _write_hidden(self, builder, slot, sizes, weights, biases, layers):
        """Carry the tile through every layer but the last; return where the last one's input lies."""

        def layer(index, values):
            inputs = self.int_at(builder, sizes, index)
            outputs = self.int_at(builder, sizes, builder.add(index, integer(1)))
            size = self._tile_bytes(builder, outputs)
            argument = self._skip(builder, values, self._tile_bytes(builder, inputs))
            result = argument if self.copies == 1 else self._skip(builder, argument, size)
            weight, bias = (self.pointer_at(builder, table, index) for table in (weights, biases))
            builder.call(self._multiply, [argument, values, weight, inputs, integer(1), outputs, inputs])
            builder.call(self._activate, [result, argument, bias, outputs])
            return (result,)

        return loop(builder, integer(0), builder.sub(layers, integer(1)), 1, layer, (slot,))[0]

    def _write_forward(
        self, builder, points, directions, count, begin, end, layers, sizes, weights, biases, work, stride, scratch, out
    ):
        last = builder.sub(layers, integer(1))
        axes = self.int_at(builder, sizes, integer(0))
        inputs, outputs = self.int_at(builder, sizes, last), self.int_at(builder, sizes, layers)
        weight, bias = (self.pointer_at(builder, table, last) for table in (weights, biases))

        def tile(index):
            first = builder.mul(index, integer(self.points))
            slot = self._skip(builder, work, builder.mul(index, stride))
            builder.call(self._enter, [slot, points, directions, first, count, axes])
            values = builder.call(self._hidden, [slot, sizes, weights, biases, layers])
            builder.call(self._multiply, [scratch, values, weight, inputs, integer(1), outputs, inputs])
            outwards = ir.Constant(ir.IntType(1), 0)
            builder.call(self._move, [scratch, out, bias, first, count, outputs, outwards])

        loop(builder, begin, end, 1, tile)

    def _write_backward(
        self,
        builder,
        points,
        directions,
        count,
        begin,
        end,
        layers,
        sizes,
        weights,
        biases,
        work,
        stride,
        scratch,
        other_scratch,
        out,
        weight_gradients,
        bias_gradients,
    ):
        axes = self.int_at(builder, sizes, integer(0))
        outputs = self.int_at(builder, sizes, layers)
        last = builder.sub(layers, integer(1))
        recompute = builder.icmp_signed("==", stride, integer(0))

        def layer(step, values, cotangent, other):
            index = builder.sub(last, step)
            inputs = self.int_at(builder, sizes, index)
            rows = self.int_at(builder, sizes, builder.add(index, integer(1)))
            gradients = [self.pointer_at(builder, table, index) for table in (weight_gradients, bias_gradients)]
            builder.call(self._accumulate, [*gradients, cotangent, values, rows, inputs])
            hidden = builder.icmp_signed(">", index, integer(0))
            with builder.if_then(hidden):
                weight = self.pointer_at(builder, weights, index)
                builder.call(self._multiply, [other, cotangent, weight, integer(1), inputs, inputs, rows])
                back = builder.neg(self._tile_bytes(builder, inputs))
                saved = values if self.copies == 1 else self._skip(builder, values, back)
                builder.call(self._pull_back, [other, saved, inputs])
            earlier = builder.select(hidden, builder.sub(index, integer(1)), integer(0))
            step_back = builder.add(
                self._tile_bytes(builder, self.int_at(builder, sizes, earlier)),
                builder.mul(self._tile_bytes(builder, inputs), integer(self.copies - 1)),
            )
            return self._skip(builder, values, builder.neg(step_back)), other, cotangent

        def tile(index):
            first = builder.mul(index, integer(self.points))
            slot = self._skip(builder, work, builder.mul(index, stride))
            with builder.if_then(recompute):
                builder.call(self._enter, [slot, points, directions, first, count, axes])
                builder.call(self._hidden, [slot, sizes, weights, biases, layers])
            values = self._last_input(builder, slot, sizes, layers)
            nowhere = self.pointer_at(builder, biases, last)
            inwards = ir.Constant(ir.IntType(1), 1)
            builder.call(self._move, [scratch, out, nowhere, first, count, outputs, inwards])
            loop(builder, integer(0), layers, 1, layer, (values, scratch, other_scratch))

        loop(builder, begin, end, 1, tile)

    def _last_input(self, builder, slot, sizes, layers):
        """Return where the last layer's input lies in a slot."""

        def skip(index, values):
            size = self._tile_bytes(builder, self.int_at(builder, sizes, index))
            following = self._tile_bytes(builder, self.int_at(builder, sizes, builder.add(index, integer(1))))
            size = builder.add(size, builder.mul(following, integer(self.copies - 1)))
            return (self._skip(builder, values, size),)

        return loop(builder, integer(0), builder.sub(layers, integer(1)), 1, skip, (slot,))[0]


FORWARD = [POINTER, POINTER, INT, INT, INT, INT, POINTER, POINTER, POINTER, POINTER, INT, POINTER, POINTER]
"""points, directions, count, first tile, end of tiles, layers, sizes, weights, biases, work, stride, scratch, out."""

BACKWARD = [*FORWARD[:-1], POINTER, POINTER, POINTER, POINTER]
"""As FORWARD, then a second scratch, the outputs' cotangent, and the gradients of weights and biases."""


def tile_vectors(rows: int) -> int:
    """Return how many vectors of points a tile holds: few rows take more, so that a product has work in registers.

    Args:
        rows: of the series.

    Returns:
        A power of two.

    Example:
        >>> [tile_vectors(rows) for rows in (2, 4, 6, 10, 30)]
        [8, 4, 2, 2, 1]
    """
    return next(v for v in (8, 4, 2, 1) if rows * v <= 20 or v == 1)


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
