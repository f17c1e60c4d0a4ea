"""Going on with a trajectory: rows that are kept stay as they are, those behind are given up, the rest follows."""

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from dynamics import Recorder, TrajectoryError, open_trajectory, validate
from dynamics.file.lock import LockedError
from dynamics.format import Stream, Variable

TERMS = Stream("series", coords={"term": ["interior", "boundary"]})
WEIGHTS = Stream("weights", [Variable("value", ("entry",), "weights", "m", "f4")], {"entry": 7}, {"layer": 3})


def record(recorder, steps):
    for step in steps:
        late = {"appeared": float(step)} if step > 3 else {}
        recorder.record("series", step, time=0.5 * step, loss=1.0 / (1 + step), loss_raw=[step, 2.0 * step], **late)
        recorder.record("weights", step, time=0.5 * step, value=np.full(7, step, "f4"))
        for _ in range(2):
            recorder.record("evaluations", step, time=0.5 * step, loss=float(step))


def fresh(path, **options):
    recorder = Recorder(path, streams=[TERMS, WEIGHTS, Stream("evaluations")], commit_every=0.0, **options)
    recorder.store("points", interior=(("point", "axis"), np.ones((4, 2))), coords={"axis": ["x", "t"]})
    return recorder


def same(first, second):
    with open_trajectory(first) as a, open_trajectory(second) as b:
        assert set(a.children) == set(b.children)
        different = [name for name in a.children if not a[name].to_dataset().identical(b[name].to_dataset())]
        assert different == []


@pytest.fixture
def whole(tmp_path):
    """A run of 20 steps, uninterrupted."""
    with fresh(tmp_path / "whole.h5") as recorder:
        record(recorder, range(20))
    return tmp_path / "whole.h5"


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """A file of 13 steps that was never closed, and the lock of its dead writer."""
    folder = tmp_path_factory.mktemp("left")
    code = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[2]); import test_reopening as t\n"
        "r = t.fresh(sys.argv[1]); t.record(r, range(13)); r.sync(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    command = [sys.executable, "-c", code, folder / "run.h5", os.path.dirname(__file__)]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    return folder


@pytest.mark.parametrize("kept", [0, 1, 2, 5, 13])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, whole, left, kept):
    shutil.copytree(left, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "run.h5"
    with Recorder.reopen(path, {"series": kept, "weights": kept, "evaluations": 2 * kept}) as recorder:
        record(recorder, range(kept, 20))
    same(path, whole)
    assert validate(path) == []
    assert sorted(os.listdir(tmp_path)) == ["run.h5", "whole.h5"]


def test_a_complete_run_is_prolonged(tmp_path, whole):
    path = tmp_path / "run.h5"
    with fresh(path) as recorder:
        record(recorder, range(10))
    with open_trajectory(path) as tree:
        run_id = tree.attrs["run_id"]
    recorder = Recorder.reopen(path, {"series": 10, "weights": 10, "evaluations": 20})
    assert recorder.run_id == run_id
    record(recorder, range(10, 12))
    with open_trajectory(path) as tree:
        assert tree.attrs["status"] == "running"
        assert tree.attrs["stop_reason"] == ""
    recorder.close("interrupted", "here")
    with Recorder.reopen(path, {"series": 11, "weights": 11, "evaluations": 22}) as recorder:
        record(recorder, range(11, 20))
    same(path, whole)
    with open_trajectory(path) as tree:
        assert [entry["rows"]["series"] for entry in json.loads(tree.attrs["resumed"])] == [10, 11]
        assert tree.attrs["pid"] == os.getpid()
        assert tree.attrs["status"] == "complete"


def test_the_configuration_of_now(tmp_path):
    path = tmp_path / "run.h5"
    with Recorder(path, config={"steps": 5, "seed": 3}) as recorder:
        recorder.record("series", 0, loss=1.0)
    Recorder.reopen(path, {"series": 1}, config={"steps": 9}).close()
    with open_trajectory(path) as tree:
        assert json.loads(tree.attrs["config"]) == {"steps": 9, "seed": 3}


def test_the_clock_goes_on(tmp_path):
    path = tmp_path / "run.h5"
    with Recorder(path) as recorder:
        recorder.record("series", 0, time=1000.0, loss=1.0)
    with Recorder.reopen(path, {"series": 1}) as recorder:
        recorder.record("series", 1, loss=1.0)
    with open_trajectory(path) as tree:
        assert 1000 < tree["series/time"].values[1] < 1060


def test_steps_go_on_behind_the_last_row_that_is_kept(tmp_path, whole):
    with Recorder.reopen(whole, {"series": 5}) as recorder:
        with pytest.raises(ValueError, match="expected a step after 4, came 4"):
            recorder.record("series", 4, loss=1.0)
        with pytest.raises(ValueError, match=r"expected shape \(2,\), as before, came \(3,\)"):
            recorder.record("series", 5, loss_raw=[1.0, 2.0, 3.0])
        with pytest.raises(ValueError, match="call it before recording"):
            recorder.configure({"a": 1})
    with open_trajectory(whole) as tree:
        assert tree["series"].sizes["step"] == 5
        assert tree["weights"].sizes["step"] == 0


def test_more_rows_than_there_are(tmp_path, whole):
    before = whole.read_bytes()
    with pytest.raises(ValueError, match=r"expected 21 rows of series to keep, came 20"):
        Recorder.reopen(whole, {"series": 21})
    with pytest.raises(ValueError, match="nothing_of_the_kind"):
        Recorder.reopen(whole, {"nothing_of_the_kind": 1})
    assert whole.read_bytes() == before
    assert os.listdir(tmp_path) == ["whole.h5"]


def test_two_that_resume_one_run(tmp_path, whole):
    recorder = Recorder.reopen(whole, {"series": 5})
    with pytest.raises(LockedError, match="is being written by another recorder of this process"):
        Recorder.reopen(whole, {"series": 5})
    recorder.close()


def test_a_stream_that_came_late_is_kept(tmp_path):
    path = tmp_path / "run.h5"
    with Recorder(path, commit_every=0.0) as recorder:
        for step in range(10):
            recorder.record("series", step, loss=float(step))
            if step >= 4:
                recorder.record("custom", step, value=2.0 * step)
            if step == 7:
                rows = recorder.sync()
    assert rows["custom"] == 4
    with Recorder.reopen(path, rows) as recorder:
        recorder.record("custom", 20, value=40.0)
    with open_trajectory(path) as tree:
        assert tree["series/step"].values.tolist() == list(range(8))
        assert tree["custom/step"].values.tolist() == [4, 5, 6, 7, 20]
        assert tree["custom/value"].values.tolist() == [8.0, 10.0, 12.0, 14.0, 40.0]


def test_what_is_no_trajectory(tmp_path):
    with pytest.raises(TrajectoryError, match="check the path"):
        Recorder.reopen(tmp_path / "none.h5", {})
    (tmp_path / "text.h5").write_text("no trajectory")
    with pytest.raises(TrajectoryError, match="expected an HDF5 file"):
        Recorder.reopen(tmp_path / "text.h5", {})
    assert os.listdir(tmp_path) == ["text.h5"]


def test_a_disk_that_is_too_small_for_the_copy_leaves_the_original(tmp_path, whole, monkeypatch):
    before = whole.read_bytes()

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dynamics.file.reopening.copy_rows", full)
    with pytest.raises(OSError, match="No space left"):
        Recorder.reopen(whole, {"series": 5})
    assert whole.read_bytes() == before
    assert os.listdir(tmp_path) == ["whole.h5"]


def test_a_copy_without_its_lock_is_resumed_too(tmp_path, whole, left):
    path = tmp_path / "run.h5"
    shutil.copy(left / "run.h5", path)
    os.utime(path, (0, 0))
    with Recorder.reopen(path, {"series": 13, "weights": 13, "evaluations": 26}) as recorder:
        record(recorder, range(13, 20))
    same(path, whole)


def test_a_link_stays_one_and_permissions_stay(tmp_path, whole):
    whole.chmod(0o640)
    (tmp_path / "home").mkdir()
    link = tmp_path / "home" / "run.h5"
    link.symlink_to(whole)
    with Recorder.reopen(link, {"series": 5}) as recorder:
        assert os.listdir(tmp_path / "home") == ["run.h5"]
        recorder.record("series", 5, loss=9.0, late=1.0)
    assert link.is_symlink()
    assert whole.stat().st_mode & 0o777 == 0o640
    with open_trajectory(whole) as tree:
        assert tree["series/loss"].values[-1] == 9.0


def test_the_working_directory_may_change(tmp_path, whole, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Recorder("relative.h5", commit_every=0.0) as recorder, Recorder.reopen("whole.h5", {"series": 5}) as again:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        for step in range(5, 8):
            recorder.record("series", step, loss=1.0)
            again.record("series", step, loss=1.0)
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", "relative.h5", "whole.h5"]
    assert os.listdir(tmp_path / "elsewhere") == []


def test_what_is_protected_is_not_replaced(tmp_path, whole, monkeypatch):
    with Recorder(tmp_path / "run.segments", commit_every=0.0) as recorder:
        record(recorder, range(9))
    before = whole.read_bytes(), os.listdir(tmp_path / "run.segments")
    monkeypatch.setattr("os.access", lambda path, mode: not mode & os.W_OK)
    for path, rows in ((whole, {"series": 5}), (tmp_path / "run.segments", {})):
        with pytest.raises(PermissionError, match=r"expected write permission to go on with it: change its mode"):
            Recorder.reopen(path, rows)
    assert (whole.read_bytes(), os.listdir(tmp_path / "run.segments")) == before
