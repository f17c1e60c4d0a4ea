"""The first 48 bytes of an HDF5 file: is it being written, how long should it be, and how to look at it regardless.

In SWMR mode HDF5 reads metadata again and again, with ever longer pauses, until its checksum is right. For a file that
was cut off this never ends, so such a file is looked at as if it had been closed: wrong checksums are errors then.
"""

from __future__ import annotations

import io
import os
import struct
from dataclasses import dataclass

SIGNATURE = b"\x89HDF\r\n\x1a\n"
FLAGS, END, CHECKSUM, SIZE = 11, 28, 44, 48
SWMR_WRITE = 4
AHEAD = 1 << 28
WORD = 0xFFFFFFFF


@dataclass(frozen=True)
class Superblock:
    """What the start of a file says of the whole.

    Args:
        swmr: opened by a SWMR writer that has not closed it, alive or dead.
        end: length in bytes that the file should have.
        size: length that it has.
    """

    swmr: bool
    end: int
    size: int


def read(path: str) -> Superblock | None:
    """Read the superblock of a file.

    Args:
        path: the file.

    Returns:
        The superblock, None for a file without one of version 2 or 3, which the recorder never writes.
    """
    with open(path, "rb") as file:
        header = file.read(SIZE)
        size = os.fstat(file.fileno()).st_size
    if len(header) < SIZE or header[:8] != SIGNATURE or header[8] not in (2, 3) or header[9] != 8:
        return None
    return Superblock(bool(header[FLAGS] & SWMR_WRITE), struct.unpack_from("<Q", header, END)[0], size)


class AsClosed(io.FileIO):
    """A file, for reading, whose superblock says that it was closed at its present length.

    Args:
        path: a file with a superblock of version 2 or 3.
        growing: it says that it is a good deal longer: what a writer appends while it is looked at, and points to
            from what was there before, lies behind the present length.
    """

    def __init__(self, path: str, growing: bool = False):
        super().__init__(path, "r")
        header = bytearray(super().read(SIZE))
        header[FLAGS] = 0
        self._end = os.fstat(self.fileno()).st_size + AHEAD * growing
        struct.pack_into("<Q", header, END, self._end)
        struct.pack_into("<I", header, CHECKSUM, lookup3(bytes(header[:CHECKSUM])))
        self._header = bytes(header)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a byte, from the length that the superblock says where that is asked for.

        Args:
            offset: in bytes.
            whence: as for any file.

        Returns:
            The position in bytes.
        """
        if whence == os.SEEK_END:
            offset, whence = self._end + offset, os.SEEK_SET
        return super().seek(offset, whence)

    def readinto(self, buffer) -> int:
        """Read into a buffer from the present position.

        Args:
            buffer: bytes to fill.

        Returns:
            Number of bytes read.
        """
        start = self.tell()
        count = super().readinto(buffer)
        overlap = self._header[start : start + count]
        memoryview(buffer).cast("B")[: len(overlap)] = overlap
        return count


def lookup3(data: bytes) -> int:
    """Return Jenkins' lookup3 hash, the checksum of HDF5's metadata.

    Args:
        data: the bytes, at least one.

    Returns:
        The hash, 32 bits.

    References:
        B. Jenkins, lookup3.c (2006), hashlittle with an initial value of 0.

    Example:
        >>> hex(lookup3(b"Four score and seven years ago"))
        '0x17770551'
    """
    a = b = c = (0xDEADBEEF + len(data)) & WORD
    blocks = -(-len(data) // 12)
    words = struct.unpack(f"<{3 * blocks}I", data.ljust(12 * blocks, b"\0"))
    for block in range(blocks):
        a, b, c = ((x + word) & WORD for x, word in zip((a, b, c), words[3 * block : 3 * block + 3], strict=True))
        a, b, c = _final(a, b, c) if block == blocks - 1 else _mix(a, b, c)
    return c


def _rotated(word: int, count: int) -> int:
    return ((word << count) | (word >> (32 - count))) & WORD


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for count in (4, 6, 8, 16, 19, 4):
        # One line of the reference's mix, with the roles of a, b, c moved on by one each time.
        a = ((a - c) & WORD) ^ _rotated(c, count)
        c = (c + b) & WORD
        a, b, c = b, c, a
    return a, b, c


def _final(a: int, b: int, c: int) -> tuple[int, int, int]:
    for count in (14, 11, 25, 16, 4, 14, 24):
        # Likewise: c ^= b; c -= rot(b, count), then a with c, b with a, and so on.
        c = ((c ^ b) - _rotated(b, count)) & WORD
        a, b, c = b, c, a
    # Seven turns leave the three one place ahead.
    return c, a, b
