"""Taylor series of a whole perceptron in two calls of compiled code: values forward, parameter gradients backward."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor

from solvers.kernels.compiler import Compiled, host
from solvers.kernels.instructions import POINTER
from solvers.kernels.linears import Linears, flat_starts, start_tables
from solvers.kernels.program import BACKWARD, FORWARD, Program
from solvers.kernels.recurrences import ACTIVATIONS
from solvers.kernels.room import Room, Rooms
from solvers.kernels.threads import share
from solvers.kernels.vectors import BITS
from solvers.layout import Layout

KEEP = ((96, 2**27), (48, 56 * 2**20), (0, 2**20))
"""(width, bytes): tiles of every layer are kept for the backward pass up to so many bytes, and recomputed above.

The wider a layer, the more a value costs to recompute, and no more to fetch: narrow ones are kept in cache alone.
"""

THREAD_WORK = 2**22
"""Multiplications below which another thread costs more than it saves: about 0.1 ms."""


class Kernel:
    """The compiled program for one activation, layout and dtype.

    Args:
        activation: name in `ACTIVATIONS`.
        layout: rows of the series.
        dtype: float32 or float64.
    """

    def __init__(self, activation: str, layout: Layout, dtype: torch.dtype):
        bits = BITS[dtype]
        self.layout, self.dtype = layout, dtype
        self.room = lru_cache(maxsize=256)(self.room)
        self.program = Program(ACTIVATIONS[activation], layout, host().format(bits), host().registers)
        types = {
            name: [ctypes.c_void_p if kind is POINTER else ctypes.c_int64 for kind in kinds]
            for name, kinds in (("forward", FORWARD), ("backward", BACKWARD))
        }
        self._rooms = Rooms()
        self._compiled = Compiled(self.program.module, types)
        self._forward, self._backward = (self._compiled.functions[name] for name in ("forward", "backward"))

    def tiles(self, count: int) -> int:
        """Return the number of tiles that hold `count` points.

        Args:
            count: number of points, their images among them.

        Returns:
            At least one.
        """
        return -(-count // self.program.points)

    def room(self, widths: tuple[int, ...], count: int, keep: bool, available: int) -> Room:
        """Return the room that a network's tiles take, and the threads that share the work.

        Args:
            widths: of inputs, hidden layers and outputs.
            count: number of points, their images among them.
            keep: whether a backward pass will follow.
            available: number of threads that may be used.

        Returns:
            The room.
        """
        per_neuron = self.layout.rows * self.program.points
        slot = (widths[0] + self.program.copies * sum(widths[1:-1])) * per_neuron
        size, tiles = slot * BITS[self.dtype] // 8, self.tiles(count)
        kept = keep and tiles * size <= next(largest for width, largest in KEEP if max(widths) >= width)
        work = count * self.layout.rows * sum(inputs * outputs for inputs, outputs in pairwise(widths))
        threads = max(1, min(available, tiles, work // THREAD_WORK))
        return Room(threads, size if kept else 0, slot, slot * (tiles if kept else threads), max(widths) * per_neuron)

    def forward(
        self,
        points: Tensor,
        directions: Tensor,
        network: Linears,
        keep: bool,
        mirrored: bool = False,
    ) -> tuple[Tensor, Kept]:
        """Return the rows of the network's outputs f(x), or of f(x) - f(-x).

        Args:
            points: (n, axes), contiguous.
            directions: (directions, axes), contiguous.
            network: the linear layers.
            keep: whether a backward pass will follow.
            mirrored: the outputs at -x are subtracted.

        Returns:
            (rows, n, components), and what the backward pass needs.
        """
        count, widths = points.shape[0], network.widths
        room = self.room(widths, count << mirrored, keep, torch.get_num_threads())
        work = self._rooms.take(room.slots + 2 * room.scratch * room.threads, points)
        out = points.new_empty((self.layout.rows, count, widths[-1]))
        kept = Kept(points, directions, network, work, room, self._rooms, mirrored)
        address, tiles = out.data_ptr(), self.tiles(kept.count)
        if room.threads == 1:
            self._forward(*kept.arguments(0, tiles), address)
        else:
            share(room.threads, lambda thread: self._forward(*kept.arguments(thread, tiles), address))
        return out, kept

    def gradients(self, kept: Kept, cotangent: Tensor) -> Tensor:
        """Return the gradients in a flat buffer: those of all weights, then those of all biases.

        Args:
            kept: from `forward`.
            cotangent: (rows, n, components), contiguous.

        Returns:
            1-D.
        """
        elements, starts = flat_starts(kept.network.widths)
        flat = cotangent.new_zeros(elements if kept.room.threads == 1 else (kept.room.threads, elements))
        self.add_gradients(kept, cotangent, flat, starts)
        return flat if flat.dim() == 1 else flat.sum(dim=0)

    def add_gradients(self, kept: Kept, cotangent: Tensor, into: Tensor, starts: Sequence[int]) -> None:
        """Add the gradients of weights and biases to a buffer, or each thread's to a row of it.

        Args:
            kept: from `forward`.
            cotangent: (rows, n, components), contiguous.
            into: contiguous; (threads, elements) where several threads share the work.
            starts: first element of each weight's gradient in a row, then of each bias's.

        Raises:
            RuntimeError: the memory of a weight or bias was replaced since the forward pass.
        """
        kept.network.check()
        size, tiles, tables = kept.size, self.tiles(kept.count), start_tables(tuple(starts))
        base, given = into.data_ptr(), cotangent.data_ptr()

        def run(thread: int) -> None:
            first = base + thread * into.shape[-1] * size
            arguments = kept.arguments(thread, tiles)
            self._backward(*arguments, arguments[-1] + kept.room.scratch * size, given, first, *tables)

        if kept.room.threads == 1:
            run(0)
        else:
            share(kept.room.threads, run)


@lru_cache(maxsize=128)
def kernel(activation: str, layout: Layout, dtype: torch.dtype) -> Kernel:
    """Return the compiled program, which is made at the first call, in about 0.1 to 0.2 s.

    Args:
        activation: name in `ACTIVATIONS`.
        layout: rows of the series.
        dtype: float32 or float64.

    Returns:
        The kernel.
    """
    return Kernel(activation, layout, dtype)


@dataclass(eq=False)
class Kept:
    """What a backward pass needs: inputs, parameters, and the tiles of the layers or the room to recompute them.

    Args:
        points: (n, axes).
        directions: (directions, axes).
        network: addresses of the parameters.
        work: slots of tiles, then two buffers for the widest layer a thread.
        room: how `work` is divided.
        rooms: where it goes when it is needed no more; None where another owns it.
        mirrored: the outputs at -x were subtracted.
    """

    points: Tensor
    directions: Tensor
    network: Linears
    work: Tensor
    room: Room
    rooms: Rooms | None = None
    mirrored: bool = False

    @property
    def size(self) -> int:
        """Bytes of an element."""
        return 4 if self.work.dtype is torch.float32 else 8

    @property
    def count(self) -> int:
        """Number of points, their images among them."""
        return self.points.shape[0] << self.mirrored

    def __del__(self):
        if self.rooms is not None:
            self.rooms.give(self.work)

    def part(self, start: int, stop: int) -> Kept:
        """Return the same for some of the points, their tiles to be recomputed.

        Args:
            start: first point.
            stop: end of the points.

        Returns:
            Shares the parameters and the room.
        """
        room = self.room._replace(threads=1, stride=0, slots=self.room.slot)
        work = self.work.new_empty(room.slot + 2 * room.scratch)
        return replace(self, points=self.points[start:stop], room=room, work=work, rooms=None)

    def arguments(self, thread: int, tiles: int) -> list:
        """Return the arguments that both programs begin with.

        Args:
            thread: which of the room's threads.
            tiles: number of all tiles.

        Returns:
            In the order of `FORWARD`.
        """
        network, room, work, size = self.network, self.room, self.work.data_ptr(), self.size
        return [
            self.points.data_ptr(),
            self.directions.data_ptr(),
            self.points.shape[0],
            int(self.mirrored),
            tiles * thread // room.threads,
            tiles * (thread + 1) // room.threads,
            network.layers,
            network.sizes,
            network.weight_table,
            network.bias_table,
            work if room.stride else work + size * room.slot * thread,
            room.stride,
            work + size * (room.slots + 2 * room.scratch * thread),
        ]
