"""Text files of limited size: their lines, and CSV tables with a header, a step column and cells that may be empty."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dynamics.importers.entries import LARGEST_STEP, MOST_NAMES
from dynamics.trajectory import TrajectoryError

MOST_BYTES = 256 * 1024**2


@dataclass(frozen=True)
class SparseTable:
    """A CSV table of which each row may fill other columns.

    Args:
        names: of the columns.
        rows: line number and cells of each row, text.
        cut: whether the last line was left out since it is incomplete.

    Example:
        >>> SparseTable(["step", "loss"], [(2, ["0", "1.0"])], False).names
        ['step', 'loss']
    """

    names: list[str]
    rows: list[tuple[int, list[str]]]
    cut: bool


def read_text(path: Path) -> str:
    """Return the text of a file.

    Args:
        path: of the file.

    Returns:
        Its text, without a byte order mark.

    Raises:
        TrajectoryError: It is too large, or no UTF-8.
    """
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise TrajectoryError(
            f"{path}: expected a log of at most {MOST_BYTES // 1024**2} MB, came {size // 1024**2} MB: thin it out"
        )
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TrajectoryError(f"{path}: expected a text in UTF-8, came one that cannot be read: {error}") from error


def read_sparse(path: Path) -> SparseTable:
    r"""Read a CSV with a header; nothing is turned into numbers yet.

    Args:
        path: of the file.

    Returns:
        The table. A last line that is shorter than the others and does not end is left out: its writer was killed.

    Raises:
        TrajectoryError: No header, two columns of one name, a row of another length (with its line).

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "metrics.csv"
        >>> _ = path.write_text("step,loss,lr\n0,1.0,\n1,0.5,0.1\n2,0.")
        >>> table = read_sparse(path)
        >>> table.rows, table.cut
        ([(2, ['0', '1.0', '']), (3, ['1', '0.5', '0.1'])], True)
    """
    text = read_text(path)
    try:
        reader = csv.reader(io.StringIO(text, newline=""))
        rows = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise TrajectoryError(f"{path}: expected a CSV, came one that cannot be read: {error}") from error
    (_, header), *rows = rows or [(1, [])]
    names = [name.strip() for name in header]
    twice = sorted({name for name in names if names.count(name) > 1 and name}) if len(names) <= MOST_NAMES else names
    if len(names) < 2 or twice:
        came = f"{', '.join(twice[:3])} twice" if twice and len(names) <= MOST_NAMES else f"{len(names)} columns"
        raise TrajectoryError(
            f"{path}: expected a header with 2 to {MOST_NAMES} columns, each once, came {came}: export it again"
        )
    cut = bool(rows) and not text.endswith(("\n", "\r")) and len(rows[-1][1]) < len(names)
    rows = rows[:-1] if cut else rows
    for line, cells in rows:
        if len(cells) != len(names):
            raise TrajectoryError(
                f"{path}, line {line}: expected {len(names)} cells, came {len(cells)}: complete or remove the row"
            )
    return SparseTable(names, rows, cut)


def numbers(path: Path, table: SparseTable, name: str) -> Iterator[tuple[int, int, float]] | None:
    """Return the numbers of a column that are there.

    Args:
        path: of the file, for errors.
        table: from `read_sparse`.
        name: of the column.

    Returns:
        Place of the row, line and number of each cell that is not empty; None where the first of them is no number.

    Raises:
        TrajectoryError: A cell further down is no number; its line is named.
    """
    place = table.names.index(name)
    filled = [(row, line, cells[place].strip()) for row, (line, cells) in enumerate(table.rows) if cells[place].strip()]
    if filled and not _is_number(filled[0][2]):
        return None
    for _, line, cell in filled:
        if not _is_number(cell):
            raise TrajectoryError(
                f"{path}, line {line}: expected a number in column {name!r}, came {cell[:40]!r}: repair or remove it"
            )
    return iter([(row, line, float(cell)) for row, line, cell in filled])


def step_column(path: Path, table: SparseTable, name: str) -> dict[int, int]:
    """Return the steps of a table.

    Args:
        path: of the file, for errors.
        table: from `read_sparse`.
        name: of the column of steps.

    Returns:
        The step by place of the row; rows without one are not in it.

    Raises:
        TrajectoryError: A step is no whole number from 0 to 2^53; its line is named.
    """
    steps = {}
    found = numbers(path, table, name)
    for row, line, step in found if found is not None else [(0, table.rows[0][0], math.nan)]:
        if not (math.isfinite(step) and 0 <= step <= LARGEST_STEP and step == int(step)):
            raise TrajectoryError(
                f"{path}, line {line}: expected a whole step from 0 to 2^53 in column {name!r}, came {step:g}: "
                "repair or remove the row"
            )
        steps[row] = int(step)
    return steps


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    # Python's own digit groups are no numbers elsewhere.
    return "_" not in cell
