"""What makes a file dangerous to read is named before it is read; what the recorder writes is not dangerous."""

import os
import struct
import zlib

import h5py
import numpy as np
import pytest

from analyses.benchmarks.damage import object_headers, seal
from analyses.benchmarks.hostile import INSTEAD, MADE
from dynamics import Recorder
from dynamics.confined import guarded, structure
from dynamics.confined.confined import run
from dynamics.confined.extent import Extent
from dynamics.confined.guarded import printable
from dynamics.confined.storage import CHUNK_BYTES
from dynamics.confined.structure import examine
from dynamics.copies.copying import copy_rows
from dynamics.file import superblock
from dynamics.format import Stream, Variable

ROWS = 30
YEAR_AGO = 365 * 86400


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Healthy files: closed, repacked with gzip, left behind with late entries."""
    folder = tmp_path_factory.mktemp("samples")
    series = Stream("series", coords={"term": ["a", "b"]})
    with Recorder(folder / "closed.h5", streams=[series], commit_every=0.0) as recorder:
        recorder.store("points", coords={"axis": ["x"]}, interior=(("interior_point", "axis"), np.zeros((30, 1))))
        for step in range(ROWS):
            more = {"came_late": 1.0} if step > 20 else {}
            recorder.record("series", step, loss=1.0, loss_raw=[1.0, 2.0], **more)
            recorder.record("parameters", step, value=np.ones(500, np.float32))
        (folder / "left.h5").write_bytes((folder / "closed.h5").read_bytes())
        (folder / "fresh.h5").write_bytes((folder / "closed.h5").read_bytes())
    age(folder / "left.h5")
    copy_rows(str(folder / "closed.h5"), str(folder / "gzip.h5"), compression="gzip")
    return folder


def age(path):
    then = os.path.getmtime(path) - YEAR_AGO
    os.utime(path, (then, then))


@pytest.fixture
def closed(samples, tmp_path):
    path = tmp_path / "run.h5"
    path.write_bytes((samples / "closed.h5").read_bytes())
    return path


def spoiled(path, spoil):
    with h5py.File(path, "r+", libver="latest") as file:
        spoil(file)
    return examine(path)


@pytest.mark.parametrize("name", ["closed", "gzip", "left", "fresh"])
def test_healthy_files_have_no_findings(samples, name):
    assert examine(samples / f"{name}.h5") == []


@pytest.mark.parametrize("name", ["helmholtz", "helmholtz-rba", "poisson-fd"])
def test_real_runs_have_no_findings(name):
    assert examine(f"data/{name}.h5") == []


FOUND = {
    "1e15 rows without storage": "/points/huge: shape (1000000000000000,) needs 8000000000000000 bytes",
    "1e15 rows counted": "/series/step: 1 chunks of 1024 rows; committed says 1000000000000000",
    "rows of 8 GB": "/series/wide: chunks of 4294967296 bytes; expected at most 67108864",
    "chunks of 2 GB": "/series/chunky: chunks of 2147483648 bytes; expected at most 67108864",
    "32 axes": "/points/axes: 32 dimensions; expected at most 16",
    "a dimension of 1e17": "/points/everything: a dimension of 100000000000000000; expected at most 100000000",
    "values of 2 GB": "/points/item: 2147483647 bytes a value; expected at most 65536",
    "an attribute of 40 MB": "/points: attribute bomb of 40000000 bytes, 40000000 items; expected at most 16777216",
    "an attribute of 40 texts of 1 MB": "/points: attributes of more than 33554432 bytes up to bomb",
    "12,000 groups": "/many: 12000 links; expected at most 10000 in a file",
    "soft link to itself": "/series/soft: SoftLink; expected every group and dataset in the file itself",
    "external link": "/series/link: ExternalLink; expected every group and dataset in the file itself",
    "external link as a stream": "/gradients: ExternalLink; expected every group and dataset in the file itself",
    "external link as status": "/status: ExternalLink; expected every group and dataset in the file itself",
    "external storage": "/points/raw: data in another file; expected it in the file itself",
    "external storage of a counter": "/series/committed: data in another file; expected it in the file itself",
    "virtual dataset": "/points/virtual: a virtual dataset, data in other files; expected it in the file itself",
    "hard link in a circle": "/series/again: a group in a group that is / as well; expected one name for everything",
    "hard links in a deep circle": "/deep/deeper/deepest/up: a group in a group that is /deep as well",
    "3,000 groups deep": f"{'/deep' * 9}: a group in a group; expected at most 8 levels",
    "object references": "/points/references: holds objects or ragged arrays",
    "region references": "/points/regions: holds objects or ragged arrays",
    "attribute with a reference": "/points: attribute reference holds references; expected numbers or text",
    "ragged arrays": "/points/ragged: holds objects or ragged arrays",
    "1,000,000 labels": "/points/labels: 1000000 strings of varying length; expected at most 100000",
    "named type": "/points/type: a named type; expected groups and datasets only",
    "decompression bomb": "/: indices and labels of",
    "a chunk that unfolds to more than it says": "{path}: cannot be read on at /series/step: OSError:",
    "filter lzf": "/series/filtered: stored with filter lzf (32000); expected gzip, shuffle or none: repack it",
    "filter szip": "/series/filtered: stored with filter szip (4); expected gzip, shuffle or none: repack it",
    "filter nbit": "/series/filtered: stored with filter nbit (5); expected gzip, shuffle or none: repack it",
    "filter scaleoffset": "/series/filtered: stored with filter scaleoffset (6); expected gzip, shuffle or none",
    "filter of a plugin": "/series/filtered: stored with filter zstd (32015); expected gzip, shuffle or none",
    "negative counter": "/series/step: 30 rows; committed says -5",
    "counter of 2^62": "/series/step: 30 rows; committed says 4611686018427387904",
    "stream without index": "/series/step: missing; every stream has it",
    "late entries without names": "/late/name: b'",
    "20,000 late columns": "/: ",
    "a text that says it has 4 GB": "{path}: cannot be read on at attribute bomb of /forged: OSError:",
    "2 GB, most of it a hole": "/: ",
    "user block": "{path}: expected an HDF5 file from its first byte on, came a user block of 512 bytes before it",
    "pipe": "{path}: expected a trajectory, came a pipe: name a file",
    "link to a device": "{path}: expected a trajectory, came a device: name a file",
    "folder": "{path}: expected a trajectory, came a directory: name a file in it",
    "empty file": "{path}: expected a trajectory, came an empty file",
    "text file": "{path}: expected an HDF5 file, came 16 bytes",
    "HDF5 signature alone": "{path}: expected a trajectory, came a file that HDF5 cannot open",
    "link to a file outside": "{path}: expected an HDF5 file, came",
    "link to itself": "{path}: expected a trajectory, came no file: check the path",
    "link to nothing": "{path}: expected a trajectory, came no file: check the path",
}
HARMLESS = {
    "compound type",
    "counter of another type",
    "status of another shape",
    "names that a terminal obeys",
    "configuration nested 50,000 deep",
    "a scale that is gone",
    "version of 20 digits",
    "attributes of other types",
    "link to a sound file",
}
UNLIMITED = ("a chunk that unfolds to more than it says", "a text that says it has 4 GB")
SLOW = {"100,000 attributes": "/many: 1001 attributes", "20,000 soft links": "/points/0: SoftLink"}


def test_every_hostile_file_is_tested():
    assert {*FOUND, *HARMLESS, *SLOW} == {*MADE, *INSTEAD}


@pytest.mark.parametrize("kind", [*FOUND, *sorted(HARMLESS)])
def test_dangers_are_named(closed, tmp_path, kind):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("SECRET " * 100)
    if kind in MADE:
        with h5py.File(closed, "r+", libver="latest") as file:
            MADE[kind](file, outside)
    else:
        INSTEAD[kind](closed, outside)
    # Without the limits of the child, these two take gigabytes.
    found = run("examine", closed).value if kind in UNLIMITED else examine(closed)
    if kind in HARMLESS:
        assert found == []
    else:
        assert len(found) == 1 + (kind == "decompression bomb") and found[0].startswith(
            FOUND[kind].format(path=closed)
        ), found
        assert found[0].isprintable() and len(found[0]) <= 1000


def test_attributes_are_counted(closed):
    def many(file):
        file["points"].attrs.update({str(index): 0 for index in range(1001)})

    assert spoiled(closed, many) == ["/points: 1001 attributes; expected at most 1000: leave the file alone"]


def test_links_of_all_groups_are_counted(closed, monkeypatch):
    monkeypatch.setattr(structure, "OBJECTS", 20)
    assert len(found := examine(closed)) == 1 and "links; expected at most 20 in a file" in found[0]


def bomb(rows, chunks, name="series/bomb"):
    """A column of zeros, stored in chunks of gzip."""

    def spoil(file):
        item = file.create_dataset(name, (rows * chunks,), "f8", maxshape=(None,), chunks=(rows,), compression=9)
        for chunk in range(chunks):
            item.id.write_direct_chunk((chunk * rows,), zlib.compress(bytes(8 * rows), 9))

    return spoil


def test_bombs_are_measured_by_what_they_unfold_to(closed):
    # Static arrays are read when asked for: 128 MiB may come of any file; beyond that 200 times its size.
    assert spoiled(closed, bomb(1 << 20, 15, "points/bomb")) == []
    assert spoiled(closed, bomb(1 << 20, 8, "points/second"))[0].startswith("/: ")


def test_chunks_must_be_small_or_stored_whole(closed):
    def at_the_limit(extra):
        def spoil(file):
            shape = (CHUNK_BYTES // 8 + extra,)
            file.create_dataset(f"points/x{extra}", shape, "f8", maxshape=(None,), chunks=shape)

        return spoil

    assert spoiled(closed, at_the_limit(0)) == []
    assert spoiled(closed, at_the_limit(1)) == [
        f"/points/x1: chunks of {CHUNK_BYTES + 8} bytes; expected at most {CHUNK_BYTES}: repack it where you trust it"
    ]


def test_a_stored_chunk_larger_than_it_says_is_refused(closed):
    def spoil(file):
        item = file.create_dataset("points/x", (4,), "f8", maxshape=(None,), chunks=(4,), compression=9)
        item.id.write_direct_chunk((0,), zlib.compress(os.urandom(5000)))

    assert spoiled(closed, spoil)[0].startswith(
        "/points/x: a chunk of 5011 bytes at (0,); expected it in (4,): damaged"
    )


def test_datasets_that_share_their_bytes_are_refused(closed):
    with h5py.File(closed, "r+", libver="latest") as file:
        for name, value in (("first", 1.0), ("other", 2.0)):
            file.create_dataset(f"points/{name}", data=np.full(90_000, value))
        first, other = (file[f"points/{name}"].id.get_offset() for name in ("first", "other"))
    # Of two large datasets, the second is said to lie where the first does; what is behind is cut off.
    data = bytearray(closed.read_bytes())
    for start, end in list(object_headers(data)):
        place = data.find(struct.pack("<Q", max(first, other)), start, end)
        if place >= 0:
            struct.pack_into("<Q", data, place, min(first, other))
            seal(data, start, end)
    del data[max(first, other) + 4096 :]
    struct.pack_into("<Q", data, superblock.END, len(data))
    struct.pack_into("<I", data, superblock.CHECKSUM, superblock.lookup3(bytes(data[: superblock.CHECKSUM])))
    closed.write_bytes(data)
    found = examine(closed)
    assert len(found) == 1 and "they overlap, damaged" in found[0], found


def test_rows_behind_the_end_are_lost(samples, tmp_path):
    path = tmp_path / "cut.h5"
    path.write_bytes((samples / "left.h5").read_bytes())
    with h5py.File(samples / "closed.h5") as file:
        size = file["parameters/value"].id.get_chunk_info(0).size
    os.truncate(path, os.path.getsize(path) - size // 2)
    age(path)
    found = examine(path)
    assert found and "lost, a chunk lies behind the end of the file" in found[0]


def test_closed_files_that_were_cut_are_refused(closed):
    os.truncate(closed, os.path.getsize(closed) - 1)
    assert len(found := examine(closed)) == 1 and found[0].startswith(f"{closed}: expected")


def test_a_half_seen_write_is_looked_at_again(samples, tmp_path, monkeypatch):
    whole, path = (samples / "left.h5").read_bytes(), tmp_path / "live.h5"
    torn = whole.replace(b"OHDR", b"OH\0\0", 3)
    path.write_bytes(torn)
    waits = []

    def heal(seconds):
        waits.append(seconds)
        if len(waits) == 2:
            path.write_bytes(whole)

    monkeypatch.setattr("dynamics.confined.guarded.sleep", heal)
    assert examine(path) == [] and len(waits) == 2
    path.write_bytes(torn)
    age(path)
    assert examine(path) != [] and len(waits) == 2


def test_what_is_appended_while_a_file_is_looked_at_is_seen(tmp_path):
    path = str(tmp_path / "run.h5")
    with Recorder(path, commit_every=0.0) as recorder:
        recorder.declare(Stream("spectra", [Variable("value", ("mode",))], {"mode": 100}))
        recorder.record("spectra", step=0, value=np.zeros(100))
        recorder.sync()
        with guarded.opened(path) as (file, state):
            size = os.path.getsize(path)
            for step in range(1, 5000):
                recorder.record("spectra", step=step, value=np.full(100, step))
            recorder.sync()
            assert os.path.getsize(path) > 2 * size
            found = structure.look(file, path)
    assert (state, found.findings) == ("live", ())
    assert found.committed["spectra"] >= 1


def test_the_size_of_a_growing_file_is_asked_for_again(tmp_path):
    path = tmp_path / "run.h5"
    path.write_bytes(bytes(10))
    extent = Extent(path)
    assert (extent.holds(10), extent.holds(11)) == (True, False)
    path.write_bytes(bytes(11))
    assert (extent.holds(11), extent.holds(12)) == (True, False)


def test_lines_are_printable_and_few(closed):
    def spoil(file):
        for index in range(150):
            file["series"][f"\x1b[31m{index}"] = h5py.SoftLink("/series/loss")

    found = spoiled(closed, spoil)
    assert len(found) == 101 and found[0].startswith("/series/\\x1b[31m0: SoftLink")
    assert found[-1] == f"{closed}: expected no findings, came 50 more"
    assert printable("a\nb\ud800é") == "a\\nb\\ud800é"
