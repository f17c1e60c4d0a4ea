"""Trajectories in segments: what is written, stacked, refused, joined, resumed, and what a kill leaves."""

import errno
import fcntl
import itertools
import json
import os
import shutil
import subprocess
import sys
import textwrap

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamics.copies.recovery import recover
from dynamics.file.lock import LockedError, holder
from dynamics.file.opening import TrajectoryError
from dynamics.file.summary import summarise
from dynamics.format import Stream, Variable
from dynamics.recorder import Recorder, RecorderError
from dynamics.segments import segment_catalogue, segment_directory, segment_following, segment_summary, segments, stack
from dynamics.segments.joining import join
from dynamics.segments.segment_catalogue import Catalogue
from dynamics.segments.segment_directory import segment_path
from dynamics.trajectory import open_trajectory
from dynamics.validation import departures, validate

TERMS = ["interior", "boundary"]


def write(recorder, steps, every=None):
    """Rows that are functions of their step; `every` steps a segment ends."""
    for step in steps:
        recorder.record("series", step, time=step / 8, loss=1.0 / (1 + step), loss_raw=[step, -step])
        recorder.record("evaluations", step, time=step / 8, loss=float(step))
        if step % 3 == 0:
            recorder.record("residuals", step, time=step / 8, residual=np.full(4, step, np.float32))
        if every and step % every == every - 1:
            recorder.sync()


def begin(path, **options):
    options = {"attrs": {"created": "then", "run_id": "r", "pid": 1}, "commit_every": 1e9, **options}
    recorder = Recorder(path, streams=[Stream("series", coords={"term": TERMS})], config={"steps": 9}, **options)
    recorder.store("points", interior=(("point", "axis"), np.arange(6.0).reshape(3, 2)), coords={"axis": ["x", "y"]})
    return recorder


def segmented(path, count=10, every=4, **options):
    with begin(path, **options) as recorder:
        write(recorder, range(count), every)
    return path


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return segmented(tmp_path_factory.mktemp("template") / "run.segments")


@pytest.fixture
def folder(tmp_path, template):
    """Ten steps in segments of 4, 4, 2 and 0."""
    return shutil.copytree(template, tmp_path / "run.segments")


def names(folder):
    return sorted(os.listdir(folder))


def change(path, number, edit):
    with h5py.File(segment_path(path, number), "r+") as file:
        edit(file)


def test_segments_hold_what_a_file_holds(tmp_path, folder):
    with begin(tmp_path / "run.h5") as recorder:
        write(recorder, range(10))
    with open_trajectory(tmp_path / "run.h5") as one, open_trajectory(folder) as many:
        xr.testing.assert_identical(many.load(), one.load())
        assert many["series"].to_dataset().coords.keys() == one["series"].to_dataset().coords.keys()
        assert many["residuals/residual"].dtype == np.float32


def test_every_segment_is_a_valid_closed_trajectory(folder):
    assert names(folder) == [f"segment-00000{number}.h5" for number in (1, 2, 3, 4)]
    counts, states = [], []
    for number, name in enumerate(names(folder), start=1):
        assert departures(str(folder / name)) == []
        with xr.open_datatree(folder / name, engine="h5netcdf") as tree:
            assert tree.attrs["segment"] == number
            assert ("points" in tree) == (number == 1)
            counts.append(tree["series"].sizes["step"] if "series" in tree else 0)
            states.append(tree["status"].item().decode())
    assert counts == [4, 4, 2, 0]
    assert states == ["running"] * 3 + ["complete"]
    assert validate(folder) == []


def test_small_segments_take_small_chunks(folder):
    with h5py.File(segment_path(folder, 2)) as file:
        assert file["series/loss"].chunks == (4,)
        assert file["evaluations/evaluation"].chunks == (4,)
        assert file["residuals/residual"].chunks == (1, 4)
        assert "rel_l2" not in file["series"]
    assert os.path.getsize(segment_path(folder, 2)) < 40_000


def test_variables_and_streams_may_appear_in_any_segment(tmp_path):
    path = tmp_path / "run.segments"
    with Recorder(path, commit_every=1e9) as recorder:
        for step in range(6):
            later = {"rel_l2": 0.5, "field": np.full((2, 3), step)} if step >= 3 else {}
            recorder.record("series", step, loss=1.0, **later)
            if step == 4:
                recorder.record("probe", step, depth=7.0)
            recorder.sync()
    with open_trajectory(path) as tree:
        series = tree["series"].to_dataset()
        assert series["rel_l2"].values.tolist()[2:4] == [pytest.approx(np.nan, nan_ok=True), 0.5]
        assert np.isnan(series["field"].values[:3]).all() and series["field"].values[5].tolist() == [[5.0] * 3] * 2
        assert tree["probe/depth"].values.tolist() == [7.0] and tree["probe/step"].values.tolist() == [4]
    assert validate(path) == []


def test_integers_that_some_segments_lack_become_floats(tmp_path):
    path, column = tmp_path / "run.segments", Variable("counts", ("bin",), dtype="i4")
    with Recorder(path, streams=[Stream("hist", [column], {"bin": 2})], commit_every=1e9) as recorder:
        recorder.record("hist", 0, counts=[1, 2])
        recorder.sync()
    with open_trajectory(path) as tree:
        assert tree["hist/counts"].dtype == np.int32
    shutil.copy(segment_path(path, 1), segment_path(path, 2))

    def without(file):
        file.attrs.update({"segment": 2, "first_rows": json.dumps({"hist": 1})})
        file["hist/step"][0] = 1
        del file["hist/counts"]

    change(path, 2, without)
    with open_trajectory(path) as tree:
        np.testing.assert_array_equal(tree["hist/counts"].values, [[1, 2], [np.nan, np.nan]])
    join(path, tmp_path / "run.h5")
    with open_trajectory(tmp_path / "run.h5") as tree:
        np.testing.assert_array_equal(tree["hist/counts"].values, [[1, 2], [np.nan, np.nan]])


def test_declared_variables_that_never_came_are_left_out(folder, tmp_path):
    with Recorder(tmp_path / "a.segments", streams=[Stream("series"), Stream("spectra")]) as recorder:
        recorder.record("series", 0, loss=1.0)
    with open_trajectory(tmp_path / "a.segments") as tree:
        assert list(tree["series"].data_vars) == ["loss"]
        assert tree["spectra"].sizes == {"step": 0} and "floor" in tree["spectra"]


def test_the_name_or_the_option_chooses(tmp_path):
    for name, options, is_directory in (
        ("a.segments", {}, True),
        ("b", {"segments": True}, True),
        ("c.segments/", {}, True),
        ("d.segments", {"segments": False}, False),
    ):
        with Recorder(f"{tmp_path}/{name}", **options) as recorder:
            recorder.record("series", 0, loss=1.0)
        assert os.path.isdir(tmp_path / name.strip("/")) == is_directory
        assert not os.path.exists(f"{tmp_path}/{name.strip('/')}.lock")
    assert Recorder(tmp_path / "e.segments")._commit_every == 30.0
    assert Recorder(tmp_path / "f.h5")._commit_every == 1.0


def test_a_segment_ends_when_much_waits(tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "MOST_ROWS", 5)
    monkeypatch.setattr(segments, "MOST_BYTES", 1000)
    with Recorder(tmp_path / "rows.segments", commit_every=1e9) as recorder:
        for step in range(12):
            recorder.record("series", step, loss=1.0)
        assert recorder.committed["series"] == 10
    with Recorder(tmp_path / "bytes.segments", commit_every=1e9) as recorder:
        for step in range(6):
            recorder.record("a", step, x=np.zeros(20))
            recorder.record("b", step, x=np.zeros(25))
            # Both streams count: 160 B + 200 B a step.
            assert recorder.committed.get("b", 0) == (step + 1) // 3 * 3


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_lazy_indexing_is_that_of_numpy(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "indexed.segments"
    if not folder.exists():
        with Recorder(folder, commit_every=1e9) as recorder:
            for step in range(11):
                given_array = {} if step in (5, 6) else {"x": np.arange(6.0).reshape(2, 3) + 10 * step}
                recorder.record("probe", step, depth=1.0, **given_array)
                if step in (2, 4, 6, 8):
                    recorder.sync()
    expected = np.arange(6.0).reshape(1, 2, 3) + 10 * np.arange(11.0)[:, None, None]
    expected[5:7] = np.nan
    lazy = open_trajectory(folder)["probe/x"].variable
    keys = []
    for size in expected.shape:
        number = st.integers(-size, size - 1)
        # xarray itself fails on an empty slice that runs backwards.
        slices = st.slices(size).filter(lambda key, size=size: range(size)[key] or (key.step or 1) > 0)
        keys.append(data.draw(st.one_of(number, slices, st.lists(number, min_size=1, max_size=4))))
    # Arrays index each axis for itself in xarray.
    arrays = [np.atleast_1d(np.arange(size)[key]) for key, size in zip(keys, expected.shape, strict=True)]
    dropped = tuple(0 if isinstance(key, int) else slice(None) for key in keys)
    np.testing.assert_array_equal(lazy[tuple(keys)].values, expected[np.ix_(*arrays)][dropped])


def test_files_are_opened_once_to_look_and_where_something_is_read(folder, monkeypatch):
    opened = []
    real = h5py.File
    monkeypatch.setattr(
        stack.h5py, "File", lambda path, *args, **kw: opened.append(path[-4]) or real(path, *args, **kw)
    )
    before = os.listdir("/proc/self/fd")
    tree = open_trajectory(folder)
    assert opened == ["1", "2", "3", "4"]
    assert len(os.listdir("/proc/self/fd")) == len(before)
    del opened[:]
    assert tree["series/loss"][5].item() == 1.0 / 6
    assert opened == ["2"]
    tree["series/loss"].values, tree["series/loss"].values, tree["points/interior"].values
    assert opened == ["2", "1", "2", "3", "1"]


def test_reading_needs_no_lock(folder):
    with open(segment_path(folder, 1), "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with open_trajectory(folder) as tree:
            assert tree["series/loss"].values[0] == 1.0


def test_single_values_and_attributes_are_kept(tmp_path):
    with Recorder(tmp_path / "a.segments") as recorder:
        recorder.store("setup", depth=((), 3.5, {"units": "m"}), attrs={"kind": "well"})
        recorder.record("series", 0, loss=1.0)
    join(tmp_path / "a.segments", tmp_path / "a.h5")
    for name in ("a.segments", "a.h5"):
        with open_trajectory(tmp_path / name) as tree:
            assert tree["setup/depth"].item() == 3.5
            assert tree["setup/depth"].attrs == {"long_name": "depth", "units": "m"}
            assert tree["setup"].attrs["kind"] == "well"
            assert "segment" not in tree.attrs and "first_rows" not in tree.attrs


def test_status_of_a_run_that_goes_on_ends_and_is_left(tmp_path):
    path = tmp_path / "run.segments"
    with pytest.raises(TrajectoryError, match=r"came a directory without segments.*wait if its run has only begun"):
        recorder = begin(path)
        open_trajectory(path)
    write(recorder, range(4), 2)
    with open_trajectory(path) as tree:
        assert tree.attrs["status"] == "running" and tree["series"].sizes["step"] == 4
    assert holder(str(path)).pid == os.getpid()
    recorder.close("diverged", "loss is inf")
    with open_trajectory(path) as tree:
        assert (tree.attrs["status"], tree.attrs["stop_reason"]) == ("diverged", "loss is inf")
    assert holder(str(path)) is None


def test_nothing_recorded_leaves_nothing(tmp_path):
    (tmp_path / "b.segments").mkdir()
    for name, stays in (("a.segments", False), ("b.segments", True)):
        with pytest.raises(ZeroDivisionError), begin(tmp_path / name):
            raise ZeroDivisionError
        assert (tmp_path / name).exists() == stays


def test_overwriting_replaces_segments_when_the_first_new_one_stands(folder, tmp_path):
    with begin(folder, overwrite=True) as recorder:
        assert len(names(folder)) == 4
        write(recorder, range(2), 2)
        assert names(folder) == ["segment-000001.h5"]
    with open_trajectory(folder) as tree:
        assert tree["series"].sizes["step"] == 2
    assert sorted(os.listdir(tmp_path)) == ["run.segments"]


def test_overwriting_that_fails_leaves_the_old_run(folder, tmp_path, monkeypatch):
    real = os.rename

    def rename(source, target):
        if ".tmp-" in source and target == str(folder):
            raise OSError(errno.EIO, "Input/output error")
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    recorder = begin(folder, overwrite=True)
    with pytest.raises(RecorderError, match=r"Input/output error.*nothing was written yet"):
        write(recorder, range(2), 2)
    monkeypatch.undo()
    with open_trajectory(folder) as tree:
        assert tree["series"].sizes["step"] == 10
    assert sorted(os.listdir(tmp_path)) == ["run.segments"]


def test_what_is_refused_as_a_directory(folder, tmp_path):
    with pytest.raises(FileExistsError, match=r"expected a new directory: choose another name or pass overwrite=True"):
        begin(folder)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds notes.txt; expected a new directory, or one of segments alone"):
        begin(folder, overwrite=True)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="expected a new directory for the segments"):
        begin(tmp_path / "file", segments=True, overwrite=True)
    with pytest.raises(FileNotFoundError, match="create it first"):
        begin(tmp_path / "missing" / "run.segments")
    recorder = begin(tmp_path / "new.segments")
    with pytest.raises(LockedError, match="another recorder of this process"):
        begin(tmp_path / "new.segments")
    recorder.close()
    assert (tmp_path / "file").read_text() == (folder / "notes.txt").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_cannot_be_written(tmp_path):
    os.chmod(tmp_path, 0o500)
    with pytest.raises(PermissionError, match="choose another place"):
        begin(tmp_path / "run.segments")


def test_something_put_beside_the_old_segments_stays(folder, tmp_path):
    recorder = begin(folder, overwrite=True)
    (folder / "notes.txt").write_text("mine")
    write(recorder, range(2), 2)
    recorder.close()
    kept = [name for name in os.listdir(tmp_path) if name.startswith("run.segments.old-")]
    assert [os.listdir(tmp_path / name) for name in kept] == [["notes.txt"]]


def truncate(folder):
    os.truncate(segment_path(folder, 2), 5000)


def flip(folder):
    # The first byte of the root group's object header.
    with open(segment_path(folder, 2), "r+b") as file:
        file.seek(48)
        file.write(b"\x00")


def relabel(folder):
    def edit(file):
        file["series/term"][1] = "initial"

    change(folder, 2, edit)


def other_run(folder):
    change(folder, 2, lambda file: file.attrs.update({"run_id": "another"}))


def other_number(folder):
    os.replace(segment_path(folder, 3), segment_path(folder, 2))


def other_rows(folder):
    change(
        folder,
        2,
        lambda file: file.attrs.update({"first_rows": json.dumps({"series": 5, "evaluations": 4, "residuals": 2})}),
    )


def steps_again(folder):
    def edit(file):
        file["series/step"][0] = 3

    change(folder, 2, edit)


def other_shape(folder):
    change(folder, 2, lambda file: file["series/loss"].resize(3, axis=0))


def points_again(folder):
    change(folder, 2, lambda file: file.create_group("points"))


def no_status(folder):
    def edit(file):
        del file["status"]

    change(folder, 4, edit)


DAMAGES = {
    truncate: r"segment-000002.h5: expected a whole segment, came one HDF5 cannot read \(.*truncated",
    flip: r"segment-000002.h5: expected a whole segment",
    relabel: r"segment-000002.h5: expected the labels \['interior', 'boundary'\] of series/term.*'initial'\]",
    other_run: r"segment-000002.h5: expected a segment of run r, came one of run another: copy the directory again",
    other_number: r"segment-000002.h5: expected segment 2 of a run, came 3: copy the directory again",
    other_rows: r"segment-000002.h5: expected rows of series from 4 on, came some from 5 on: copy the directory again",
    steps_again: r"segment-000002.h5: expected step of series to increase, came values that do not",
    other_shape: r"segment-000002.h5: expected shape \(4,\) of series/loss, came \(3,\)",
    points_again: r"segment-000002.h5: expected no group points again, came one",
    no_status: r"segment-000004.h5: expected a whole segment",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_named(folder, damage, monkeypatch):
    monkeypatch.setattr(segment_catalogue, "PAUSE", 0.0)
    damage(folder)
    with pytest.raises(TrajectoryError, match=DAMAGES[damage]):
        open_trajectory(folder)
    found = validate(folder)
    assert found and all(line.startswith("segment-00000") for line in found)


def test_missing_segments_are_named(folder, monkeypatch):
    monkeypatch.setattr(segment_catalogue, "PAUSE", 0.0)
    os.remove(segment_path(folder, 2))
    with pytest.raises(TrajectoryError, match=r"segment-000002.h5: expected this segment before segment 3, came none"):
        open_trajectory(folder)
    truncate_third = segment_path(folder, 3)
    os.truncate(truncate_third, 100)
    found = validate(folder)
    assert found[0] == "segment-000002.h5: missing; expected every segment up to 4"
    assert found[1].startswith("segment-000003.h5: ") and len(found) == 2
    assert "directory without segments" in validate(folder.parent)[0]


def test_a_listing_that_misses_a_name_is_made_again(folder, monkeypatch):
    listings = iter([[1, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4]])
    monkeypatch.setattr(segment_catalogue, "segment_numbers", lambda path: next(listings))
    assert Catalogue(str(folder)).committed["series"] == 10


def test_what_was_opened_and_is_another_by_now(folder):
    tree = open_trajectory(folder)
    shutil.copy(segment_path(folder, 2), segment_path(folder, 9))
    os.replace(segment_path(folder, 9), segment_path(folder, 2))
    with pytest.raises(TrajectoryError, match=r"segment-000002.h5: .* came another: open the trajectory again"):
        tree["series/loss"].load()
    os.remove(segment_path(folder, 2))
    with pytest.raises(TrajectoryError, match=r"segment-000002.h5: .* came none: open the trajectory again"):
        tree["series/loss"].load()


def test_a_catalogue_follows_a_run(tmp_path):
    path = tmp_path / "run.segments"
    with begin(path) as recorder:
        write(recorder, range(4), 2)
        catalogue = Catalogue(str(path))
        known = catalogue.segments[:]
        write(recorder, range(4, 6), 2)
        catalogue.update()
        assert catalogue.segments[:2] == known and catalogue.committed["series"] == 6
        assert catalogue.streams["series"].variables["loss"].read(np.arange(4, 6)).tolist() == [1 / 5, 1 / 6]
    Recorder.reopen(path, {"series": 2, "evaluations": 2, "residuals": 1})
    catalogue.update()
    assert catalogue.committed["series"] == 2 and catalogue.segments == known[:1]


def test_other_files_in_the_directory_are_ignored(folder):
    (folder / "segment-000005.h5.tmp-77").write_bytes(b"half")
    (folder / "segment-0000006.h5").write_bytes(b"no number of ours")
    (folder / ".nfs0001").write_bytes(b"")
    with open_trajectory(folder) as tree:
        assert tree["series"].sizes["step"] == 10


def full_disk(monkeypatch, after):
    """From the given write on, the disk is full."""
    count, real = itertools.count(), os.fsync

    def fsync(descriptor):
        if next(count) >= after and os.path.isfile(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(segment_directory.os, "fsync", fsync)


@pytest.mark.parametrize("strict", [True, False])
def test_a_full_disk(tmp_path, monkeypatch, strict):
    path = tmp_path / "run.segments"
    recorder = begin(path, strict=strict)
    write(recorder, range(4), 4)
    full_disk(monkeypatch, 0)
    expected = r"No space left on device\); 4 rows of series, .* are committed, in segments 1 to 1, which are whole"
    with pytest.raises(RecorderError, match=expected) if strict else pytest.warns(RuntimeWarning, match=expected):
        write(recorder, range(4, 8), 4)
    assert not recorder.recording and names(path) == ["segment-000001.h5"]
    with open_trajectory(path) as tree:
        assert tree["series"].sizes["step"] == 4
        assert tree.attrs["status"] == "failed" and "No space left" in tree.attrs["stop_reason"]
    assert validate(path) == [] and holder(str(path)) is None


def test_a_failure_that_passes_is_told_in_a_segment(tmp_path, monkeypatch):
    path = tmp_path / "run.segments"
    recorder = begin(path)
    write(recorder, range(4), 4)
    monkeypatch.setattr(segments, "put", lambda *_: (monkeypatch.undo(), (_ for _ in ()).throw(OSError("hiccup"))))
    with pytest.raises(RecorderError, match="hiccup"):
        write(recorder, range(4, 8), 4)
    with h5py.File(segment_path(path, 2)) as file:
        assert file["status"][()] == b"failed" and "series" not in file


def test_a_full_disk_from_the_start(tmp_path, monkeypatch):
    full_disk(monkeypatch, 0)
    recorder = begin(tmp_path / "run.segments")
    with pytest.raises(RecorderError, match="nothing was written yet: free space or choose another path"):
        write(recorder, range(4), 4)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("replaced", [False, True])
def test_a_directory_that_is_taken_away(folder, tmp_path, replaced):
    recorder = begin(tmp_path / "new.segments")
    write(recorder, range(4), 4)
    shutil.rmtree(tmp_path / "new.segments")
    if replaced:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere").rename(tmp_path / "new.segments")
    with pytest.raises(RecorderError, match="removed or replaced while it was being written"):
        write(recorder, range(4, 8), 4)
    assert not replaced or os.listdir(tmp_path / "new.segments") == []


def test_a_segment_of_another_writer_is_never_replaced(tmp_path):
    recorder = begin(tmp_path / "new.segments")
    write(recorder, range(4), 4)
    (tmp_path / "new.segments" / "segment-000002.h5").write_bytes(b"theirs")
    with pytest.raises(RecorderError, match=r"segment-000002.h5 is there already: another process"):
        write(recorder, range(4, 8), 4)
    assert (tmp_path / "new.segments" / "segment-000002.h5").read_bytes() == b"theirs"


def test_a_rename_whose_answer_was_lost(tmp_path, monkeypatch):
    real = os.rename

    def rename(source, target):
        real(source, target)
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(segment_directory.os, "rename", rename)
    segmented(tmp_path / "run.segments")
    monkeypatch.undo()
    with open_trajectory(tmp_path / "run.segments") as tree:
        assert tree["series"].sizes["step"] == 10


def test_joining_gives_the_file_that_a_recorder_writes(folder, tmp_path):
    with begin(tmp_path / "run.h5") as recorder:
        write(recorder, range(10))
    told = []
    rows = join(folder, tmp_path / "joined.h5", progress=told.append)
    assert rows == {"series": 10, "evaluations": 10, "residuals": 4, "late": 0}
    assert told == sorted(told) and told[-1] == 1.0
    assert validate(tmp_path / "joined.h5") == []
    with open_trajectory(tmp_path / "run.h5") as one, open_trajectory(tmp_path / "joined.h5") as other:
        xr.testing.assert_identical(other.load(), one.load())
    with h5py.File(tmp_path / "run.h5") as one, h5py.File(tmp_path / "joined.h5") as other:
        assert one["series/loss"].chunks == other["series/loss"].chunks == (1024,)
    with Recorder.reopen(tmp_path / "joined.h5", {**rows, "series": 7}) as recorder:
        recorder.record("series", 7, loss=2.0)
    with pytest.raises(FileExistsError, match="expected a new file: choose another name"):
        join(folder, tmp_path / "joined.h5")
    assert sorted(os.listdir(tmp_path)) == ["joined.h5", "run.h5", "run.segments"]


def test_joining_needs_room(folder, tmp_path, monkeypatch):
    room = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: room)
    with pytest.raises(OSError, match=r"expected 0\.\d MB of free space, came 0\.0 MB: choose another place"):
        join(folder, tmp_path / "joined.h5")
    assert os.listdir(tmp_path) == ["run.segments"]


def test_joining_what_a_dead_run_left(tmp_path, monkeypatch):
    monkeypatch.setattr(segment_catalogue, "PAUSE", 0.0)
    path = tmp_path / "run.segments"
    recorder = begin(path)
    write(recorder, range(8), 4)
    join(path, tmp_path / "a.h5", status=("interrupted", "recovered"))
    join(path, tmp_path / "b.h5")
    for name, status in (("a.h5", "interrupted"), ("b.h5", "running")):
        with open_trajectory(tmp_path / name) as tree:
            assert tree.attrs["status"] == status and tree["series"].sizes["step"] == 8
    truncate(path)
    with pytest.raises(TrajectoryError, match=r"segment-000002\.h5"):
        join(path, tmp_path / "c.h5")
    assert sorted(os.listdir(tmp_path)) == ["a.h5", "b.h5", "run.segments", "run.segments.lock"]
    recorder._file.lock.release()


@pytest.mark.parametrize("ended", [True, False])
def test_going_on_is_as_if_it_had_not_stopped(tmp_path, ended):
    path, whole = tmp_path / "run.segments", segmented(tmp_path / "whole.segments", 12, 3)
    recorder = begin(path)
    write(recorder, range(6))
    rows = recorder.sync()
    assert rows == {"series": 6, "evaluations": 6, "residuals": 2, "late": 0}
    write(recorder, range(6, 9), 3)
    (path / "segment-000003.h5.tmp-1").write_bytes(b"half")
    if ended:
        recorder.close("interrupted")
    else:
        with pytest.raises(LockedError):
            Recorder.reopen(path, rows)
        recorder._file.lock.release()
    with Recorder.reopen(path, rows) as again:
        assert names(path) == ["segment-000001.h5"]
        assert again.run_id == "r" and again.committed == rows
        with open_trajectory(path) as tree:
            assert tree.attrs["status"] == "running"
        write(again, range(6, 12), 4)
        again.record("series", 12, loss=0.0, field=np.ones(3))
    with open_trajectory(path) as tree, open_trajectory(whole) as expected:
        for name in ("evaluations", "residuals", "points"):
            xr.testing.assert_identical(tree[name].to_dataset().load(), expected[name].to_dataset().load())
        series = tree["series"].to_dataset().load()
        assert series["field"].values[-1].tolist() == [1.0] * 3
        xr.testing.assert_identical(
            series.drop_vars("field").isel(step=slice(12)), expected["series"].to_dataset().load()
        )
        assert [entry["rows"]["series"] for entry in json.loads(tree.attrs["resumed"])] == [6]
        assert tree.attrs["pid"] == os.getpid()
    assert validate(path) == [] and holder(str(path)) is None


def test_evaluations_of_one_step_go_on(tmp_path):
    path = tmp_path / "run.segments"
    with Recorder(path) as recorder:
        for step in (0, 0, 0, 1):
            recorder.record("evaluations", step, loss=1.0)
    with Recorder.reopen(path, {"evaluations": 4}) as recorder:
        with pytest.raises(ValueError, match="expected a step after 1, came 0"):
            recorder.record("evaluations", 0, loss=1.0)
        recorder.record("evaluations", 1, loss=2.0)
    with open_trajectory(path) as tree:
        assert tree["evaluations/evaluation"].values.tolist() == [0, 1, 2, 3, 4]


def test_the_clock_goes_on(folder):
    with Recorder.reopen(folder, {"series": 8, "evaluations": 8, "residuals": 3}) as recorder:
        recorder.record("series", 8, loss=1.0)
    with open_trajectory(folder) as tree:
        assert 0 <= tree["series/time"].values[-1] - 7 / 8 < 5


def test_going_on_from_the_very_start(tmp_path):
    path = tmp_path / "run.segments"
    recorder = begin(path)
    rows = recorder.sync()
    write(recorder, range(4), 2)
    recorder.close()
    with Recorder.reopen(path, rows) as again:
        write(again, range(3))
    with open_trajectory(path) as tree:
        assert tree["series"].sizes["step"] == 3 and tree["points/interior"].shape == (3, 2)


def test_rows_that_no_segment_ends_with_are_refused(folder):
    before = names(folder)
    with pytest.raises(ValueError, match=r"ends with \(4, 8, 10 of series\), came 6 of series: name rows that sync"):
        Recorder.reopen(folder, {"series": 6, "evaluations": 8, "residuals": 3})
    with pytest.raises(ValueError, match=r"expected 11 rows of series to keep, came 10: ask for no more"):
        Recorder.reopen(folder, {"series": 11})
    assert names(folder) == before and holder(str(folder)) is None


KILLED = """
    import os, random, signal, sys, time
    import numpy as np
    from dynamics.recorder import Recorder
    from dynamics.segments.segment_catalogue import Catalogue
    from dynamics.segments.segment_directory import segment_numbers

    def train(path):
        with Recorder(path, commit_every=0.002) as recorder:
            recorder.store("points", x=(("point",), np.arange(3.0)))
            for step in range(10**9):
                late = {"late": -1.0 * step} if step > 200 else {}
                recorder.record("series", step, loss=1.0 / (1 + step), field=np.full(50, step), **late)

    random.seed(int(sys.argv[2]))
    for trial in range(20):
        path = f"{sys.argv[1]}/{trial}.segments"
        child = os.fork()
        if not child:
            train(path)
        wanted = random.randint(1, 5)
        while not (os.path.isdir(path) and len(segment_numbers(path)) >= wanted):
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        catalogue = Catalogue(path)
        series = catalogue.streams["series"]
        rows = np.arange(series.count)
        read = {name: stack.read(rows) for name, stack in series.variables.items()}
        assert catalogue.status["status"] == "running" and len(rows) > 0
        assert (read["step"] == rows).all() and (read["loss"] == 1.0 / (1 + rows)).all()
        assert (read["field"] == rows[:, None]).all()
        assert "late" not in read or (read["late"][201:] == -1.0 * rows[201:]).all()
        with Recorder.reopen(path, catalogue.committed) as recorder:
            recorder.record("series", len(rows), loss=0.0)
        assert Catalogue(path).committed["series"] == len(rows) + 1
        assert not [name for name in os.listdir(path) if ".tmp-" in name]
        print(len(rows), len(catalogue.segments))
"""


def test_kill_9_leaves_whole_segments(tmp_path):
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(KILLED), str(tmp_path), "0"]
    # Without a PATH there is no git to ask for the commit, 40 times.
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "PATH": ""})
    assert done.returncode == 0, done.stderr
    trials = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert len(trials) == 20 and len({count for _, count in trials}) > 2


def test_a_follower_gets_every_row_once(tmp_path):
    path = tmp_path / "run.segments"
    follower = segment_following.follower(path, ["series"])
    assert follower.poll().state == "waiting"
    kept, firsts = {}, []
    with begin(path) as recorder:
        assert follower.poll().state == "waiting"
        for stop in (4, 8, 12):
            write(recorder, range(stop - 4, stop), 4)
            news = follower.poll()
            news.add_to(kept)
            firsts.append(news.first)
            assert news.state == "live" and not news.ended
        recorder.record("series", 12, loss=9.0, late=1.0)
        assert follower.poll().first == {}
    assert firsts[1] == {"series": 4, "evaluations": 4, "residuals": 2}
    news = follower.poll()
    # The new variable: all rows again.
    assert news.first == {"series": 0} and news.ended and news.status == "complete"
    news.add_to(kept)
    assert set(kept["evaluations"]) == {"step", "time"}
    assert set(kept["series"]) == {"step", "time", "loss", "loss_raw", "late"}
    with open_trajectory(path) as tree:
        for name, values in kept["series"].items():
            np.testing.assert_array_equal(values, tree[f"series/{name}"].values)
    assert follower.labels["series"] == {"loss_raw": TERMS} and follower.attributes["run_id"] == "r"


def test_a_follower_goes_back_with_the_run(tmp_path):
    path = tmp_path / "run.segments"
    segmented(path, 8, 2)
    follower = segment_following.SegmentFollower(path, ["series/loss"], batch=5)
    kept = {}
    news = follower.poll()
    assert news.more and len(news.rows["series"]["loss"]) == 5
    news.add_to(kept)
    follower.poll().add_to(kept)
    with Recorder.reopen(path, {"series": 4, "evaluations": 4, "residuals": 2}) as recorder:
        recorder.record("series", 4, loss=-1.0)
        recorder.sync()
        news = follower.poll()
        assert news.went_back == {"series": (8, 4), "evaluations": (8, 4), "residuals": (3, 2)}
        news.add_to(kept)
        assert kept["series"]["loss"].tolist() == [1.0, 1 / 2, 1 / 3, 1 / 4, -1.0]
        assert news.state == "live"
    follower.poll()
    shutil.rmtree(path)
    assert follower.poll().state == "waiting"
    segmented(path, 3)
    news = follower.poll()
    assert news.went_back["series"] == (5, 0) and len(news.rows["series"]["loss"]) == 3


def test_a_dead_writer_is_seen(tmp_path):
    path = tmp_path / "run.segments"
    recorder = begin(path)
    write(recorder, range(4), 4)
    follower = segment_following.SegmentFollower(path)
    assert follower.poll().state == "live"
    assert segment_summary.summarise_segments(path)["state"] == "live"
    recorder._file.lock.release()
    os.utime(segment_path(path, 1), (1, 1))
    assert segment_summary.summarise_segments(path)["state"] == "left"
    assert follower.poll().state == "left"


def test_the_summary_is_that_of_a_file(tmp_path):
    columns = [Stream("coefficients", coords={"coefficient": ["nu", "k"]}), Stream("spectra")]
    for name in ("run.h5", "run.segments"):
        with begin(tmp_path / name) as recorder:
            for stream in columns:
                recorder.declare(stream)
            write(recorder, range(6), 3)
            recorder.record("coefficients", 0, value=[0.5, np.nan])
    expected, found = summarise(tmp_path / "run.h5"), segment_summary.summarise_segments(tmp_path / "run.segments")
    assert found | {"coefficients": 0} == expected | {"coefficients": 0}
    assert found["coefficients"] == {"nu": 0.5, "k": pytest.approx(np.nan, nan_ok=True)}
    assert "came a directory without segments" in segment_summary.summarise_segments(tmp_path)["findings"][0]


def test_recover_joins_what_a_dead_writer_left(tmp_path):
    path, output = tmp_path / "run.segments", tmp_path / "run.h5"
    recorder = Recorder(path)
    for step in range(6):
        recorder.record("series", step, loss=float(step))
    recorder.sync()
    with pytest.raises(LockedError, match="is being written by"):
        recover(path, output)
    recorder._file.lock.release()
    with pytest.raises(TrajectoryError, match="expected an output"):
        recover(path)
    result = recover(path, output)
    assert (result.rows["series"], result.status, result.lost) == (6, "interrupted", ())
    with pytest.raises(FileExistsError, match="--overwrite"):
        recover(path, output)
    recover(path, output, overwrite=True)
    with open_trajectory(output) as tree:
        assert tree["series/loss"].values.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_directory_that_goes_away_in_the_middle_of_a_look(tmp_path, monkeypatch):
    path = str(tmp_path / "run.segments")
    recorder = Recorder(path, commit_every=0.0)
    recorder.record("series", 0, loss=1.0)
    recorder.record("series", 1, loss=1.0)
    os.remove(f"{path}.lock")

    def gone(_):
        raise FileNotFoundError(path)

    follower = segment_following.SegmentFollower(path)
    with monkeypatch.context() as patch:
        patch.setattr(os.path, "getmtime", gone)
        assert follower.poll().state == "live"
    recorder.close()
    monkeypatch.setattr(segment_following, "segment_numbers", gone)
    assert follower.poll().state == "waiting"
