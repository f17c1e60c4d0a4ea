"""The program that makes RBF-FD weights, one stencil a vector lane: gather, assemble, factor, solve, refine, write."""

from __future__ import annotations

from functools import reduce
from operator import add

from llvmlite import ir

from solvers.kernels.instructions import POINTER
from solvers.kernels.loops import integer, loop
from solvers.kernels.stencil_assembly import StencilAssembly
from solvers.kernels.stencil_terms import monomial
from solvers.kernels.vectors import INT, Vector

RUN = [POINTER] * 12 + [INT] * 4
"""nodes, targets, index, coefficients, the six of `StencilProgram.room`, weights, solved, count, n, begin, end."""

MOMENTS = 1e-9
"""Largest error of L p for a monomial p, relative to the largest L p, in weights that count as solved."""

BYTE = ir.IntType(8)


class StencilProgram(StencilAssembly):
    """The function `run` for one exponent, set of monomials and list of operators, as LLVM instructions.

    The number of targets, the stencils' size and the operators' coefficients are arguments of the function. The
    definite shift costs digits, the more the higher m; where `refine`, a residual of the system without it and one
    more solve bring them back.

    Args:
        *arguments: as of `StencilAssembly`.
        refine: whether to do so.
    """

    def __init__(self, *arguments, refine: bool):
        super().__init__(*arguments)
        self.refine = refine
        self._residual = self.define("residual", [POINTER] * 3 + [INT], self._write_residual) if refine else None
        kinds = [POINTER] * 4 + [self.format.vector, INT]
        self._test = self.define("test", kinds, self._write_test, self.format.vector)
        self._scatter = self.define("scatter", [POINTER] * 4 + [INT] * 4, self._write_scatter)
        self.run = self.define("run", RUN, self._write_run, public=True)

    def rows(self, size: int) -> int:
        """Return the rows of the matrix with its right-hand sides.

        Args:
            size: n, of a stencil.

        Returns:
            n + q + number of operators.
        """
        return size + len(self.powers) + len(self.operators)

    def room(self, size: int) -> list[int]:
        """Return the vectors that a thread needs.

        Args:
            size: n, of a stencil.

        Returns:
            Of coordinates, X, 1 / D, the matrix, right-hand sides, and solutions.
        """
        rows = self.rows(size)
        runs = rows * len(self.operators)
        return [(size + 1) * self.dimension, (rows + 1) * self.height, rows, self.vectors(rows), runs, runs + 1]

    def _write_residual(self, builder, coordinates, side, solution, size):
        """Overwrite [b; L p] by its difference from [s A, P; P^T, 0] [w; v], the matrix of no shift."""

        def row(i):
            ours, weight = self.node(builder, coordinates, i), self.load(builder, solution, i)

            def column(j, total):
                value = self.radial(ours, self.node(builder, coordinates, j))
                self._take_off(builder, side, j, value, weight)
                return ((-value).fma(self.load(builder, solution, j), self.of(builder, total)).value,)

            start = self.load(builder, side, i).value
            total = self.of(builder, loop(builder, integer(0), i, 1, column, (start,))[0])
            known, products = {}, []
            for a, power in enumerate(self.powers):
                value, at = monomial(power, ours, known), builder.add(size, integer(a))
                products.append(value * self.load(builder, solution, at))
                self._take_off(builder, side, at, value, weight)
            self.store(builder, side, i, total - reduce(add, products))

        loop(builder, integer(0), size, 1, row)

    def _improve(self, builder, coordinates, side, solution, buffer, matrix, inverses, size, square):
        """Add to a solution that of its residual."""
        loop(builder, integer(0), square, 1, lambda j: self.store(builder, buffer, j, self.load(builder, side, j)))
        builder.call(self._residual, [coordinates, buffer, solution, size])
        builder.call(self.forward, [matrix, inverses, buffer, square])
        builder.call(self.backward, [matrix, buffer, square])

        def correct(j):
            value = self.load(builder, solution, j) + self.load(builder, buffer, j)
            self.store(builder, solution, j, value)

        loop(builder, integer(0), size, 1, correct)

    def _write_test(self, builder, coordinates, side, solution, buffer, sound, size):
        """Return `sound`, 0 in the lanes whose weights miss L p by more than `MOMENTS`."""
        count = integer(len(self.powers))
        known = self.vector_at(builder, side, size)
        loop(builder, integer(0), count, 1, lambda a: self.store(builder, buffer, a, self.load(builder, known, a)))

        def node(j):
            products, at = {}, self.node(builder, coordinates, j)
            for a, power in enumerate(self.powers):
                value = monomial(power, at, products)
                self._take_off(builder, buffer, integer(a), value, self.load(builder, solution, j))

        def larger(value: Vector, than):
            more = builder.fcmp_unordered(">", value.value, than)
            return builder.select(more, value.value, than)

        def largest(a, error, scale):
            pairs = ((buffer, error), (known, scale))
            return [larger(self.load(builder, base, a).magnitude(), limit) for base, limit in pairs]

        loop(builder, integer(0), size, 1, node)
        error, scale = loop(builder, integer(0), count, 1, largest, [self.zero(builder).value] * 2)
        right = builder.fcmp_ordered("<=", error, (self.of(builder, scale) * MOMENTS).value)
        return builder.select(right, sound, self.zero(builder).value)

    def _take_off(self, builder, side, at, value, factor):
        self.store(builder, side, at, (-value).fma(factor, self.load(builder, side, at)))

    def _write_scatter(self, builder, solution, sound, weights, solved, count, size, rows, first):
        """Write the weights of the lanes that are in use, one row of `weights` each, and whether they were solved."""
        lanes = integer(self.format.lanes)
        left = builder.sub(count, first)
        valid = builder.select(builder.icmp_signed("<", left, lanes), left, lanes)

        def lane(p):
            target = builder.add(first, p)
            good = builder.fptoui(self.load_element(builder, sound, p), BYTE)
            builder.store(good, builder.gep(solved, [target], source_etype=BYTE))

            def operator(k):
                into = builder.mul(builder.add(builder.mul(k, count), target), size)
                start = builder.mul(k, rows)

                def weight(j):
                    value = self.load_element(
                        builder, solution, builder.add(builder.mul(builder.add(start, j), lanes), p)
                    )
                    place = self.element_at(builder, weights, builder.add(into, j))
                    builder.store(value, place, align=self.format.size)

                loop(builder, integer(0), size, 1, weight)

            loop(builder, integer(0), integer(len(self.operators)), 1, operator)

        loop(builder, integer(0), valid, 1, lane)

    def _write_run(
        self,
        builder,
        nodes,
        targets,
        index,
        coefficients,
        coordinates,
        buffer,
        inverses,
        matrix,
        sides,
        solutions,
        weights,
        solved,
        count,
        size,
        begin,
        end,
    ):
        operators = integer(len(self.operators))
        square = builder.add(size, integer(len(self.powers)))
        rows = builder.add(square, operators)

        def solve(k, sound):
            side, solution = (self.vector_at(builder, base, builder.mul(k, rows)) for base in (sides, solutions))
            builder.call(self.backward, [matrix, solution, square])
            if self.refine:
                self._improve(builder, coordinates, side, solution, buffer, matrix, inverses, size, square)
            return (builder.call(self._test, [coordinates, side, solution, buffer, sound, size]),)

        def group(number):
            first = builder.mul(number, integer(self.format.lanes))
            scale = builder.call(self.gather, [nodes, targets, index, coordinates, count, size, first])
            builder.call(self.kernel, [matrix, coordinates, size])
            builder.call(self.monomials, [matrix, coordinates, size])
            for which, function in enumerate(self.sides):
                side = self.vector_at(builder, sides, builder.mul(integer(which), rows))
                builder.call(function, [matrix, coordinates, coefficients, side, scale, size])
            sound = builder.call(self.factor, [matrix, buffer, inverses, size, square, rows])
            builder.call(self.take, [matrix, solutions, square, rows, operators])
            sound = loop(builder, integer(0), operators, 1, solve, (sound,))[0]
            end_of_solutions = self.vector_at(builder, solutions, builder.mul(rows, operators))
            self.store(builder, end_of_solutions, integer(0), self.of(builder, sound))
            builder.call(self._scatter, [solutions, end_of_solutions, weights, solved, count, size, rows, first])

        loop(builder, begin, end, 1, group)
