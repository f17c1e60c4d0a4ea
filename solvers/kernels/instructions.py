"""A module of LLVM instructions that is being written: its functions, and how they reach memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from solvers.kernels.vectors import INT, Format, Vector

POINTER = ir.PointerType()


class Instructions:
    """A module whose functions work on vectors of one format.

    Args:
        name: of the module.
        format: of its vectors.
    """

    def __init__(self, name: str, format: Format):
        self.module, self.format = ir.Module(name), format

    def define(
        self, name: str, arguments: Sequence[ir.Type], write: Callable, result: ir.Type | None = None, public=False
    ) -> ir.Function:
        """Append a function.

        Args:
            name: of the function.
            arguments: their types.
            write: writes the body; gets a builder and the arguments, returns the result.
            result: its type, None for none.
            public: whether it is called from outside.

        Returns:
            The function, to be called by later ones.
        """
        function = ir.Function(self.module, ir.FunctionType(result or ir.VoidType(), arguments), name)
        function.linkage = "external" if public else "internal"
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        value = write(builder, *function.args)
        builder.ret(value) if result else builder.ret_void()
        return function

    def vector_at(self, builder, base, index):
        """Return the address of a vector, counted in vectors.

        Args:
            builder: where.
            base: address of the first.
            index: which.

        Returns:
            The address.
        """
        return builder.gep(base, [index], source_etype=self.format.vector)

    def element_at(self, builder, base, index):
        """Return the address of an element, counted in elements.

        Args:
            builder: where.
            base: address of the first.
            index: which.

        Returns:
            The address.
        """
        return builder.gep(base, [index], source_etype=self.format.scalar)

    def pointer_at(self, builder, base, index):
        """Return an entry of a table of addresses.

        Args:
            builder: where.
            base: the table.
            index: which.

        Returns:
            The entry.
        """
        return builder.load(builder.gep(base, [index], source_etype=INT), typ=POINTER)

    def int_at(self, builder, base, index):
        """Return an entry of a table of integers.

        Args:
            builder: where.
            base: the table.
            index: which.

        Returns:
            The entry.
        """
        return builder.load(builder.gep(base, [index], source_etype=INT), typ=INT)

    def load(self, builder, base, index) -> Vector:
        """Return an aligned vector, counted in vectors.

        Args:
            builder: where.
            base: address of the first.
            index: which.

        Returns:
            The vector.
        """
        address = self.vector_at(builder, base, index)
        return self.of(builder, builder.load(address, typ=self.format.vector, align=self.format.bytes))

    def store(self, builder, base, index, vector: Vector) -> None:
        """Write an aligned vector, counted in vectors.

        Args:
            builder: where.
            base: address of the first.
            index: which.
            vector: to be written.
        """
        builder.store(vector.value, self.vector_at(builder, base, index), align=self.format.bytes)

    def load_element(self, builder, base, index):
        """Return an element, counted in elements.

        Args:
            builder: where.
            base: address of the first.
            index: which.

        Returns:
            A scalar.
        """
        return builder.load(self.element_at(builder, base, index), typ=self.format.scalar, align=self.format.size)

    def of(self, builder, value) -> Vector:
        """Return a vector around an LLVM value.

        Args:
            builder: where.
            value: of the vector's type.

        Returns:
            The vector.
        """
        return Vector(builder, self.format, value)

    def broadcast(self, builder, scalar) -> Vector:
        """Return a vector of equal elements.

        Args:
            builder: where.
            scalar: the element.

        Returns:
            The vector.
        """
        kind = self.format.vector
        single = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), self.format.lanes), [0] * self.format.lanes)
        return self.of(builder, builder.shuffle_vector(single, ir.Constant(kind, ir.Undefined), mask))

    def zero(self, builder) -> Vector:
        """Return a vector of zeros.

        Args:
            builder: where.

        Returns:
            The vector.
        """
        return self.of(builder, ir.Constant(self.format.vector, [0.0] * self.format.lanes))
