"""Export a trajectory for other programs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from analyses.config import UsageError, choice
from analyses.terminal import say
from dynamics.export.exported import Exported

FORMATS = ("netcdf", "csv", "tensorboard")
SUFFIXES = {".nc": "netcdf", ".nc4": "netcdf", ".cdf": "netcdf"}


def export(
    path: Path,
    output: Path | None = None,
    *,
    form: str | None = None,
    streams: Sequence[str] | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write a trajectory in another format and say what was written.

    Args:
        path: the trajectory.
        output: a file for netCDF, a folder for CSV and TensorBoard; by default RUN.nc, RUN-csv, RUN-tensorboard.
        form: "netcdf", "csv" or "tensorboard"; by default netCDF, as the suffix .nc says too.
        streams: names, None for all.
        overwrite: replace what exists.

    Returns:
        What was written.

    Raises:
        UsageError: an unknown format, a suffix that contradicts it, or a format whose package is missing.
        FileExistsError: the output exists.
        FileNotFoundError: the output's directory does not exist.
        PermissionError: nothing may be written there.
        TrajectoryError: not a trajectory that can be read.
    """
    implied = SUFFIXES.get(output.suffix.lower()) if output else None
    form = form or implied or ("csv" if output and output.suffix.lower() == ".csv" else "netcdf")
    if form not in FORMATS:
        raise UsageError(f"unknown format {form!r}; expected {choice(form, FORMATS)}")
    if output is not None and (implied or form) != form:
        raise UsageError(f"{output}: expected a folder for {form}, came a netCDF file's name: leave out the suffix")
    if output is not None and form == "csv" and output.suffix.lower() == ".csv":
        raise UsageError(f"{output}: expected a folder, since each stream is a file of its own: leave out the suffix")
    output = output or path.with_name(f"{path.stem}.nc" if form == "netcdf" else f"{path.stem}-{form}")
    if output.exists() and path.exists() and output.samefile(path):
        raise UsageError(f"{output}: expected another file than the trajectory itself: choose another name")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"{output.parent} is no directory; expected one for {output.name}: create it first")
    if not os.access(output.parent, os.W_OK | os.X_OK):
        raise PermissionError(f"{output} cannot be written; expected write permission: name another place (-o)")
    made = _exporter(form)(path, output, streams=streams or None, overwrite=overwrite)
    for file in made.files:
        say(f"wrote {file} ({Path(file).stat().st_size / 1e6:.2f} MB)")
    if made.left_out:
        say(f"left out, with no place in {form}: {', '.join(made.left_out)}")
    return made


def _exporter(form: str):
    if form == "netcdf":
        from dynamics.export.netcdf import export_netcdf

        return export_netcdf
    if form == "csv":
        from dynamics.export.table import export_csv

        return export_csv
    from dynamics.export.tensorboard import export_tensorboard

    return _installed(export_tensorboard)


def _installed(exporter):
    def run(*args, **kwargs) -> Exported:
        try:
            return exporter(*args, **kwargs)
        except ModuleNotFoundError as error:
            raise UsageError(str(error)) from error

    return run
