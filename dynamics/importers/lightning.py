"""The CSV log of Lightning (`CSVLogger`, `metrics.csv`), which PINA writes too, as a trajectory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import xarray as xr

from dynamics.importers.entries import Entries
from dynamics.importers.imported import Origin, imported
from dynamics.importers.recognition import expect
from dynamics.importers.text_table import SparseTable, numbers, read_sparse, step_column
from dynamics.trajectory import TrajectoryError

KIND = "Lightning metrics.csv"


def read_lightning_log(
    path: str | os.PathLike,
    *,
    names: Mapping[str, str] | None = None,
    weights: Mapping[str, float] | None = None,
) -> xr.DataTree:
    r"""Read `metrics.csv`, as Lightning's CSVLogger writes it.

    A row holds what was logged together, so a step has several, each with other cells: they are joined. A cell that is
    logged again at its step, or behind it (a run that was restarted), counts as logged last.

    Args:
        path: of the file.
        names: what columns mean, where the rules do not find it (`dynamics.importers.quantities.meanings`): name in the
            log -> "loss", "rel_l2", "loss_raw/interior", "loss_weight/interior", or "" to leave it out.
        weights: by term, what the logged losses of the terms were multiplied by. Not needed where they are unweighted,
            as PINA's are.

    Returns:
        `/series` with `loss`, `learning_rate`, `rel_l2`, `loss_raw`, `loss_weight` as far as they were logged, and all
        other columns under their own names; a step that lacks a value is NaN there. Weights that are not logged are
        found where constant ones explain the loss. Attributes of the root: `source`, `origin`, `importer`, `config`,
        `notes`, and `missing`, what is missing for which analyzer.

    Raises:
        TrajectoryError: Another kind of file, a cell that is no number (with its line), nothing logged.
        ValueError: Names or weights that do not fit the log.

    Source: Lightning 2.6, `lightning.fabric.loggers.csv_logs`.

    Cost: 4 us a cell.

    Example:
        >>> import tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "metrics.csv")
        >>> with open(path, "w") as file:
        ...     _ = file.write("epoch,lr-Adam,step,train_loss\n,0.1,0,\n0,,0,2.0\n,0.1,1,\n0,,1,1.0\n")
        >>> series = read_lightning_log(path)["series"]
        >>> series["loss"].values.tolist(), series["learning_rate"].values.tolist()
        ([2.0, 1.0], [0.1, 0.1])
    """
    path = Path(path)
    expect(path, KIND)
    table = read_sparse(path)
    origin = Origin(path.name, KIND, "read_lightning_log")
    steps = step_column(path, table, "step")
    entries = Entries(path.name)
    add_columns(path, table, steps, [name for name in table.names if name and name != "step"], entries, origin)
    return imported(entries.ordered(), origin, names, weights)


def add_columns(
    path: Path,
    table: SparseTable,
    steps: Mapping[int, int],
    chosen: list[str] | dict[str, str],
    entries: Entries,
    origin: Origin,
    times: Mapping[int, float] | None = None,
) -> None:
    """Add the cells of a table to a log, row by row.

    Args:
        path: of the file, for errors.
        table: the cells.
        steps: step by place of the row; others are left out.
        chosen: columns, or column -> the name to give it.
        entries: added to.
        origin: notes are added, on columns of text and on rows that are left out.
        times: s, by place of the row.

    Raises:
        TrajectoryError: A cell that is no number, or no row has a step.
    """
    if table.cut:
        origin.notes.append("the last line is cut off and was left out")
    if table.rows and not steps:
        raise TrajectoryError(f"{path}: expected steps in the column of steps, came none: export them too")
    if len(steps) < len(table.rows):
        origin.notes.append(f"{len(table.rows) - len(steps)} rows without a step were left out")
    cells, text = [], []
    for place, name in enumerate(chosen):
        found = numbers(path, table, name)
        if found is None:
            text.append(name)
            continue
        cells += [(row, place, value) for row, _, value in found if row in steps]
    if text:
        origin.notes.append(f"{', '.join(sorted(text)[:8])}: no numbers, left out")
    labels = list(chosen.values()) if isinstance(chosen, dict) else list(chosen)
    for row, place, value in sorted(cells, key=lambda cell: cell[0]):
        entries.add(labels[place], steps[row], value, times.get(row, float("nan")) if times else float("nan"))
