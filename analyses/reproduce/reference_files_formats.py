"""The arrays of a .mat, .npz, .npy or .csv file, told by its first bytes. Nothing is unpickled."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
from scipy.io import loadmat

POINTER = b"version https://git-lfs"


def arrays(path: Path) -> Mapping[str, np.ndarray]:
    """Return the named arrays of a file.

    Args:
        path: of the file.

    Returns:
        Name -> array, as stored.

    Raises:
        ValueError: the file is empty, not one of these formats, or damaged.
    """
    with path.open("rb") as file:
        head = file.read(520)
    if not head:
        raise ValueError("the file is empty; expected a .mat, .npz, .npy or .csv file")
    if head.startswith(POINTER):
        raise ValueError("this is a Git LFS pointer, not the file itself: fetch it with git lfs pull")
    told = (read for begins, read in READERS.items() if head.startswith(begins) or head[512:].startswith(begins))
    read = next(told, None) or SUFFIXES.get(path.suffix.lower())
    if read is None:
        raise ValueError(f"the file begins with {head[:12]!r}; expected a .mat, .npz, .npy or .csv file")
    try:
        return read(path)
    except (OSError, ValueError, TypeError, KeyError, NotImplementedError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"the file cannot be read ({' '.join(str(error).split())[:120]})") from None


def _npz(path: Path) -> Mapping[str, np.ndarray]:
    # A damaged archive would leave a file that numpy opens itself open.
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
        found = {}
        for name in file.files:
            try:
                found[name] = file[name]
            except ValueError as error:
                raise ValueError(f"{name}: {error}; pickled objects are never loaded: save plain arrays") from None
        return found


def _npy(path: Path) -> Mapping[str, np.ndarray]:
    return {"array": np.load(path, allow_pickle=False)}


def _mat(path: Path) -> Mapping[str, np.ndarray]:
    try:
        found = loadmat(path)
    except Exception as error:
        # loadmat raises what its parsers stumble over: IndexError, zlib.error and others on damaged files.
        raise ValueError(f"no MATLAB file: {error}") from None
    return {
        name: values
        for name, values in found.items()
        if isinstance(values, np.ndarray) and not name.startswith("__") and values.dtype.kind in "fiucb"
    }


def _hdf5(path: Path) -> Mapping[str, np.ndarray]:
    """MATLAB 7.3 writes HDF5 with its axes reversed; shapes tell later which is which."""
    with h5py.File(path, "r") as file:
        return {name: item[()] for name, item in file.items() if isinstance(item, h5py.Dataset) and item.ndim}


def _csv(path: Path) -> Mapping[str, np.ndarray]:
    """Columns x, t, u, with these or other names in a first line, or without."""
    text = path.read_text(encoding="utf-8")
    first = text.lstrip("# ").partition("\n")[0]
    separator = "," if "," in first else ";" if ";" in first else None
    names = [name.strip().strip('"') for name in first.split(separator)]
    headed = any(not _number(name) for name in names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        table = np.loadtxt(io.StringIO(text), delimiter=separator, skiprows=int(headed), ndmin=2)
    if table.shape[1] != 3:
        raise ValueError(f"expected three columns x, t, u, came {table.shape[1]}")
    return dict(zip(names, table.T, strict=True)) if headed else {"columns": table}


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


HDF5 = b"\x89HDF\r\n\x1a\n"
READERS = {b"PK\x03\x04": _npz, b"\x93NUMPY": _npy, HDF5: _hdf5, b"MATLAB 5.0": _mat}
SUFFIXES = {".csv": _csv, ".txt": _csv, ".dat": _csv, ".mat": _mat}
