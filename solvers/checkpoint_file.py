"""A checkpoint on disk: JSON and arrays in an uncompressed .npz, replaced as a whole, read with suspicion."""

from __future__ import annotations

import json
import os
import struct
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from dynamics.file.aside import sync_directory

STRUCTURE = "structure.json"
HEADER_BYTES = 10_000
MEMBERS = 100_000


class CheckpointError(ValueError):
    """No checkpoint that can be gone on from; the message names the file and what is wrong with it."""


def write_file(path: str, structure: object, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a file that either stands whole under its name or not at all, also after a power failure.

    Args:
        path: of the file; one that exists is replaced.
        structure: anything that JSON can hold.
        arrays: numbers by name.

    Raises:
        OSError: it cannot be written; what stood there still does.

    Example:
        >>> import tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "one.npz")
        >>> write_file(path, {"step": 3}, {"vector": np.arange(3.0)})
        >>> np.load(path)["vector"].tolist(), read_file(path)[0]
        ([0.0, 1.0, 2.0], {'step': 3})
    """
    temporary = f"{path}.tmp-{os.getpid()}"
    try:
        with open(temporary, "wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
                archive.writestr(STRUCTURE, json.dumps(structure))
                for name, array in arrays.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        npy.write_array(member, np.asarray(array), allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.remove(temporary)
        raise
    sync_directory(os.path.dirname(path) or ".")


def read_file(path: str) -> tuple[object, dict[str, np.ndarray]]:
    """Read a file that may be damaged, or made to do damage: no more memory is taken than the file is long.

    Args:
        path: of a file that `write_file` wrote.

    Returns:
        Structure and arrays.

    Raises:
        CheckpointError: no such file, a damaged one, or one that `write_file` does not write.
    """
    # Of a pipe or a device the reading might never end.
    if not Path(path).is_file():
        raise CheckpointError(f"{path}: expected a checkpoint, came no regular file: check the path")
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive, os.path.getsize(path))
            structure = json.loads(archive.read(members.pop(STRUCTURE)).decode())
            return structure, {name.removesuffix(".npy"): _array(archive, info) for name, info in members.items()}
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except KeyError as error:
        raise CheckpointError(f"{path}: expected a member {error}, there is none: no checkpoint of ours") from None
    except MISREAD as error:
        said = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise CheckpointError(f"{path}: expected a checkpoint, came a file that cannot be read ({said})") from error


MISREAD = (
    *(zipfile.BadZipFile, EOFError, struct.error, OSError, ValueError),
    *(NotImplementedError, RuntimeError, RecursionError, MemoryError, OverflowError, SyntaxError, TypeError),
)
"""What the readers of zip, JSON and array headers are known to raise over bytes that they did not expect."""


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Return the members by name, or refuse an archive with any that is not stored as it is."""
    members = archive.infolist()
    if len(members) > MEMBERS or sum(info.file_size for info in members) > size:
        raise CheckpointError(f"expected at most {size} bytes in all, came members that claim more: it is damaged")
    for info in members:
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or info.flag_bits & 1:
            raise CheckpointError(f"{info.filename[:80]!r}: expected a stored member, came a compressed or secret one")
        if info.filename != STRUCTURE and not info.filename.endswith(".npy"):
            raise CheckpointError(f"expected {STRUCTURE} and arrays, came a member {info.filename[:80]!r}")
    found = {info.filename: info for info in members}
    if len(found) < len(members):
        raise CheckpointError("expected each member once, came two of one name: it is damaged")
    return found


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """Return an array, whose header must agree with the size of its member before anything is allocated."""
    with archive.open(info) as member:
        version = npy.read_magic(member)
        if version not in ((1, 0), (2, 0)):
            raise CheckpointError(f"{info.filename[:80]!r}: expected an array header 1.0 or 2.0, came {version}")
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(member, max_header_size=HEADER_BYTES)
        if dtype.kind not in "biufc" or dtype.hasobject:
            raise CheckpointError(f"{info.filename[:80]!r}: expected numbers, came {dtype}")
        count = 1
        for extent in shape:
            count *= extent
        left = info.file_size - member.tell()
        if min(shape, default=0) < 0 or count * dtype.itemsize != left:
            raise CheckpointError(
                f"{info.filename[:80]!r}: expected {left} bytes, came a header of shape {str(shape)[:80]} and {dtype}"
            )
        array = np.frombuffer(bytearray(member.read()), dtype)
    return array.reshape(shape, order="F" if fortran else "C")
