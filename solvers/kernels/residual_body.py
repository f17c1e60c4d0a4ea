"""The body of a loop over points: expressions as vector instructions, and how they reach memory."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llvmlite import ir

from solvers.expressions.graph import JET, POINTS, UncoveredError
from solvers.kernels.instructions import POINTER
from solvers.kernels.loops import integer, loop
from solvers.kernels.vector_functions import EMITTED
from solvers.kernels.vectors import INT, Vector

if TYPE_CHECKING:
    pass


class Body:
    """The loop's body: what depends on scalars alone is computed before it, all else once a turn.

    Args:
        program: that it belongs to.
        builder: before the loop.
        goals: nodes that are wanted.
        stack: address.
        constants: address.
        scalars: address.
        rows: number of them.
        cotangent: address, or None.
    """

    def __init__(self, program, builder, goals, stack, constants, scalars, rows, cotangent=None):
        self.program, self.builder, self.rows = program, builder, rows
        self.graph, self.format = program.graph, program.format
        self.stack, self.constants, self.scalars, self.cotangent = stack, constants, scalars, cotangent
        everything = self.graph.order(goals)
        self.order = [node for node in everything if self.graph.depends[node] & (JET | POINTS)]
        given = program.expressions
        self._width = {"stack": given.components, "cotangent": len(given.outputs)}
        entries = [self.graph.nodes[node] for node in self.order]
        planes = {(entry[0], entry[1] if entry[0] == "stack" else 0) for entry in entries if entry[0] in self._width}
        self._rooms = {place: self.room(self._width[place[0]]) for place in sorted(planes)}
        self.uniform: dict = {}
        for node in everything:
            if not self.graph.depends[node] & (JET | POINTS):
                self.uniform[node] = self._value(node, self.uniform)

    def room(self, width: int):
        """Return a buffer in which a plane of several components is turned, one vector a component."""
        if width == 1:
            return None
        room = self.builder.alloca(self.format.vector, size=width)
        room.align = self.format.bytes
        # llvmlite knows it as an address of vectors; elements are written to it too.
        return self.builder.inttoptr(self.builder.ptrtoint(room, INT), POINTER)

    def turn(self, first) -> dict:
        """Compute what is wanted at the points from `first` on; return the vectors by node."""
        builder, lanes = self.builder, self.format.lanes
        self.first, left = first, builder.sub(self.rows, first)
        self.count = builder.select(builder.icmp_signed("<", left, integer(lanes)), left, integer(lanes))
        kind = ir.VectorType(INT, lanes)
        single = builder.insert_element(ir.Constant(kind, ir.Undefined), left, ir.Constant(ir.IntType(32), 0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
        spread = builder.shuffle_vector(single, ir.Constant(kind, ir.Undefined), mask)
        self.valid = builder.icmp_signed("<", ir.Constant(kind, list(range(lanes))), spread)
        values: dict = dict(self.uniform)
        skipped = self._beneath_columns()
        for node in self.order:
            if node not in skipped and node not in values:
                values[node] = self._value(node, values)
        return values

    def _beneath_columns(self) -> set[int]:
        """Return the nodes of points alone that only columns are made of."""
        columns = self.program.column
        return {node for node in self.order if self.graph.depends[node] == POINTS and node not in columns}

    def _value(self, node: int, values: dict) -> Vector:
        kind, *rest = self.graph.nodes[node]
        if node in self.program.column:
            return self._load(self.constants, integer(self.program.column[node]))
        if kind == "constant":
            # What float32 does not reach is inf there, as in torch.
            number = ctypes.c_float(rest[0]).value if self.format.bits == 32 else rest[0]
            return self.program.zero(self.builder).constant(number)
        if kind == "scalar":
            element = self.program.load_element(self.builder, self.scalars, integer(rest[0]))
            return self.program.broadcast(self.builder, element)
        if kind == "stack":
            return self._entry(kind, self.stack, rest[0], rest[1], values)
        if kind == "cotangent":
            return self._entry(kind, self.cotangent, 0, rest[0], values)
        if kind in ("sin", "cos"):
            both = values.get(("sincos", rest[0])) or values[rest[0]].sincos()
            values["sincos", rest[0]] = both
            return both[kind == "cos"]
        if kind not in EMITTED:
            raise UncoveredError(f"{kind} of the jet or of scalars is not compiled")
        return EMITTED[kind](*(values[part] for part in rest))

    def _entry(self, kind: str, base, plane: int, component: int, values: dict) -> Vector:
        width = self._width[kind]
        if width == 1:
            return self._load(base, integer(plane))
        room = self._rooms[kind, plane]
        if (kind, plane) not in values:
            self._turned(base, integer(plane), width, room, inwards=True)
            values[kind, plane] = None
        return self.program.load(self.builder, room, integer(component))

    def _place(self, base, plane, width: int):
        """Return the address of the first component of the first point of this turn in a plane."""
        row = self.builder.add(self.builder.mul(plane, self.rows), self.first)
        return self.program.element_at(self.builder, base, self.builder.mul(row, integer(width)))

    def _load(self, base, plane) -> Vector:
        address, align = self._place(base, plane, 1), ir.Constant(ir.IntType(32), self.format.size)
        zero = self.program.zero(self.builder)
        loaded = self._masked("load", address, align, self.valid, zero.value)
        return self.program.of(self.builder, loaded)

    def put(self, base, plane, width: int, room, vectors: Sequence[Vector]) -> None:
        """Write the components of a plane at the points of this turn."""
        if width == 1:
            address, align = self._place(base, plane, 1), ir.Constant(ir.IntType(32), self.format.size)
            self._masked("store", vectors[0].value, address, align, self.valid)
            return
        for part, vector in enumerate(vectors):
            self.program.store(self.builder, room, integer(part), vector)
        self._turned(base, plane, width, room, inwards=False)

    def _turned(self, base, plane, width: int, room, inwards: bool) -> None:
        """Copy a plane's (points, components) to the buffer's (components, lanes), or back."""
        program, builder = self.program, self.builder
        start, size = self._place(base, plane, width), self.format.size

        def point(lane):
            def component(part):
                outside = program.element_at(builder, start, builder.add(builder.mul(lane, integer(width)), part))
                place = builder.add(builder.mul(part, integer(self.format.lanes)), lane)
                inside = program.element_at(builder, room, place)
                source, target = (outside, inside) if inwards else (inside, outside)
                builder.store(builder.load(source, typ=self.format.scalar, align=size), target, align=size)

            loop(builder, integer(0), integer(width), 1, component)

        loop(builder, integer(0), self.count, 1, point)

    def _masked(self, name: str, *arguments):
        """Call a masked load or store; one of a vector at the end of a plane touches nothing behind it."""
        program, result = self.program, self.format.vector if name == "load" else ir.VoidType()
        symbol = f"llvm.masked.{name}.v{self.format.lanes}f{self.format.bits}.p0"
        function = program.module.globals.get(symbol)
        if function is None:
            function = ir.Function(program.module, ir.FunctionType(result, [a.type for a in arguments]), symbol)
        return self.builder.call(function, arguments)
