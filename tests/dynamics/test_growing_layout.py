"""A layout that grows while somebody looks on: late scalars, seen by a reader that polls."""

import subprocess
import sys
from itertools import pairwise

import numpy as np

from dynamics import open_trajectory, validate

WRITER = """
import sys, time
from dynamics import Recorder
with Recorder(sys.argv[1], commit_every=0.0) as recorder:
    for step in range(240):
        names = [f"appeared_{start}" for start in range(20, step, 40)]
        recorder.record("series", step, loss=1.0 / (step + 1), **{name: float(step) for name in names})
        if step >= 100:
            recorder.record("appeared", step, value=2.0 * step)
        if step == 2:
            print("ready", flush=True)
        time.sleep(0.005)
"""


def look(path):
    """Check all that is seen; return the number of rows and the variables."""
    with open_trajectory(path) as tree:
        series = tree["series"].to_dataset().load()
        step = series["step"].values
        np.testing.assert_array_equal(step, np.arange(len(step)))
        np.testing.assert_array_equal(series["loss"], 1.0 / (step + 1))
        for name in series.data_vars:
            if name.startswith("appeared_"):
                start = int(name.removeprefix("appeared_"))
                np.testing.assert_array_equal(series[name], np.where(step > start, step, np.nan))
        if "appeared" in tree.children:
            rows = tree["appeared"].to_dataset().load()
            np.testing.assert_array_equal(rows["value"], 2.0 * rows["step"])
            np.testing.assert_array_equal(rows["step"], 100 + np.arange(len(rows["step"])))
        return len(step), set(series.data_vars)


def test_a_reader_that_polls_sees_late_scalars_appear(tmp_path):
    path, seen = tmp_path / "run.h5", []
    process = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    while process.poll() is None:
        seen.append(look(path))
    process.communicate()
    assert process.returncode == 0
    seen.append(look(path))
    rows, variables = zip(*seen, strict=True)
    assert list(rows) == sorted(rows)
    assert all(earlier <= later for earlier, later in pairwise(variables))
    assert len(set(map(len, variables))) >= 3
    assert rows[-1] == 240
    assert len(variables[-1]) == 7
    assert validate(path) == []
