"""An open HDF5 file as an xarray tree, in milliseconds: what xarray's own engine does for any file, done for ours."""

from __future__ import annotations

from collections.abc import Mapping

import h5py
import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from dynamics.file.labels import is_dimension_only
from dynamics.file.opening import text
from dynamics.format import COMMITTED, LATE

HIDDEN = frozenset(("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "DIMENSION_LABELS", "_Netcdf4Dimid"))


class FileArray(BackendArray):
    """A dataset for xarray, read when something is asked of it.

    Args:
        dataset: of an open file.
        rows: first rows that there are to be seen, None for all of them.
    """

    def __init__(self, dataset: h5py.Dataset, rows: int | None = None):
        text_labels = h5py.check_string_dtype(dataset.dtype) is not None and dataset.dtype.kind == "O"
        self.dataset = dataset.asstr(errors="replace") if text_labels else dataset
        self.shape = dataset.shape if rows is None else (rows, *dataset.shape[1:])
        self.dtype = dataset.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        """Read what a key asks for."""
        one_vector = indexing.IndexingSupport.OUTER_1VECTOR
        return indexing.explicit_indexing_adapter(key, self.shape, one_vector, self._read)

    def _read(self, key: tuple) -> np.ndarray:
        if not self.shape:
            return self.dataset[()]
        # An open end is the end of the rows that are seen, not of those in the file.
        first = key[0]
        if isinstance(first, slice):
            first = slice(*first.indices(self.shape[0]))
        return self.dataset[(first, *key[1:])]


def datasets(file: h5py.File, committed: Mapping[str, int], empty: frozenset[str]) -> dict[str, xr.Dataset]:
    """Return the groups of a trajectory.

    Args:
        file: open, and to stay open as long as something is read.
        committed: rows to be seen by stream.
        empty: "stream/variable" of those to be left out.

    Returns:
        Datasets by path, "/" for the root, without `/late`; only coordinates are read.

    Cost: 0.1 ms a variable.

    Example:
        >>> with h5py.File("a", "w", driver="core", backing_store=False) as file:
        ...     file["answer"] = 42
        ...     int(datasets(file, {}, frozenset())["/"]["answer"])
        42
    """
    nodes = {"/": _dataset(file, None, "", empty)}
    # Entries of `/late` are read by themselves: of a running file, more may come between one dataset and the next.
    pending = {name: item for name, item in file.items() if isinstance(item, h5py.Group) and name != LATE}
    while pending:
        name = next(iter(pending))
        group = pending.pop(name)
        nodes[name] = _dataset(group, committed.get(name), name, empty)
        pending |= {f"{name}/{key}": item for key, item in group.items() if isinstance(item, h5py.Group)}
    return nodes


def _dataset(group: h5py.Group, rows: int | None, name: str, empty: frozenset[str]) -> xr.Dataset:
    found = {key: item for key, item in group.items() if isinstance(item, h5py.Dataset)}
    # A scale's address tells which dimension an axis has; its name would have to be looked up in the whole file.
    scales = {h5py.h5o.get_info(item.id).addr: key for key, item in found.items() if item.is_scale}
    variables, coords = {}, set(text(group.attrs.get("coordinates", "")).split())
    for key, dataset in found.items():
        if (rows is not None and key == COMMITTED) or f"{name}/{key}" in empty or is_dimension_only(dataset):
            continue
        dims = (key,) if dataset.is_scale else tuple(_dimension(axis, scales) for axis in dataset.dims)
        variables[key] = _variable(dataset, dims, rows)
        if dims == (key,):
            coords.add(key)
    attrs = {key: value for key, value in _attributes(group).items() if key != "coordinates"}
    made = xr.Dataset({key: each for key, each in variables.items() if key not in coords}, attrs=attrs)
    return made.assign_coords({key: each for key, each in variables.items() if key in coords})


def _variable(dataset: h5py.Dataset, dims: tuple[str, ...], rows: int | None) -> xr.Variable:
    grows = rows is not None and dataset.ndim and dataset.maxshape[0] is None
    lazy = indexing.LazilyIndexedArray(FileArray(dataset, rows if grows else None))
    # What was read stays in memory, as xarray does with every file.
    return xr.Variable(dims, indexing.MemoryCachedArray(indexing.CopyOnWriteArray(lazy)), _attributes(dataset))


def _dimension(axis: h5py._hl.dims.DimensionProxy, scales: Mapping[int, str]) -> str:
    return scales[h5py.h5o.get_info(axis[0].id).addr]


def _attributes(item: h5py.HLObject) -> dict[str, object]:
    return {name: _plain(value) for name, value in item.attrs.items() if name not in HIDDEN}


def _plain(value: object) -> object:
    """Return an attribute as xarray would: text as str, an array of one entry as that."""
    if isinstance(value, bytes):
        return text(value)
    if isinstance(value, np.ndarray) and value.shape == (1,):
        return value[0]
    return value
