"""Weights kept on disk, under a hash of all they depend on, and never trusted unread."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import numpy as np

from solvers.stencils.recipe import Recipe
from solvers.stencils.twin import Operator

FORMAT = 1
"""Version of the file format and of the weights in it; part of every key."""


def weights_key(
    nodes: np.ndarray,
    targets: np.ndarray,
    recipe: Recipe,
    operators: Sequence[Operator],
    index: np.ndarray | None = None,
) -> str:
    """Return the SHA-256 of everything that weights depend on.

    Args:
        nodes: (M, d) float64 coordinates.
        targets: (N, d) float64 coordinates.
        recipe: of the stencils.
        operators: K operators; the order of an operator's terms does not matter.
        index: (N, n) stencils where they were given, or None for the nearest nodes.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> x = np.arange(9.0)[:, None]
        >>> weights_key(x, x, Recipe.of(2, 2, 1), [{(2,): 1.0}])[:8]
        'a5948df5'
    """
    terms = [sorted((list(map(int, alpha)), float(c)) for alpha, c in operator.items()) for operator in operators]
    digest = hashlib.sha256(json.dumps([FORMAT, astuple(recipe), terms]).encode())
    for array in (nodes, targets, index):
        _add(digest, array)
    return digest.hexdigest()


def store(directory: str | Path, key: str, index: np.ndarray, weights: np.ndarray) -> Path:
    """Write weights to a file of their own, at once or not at all.

    Args:
        directory: made where it does not exist.
        key: of `weights_key`.
        index: (N, n) int32.
        weights: (K, N, n) float64.

    Returns:
        The file, an uncompressed .npz without pickled objects.
    """
    path = _path(directory, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.stem[:16]}-", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            digest = _digest(key, index, weights)
            np.savez(file, key=np.array(key), digest=np.array(digest), index=index, weights=weights)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return path


def load(directory: str | Path, key: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Read weights back, if they are there and whole.

    Warns where a file is corrupted, truncated or not of this key, and leaves it to be written anew.

    Args:
        directory: given to `store`.
        key: of `weights_key`.

    Returns:
        (N, n) int32 indices and (K, N, n) float64 weights, or None.
    """
    path = _path(directory, key)
    try:
        with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as file:
            if str(file["key"]) != key:
                raise ValueError("it belongs to other nodes, operators or another version")
            index, weights = file["index"], file["weights"]
            if str(file["digest"]) != _digest(key, index, weights):
                raise ValueError("its checksum does not fit its contents")
    except FileNotFoundError:
        return None
    except Exception as error:
        # Whatever reading damaged bytes raises: zipfile, zlib, struct and numpy each have their own.
        warnings.warn(f"stencil weights in {path} are unusable and will be rebuilt: {error}", stacklevel=2)
        return None
    return index, weights


def _path(directory: str | Path, key: str) -> Path:
    return Path(directory) / f"stencils-{key}.npz"


def _digest(key: str, index: np.ndarray, weights: np.ndarray) -> str:
    digest = hashlib.sha256(key.encode())
    _add(digest, index)
    _add(digest, weights)
    return digest.hexdigest()


def _add(digest, array: np.ndarray | None) -> None:
    """Add an array's type, shape and values, so that equal bytes of other shapes differ."""
    if array is None:
        digest.update(b"none")
        return
    digest.update(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)
