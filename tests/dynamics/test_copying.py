"""Copies of trajectories: what is kept, bit for bit, what is cut, what is refused, and what fails half-way."""

import errno
import os
import re
import subprocess
import sys
import textwrap
from time import sleep

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamics import Recorder, TrajectoryError, open_trajectory, validate
from dynamics.copies import folding
from dynamics.copies.copying import copy_rows, verify_copy
from dynamics.copies.new_file import Sink
from dynamics.copies.stored_blocks import blocks, stored_blocks
from dynamics.format import Stream, Variable

PAYLOAD = np.array([0x7FF8000000000123, 0xFFF8DEADBEEF0001, 0x8000000000000000], np.uint64).view(np.float64)


def record(path, steps=1500, close=True, late=True):
    """A trajectory with every kind of content; rows are formulas of their step."""
    gradients = Stream("gradients", coords={"layer": ["0.weight", "2.wéight"]}, attrs={"blocks": 4, "note": "é"})
    ranks = Stream("ranks", [Variable("rank", ("layer",), dtype="i4")], coords={"layer": 2})
    recorder = Recorder(path, config={"seed": 1}, streams=[gradients, ranks], commit_every=0.05)
    recorder.store("points", coords={"axis": ["x", "t"]}, interior=(("interior_point", "axis"), np.eye(5, 2)))
    for step in range(steps):
        if step in (15, steps - 1):
            sleep(0.06)
        recorder.record("series", step, time=step / 4, loss=1 / (step + 1), loss_raw=[step, 2.0])
        recorder.record("evaluations", step // 2, time=step / 8, loss=step)
        if step % 10 == 0:
            recorder.record("gradients", step, time=0.0, mean_norm=[step, 1.0], std_norm=PAYLOAD[:2])
            recorder.record("ranks", step, time=0.0, rank=[step, 7])
        if late and step > 20 and step % 7 == 0:
            recorder.record("custom", step, time=step / 2, a=5.0 * step, **({"b": -1.0} if step % 2 else {}))
        if late and step > 20 and step % 3 == 0:
            recorder.record("extra", step, time=1.0, c=float(step))
    if close:
        recorder.close()
    return recorder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Paths of one run: still written, with late entries, and closed."""
    folder = tmp_path_factory.mktemp("runs")
    live = record(folder / "live.h5", close=False)
    record(folder / "kept.h5")
    copy_rows(str(folder / "kept.h5"), str(folder / "closed.h5"))
    record(folder / "plain.h5", late=False)
    yield {name: str(folder / f"{name}.h5") for name in ("live", "closed", "plain", "kept")}
    live.close()


def same(one, other):
    with open_trajectory(one) as first, open_trajectory(other) as second:
        xr.testing.assert_equal(first.load(), second.load())


@pytest.mark.parametrize("name", ["live", "closed", "plain"])
def test_a_copy_shows_what_its_original_shows_and_is_closed(runs, name, tmp_path):
    target = str(tmp_path / "copy.h5")
    rows = copy_rows(runs[name], target)
    assert rows["late"] == 0
    assert rows["series"] >= 1499
    assert verify_copy(runs[name], target, rows) == []
    assert validate(target) == []
    same(runs[name], target)
    with h5py.File(target) as file:
        assert file["late/entry"].shape == (0,)
        assert file["late/name"].chunks == (1024,)
        assert file["series/loss"].chunks == (1024,)
        assert file["series/loss"].compression is None
        assert np.isnan(file["series/loss"].fillvalue)
        assert file["gradients/std_norm"][-1].tobytes() == PAYLOAD[:2].tobytes()
        if name != "plain":
            assert file["custom/a"].chunks == (128,)
            assert file["custom/a"].attrs["long_name"] == "a"
    with xr.open_datatree(target, engine="h5netcdf") as tree:
        assert tree["gradients/layer"].values.tolist() == ["0.weight", "2.wéight"]


def test_a_copy_is_cut_to_the_rows_asked_for(runs, tmp_path):
    target = str(tmp_path / "copy.h5")
    asked = {"series": 1100, "evaluations": 30, "gradients": 0, "late": 60, "custom": 5}
    rows = copy_rows(runs["live"], target, asked)
    # Late entries of a step: time and a (and b at odd steps) of custom, time and c of extra.
    assert {name: rows[name] for name in ("series", "evaluations", "gradients", "custom", "late")} == {
        "series": 1100, "evaluations": 30, "gradients": 0, "custom": 5, "late": 0
    }  # fmt: skip
    assert validate(target) == []
    with open_trajectory(target) as tree:
        np.testing.assert_array_equal(tree["series/loss"], 1 / np.arange(1.0, 1101.0))
        np.testing.assert_array_equal(tree["custom/step"], [21, 28, 35, 42, 49])
        np.testing.assert_array_equal(tree["custom/a"], 5.0 * tree["custom/step"])
        np.testing.assert_array_equal(tree["custom/b"], [-1, np.nan, -1, np.nan, -1])
        np.testing.assert_array_equal(tree["custom/time"], tree["custom/step"] / 2)
    with h5py.File(target) as file:
        chunk = file["series/loss"].id.read_direct_chunk((1024,))[1]
        assert np.isnan(np.frombuffer(chunk)[76:]).all()


def test_entries_that_became_columns_count_as_kept(runs, tmp_path):
    target = str(tmp_path / "copy.h5")
    assert copy_rows(runs["closed"], target, {"custom": 3, "late": 8})["custom"] == 3


def test_the_result_can_be_written_on_in_swmr_mode(runs, tmp_path):
    target = str(tmp_path / "copy.h5")
    rows = copy_rows(runs["closed"], target, {"series": 1000}, status=("running", ""))
    with h5py.File(target, "r+", libver="latest") as file:
        file.swmr_mode = True
        for name, value in (("loss", -1.0), ("step", 5000), ("time", 9.0), ("loss_raw", [[3.0, 4.0]])):
            file["series"][name].resize(rows["series"] + 1, axis=0)
            file["series"][name][1000:] = value
        file.flush()
        file["series/committed"][...] = 1001
        file.flush()
        with open_trajectory(target) as tree:
            assert tree.attrs["status"] == "running"
            assert tree["series/loss"].values[-2:].tolist() == [1 / 1000, -1.0]


@pytest.mark.parametrize("level", [1, 9])
def test_compressed_and_back_is_the_same(runs, level, tmp_path):
    packed, back, direct = (str(tmp_path / name) for name in ("packed.h5", "back.h5", "direct.h5"))
    rows = copy_rows(runs["closed"], packed, compression="gzip", level=level)
    assert verify_copy(runs["closed"], packed, rows) == []
    assert copy_rows(packed, back) == copy_rows(runs["closed"], direct) == rows
    assert verify_copy(direct, back, rows) == []
    with h5py.File(packed) as one, h5py.File(back) as two, h5py.File(direct) as three:
        assert (one["series/loss"].compression, one["series/loss"].compression_opts) == ("gzip", level)
        assert one["series/loss"].shuffle
        assert one["series/loss"].chunks == (32768,)
        for stream in rows:
            for name, dataset in three[stream].items():
                assert two[stream][name].chunks == dataset.chunks
                assert two[stream][name].compression is None


def test_what_was_never_written_takes_no_room(tmp_path):
    source, target = str(tmp_path / "run.h5"), str(tmp_path / "copy.h5")
    with Recorder(source, streams=[Stream("series")], commit_every=1e9) as recorder:
        for step in range(3000):
            recorder.record("series", step, loss=1.0)
    copy_rows(source, target)
    with h5py.File(target) as file:
        assert file["series/rel_l2"].shape == (3000,)
        assert file["series/rel_l2"].id.get_storage_size() == 0
    with open_trajectory(target) as tree:
        assert list(tree["series"].data_vars) == ["loss"]


def test_what_nobody_knows_is_kept(tmp_path):
    source, target = str(tmp_path / "run.h5"), str(tmp_path / "copy.h5")
    record(source, steps=30)
    with h5py.File(source, "r+") as file:
        file.attrs["flavour"] = np.array([b"ab", b"c"], "S2")
        file.attrs["nothing"] = h5py.Empty("f4")
        file["series"].attrs["pair"] = np.zeros((2, 2), np.dtype([("a", "i2"), ("b", ">f8")]))
        file["series/loss"].attrs["texts"] = np.array(["x", "é"], object)
        group = file.create_group("elsewhere", track_order=True)
        group.create_dataset("z", data=np.arange(10, dtype=">i2"), chunks=(3,), maxshape=(None,), compression="gzip")
        group.create_dataset("a", data=h5py.Empty("f8"))
        group["inner/deeper"] = [True, False]
        group["again"] = group["z"]
        group["circle"] = group
        file["loose"] = np.complex64(1 + 2j)
    rows = copy_rows(source, target)
    assert verify_copy(source, target, rows) == []
    with h5py.File(target) as file:
        assert file.attrs["flavour"].tolist() == [b"ab", b"c"]
        assert isinstance(file.attrs["nothing"], h5py.Empty)
        assert file["series"].attrs["pair"].dtype == np.dtype([("a", "i2"), ("b", ">f8")])
        assert file["series/loss"].attrs["texts"].tolist() == ["x", "é"]
        group = file["elsewhere"]
        assert list(group)[:2] == ["z", "a"]
        assert group["z"].dtype == ">i2"
        assert group["z"].compression == "gzip"
        assert group["z"][:].tolist() == list(range(10))
        assert group["again"] == group["z"]
        assert group["circle"] == group
        assert group["inner/deeper"][:].tolist() == [True, False]
        assert file["loose"][()] == 1 + 2j


@pytest.fixture
def packed(runs, tmp_path):
    """A true copy that may be spoilt, and its rows."""
    target = str(tmp_path / "copy.h5")
    return target, copy_rows(runs["closed"], target)


def _set(path, value):
    def spoil(file):
        file[path][...] = value

    return spoil


def _one_bit(file):
    words = file["gradients/std_norm"][3].view(np.uint64) ^ np.array([0, 1], np.uint64)
    file["gradients/std_norm"][3] = words.view(np.float64)


def _shorten(file):
    for name in ("step", "time", "rank"):
        file["ranks"][name].resize(10, axis=0)


def _detach(file):
    file["series/loss"].dims[0].detach_scale(file["series/step"])


SPOILT = [
    (_one_bit, "/gradients/std_norm: values differ in rows 0 to"),
    (_set("points/interior", 0.0), "/points/interior: values differ"),
    (_set("custom/a", 1.0), "/custom/a: values differ"),
    (_set("gradients/layer", ["a", "b"]), "/gradients/layer: values differ"),
    (_set("series/committed", 7), "/series/committed: 7, expected 1500"),
    (_shorten, r"/ranks/rank: int32 \(10, 2\), expected int32 \(150, 2\)"),
    (_detach, "/series/loss: other dimension scales"),
    (lambda file: file.attrs.modify("seed", 2), "/: attribute seed differs"),
    (lambda file: file["series/loss"].attrs.create("units", "m"), "/series/loss: attribute units differs"),
    (lambda file: file["gradients"].attrs.pop("note"), "/gradients: attribute note only in the original"),
    (lambda file: file["series"].attrs.create("more", 1), "/series: attribute more only in the copy"),
    (lambda file: file.pop("points"), "/points: missing in the copy"),
    (lambda file: file.pop("evaluations/loss"), "/evaluations/loss: missing in the copy"),
    (lambda file: file.create_group("new"), "/new: only in the copy"),
    (
        lambda file: file.move("points", "old") or file.create_dataset("points", data=1),
        "/points: a Group became",
    ),
]


@pytest.mark.parametrize(("spoil", "message"), SPOILT)
def test_every_departure_is_found(runs, packed, spoil, message):
    target, rows = packed
    assert verify_copy(runs["closed"], target, rows) == []
    with h5py.File(target, "r+") as file:
        spoil(file)
    found = verify_copy(runs["closed"], target, rows)
    assert any(re.match(message, line) for line in found), found


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: file["custom/b"].__setitem__(3, 0.0), "/custom/b: "),
        (lambda file: file["custom/a"].__setitem__(3, 0.0), "/custom/a: differs from its late entries"),
        (lambda file: file["custom"].pop("a"), "/custom/a: missing in the copy"),
        (lambda file: file.pop("extra"), "/extra/committed: None, expected"),
        (lambda file: file["series"].create_dataset("new", data=1), "/series/new: only in the copy"),
    ],
)
def test_departures_of_late_columns_are_found(runs, tmp_path, spoil, message):
    target = str(tmp_path / "copy.h5")
    rows = copy_rows(runs["live"], target)
    with h5py.File(target, "r+") as file:
        assert np.isnan(file["custom/b"][3])
        spoil(file)
    found = verify_copy(runs["live"], target, rows)
    assert any(line.startswith(message) for line in found), found


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ({"series": 10**6}, {}, "expected 1000000 rows of series to keep, came 1500 committed ones: ask for no more"),
        ({"custom": 10**6}, {}, "expected 1000000 rows of custom to keep"),
        ({"serie": 1}, {}, "1 rows of serie to keep, came no such stream"),
        ({"series": -1}, {}, "expected -1 rows of series"),
        (None, {"compression": "lzf"}, "expected compression None or 'gzip'"),
        (None, {"compression": "gzip", "level": 10}, "level of 1 to 9"),
    ],
)
def test_refusals(runs, tmp_path, rows, options, message):
    for name in ("closed", "kept"):
        with pytest.raises(ValueError, match=message):
            copy_rows(runs[name], str(tmp_path / "copy.h5"), rows, **options)
        assert os.listdir(tmp_path) == []


def test_an_existing_target_and_no_trajectory_are_refused(runs, tmp_path):
    target = tmp_path / "copy.h5"
    target.write_text("mine")
    with pytest.raises(FileExistsError):
        copy_rows(runs["plain"], str(target))
    assert target.read_text() == "mine"
    with pytest.raises(TrajectoryError, match="pass the file that a Recorder wrote"):
        copy_rows(str(target), str(tmp_path / "other.h5"))


def _virtual(file):
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "x", (3,))
    file.create_virtual_dataset("points/v", layout)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: file.__setitem__("x", h5py.ExternalLink("other.h5", "/")), "/x: .* came ExternalLink: remove it"),
        (lambda file: file.__setitem__("points/x", h5py.SoftLink("/series")), "/points/x: .* came SoftLink"),
        (lambda file: file.__setitem__("x", np.dtype("f8")), "/x: .* came Datatype"),
        (lambda file: file.create_dataset("x", (9,), "f4", chunks=(3,), compression="lzf"), "came filter 32000"),
        (lambda file: file.create_dataset("x", (9,), "f8", external=[("o", 0, 72)]), "that lie elsewhere: write"),
        (_virtual, "that lie elsewhere: write"),
        (lambda file: file["points"].attrs.create("r", file.ref), "without references, came r"),
        (lambda file: file.create_dataset("points/x", data=file.ref), "came references: a copy cannot keep them"),
    ],
)
def test_what_leads_elsewhere_is_refused_by_name(runs, packed, tmp_path, spoil, message):
    with h5py.File(packed[0], "r+") as file:
        spoil(file)
    with pytest.raises(TrajectoryError, match=message):
        copy_rows(packed[0], str(tmp_path / "other.h5"))
    assert not (tmp_path / "other.h5").exists()


@pytest.mark.parametrize("names", [[b"nothing"], [b"a/b/c"], [b"series/committed"], [b"late/x"], [b"series/step"]])
def test_entries_without_a_meaning_are_refused(runs, packed, tmp_path, names):
    with h5py.File(packed[0], "r+") as file:
        late = file["late"]
        for name, value in (("entry", 0), ("step", 3), ("name", names), ("value", 1.0)):
            late[name].resize(1, axis=0)
            late[name][:] = value
        late["committed"][...] = 1
    with pytest.raises(TrajectoryError, match=r"/late: expected (names|entries of scalar)"):
        copy_rows(packed[0], str(tmp_path / "other.h5"))


def test_many_late_entries_are_folded_some_at_a_time(tmp_path, monkeypatch):
    source, target = str(tmp_path / "run.h5"), str(tmp_path / "copy.h5")
    live = record(source, steps=400, close=False)
    monkeypatch.setattr(folding, "ENTRIES", 170)
    monkeypatch.setattr(folding, "WINDOW", 3)
    rows = copy_rows(source, target)
    assert verify_copy(source, target, rows) == []
    same(source, target)
    live.close()


def test_rows_wider_than_a_chunk_are_cut_along_their_chunks(tmp_path):
    with h5py.File(tmp_path / "narrow.h5", "w", driver="core", backing_store=False) as file:
        dataset = file.create_dataset("x", (10, 7), "i4", chunks=(4, 3), maxshape=(None, 7))
        dataset[9, 6] = 1
        dataset[4, 2] = 2
        assert list(stored_blocks(dataset)) == [(slice(4, 8), slice(0, 3)), (slice(8, 10), slice(6, 7))]
        assert list(stored_blocks(dataset, 6)) == [(slice(4, 6), slice(0, 3))]


def test_a_write_that_fails_once_is_remembered(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here: no disk that is full for one write only")
    with Sink(str(tmp_path / "new")) as sink:
        sink.check()
        disk, full = os.dup(sink.fileno()), os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, sink.fileno())
        assert sink.write(b"lost") == 4
        os.dup2(disk, sink.fileno())
        os.close(disk)
        os.close(full)
        assert sink.write(b"more") == 4
        with pytest.raises(OSError, match=r"cannot be written \(No space left on device\): free space") as error:
            sink.check()
        assert error.value.errno == errno.ENOSPC
    assert (tmp_path / "new").read_bytes() == b""


FILL_THE_DISK = """
    import resource, signal, sys
    from dynamics.copies.copying import copy_rows
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
    try:
        copy_rows(sys.argv[1], sys.argv[2])
    except OSError as error:
        print("File too large" in str(error))
"""


@pytest.mark.parametrize("limit", [100, 20_000, 80_000])
def test_a_full_disk_leaves_no_target_and_ends_in_an_error(runs, tmp_path, limit):
    target = tmp_path / "copy.h5"
    command = [sys.executable, "-c", textwrap.dedent(FILL_THE_DISK), runs["plain"], str(target), str(limit)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "True\n", "")
    assert not target.exists()


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(0, 40), max_size=3).map(tuple),
    itemsize=st.sampled_from([1, 8, 1 << 16, 1 << 20]),
    step=st.integers(1, 50),
)
def test_blocks_cover_an_array_once(shape, itemsize, step):
    seen = np.zeros(shape, int)
    for block in blocks(shape, itemsize, step):
        assert seen[block].size * itemsize <= 1 << 20
        seen[block] += 1
    assert (seen == 1).all()


@settings(max_examples=40, deadline=None)
@given(data=st.data(), rows=st.integers(1, 4000), width=st.sampled_from([0, 3, 70_000]), chunk=st.integers(1, 700))
def test_stored_blocks_cover_what_is_stored(data, rows, width, chunk):
    rows = min(rows, 40) if width == 70_000 else rows
    shape, chunks = ((rows, width), (chunk, width)) if width else ((rows,), (chunk,))
    if width == 3 and data.draw(st.booleans()):
        chunks = (chunk, 2)
    with h5py.File("x", "w", driver="core", backing_store=False) as file:
        dataset = file.create_dataset("x", shape, "i2", chunks=chunks, maxshape=(None, *shape[1:]))
        seen = np.zeros(shape, int)
        for row in data.draw(st.lists(st.integers(0, rows - 1), max_size=5)):
            dataset[row] = 1
        kept = data.draw(st.integers(0, rows))
        for block in stored_blocks(dataset, kept, data.draw(st.integers(1, 5000))):
            seen[block] += 1
        assert seen.max(initial=0) <= 1
        assert (seen[:kept] >= dataset[:kept]).all()
        assert not seen[kept:].any()
