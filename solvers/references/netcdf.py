"""One reference in one file: netCDF-4 that any reader opens, sealed so that damage is seen before HDF5 sees it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import secrets
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import scipy

from solvers.references.recipe import Recipe
from solvers.references.reference import Reference

FORMAT = "pinnscope-reference"
FORMAT_VERSION = "1.0"
SEAL = f"\n{FORMAT} sha256 ".encode()
SEALED = len(SEAL) + 65
"""Bytes behind those of HDF5, which does not read them: the SHA-256 of all before, and a newline."""


class UnusableReferenceError(ValueError):
    """A file that does not hold the reference that is asked for."""


def file_name(recipe: Recipe) -> str:
    """Return the name of the file of a reference.

    Args:
        recipe: of it.

    Returns:
        Name, key and suffix.

    Example:
        >>> file_name(Recipe("one", {}, lambda: {}, "by hand", 1e-16, "counted", lambda: iter(())))
        'one-7340e2f861bc.nc'
    """
    return f"{recipe.name}-{recipe.key}.nc"


def write(folder: Path, recipe: Recipe, reference: Reference) -> Path:
    """Write a reference into a folder, at once or not at all.

    Args:
        folder: made where it does not exist.
        recipe: of the reference.
        reference: computed by it.

    Returns:
        The file, for `xarray.open_dataset(path, engine="h5netcdf")`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = _netcdf(recipe, reference)
    path = folder / file_name(recipe)
    # Two processes may write at once: each under a name of its own, and either's file is right.
    temporary = folder / f".{path.stem}-{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        temporary.write_bytes(content + _seal(content))
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def read(path: Path, recipe: Recipe) -> Reference:
    """Read a reference back, and trust nothing unread.

    Args:
        path: of the file.
        recipe: what it is to hold.

    Returns:
        The reference, its arrays read-only.

    Raises:
        UnusableReferenceError: another file, another reference, damaged bytes, or values that are not finite.
    """
    data = path.read_bytes()
    content, seal = data[:-SEALED], data[-SEALED:]
    if not seal.startswith(SEAL):
        raise UnusableReferenceError("it is no file of ours, or cut short")
    if seal != _seal(content):
        raise UnusableReferenceError("its bytes are not those that were written")
    try:
        attributes, reference = _parsed(content, path)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise UnusableReferenceError(f"it cannot be read: {error}") from error
    if attributes["format"] != FORMAT or attributes["format_version"].partition(".")[0] != FORMAT_VERSION[0]:
        raise UnusableReferenceError(f"expected {FORMAT} {FORMAT_VERSION}, came {attributes['format']} of another kind")
    if (attributes["name"], attributes["key"]) != (recipe.name, recipe.key):
        raise UnusableReferenceError(
            f"expected {recipe.name} of key {recipe.key}, came {attributes['name']} of key {attributes['key']}"
        )
    if attributes["content"] != reference.content:
        raise UnusableReferenceError("its arrays are not those that its content hash was taken of")
    if found := reference.departures():
        raise UnusableReferenceError("; ".join(found))
    return reference


def _seal(content: bytes) -> bytes:
    return SEAL + hashlib.sha256(content).hexdigest().encode() + b"\n"


def _netcdf(recipe: Recipe, reference: Reference) -> bytes:
    # Imported here: who only reads formulas needs no HDF5.
    import h5netcdf

    buffer = io.BytesIO()
    with h5netcdf.File(buffer, "w") as file:
        for name, value in _attributes(recipe, reference).items():
            file.attrs[name] = value
        for dimensions, values, _ in reference.columns.values():
            for dimension, size in zip(dimensions, values.shape, strict=True):
                if dimension not in file.dimensions:
                    file.dimensions[dimension] = size
        for name, (dimensions, values, attributes) in reference.columns.items():
            packed = {"compression": "gzip", "compression_opts": 9, "shuffle": True} if values.size > 1 else {}
            packed |= {"chunks": values.shape} if packed and values.ndim else {}
            variable = file.create_variable(name, dimensions, data=values, **packed)
            for key, value in attributes.items():
                variable.attrs[key] = value
    return buffer.getvalue()


def _attributes(recipe: Recipe, reference: Reference) -> dict[str, str | float | int]:
    versions = {"pinnscope": _own_version(), "python": platform.python_version()}
    versions |= {"numpy": np.__version__, "scipy": scipy.__version__}
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "name": recipe.name,
        "key": recipe.key,
        "settings": json.dumps(dict(recipe.settings), sort_keys=True),
        "version": recipe.version,
        "method": recipe.method,
        "floor": recipe.floor,
        "floor_origin": recipe.floor_origin,
        "content": reference.content,
        "seconds": reference.seconds,
        "versions": json.dumps(versions),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _own_version() -> str:
    try:
        return version("pinnscope")
    except PackageNotFoundError:
        return "unknown"


def _parsed(content: bytes, path: Path) -> tuple[dict[str, str], Reference]:
    """Return root attributes as text, and the reference, unchecked."""
    import h5netcdf

    with h5netcdf.File(io.BytesIO(content), "r") as file:
        wanted = ("format", "format_version", "name", "key", "content", "seconds")
        attributes = {name: str(file.attrs[name]) for name in wanted}
        columns = {}
        for name, variable in file.variables.items():
            values = np.array(variable[...], order="C")
            values.flags.writeable = False
            columns[name] = (tuple(variable.dimensions), values, dict(variable.attrs))
    return attributes, Reference(columns, float(attributes["seconds"]), path)
