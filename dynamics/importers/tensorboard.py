"""The scalars in TensorBoard event files, as a trajectory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import xarray as xr

from dynamics.importers.entries import LARGEST_STEP, Entries
from dynamics.importers.event_messages import read_event
from dynamics.importers.event_records import Reading, event_records
from dynamics.importers.imported import Origin, imported
from dynamics.importers.recognition import expect, kind_of
from dynamics.trajectory import TrajectoryError

KIND = "TensorBoard event file"
MOST_FILES = 1000
MOST_BYTES = 4 * 1024**3


def read_tensorboard_log(
    path: str | os.PathLike,
    *,
    names: Mapping[str, str] | None = None,
    weights: Mapping[str, float] | None = None,
) -> xr.DataTree:
    r"""Read the scalars of an event file, or of a folder of them.

    The files of a folder are one run, taken in the order of their names, which is that of time. Of its folders those
    that `add_scalars` made are read too, as `TAG/KEY`; other folders are other runs. Where a tag's steps go back, or a
    file says so (`purge_step`), the run was restarted, and what was logged from there on before is void.

    Nothing is needed but this package: the records are read here. A last record that is cut off is the end of a run
    that was killed; behind damage nothing is read; records above 256 KiB hold no scalars. Notes tell.

    Args:
        path: of the file or folder.
        names: what tags mean, as in `read_lightning_log`.
        weights: by term, what the logged losses of the terms were multiplied by; not needed where they are unweighted.

    Returns:
        As `read_lightning_log`; `time` counts from the first event. Values carry the 24 bits that TensorBoard keeps,
        unless they were written in double precision.

    Raises:
        TrajectoryError: Another kind of file, several runs in a folder, files of more than 4 GB, no scalars.
        ValueError: Names or weights that do not fit the log.

    Source: the TFRecord framing and the protocol buffers of TensorFlow, as TensorBoard reads them.

    Cost: 25 us a scalar.

    Example:
        >>> import struct, tempfile
        >>> from dynamics.importers.event_records import masked_crc32c
        >>> event = b"\x10\x07*\r\n\x0b\n\x04loss\x15" + struct.pack("<f", 0.5)
        >>> path = os.path.join(tempfile.mkdtemp(), "events.out.tfevents.1")
        >>> with open(path, "wb") as file:
        ...     for part in (struct.pack("<Q", len(event)), event):
        ...         _ = file.write(part + struct.pack("<I", masked_crc32c(part)))
        >>> series = read_tensorboard_log(path)["series"]
        >>> series["step"].values.tolist(), series["loss"].values.tolist()
        ([7], [0.5])
    """
    path = Path(path)
    expect(path, KIND)
    origin = Origin(path.name or path.resolve().name, KIND, "read_tensorboard_log")
    entries = Entries(str(path))
    files = _files(path)
    size = sum(file.stat().st_size for file in files)
    if size > MOST_BYTES or len(files) > MOST_FILES:
        raise TrajectoryError(
            f"{path}: expected at most {MOST_FILES} files of 4 GB, came {len(files)} of {size / 1024**3:.1f} GB: "
            "pass one of the files"
        )
    start: list[float] = []
    for file in files:
        _read(file, entries, origin, start, "")
    for folder in sorted(entry for entry in path.iterdir() if entry.is_dir()) if path.is_dir() else ():
        for file in _events_in(folder)[: MOST_FILES - len(files)]:
            if kind_of(file) == KIND:
                _read(file, entries, origin, start, folder.name)
    if start:
        origin.created = min(start) if 0 < min(start) < 2**33 else None
    if not len(entries):
        raise TrajectoryError(f"{path}: expected scalars, came none: {'; '.join(origin.notes) or 'log some'}")
    origin.config["files"] = [file.name for file in files]
    return imported(entries.ordered(), origin, names, weights)


def _files(path: Path) -> list[Path]:
    """Return the event files of one run."""
    if not path.is_dir():
        return [path]
    if files := _events_in(path):
        return files
    runs = [folder for folder in sorted(path.iterdir()) if folder.is_dir() and _events_in(folder)]
    if len(runs) != 1:
        raise TrajectoryError(
            f"{path}: expected the event files of one run, came {len(runs)} runs "
            f"({', '.join(run.name for run in runs)[:200]}): pass one of the folders"
        )
    return _events_in(runs[0])


def _events_in(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if "tfevents" in entry.name and entry.is_file())


def _read(file: Path, entries: Entries, origin: Origin, start: list[float], folder: str) -> None:
    """Add the scalars of a file; of a folder below, only those that it is named after."""
    reading, broken, beyond = Reading(), 0, 0
    for data in event_records(file, reading):
        try:
            event = read_event(data)
        except ValueError:
            broken += 1
            continue
        if not start:
            start.append(event.wall_time)
        if event.restart and event.step > 0 and not folder:
            entries.restart(event.step)
        for tag, value in event.scalars:
            name = _name(tag, folder)
            if not 0 <= event.step <= LARGEST_STEP:
                beyond += 1
            elif name:
                entries.add(name, event.step, value, event.wall_time - start[0])
    label = f"{folder}/{file.name}" if folder else file.name
    if reading.end:
        origin.notes.append(f"{label}: {reading.end}")
    for count, what in (
        (broken, "records that are no events were left out"),
        (beyond, "values at steps below 0 or above 2^53 were left out"),
        (reading.large, "records above 256 KiB (images, graphs) were passed over"),
    ):
        if count:
            origin.notes.append(f"{label}: {count} {what}")


def _name(tag: str, folder: str) -> str:
    """Return the tag, TAG/KEY in a folder that add_scalars made for KEY, "" in any other folder."""
    if not folder:
        return tag
    stem = tag.replace("/", "_") + "_"
    return f"{tag}/{folder[len(stem) :]}" if folder.startswith(stem) and len(folder) > len(stem) else ""
