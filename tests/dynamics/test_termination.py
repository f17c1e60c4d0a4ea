"""Every way out of a recorded run leaves its status: signals, exceptions, a file that is taken away, a full disk."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest

from dynamics import Recorder, RecorderError, open_trajectory, validate
from dynamics.file.termination import Terminated, Termination

LOOP = """
import signal, sys
# Under nohup and in the background of a shell some signals are ignored, by children too.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from dynamics import Recorder
with Recorder(sys.argv[1], commit_every=0.0) as recorder:
    for step in range(10**9):
        recorder.record("series", step, loss=1.0 / (step + 1), terms=[float(step), 2.0 * step])
        if step == 200:
            print("ready", flush=True)
"""


def loop(path, *signals, pause=0.05):
    process = subprocess.Popen([sys.executable, "-c", LOOP, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    time.sleep(pause)
    for number in signals:
        process.send_signal(number)
    process.communicate(timeout=60)
    return process.returncode


def consistent(path):
    with open_trajectory(path) as tree:
        step = tree["series/step"].values
        np.testing.assert_array_equal(step, np.arange(len(step)))
        np.testing.assert_array_equal(tree["series/loss"], 1.0 / (step + 1))
        np.testing.assert_array_equal(tree["series/terms"], np.stack([step, 2.0 * step], axis=1))
        assert validate(path) == []
        return len(step), tree.attrs["status"], tree.attrs["stop_reason"]


@pytest.mark.parametrize(
    ("number", "code", "reason"),
    [
        (signal.SIGTERM, 143, "Terminated: SIGTERM"),
        (signal.SIGHUP, 129, "Terminated: SIGHUP"),
        (signal.SIGINT, -signal.SIGINT, "KeyboardInterrupt"),
    ],
)
def test_signals_end_a_run_as_interrupted(tmp_path, number, code, reason):
    path = tmp_path / "run.h5"
    assert loop(path, number) == code
    rows, *ending = consistent(path)
    assert rows > 200
    assert ending == ["interrupted", reason]
    assert os.listdir(tmp_path) == ["run.h5"]


def test_a_signal_at_any_moment_leaves_whole_rows(tmp_path):
    rng = np.random.default_rng(0)
    for trial in range(12):
        path = tmp_path / f"{trial}.h5"
        loop(path, signal.SIGTERM, pause=rng.uniform(0, 0.05))
        assert consistent(path)[1] == "interrupted"


def test_a_signal_waits_for_the_end_of_the_work():
    termination = Termination()
    termination.begin()
    try:
        termination.busy += 1
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        with pytest.raises(Terminated, match="SIGTERM"):
            termination.leave()
    finally:
        termination.end()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("name", ["run.h5", "run.segments"])
def test_a_signal_waits_for_the_end_of_the_closing(tmp_path, monkeypatch, name):
    recorder = Recorder(tmp_path / name)
    finish = recorder._file.finish

    def interrupted(*ending):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        finish(*ending)

    monkeypatch.setattr(recorder._file, "finish", interrupted)
    with pytest.raises(KeyboardInterrupt), recorder:
        recorder.record("series", 0, loss=1.0)
    recorder.close()
    assert os.listdir(tmp_path) == [name]
    with open_trajectory(tmp_path / name) as tree:
        assert tree.attrs["status"] == "complete"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handlers_of_others_stay(tmp_path):
    came = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    try:
        with Recorder(tmp_path / "run.h5") as recorder:
            recorder.record("series", 0, loss=1.0)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
        assert came == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_recorder_in_another_thread_takes_no_signals(tmp_path):
    found = []

    def work():
        with Recorder(tmp_path / "run.h5") as recorder:
            recorder.record("series", 0, loss=1.0)
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]


# The file goes away, or the disk is full.


def rows_until_failure(recorder, count=400):
    for step in range(count):
        recorder.record("series", step, loss=float(step), field=np.full(500, float(step)))
    return recorder


@pytest.mark.parametrize("replaced", [False, True], ids=["removed", "replaced"])
def test_a_run_directory_that_is_taken_away(tmp_path, replaced):
    folder = tmp_path / "runs"
    folder.mkdir()
    path = folder / "run.h5"
    recorder = Recorder(path, commit_every=0.0)
    recorder.record("series", 0, loss=1.0)
    recorder.record("series", 1, loss=1.0)
    shutil.rmtree(folder)
    if replaced:
        folder.mkdir()
        path.write_bytes(b"something else")
    with pytest.raises(RecorderError, match="removed or replaced while it was being written"):
        recorder.record("series", 2, loss=1.0)
    with pytest.raises(RecorderError, match="recording stopped at an earlier write error"):
        recorder.record("series", 3, loss=1.0)
    recorder.close()
    if replaced:
        assert path.read_bytes() == b"something else"


@pytest.fixture
def small_files():
    """Files of at most 400 kB in this process: what a full disk or a quota does to a write."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, limit[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    signal.signal(signal.SIGXFSZ, handler)


def committed(path):
    with open_trajectory(path) as tree:
        step = tree["series/step"].values
        np.testing.assert_array_equal(step, np.arange(len(step)))
        np.testing.assert_array_equal(tree["series/field"], np.repeat(step[:, None] * 1.0, 500, axis=1))
        return len(step), tree.attrs["status"], tree.attrs["stop_reason"]


def test_a_full_disk_ends_the_training(tmp_path, small_files):
    path = tmp_path / "run.h5"
    with pytest.raises(RecorderError, match=r"File too large.*rows of series are committed, and the file is readable"):
        rows_until_failure(Recorder(path, commit_every=0.0))
    rows, status, reason = committed(path)
    assert rows > 10
    assert status == "failed"
    assert "File too large" in reason
    assert os.listdir(tmp_path) == ["run.h5"]


def test_a_full_disk_does_not_end_it_where_that_was_asked_for(tmp_path, small_files):
    path = tmp_path / "run.h5"
    recorder = Recorder(path, commit_every=0.0, strict=False)
    with pytest.warns(RuntimeWarning, match=r"not recorded, the training goes on") as caught:
        rows_until_failure(recorder)
    assert len(caught) == 1
    assert not recorder.recording
    with warnings.catch_warnings(action="error"):
        recorder.record("series", 10**6, anything=1.0)
        assert recorder.sync()["series"] == committed(path)[0]
        recorder.close()
    assert committed(path)[1] == "failed"
