"""Files that a dead writer left: read as they are, and when damaged refused in finite time."""

import os
import shutil
import signal

import numpy as np
import pytest

from dynamics import Recorder, TrajectoryError, open_trajectory, validate

YEAR_AGO = 365 * 86400


@pytest.fixture
def left(tmp_path):
    """A copy of an unclosed file with 50 committed rows, last written to a year ago."""
    recorder = Recorder(tmp_path / "live.h5", commit_every=0.0)
    for step in range(50):
        recorder.record("series", step, loss=1.0 / (step + 1), late=float(step)) if step > 20 else recorder.record(
            "series", step, loss=1.0 / (step + 1)
        )
    copy = tmp_path / "left.h5"
    shutil.copy(tmp_path / "live.h5", copy)
    recorder.close()
    _age(copy)
    return copy


def _age(path):
    then = path.stat().st_mtime - YEAR_AGO
    os.utime(path, (then, then))


@pytest.fixture
def limit():
    """Ends a test that hangs inside HDF5."""

    def ring(number, frame):
        raise TimeoutError("still running after 60 s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def test_a_left_file_shows_its_committed_rows(left):
    with open_trajectory(left) as tree:
        assert tree.attrs["status"] == "running"
        rows = tree["series"].sizes["step"]
        assert rows >= 49
        np.testing.assert_array_equal(tree["series/loss"].values, 1.0 / np.arange(1, rows + 1))
        assert tree["series/late"].values[30] == 30.0
    assert validate(left) == []


def test_damage_is_refused_or_read_but_never_waited_for(left, limit):
    whole, rng = left.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(40):
        damaged = bytearray(whole)
        for place in rng.integers(48, len(whole), 20):
            damaged[place] ^= int(rng.integers(1, 256))
        left.write_bytes(bytes(damaged))
        _age(left)
        validate(left)
        try:
            with open_trajectory(left) as tree:
                tree.load()
        except (TrajectoryError, OSError, ValueError, RuntimeError, KeyError, UnicodeDecodeError):
            refused += 1
    assert refused
