"""Activations on the rows of a series on a GPU, as Triton kernels: one pass over memory instead of one a product.

The recurrences are run once on the values of a text; the text, unrolled, is the kernel.
"""

from __future__ import annotations

import hashlib
import linecache
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from solvers.kernels.expressions import Text, Value
from solvers.kernels.recurrences import ACTIVATIONS
from solvers.kernels.rows import activated, pulled_back
from solvers.layout import Layout

THREADS = 128
"""Of one program."""

OPTIONS = {"num_warps": THREADS // 32, "enable_fp_fusion": True}
"""Multiplications and additions may contract to one rounding, as on the CPU."""

# Offsets are 64 bits wide: rows times elements may exceed 2^31.
_HEAD = """\
@triton.jit
def {name}({arrays}, elements):
    here = tl.program_id(0).to(tl.int64) * {block} + tl.arange(0, {block})
    inside = here < elements
    step = tl.cast(elements, tl.int64)
"""


def block_size(layout: Layout, dtype: torch.dtype) -> int:
    """Return how many elements one program takes.

    Args:
        layout: of the rows.
        dtype: float32 or float64.

    Returns:
        Two a thread where rows are few, one otherwise: gelu of order 12 in float64 then takes 128 registers a thread.
    """
    return THREADS * (2 if layout.rows * dtype.itemsize <= 16 else 1)


def kernel_source(activation: str, layout: Layout, dtype: torch.dtype) -> str:
    """Return the text of two kernels, `forward` (z, y, elements) and `backward` (saved, ybar, zbar, elements).

    Arrays are (rows, elements), contiguous; a program takes a block of elements, all rows of it in registers. A row is
    loaded where it is first needed and stored as soon as it is known.

    Args:
        activation: name in `ACTIVATIONS`.
        layout: of the rows.
        dtype: float32 or float64.

    Returns:
        Python source, with the names `triton`, `tl` and `libdevice` free.
    """

    def forward(z):
        return activated(ACTIVATIONS[activation], layout, z)

    def backward(saved, cotangent):
        return pulled_back(ACTIVATIONS[activation], layout, saved, cotangent)

    block = block_size(layout, dtype)
    programs = [("forward", ["z"], "y", forward), ("backward", ["saved", "ybar"], "zbar", backward)]
    return "\n\n".join(_kernel(*program, layout.rows, dtype, block) for program in programs)


def _kernel(
    name: str, inputs: Sequence[str], output: str, compute: Callable, rows: int, dtype: torch.dtype, block: int
) -> str:
    text = Text(bits=8 * dtype.itemsize)
    for row, value in enumerate(compute(*(_Rows(text, array, rows) for array in inputs))):
        text.statement(f"tl.store({_address(output, row)}, {{}}, inside)", value)
    head = _HEAD.format(name=name, arrays=", ".join([*inputs, output]), block=block)
    return head + "".join(f"    {line}\n" for line in text.lines())


def _address(array: str, row: int) -> str:
    return f"{array} + {row} * step + here" if row else f"{array} + here"


class _Rows(Sequence):
    """Rows of an array in memory; taking one writes its load, once."""

    def __init__(self, text: Text, array: str, count: int):
        self.text, self.array, self.count = text, array, count

    def __len__(self):
        return self.count

    def __getitem__(self, row: int | slice) -> Value | list[Value]:
        if isinstance(row, slice):
            return [self[index] for index in range(*row.indices(self.count))]
        return self.text.value(f"tl.load({_address(self.array, row)}, inside, 0.0)")


def _executed(source: str) -> dict[str, Any]:
    """Run a source text with the names that it needs; where Triton looks for a function's text, it finds this one."""
    import triton
    import triton.language as tl
    from triton.language.extra import libdevice

    name = f"<series activation {hashlib.sha256(source.encode()).hexdigest()[:16]}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    namespace = {"triton": triton, "tl": tl, "libdevice": libdevice, "__name__": __name__}
    exec(compile(source, name, "exec", dont_inherit=True), namespace)
    return namespace


class TritonKernel:
    """The kernels of an activation, compiled at their first launch on a device.

    A launch goes to torch's current stream, allocates its output alone and waits for nothing, so that a CUDA graph can
    capture it once it has run outside of one.

    Args:
        activation: name in `ACTIVATIONS`.
        layout: of the rows.
        dtype: float32 or float64.
    """

    def __init__(self, activation: str, layout: Layout, dtype: torch.dtype):
        self.activation = ACTIVATIONS[activation]
        self.block = block_size(layout, dtype)
        functions = _executed(kernel_source(activation, layout, dtype))
        self.kernels = {name: functions[name] for name in ("forward", "backward")}

    def forward(self, z: Tensor) -> Tensor:
        """Return f(z).

        Args:
            z: (rows, ...), contiguous.

        Returns:
            The same shape.
        """
        y = torch.empty_like(z)
        self._launch("forward", z, y)
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
        self._launch("backward", saved, cotangent, result)
        return result

    def _launch(self, name: str, *arrays: Tensor) -> None:
        elements = arrays[0].numel() // len(arrays[0])
        # Triton launches on the current device, which need not be the arrays'.
        with torch.cuda.device_of(arrays[0]):
            self.kernels[name][(-(-elements // self.block),)](*arrays, elements, **OPTIONS)


@lru_cache(maxsize=128)
def triton_kernel(activation: str, layout: Layout, dtype: torch.dtype) -> TritonKernel:
    """Return the kernels of an activation.

    Args:
        activation: name in `ACTIVATIONS`.
        layout: of the rows.
        dtype: float32 or float64.

    Returns:
        The same ones for the same arguments.
    """
    return TritonKernel(activation, layout, dtype)
