"""The reader of trajectories: finished, being written, or left behind by a run that was killed."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass

import h5py
import xarray as xr

from dynamics.file import late
from dynamics.file.file_tree import datasets
from dynamics.file.opening import DAMAGED, TrajectoryError, check_format, first_line, open_file
from dynamics.file.trust import ensure_sound
from dynamics.format import COMMITTED, LATE, STATUS_DTYPES
from dynamics.segments import stacked


@dataclass(frozen=True)
class Contents:
    """What must be known of a file before its arrays are read.

    Args:
        committed: number of complete rows by stream.
        empty: paths of variables that were declared and never written.
        late: `(steps, values)` of late scalars by stream and variable.
        status: `status` and `stop_reason` as str.
    """

    committed: dict[str, int]
    empty: frozenset[str]
    late: dict[str, dict[str, tuple]]
    status: dict[str, str]


def open_trajectory(path: str | os.PathLike, check: bool | None = None) -> xr.DataTree:
    """Open a trajectory lazily: only indices and labels are read until values are asked for.

    Rows that are not committed are hidden, late scalars stand in their streams, and variables that were declared
    but never recorded are left out. What is seen of a running file is its state at the call: open it again for more.

    A file that nobody has vouched for is looked at first by a child process with limits (`dynamics.confined`): links,
    types, filters, sizes and counters, not its rows. What is read lazily afterwards trusts the file: of one from
    elsewhere, a compressed block may still unfold to more than it says, and values may be anything.

    Args:
        path: the file, or the directory of a run in segments.
        check: look first, or not; None: where the file was not closed as complete, unless its writer is alive and
            holds its lock, or this process has looked at it already and it has not changed.

    Returns:
        A tree with one group per stream, dimensions named; `status` and `stop_reason` are among its attrs as str.
        Close it, or use it as a context manager.

    Raises:
        TrajectoryError: the file is missing, truncated, of a newer major version, no trajectory, or not sound.

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
    if os.path.isdir(path):
        return stacked.open_segments(path, check)
    ensure_sound(path, check)
    with ExitStack() as opened:
        file, _ = opened.enter_context(open_file(path))
        # The counters are read before the datasets are looked at: rows counted here are in the file by then.
        contents = _contents(path, file)
        if check is None and contents.status["status"] != "complete":
            ensure_sound(path, complete=False)
        try:
            tree = xr.DataTree.from_dict(_nodes(datasets(file, contents.committed, contents.empty), contents))
        except Exception as error:  # On damaged metadata the libraries below raise anything, AttributeError included.
            raise TrajectoryError(
                f"{path}: expected a readable trajectory, came {first_line(error)}: {DAMAGED}"
            ) from error
        tree.set_close(opened.pop_all().close)
    return tree


def _contents(path: str, file: h5py.File) -> Contents:
    try:
        check_format(path, file)
        streams = [name for name, group in file.items() if name != LATE and _is_stream(group)]
        committed = {name: int(file[name][COMMITTED][()]) for name in streams}
        status = {name: file[name][()].decode(errors="replace") for name in STATUS_DTYPES}
        return Contents(committed, _never_written(file, committed), late.read(file), status)
    except (OSError, RuntimeError, KeyError, AttributeError, TypeError) as error:
        raise TrajectoryError(
            f"{path}: expected status and committed rows, came {first_line(error)}: {DAMAGED}"
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


def _is_stream(item: object) -> bool:
    return isinstance(item, h5py.Group) and COMMITTED in item


def _never_written(file: h5py.File, committed: dict[str, int]) -> frozenset[str]:
    return frozenset(
        f"{stream}/{name}"
        for stream, rows in committed.items()
        for name, dataset in file[stream].items()
        if rows and dataset.chunks and dataset.size and not dataset.id.get_storage_size()
    )


def _nodes(nodes: dict[str, xr.Dataset], contents: Contents) -> dict[str, xr.Dataset]:
    root = nodes["/"]
    nodes = {**nodes, "/": root.assign_attrs(root.attrs | contents.status)}
    for name, variables in contents.late.items():
        if name in nodes:
            step = nodes[name]["step"].values
            columns = {key: late.align(step, *entries) for key, entries in variables.items()}
            nodes[name] = _with_columns(nodes[name], name, columns)
        else:
            index, columns = late.table(variables)
            nodes[name] = _with_columns(xr.Dataset(coords={"step": index}), name, columns)
    return nodes


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
