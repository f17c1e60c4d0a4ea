"""The reader of segmented trajectories: the streams of all segments one behind the other, as those of one file."""

from __future__ import annotations

import os

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from dynamics.file.layout import fitting
from dynamics.file.trust import ensure_sound
from dynamics.format import STATUS, STOP_REASON
from dynamics.segments.segment_catalogue import Catalogue, Stacked
from dynamics.segments.segment_directory import segment_numbers, segment_path
from dynamics.segments.stack import Stack

LONG_NAMES = {STATUS: "state of the run", STOP_REASON: "why the run stopped"}


class StackedArray(BackendArray):
    """A variable of all segments for xarray; a file is opened while something is read from it.

    Args:
        stack: the variable.
    """

    def __init__(self, stack: Stack):
        self.stack = stack
        self.shape, self.dtype = (stack.count, *stack.shape), stack.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        """Read what a key asks for."""
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple) -> np.ndarray:
        # Integers drop their axis, after a slice of length one was read.
        ranges = [slice(k, k + 1) if isinstance(k, int | np.integer) else k for k in key]
        rows = np.arange(self.shape[0])[ranges[0]]
        values = self.stack.read(rows, tuple(ranges[1:]))
        return values[tuple(0 if isinstance(k, int | np.integer) else slice(None) for k in key)]


def open_segments(path: str | os.PathLike, check: bool | None = None) -> xr.DataTree:
    """Open a directory of segments as `dynamics.open_trajectory` opens a file.

    Args:
        path: the directory.
        check: look at each segment in a child process first; None does not, since segments are closed by their writer.

    Returns:
        The tree; nothing is held open, and what is read later is read from the segments that were there.

    Raises:
        TrajectoryError: a segment is missing, damaged or of another run; the message names it.

    Example:
        >>> import os, tempfile
        >>> from dynamics.recorder import Recorder
        >>> path = os.path.join(tempfile.mkdtemp(), "run.segments")
        >>> with Recorder(path) as recorder:
        ...     recorder.record("series", step=0, loss=1.0)
        ...     _ = recorder.sync()
        ...     recorder.record("series", step=1, loss=0.5, rel_l2=0.1)
        >>> sorted(os.listdir(path))
        ['segment-000001.h5', 'segment-000002.h5', 'segment-000003.h5']
        >>> open_segments(path)["series/rel_l2"].values
        array([nan, 0.1])
    """
    path = os.fspath(path)
    for number in segment_numbers(path) if check else ():
        ensure_sound(segment_path(path, number), True)
    catalogue = Catalogue(path)
    status = {
        name: xr.Variable((), fitting(catalogue.status[name], name), {"long_name": long_name})
        for name, long_name in LONG_NAMES.items()
    }
    nodes = {"/": xr.Dataset(status, attrs=catalogue.attributes | catalogue.status)}
    for name, group in catalogue.groups.items():
        nodes[name] = _dataset(group)
    return xr.DataTree.from_dict(nodes)


def _dataset(group: Stacked) -> xr.Dataset:
    coords = {
        dim: xr.Variable(dim, np.array(labels), group.label_attrs[dim])
        for dim, labels in group.labels.items()
        if not isinstance(labels, int)
    }
    if group.index:
        values = np.concatenate(group.steps) if group.steps else np.empty(0, np.int64)
        coords[group.index] = xr.Variable(group.index, values, group.variables[group.index].attrs)
    variables = {name: _variable(stack) for name, stack in group.recorded.items()}
    variables |= {name: xr.Variable((), value, attrs) for name, (value, attrs) in group.scalars.items()}
    if "time" in variables and group.index:
        coords["time"] = variables.pop("time")
    return xr.Dataset(variables, coords, group.attrs)


def _variable(stack: Stack) -> xr.Variable:
    lazy = indexing.LazilyIndexedArray(StackedArray(stack))
    # What was read stays in memory, as that of files does.
    return xr.Variable(stack.dims, indexing.MemoryCachedArray(indexing.CopyOnWriteArray(lazy)), stack.attrs)
