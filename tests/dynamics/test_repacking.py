"""Compression for the archive: the same values, smaller, and still a trajectory for everyone."""

import os
import warnings

import h5py
import numpy as np
import pytest
import xarray as xr

from dynamics import Recorder, TrajectoryError, open_trajectory, validate
from dynamics.copies import repacking
from dynamics.copies.copying import copy_rows, verify_copy
from dynamics.copies.repacking import repack
from dynamics.file.lock import LockedError
from dynamics.format import Stream

PAYLOADS = np.array([0x7FF8000000000123, 0xFFF8DEADBEEF0001, 0x8000000000000000, 1], np.uint64).view(np.float64)


def write(path, status="complete", rows=3000):
    streams = [Stream("gradients", coords={"layer": ["a", "b", "c", "d"]})]
    with Recorder(path, config={"seed": 1}, streams=streams) as recorder:
        recorder.store("points", interior=(("interior_point",), np.arange(5.0)))
        for step in range(rows):
            recorder.record("series", step, time=step, loss=1 / (step + 1), loss_raw=[step, -0.0])
            if step % 10 == 0:
                recorder.record("gradients", step, time=step, mean_norm=PAYLOADS)
                recorder.record("parameters", step, time=step, value=np.full(500, step, "f4"))
        recorder.end(status, "because")


@pytest.fixture
def run(tmp_path):
    path = tmp_path / "run.h5"
    write(path)
    return path


@pytest.mark.parametrize("level", [1, 4, 9])
def test_values_stay_and_the_file_shrinks(run, level):
    shares, size = [], run.stat().st_size
    copy_rows(str(run), f"{run}.before")
    result = repack(run, level=level, progress=shares.append)
    assert (result.path, result.before, result.after) == (str(run), size, run.stat().st_size)
    assert result.after < size / 3
    assert shares == sorted(shares)
    assert sorted(os.listdir(run.parent)) == ["run.h5", "run.h5.before"]
    rows = {"series": 3000, "gradients": 300, "parameters": 300, "late": 0}
    assert verify_copy(f"{run}.before", str(run), rows) == []
    assert validate(run) == []
    with h5py.File(run) as file, h5py.File(f"{run}.before") as before:
        for stream in rows:
            for name, dataset in file[stream].items():
                if dataset.ndim and dataset.maxshape[0] is None:
                    assert (dataset.compression, dataset.compression_opts, dataset.shuffle) == ("gzip", level, True)
                    chunk = np.prod(dataset.chunks) * dataset.dtype.itemsize
                    assert 1 << 17 < chunk <= 1 << 18 or stream == "late"
                    assert dataset[:].tobytes() == before[stream][name][:].tobytes()
        assert file["gradients/mean_norm"][-1].tobytes() == PAYLOADS.tobytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with open_trajectory(run) as ours, xr.open_datatree(run, engine="h5netcdf") as plain:
            assert ours.attrs["stop_reason"] == "because"
            np.testing.assert_array_equal(ours["series/loss"], plain["series/loss"])


def test_rows_can_be_recorded_behind_it(run):
    repack(run)
    recorder = Recorder.reopen(run, {"series": 2500, "gradients": 250, "parameters": 250})
    recorder.record("series", 2500, loss=7.0, loss_raw=[1.0, 2.0])
    recorder.close()
    assert validate(run) == []
    with open_trajectory(run) as tree:
        np.testing.assert_array_equal(tree["series/loss"], [*(1 / np.arange(1, 2501)), 7.0])
        assert tree["parameters/value"].shape == (250, 500)
    with h5py.File(run) as file:
        assert file["series/loss"].compression is None
        assert file["series/loss"].chunks == (1024,)


def test_an_output_leaves_the_original(run):
    before, output = run.read_bytes(), run.parent / "small.h5"
    assert repack(run, output).path == str(output)
    assert run.read_bytes() == before
    with pytest.raises(FileExistsError, match="choose another name"):
        repack(run, output)
    repack(run, output, overwrite=True)
    assert validate(output) == []


def test_packed_twice_is_packed_once(run):
    first = repack(run)
    assert repack(run).after == first.after


def test_a_running_file_is_refused(tmp_path):
    path = tmp_path / "run.h5"
    recorder = Recorder(path, commit_every=0.0)
    for step in range(3):
        recorder.record("series", step, loss=1.0)
    with pytest.raises(LockedError, match="being written by process"):
        repack(path)
    left = tmp_path / "left.h5"
    left.write_bytes(path.read_bytes())
    recorder.close()
    os.utime(left, (1, 1))
    before = left.read_bytes()
    with pytest.raises(TrajectoryError, match="whose writer has not: pinnscope recover"):
        repack(left)
    assert left.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["left.h5", "run.h5"]


def test_other_refusals(run, monkeypatch):
    before = run.read_bytes()
    with pytest.raises(ValueError, match="from 1 to 9, came 0"):
        repack(run, level=0)
    with pytest.raises(TrajectoryError, match="no file"):
        repack(run.parent / "none.h5")
    with monkeypatch.context() as patch:
        patch.setattr(repacking, "verify_copy", lambda *_, **__: ["/series/loss: values differ"])
        with pytest.raises(TrajectoryError, match="expected an exact copy, came another: /series/loss"):
            repack(run)
    with h5py.File(run, "r+") as file:
        file["away"] = h5py.ExternalLink("other.h5", "/")
    with pytest.raises(TrajectoryError, match="/away: ExternalLink"):
        repack(run)
    assert os.listdir(run.parent) == ["run.h5"]
    assert len(before) <= run.stat().st_size
