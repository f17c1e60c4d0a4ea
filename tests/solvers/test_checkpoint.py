"""Checkpoints on disk: what is read is what was written, damage is named, the last two stay, failure costs nothing."""

import errno
import io
import json
import os
import pickle
import random
import zipfile
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.lib import format as npy

from dynamics.file.claim import RecorderError
from solvers import Every, checkpoint_file
from solvers.checkpoint import Checkpoint, latest, path_at, paths_beside
from solvers.checkpoint_file import STRUCTURE, CheckpointError, read_file, write_file
from solvers.checkpoint_store import CheckpointStore
from solvers.checkpoints import check_when
from solvers.nested_arrays import pack, unpack
from solvers.random_state import random_state, set_random_state

CPU = torch.device("cpu")
NESTED = {
    "numbers": [1, -(2**70), 0.1, float("inf"), True, None, "text $ \u00e9"],
    "tuple": (1, (2.5,), []),
    3: {"$": 1, "a/../b": np.arange(3)},
    "counter": Counter({2: 1, 5: 2}),
    "tensors": [torch.rand(2, 3), torch.tensor(7, dtype=torch.uint8), torch.rand(4).bfloat16(), torch.zeros(0)],
    "arrays": {"x": np.float32([[1, 2]]).T, "nan": np.array([np.nan, -0.0]), "scalar": np.float64(0.3)},
}


def same(one, other):
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, np.ndarray | np.generic):
        return (
            type(one) is type(other)
            and (one.dtype, one.shape) == (other.dtype, other.shape)
            and (np.ascontiguousarray(one).tobytes() == np.ascontiguousarray(other).tobytes())
        )
    if isinstance(one, dict):
        return type(one) is type(other) and list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def checkpoint(step=5, run="a", **changed):
    given = dict(step=step, run_id=run, rows={"series": step}, loss=0.1, identity={}, streams={}, state=NESTED)
    return Checkpoint(**(given | changed))


def recorder(path, rows=None):
    return SimpleNamespace(path=str(path), recording=True, sync=lambda: dict(rows or {"series": recorder.step}))


# Nested values.


def test_nested_values_come_back_with_their_types_and_bits(tmp_path):
    structure, arrays = pack(NESTED)
    write_file(str(tmp_path / "one.npz"), structure, arrays)
    assert same(NESTED, unpack(*read_file(str(tmp_path / "one.npz"))))


def test_the_file_is_an_ordinary_npz_of_stored_members(tmp_path):
    path = str(tmp_path / "one.npz")
    checkpoint().write(path)
    with zipfile.ZipFile(path) as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.testzip() is None
    with np.load(path, allow_pickle=False) as arrays:
        assert np.array_equal(arrays["state.tensors.0"], NESTED["tensors"][0].numpy())


@pytest.mark.parametrize(
    "value", [print, {1, 2}, np.array([None]), b"bytes", lambda: 0], ids=lambda value: type(value).__name__
)
def test_what_would_have_to_be_run_is_refused_by_its_place(value):
    with pytest.raises(ValueError, match=r"optimizer\.lambdas\.1: expected numbers"):
        pack({"optimizer": {"lambdas": [None, value]}})


@pytest.mark.parametrize(
    "structure", [{"$": "code", "name": "x"}, {"$": "array"}, {"$": "tensor", "name": "none", "dtype": ""}, {"$": []}]
)
def test_a_structure_of_somebody_else_is_refused(structure):
    with pytest.raises(ValueError, match=r"expected a structure that pack\(\) makes"):
        unpack({"state": [structure]}, {})


def test_random_generators_go_on_where_they_were():
    # A half-used pair of normal numbers is part of two of the states.
    random.gauss(0, 1)
    np.random.randn()  # noqa: NPY002
    kept = pack(random_state(CPU))

    def draw():
        return torch.rand(3).tolist(), np.random.randn(3).tolist(), [random.gauss(0, 1) for _ in range(3)]  # noqa: NPY002

    first = draw()
    assert draw() != first
    set_random_state(unpack(*kept), CPU)
    assert draw() == first


# Damage and malice.


def with_member(path, name, data, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(STRUCTURE, json.dumps({"format": "pinnscope-checkpoint", "version": 1, "content": {}}))
        archive.writestr(name, data)


def header(shape, dtype="<f8", data=b""):
    file = io.BytesIO()
    npy.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue() + data


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.npy", header((10**15,)), "expected 0 bytes, came a header of shape"),
        ("x.npy", header((-1, -1), data=b"12345678"), "expected 8 bytes, came a header of shape"),
        ("x.npy", header((2**40, 2**40)), "expected 0 bytes, came a header of shape"),
        ("x.npy", header((1,), "|O", pickle.dumps(print)), "expected numbers, came object"),
        ("x.npy", header((1,), "<U2", b"12345678"), "expected numbers, came <U2"),
        ("x.npy", header((2,), [("a", "<f8")], b"1" * 16), "expected numbers, came"),
        ("x.npy", b"no header", "cannot be read"),
        ("x.npy", b"\x93NUMPY\x03\x00" + b"0" * 100, r"expected an array header 1.0 or 2.0, came \(3, 0\)"),
        ("code.py", b"print(1)", "came a member 'code.py'"),
    ],
)
def test_a_hostile_member_is_named_before_anything_is_allocated(tmp_path, name, data, message):
    path = str(tmp_path / "bad.npz")
    with_member(path, name, data)
    with pytest.raises(CheckpointError, match=rf"bad.npz: .*{message}"):
        read_file(path)


def test_compressed_members_are_refused_unread(tmp_path):
    path = str(tmp_path / "bomb.npz")
    with_member(path, "x.npy", header((10**6,), data=bytes(8 * 10**6)), zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match=r"bomb.npz: .*(stored member|claim more)"):
        read_file(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "came no regular file: check the path"),
        (lambda path: path.mkdir(), "came no regular file"),
        (lambda path: os.mkfifo(path), "came no regular file"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda path: zipfile.ZipFile(path, "w").close(), "expected a member 'structure.json', there is none"),
        (lambda path: write_file(str(path), {"format": "other", "version": 1, "content": {}}, {}), "came 'other' vers"),
        (lambda path: write_file(str(path), {"format": "pinnscope-checkpoint", "version": 2, "content": {}}, {}), "2"),
        (lambda path: write_file(str(path), [1], {}), "came something else"),
        (lambda path: checkpoint(step="5").write(str(path)), "step: expected int, came str"),
    ],
)
def test_what_is_no_checkpoint_is_named(tmp_path, make, message):
    path = tmp_path / "run.h5.checkpoint-5.npz"
    make(path)
    with pytest.raises(CheckpointError, match=rf"run.h5.checkpoint-5.npz: .*{message}"):
        Checkpoint.read(str(path))


def test_nested_brackets_without_end_are_no_crash(tmp_path):
    path = str(tmp_path / "deep.npz")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(STRUCTURE, "[" * 200_000)
    with pytest.raises(CheckpointError, match=r"deep\.npz"):
        read_file(path)


def test_every_flipped_bit_and_every_cut_is_named_or_harmless(tmp_path):
    whole, path = str(tmp_path / "whole.npz"), str(tmp_path / "bad.npz")
    checkpoint().write(whole)
    with open(whole, "rb") as file:
        data = file.read()
    draw, named = random.Random(1), 0
    for number in range(300):
        bad = bytearray(data)
        if number % 3:
            bad[draw.randrange(len(bad))] ^= 1 << draw.randrange(8)
        else:
            bad = bad[: draw.randrange(len(bad))]
        with open(path, "wb") as file:
            file.write(bad)
        try:
            found = Checkpoint.read(path)
        except CheckpointError as error:
            named += str(error).startswith(path)
        else:
            # Flags, dates and padding of the archive carry nothing.
            assert same(found.state, NESTED) and found.rows == {"series": 5}
            named += 1
    assert named == 300


# Which one counts, which ones stay.


def test_the_latest_that_can_be_read_counts_and_the_others_are_named(tmp_path):
    trajectory = str(tmp_path / "run [1].h5")
    for step in (5, 12, 100):
        checkpoint(step).write(path_at(trajectory, step))
    (tmp_path / "run [1].h5.checkpoint-999.npz.tmp-1").touch()
    (tmp_path / "run [1].h5.checkpoint-x.npz").touch()
    assert [step for step, _ in paths_beside(trajectory)] == [100, 12, 5]
    assert latest(trajectory, "a").step == 100
    with open(path_at(trajectory, 100), "r+b") as file:
        file.truncate(300)
    with pytest.warns(UserWarning, match=r"checkpoint-100.npz: .* cannot be read .*; going on from .*-12.npz instead"):
        assert latest(trajectory, "a").step == 12


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "expected a checkpoint beside it, .*checkpoint-STEP.npz, there is none: record with"),
        (lambda path: checkpoint(run="b").write(path_at(path, 5)), "of the run a in .*, came one of another run"),
        (
            lambda path: open(path_at(path, 5), "w").close(),
            "checkpoint-5.npz: .*: mend or bring back one of them, or run again",
        ),
    ],
)
def test_no_checkpoint_to_go_on_from_is_an_error_that_says_why(tmp_path, make, message):
    make(str(tmp_path / "run.h5"))
    with pytest.raises(CheckpointError, match=message):
        latest(str(tmp_path / "run.h5"), "a")


def store_at(path, steps, **options):
    store = CheckpointStore(recorder(path), **options)
    for step in steps:
        recorder.step = step
        store.write(step, lambda rows, step=step: checkpoint(step, rows=rows))
    return store


def test_the_last_two_stay(tmp_path):
    path = str(tmp_path / "run.h5")
    store_at(path, [3, 6])
    assert [step for step, _ in paths_beside(path)] == [6, 3]
    checkpoint(99, "other").write(path_at(path, 99))
    open(path_at(path, 9) + ".tmp-123", "w").close()
    open(str(tmp_path / "run.h5.checkpoint-notes.txt"), "w").close()
    store_at(path, [9, 12], start=6)
    assert sorted(os.listdir(tmp_path)) == [f"run.h5.checkpoint-{name}" for name in ("12.npz", "9.npz", "notes.txt")]


def test_older_ones_go_only_once_the_new_one_stands(tmp_path, monkeypatch):
    path = str(tmp_path / "run.h5")
    store = store_at(path, [3, 6])
    monkeypatch.setattr(checkpoint_file.os, "replace", refuse(errno.ENOSPC))
    recorder.step = 9
    with pytest.raises(RecorderError, match=r"checkpoint-9.npz: .*No space left.*that of step 6 stands.* free space"):
        store.write(9, lambda rows: checkpoint(9))
    assert [step for step, _ in paths_beside(path)] == [6, 3]
    assert sorted(os.listdir(tmp_path)) == ["run.h5.checkpoint-3.npz", "run.h5.checkpoint-6.npz"], "no litter"


def refuse(code):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    return fail


def test_a_failure_that_is_not_strict_warns_once_and_the_next_one_stands(tmp_path, monkeypatch):
    path = str(tmp_path / "run.h5")
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint_file.os, "fsync", refuse(errno.EIO))
        with pytest.warns(RuntimeWarning, match="there is none before it; the training goes on") as said:
            store = store_at(path, [3, 6], strict=False)
    assert len(said) == 1 and not os.listdir(tmp_path)
    recorder.step = 9
    store.write(9, lambda rows: checkpoint(9))
    assert store.last == 9 and latest(path, "a").step == 9


def test_a_trajectory_with_a_gap_gets_no_checkpoint(tmp_path):
    path = str(tmp_path / "run.h5")
    store = CheckpointStore(recorder(path, {"series": 4}))
    store.write(5, lambda rows: pytest.fail("made"))
    assert not os.listdir(tmp_path) and store.last is None


def test_file_and_directory_are_on_the_disk_before_the_old_ones_go(tmp_path, monkeypatch):
    done = []
    for name in ("fsync", "replace", "remove"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *given, name=name, real=real: (done.append(name), real(*given))[1])
    store_at(str(tmp_path / "run.h5"), [3, 6, 9])
    assert done == ["fsync", "replace", "fsync"] * 3 + ["remove"]


@pytest.mark.parametrize("when", [0, -1.0, float("nan"), float("inf"), True, "60", [1]])
def test_no_time_and_no_cadence_is_refused(when):
    with pytest.raises(ValueError, match=r"expected checkpoint=60.0 .*Every\(500\)"):
        check_when(when)
    assert check_when(5) == 5 and check_when(Every(2)) == Every(2)
