"""The scalars in a TensorBoard event: the few fields of its protocol buffers that are needed, and no others.

Read here rather than by the package tensorboardX, which imports torch where that is installed. Fields that are not
known are passed over by their wire type, as the encoding provides.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

WALL_TIME, STEP, SUMMARY, SESSION_LOG = 1, 2, 5, 7
TAG, SIMPLE_VALUE, TENSOR = 1, 2, 8
DTYPE, SHAPE, CONTENT = 1, 2, 4
VALUES = {5: "<f4", 6: "<f8", 7: "varint", 10: "varint", 13: "half"}
DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 5: "<i2", 6: "i1", 9: "<i8", 14: "bfloat16", 19: "<f2"}
LARGEST_TAG = 512


@dataclass(frozen=True)
class Event:
    """One event: when, at which step, and which scalars.

    Args:
        wall_time: s since 1970, UTC.
        step: as the training counted it.
        scalars: tag and value.
        restart: whether the event says that the training starts here again; what was logged from this step on is void.

    Example:
        >>> Event(0.0, 5, (("loss", 1.0),), False).step
        5
    """

    wall_time: float
    step: int
    scalars: tuple[tuple[str, float], ...]
    restart: bool


def read_event(data: bytes) -> Event:
    r"""Read one event.

    Args:
        data: the bytes of its record.

    Returns:
        The event, without images, histograms, texts and graphs.

    Raises:
        ValueError: The bytes are no message.

    Source: the encoding of protocol buffers; field numbers of TensorFlow's event.proto, summary.proto, tensor.proto.

    Cost: 10 us for one scalar.

    Example:
        >>> value = b"\n\x04loss\x15" + struct.pack("<f", 0.5)
        >>> summary = b"\n" + bytes([len(value)]) + value
        >>> read_event(b"\x10\x07*" + bytes([len(summary)]) + summary)
        Event(wall_time=0.0, step=7, scalars=(('loss', 0.5),), restart=False)
    """
    wall_time, step, scalars, restart = 0.0, 0, [], False
    for number, value in _fields(data):
        if number == WALL_TIME and isinstance(value, bytes) and len(value) == 8:
            (wall_time,) = struct.unpack("<d", value)
        elif number == STEP and isinstance(value, int):
            step = value - (1 << 64) if value >> 63 else value
        elif number == SUMMARY:
            scalars += [found for inner, part in _fields(_bytes(value)) if inner == 1 and (found := _value(part))]
        elif number == SESSION_LOG:
            restart = any(inner == 1 and part == 1 for inner, part in _fields(_bytes(value)))
    return Event(wall_time, step, tuple(scalars), restart)


def _value(data: bytes | int) -> tuple[str, float] | None:
    tag, number = "", None
    for field, value in _fields(_bytes(data)):
        if field == TAG:
            tag = _bytes(value)[:LARGEST_TAG].decode(errors="replace")
        elif field == SIMPLE_VALUE and isinstance(value, bytes) and len(value) == 4:
            (number,) = struct.unpack("<f", value)
        elif field == TENSOR:
            number = _tensor(_bytes(value))
    return (tag, number) if tag and number is not None else None


def _tensor(data: bytes) -> float | None:
    """Return the number in a tensor of one element, None for text and arrays."""
    dtype, elements, found = 0, 1, []
    for field, value in _fields(data):
        if field == DTYPE and isinstance(value, int):
            dtype = value
        elif field == SHAPE:
            elements = math.prod(_size(_bytes(part)) for inner, part in _fields(_bytes(value)) if inner == 2)
        elif field == CONTENT and dtype in DTYPES:
            found = _numbers(_bytes(value), DTYPES[dtype])
        elif field in VALUES:
            found = [*found, *_listed(value, VALUES[field], dtype)]
    return float(found[0]) if elements == 1 and len(found) == 1 and dtype in DTYPES else None


def _size(data: bytes) -> int:
    return next((value for number, value in _fields(data) if number == 1 and isinstance(value, int)), 0)


def _listed(value: bytes | int, layout: str, dtype: int) -> list[float]:
    """Return a repeated field: packed into bytes, or one element as it comes."""
    if layout not in ("varint", "half"):
        return _numbers(_bytes(value), layout)
    raw = [value] if isinstance(value, int) else list(_varints(value))
    if layout == "half":
        return [x for part in raw for x in _numbers((part & 0xFFFF).to_bytes(2, "little"), DTYPES.get(dtype, "<f2"))]
    return [part - (1 << 64) if part >> 63 else part for part in raw]


def _numbers(data: bytes, dtype: str) -> list[float]:
    if dtype == "bfloat16":
        whole = np.frombuffer(data[: len(data) // 2 * 2], "<u2").astype("<u4") << 16
        return whole.view("<f4").astype(np.float64).tolist()
    size = np.dtype(dtype).itemsize
    return np.frombuffer(data[: len(data) // size * size], dtype).astype(np.float64).tolist()


def _bytes(value: bytes | int) -> bytes:
    if isinstance(value, int):
        raise ValueError("expected a field of bytes, came a number: the record is damaged")
    return value


def _varints(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Yield number and value of each field: int for varints, bytes for everything else."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == 2:
            length, at = _varint(data, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"expected a wire type of 0, 1, 2 or 5, came {wire}: the record is damaged")
        if length > len(data) - at:
            raise ValueError(f"expected {length} bytes, came {len(data) - at}: the record is damaged")
        yield number, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(10):
        if at + place >= len(data):
            break
        byte = data[at + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at + place + 1
    raise ValueError("expected a varint of at most 10 bytes: the record is damaged")
