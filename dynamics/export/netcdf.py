"""A trajectory as a netCDF-4 file that knows nothing of recording: no counters, no late entries, nothing that grows."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress

import h5netcdf
import h5py
import numpy as np
import xarray as xr

from dynamics.export.exported import Exported, chosen, new_file
from dynamics.trajectory import open_trajectory

BLOCK_BYTES = 1 << 24
LEVEL = 4


def export_netcdf(
    path: str | os.PathLike, target: str | os.PathLike, *, streams: Sequence[str] | None = None, overwrite: bool = False
) -> Exported:
    """Write the committed rows of a trajectory, its static arrays and attributes as netCDF-4.

    `xarray.open_datatree(target)` opens the result. Values are the same bit for bit, compressed without loss.

    Args:
        path: the trajectory; a running one is exported up to its committed rows.
        target: the new file; it appears when it is complete.
        streams: names of groups, None for all.
        overwrite: replace an existing file.

    Returns:
        The file, and the variables that netCDF has no type for.

    Raises:
        FileExistsError: the file exists.
        ValueError: there is no such stream.
        TrajectoryError: not a trajectory that can be read.

    Cost: reads and writes 16 MB at a time, and compresses them.

    Example:
        >>> import tempfile
        >>> from dynamics.recorder import Recorder
        >>> folder = tempfile.mkdtemp()
        >>> with Recorder(os.path.join(folder, "run.h5")) as recorder:
        ...     recorder.record("series", step=0, time=0.5, loss=0.1)
        >>> made = export_netcdf(os.path.join(folder, "run.h5"), os.path.join(folder, "run.nc"))
        >>> with xr.open_datatree(made.files[0]) as tree:
        ...     tree["series/loss"].values
        array([0.1])
    """
    target, left_out = os.fspath(target), []
    new_file(target, overwrite)
    temporary = f"{target}.tmp-{os.getpid()}"
    with open_trajectory(path) as tree:
        groups = chosen(tree, streams)
        try:
            with h5netcdf.File(temporary, "w") as file:
                _attributes(file, tree.attrs)
                for name, dataset in groups.items():
                    left_out += _group(file.create_group(name), dataset)
            os.replace(temporary, target)
        except BaseException:
            with suppress(OSError):
                os.remove(temporary)
            raise
    return Exported((target,), tuple(left_out))


def _group(group: h5netcdf.Group, dataset: xr.Dataset) -> list[str]:
    _attributes(group, dataset.attrs)
    group.dimensions = {str(dim): size for dim, size in dataset.sizes.items()}
    left_out = []
    for name, variable in dataset.variables.items():
        if variable.dtype.kind in "fiub":
            _numbers(group, str(name), variable)
        elif variable.dtype.kind in "OSU":
            labels = np.asarray(variable.astype(str).values, object)
            _attributes(
                group.create_variable(str(name), variable.dims, h5py.string_dtype(), data=labels), variable.attrs
            )
        else:
            left_out.append(f"{group.name.strip('/')}/{name}")
    coordinates = [str(name) for name in dataset.coords if name not in dataset.sizes]
    if coordinates:
        group.attrs["coordinates"] = " ".join(coordinates)
    return left_out


def _numbers(group: h5netcdf.Group, name: str, variable: xr.Variable) -> None:
    # netCDF has no truth values.
    dtype = np.dtype("i1") if variable.dtype.kind == "b" else variable.dtype
    fill = np.array(np.nan, dtype) if dtype.kind == "f" else None
    squeeze = {"compression": "gzip", "compression_opts": LEVEL, "shuffle": True} if variable.size else {}
    made = group.create_variable(name, variable.dims, dtype, fillvalue=fill, **(squeeze if variable.dims else {}))
    _attributes(made, variable.attrs)
    if not variable.dims:
        made[...] = variable.values.astype(dtype)
        return
    row = max(1, dtype.itemsize * int(np.prod(variable.shape[1:], dtype=np.int64)))
    rows = max(1, BLOCK_BYTES // row)
    for start in range(0, variable.shape[0] if variable.size else 0, rows):
        block = variable[start : start + rows].values
        made[start : start + len(block)] = block.astype(dtype, copy=False)


def _attributes(item, attributes: Mapping[str, object]) -> None:
    for name, value in attributes.items():
        if name not in ("_FillValue", "coordinates"):
            item.attrs[name] = value
