"""A checkpoint: the state of a training between two steps, with what it belongs to, in a file beside the trajectory."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from dynamics.format import LATE
from solvers.checkpoint_file import CheckpointError, read_file, write_file
from solvers.nested_arrays import pack, unpack

FORMAT, VERSION = "pinnscope-checkpoint", 1
NAME = re.compile(r"\.checkpoint-(\d{1,18})\.npz")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """State of a training at the start of a step, before its measurement.

    Args:
        step: number of updates made.
        run_id: of the trajectory.
        rows: of the trajectory that belong to the steps before, by stream.
        loss: here; None where it was not evaluated, as after an interruption.
        identity: what the training is, from `solvers.identity`.
        streams: what its streams are declared as.
        state: from `solvers.snapshot.take_snapshot`.
    """

    step: int
    run_id: str
    rows: Mapping[str, int]
    loss: float | None
    identity: Mapping[str, Any]
    streams: Mapping[str, Any]
    state: Mapping[str, Any]

    def write(self, path: str) -> None:
        """Write it, whole or not at all.

        Args:
            path: of the file.
        """
        shallow = {field.name: getattr(self, field.name) for field in fields(self)}
        structure, arrays = pack(shallow)
        write_file(path, {"format": FORMAT, "version": VERSION, "content": structure}, arrays)

    @classmethod
    def read(cls, path: str) -> Checkpoint:
        """Read one.

        Args:
            path: of the file.

        Returns:
            The checkpoint.

        Raises:
            CheckpointError: no such file, a damaged one, or none of ours; the message names it.
        """
        structure, arrays = read_file(path)
        try:
            form, version, content = structure["format"], structure["version"], structure["content"]
            if (form, version) != (FORMAT, VERSION):
                raise CheckpointError(f"expected {FORMAT} version {VERSION}, came {form!r:.60} version {version!r:.20}")
            found = cls(**unpack(content, arrays))
            _check_types(found)
        except (CheckpointError, KeyError, TypeError, ValueError, RecursionError, RuntimeError) as error:
            raise CheckpointError(f"{path}: expected a checkpoint of ours, came something else ({error})") from error
        return found


def _check_types(checkpoint: Checkpoint) -> None:
    kinds = {"step": int, "run_id": str, "rows": dict, "identity": dict, "streams": dict, "state": dict}
    for name, kind in kinds.items():
        if not isinstance(value := getattr(checkpoint, name), kind):
            raise CheckpointError(f"{name}: expected {kind.__name__}, came {type(value).__name__}")


def path_at(trajectory: str, step: int) -> str:
    """Return where the checkpoint of a step stands.

    Args:
        trajectory: path.
        step: number of updates made.

    Returns:
        Its path.

    Example:
        >>> path_at("run.h5", 500)
        'run.h5.checkpoint-500.npz'
    """
    return f"{trajectory.rstrip(os.sep)}.checkpoint-{step}.npz"


def paths_beside(trajectory: str) -> list[tuple[int, str]]:
    """Return the checkpoints that stand beside a trajectory, by their names alone.

    Args:
        trajectory: path.

    Returns:
        Step and path, the latest first.
    """
    directory, name = os.path.split(trajectory.rstrip(os.sep))
    entries = os.listdir(directory or ".") if os.path.isdir(directory or ".") else []
    found = []
    for entry in entries:
        match = NAME.fullmatch(entry.removeprefix(name)) if entry.startswith(name) else None
        if match:
            found.append((int(match[1]), os.path.join(directory, entry)))
    return sorted(found, reverse=True)


def latest(trajectory: str, run_id: str | None = None, rows: Mapping[str, int] | None = None) -> Checkpoint:
    """Return the latest checkpoint of a trajectory that can be read; those passed over are named in warnings.

    Args:
        trajectory: path.
        run_id: of the trajectory; None takes a checkpoint of any run.
        rows: that the trajectory has, by stream: a checkpoint behind more is passed over; None takes any.

    Returns:
        The checkpoint.

    Raises:
        CheckpointError: there is none, none that can be read, or only those of another run.
    """
    problems, others = [], []
    for _, path in paths_beside(trajectory):
        try:
            found = Checkpoint.read(path)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        if run_id is not None and found.run_id != run_id:
            others.append(path)
            continue
        if problem := _lacking(trajectory, found, rows):
            problems.append(f"{path}: {problem}")
            continue
        for problem in problems:
            warnings.warn(f"{problem}; going on from {path_at(trajectory, found.step)} instead", stacklevel=2)
        return found
    if problems:
        raise CheckpointError("; ".join(problems) + ": mend or bring back one of them, or run again from the start")
    if others:
        raise CheckpointError(
            f"{others[0]}: expected a checkpoint of the run {run_id} in {trajectory}, came one of another run: "
            "the trajectory was replaced; run again from the start"
        )
    raise CheckpointError(
        f"{trajectory}: expected a checkpoint beside it, {path_at(trajectory, 0).replace('-0.', '-STEP.')}, there is "
        "none: record with checkpoint=60.0, or run again from the start"
    )


def _lacking(trajectory: str, checkpoint: Checkpoint, rows: Mapping[str, int] | None) -> str:
    """Return which rows a trajectory lacks to go on from a checkpoint, "" where none; late ones have others' steps."""
    for name, count in checkpoint.rows.items():
        if rows is not None and name != LATE and rows.get(name, 0) < count:
            return f"expected {count} rows of {name} in {trajectory}, came {rows.get(name, 0)}"
    return ""
