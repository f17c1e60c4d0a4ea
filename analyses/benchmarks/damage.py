"""Files with damaged bytes: flipped, cut, zeroed, spliced, and hostile where a checksum would tell."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from dynamics.file import superblock

BLOCKS = (b"OHDR", b"OCHK", b"FRHP", b"FADB", b"EAHD", b"EAIB", b"FAHD", b"BTHD", b"BTLF", b"GCOL", b"FSHD", b"FHDB")
START = 4096


def flipped(path: Path, rng: np.random.Generator) -> None:
    """Flip bits anywhere.

    Args:
        path: of the file.
        rng: says where.
    """
    _flip(path, rng, lambda data: rng.integers(0, len(data), rng.integers(1, 65)))


def flipped_start(path: Path, rng: np.random.Generator) -> None:
    """Flip bits in the first pages, where the root lies.

    Args:
        path: of the file.
        rng: says where.
    """
    _flip(path, rng, lambda data: rng.integers(0, min(START, len(data)), rng.integers(1, 9)))


def flipped_metadata(path: Path, rng: np.random.Generator) -> None:
    """Flip bits in the blocks that describe the data.

    Args:
        path: of the file.
        rng: says where.
    """

    def places(data: bytearray) -> np.ndarray:
        starts = [start for sign in BLOCKS for start in _found(data, sign)] or [0]
        chosen = rng.choice(starts, rng.integers(1, 9))
        return np.minimum(chosen + rng.integers(0, 256, len(chosen)), len(data) - 1)

    _flip(path, rng, places)


def flipped_behind_checksums(path: Path, rng: np.random.Generator) -> None:
    """Flip bits in object headers and set their checksums right, so that HDF5 takes what they say.

    Args:
        path: of the file.
        rng: says where.
    """
    data = bytearray(path.read_bytes())
    headers = list(object_headers(data))
    if not headers:
        _flip(path, rng, lambda data: rng.integers(0, len(data), 32))
        return
    for index in rng.integers(0, len(headers), rng.integers(1, 5)):
        start, end = headers[index]
        for place in rng.integers(min(start + 6, end - 1), end, rng.integers(1, 4)):
            data[place] ^= 1 << int(rng.integers(8))
        seal(data, start, end)
    path.write_bytes(data)


def truncated(path: Path, rng: np.random.Generator) -> None:
    """Cut the file.

    Args:
        path: of the file.
        rng: says where.
    """
    data = path.read_bytes()
    path.write_bytes(data[: rng.integers(0, len(data))])


def zeroed(path: Path, rng: np.random.Generator) -> None:
    """Zero a block, as a disk that lost a page does.

    Args:
        path: of the file.
        rng: says which.
    """
    data = bytearray(path.read_bytes())
    size = int(rng.choice([64, 512, 4096]))
    start = int(rng.integers(0, len(data)))
    data[start : start + size] = bytes(len(data[start : start + size]))
    path.write_bytes(data)


def swapped(path: Path, rng: np.random.Generator) -> None:
    """Swap two blocks.

    Args:
        path: of the file.
        rng: says which.
    """
    data = bytearray(path.read_bytes())
    size = int(rng.choice([64, 512, 4096]))
    a, b = (int(place) for place in rng.integers(0, max(1, len(data) - size), 2))
    data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]
    path.write_bytes(data)


def stretched(path: Path, rng: np.random.Generator) -> None:
    """Insert bytes, or append many.

    Args:
        path: of the file.
        rng: says where.
    """
    data = path.read_bytes()
    place = int(rng.integers(0, len(data) + 1)) if rng.integers(2) else len(data)
    path.write_bytes(data[:place] + rng.bytes(int(rng.integers(1, 5000))) + data[place:])


def spliced(path: Path, rng: np.random.Generator, other: bytes) -> None:
    """Put the start of another file in front of this one's rest.

    Args:
        path: of the file.
        rng: says where.
        other: bytes of the other.
    """
    data = path.read_bytes()
    place = int(rng.choice([12, 48, 96, 512, 2048, int(rng.integers(1, len(data)))]))
    path.write_bytes(other[:place] + data[place:])


def forged_superblock(path: Path, rng: np.random.Generator) -> None:
    """Write another superblock, with the right checksum: open for writing, of another length, with the root elsewhere.

    Args:
        path: of the file.
        rng: says what.
    """
    data = bytearray(path.read_bytes())
    kind = int(rng.integers(4))
    if kind == 0:
        data[superblock.FLAGS] = int(rng.choice([1, 4, 5, 255]))
    elif kind == 1:
        struct.pack_into("<Q", data, superblock.END, int(rng.choice([0, 48, len(data) // 2, 1 << 40, (1 << 63) - 1])))
    elif kind == 2:
        struct.pack_into("<Q", data, 36, int(rng.integers(0, len(data))))
    else:
        # The base address, to which all others are relative.
        struct.pack_into("<Q", data, 12, int(rng.choice([1, 512, 1 << 40])))
    struct.pack_into("<I", data, superblock.CHECKSUM, superblock.lookup3(bytes(data[: superblock.CHECKSUM])))
    path.write_bytes(data)


def object_headers(data: bytes) -> Iterator[tuple[int, int]]:
    """Find the object headers of version 2.

    Args:
        data: of a file.

    Yields:
        Start of each, and the place of its checksum, which is right.
    """
    for start in _found(data, b"OHDR"):
        flags = data[start + 5] if start + 6 < len(data) else 255
        width = 1 << (flags & 3)
        prefix = 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0) + width
        end = start + prefix + int.from_bytes(data[start + prefix - width : start + prefix], "little")
        if end + 4 <= len(data) and data[end : end + 4] == _checksum(data, start, end):
            yield start, end


def seal(data: bytearray, start: int, end: int) -> None:
    """Set the checksum of a block right.

    Args:
        data: of a file.
        start: of the block.
        end: place of its checksum.
    """
    data[end : end + 4] = _checksum(data, start, end)


def _checksum(data: bytes, start: int, end: int) -> bytes:
    return struct.pack("<I", superblock.lookup3(bytes(data[start:end])))


def _found(data: bytes, sign: bytes) -> Iterator[int]:
    place = data.find(sign)
    while place >= 0:
        yield place
        place = data.find(sign, place + 1)


def _flip(path: Path, rng: np.random.Generator, places: Callable[[bytearray], np.ndarray]) -> None:
    data = bytearray(path.read_bytes())
    for place in places(data):
        data[place] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)


DAMAGE = {
    "bits flipped": flipped,
    "bits flipped in the first pages": flipped_start,
    "bits flipped in metadata": flipped_metadata,
    "bits flipped behind right checksums": flipped_behind_checksums,
    "truncated": truncated,
    "a block zeroed": zeroed,
    "blocks swapped": swapped,
    "bytes inserted": stretched,
    "forged superblock": forged_superblock,
}
"""Ways of damaging a file, by name; `spliced` needs another file."""
