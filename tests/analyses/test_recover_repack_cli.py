"""`pinnscope recover` and `pinnscope repack`: what they print, and their exit codes."""

import os

import h5py
import pytest
from typer.testing import CliRunner

from analyses import share_bar
from analyses.cli import app
from dynamics import Recorder, validate


def invoke(*arguments):
    answer = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return answer.exit_code, " ".join(answer.output.split())


@pytest.fixture
def left(tmp_path):
    """A file that its writer left, 40 rows of `series` committed, and nothing else in its folder."""
    recorder = Recorder(tmp_path / "live.h5", commit_every=0.0)
    for step in range(40):
        recorder.record("series", step, loss=1.0)
    content = (tmp_path / "live.h5").read_bytes()
    recorder.close()
    os.remove(tmp_path / "live.h5")
    path = tmp_path / "run.h5"
    path.write_bytes(content)
    os.utime(path, (1, 1))
    return path


def damage(path):
    """Cut off the last committed chunk."""
    recovered = path.parent / "x.h5"
    assert invoke("recover", path, "-o", recovered)[0] == 0
    os.remove(recovered)
    with h5py.File(path, "r", swmr=True) as file:
        chunk = file["series/loss"].id.get_chunk_info(0)
    path.write_bytes(path.read_bytes()[: chunk.byte_offset + 10])
    os.utime(path, (1, 1))


def test_recover_says_what_it_kept(left):
    code, text = invoke("recover", left)
    assert code == 0
    assert f"{left}: recovered, " in text
    assert "rows kept series 40" in text
    assert "status interrupted (recovered: process " in text
    assert "lost nothing that was committed" in text
    assert validate(left) == []
    assert invoke("recover", left) == (0, f"{left}: interrupted, undamaged: nothing to recover")


def test_recover_names_what_is_lost(left, tmp_path):
    damage(left)
    code, text = invoke("recover", left)
    assert code == 1
    assert "expected every committed row, came damage (/series" in text
    code, text = invoke("recover", left, "-o", tmp_path / "rest.h5")
    assert code == 1
    assert "pinnscope: lost: /series" in text
    assert "recovered, " in text
    assert invoke("recover", left, "-o", tmp_path / "rest.h5")[0] == 2


def test_recover_refuses_what_is_none_or_written(tmp_path):
    code, text = invoke("recover", tmp_path / "none.h5")
    assert (code, text) == (
        1,
        f"pinnscope: {tmp_path / 'none.h5'}: expected a trajectory, came no file: check the path",
    )
    with Recorder(tmp_path / "run.h5", commit_every=0.0) as recorder:
        recorder.record("series", 0, loss=1.0)
        recorder.record("series", 1, loss=1.0)
        for command in ("recover", "repack"):
            code, text = invoke(command, tmp_path / "run.h5")
            assert code == 1
            assert f"being written by process {os.getpid()} on " in text


def test_repack_prints_sizes(tmp_path):
    path, other = tmp_path / "run.h5", tmp_path / "small.h5"
    with Recorder(path) as recorder:
        for step in range(3000):
            recorder.record("series", step, time=0.0, loss=1.0)
    size = path.stat().st_size
    code, text = invoke("repack", path, "-o", other, "--level", "9")
    share = f"{other.stat().st_size / size:.0%}"
    assert code == 0
    assert text.startswith(f"{other}: {size / 1e6:.2f} MB before, {other.stat().st_size / 1e6:.2f} MB after ({share})")
    assert invoke("repack", path, "-o", other)[0] == 2
    assert invoke("repack", path, "-o", other, "--overwrite")[0] == 0
    assert invoke("repack", path, "--level", "10")[0] == 2
    assert invoke("repack", path)[0] == 0
    assert path.stat().st_size < size


def test_the_bar_of_a_large_file(monkeypatch, capsys):
    monkeypatch.setattr(share_bar.sys.stderr, "isatty", lambda: True, raising=False)
    with share_bar.share_bar("recovering run.h5", 10**9) as tell:
        tell(0.5)
    assert "recovering run.h5" in capsys.readouterr().err
    with share_bar.share_bar("recovering run.h5", 10) as tell:
        tell(0.5)
    assert capsys.readouterr().err == ""


def test_a_directory_of_segments_is_joined_before_it_is_packed(tmp_path):
    (tmp_path / "run.segments").mkdir()
    result = CliRunner().invoke(app, ["repack", str(tmp_path / "run.segments")])
    assert result.exit_code == 1
    assert "join its segments first, pinnscope recover" in result.stderr
