"""A trajectory as TensorBoard event files, for those who look at their runs there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

import numpy as np

from dynamics.export.columns import columns, row_blocks
from dynamics.export.exported import Exported, chosen, index_of, new_folder
from dynamics.file.opening import text
from dynamics.trajectory import open_trajectory

SUFFIX = ".pinnscope"


def export_tensorboard(
    path: str | os.PathLike, folder: str | os.PathLike, *, streams: Sequence[str] | None = None, overwrite: bool = False
) -> Exported:
    """Write the committed scalars of a trajectory as TensorBoard event files.

    Tags are "series/loss" and "series/loss_raw/interior"; the wall time of an event is the start of the run plus the
    row's time. TensorBoard keeps 32 bits of a value. Rows without a value have no event; arrays with more than 64
    numbers a row are left out.

    Args:
        path: the trajectory; a running one is exported up to its committed rows.
        folder: a new one, or an empty one, to be given to `tensorboard --logdir`.
        streams: names, None for all.
        overwrite: write into a folder that has something in it, in place of what an export wrote there.

    Returns:
        The files, and the variables that were left out.

    Raises:
        ModuleNotFoundError: the package tensorboardX is not installed.
        FileExistsError: the folder is not empty.
        ValueError: there is no such stream.
        TrajectoryError: not a trajectory that can be read.

    Cost: about 50 us a number.
    """
    try:
        from tensorboardX import SummaryWriter
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "expected the package tensorboardX, which writes event files, came none: "
            "pip install 'pinnscope[tensorboard]'"
        ) from error
    folder, left_out = os.fspath(folder), []
    with open_trajectory(path) as tree:
        groups, begun = chosen(tree, streams), _begun(tree.attrs.get("created"))
        new_folder(folder, overwrite)
        for name in os.listdir(folder):
            if name.endswith(SUFFIX) and "tfevents" in name:
                os.remove(os.path.join(folder, name))
        with SummaryWriter(folder, filename_suffix=SUFFIX, write_to_disk=True) as writer:
            for name, dataset in groups.items():
                left_out += _stream(writer, name, dataset, begun)
    files = sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(SUFFIX))
    return Exported(tuple(files), tuple(left_out))


def _stream(writer, name: str, dataset, begun: float) -> list[str]:
    index = index_of(dataset)
    if index is None:
        return [name]
    found, large = columns(dataset)
    place = {column.name: number for number, column in enumerate(found)}
    shown = [(number, column) for number, column in enumerate(found) if column.name not in (index, "step", "time")]
    for block in row_blocks(dataset, found):
        steps, times = block[place[index]].tolist(), _times(block, place, begun)
        for number, column in shown:
            tag = "/".join((name, column.variable, *column.labels))
            values = np.asarray(block[number], np.float64)
            for row in np.flatnonzero(~np.isnan(values)).tolist():
                writer.add_scalar(tag, float(values[row]), steps[row], walltime=times[row])
    return [f"{name}/{variable}" for variable in large]


def _times(block: list[np.ndarray], place: dict[str, int], begun: float) -> list[float]:
    if "time" not in place:
        return [begun] * len(block[0])
    times = np.nan_to_num(block[place["time"]], nan=0.0, posinf=0.0, neginf=0.0)
    return (begun + times).tolist()


def _begun(created: object) -> float:
    """Return the start of a run in seconds since 1970, 0 where the file does not tell."""
    with suppress(ValueError, OverflowError):
        return datetime.fromisoformat(text(created)).timestamp()
    return 0.0
