"""Makes samples of the format version that the code on PYTHONPATH writes: every group it knows, late scalars, points.

Run it with the code of that version: git archive COMMIT | tar -x -C OLD; PYTHONPATH=OLD python data/versions/make.py.
Two files, compressed since their chunks are mostly empty: one as it was left without being closed, one closed.
"""

import gzip
import os
import sys
import tempfile
import time
import zlib

import numpy as np

STEPS, LATE = 5, 2
SIZES = {"term": 2, "layer": 2, "point": 3, "neuron": 2, "axis": 2}
LABELS = {"term": ["interior", "boundary"], "layer": ["0.weight", "2.weight"]}


def value(stream, name, step, shape=()):
    """Return what a sample holds: eighths that depend on the names, exact in float32 too."""
    start = zlib.crc32(f"{stream}/{name}".encode()) % 97 + step
    return (start + np.arange(int(np.prod(shape))).reshape(shape)) / 8


def shape_of(dims):
    """Return the sizes of dimensions in the samples."""
    return tuple(SIZES.get(dim, 2) for dim in dims)


def write(path):
    """Write a sample and return its bytes before it was closed; its late scalars are in `/late` then."""
    from dynamics.format import INDEX, KNOWN, Stream
    from dynamics.recorder import Recorder

    streams = [
        Stream(name, coords={d: LABELS.get(d, SIZES.get(d, 2)) for v in variables.values() for d in v.dims})
        for name, variables in KNOWN.items()
    ]
    config = {"seed": 3, "dtype": "float32", "device": "cpu", "problem": {"name": "sample"}}
    with Recorder(path, config=config, streams=streams, commit_every=0.01) as recorder:
        interior = (("interior_point", "axis"), value("points", "interior", 0, (3, 2)))
        recorder.store("points", coords={"axis": ["x", "t"]}, interior=interior)
        for step in range(STEPS):
            for name, variables in KNOWN.items():
                skipped = ("step",) if name in INDEX else ()
                row = {
                    key: value(name, key, step, shape_of(variable.dims))
                    if variable.dims
                    else float(value(name, key, step))
                    for key, variable in variables.items()
                    if key not in skipped
                }
                if name == "series" and step >= LATE:
                    row["my_metric"] = float(value("series", "my_metric", step))
                recorder.record(name, step, time=step / 4, **row)
            if step >= LATE:
                recorder.record("late_stream", step, time=step / 4, a=float(value("late_stream", "a", step)))
            time.sleep(0.02)
        recorder.record("series", STEPS, time=9.0, loss=0.0)
        recorder.end("interrupted", "a sample")
        with open(path, "rb") as file:
            return file.read()


def keep(content, path):
    """Write compressed bytes, the same for the same content."""
    with open(path, "wb") as file:
        file.write(gzip.compress(content, mtime=0))


def main(folder):
    """Write both samples into a folder."""
    from dynamics.format import format_version

    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, "run.h5")
        keep(write(path), os.path.join(folder, f"left-{format_version()}.h5.gz"))
        with open(path, "rb") as file:
            keep(file.read(), os.path.join(folder, f"closed-{format_version()}.h5.gz"))


if __name__ == "__main__":
    main(os.path.dirname(os.path.abspath(__file__)) if len(sys.argv) < 2 else sys.argv[1])
