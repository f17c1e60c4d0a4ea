"""The program that carries Taylor series through a whole perceptron, tile by tile, and its adjoint.

A tile is V vectors of points. Neuron j of a layer owns M = rows * V vectors, row-major: the tile of a layer stays in
cache while it is multiplied, activated and multiplied again; nothing of the network's graph is written to memory.

    forward    Z_l = W_l Y_l (all rows), z_0 += b_l, Y_{l+1} = f(Z_l) by recurrence
    backward   Zbar = adjoint(Ybar), Wbar_l += Zbar Y_l^T, bbar_l += row 0 of Zbar, Ybar_l = W_l^T Zbar
"""

from __future__ import annotations

from llvmlite import ir

from solvers.kernels.instructions import POINTER
from solvers.kernels.loops import integer, loop
from solvers.kernels.products import Products
from solvers.kernels.recurrences import Activation
from solvers.kernels.rows import activated, pulled_back
from solvers.kernels.vectors import INT, Format
from solvers.layout import Layout

FORWARD = [POINTER, POINTER, INT, INT, INT, INT, INT, POINTER, POINTER, POINTER, POINTER, INT, POINTER, POINTER]
"""points, directions, count, mirrored, first tile, end of tiles, layers, sizes, weights, biases, work, stride, scratch,
out."""

BACKWARD = [*FORWARD[:-1], POINTER, POINTER, POINTER, POINTER, POINTER]
"""As FORWARD, then a second scratch, the outputs' cotangent, the gradients, and the first elements there of those of
weights and biases."""


class Program(Products):
    """Functions `forward` and `backward` for one activation, layout and floating-point type, as LLVM instructions.

    Widths, depth and the number of points are arguments of the functions: one program serves all networks.

    Args:
        activation: between the linear layers.
        layout: rows of the series.
        format: vector type.
        registers: vector registers of the processor.
    """

    def __init__(self, activation: Activation, layout: Layout, format: Format, registers: int):
        super().__init__("perceptron", layout, format, registers)
        self.activation = activation
        self.copies = 1 if activation.slope else 2
        self._activate = self.define("activate", [POINTER] * 3 + [INT], self._write_activate)
        self._pull_back = self.define("pull_back", [POINTER] * 2 + [INT], self._write_pull_back)
        self._hidden = self.define("hidden", [POINTER] * 4 + [INT], self._write_hidden, POINTER)
        self.forward = self.define("forward", FORWARD, self._write_forward, public=True)
        self.backward = self.define("backward", BACKWARD, self._write_backward, public=True)

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
            z = self.rows_of(builder, argument, neuron, v)
            z[0] = z[0] + self.broadcast(builder, self.load_element(builder, bias, neuron))
            if self.copies == 2:
                self.store(builder, argument, self.row_index(builder, neuron, 0, v), z[0])
            for row, value in enumerate(activated(self.activation, self.layout, z)):
                self.store(builder, result, self.row_index(builder, neuron, row, v), value)

        self._each(builder, neurons, neuron_vector)

    def _write_pull_back(self, builder, cotangent, saved, neurons):
        """Turn the cotangent of f(z) into that of z, in place; saved is f(z) or z."""

        def neuron_vector(neuron, v):
            known, bar = self.rows_of(builder, saved, neuron, v), self.rows_of(builder, cotangent, neuron, v)
            for row, value in enumerate(pulled_back(self.activation, self.layout, known, bar)):
                self.store(builder, cotangent, self.row_index(builder, neuron, row, v), value)

        self._each(builder, neurons, neuron_vector)

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
            builder.call(self.multiply, [argument, values, weight, inputs, integer(1), outputs, inputs])
            builder.call(self._activate, [result, argument, bias, outputs])
            return (result,)

        return loop(builder, integer(0), builder.sub(layers, integer(1)), 1, layer, (slot,))[0]

    def _write_forward(
        self,
        builder,
        points,
        directions,
        count,
        mirrored,
        begin,
        end,
        layers,
        sizes,
        weights,
        biases,
        work,
        stride,
        scratch,
        out,
    ):
        last = builder.sub(layers, integer(1))
        axes = self.int_at(builder, sizes, integer(0))
        inputs, outputs = self.int_at(builder, sizes, last), self.int_at(builder, sizes, layers)
        weight, bias = (self.pointer_at(builder, table, last) for table in (weights, biases))

        def tile(index):
            first = builder.mul(index, integer(self.points))
            slot = self._skip(builder, work, builder.mul(index, stride))
            builder.call(self.enter, [slot, points, directions, first, count, axes, mirrored])
            values = builder.call(self._hidden, [slot, sizes, weights, biases, layers])
            builder.call(self.multiply, [scratch, values, weight, inputs, integer(1), outputs, inputs])
            outwards = ir.Constant(ir.IntType(1), 0)
            builder.call(self.move, [scratch, out, bias, first, count, outputs, mirrored, outwards])

        loop(builder, begin, end, 1, tile)

    def _write_backward(
        self,
        builder,
        points,
        directions,
        count,
        mirrored,
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
        gradients,
        weight_starts,
        bias_starts,
    ):
        axes = self.int_at(builder, sizes, integer(0))
        outputs = self.int_at(builder, sizes, layers)
        last = builder.sub(layers, integer(1))
        recompute = builder.icmp_signed("==", stride, integer(0))

        def layer(step, values, cotangent, other):
            index = builder.sub(last, step)
            inputs = self.int_at(builder, sizes, index)
            rows = self.int_at(builder, sizes, builder.add(index, integer(1)))
            starts = [self.int_at(builder, table, index) for table in (weight_starts, bias_starts)]
            own = [self.element_at(builder, gradients, start) for start in starts]
            builder.call(self.accumulate, [*own, cotangent, values, rows, inputs])
            hidden = builder.icmp_signed(">", index, integer(0))
            with builder.if_then(hidden):
                weight = self.pointer_at(builder, weights, index)
                builder.call(self.multiply, [other, cotangent, weight, integer(1), inputs, inputs, rows])
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
                builder.call(self.enter, [slot, points, directions, first, count, axes, mirrored])
                builder.call(self._hidden, [slot, sizes, weights, biases, layers])
            values = self._last_input(builder, slot, sizes, layers)
            nowhere = self.pointer_at(builder, biases, last)
            inwards = ir.Constant(ir.IntType(1), 1)
            builder.call(self.move, [scratch, out, nowhere, first, count, outputs, mirrored, inwards])
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
