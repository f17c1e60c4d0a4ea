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
        self.enter = self.define("enter", [POINTER] * 3 + [INT] * 3, self._write_enter)
        self.move = self.define("move", [POINTER] * 3 + [INT] * 3 + [ir.IntType(1)], self._write_move)

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
                    self.store(builder, tile, self.row_index(builder, i, row, integer(v)), value)

        loop(builder, integer(0), axes, 1, axis)

    def _write_move(self, builder, tile, outside, bias, first, count, components, inwards):
        """Copy outputs to (rows, points, components), adding the bias to row 0, or their cotangents into the tile."""
        last = builder.sub(count, first)
        whole = integer(self.points)
        valid = builder.select(builder.icmp_signed("<", last, whole), last, whole)

        def component(c):
            for row in range(self.layout.rows):
                column = builder.mul(integer(row), count)
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
