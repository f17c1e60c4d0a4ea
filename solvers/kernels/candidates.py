"""The candidates among which targets of one cell find their neighbours: the nodes of the cells around."""

from __future__ import annotations

from functools import reduce
from operator import add

from llvmlite import ir

from solvers.kernels.instructions import Instructions
from solvers.kernels.loops import integer, loop
from solvers.kernels.vectors import INT, Format, Vector

MOST = 4096
"""Candidates of a group for which there is room."""

ID = ir.IntType(32)


class Candidates(Instructions):
    """A module that searches blocks of cells: those within some rings around the cell of a group of targets.

    Args:
        dimension: d.
        format: vector type; a lane holds a target.
    """

    def __init__(self, dimension: int, format: Format):
        super().__init__("neighbours", format)
        self.dimension = dimension

    def place_targets(self, builder, given, first, count):
        """Copy the group's targets into lanes, the last one into the lanes left over.

        Args:
            builder: where.
            given: the arguments of `search` and the parts of its scratch, by name.
            first: target of the group.
            count: of its targets.
        """
        last = builder.sub(count, integer(1))

        def lane(p):
            inside = builder.select(builder.icmp_signed("<", p, count), p, last)
            row = builder.mul(builder.add(first, inside), integer(self.dimension))
            for a in range(self.dimension):
                value = self.load_element(builder, given["targets"], builder.add(row, integer(a)))
                into = builder.add(integer(a * self.format.lanes), p)
                builder.store(value, self.element_at(builder, given["target"], into), align=self.format.size)

        loop(builder, integer(0), integer(self.format.lanes), 1, lane)

    def block(self, builder, given, first, target):
        """Return the block's first and last cells, and the squared distances to its edges with cells beyond.

        Args:
            builder: where.
            given: the arguments of `search` and the parts of its scratch, by name.
            first: target of the group.
            target: one vector an axis.

        Returns:
            Two integers an axis, and a vector.
        """
        low, high, reach = [], [], target[0].constant(float("inf"))
        side = self.broadcast(builder, self.load_element(builder, given["frame"], integer(self.dimension)))
        row = builder.mul(first, integer(self.dimension))
        for a in range(self.dimension):
            cell = self.int_at(builder, given["cells"], builder.add(row, integer(a)))
            last = builder.sub(self.int_at(builder, given["shape"], integer(a)), integer(1))
            before, behind = builder.sub(cell, given["rings"]), builder.add(cell, given["rings"])
            open_low, open_high = builder.icmp_signed(">", before, integer(0)), builder.icmp_signed("<", behind, last)
            low.append(builder.select(open_low, before, integer(0)))
            high.append(builder.select(open_high, behind, last))
            origin = self.broadcast(builder, self.load_element(builder, given["frame"], integer(a)))
            edges = [
                target[a] - (self._number(builder, low[a]) * side + origin),
                self._number(builder, builder.add(high[a], integer(1))) * side + origin - target[a],
            ]
            for is_open, edge in zip((open_low, open_high), edges, strict=True):
                nearer = builder.select(builder.fcmp_ordered("<", edge.value, reach.value), edge.value, reach.value)
                reach = self.of(builder, builder.select(is_open, nearer, reach.value))
        # Cells were found by a rounded quotient: a node may lie beyond its cell's edge by some units in the last place.
        reach = reach.at_least(0.0) * (1 - 1e-9)
        return low, high, reach * reach

    def _number(self, builder, value) -> Vector:
        return self.broadcast(builder, builder.sitofp(value, self.format.scalar))

    def splat(self, builder, value):
        """Return a vector of equal integers.

        Args:
            builder: where.
            value: the integer.

        Returns:
            The vector.
        """
        kind = self.format.integers
        single = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), self.format.lanes), [0] * self.format.lanes)
        return builder.shuffle_vector(single, ir.Constant(kind, ir.Undefined), mask)

    def _mask(self, builder, condition):
        return builder.bitcast(condition, ir.IntType(self.format.lanes))

    def some(self, builder, condition):
        """Return whether a condition holds in any lane.

        Args:
            builder: where.
            condition: one bit a lane.

        Returns:
            A bit.
        """
        return builder.icmp_unsigned(
            "!=", self._mask(builder, condition), ir.Constant(ir.IntType(self.format.lanes), 0)
        )

    def every(self, builder, condition):
        """Return whether a condition holds in all lanes.

        Args:
            builder: where.
            condition: one bit a lane.

        Returns:
            A bit.
        """
        every = ir.Constant(ir.IntType(self.format.lanes), -1)
        return builder.icmp_unsigned("==", self._mask(builder, condition), every)

    def runs(self, builder, given, low, high, body, values):
        """Carry values through body(start, stop, *values) for each run of consecutive nodes of a block.

        Args:
            builder: where.
            given: the arguments of `search` and the parts of its scratch, by name.
            low: the block's first cells.
            high: its last ones.
            body: appends the work on a run, returns the next values.
            values: before the first run.

        Returns:
            The values after the last run.
        """

        def row(axis, cell, values):
            # Along the last axis cells are consecutive, and so are their nodes.
            length = self.int_at(builder, given["shape"], integer(axis))
            begin, end = (builder.add(builder.mul(cell, length), edge) for edge in (low[axis], high[axis]))
            stop = builder.add(end, integer(1))
            if axis == self.dimension - 1:
                return body(*(self.int_at(builder, given["starts"], place) for place in (begin, stop)), *values)
            return loop(builder, begin, stop, 1, lambda inner, *kept: row(axis + 1, inner, kept), values)

        return row(0, integer(0), values)

    def candidates(self, builder, given, low, high, reach, target):
        """Keep distances and numbers of the nodes within reach of any lane.

        Args:
            builder: where.
            given: the arguments of `search` and the parts of its scratch, by name.
            low: the block's first cells.
            high: its last ones.
            reach: squared distances within which nodes are found for certain.
            target: one vector an axis.

        Returns:
            How many were kept, how many are within each lane's reach, and each lane's largest squared distance.
        """

        def node(k, position, counts, farthest):
            squares = []
            for a in range(self.dimension):
                at = builder.add(builder.mul(integer(a), given["count"]), k)
                apart = target[a] - self.broadcast(builder, self.load_element(builder, given["nodes"], at))
                squares.append(apart * apart)
            square = reduce(add, squares)
            self.store(builder, given["distances"], position, square)
            number = builder.load(builder.gep(given["numbers"], [k], source_etype=ID), typ=ID)
            builder.store(number, builder.gep(given["kept"], [position], source_etype=ID))
            near = builder.fcmp_ordered("<=", square.value, reach.value)
            counts = builder.sub(counts, builder.sext(near, self.format.integers))
            some = self.some(builder, near)
            following = builder.add(position, builder.zext(some, INT))
            full = builder.icmp_signed("<", following, integer(MOST))
            following = builder.select(full, following, integer(MOST - 1))
            more = builder.fcmp_ordered(">", square.value, farthest)
            return following, counts, builder.select(more, square.value, farthest)

        def run(start, stop, *values):
            return loop(builder, start, stop, 1, node, values)

        none = ir.Constant(self.format.integers, [0] * self.format.lanes)
        total, counts, farthest = self.runs(
            builder, given, low, high, run, (integer(0), none, self.zero(builder).value)
        )
        return total, counts, self.of(builder, farthest)
