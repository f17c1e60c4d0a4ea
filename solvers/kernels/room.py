"""Room for tiles: how it is divided among layers and threads, and how it is used again."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

HELD_BYTES = 2**27
"""Of room that waits to be used again, at most; more is given back to the system."""


class Room(NamedTuple):
    """How the room for tiles is divided.

    Args:
        threads: that share the tiles.
        stride: bytes from the slot of a tile to the next, 0 where each thread uses one slot again and again.
        slot: elements of a slot, a tile of every layer.
        slots: elements of all slots.
        scratch: elements of a buffer that holds the widest layer; each thread has two.
    """

    threads: int
    stride: int
    slot: int
    slots: int
    scratch: int


class Rooms:
    """Room for tiles that is used again: fresh memory costs more to touch than a small network to evaluate."""

    def __init__(self):
        self._free: list[Tensor] = []

    def take(self, elements: int, like: Tensor) -> Tensor:
        """Return room of at least so many elements, its contents undefined.

        Args:
            elements: wanted.
            like: a tensor of the dtype.

        Returns:
            1-D.
        """
        try:
            room = self._free.pop()
        except IndexError:
            return like.new_empty(elements)
        return room if elements <= room.numel() <= 4 * elements else like.new_empty(elements)

    def give(self, room: Tensor) -> None:
        """Take room back.

        Args:
            room: from `take`, needed no more.
        """
        held = sum(other.numel() * other.element_size() for other in self._free)
        if len(self._free) < 4 and held + room.numel() * room.element_size() <= HELD_BYTES:
            self._free.append(room)
