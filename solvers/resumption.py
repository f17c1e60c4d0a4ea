"""Going on with a training that ended or was killed: the checkpoint found, compared, and put back."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from math import isclose
from pathlib import Path
from typing import Any

from dynamics.copies.copying import committed
from dynamics.file.opening import TrajectoryError, open_file, text
from dynamics.recorder import Recorder
from dynamics.segments.segment_catalogue import Catalogue
from solvers.cadence import Cadence
from solvers.checkpoint import Checkpoint, latest, path_at, paths_beside
from solvers.checkpoint_file import CheckpointError
from solvers.checkpoints import attach, identity_of
from solvers.identity import OF_THE_MACHINE, differences
from solvers.loop import Loop, Step
from solvers.snapshot import restore_moment, restore_network

ROUNDING = 1e-6
"""Relative difference of the loss that another version or machine may make."""

NAMED = 4
"""Differences that a message names."""


def resume(loop: Loop, trajectory: str | Path, count: int, anyway: bool = False) -> Checkpoint:
    """Put a training to where the latest checkpoint of a trajectory was taken; the trajectory is not touched.

    Args:
        loop: the training, made as it was made then; its network gets the stored parameters.
        trajectory: path.
        count: number of updates in all.
        anyway: also where versions, the number of threads or the rounding of the loss differ: the rest of the run is
            then not to the last bit what it would have been.

    Returns:
        The checkpoint, whose rows the trajectory is to keep; `loop.iterate` begins there.

    Raises:
        CheckpointError: no trajectory, no checkpoint of its run, another training than then, or more updates made than
            asked for; the message names what differs.
    """
    path = str(trajectory).rstrip(os.sep)
    checkpoint = latest(path, *_run_and_rows(path))
    own = path_at(path, checkpoint.step)
    _compare(own, checkpoint.identity, identity_of(loop), anyway)
    if count < checkpoint.step:
        raise CheckpointError(
            f"{own}: expected at least {checkpoint.step} steps, which are made, came steps={count}: it is the number "
            "in all, not of those to come"
        )
    try:
        state = restore_network(loop, checkpoint.state)
        _rehearse(loop, checkpoint, state, own, anyway)
    except (KeyError, TypeError, AttributeError, RuntimeError, IndexError) as error:
        raise CheckpointError(f"{own}: expected the state of this training, came another ({error!r})") from error
    loop.go_on_from(checkpoint, state)
    return checkpoint


def reopener(
    loop: Loop, trajectory: str | Path, count: int, anyway: bool = False, strict: bool = True
) -> Callable[[], Recorder]:
    """Put a training to its checkpoint, and return how to open its file behind the rows of the steps before.

    Args:
        loop: as in `resume`.
        trajectory: path.
        count: number of updates in all.
        anyway: as in `resume`.
        strict: of the recorder.

    Returns:
        A function that opens the file; until then it is not touched.
    """
    path = str(trajectory).rstrip(os.sep)
    before = paths_beside(path)
    rows = resume(loop, path, count, anyway).rows

    def reopen() -> Recorder:
        # Its lock was not held so far: what another process has added since would be cut off.
        if paths_beside(path) != before:
            raise CheckpointError(
                f"{path}: expected the checkpoints of a moment ago, came others: another process has gone on with "
                "this run; resume it again"
            )
        return Recorder.reopen(path, rows, config={"steps": count}, strict=strict)

    return reopen


def resumed_steps(
    loop: Loop, count: int, reopen: Callable[[], Recorder], checkpoint: float | Cadence | None
) -> Iterator[Step]:
    """Yield the steps of a resumed training, whose file is opened and closed here.

    Args:
        loop: at its checkpoint.
        count: number of updates in all.
        reopen: from `reopener`.
        checkpoint: when to take further ones, or None.

    Yields:
        The steps from the checkpoint's on.
    """
    with reopen() as recorder:
        attach(loop, recorder, checkpoint)
        try:
            yield from loop.iterate(count)
        except GeneratorExit:
            # As after a break from a loop around which the caller had opened the file: `end` has said how it stands.
            recorder.close()
            raise


def _run_and_rows(path: str) -> tuple[str, dict[str, int]]:
    """Return which run a trajectory is of, and its committed rows by stream."""
    try:
        if os.path.isdir(path):
            # A run in segments.
            catalogue = Catalogue(path)
            found, rows = str(catalogue.attributes.get("run_id", "")), catalogue.committed
        else:
            with open_file(path) as (file, _):
                found, rows = text(file.attrs.get("run_id", "")), committed(file)
    except TrajectoryError as error:
        raise CheckpointError(f"nothing to resume: {error}") from error
    if not found:
        raise CheckpointError(
            f"{path}: expected a trajectory with the attribute run_id, came one without: it was recorded by an older "
            "version, which left no checkpoints"
        )
    return found, rows


def _compare(path: str, was: Mapping[str, Any], now: Mapping[str, Any], anyway: bool) -> None:
    """Refuse a training that is not the one that the checkpoint was taken of."""
    found = differences(was, now)
    rounding = [line for line in found if line.split(":")[0].split(".")[0] in OF_THE_MACHINE]
    if other := [line for line in found if line not in rounding]:
        _refuse(path, other, "resume with what the run began with, or record into another file")
    if rounding and not anyway:
        _refuse(
            path,
            rounding,
            "the rest of the run would be rounded otherwise; resume as it was, or accept that with anyway=True "
            "(--anyway)",
        )


def _refuse(path: str, lines: list[str], advice: str) -> None:
    more = f"; and {len(lines) - NAMED} more" if len(lines) > NAMED else ""
    raise CheckpointError(
        f"{path}: expected the same training, came another: {'; '.join(lines[:NAMED])}{more}: {advice}"
    )


def _rehearse(loop: Loop, checkpoint: Checkpoint, state: Any, path: str, anyway: bool) -> None:
    """Begin the step to see that streams and loss are those of then: no configuration shows a changed residual."""
    # Evaluated anew, not taken from the checkpoint.
    restore_moment(loop, {**checkpoint.state, "shared": None})
    loss, drawn, streams = loop.rehearse(checkpoint.step, state)
    if lines := differences(checkpoint.streams, streams, "streams"):
        _refuse(path, lines, "resume with the probes that the run began with")
    # A network that draws random numbers had drawn others for an evaluation of the step before.
    unknown = checkpoint.loss is None or (drawn and checkpoint.state["shared"] is not None)
    if unknown or loss == checkpoint.loss:
        return
    same = f"expected the loss {checkpoint.loss!r} at step {checkpoint.step}, came {loss!r}"
    if not isclose(loss, checkpoint.loss, rel_tol=ROUNDING):
        raise CheckpointError(f"{path}: {same}: residual, solution or data differ; resume with those of then")
    if not anyway:
        raise CheckpointError(
            f"{path}: {same}: this machine rounds otherwise; resume on the one of then, or accept a rest that is "
            "not the same to the last bit with anyway=True (--anyway)"
        )
