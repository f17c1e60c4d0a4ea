"""How rows and arrays lie in HDF5: groups, datasets and the dimension scales that make the file netCDF-4 too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO

import h5py
import numpy as np
from h5py import h5s

from dynamics.file.provenance import plain
from dynamics.file.rows import Rows
from dynamics.format import COMMITTED, LATE, LATE_DTYPES, ROW, SIZE_ONLY, STATUS_DTYPES, Variable

NOT_A_VARIABLE = SIZE_ONLY + ".%10d"


def image(attributes: Mapping[str, object], static: Mapping[str, tuple], streams: Iterable[Rows]) -> bytes:
    """Return a complete file without rows, as bytes.

    Made in memory: should the disk be full, it is not HDF5 that finds out, half-way through its own structures.

    Args:
        attributes: of the root.
        static: `(arrays, coords, attrs)` by group, for `create_static`.
        streams: the streams.

    Returns:
        The bytes of the file, in the format that SWMR mode needs.

    Example:
        >>> image({}, {}, [])[1:4]
        b'HDF'
    """
    buffer = BytesIO()
    with h5py.File(buffer, "w", libver="latest") as file:
        create_root(file, attributes)
        for name, (arrays, coords, attrs) in static.items():
            create_static(file, name, arrays, coords, attrs)
        for rows in streams:
            create_stream(file, rows)
        create_late(file)
    return buffer.getvalue()


def growing(group: h5py.Group) -> dict[str, h5py.Dataset]:
    """Return the datasets of a stream that are written to: those that grow, and `committed`.

    Args:
        group: the group of a stream, or `/late`.

    Returns:
        The datasets by name.
    """
    return {name: dataset for name, dataset in group.items() if name == COMMITTED or dataset.maxshape[0] is None}


def create_root(file: h5py.File, attributes: Mapping[str, object]) -> None:
    """Write the root attributes, and `status` (running) and `stop_reason` (empty).

    Args:
        file: the new file.
        attributes: from `dynamics.file.provenance.root_attributes`.
    """
    file.attrs.update(attributes)
    for (name, dtype), value in zip(STATUS_DTYPES.items(), (b"running", b""), strict=True):
        file.create_dataset(name, data=np.array(value, dtype), track_times=False)
    file["status"].attrs["long_name"] = "state of the run"
    file["stop_reason"].attrs["long_name"] = "why the run stopped"


def create_stream(file: h5py.File, rows: Rows) -> None:
    """Create the group of a stream, without rows.

    Args:
        file: the file.
        rows: name, index, columns, labels and attributes of the stream.
    """
    group = file.create_group(rows.name)
    group.attrs.update({name: plain(value) for name, value in rows.attrs.items()})
    # xarray takes the names listed here as coordinates of the group.
    group.attrs["coordinates"] = "time"
    datasets = {}
    for name in dict.fromkeys((rows.index, "step", "time")):
        variable = ROW.get(name) or Variable(name, (), name, dtype="i8")
        datasets[name] = _growing(group, variable, (), rows.chunk())
    datasets[rows.index].make_scale(rows.index)
    for dim in dict.fromkeys(dim for column in rows.columns.values() for dim in column.variable.dims):
        create_dimension(group, dim, rows.labels.get(dim, rows.sizes[dim]))
    for name, column in rows.columns.items():
        datasets[name] = _growing(group, column.variable, column.shape, column.chunk)
    for name, dataset in datasets.items():
        dims = rows.columns[name].variable.dims if name in rows.columns else ()
        if name != rows.index:
            attach(group, dataset, (rows.index, *dims))
    _committed(group)


def create_late(file: h5py.File) -> None:
    """Create `/late`, the group of the scalars that had no column when the layout was frozen.

    Args:
        file: the file.
    """
    group = file.create_group(LATE)
    entry = group.create_dataset("entry", (0,), ">f4", maxshape=(None,), chunks=(1024,), track_times=False)
    entry.make_scale(NOT_A_VARIABLE % 0)
    for name, dtype in LATE_DTYPES.items():
        variable = Variable(name, (), f"{name} of a value whose name appeared late", dtype=dtype)
        attach(group, _growing(group, variable, (), 1024), ("entry",))
    _committed(group)


def create_static(
    file: h5py.File,
    name: str,
    arrays: Mapping[str, tuple],
    coords: Mapping[str, Sequence],
    attrs: Mapping[str, object],
) -> None:
    """Write a group of arrays that do not grow.

    Args:
        file: the file.
        name: the group's name.
        arrays: `(dims, array)` or `(dims, array, attributes)` by name.
        coords: labels by dimension; the others get a size only.
        attrs: attributes of the group.
    """
    group = file.create_group(name)
    group.attrs.update({key: plain(value) for key, value in attrs.items()})
    for dim, size in static_sizes(name, arrays, coords).items():
        create_dimension(group, dim, coords.get(dim, size))
    for key, (dims, array, *rest) in arrays.items():
        dataset = group.create_dataset(key, data=array, track_times=False)
        dataset.attrs.update({"long_name": key.replace("_", " "), "units": "1", **(rest[0] if rest else {})})
        attach(group, dataset, dims)


def static_sizes(name: str, arrays: Mapping[str, tuple], coords: Mapping[str, Sequence]) -> dict[str, int]:
    """Return the sizes of the dimensions of a group of arrays.

    Args:
        name: the group's name, for the message.
        arrays: `(dims, array, ...)` by name.
        coords: labels by dimension.

    Returns:
        Sizes by dimension.

    Raises:
        ValueError: the arrays and labels do not agree.

    Example:
        >>> static_sizes("points", {"interior": (("point", "axis"), np.zeros((5, 2)))}, {"axis": ["x", "y"]})
        {'axis': 2, 'point': 5}
    """
    sizes = {dim: len(labels) for dim, labels in coords.items()}
    for key, (dims, array, *_) in arrays.items():
        shape = np.shape(array)
        if len(dims) != len(shape) or any(sizes.setdefault(d, n) != n for d, n in zip(dims, shape, strict=True)):
            raise ValueError(
                f"{name}/{key}: expected one name per dimension and sizes as in {sizes}, came dims {tuple(dims)} "
                f"and shape {shape}: name each dimension, and give different sizes different names"
            )
    return sizes


def create_dimension(group: h5py.Group, name: str, labels: Sequence | int) -> None:
    """Create a dimension scale: with its labels, or as a netCDF dimension without variable for a size alone.

    Args:
        group: the group.
        name: the dimension's name.
        labels: str or numbers, or the size.
    """
    if isinstance(labels, int):
        group.create_dataset(name, (labels,), ">f4", track_times=False).make_scale(NOT_A_VARIABLE % labels)
        return
    text = all(isinstance(label, str) for label in labels)
    dtype = h5py.string_dtype() if text else None
    scale = group.create_dataset(name, data=list(labels), dtype=dtype, track_times=False)
    scale.attrs["long_name"] = name.replace("_", " ")
    if not text:
        scale.attrs["units"] = "1"
    scale.make_scale(name)


def attach(group: h5py.Group, dataset: h5py.Dataset, dims: Sequence[str]) -> None:
    """Attach the scales of a group to the axes of a dataset.

    Args:
        group: the group that holds the scales.
        dataset: the dataset.
        dims: a scale's name per axis.
    """
    for axis, dim in enumerate(dims):
        dataset.dims[axis].attach_scale(group[dim])


def write(datasets: Mapping[str, h5py.Dataset], blocks: Mapping[str, np.ndarray], start: int, stop: int) -> None:
    """Write rows start to stop of the datasets of a stream; those without a block only grow.

    Args:
        datasets: from `growing`.
        blocks: arrays (stop - start, ...) by name.
        start: first row.
        stop: row after the last.
    """
    spaces: dict[tuple, tuple] = {}
    for name, dataset in datasets.items():
        if name == COMMITTED:
            continue
        shape = dataset.id.shape[1:]
        dataset.id.set_extent((stop, *shape))
        if name in blocks:
            block = np.ascontiguousarray(blocks[name], dataset.dtype if dataset.dtype.kind == "S" else None)
            if shape not in spaces:
                # h5py's own slicing takes five times as long as the writing.
                rows = h5s.create_simple((stop, *shape))
                rows.select_hyperslab((start, *(0 for _ in shape)), block.shape)
                spaces[shape] = (h5s.create_simple(block.shape), rows)
            dataset.id.write(*spaces[shape], block)


def _growing(group: h5py.Group, variable: Variable, shape: tuple[int, ...], chunk: int) -> h5py.Dataset:
    dtype = np.dtype(variable.dtype)
    dataset = group.create_dataset(
        variable.name,
        (0, *shape),
        dtype,
        maxshape=(None, *shape),
        chunks=(chunk, *(max(1, size) for size in shape)),
        fillvalue=np.nan if dtype.kind == "f" else None,
        track_times=False,
    )
    dataset.attrs["long_name"] = variable.long_name or variable.name.replace("_", " ")
    if dtype.kind != "S":
        dataset.attrs["units"] = variable.units
    return dataset


def _committed(group: h5py.Group) -> None:
    dataset = group.create_dataset(COMMITTED, data=np.int64(0), track_times=False)
    dataset.attrs.update({"long_name": "rows that are complete", "units": "1"})


def fitting(text: str, name: str) -> np.ndarray:
    """Return a line of text as bytes of the fixed length that a status dataset has.

    Args:
        text: any; line breaks become spaces, and what does not fit is cut.
        name: "status" or "stop_reason".

    Returns:
        A scalar array of fixed-length bytes.

    Example:
        >>> fitting("complete", "status").item()
        b'complete'
    """
    dtype = np.dtype(STATUS_DTYPES[name])
    line = " ".join(text.split()).encode()[: dtype.itemsize]
    return np.array(line.decode(errors="ignore").encode(), dtype)
