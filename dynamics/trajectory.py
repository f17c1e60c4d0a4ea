"""The reader of trajectories: finished, being written, or left behind by a run that was killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from time import sleep, time

import h5py
import xarray as xr

from dynamics import late, superblock
from dynamics.format import COMMITTED, FORMAT, FORMAT_VERSION, LATE, STATUS_DTYPES

SWMR = {"swmr": True, "libver": "latest"}
TRIES, PAUSE = 4, 0.05
STILL = 3.0
"""Seconds without a write after which an unclosed file is taken for one that its writer left behind."""


class TrajectoryError(ValueError):
    """The file is no trajectory that can be read, or lacks a variable; the message says what to do."""


@dataclass(frozen=True)
class Contents:
    """What must be known of a file before its arrays are read.

    Args:
        state: "closed", "live" (being written) or "left" (not closed, and not written to for a while).
        committed: number of complete rows by stream.
        empty: paths of variables that were declared and never written.
        late: `(steps, values)` of late scalars by stream and variable.
        status: `status` and `stop_reason` as str.
    """

    state: str
    committed: dict[str, int]
    empty: frozenset[str]
    late: dict[str, dict[str, tuple]]
    status: dict[str, str]


def open_trajectory(path: str | os.PathLike) -> xr.DataTree:
    """Open a trajectory lazily: only indices and labels are read until values are asked for.

    Rows that are not committed are hidden, late scalars stand in their streams, and variables that were declared
    but never recorded are left out. What is seen of a running file is its state at the call: open it again for more.

    Args:
        path: the file.

    Returns:
        A tree with one group per stream, dimensions named; `status` and `stop_reason` are among its attrs as str.
        Close it, or use it as a context manager.

    Raises:
        TrajectoryError: the file is missing, truncated, of a newer major version or no trajectory.

    Example:
        >>> import os, tempfile
        >>> from dynamics.recorder import Recorder
        >>> path = os.path.join(tempfile.mkdtemp(), "run.h5")
        >>> with Recorder(path) as recorder:
        ...     recorder.record("series", step=0, loss=1.0)
        >>> with open_trajectory(path) as trajectory:
        ...     trajectory.attrs["status"], trajectory["series/loss"].values
        ('complete', array([1.]))
    """
    path = os.fspath(path)
    # The counters are read before xarray looks at the datasets: rows counted here are in the file by then.
    contents = inspect(path)
    with ExitStack() as opened:
        try:
            source = opened.enter_context(superblock.AsClosed(path)) if contents.state == "left" else path
            raw = xr.open_datatree(source, engine="h5netcdf", driver_kwds=SWMR if contents.state == "live" else None)
        except Exception as error:  # On damaged metadata the libraries below raise anything, AttributeError included.
            raise TrajectoryError(
                f"{path}: expected a readable trajectory, came {_first_line(error)}: {_DAMAGED}"
            ) from error
        opened.callback(raw.close)
        tree = xr.DataTree.from_dict(_nodes(raw, contents))
        tree.set_close(opened.pop_all().close)
    return tree


def inspect(path: str) -> Contents:
    """Read counters, status and late scalars of a file.

    Args:
        path: the file.

    Returns:
        What `open_trajectory` needs to know before it reads arrays.

    Raises:
        TrajectoryError: the file is no trajectory that can be read.
    """
    with open_file(path) as (file, state):
        try:
            _check_format(path, file)
            streams = [name for name, group in file.items() if name != LATE and _is_stream(group)]
            committed = {name: int(file[name][COMMITTED][()]) for name in streams}
            status = {name: file[name][()].decode(errors="replace") for name in STATUS_DTYPES}
            return Contents(state, committed, _never_written(file, committed), late.read(file), status)
        except (OSError, RuntimeError, KeyError, AttributeError, TypeError) as error:
            raise TrajectoryError(
                f"{path}: expected status and committed rows, came {_first_line(error)}: {_DAMAGED}"
            ) from error


def require(tree: xr.DataTree, *names: str) -> dict[str, xr.DataArray]:
    """Return variables of a trajectory, or say at once which are missing.

    Args:
        tree: from `open_trajectory`.
        names: "stream/variable" each.

    Returns:
        The variables by name, not loaded.

    Raises:
        TrajectoryError: some are missing.

    Example:
        >>> tree = xr.DataTree.from_dict({"series": xr.Dataset({"loss": ("step", [1.0])})})
        >>> float(require(tree, "series/loss")["series/loss"][0])
        1.0
    """
    missing = [name for name in names if not _has(tree, name)]
    if missing:
        group, _, variable = missing[0].partition("/")
        groups = ", ".join(f"/{name}" for name in tree.children) or "none"
        raise TrajectoryError(
            f"expected {', '.join(missing)}; the trajectory has not recorded them (groups: {groups}): "
            f"record them with a probe, or recorder.record({group!r}, step=step, {variable}=...)"
        )
    return {name: tree[name] for name in names}


_DAMAGED = "the file is damaged or truncated; copy it again, or run with another file"


@contextmanager
def open_file(path: str) -> Iterator[tuple[h5py.File, str]]:
    """Open a file as what it is: closed, being written, or left unclosed by a writer that died.

    One that was left is looked at as if it had been closed: HDF5 in SWMR mode waits without end for a damaged checksum
    to come right.

    Args:
        path: the file.

    Yields:
        The open file, and its state: "closed", "live" or "left".

    Raises:
        TrajectoryError: there is no such file, it is not HDF5, or HDF5 cannot open it.
    """
    _check_path(path)
    for _ in range(TRIES):
        block, state = superblock.read(path), _state(path)
        if state != "closed" and block.size < block.end:
            # For an instant this may be so while the writer flushes; it stays so for a file that was cut off.
            sleep(PAUSE)
            _check_extent(path)
        with ExitStack() as opened:
            try:
                source = opened.enter_context(superblock.AsClosed(path)) if state == "left" else path
                file = opened.enter_context(h5py.File(source, "r", **(SWMR if state == "live" else {})))
            except BlockingIOError:
                sleep(PAUSE)
                continue
            except (OSError, RuntimeError) as error:
                if state != _state(path):
                    continue
                raise TrajectoryError(
                    f"{path}: expected a trajectory, came a file that HDF5 cannot open ({_first_line(error)}): "
                    "it is truncated, or not closed and not in SWMR mode"
                ) from error
            yield file, state
            return
    raise TrajectoryError(
        f"{path}: expected a trajectory, came a file that another process has locked for writing: try again"
    )


def _state(path: str) -> str:
    block = superblock.read(path)
    if block is None or not block.swmr:
        return "closed"
    return "left" if time() - os.path.getmtime(path) > STILL else "live"


def _check_path(path: str) -> None:
    if not os.path.exists(path):
        raise TrajectoryError(f"{path}: expected a trajectory, came no file: check the path")
    if os.path.isdir(path):
        raise TrajectoryError(f"{path}: expected a trajectory, came a directory: name a file in it")
    if not os.access(path, os.R_OK):
        raise TrajectoryError(f"{path}: expected a readable file, came one without read permission: change its mode")
    if not os.path.getsize(path):
        raise TrajectoryError(
            f"{path}: expected a trajectory, came an empty file: its run has written no rows yet, or died before it did"
        )
    if not h5py.is_hdf5(path):
        with open(path, "rb") as file:
            start = file.read(8)
        raise TrajectoryError(
            f"{path}: expected an HDF5 file, came {os.path.getsize(path)} bytes that start with {start!r}: "
            "pass the file that a Recorder wrote"
        )


def _check_format(path: str, file: h5py.File) -> None:
    if _text(file.attrs.get("format")) != FORMAT:
        groups, attributes = ", ".join(file) or "none", ", ".join(file.attrs) or "none"
        raise TrajectoryError(
            f"{path}: expected the attribute format={FORMAT!r}, came another HDF5 file (groups: {groups}; "
            f"attributes: {attributes}): pass the file that a Recorder wrote"
        )
    version = _text(file.attrs.get("format_version"))
    major = version.split(".")[0]
    if not major.isdigit():
        raise TrajectoryError(f"{path}: expected a format version such as 1.0, came {version!r}: {_DAMAGED}")
    if int(major) > FORMAT_VERSION[0]:
        raise TrajectoryError(
            f"{path}: expected format version {FORMAT_VERSION[0]}.x, came {version}: upgrade pinnscope to read it"
        )


def _check_extent(path: str) -> None:
    """Refuse a file whose committed rows lie behind its end: HDF5 reads zeros there in SWMR mode."""
    block = superblock.read(path)
    if block is None or block.size >= block.end:
        return
    lost = None
    try:
        with superblock.AsClosed(path) as view, h5py.File(view, "r") as file:
            for group in file.values():
                lost = lost or _lost(group, block.size)
    except Exception as error:  # Whatever HDF5 raises on metadata that is cut off.
        lost = _first_line(error)
    if lost:
        raise TrajectoryError(f"{path}: expected {block.end} bytes, came {block.size} ({lost}): {_DAMAGED}")


def _lost(group: object, size: int) -> str | None:
    """Return the name of a variable some of whose committed rows lie behind the end of the file."""
    if isinstance(group, h5py.Dataset):
        return None
    rows = int(group[COMMITTED][()]) if COMMITTED in group else 0
    for dataset in group.values():
        offset = dataset.id.get_offset() or 0
        last = _last_byte(dataset, rows) if dataset.chunks else offset + dataset.id.get_storage_size()
        if last > size:
            return f"rows of {dataset.name[1:]} are lost"
    return None


def _is_stream(item: object) -> bool:
    return isinstance(item, h5py.Group) and COMMITTED in item


def _last_byte(dataset: h5py.Dataset, rows: int) -> int:
    last = 0

    def visit(chunk) -> None:
        nonlocal last
        if chunk.chunk_offset[0] < rows:
            last = max(last, chunk.byte_offset + chunk.size)

    dataset.id.chunk_iter(visit)
    return last


def _never_written(file: h5py.File, committed: dict[str, int]) -> frozenset[str]:
    return frozenset(
        f"{stream}/{name}"
        for stream, rows in committed.items()
        for name, dataset in file[stream].items()
        if rows and dataset.chunks and dataset.size and not dataset.id.get_storage_size()
    )


def _nodes(raw: xr.DataTree, contents: Contents) -> dict[str, xr.Dataset]:
    root = raw.to_dataset(inherit=False)
    nodes = {"/": root.assign_attrs(root.attrs | contents.status)}
    for name, node in raw.children.items():
        if name != LATE:
            nodes[name] = _stream(name, node.to_dataset(inherit=False), contents)
    for name, variables in contents.late.items():
        if name not in nodes:
            index, columns = late.table(variables)
            nodes[name] = _with_columns(xr.Dataset(coords={"step": index}), name, columns)
    return nodes


def _stream(name: str, dataset: xr.Dataset, contents: Contents) -> xr.Dataset:
    if name not in contents.committed:
        return dataset
    index = next(dim for dim in ("evaluation", "step") if dim in dataset.dims)
    dataset = dataset.drop_vars([COMMITTED, *(v for v in dataset.variables if f"{name}/{v}" in contents.empty)])
    dataset = dataset.isel({index: slice(0, contents.committed[name])})
    variables = contents.late.get(name, {})
    columns = {key: late.align(dataset["step"].values, *entries) for key, entries in variables.items()}
    return _with_columns(dataset, name, columns)


def _with_columns(dataset: xr.Dataset, stream: str, columns: dict) -> xr.Dataset:
    for name, values in columns.items():
        variable = late.describe(stream, name)
        attrs = {"long_name": variable.long_name, "units": variable.units}
        column = xr.Variable("step", values, attrs)
        dataset = dataset.assign_coords(time=column) if name == "time" else dataset.assign({name: column})
    return dataset


def _has(tree: xr.DataTree, name: str) -> bool:
    try:
        return isinstance(tree[name], xr.DataArray)
    except KeyError:
        return False


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
