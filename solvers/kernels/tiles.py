"""Tiles of points: how a layer's series lie in memory while they are worked on, and how they enter and leave."""

from __future__ import annotations

from llvmlite import ir

from solvers.kernels.instructions import POINTER, Instructions
from solvers.kernels.loops import integer, loop
from solvers.kernels.rows import direction_rows
from solvers.kernels.vectors import INT, Format, Vector
from solvers.layout import Layout


class Tiles(Instructions):
    """A module whose functions work on tiles: neuron by neuron, row by row, V vectors of points.

    Mirrored, lanes 2i and 2i + 1 are point x_i and its image -x_i, along the directions v and -v, and what leaves the
    tile is the difference of the two: the series of f(x) - f(-x). `mirrored` is 1 or 0.

    Args:
        name: of the module.
        layout: rows of the series.
        format: vector type.
    """

    def __init__(self, name: str, layout: Layout, format: Format):
        super().__init__(name, format)
        self.layout = layout
        self.vectors = tile_vectors(layout.rows)
        self.per_neuron = layout.rows * self.vectors
        self.points = self.vectors * format.lanes
        self.enter = self.define("enter", [POINTER] * 3 + [INT] * 4, self._write_enter)
        self.move = self.define("move", [POINTER] * 3 + [INT] * 4 + [ir.IntType(1)], self._write_move)

    def rows_of(self, builder, base, neuron, v) -> list[Vector]:
        """Return the vectors of a neuron, one a row.

        Args:
            builder: where.
            base: address of the tile.
            neuron: which.
            v: which vector of points.

        Returns:
            One vector a row of the layout.
        """
        return [self.load(builder, base, self.row_index(builder, neuron, r, v)) for r in range(self.layout.rows)]

    def row_index(self, builder, neuron, row: int, v):
        """Return where a vector stands in a tile, counted in vectors.

        Args:
            builder: where.
            neuron: which.
            row: of the layout.
            v: which vector of points.

        Returns:
            The index.
        """
        start = builder.add(builder.mul(neuron, integer(self.per_neuron)), v)
        return builder.add(start, integer(row * self.vectors))

    def _write_enter(self, builder, tile, points, directions, first, count, axes, mirrored):
        """Fill the input's tile: points in row 0, directions in the rows of order 1, zero elsewhere."""
        last = builder.sub(builder.shl(count, mirrored), integer(1))
        flips = builder.icmp_signed("!=", mirrored, integer(0))
        alternating = ir.Constant(self.format.vector, [1.0, -1.0] * (self.format.lanes // 2))
        signs = self.of(builder, builder.select(flips, alternating, self.zero(builder).constant(1.0).value))

        def axis(i):
            def lane(p):
                at = builder.add(first, p)
                # The last tile repeats the last point; its results are left out.
                at = builder.select(builder.icmp_signed("<", at, last), at, last)
                point = builder.mul(builder.ashr(at, mirrored), axes)
                value = self.load_element(builder, points, builder.add(point, i))
                image = builder.icmp_signed("!=", builder.and_(at, mirrored), integer(0))
                value = builder.select(image, builder.fneg(value), value)
                row = builder.mul(i, integer(self.per_neuron * self.format.lanes))
                builder.store(value, self.element_at(builder, tile, builder.add(row, p)), align=self.format.size)

            loop(builder, integer(0), integer(self.points), 1, lane)
            rows = dict(direction_rows(self.layout))
            for row in range(1, self.layout.rows):
                value = self.zero(builder)
                if row in rows:
                    at = builder.add(builder.mul(integer(rows[row]), axes), i)
                    value = self.broadcast(builder, self.load_element(builder, directions, at)) * signs
                for v in range(self.vectors):
                    self.store(builder, tile, self.row_index(builder, i, row, integer(v)), value)

        loop(builder, integer(0), axes, 1, axis)

    def _write_move(self, builder, tile, outside, bias, first, count, components, mirrored, inwards):
        """Copy outputs to (rows, points, components), adding the bias to row 0, or their cotangents into the tile."""
        first = builder.ashr(first, mirrored)
        left, whole = builder.sub(count, first), builder.ashr(integer(self.points), mirrored)
        valid = builder.select(builder.icmp_signed("<", left, whole), left, whole)

        def component(c):
            for row in range(self.layout.rows):
                column = builder.mul(integer(row), count)
                outer = builder.add(builder.mul(builder.add(column, first), components), c)
                inner = builder.add(builder.mul(c, integer(self.layout.rows)), integer(row))
                inner = builder.mul(inner, integer(self.points))
                shift = self.load_element(builder, bias, c) if row == 0 else None
                self._copy(builder, tile, outside, inner, outer, components, valid, mirrored, inwards, shift)

        loop(builder, integer(0), components, 1, component)

    def _copy(self, builder, tile, outside, inner, outer, components, valid, mirrored, inwards, shift):
        flips = builder.icmp_signed("!=", mirrored, integer(0))

        def inside_at(p, image):
            lane = builder.add(builder.shl(p, mirrored), image)
            return self.element_at(builder, tile, builder.add(inner, lane))

        def outside_at(p):
            return self.element_at(builder, outside, builder.add(outer, builder.mul(p, components)))

        def element(address):
            return builder.load(address, typ=self.format.scalar, align=self.format.size)

        def out(p):
            value, image = element(inside_at(p, integer(0))), element(inside_at(p, mirrored))
            difference = builder.fsub(value, image)
            if shift is not None:
                # What is not finite in the bias does not cancel.
                difference = builder.fadd(difference, builder.fsub(shift, shift))
                value = builder.fadd(value, shift)
            builder.store(builder.select(flips, difference, value), outside_at(p), align=self.format.size)

        def into(p):
            value = element(outside_at(p))
            # Unmirrored, both are one element, and the second store is the one that stays.
            builder.store(builder.fneg(value), inside_at(p, mirrored), align=self.format.size)
            builder.store(value, inside_at(p, integer(0)), align=self.format.size)

        def nothing(lane):
            address = self.element_at(builder, tile, builder.add(inner, lane))
            builder.store(ir.Constant(self.format.scalar, 0.0), address, align=self.format.size)

        with builder.if_else(inwards) as (then, otherwise):
            with then:
                loop(builder, integer(0), valid, 1, into)
                loop(builder, builder.shl(valid, mirrored), integer(self.points), 1, nothing)
            with otherwise:
                loop(builder, integer(0), valid, 1, out)


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
