"""Recovery of a trajectory that was left unclosed: a clean copy, verified, takes its place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from time import sleep, time

import h5py

from dynamics.confined import confined
from dynamics.confined.extent import on_disk
from dynamics.copies.replacement import Replacement
from dynamics.copies.salvage import copy_readable as copy_readable
from dynamics.file import superblock
from dynamics.file.lock import LockedError, holder, lock_path
from dynamics.file.opening import STILL, TrajectoryError
from dynamics.file.trust import ensure_sound
from dynamics.format import STATUS, STOP_REASON
from dynamics.segments.joining import join
from dynamics.segments.segment_catalogue import Catalogue
from dynamics.segments.segment_directory import segment_numbers, segment_path


@dataclass(frozen=True)
class Recovery:
    """What came of a recovery.

    Args:
        path: of the recovered file.
        rows: that it has, by stream.
        lost: one line for each thing that could not be read.
        status: of the run now.
        reason: why the run stopped.
        needed: whether there was anything to recover; nothing was written where not.
    """

    path: str
    rows: dict[str, int]
    lost: tuple[str, ...]
    status: str
    reason: str
    needed: bool = True


def recover(
    path: str | os.PathLike,
    output: str | os.PathLike | None = None,
    *,
    overwrite: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Recovery:
    """Turn a file whose writer died into a closed one: committed rows only, late scalars in their columns.

    A copy is made beside the file, compared with it bit for bit, and takes its place in one step; until then the file
    is not touched, and whatever ends this process leaves it as it was. All reading is done in a child process with
    limits on memory and time.

    Args:
        path: the trajectory; the segments of a directory are joined into `output`.
        output: a new file for the result; None replaces the trajectory. Needed where committed rows cannot be read:
            then it takes what can.
        overwrite: replace an existing output.
        progress: told the share of the work that is done.

    Returns:
        What was kept and lost.

    Raises:
        TrajectoryError: no trajectory, or committed rows cannot be read and there is no `output`.
        LockedError: its writer lives, or may live.
        FileExistsError: the output exists.
        OSError: the result cannot be written; nothing has changed then.

    Example:
        >>> import tempfile
        >>> from dynamics.recorder import Recorder
        >>> path = os.path.join(tempfile.mkdtemp(), "run.h5")
        >>> with Recorder(path) as recorder:
        ...     recorder.record("series", step=0, loss=1.0)
        >>> recover(path).needed
        False
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        return _joined(path, output, overwrite, progress)
    check_path(path)
    check_writer(path)
    with Replacement(path, output, "recovering", overwrite=overwrite) as replacement:
        found = _in_child(path, replacement, progress)
        lost = tuple(found["lost"])
        if lost and output is None:
            raise TrajectoryError(
                f"{path}: expected every committed row, came damage ({'; '.join(lost)}): the file is left as it is; "
                f"pinnscope recover {path} -o NEW.h5 keeps what can be read"
            )
        if found["needed"]:
            replacement.commit()
    place = replacement.place if output is not None else path
    return Recovery(place, found["rows"], lost, found["status"], found["reason"], found["needed"])


def _joined(path: str, output: str | os.PathLike | None, overwrite: bool, progress: Callable | None) -> Recovery:
    """Join the segments of a directory; each is whole or was never there."""
    if output is None:
        raise TrajectoryError(f"{path}: expected an output for the segments of a directory, came none: name one (-o)")
    _check_lock(path)
    for number in segment_numbers(path):
        ensure_sound(segment_path(path, number), True)
    found = Catalogue(path).status
    status, reason = found[STATUS], found[STOP_REASON]
    if status == "running":
        dead = holder(path)
        status, reason = "interrupted", f"recovered: {dead or 'its writer'} ended without closing it"
    output, aside = os.fspath(output), f"{os.fspath(output)}.joined-{os.getpid()}"
    if os.path.lexists(output) and not overwrite:
        raise FileExistsError(f"{output} exists; expected a new file: choose another name or pass --overwrite")
    rows = join(path, aside, status=(status, reason), progress=progress)
    os.replace(aside, output)
    return Recovery(output, rows, (), status, reason)


def _in_child(path: str, replacement: Replacement, progress: Callable[[float], None] | None) -> dict:
    size, free = on_disk(path), shutil.disk_usage(os.path.dirname(replacement.place)).free
    if free < size:
        raise OSError(
            f"{path}: expected room for a copy of {size / 1e6:.0f} MB, came {free / 1e6:.0f} MB: free space, or name "
            "an output on another disk"
        )
    outcome = confined.run("recover", path, arguments=[replacement.temporary], progress=progress)
    if outcome.death:
        raise TrajectoryError(outcome.death)
    if "error" in outcome.value:
        raise TrajectoryError(outcome.value["error"])
    return outcome.value


def check_path(path: str) -> None:
    """Refuse what is no HDF5 file.

    Args:
        path: any.

    Raises:
        TrajectoryError: no file, an empty one, or no HDF5.
    """
    if not os.path.isfile(path):
        came = "no file: check the path" if not os.path.lexists(path) else "none that is a file: name one"
        raise TrajectoryError(f"{path}: expected a trajectory, came {came}")
    if not os.path.getsize(path):
        raise TrajectoryError(f"{path}: expected a trajectory, came an empty file: its run died before it wrote rows")
    if not h5py.is_hdf5(path):
        raise TrajectoryError(f"{path}: expected an HDF5 file, came another: pass the file that a Recorder wrote")


def check_writer(path: str) -> None:
    """Refuse a file that is being written, or may be.

    A file without a lock counts as being written until it was left alone for a while; this waits for that.

    Args:
        path: the trajectory.

    Raises:
        LockedError: its writer lives, or may live.
    """
    _check_lock(path)
    block = superblock.read(path)
    if holder(path) is not None or block is None or not block.swmr:
        return
    before = os.path.getmtime(path)
    sleep(min(STILL, max(0.0, before + STILL - time())))
    if os.path.getmtime(path) != before:
        raise LockedError(f"{path} is being written by a process that holds no lock: wait for it, or end it")


def _check_lock(path: str) -> None:
    found = holder(path)
    if found is not None and found.alive is not False:
        doubt = f"; whether that lives cannot be told from here: if not, remove {lock_path(path)}"
        raise LockedError(f"{path} is being written by {found}: wait for it, or end it{'' if found.alive else doubt}")
