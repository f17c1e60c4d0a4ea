"""The saddle system of an RBF-FD stencil, written into a factorization's panels: one stencil a vector lane."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial, reduce
from operator import mul

from llvmlite import ir

from solvers.kernels.instructions import POINTER
from solvers.kernels.loops import integer, loop
from solvers.kernels.stencil_terms import dot, monomial, radial_side, root, shift_side
from solvers.kernels.substitution import Substitution
from solvers.kernels.vectors import INT, Format, Vector
from solvers.polyharmonic import Alpha

INDEX = ir.IntType(32)


class StencilAssembly(Substitution):
    """A module with the functions `gather`, `kernel`, `monomials` and one of `sides` an operator.

    With y = (x - c) / h, c the middle of the nodes' box and h their radius, A_ij = |y_i - y_j|^m, P the monomials at
    y, e the target's place and s the sign that makes s A positive definite on weights with P^T w = 0, a stencil has

        [s A + S, P; P^T, 0] [w; v] = [s L r^m + L S; L p],    S_ij = sum_k g_k (y_i . y_j)^k,

    where L acts at e, scaled by h^-|alpha| a term. S = P G P^T makes the block definite and leaves w and v as they
    are, since P^T w = L p: no pivots are to be searched for. The middle of the box keeps G small beside boundaries.

    Args:
        exponent: m of r^m, odd.
        powers: exponents of the monomials; all of degrees up to that of the shift are among them.
        operators: the multi-indices of each operator's terms.
        shift: g_0, g_1, ... of the definite shift.
        format: vector type.
        registers: vector registers of the processor.
    """

    def __init__(
        self,
        exponent: int,
        powers: Sequence[Alpha],
        operators: Sequence[Sequence[Alpha]],
        shift: Sequence[float],
        format: Format,
        registers: int,
    ):
        super().__init__("stencils", format, registers)
        self.exponent, self.powers, self.operators, self.shift = exponent, powers, operators, list(shift)
        self.dimension = len(powers[0])
        self.sign = (-1.0) ** ((exponent + 1) // 2)
        self.gather = self.define("gather", [POINTER] * 4 + [INT] * 3, self._write_gather, format.vector)
        self.kernel = self.define("kernel", [POINTER] * 2 + [INT], self._write_kernel)
        self.monomials = self.define("monomials", [POINTER] * 2 + [INT], self._write_monomials)
        kinds = [POINTER] * 4 + [format.vector, INT]
        self.sides = [
            self.define(f"side{which}", kinds, partial(self._write_side, which)) for which in range(len(operators))
        ]

    def node(self, builder, coordinates, j) -> list[Vector]:
        """Return the coordinates of a node.

        Args:
            builder: where.
            coordinates: address of the first.
            j: which; the target follows the last.

        Returns:
            One vector an axis.
        """
        return self.group(builder, coordinates, builder.mul(j, integer(self.dimension)), self.dimension)

    def radial(self, ours: Sequence[Vector], theirs: Sequence[Vector]) -> Vector:
        """Return s |y_i - y_j|^m.

        Args:
            ours: y_i.
            theirs: y_j.

        Returns:
            An entry of s A.
        """
        apart = [a - b for a, b in zip(ours, theirs, strict=True)]
        square = dot(apart, apart)
        return reduce(mul, [square] * (self.exponent // 2), root(square) * self.sign)

    def _write_gather(self, builder, nodes, targets, index, coordinates, count, size, first):
        """Store y node by node, then e, and return 1 / h; lanes past the end repeat the last target."""
        d, lanes = self.dimension, self.format.lanes
        last = builder.sub(count, integer(1))

        def lane(p):
            target = builder.add(first, p)
            target = builder.select(builder.icmp_signed("<", target, count), target, last)
            stencil, center = builder.mul(target, size), builder.mul(target, integer(d))
            origin = [self.load_element(builder, targets, builder.add(center, integer(a))) for a in range(d)]

            def node(j):
                at = builder.gep(index, [builder.add(stencil, j)], source_etype=INDEX)
                place = builder.mul(builder.sext(builder.load(at, typ=INDEX), INT), integer(d))
                row = builder.add(builder.mul(j, integer(d * lanes)), p)
                for a in range(d):
                    value = self.load_element(builder, nodes, builder.add(place, integer(a)))
                    into = self.element_at(builder, coordinates, builder.add(row, integer(a * lanes)))
                    builder.store(builder.fsub(value, origin[a]), into, align=self.format.size)

            loop(builder, integer(0), size, 1, node)

        loop(builder, integer(0), integer(lanes), 1, lane)
        middle = self._middle(builder, coordinates, size)

        def move(j, known):
            moved = [a - b for a, b in zip(self.node(builder, coordinates, j), middle, strict=True)]
            self._put(builder, coordinates, j, moved)
            square = dot(moved, moved).value
            return (builder.select(builder.fcmp_unordered(">", square, known), square, known),)

        square = loop(builder, integer(0), size, 1, move, (self.zero(builder).value,))[0]
        inverse = 1.0 / root(self.of(builder, square))
        self._put(builder, coordinates, size, [-value for value in middle])

        def scale(i):
            self.store(builder, coordinates, i, self.load(builder, coordinates, i) * inverse)

        loop(builder, integer(0), builder.mul(builder.add(size, integer(1)), integer(d)), 1, scale)
        return inverse.value

    def _put(self, builder, coordinates, j, values: Sequence[Vector]) -> None:
        start = builder.mul(j, integer(self.dimension))
        for a, value in enumerate(values):
            self.store(builder, coordinates, builder.add(start, integer(a)), value)

    def _middle(self, builder, coordinates, size) -> list[Vector]:
        def widen(j, *known):
            ends = []
            for a, value in enumerate(self.node(builder, coordinates, j)):
                for sign, limit in zip("<>", known[2 * a : 2 * a + 2], strict=True):
                    ends.append(builder.select(builder.fcmp_unordered(sign, value.value, limit), value.value, limit))
            return ends

        first = [value.value for value in self.node(builder, coordinates, integer(0)) for _ in range(2)]
        ends = [self.of(builder, value) for value in loop(builder, integer(1), size, 1, widen, first)]
        return [(low + high) * 0.5 for low, high in zip(ends[::2], ends[1::2], strict=True)]

    def _write_kernel(self, builder, matrix, coordinates, size):
        """Write the lower triangle of s A + S."""

        def row(i):
            at = self.vector_at(builder, matrix, self.row_start(builder, i))
            ours = self.node(builder, coordinates, i)

            def column(j):
                theirs = self.node(builder, coordinates, j)
                value = self.radial(ours, theirs) + dot(ours, theirs).polynomial(self.shift)
                self.store(builder, at, builder.mul(j, integer(self.height)), value)

            loop(builder, integer(0), i, 1, column)
            diagonal = dot(ours, ours).polynomial(self.shift)
            self.store(builder, at, builder.mul(i, integer(self.height)), diagonal)

        loop(builder, integer(0), size, 1, row)

    def _write_monomials(self, builder, matrix, coordinates, size):
        """Write the rows of P^T, and zeros beside them up to the diagonal."""
        rows = [builder.add(size, integer(a)) for a in range(len(self.powers))]
        places = [self.vector_at(builder, matrix, self.row_start(builder, row)) for row in rows]

        def column(j):
            known: dict[Alpha, Vector] = {}
            node, at = self.node(builder, coordinates, j), builder.mul(j, integer(self.height))
            for power, place in zip(self.powers, places, strict=True):
                self.store(builder, place, at, monomial(power, node, known))

        loop(builder, integer(0), size, 1, column)
        for row, place in zip(rows, places, strict=True):
            self._clear(builder, place, size, builder.add(row, integer(1)))

    def _clear(self, builder, place, begin, end):
        def column(j):
            self.store(builder, place, builder.mul(j, integer(self.height)), self.zero(builder))

        loop(builder, begin, end, 1, column)

    def _write_side(self, which, builder, matrix, coordinates, coefficients, side, inverse, size):
        """Write an operator's right-hand side into the matrix, and without the shift into `side`."""
        row = builder.add(size, integer(len(self.powers) + which))
        place = self.vector_at(builder, matrix, self.row_start(builder, row))
        target, known = self.node(builder, coordinates, size), {}
        scaled, start = {}, sum(map(len, self.operators[:which]))
        for position, alpha in enumerate(self.operators[which], start):
            factor = self.broadcast(builder, self.load_element(builder, coefficients, integer(position)))
            scaled[alpha] = reduce(mul, [self.of(builder, inverse)] * sum(alpha), factor)

        def put(j, value, shift):
            self.store(builder, side, j, value)
            self.store(builder, place, builder.mul(j, integer(self.height)), value + shift)

        def column(j):
            node = self.node(builder, coordinates, j)
            value = radial_side(scaled, self.exponent, [a - b for a, b in zip(target, node, strict=True)]) * self.sign
            put(j, value, shift_side(scaled, self.shift, node, target))

        loop(builder, integer(0), size, 1, column)
        for a, power in enumerate(self.powers):
            value = self.zero(builder)
            for alpha, factor in scaled.items():
                rest = tuple(p - k for p, k in zip(power, alpha, strict=True))
                if min(rest) >= 0:
                    times = float(math.prod(map(math.perm, power, alpha)))
                    value = (factor * times).fma(monomial(rest, target, known), value)
            put(builder.add(size, integer(a)), value, 0.0)
        self._clear(builder, place, builder.add(size, integer(len(self.powers))), builder.add(row, integer(1)))
