"""The command `pinnscope export`: what it writes where, and what it refuses."""

import os

import pytest
import xarray as xr
from typer.testing import CliRunner

from analyses.cli import app
from dynamics.recorder import Recorder


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Recorder("run.h5") as recorder:
        for step in range(3):
            recorder.record("series", step, loss=0.5)
            recorder.record("probe", step, wide=[0.0] * 65)

    (tmp_path / "a").write_text("mine")

    def run(*words):
        return CliRunner().invoke(app, ["export", *words])

    return run


def test_formats_have_their_default_outputs(command):
    result = command("run.h5")
    assert result.exit_code == 0, result.output
    assert "wrote run.nc (" in result.stdout
    with xr.open_datatree("run.nc", engine="h5netcdf") as tree:
        assert tree["series/loss"].values.tolist() == [0.5] * 3
    result = command("run.h5", "--format", "csv")
    assert "wrote run-csv/series.csv" in result.stdout
    assert "left out, with no place in csv: probe/wide" in result.stdout


def test_suffixes_and_streams(command):
    assert command("run.h5", "-o", "some.nc", "--stream", "series").exit_code == 0
    with xr.open_datatree("some.nc", engine="h5netcdf") as tree:
        assert list(tree.children) == ["series"]
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    assert command("run.h5", "-o", "board", "--format", "tensorboard").exit_code == 0
    assert len(os.listdir("board")) == 1


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["run.h5", "--format", "xls"], 2, "unknown format 'xls'; expected"),
        (["run.h5", "-o", "a.nc", "--format", "csv"], 2, "expected a folder for csv, came a netCDF file's name"),
        (["run.h5", "-o", "a.csv"], 2, "expected a folder, since each stream is a file of its own"),
        (["run.h5", "-o", "none/a.nc"], 2, "none is no directory; expected one for a.nc"),
        (["run.h5", "-o", "./a", "--format", "netcdf"], 2, "pass --overwrite"),
        (["none.h5"], 1, "came no file"),
        (["run.h5", "--stream", "x"], 2, "expected a stream of the trajectory (probe, series), came 'x'"),
    ],
)
def test_refusals(command, words, code, message):
    result = command(*words)
    assert (result.exit_code, len(result.stderr.strip().splitlines())) == (code, 1), result.output
    assert message in result.stderr


def test_without_the_package_for_it(command, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorboardX", None)
    result = command("run.h5", "--format", "tensorboard")
    assert result.exit_code == 2
    assert "pip install 'pinnscope[tensorboard]'" in result.stderr


def test_the_trajectory_itself_is_never_the_output(command):
    result = command("run.h5", "-o", "run.h5", "--format", "netcdf", "--overwrite")
    assert result.exit_code == 2
    assert "expected another file than the trajectory" in result.stderr


def test_a_place_that_may_not_be_written(command, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: not mode & os.W_OK)
    result = command("run.h5", "-o", "new.nc")
    assert result.exit_code == 2
    assert "expected write permission: name another place (-o)" in result.stderr
