"""Activations on the rows of a series, as compiled functions: one pass over memory instead of one a product."""

from __future__ import annotations

import ctypes
from functools import lru_cache

import torch
from torch import Tensor

from solvers.kernels.compiler import Compiled, host
from solvers.kernels.instructions import POINTER, Instructions
from solvers.kernels.loops import integer, loop
from solvers.kernels.recurrences import ACTIVATIONS, Activation
from solvers.kernels.rows import activated, pulled_back
from solvers.kernels.vectors import BITS, INT, Format
from solvers.layout import Layout


class ElementwiseProgram(Instructions):
    """Functions `forward` (z, y, elements) and `backward` (saved, ybar, zbar, elements) on arrays (rows, elements).

    Args:
        activation: f.
        layout: of the rows.
        format: vector type.
    """

    def __init__(self, activation: Activation, layout: Layout, format: Format):
        super().__init__("elementwise", format)
        self.activation, self.layout = activation, layout
        self.define("forward", [POINTER] * 2 + [INT], self._write_forward, public=True)
        self.define("backward", [POINTER] * 3 + [INT], self._write_backward, public=True)

    def _write_forward(self, builder, z, y, elements):
        def turn(first):
            values = activated(self.activation, self.layout, self._rows(builder, z, elements, first))
            self._put(builder, y, elements, first, values)

        self._sweep(builder, elements, turn)

    def _write_backward(self, builder, saved, cotangent, result, elements):
        def turn(first):
            known, bar = (self._rows(builder, base, elements, first) for base in (saved, cotangent))
            self._put(builder, result, elements, first, pulled_back(self.activation, self.layout, known, bar))

        self._sweep(builder, elements, turn)

    def _sweep(self, builder, elements, turn) -> None:
        """Go through the elements a vector at a time; the last vector begins early enough to end with the array."""
        last = builder.sub(elements, integer(self.format.lanes))

        def body(index):
            over = builder.icmp_signed(">", index, last)
            turn(builder.select(over, last, index))

        loop(builder, integer(0), elements, self.format.lanes, body)

    def _address(self, builder, base, elements, first, row: int):
        return self.element_at(builder, base, builder.add(builder.mul(integer(row), elements), first))

    def _rows(self, builder, base, elements, first):
        addresses = [self._address(builder, base, elements, first, row) for row in range(self.layout.rows)]
        kind, align = self.format.vector, self.format.size
        return [self.of(builder, builder.load(address, typ=kind, align=align)) for address in addresses]

    def _put(self, builder, base, elements, first, values) -> None:
        for row, value in enumerate(values):
            address = self._address(builder, base, elements, first, row)
            builder.store(value.value, address, align=self.format.size)


class ElementwiseKernel:
    """The compiled program of an activation.

    Args:
        activation: name in `ACTIVATIONS`.
        layout: of the rows.
        dtype: float32 or float64.
    """

    def __init__(self, activation: str, layout: Layout, dtype: torch.dtype):
        self.activation = ACTIVATIONS[activation]
        self.format = host().format(BITS[dtype])
        program = ElementwiseProgram(self.activation, layout, self.format)
        address, number = ctypes.c_void_p, ctypes.c_int64
        types = {"forward": (address, address, number), "backward": (address, address, address, number)}
        self._compiled = Compiled(program.module, types)

    def forward(self, z: Tensor) -> Tensor:
        """Return f(z).

        Args:
            z: (rows, ...), contiguous, with at least a vector of elements in a row.

        Returns:
            The same shape.
        """
        y = torch.empty_like(z)
        self._compiled.functions["forward"](z.data_ptr(), y.data_ptr(), z[0].numel())
        return y

    def backward(self, saved: Tensor, cotangent: Tensor) -> Tensor:
        """Return zbar.

        Args:
            saved: f(z) where the activation has a slope of it, z otherwise; contiguous.
            cotangent: ybar, contiguous.

        Returns:
            The same shape.
        """
        result = torch.empty_like(cotangent)
        function = self._compiled.functions["backward"]
        function(saved.data_ptr(), cotangent.data_ptr(), result.data_ptr(), saved[0].numel())
        return result


@lru_cache(maxsize=128)
def elementwise_kernel(activation: str, layout: Layout, dtype: torch.dtype) -> ElementwiseKernel:
    """Return the compiled activation, which is made at the first call, in about 20 to 100 ms.

    Args:
        activation: name in `ACTIVATIONS`.
        layout: of the rows.
        dtype: float32 or float64.

    Returns:
        The kernel.
    """
    return ElementwiseKernel(activation, layout, dtype)
