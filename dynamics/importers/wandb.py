"""CSV files from W&B: an exported chart, or a run's history, as a trajectory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import xarray as xr

from dynamics.importers.entries import Entries
from dynamics.importers.imported import Origin, imported
from dynamics.importers.lightning import add_columns
from dynamics.importers.recognition import expect
from dynamics.importers.text_table import SparseTable, numbers, read_sparse, step_column
from dynamics.trajectory import TrajectoryError

KIND = "W&B CSV export"
BOUNDS = ("__MIN", "__MAX")
OWN = frozenset(("_step", "_runtime", "_timestamp", "_wandb", ""))


def read_wandb_log(
    path: str | os.PathLike,
    *,
    run: str | None = None,
    names: Mapping[str, str] | None = None,
    weights: Mapping[str, float] | None = None,
) -> xr.DataTree:
    r"""Read a CSV that W&B exported: of charts (`Step`, `RUN - key`, `RUN - key__MIN`, ...), or a run's history.

    The history is what `wandb.Api().run(...).history()` or `scan_history()` give, saved as CSV: `_step`, `_runtime`,
    `_timestamp` and a column a key. Charts are thinned: where minimum and maximum of a key differ, a row stands for
    several steps, and a note says in how many.

    Args:
        path: of the file.
        run: which run, where a chart shows several.
        names: what columns mean, as in `read_lightning_log`; a chart's are its keys, without the run.
        weights: by term, what the logged losses were multiplied by; not needed where they are unweighted, as jaxpi's.

    Returns:
        As `read_lightning_log`; times where the history has `_runtime`.

    Raises:
        TrajectoryError: Another kind of file, several runs and no `run`, an x axis other than the step, a cell that is
            no number (with its line), nothing logged.
        ValueError: Names, weights or a run that are not in the file.

    Source: files as W&B exports them; there is no published format.

    Cost: 4 us a cell.

    Example:
        >>> import tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "history.csv")
        >>> with open(path, "w") as file:
        ...     _ = file.write("_step,_runtime,ics_loss,res_loss,ics_weight,res_weight\n0,1.5,0.5,2.0,10,1\n")
        >>> series = read_wandb_log(path)["series"]
        >>> series["term"].values.tolist(), series["loss"].values.tolist(), series["time"].values.tolist()
        (['ics', 'res'], [7.0], [1.5])
    """
    path = Path(path)
    expect(path, KIND)
    table, origin = read_sparse(path), Origin(path.name, KIND, "read_wandb_log")
    entries = Entries(path.name)
    if "_step" in table.names:
        if run is not None:
            raise ValueError(f"{path}: expected no run, came {run!r}: the history of one run names none")
        steps = step_column(path, table, "_step")
        chosen = {name: name for name in table.names if name not in OWN and not name.startswith("Unnamed:")}
        times = _times(path, table, origin)
    else:
        chosen, times = _of_run(path, table, run, origin), None
        steps = step_column(path, table, "Step")
        _note_bounds(path, table, chosen, origin)
    add_columns(path, table, steps, chosen, entries, origin, times)
    return imported(entries.ordered(), origin, names, weights)


def _times(path: Path, table: SparseTable, origin: Origin) -> dict[int, float]:
    """Return the run's own clock; the start of the run is its first time stamp less that."""
    found = numbers(path, table, "_runtime") if "_runtime" in table.names else None
    clock = {row: value for row, _, value in found or ()}
    stamps = numbers(path, table, "_timestamp") if "_timestamp" in table.names else None
    row, _, stamp = next(stamps or iter(()), (0, 0, None))
    if stamp is not None and 0 < stamp - clock.get(row, 0.0) < 2**33:
        origin.created = stamp - clock.get(row, 0.0)
    return clock


def _of_run(path: Path, table: SparseTable, run: str | None, origin: Origin) -> dict[str, str]:
    """Return column -> key of the one run that is asked for."""
    if table.names[0] != "Step":
        raise TrajectoryError(
            f"{path}: expected the x axis 'Step' or a column '_step', came {table.names[0]!r}: choose Step as the "
            "chart's x axis and export again"
        )
    series = [name for name in table.names[1:] if " - " in name and not name.endswith(BOUNDS)]
    runs = list(dict.fromkeys(name.rpartition(" - ")[0] for name in series))
    if run is not None and run not in runs:
        raise ValueError(f"{path}: expected one of the runs {', '.join(runs)[:200]}, came {run!r}: name one of them")
    if run is None and len(runs) != 1:
        raise TrajectoryError(
            f"{path}: expected the curves of one run, came {len(runs)} runs ({', '.join(runs)[:200]}): pass run="
        )
    run = runs[0] if run is None else run
    origin.config["run"] = run
    keys = {name: name.rpartition(" - ")[2] for name in series if name.rpartition(" - ")[0] == run}
    return {name: key for name, key in keys.items() if key not in OWN}


def _note_bounds(path: Path, table: SparseTable, chosen: Mapping[str, str], origin: Origin) -> None:
    for name, key in chosen.items():
        if not all(name + end in table.names for end in BOUNDS):
            continue
        low, high = ({row: value for row, _, value in numbers(path, table, name + end) or ()} for end in BOUNDS)
        apart = sum(1 for row, value in low.items() if row in high and high[row] > value)
        if apart:
            origin.notes.append(f"{key}: {apart} of {len(low)} rows stand for several steps: W&B thinned the chart")
