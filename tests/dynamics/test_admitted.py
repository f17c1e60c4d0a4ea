"""Recovery of hostile files: what is dangerous is never read, what is left out is named, and nothing takes long."""

import os
import shutil
import struct
import time

import h5py
import numpy as np
import pytest

from analyses.benchmarks.hostile import INSTEAD, MADE
from dynamics import Recorder, TrajectoryError, validate
from dynamics.copies import admitted, salvage
from dynamics.copies.admitted import admit
from dynamics.copies.counted_rows import increasing_rows, stored_rows
from dynamics.copies.recovery import recover
from dynamics.file import superblock
from dynamics.format import FORMAT, Stream

ROWS = 30
WHOLE = {"series": ROWS, "spectra": ROWS}
SECONDS = 4.0
"""The reader of a file is killed after five."""


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    path = tmp_path_factory.mktemp("healthy") / "run.h5"
    series = Stream("series", coords={"term": ["a", "b"]})
    with Recorder(path, streams=[series], commit_every=0.0) as recorder:
        recorder.store("points", coords={"axis": ["x"]}, interior=(("interior_point", "axis"), np.zeros((30, 1))))
        for step in range(ROWS):
            recorder.record("series", step, loss=1.0, loss_raw=[1.0, 2.0], **({"came_late": 1.0} if step > 20 else {}))
            recorder.record("spectra", step, singular_value=np.ones(5))
    return path


@pytest.fixture
def closed(healthy, tmp_path):
    return shutil.copy(healthy, tmp_path / "run.h5")


@pytest.fixture
def outside(tmp_path):
    """A folder of files that must not be read; `unread` says so."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret.txt").write_text("SECRET " * 100)
    with h5py.File(folder / "secret.h5", "w") as file:
        file["secret"] = np.arange(4.0)
    for entry in folder.iterdir():
        os.utime(entry, ns=(0, entry.stat().st_mtime_ns))
    return folder


def unread(folder):
    return all(entry.stat().st_atime_ns == 0 for entry in folder.iterdir())


def spoil(path, change):
    with h5py.File(path, "r+", libver="latest") as file:
        change(file)


def unclose(path):
    """Make a closed file look as if its writer had died a year ago."""
    with h5py.File(path, "r+", libver="latest") as file:
        if isinstance(file.get("status", getlink=True), h5py.HardLink):
            file["status"][...] = b"running"
    content = bytearray(path.read_bytes())
    content[superblock.FLAGS] = 5
    struct.pack_into("<I", content, superblock.CHECKSUM, superblock.lookup3(bytes(content[: superblock.CHECKSUM])))
    path.write_bytes(content)
    os.utime(path, (1e9, 1e9))


LEFT_OUT = {
    "1e15 rows without storage": "/points/huge: shape (1000000000000000,) needs 8000000000000000 bytes, left out",
    "1e15 rows counted": f"/series: rows {ROWS} to 999999999999999 of 1000000000000000 are lost, /series/step ends",
    "chunks of 2 GB": "/series/chunky: chunks of 2147483648 bytes, left out",
    "values of 2 GB": "/points/item: 2147483647 bytes a value, left out",
    "an attribute of 40 MB": "/points@bomb: of 40000000 bytes, 40000000 items, left out",
    "soft link to itself": "/series/soft: SoftLink, left out",
    "external link as a stream": "/gradients: ExternalLink, left out",
    "external link as status": "/status: ExternalLink, left out",
    "external storage": "/points/raw: data in another file, left out",
    "virtual dataset": "/points/virtual: a virtual dataset, data in other files, left out",
    "hard link in a circle": "/series/again: the same as /, left out",
    "3,000 groups deep": f"{'/deep' * 9}: more than 8 levels deep, left out",
    "object references": "/points/references: holds objects or ragged arrays, left out",
    "attribute with a reference": "/points@reference: holds references, left out",
    "named type": "/points/type: a named type, left out",
    "filter of a plugin": "/series/filtered: stored with filter zstd (32015), left out",
    "counter of 2^62": f"/series: rows {ROWS} to {2**62 - 1} of {2**62} are lost, /series/step ends there",
    "late entries without names": "/late: entries 0 to 2 of 3 are lost, /late/name ends there",
}


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_what_can_be_spared_is_left_out_and_named(closed, outside, kind):
    spoil(closed, lambda file: MADE[kind](file, outside))
    if kind.startswith("external"):
        # What nobody has closed is copied before all of it is read.
        unclose(closed)
    before = closed.read_bytes()
    if kind == "external storage":
        with pytest.raises(TrajectoryError, match="keeps what can be read"):
            recover(closed)
    result = recover(closed, closed.with_name("rest.h5"))
    assert (result.rows, len(result.lost)) == (WHOLE, 1)
    assert result.lost[0].startswith(LEFT_OUT[kind])
    assert closed.read_bytes() == before
    assert unread(outside)
    if kind in {"1e15 rows counted", "external link as status", "hard link in a circle", "late entries without names"}:
        assert validate(closed.with_name("rest.h5")) == []


LOST_STREAM = {
    "external storage of a counter": "(/series/committed is left out), all of it is lost",
    "negative counter": "/series: its number of rows cannot be read (/series/committed says -5), all of it is lost",
    "counter of another type": "(expected one int64 in /series/committed, came something else), all of it is lost",
    "stream without index": f"/series: all {ROWS} rows are lost, since /series/step is",
}


@pytest.mark.parametrize("unclosed", [False, True])
@pytest.mark.parametrize("kind", LOST_STREAM)
def test_a_stream_that_nobody_can_count_is_lost_and_no_other(closed, outside, kind, unclosed):
    spoil(closed, lambda file: MADE[kind](file, outside))
    if unclosed:
        unclose(closed)
    result = recover(closed, closed.with_name("rest.h5"))
    assert result.rows == {"spectra": ROWS}
    assert result.lost[-1].endswith(LOST_STREAM[kind])
    assert unread(outside)
    assert validate(closed.with_name("rest.h5")) == []


REFUSED = {
    "12,000 groups": "/many: 12000 links; expected at most 10000 in a file",
    "20,000 soft links": "/points: 20003 links; expected at most 10000 in a file",
    "an attribute of 40 texts of 1 MB": "/points: attributes of more than 33554432 bytes up to bomb",
    "decompression bomb": "expected at most 200 times as many: a decompression bomb",
    "20,000 late columns": "expected at most 200 times as many: a decompression bomb",
    "2 GB, most of it a hole": "expected at most 200 times as many: a decompression bomb",
    "user block": "came a user block of 512 bytes before it",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_too_much_is_refused_soon(closed, outside, kind, monkeypatch):
    if kind in MADE:
        spoil(closed, lambda file: MADE[kind](file, outside))
    else:
        INSTEAD[kind](closed, outside)
    # Of a hole, no copy is made: room for what is on the disk has to do.
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 1 << 26))
    start = time.perf_counter()
    with pytest.raises(TrajectoryError) as caught:
        recover(closed, closed.with_name("rest.h5"))
    assert time.perf_counter() - start < SECONDS
    assert str(caught.value).startswith(f"{closed}: ")
    assert REFUSED[kind] in str(caught.value)
    assert sorted(os.listdir(closed.parent)) == ["outside", "run.h5"]


def test_files_of_an_older_hdf5_lead_nowhere_either(tmp_path, outside):
    path = tmp_path / "old.h5"
    with h5py.File(path, "w", libver="earliest") as file:
        file.attrs.update({"format": FORMAT, "format_version": "1.0"})
        file["stop_reason"], file["points/x"] = "", 1.0
    spoil(path, lambda file: file.__setitem__("status", h5py.ExternalLink(str(outside / "secret.h5"), "/secret")))
    assert superblock.read(str(path)) is None
    result = recover(path, tmp_path / "rest.h5")
    assert (result.status, result.lost) == ("interrupted", ("/status: ExternalLink, left out",))
    assert unread(outside)


def test_segments_are_looked_at_before_they_are_joined(tmp_path, outside):
    path = tmp_path / "run.segments"
    with Recorder(path) as recorder:
        recorder.record("series", step=0, loss=1.0)
    segment = path / "segment-000001.h5"
    spoil(segment, lambda file: MADE["external link as status"](file, outside))
    with pytest.raises(TrajectoryError, match=f"^{segment}: /status: ExternalLink; expected every group"):
        recover(path, tmp_path / "joined.h5")
    assert unread(outside)
    assert not (tmp_path / "joined.h5").exists()


def test_a_hundred_thousand_attributes_are_left_out_soon(closed):
    spoil(closed, lambda file: [file["points"].attrs.create(str(index), 0, dtype="i1") for index in range(1001)])
    assert recover(closed, closed.with_name("rest.h5")).lost == ("/points@: 1001 attributes, left out",)


def test_what_is_said_is_printable_and_short(closed, outside):
    spoil(closed, lambda file: MADE["names that a terminal obeys"](file, outside))
    spoil(closed, lambda file: file["series"].__setitem__("\x1b[2Jlink", h5py.SoftLink("/series/loss")))
    spoil(closed, lambda file: file["stop_reason"].__setitem__((), b"\x1b[31mred"))
    result = recover(closed, closed.with_name("rest.h5"))
    assert result.lost == ("/series/\\x1b[2Jlink: SoftLink, left out",)
    assert result.reason == "\\x1b[31mred"
    with h5py.File(closed.with_name("rest.h5")) as file:
        assert file["stop_reason"][()] == b"\x1b[31mred"
    spoil(closed, lambda file: [file.__setitem__(f"x{index}", h5py.SoftLink("/")) for index in range(120)])
    lost = recover(closed, closed.with_name("more.h5")).lost
    assert (len(lost), lost[-1]) == (101, "/: 21 further losses, not named here")


def test_errors_name_the_file_and_what_is_wrong(closed, monkeypatch):
    def answer(error):
        def fail(*args, **options):
            raise error

        monkeypatch.setattr(salvage, "copy_open", fail)
        return salvage.copy_readable(str(closed), f"{closed}.copy", lambda share: None)["error"]

    unclose(closed)
    target = f"{closed}.copy"
    full = OSError(28, "cannot be written (No space left on device): free space, or name another", target)
    assert answer(full) == f"{closed}: its copy {target}: {full.strerror}"
    assert answer(OSError("Can't synchronously read data")).startswith(
        f"{closed}: cannot be copied (Can't synchronously read data): the file is damaged"
    )
    monkeypatch.setattr(salvage, "_copied", lambda *args: 1 / 0)
    assert answer(None).startswith(f"{closed}: cannot be read (division by zero): the file is damaged")
    monkeypatch.setattr(salvage, "admit", lambda *args: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(MemoryError):
        answer(None)
    shutil.copy(closed, closed.with_name("in_the_way"))
    with pytest.raises(TrajectoryError, match=f"{closed}: its copy .*/none/rest.h5: No such file"):
        raise TrajectoryError(salvage._named(str(closed), "/none/rest.h5", _failure("/none/rest.h5")))


def _failure(path):
    try:
        open(path)
    except OSError as error:
        return error


def test_a_damaged_attribute_costs_no_other(closed, outside):
    INSTEAD["a text that says it has 4 GB"](closed, outside)
    spoil(closed, lambda file: file["forged"].attrs.update({"kept": 1}))
    result = recover(closed, closed.with_name("rest.h5"))
    assert len(result.lost) == 1
    assert result.lost[0].startswith("/forged@bomb: cannot be read (")
    with h5py.File(closed.with_name("rest.h5")) as file:
        assert dict(file["forged"].attrs) == {"kept": 1}


def test_damage_costs_what_is_damaged_alone(closed, monkeypatch):
    real = admitted.unsafe

    def unsafe(path, dataset, extent):
        if path == "/series/loss":
            raise ValueError("no such type")
        return real(path, dataset, extent)

    monkeypatch.setattr(admitted, "unsafe", unsafe)
    with h5py.File(closed) as file:
        found = admit(file, str(closed))
        assert (found.leave_out, found.lost) == ({"/series/loss"}, ("/series/loss: cannot be read (no such type)",))
        monkeypatch.setattr(admitted._Admission, "_late", lambda self: 1 / 0)
        with pytest.raises(
            TrajectoryError, match=rf"^{closed}: cannot be read at .* \(division by zero\): the file is"
        ):
            admit(file, str(closed))


def test_a_look_costs_no_rows(closed, monkeypatch):
    with h5py.File(closed) as file:
        # No dataset is read but the counters.
        seen, real = [], h5py.Dataset.__getitem__
        monkeypatch.setattr(h5py.Dataset, "__getitem__", lambda self, key: (seen.append(self.name), real(self, key))[1])
        found = admit(file, str(closed))
    assert (found.rows, found.leave_out, found.lost) == (WHOLE | {"late": 0}, frozenset(), ())
    assert all(name.endswith("/committed") or "label" in name or name.endswith(("term", "axis")) for name in seen), seen


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 1, 2, 0, 0], 3), ([0, 1, 2, 3, 4], 5), ([3, 3, 4, 5, 6], 1), ([0, 1, 2, 3, 3], 4), ([0, 1, 5, 4, 6], 3)],
)
@pytest.mark.parametrize("block", [1, 2, 3, 64])
def test_rows_that_increase(tmp_path, monkeypatch, values, expected, block):
    monkeypatch.setattr("dynamics.copies.counted_rows.BLOCK", block)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["step"], file["flat"], file["text"] = values, [values], ["a"]
        assert increasing_rows(file["step"], 5, lambda share: None) == expected
        assert increasing_rows(file["flat"], 1, lambda share: None) == 1
        assert increasing_rows(file["text"], 1, lambda share: None) == 1


def test_rows_that_are_stored(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        step = file.create_dataset("step", (100,), "i8", maxshape=(None,), chunks=(10,))
        assert stored_rows(step, 100) == 0
        step[:20], step[30:40] = 1, 1
        assert (stored_rows(step, 100), stored_rows(step, 15)) == (20, 15)
        step[20:30] = 1
        assert stored_rows(step, 100) == 40
        step.resize(35, axis=0)
        assert stored_rows(step, 100) == 35
        file["flat"], file["group/x"] = np.arange(5), 1
        assert (stored_rows(file["flat"], 7), stored_rows(file["group"], 7)) == (7, 7)
