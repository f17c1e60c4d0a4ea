"""Corrupted files, as those who open them meet them: checked when nobody has vouched for them, and refused by name."""

import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyses.benchmarks.damage import DAMAGE
from analyses.benchmarks.hostile import MADE
from analyses.info import checkpoints, show
from dynamics import Recorder, TrajectoryError, open_trajectory, validate
from dynamics.file import trust
from dynamics.file.lock import Holder, Lock

YEAR_AGO = 365 * 86400


def write(path, **ending):
    with Recorder(path, config={"problem": {"name": "poisson"}}, commit_every=0.0) as recorder:
        for step in range(20):
            recorder.record("series", step=step, loss=1.0 / (step + 1))
            recorder.record("coefficients", step=step, value=[2.0 * step])
        if ending:
            shutil.copy(path, ending["unclosed"])
    return path


@pytest.fixture
def closed(tmp_path):
    return write(tmp_path / "run.h5")


@pytest.fixture
def left(tmp_path):
    path = tmp_path / "left.h5"
    write(tmp_path / "whole.h5", unclosed=path)
    then = path.stat().st_mtime - YEAR_AGO
    os.utime(path, (then, then))
    return path


@pytest.fixture
def checks(monkeypatch):
    """The paths that a child process was asked to look at."""
    seen, real = [], trust.run

    def counted(task, path):
        seen.append(path)
        return real(task, path)

    monkeypatch.setattr(trust, "run", counted)
    return seen


def opened(path, check=None):
    with open_trajectory(path, check=check) as tree:
        return tree["series"].sizes["step"]


def test_a_file_closed_as_complete_is_not_checked_unless_asked(closed, checks):
    assert opened(closed) == 20 and checks == []
    assert opened(closed, True) == 20 and checks == [str(closed)]
    assert opened(closed, True) == 20 and len(checks) == 2
    assert opened(closed) == 20 and len(checks) == 2


def test_a_left_file_is_checked_until_it_is_known(left, checks):
    assert opened(left, False) >= 19 and checks == []
    assert opened(left) >= 19 and checks == [str(left)]
    assert opened(left) >= 19 and len(checks) == 1
    os.utime(left, (1e9, 1e9))
    assert opened(left) >= 19 and len(checks) == 2


def test_a_living_writer_vouches(left, checks):
    lock = Lock(str(left))
    assert opened(left) >= 19 and checks == []
    lock.release()
    (left.parent / "left.h5.lock").write_text(f'{{"host": "{Holder.here().host}", "pid": 999999999}}')
    assert opened(left) >= 19 and len(checks) == 1


@pytest.mark.parametrize("status", ["interrupted", "diverged", "failed", "running"])
def test_a_file_closed_as_anything_else_is_checked(closed, checks, status):
    with h5py.File(closed, "r+") as file:
        file["status"][...] = status.encode()
    assert opened(closed) == 20 and opened(closed) == 20 and len(checks) == 1


def test_a_file_of_another_length_is_checked(closed, checks):
    with open(closed, "ab") as file:
        file.write(b"more")
    assert opened(closed) == 20 and len(checks) == 1


def test_what_is_found_is_refused_by_name(closed, tmp_path, checks):
    (tmp_path / "outside").mkdir()
    with h5py.File(closed, "r+", libver="latest") as file:
        for name in ("a", "b", "c", "d", "e"):
            file[f"series/{name}"] = h5py.ExternalLink(str(tmp_path / "outside" / "secret.h5"), "/")
    with pytest.raises(TrajectoryError) as caught:
        opened(closed, True)
    assert str(caught.value).startswith(f"{closed}: /series/a: ExternalLink; expected every group")
    assert str(caught.value).endswith("; and 2 more: pinnscope validate names them")
    assert checks == [str(closed)]
    with pytest.raises(TrajectoryError, match="check the path"):
        opened(tmp_path / "no.h5")


def test_a_refused_file_is_not_vouched_for(left, checks):
    data = bytearray(left.read_bytes())
    start = data.find(b"OHDR", 100)
    data[start + 10] ^= 255
    left.write_bytes(data)
    os.utime(left, (1e9, 1e9))
    for count in (1, 2):
        with pytest.raises(TrajectoryError, match="damaged"):
            opened(left)
        assert len(checks) == count


@settings(max_examples=30, deadline=None)
@given(kind=st.sampled_from(sorted(DAMAGE)), seed=st.integers(0, 2**32 - 1), unclosed=st.booleans())
def test_damage_is_refused_or_read(kind, seed, unclosed, bytes_of):
    path = bytes_of.parent / "damaged.h5"
    shutil.copy(bytes_of.parent / ("unclosed.h5" if unclosed else "run.h5"), path)
    DAMAGE[kind](path, np.random.default_rng(seed))
    os.utime(path, (1e9, 1e9))
    found = validate(path)
    assert all(line.isprintable() and (line.startswith("/") or str(path) in line or "lost" in line) for line in found)
    try:
        opened(path, True)
    except TrajectoryError as error:
        assert str(path) in str(error)
    except KeyError:
        assert found


@pytest.fixture(scope="module")
def bytes_of(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damage")
    return write(folder / "run.h5", unclosed=folder / "unclosed.h5")


def test_info_tells_of_the_coefficients_the_writer_and_checkpoints(left, capsys):
    for step in (5, 12):
        Path(f"{left}.checkpoint-{step}.npz").touch()
    Path(f"{left}.checkpoint-x.npz").touch()
    assert checkpoints(left) == [5, 12]
    show(left)
    printed = capsys.readouterr().out
    assert "running, not closed: its writer has left it" in printed
    assert "coefficients 0 38\n" in printed or "coefficients 0 36\n" in printed
    assert "checkpoints at steps 5, 12" in printed and "problem poisson" in printed and "writer:" not in printed
    assert len([line for line in printed.splitlines() if line.split()[:2] in (["series", "19"], ["series", "20"])]) == 1
    lock = Lock(str(left))
    show(left)
    assert f"writer: {Holder.here()}, alive" in capsys.readouterr().out
    lock.release()
    for host, words in ((Holder.here().host, "dead"), ("elsewhere", "on another machine, not known whether alive")):
        Path(f"{left}.lock").write_text(f'{{"host": "{host}", "pid": 999999999}}')
        show(left)
        assert f"writer: process 999999999 on {host}, {words}" in capsys.readouterr().out


def test_info_prints_nothing_that_a_terminal_obeys(closed, capsys):
    with h5py.File(closed, "r+", libver="latest") as file:
        MADE["names that a terminal obeys"](file, closed)
    show(closed)
    printed = capsys.readouterr().out
    assert printed.replace("\n", "").isprintable() and "[bold]" in printed.replace("\n", "").replace(" ", "")


def test_info_refuses_what_is_dangerous(closed, capsys):
    with h5py.File(closed, "r+", libver="latest") as file:
        file["series/x"] = h5py.SoftLink("/series/loss")
        file["series/y"] = h5py.SoftLink("/series/loss")
    with pytest.raises(TrajectoryError, match=f"{closed}: /series/x: SoftLink; expected"):
        show(closed)
    assert "/series/y: SoftLink" in capsys.readouterr().err
    os.truncate(closed, 3000)
    with pytest.raises(TrajectoryError, match="truncated"):
        show(closed)
