"""A reader that polls: exactly the new committed rows, whatever happens to the file between two looks."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import h5py
import numpy as np
import pytest

from dynamics.file.opening import TrajectoryError
from dynamics.following import following
from dynamics.following.following import Follower, follow
from dynamics.format import Stream, Variable
from dynamics.recorder import Recorder
from dynamics.trajectory import open_trajectory


def loss(step):
    return float(np.sin(step + 0.5))


def record(recorder, start, stop, clock=0.0, **more):
    for step in range(start, stop):
        recorder.record("series", step, time=clock + step, loss=loss(step), **more)


def together(recorder, start, stop, **more):
    """Record rows and commit them at once."""
    recorder._commit_every = 1e9
    record(recorder, start, stop, **more)
    recorder._commit()


class Gathered:
    """What a consumer has, if it does as the deliveries say: cut to `first`, then add."""

    def __init__(self, follower):
        self.follower, self.rows, self.news = follower, {}, None

    def poll(self):
        self.news = self.follower.poll()
        self.news.add_to(self.rows)
        while self.news.more:
            return self.poll()
        return self.news

    def agrees(self, path):
        with open_trajectory(path) as trajectory:
            for stream, variables in self.rows.items():
                group = trajectory[stream].to_dataset().load()
                for name, values in variables.items():
                    if name in group.variables:
                        np.testing.assert_array_equal(values, group[name].values, err_msg=f"{stream}/{name}")
                    else:
                        assert np.isnan(values).all(), name
                assert {n for n, v in group.data_vars.items() if v.ndim == 1} <= set(variables)
        return True


def test_only_new_committed_rows_come_and_nothing_is_held_open(tmp_path):
    path = tmp_path / "run.h5"
    gathered = Gathered(Follower(path))
    assert gathered.poll().state == "waiting"
    with Recorder(path, commit_every=0.0) as recorder:
        assert gathered.poll().state == "waiting"
        record(recorder, 0, 3, values=[1.0, 2.0])
        news = gathered.poll()
        assert (news.state, news.status, news.first) == ("live", "running", {"series": 0})
        assert news.rows["series"]["loss"].tolist() == [loss(step) for step in range(3)]
        assert news.rows["series"]["values"].tolist() == [[1.0, 2.0]] * 3
        assert gathered.poll().rows == {}
        together(recorder, 3, 2000, values=[1.0, 2.0])
        news = gathered.poll()
        assert news.first == {"series": 3}
        assert news.rows["series"]["step"].tolist() == list(range(3, 2000))
        if os.path.isdir("/proc/self/fd"):
            held = [
                os.readlink(f"/proc/self/fd/{fd}")
                for fd in os.listdir("/proc/self/fd")
                if fd.isdigit() and os.path.islink(f"/proc/self/fd/{fd}")
            ]
            assert held.count(str(path)) <= 1  # the recorder's own
        recorder.end("interrupted", "enough")
    news = gathered.poll()
    assert (news.state, news.status, news.reason, news.ended) == ("closed", "interrupted", "enough", True)
    assert news.rows == {}
    assert len(gathered.rows["series"]["loss"]) == 2000
    assert gathered.agrees(path)


def test_rows_that_are_written_but_not_committed_stay_hidden(tmp_path):
    path = tmp_path / "run.h5"
    with Recorder(path, commit_every=1000.0) as recorder:
        record(recorder, 0, 1500)
        with h5py.File(path, "r", swmr=True, libver="latest") as file:
            assert file["series/loss"].shape == (1024,)
        news = Follower(path).poll()
        assert (news.state, news.rows) == ("live", {})


def test_names_small_and_labels(tmp_path):
    path = tmp_path / "run.h5"
    streams = [Stream("series", coords={"term": ["interior", "boundary"]})]
    with Recorder(path, streams=streams, config={"steps": 7}) as recorder:
        recorder.record("series", 0, loss=1.0, loss_raw=[0.25, 0.75], rel_l2=0.5)
        recorder.record("parameters", 0, value=np.zeros(100))
        recorder.record("probe", 0, x=1.0)
    every = Follower(path)
    rows = every.poll().rows
    assert set(rows) == {"series", "parameters", "probe"}
    assert set(rows["parameters"]) == {"step", "time"}
    assert every.labels["series"]["loss_raw"] == ["interior", "boundary"]
    assert every.attributes["config"] == '{"steps": 7}'
    some = Follower(path, ["series/loss", "parameters/value"]).poll().rows
    assert {stream: sorted(variables) for stream, variables in some.items()} == {
        "series": ["loss", "step", "time"],
        "parameters": ["step", "time", "value"],
    }
    assert set(Follower(path, ["series"], small=1).poll().rows["series"]) >= {"loss", "rel_l2"}
    assert "loss_raw" not in Follower(path, ["series"], small=1).poll().rows["series"]


def test_many_rows_come_in_batches(tmp_path):
    path = tmp_path / "run.h5"
    with Recorder(path) as recorder:
        record(recorder, 0, 2500)
    follower, counts = Follower(path, batch=1000), []
    while True:
        news = follower.poll()
        counts.append((news.first["series"], len(news.rows["series"]["step"]), news.more, news.ended))
        if news.ended:
            break
    assert counts == [(0, 1000, True, False), (1000, 1000, True, False), (2000, 500, False, True)]


def test_late_scalars_stand_in_their_rows_and_streams_before_and_after_close(tmp_path):
    path = tmp_path / "run.h5"
    recorder = Recorder(path, commit_every=0.0)
    gathered = Gathered(Follower(path))
    record(recorder, 0, 2)
    gathered.poll()
    record(recorder, 2, 6, rel_l2=0.5)
    recorder.record("extra", 4, time=9.0, value=3.0)
    recorder.record("extra", 5, time=10.0, value=4.0, other=1.0)
    gathered.poll()
    np.testing.assert_array_equal(gathered.rows["series"]["rel_l2"], [np.nan, np.nan, 0.5, 0.5, 0.5, 0.5])
    assert gathered.rows["extra"]["value"].tolist() == [3.0, 4.0]
    assert gathered.rows["extra"]["time"].tolist() == [9.0, 10.0]
    np.testing.assert_array_equal(gathered.rows["extra"]["other"], [np.nan, 1.0])
    assert gathered.agrees(path)
    recorder.record("extra", 6, time=11.0, value=5.0)
    news = gathered.poll()
    assert news.first == {"extra": 2}
    recorder.close()
    gathered.poll()
    assert gathered.agrees(path)


def test_a_late_scalar_of_a_row_that_was_delivered_brings_the_row_again(tmp_path):
    """Between the counter of a stream and that of `/late` a reader sees rows without their late scalars."""
    path = tmp_path / "run.h5"
    recorder = Recorder(path, commit_every=0.0)
    record(recorder, 0, 3)
    record(recorder, 3, 6, rel_l2=0.5)
    aside = tmp_path / "between.h5"
    shutil.copy(path, aside)
    with h5py.File(aside, "r", swmr=True, libver="latest") as file:
        count, offset = int(file["late/committed"][()]), file["late/committed"].id.get_offset()
    patch(aside, offset, 1)
    gathered = Gathered(Follower(aside))
    gathered.poll()
    np.testing.assert_array_equal(gathered.rows["series"]["rel_l2"], [np.nan] * 3 + [0.5, np.nan, np.nan])
    patch(aside, offset, count)
    news = gathered.poll()
    assert (news.first, news.went_back) == ({"series": 4}, {})
    np.testing.assert_array_equal(gathered.rows["series"]["rel_l2"], [np.nan] * 3 + [0.5] * 3)
    patch(aside, offset, 1)
    gathered.poll()
    np.testing.assert_array_equal(gathered.rows["series"]["rel_l2"], [np.nan] * 3 + [0.5, np.nan, np.nan])
    recorder.close()
    # What was late is a column by now, and rows that were delivered without it come again.
    shutil.copy(path, aside)
    assert gathered.poll().went_back == {}
    np.testing.assert_array_equal(gathered.rows["series"]["rel_l2"], [np.nan] * 3 + [0.5] * 3)


def patch(path, offset, count):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(np.int64(count).tobytes())


def write(path, count, clock=0.0, resumed_at=None):
    with Recorder(path, overwrite=True) as recorder:
        record(recorder, 0, count if resumed_at is None else resumed_at)
        if resumed_at is not None:
            record(recorder, resumed_at, count, clock)


@pytest.mark.parametrize("in_place", [False, True], ids=["another inode", "same inode"])
@pytest.mark.parametrize(("count", "resumed_at"), [(1200, 700), (1200, 1050), (900, 700), (1500, 300), (1100, 1100)])
def test_a_resumed_run_goes_back_to_the_last_common_row(tmp_path, in_place, count, resumed_at):
    path, other = tmp_path / "run.h5", tmp_path / "other.h5"
    write(path, 1100)
    gathered = Gathered(Follower(path))
    gathered.poll()
    write(other, count, 5e4 if in_place else -0.25, resumed_at)
    if in_place:
        path.write_bytes(other.read_bytes())
    else:
        os.replace(other, path)
    news = gathered.poll()
    kept = min(resumed_at, 1100)
    assert news.went_back == ({"series": (1100, kept)} if kept < 1100 else {})
    assert gathered.agrees(path)
    assert len(gathered.rows["series"]["step"]) == count


def test_another_run_in_its_place_starts_from_the_first_row(tmp_path):
    path = tmp_path / "run.h5"
    write(path, 50)
    gathered = Gathered(Follower(path))
    gathered.poll()
    with Recorder(path, overwrite=True) as recorder:
        for step in range(20):
            recorder.record("other", step, value=1.0)
    news = gathered.poll()
    assert news.went_back == {"series": (50, 0)}
    assert len(gathered.rows["series"]["loss"]) == 0
    assert gathered.rows["other"]["value"].tolist() == [1.0] * 20
    path.unlink()
    assert Follower(path).poll().state == gathered.poll().state == "waiting"


def test_fewer_rows_of_the_same_times_go_back_too(tmp_path):
    path, other = tmp_path / "run.h5", tmp_path / "other.h5"
    write(path, 50)
    gathered = Gathered(Follower(path))
    gathered.poll()
    write(other, 20)
    os.replace(other, path)
    news = gathered.poll()
    assert (news.went_back, news.first) == ({"series": (50, 20)}, {"series": 20})
    assert gathered.agrees(path)


def test_compressed_files_and_declared_variables_without_rows(tmp_path):
    path = tmp_path / "run.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs.update(format="pinnscope-trajectory", format_version="1.3", config="{}")
        file["status"], file["stop_reason"] = np.bytes_(b"complete"), np.bytes_(b"")
        group = file.create_group("series")
        group["committed"] = np.int64(3)
        for name, dtype in (("step", "i8"), ("time", "f8"), ("loss", "f8")):
            group.create_dataset(name, data=np.arange(3, dtype=dtype), chunks=(2,), maxshape=(None,), compression=1)
        group.create_dataset("empty", (3,), "f8", chunks=(2,), maxshape=(None,), fillvalue=np.nan)
        group.create_dataset("big", data=np.arange(3, dtype=">f4"), chunks=(2,), maxshape=(None,))
    rows = Follower(path).poll().rows["series"]
    assert rows["loss"].tolist() == rows["big"].tolist() == [0.0, 1.0, 2.0]
    assert np.isnan(rows["empty"]).all()


def test_a_variable_that_is_given_in_some_chunks_only(tmp_path):
    path = tmp_path / "run.h5"
    recorder = Recorder(path, commit_every=1000.0, streams=[Stream("probe", [Variable("x"), Variable("y")])])
    gathered = Gathered(Follower(path))
    for step in range(600):
        recorder.record("probe", step, x=1.0, **({"y": float(step)} if 300 <= step < 310 else {}))
        if step % 100 == 99:
            recorder._commit()
            gathered.poll()
    assert gathered.agrees(path)
    assert np.flatnonzero(np.isfinite(gathered.rows["probe"]["y"])).tolist() == list(range(300, 310))
    recorder.close()


WRITER = """
import sys, time
from dynamics.recorder import Recorder
recorder = Recorder(sys.argv[1], commit_every=0.01)
for step in range(10**9):
    recorder.record("series", step, a=step * 0.5, b=-1.0 * step)
    time.sleep(0.0005)
"""


def test_a_killed_run_is_live_until_it_was_silent_then_left(tmp_path, monkeypatch):
    path = tmp_path / "run.h5"
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(WRITER), str(path)])
    try:
        gathered = Gathered(Follower(path))
        stop = time.monotonic() + 30
        while len(gathered.rows.get("series", {}).get("step", ())) < 100 and time.monotonic() < stop:
            assert gathered.poll().state in ("waiting", "live")
            time.sleep(0.02)
        os.utime(path, (1, 1))
        # Silent, but the process lives: a step may take its time.
        assert gathered.poll().state == "live"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    gathered.poll()
    os.utime(path, (1, 1))
    news = gathered.poll()
    assert (news.state, news.status, news.ended) == ("left", "running", True)
    series = gathered.rows["series"]
    assert series["step"].tolist() == list(range(len(series["step"])))
    np.testing.assert_array_equal(series["a"], series["step"] * 0.5)
    assert gathered.agrees(path)


def test_follow_ends_with_the_run(tmp_path):
    path = tmp_path / "run.h5"
    recorder, states = Recorder(path, commit_every=0.0), []
    for news in follow(path, ["series/loss"], interval=0.001):
        states.append(news.state)
        if len(states) == 2:
            record(recorder, 0, 3)
        if len(states) == 4:
            recorder.close()
    assert states == ["waiting", "waiting", "live", "live", "closed"]


def test_a_locked_file_is_tried_again(tmp_path, monkeypatch):
    path = tmp_path / "run.h5"
    write(path, 3)
    follower, refusals = Follower(path), [BlockingIOError("locked"), OSError("checksum")]
    real = follower._open

    def sometimes(name):
        if refusals:
            raise refusals.pop()
        return real(name)

    monkeypatch.setattr(following, "PAUSE", 0.0)
    follower._open = sometimes
    assert len(follower.poll().rows["series"]["loss"]) == 3
    assert not refusals


def test_a_read_that_fails_half_way_loses_no_rows(tmp_path, monkeypatch):
    path = tmp_path / "run.h5"
    recorder = Recorder(path, commit_every=0.0)
    for step in range(3):
        for stream in ("series", "probe"):
            recorder.record(stream, step, x=float(step))
    gathered = Gathered(Follower(path))
    gathered.poll()
    for stream in ("series", "probe"):
        recorder.record(stream, 3, x=3.0)
    recorder._commit()
    place, failed = gathered.follower._contents.streams["probe"].columns["x"], []
    real = type(place).read

    def once(self, *arguments):
        if self is place and not failed:
            failed.append(1)
            raise OSError("for an instant")
        return real(self, *arguments)

    monkeypatch.setattr(type(place), "read", once)
    gathered.poll()
    assert failed
    assert {name: rows["x"].tolist() for name, rows in gathered.rows.items()} == {
        name: [0.0, 1.0, 2.0, 3.0] for name in ("series", "probe")
    }
    recorder.close()


def test_what_is_no_trajectory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(following, "PAUSE", 0.0)
    path = tmp_path / "run.h5"
    path.write_bytes(b"nothing that HDF5 knows")
    with pytest.raises(TrajectoryError, match="pass the file that a Recorder wrote"):
        Follower(path).poll()
    with h5py.File(path, "w") as file:
        file["x"] = 1.0
    with pytest.raises(TrajectoryError, match="expected the attribute format"):
        Follower(path).poll()
    write(path, 2000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(TrajectoryError, match=r"truncated|damaged"):
        Follower(path).poll()


def test_a_poll_reads_no_hdf5_metadata_until_a_chunk_is_full(tmp_path):
    path = tmp_path / "run.h5"
    with Recorder(path, commit_every=0.0) as recorder:
        record(recorder, 0, 3)
        follower = Follower(path)
        follower.poll()
        real, opened = follower._open, []
        follower._open = lambda name: (opened.append(name), real(name))[1]
        together(recorder, 3, 1000)
        assert len(follower.poll().rows["series"]["loss"]) == 997
        assert not opened
        together(recorder, 1000, 1100)
        assert follower.poll().rows["series"]["loss"].tolist() == [loss(step) for step in range(1000, 1100)]
        assert len(opened) == 1
