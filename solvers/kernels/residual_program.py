"""The program that evaluates a pointwise residual and its adjoint, a vector of points at a time.

    forward    out_ie = r_e(stack_.i., constants_.i, scalars)
    adjoint    stackbar_pic = sum_e outbar_ie dr_e / dstack_pic,   scalarbar_s = sum_ie outbar_ie dr_e / ds_s

Planes of one component, and results of one equation, lie as vectors in memory. Others are turned in a small buffer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llvmlite import ir

from solvers.expressions.graph import POINTS, Graph
from solvers.kernels.instructions import POINTER, Instructions
from solvers.kernels.loops import integer, loop
from solvers.kernels.residual_body import Body
from solvers.kernels.vectors import INT, Format

FORWARD = [POINTER] * 4 + [INT]
"""stack, constants, scalars, out, rows."""

ADJOINT = [POINTER] * 6 + [INT]
"""stack, constants, scalars, cotangent, the stack's cotangent, the scalars' cotangent, rows."""


@dataclass(frozen=True, eq=False)
class Expressions:
    """What is to be computed, and where its operands lie.

    Args:
        graph: of all nodes.
        outputs: a node for each equation.
        stack_bars: (plane, component) -> a node for each entry of the stack at a point.
        scalar_bars: a node for each scalar.
        planes: of the stack.
        components: of each plane.
    """

    graph: Graph
    outputs: Sequence[int]
    stack_bars: Mapping[tuple[int, int], int]
    scalar_bars: Sequence[int]
    planes: int
    components: int

    def columns(self) -> list[int]:
        """Return the nodes that depend on the points alone and that others ask for: the constants' columns.

        Returns:
            Nodes.
        """
        graph, goals = self.graph, [*self.outputs, *self.stack_bars.values(), *self.scalar_bars]
        asked = set(goals)
        for node in graph.order(goals):
            if graph.depends[node] != POINTS:
                asked.update(graph.operands(node))
        return sorted(node for node in asked if graph.depends[node] == POINTS)


class ResidualProgram(Instructions):
    """Functions `forward` and `adjoint` of a residual, as LLVM instructions.

    Args:
        expressions: of the residual.
        format: vector type.

    Raises:
        UncoveredError: a function of the jet that has no instructions here.
    """

    def __init__(self, expressions: Expressions, format: Format):
        super().__init__("residual", format)
        self.expressions, self.graph = expressions, expressions.graph
        self.column = {node: place for place, node in enumerate(expressions.columns())}
        self.define("forward", FORWARD, self._write_forward, public=True)
        self.define("adjoint", ADJOINT, self._write_adjoint, public=True)

    def _write_forward(self, builder, stack, constants, scalars, out, rows):
        goals = self.expressions.outputs
        body = Body(self, builder, goals, stack, constants, scalars, rows)
        into = body.room(len(goals))

        def turn(first):
            values = body.turn(first)
            body.put(out, integer(0), len(goals), into, [values[node] for node in goals])

        loop(builder, integer(0), rows, self.format.lanes, turn)

    def _write_adjoint(self, builder, stack, constants, scalars, cotangent, stack_bar, scalar_bar, rows):
        given = self.expressions
        width, places = given.components, list(given.stack_bars)
        goals = [*given.stack_bars.values(), *given.scalar_bars]
        body = Body(self, builder, goals, stack, constants, scalars, rows, cotangent)
        into = body.room(width)

        def turn(first, *sums):
            values = body.turn(first)
            for plane in range(given.planes):
                nodes = [given.stack_bars[place] for place in places if place[0] == plane]
                body.put(stack_bar, integer(plane), width, into, [values[node] for node in nodes])
            following = []
            for total, node in zip(sums, given.scalar_bars, strict=True):
                value = builder.select(body.valid, values[node].value, self.zero(builder).value)
                following.append(builder.fadd(total, value))
            return following

        start = [self.zero(builder).value] * len(given.scalar_bars)
        sums = loop(builder, integer(0), rows, self.format.lanes, turn, start)
        for index, total in enumerate(sums):
            places = [ir.Constant(ir.IntType(32), lane) for lane in range(self.format.lanes)]
            lanes = [builder.extract_element(total, place) for place in places]
            while len(lanes) > 1:
                lanes = [builder.fadd(a, b) for a, b in zip(lanes[::2], lanes[1::2], strict=True)]
            builder.store(lanes[0], self.element_at(builder, scalar_bar, integer(index)), align=self.format.size)
