"""Recovery: what a crash left becomes a closed file, damage is named, and the original is safe until the end."""

import os
import platform
import shutil
import struct
import subprocess
import sys
import textwrap

import h5py
import numpy as np
import pytest

from dynamics import Recorder, TrajectoryError, open_trajectory, validate
from dynamics.copies import recovery, salvage
from dynamics.copies.copying import copy_rows
from dynamics.copies.recovery import recover
from dynamics.copies.replacement import Replacement
from dynamics.file import superblock
from dynamics.file.lock import Holder, LockedError, holder

STEPS = 1300
DEAD = 2**22 + 1
"""No process has this number: Linux gives numbers below 2**22."""


def write(path, steps=STEPS):
    """A recorder that has committed all but its last rows; `late` entries from step 2 on."""
    recorder = Recorder(path, commit_every=0.0, config={"seed": 3})
    recorder.store("points", coords={"axis": ["x"]}, interior=(("interior_point", "axis"), np.eye(4, 1)))
    for step in range(3):
        recorder.record("series", step, time=step, loss=1.0 / (step + 1), loss_raw=[step, -step])
        recorder.record("fields", step, time=step, value=np.full(3000, step, "f4"))
    recorder._commit_every = 1e9
    for step in range(3, steps):
        recorder.record("series", step, time=step, loss=1.0 / (step + 1), loss_raw=[step, -step])
        if step % 20 == 0:
            recorder.record("fields", step, time=step, value=np.full(3000, step, "f4"))
            recorder.record("series_late", step, time=step, noise=step / 8)
    recorder._commit_every = 0.0
    recorder.record("series", steps, time=steps, loss=1.0 / (steps + 1), loss_raw=[steps, -steps])
    return recorder


@pytest.fixture(scope="module")
def left_bytes(tmp_path_factory):
    """The bytes that a writer left when it was killed."""
    path = tmp_path_factory.mktemp("left") / "run.h5"
    recorder = write(path)
    content = path.read_bytes()
    recorder.close()
    return content


@pytest.fixture
def left(left_bytes, tmp_path):
    """A left file in a folder of its own, with the lock of a dead writer."""
    path = tmp_path / "run.h5"
    path.write_bytes(left_bytes)
    leave_lock(path, DEAD)
    return path


def leave_lock(path, pid, host=None):
    (path.parent / f"{path.name}.lock").write_text(
        f'{{"host": "{host or platform.node()}", "pid": {pid}, "started": ""}}'
    )


def check(path, rows=STEPS + 1):
    assert validate(path) == []
    with open_trajectory(path) as tree:
        steps = np.arange(rows)
        np.testing.assert_array_equal(tree["series/step"], steps)
        np.testing.assert_array_equal(tree["series/loss"], 1.0 / (steps + 1))
        np.testing.assert_array_equal(tree["series/loss_raw"], np.stack([steps, -steps], 1))
        np.testing.assert_array_equal(tree["fields/value"][:, -1], tree["fields/step"])
        np.testing.assert_array_equal(tree["series_late/noise"], tree["series_late/step"] / 8)
        np.testing.assert_array_equal(tree["points/interior"], np.eye(4, 1))
        return dict(tree.attrs)


def flip(path, *places):
    content = bytearray(path.read_bytes())
    for place in places:
        content[place] ^= 0xFF
    path.write_bytes(bytes(content))


def places(path, dataset):
    """Return header address and chunks (row, offset, size) of a dataset of a left file."""
    with salvage.as_closed(str(path)) as (file, _):
        chunks = []
        file[dataset].id.chunk_iter(lambda c: chunks.append((c.chunk_offset[0], c.byte_offset, c.size)))
        return h5py.h5o.get_info(file[dataset].id).addr, chunks


def test_a_left_file_is_closed_with_every_committed_row(left):
    shares = []
    result = recover(left, progress=shares.append)
    writer = f"process {os.getpid()} on {platform.node()}"
    assert result.rows == {"series": STEPS + 1, "fields": 67, "series_late": 64}
    assert (result.needed, result.lost, result.path) == (True, (), str(left))
    assert (result.status, result.reason) == ("interrupted", f"recovered: {writer} ended without closing it")
    attrs = check(left)
    assert (attrs["status"], attrs["stop_reason"]) == (result.status, result.reason)
    assert os.listdir(left.parent) == ["run.h5"]
    assert shares == sorted(shares)
    assert shares[-1] > 0.9
    assert not recover(left).needed


def test_a_finished_file_is_left_alone(tmp_path):
    path = tmp_path / "run.h5"
    recorder = write(path, steps=30)
    recorder.close("diverged", "too fast")
    before = path.read_bytes(), path.stat().st_mtime_ns
    result = recover(path)
    assert (result.needed, result.status, result.reason) == (False, "diverged", "too fast")
    assert recover(path, tmp_path / "other.h5").needed is False
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert os.listdir(tmp_path) == ["run.h5"]


def test_an_output_leaves_the_original_as_it_is(left, tmp_path):
    before, output = left.read_bytes(), tmp_path / "whole.h5"
    assert recover(left, output).path == str(output)
    check(output)
    assert left.read_bytes() == before
    assert holder(str(left)).pid == DEAD
    with pytest.raises(FileExistsError, match="choose another name or pass overwrite"):
        recover(left, output)
    recover(left, output, overwrite=True)
    for wrong in (left, tmp_path):
        with pytest.raises(FileExistsError):
            recover(left, wrong, overwrite=True)
    with pytest.raises(FileNotFoundError, match="no directory: create it first"):
        recover(left, tmp_path / "none" / "x.h5")
    assert left.read_bytes() == before


def test_a_status_that_was_set_stays(left):
    with salvage.as_closed(str(left)) as (file, _):
        status, reason = (file[name].id.get_offset() for name in ("status", "stop_reason"))
    content = bytearray(left.read_bytes())
    content[status : status + 7] = b"failed\0"
    content[reason : reason + 6] = b"no luc"
    left.write_bytes(bytes(content))
    result = recover(left)
    assert (result.status, result.reason) == ("failed", "no luc")
    assert check(left)["status"] == "failed"


def test_a_file_that_is_not_closed_but_not_of_a_swmr_writer_either(left):
    content = bytearray(left.read_bytes())
    content[superblock.FLAGS] = 1
    checksum = superblock.lookup3(bytes(content[: superblock.CHECKSUM]))
    struct.pack_into("<I", content, superblock.CHECKSUM, checksum)
    left.write_bytes(bytes(content))
    recover(left)
    check(left)


def test_uncommitted_rows_go(tmp_path):
    path = tmp_path / "run.h5"
    write(path, steps=30).close()
    with h5py.File(path, "r+") as file:
        for dataset in file["series"].values():
            if dataset.ndim and dataset.maxshape[0] is None:
                dataset.resize(40, axis=0)
    result = recover(path)
    assert result.needed
    assert result.status == "complete"
    assert check(path, 31)["status"] == "complete"


def test_a_writer_that_lives_or_may_live_is_named(left, monkeypatch):
    before = left.read_bytes()
    for output in (None, left.parent / "other.h5"):
        leave_lock(left, os.getpid())
        with pytest.raises(LockedError, match=f"being written by process {os.getpid()} on .*: wait for it, or end it$"):
            recover(left, output)
        leave_lock(left, 7, "elsewhere")
        with pytest.raises(LockedError, match=r"process 7 on elsewhere: .*cannot be told from here: if not, remove"):
            recover(left, output)
    os.remove(f"{left}.lock")
    monkeypatch.setattr(recovery, "sleep", lambda seconds: os.utime(left, (1, 2)) if seconds > 2 else None)
    os.utime(left)
    with pytest.raises(LockedError, match="by a process that holds no lock"):
        recover(left)
    assert left.read_bytes() == before
    recover(left)
    check(left)


def test_bad_paths(tmp_path):
    empty, text = tmp_path / "empty.h5", tmp_path / "text.h5"
    empty.touch()
    text.write_text("a" * 1000)
    other = tmp_path / "other.h5"
    h5py.File(other, "w").close()
    cases = (
        (tmp_path / "no.h5", "no file: check"),
        (tmp_path, "name one"),
        (empty, "empty file"),
        (text, "came another"),
    )
    for path, message in (*cases, (other, "pass the file that a Recorder wrote")):
        with pytest.raises(TrajectoryError, match=message) as error:
            recover(path)
        assert str(path) in str(error.value)
    assert sorted(os.listdir(tmp_path)) == ["empty.h5", "other.h5", "text.h5"]


def refused_in_place(path):
    before = path.read_bytes()
    with pytest.raises(TrajectoryError, match=r"left as it is; pinnscope recover .* -o NEW.h5 keeps") as error:
        recover(path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["run.h5"]
    # Without a lock, a file counts as written to for 3 s.
    os.utime(path, (1, 1))
    return str(error.value)


def test_a_truncated_file_keeps_the_rows_before_the_cut(left):
    chunks = places(left, "series/loss")[1]
    row = chunks[1][0]
    ends = [places(left, f"series/{name}")[1] for name in ("step", "time", "loss_raw", "loss")]
    cut = max(offset for column in ends for first, offset, _ in column) + 100
    shortened = [name for name, column in zip(("step", "time", "loss_raw", "loss"), ends, strict=True)
                 if any(offset + size > cut for _, offset, size in column)]  # fmt: skip
    assert row == 1024
    assert shortened
    left.write_bytes(left.read_bytes()[:cut])
    message = refused_in_place(left)
    assert f"/series: rows 1024 to {STEPS} of {STEPS + 1} are lost, /series/{shortened[0]} ends there" in message
    result = recover(left, left.parent / "rest.h5")
    assert result.rows["series"] == 1024
    assert result.status == "interrupted"
    assert result.lost
    with open_trajectory(left.parent / "rest.h5") as tree:
        np.testing.assert_array_equal(tree["series/loss"], 1.0 / np.arange(1, 1025))


def test_a_flipped_byte_in_a_compressed_chunk_costs_the_rows_from_there(left):
    recover(left)
    copy_rows(str(left), f"{left}.gz", compression="gzip")
    os.replace(f"{left}.gz", left)
    chunks = places(left, "fields/value")[1]
    row, offset, size = chunks[1]
    flip(left, *range(offset + size // 3, offset + size // 3 + 8))
    message = refused_in_place(left)
    assert f"/fields: rows {row} to 66 of 67 are lost, /fields/value ends there" in message
    assert "series" not in message
    result = recover(left, left.parent / "rest.h5")
    assert result.rows == {"series": STEPS + 1, "fields": row, "series_late": 64}
    check(left.parent / "rest.h5")


@pytest.mark.parametrize(
    ("dataset", "lost", "kept"),
    [
        ("series/loss_raw", "/series/loss_raw: cannot be read", ("series/loss", "series_late/noise")),
        ("fields/step", "/fields: all 67 rows are lost, since /fields/step is", ("series/loss", "points/interior")),
        ("points/interior", "/points/interior: cannot be read", ("series/loss", "fields/value")),
        ("fields/committed", "/fields: its number of rows cannot be read", ("series/loss", "points/interior")),
        ("late/value", "/late: all", ("series/loss", "points/interior")),
    ],
)
def test_what_cannot_be_opened_is_left_out_and_named(left, dataset, lost, kept):
    flip(left, *range(places_of_header(left, dataset), places_of_header(left, dataset) + 40))
    assert lost in refused_in_place(left)
    result = recover(left, left.parent / "rest.h5")
    assert any(line.startswith(lost) for line in result.lost)
    with h5py.File(left.parent / "rest.h5") as rest, salvage.as_closed(str(left)) as (file, _):
        for name in kept:
            if name in file:
                count = len(rest[name])
                np.testing.assert_array_equal(rest[name], file[name][:count])
                assert count
        assert dataset == "late/value" or dataset not in rest


def places_of_header(path, dataset):
    with salvage.as_closed(str(path)) as (file, _):
        return h5py.h5o.get_info(file[dataset].id).addr


def test_links_and_filters_are_named_and_left_out(left):
    recover(left)
    with h5py.File(left, "r+") as file:
        file["elsewhere"] = h5py.ExternalLink("/etc/passwd", "/")
        file["points"].create_dataset("packed", data=np.ones(9), chunks=(3,), compression="lzf")
        file["points"].attrs["reference"] = file.ref
    message = refused_in_place(left)
    for part in (
        "/elsewhere: ExternalLink, left out",
        "/points/packed: stored with filter lzf (32000), left out",
        "/points@reference: holds references, left out",
    ):
        assert part in message
    result = recover(left, left.parent / "rest.h5")
    assert len(result.lost) == 3
    check(left.parent / "rest.h5")


def test_a_decompression_bomb_is_refused(left, monkeypatch):
    recover(left)
    with h5py.File(left, "r+") as file:
        file["points"].create_dataset("bomb", (1 << 23,), "f8", chunks=(1 << 20,), compression="gzip")[:] = 0.0
        file["status"][...] = b"running"
    monkeypatch.setattr(salvage, "UNFOLDED_BYTES", 1 << 22)
    monkeypatch.setattr(salvage, "UNFOLDED_RATIO", 2)
    answer = salvage.copy_readable(str(left), f"{left}.copy", lambda share: None)
    assert "a decompression bomb" in answer["error"]
    assert os.listdir(left.parent) == ["run.h5"]


def test_nothing_changes_where_the_last_step_fails(left, monkeypatch):
    before = left.read_bytes()

    def fail(*_):
        raise OSError("no")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no"):
        recover(left)
    assert left.read_bytes() == before
    assert os.listdir(left.parent) == ["run.h5"]


def test_a_copy_that_differs_is_refused(left, monkeypatch):
    monkeypatch.setattr(salvage, "departures", lambda *_: iter(["/series: wrong"]))
    answer = salvage.copy_readable(str(left), f"{left}.copy", lambda share: None)
    assert "expected an exact copy, came another: /series: wrong" in answer["error"]
    assert not os.path.exists(f"{left}.copy")


FULL = """
    import resource, signal, sys
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000,) * 2)
    from dynamics.copies.recovery import recover
    try:
        recover(sys.argv[1])
    except Exception as error:
        print(error)
"""


def test_a_full_disk_changes_nothing_and_is_called_that(left, monkeypatch):
    before = left.read_bytes()
    command = [sys.executable, "-c", textwrap.dedent(FULL), str(left)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "File too large" in answer.stdout
    assert "damaged" not in answer.stdout
    assert left.read_bytes() == before
    assert os.listdir(left.parent) == ["run.h5"]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 1000))
    with pytest.raises(OSError, match=r"expected room for a copy of .* MB, came 0 MB: free space"):
        recover(left)


def test_what_dead_predecessors_left_is_cleared_away(left):
    alive = f"run.h5.recovering-{os.getppid()}"
    for name in (
        f"run.h5.recovering-{DEAD}",
        f"run.h5.repacking-{DEAD}",
        f"run.h5.tmp-{DEAD}",
        alive,
        "run.h5.recovering-x",
    ):
        (left.parent / name).touch()
    (left.parent / f"run.h5.lock.{DEAD}").touch()
    recover(left)
    assert sorted(os.listdir(left.parent)) == sorted(["run.h5", alive, "run.h5.recovering-x"])


def test_a_link_stays_a_link_and_the_mode_stays(left):
    real = left.parent / "real"
    real.mkdir()
    os.rename(left, real / "run.h5")
    os.remove(f"{left}.lock")
    leave_lock(real / "run.h5", DEAD)
    os.chmod(real / "run.h5", 0o640)
    os.symlink(real / "run.h5", left)
    recover(left)
    assert left.is_symlink()
    assert (real / "run.h5").stat().st_mode & 0o777 == 0o640
    check(real / "run.h5")
    assert os.listdir(real) == ["run.h5"]


def test_the_lock_is_held_meanwhile(left):
    with Replacement(str(left), None, "recovering"):
        assert holder(str(left)) == Holder.here()
        with pytest.raises(LockedError, match="being written by another recorder of this process"):
            recover_twice = Replacement(str(left), None, "recovering")
            recover_twice.__enter__()
    assert holder(str(left)) is None
