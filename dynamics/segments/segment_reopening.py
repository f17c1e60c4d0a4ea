"""Going on with a segmented trajectory: the segments after the rows that count are removed, others follow."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from dynamics.file.claim import take
from dynamics.file.reopened import Reopened, attributes_again
from dynamics.format import LATE
from dynamics.segments.segment_catalogue import Catalogue
from dynamics.segments.segment_directory import remove_after
from dynamics.segments.segments import Segments


def reopen(path: str, rows: Mapping[str, int], config: Mapping[str, object] | None = None) -> Reopened:
    """Open a segmented trajectory for writing behind its first rows, which some segment ends with.

    Args:
        path: the directory; nobody writes it any more.
        rows: rows to keep by stream; 0 of those not named.
        config: entries of the recorded configuration that are others now.

    Returns:
        The directory, its streams, and where they end.

    Raises:
        TrajectoryError: a segment is missing or damaged.
        ValueError: no segment ends with these rows.
        PermissionError: the directory is protected against writing.
        LockedError: another process writes the directory.
    """
    path = path.rstrip(os.sep) or path
    if not os.access(path, os.W_OK | os.X_OK):
        raise PermissionError(f"{path} cannot be written; expected write permission to go on with it: change its mode")
    lock = take(path)
    try:
        last = _boundary(path, rows)
        remove_after(path, last)
        catalogue = Catalogue(path)
        streams = {name: stream.rows(written=True) for name, stream in catalogue.streams.items()}
        seconds = max((_seconds(catalogue, name) for name in streams), default=0.0)
        origin = {name: str(catalogue.attributes.get(name, "")) for name in ("created", "run_id")}
        attributes = catalogue.attributes | attributes_again(catalogue.attributes, rows, config)
        file = Segments.again(path, last, catalogue.committed | {LATE: 0}, attributes, lock)
        return Reopened(file, streams, seconds, origin)
    except BaseException:
        lock.release()
        raise


def _boundary(path: str, rows: Mapping[str, int]) -> int:
    """Return the number of the first segment that ends with these rows of every stream."""
    catalogue = Catalogue(path)
    wanted = {name: count for name, count in rows.items() if count and name != LATE}
    ends = catalogue.ends
    for number, counts in enumerate(ends, start=1):
        if {name: count for name, count in counts.items() if count} == wanted:
            return number
    for name, count in wanted.items():
        there = ends[-1].get(name, 0)
        if there < count:
            raise ValueError(
                f"{path}: expected {count} rows of {name} to keep, came {there}: ask for no more than there are"
            )
    name = next(name for name in {**wanted, **ends[-1]} if wanted.get(name, 0) < ends[-1].get(name, 0))
    there = sorted({counts.get(name, 0) for counts in ends})
    some = ", ".join(map(str, there[:8])) + " ..." * (len(there) > 8)
    raise ValueError(
        f"{path}: expected rows that a segment ends with ({some} of {name}), came {wanted.get(name, 0)} of {name}: "
        "name rows that sync() has returned, or join the segments into a file, which can be cut anywhere "
        f"(pinnscope recover {path} -o run.h5)"
    )


def _seconds(catalogue: Catalogue, name: str) -> float:
    stream = catalogue.streams[name]
    last = stream.variables["time"].read(np.arange(stream.count)[-1:])
    return float(last[0]) if len(last) and np.isfinite(last[0]) else 0.0
