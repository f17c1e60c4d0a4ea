"""A trajectory as CSV: a file for each stream, one column a scalar, and one file that says what the columns are."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence

from dynamics.export.columns import TableColumn, columns, row_blocks
from dynamics.export.exported import Exported, chosen, index_of, new_file, new_folder
from dynamics.trajectory import open_trajectory

COLUMNS = "columns.csv"
HEADER = ("file", "column", "units", "long_name", "dtype")


def export_csv(
    path: str | os.PathLike, folder: str | os.PathLike, *, streams: Sequence[str] | None = None, overwrite: bool = False
) -> Exported:
    """Write the committed rows of a trajectory as CSV: STREAM.csv, and columns.csv with units and meanings.

    A number stands there as the shortest text that reads back as the same float64: "nan" where a row has none. Elements
    of arrays with at most 64 numbers a row are columns named like loss_raw[interior]; larger arrays are left out.

    Args:
        path: the trajectory; a running one is exported up to its committed rows.
        folder: a new one, or an empty one.
        streams: names, None for all; groups of arrays that do not grow are left out.
        overwrite: replace files of these names in a folder that has something in it.

    Returns:
        The files, and the variables that were left out.

    Raises:
        FileExistsError: the folder is not empty.
        ValueError: there is no such stream.
        TrajectoryError: not a trajectory that can be read.

    Cost: about 1 us a number; some thousand rows in memory at a time.

    Example:
        >>> import tempfile
        >>> from dynamics.recorder import Recorder
        >>> folder = tempfile.mkdtemp()
        >>> with Recorder(os.path.join(folder, "run.h5")) as recorder:
        ...     recorder.record("series", step=0, time=0.5, loss=0.1)
        >>> made = export_csv(os.path.join(folder, "run.h5"), os.path.join(folder, "tables"))
        >>> with open(made.files[0]) as file:
        ...     file.read().split()
        ['step,time,loss', '0,0.5,0.1']
    """
    folder, files, left_out, described = os.fspath(folder), [], [], []
    with open_trajectory(path) as tree:
        groups = chosen(tree, streams)
        new_folder(folder, overwrite)
        for name, dataset in groups.items():
            if index_of(dataset) is None or not name.isidentifier():
                left_out.append(name)
                continue
            found, large = columns(dataset)
            left_out += [f"{name}/{variable}" for variable in large]
            files.append(os.path.join(folder, f"{name}.csv"))
            new_file(files[-1], overwrite)
            _write(files[-1], dataset, found)
            described += [_described(f"{name}.csv", column, dataset) for column in found]
    files.append(os.path.join(folder, COLUMNS))
    with open(files[-1], "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([HEADER, *described])
    return Exported(tuple(files), tuple(left_out))


def _write(path: str, dataset, found: list[TableColumn]) -> None:
    temporary = f"{path}.tmp-{os.getpid()}"
    with open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([column.name for column in found])
        for block in row_blocks(dataset, found):
            # Python's floats: csv writes them with repr, which reads back as the same float64.
            writer.writerows(zip(*(values.tolist() for values in block), strict=True))
    os.replace(temporary, path)


def _described(file: str, column: TableColumn, dataset) -> tuple[str, ...]:
    return (file, column.name, column.units, column.long_name, str(dataset[column.variable].dtype))
