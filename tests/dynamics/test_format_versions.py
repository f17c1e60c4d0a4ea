"""Samples of every format version ever written, made by the code of its time: still read, copied and recovered."""

import gzip
import importlib.util
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from analyses.cli import app
from dynamics import Recorder, diagnose, open_trajectory, validate
from dynamics.copies.copying import copy_rows, verify_copy
from dynamics.copies.recovery import recover
from dynamics.copies.repacking import repack
from dynamics.format import FORMAT_VERSION, KNOWN

FOLDER = Path(__file__).parents[2] / "data" / "versions"
VERSIONS = ("1.0", "1.1", "1.2", "1.3", "1.4", "1.5")
SINCE = {
    "1.1": {"spectra": ("entry_floor", "truncation", "exact_singular_value", "seconds")},
    "1.2": {
        "series": ("held_out_loss", "field_mean", "field_std"),
        "gradients": ("interior_mean_norm", "term_mean_norm", "term_std_norm", "term_gram"),
        **dict.fromkeys(("adam", "lr_cut", "reference", "compression"), None),
    },
    "1.3": {"series": ("step_length", "damping")},
    "1.5": {"series": ("error_band",)},
}
"""What each version added; None where the whole stream is new."""

_spec = importlib.util.spec_from_file_location("make", FOLDER / "make.py")
make = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make)


def known(version):
    """Names of the variables that a version knew, by stream."""
    streams = {name: set(variables) for name, variables in KNOWN.items()}
    for later, added in SINCE.items():
        if later > version:
            for stream, names in added.items():
                streams[stream] -= set(names or streams[stream])
    return {
        stream: names - ({"step"} if stream == "evaluations" else set()) for stream, names in streams.items() if names
    }


def unpack(version, kind, folder):
    path = folder / f"{kind}-{version}.h5"
    path.write_bytes(gzip.decompress((FOLDER / f"{path.name}.gz").read_bytes()))
    # A file without a lock counts as being written for 3 s.
    os.utime(path, (1, 1))
    return path


def check(read, version):
    """Compare everything with the formulas that it was made by; `read` gives the values of "stream/variable"."""
    steps = np.arange(make.STEPS)
    for stream, names in known(version).items():
        for name in names:
            shape = make.shape_of(KNOWN[stream][name].dims)
            expected = [make.value(stream, name, step, shape) for step in steps]
            np.testing.assert_array_equal(read(f"{stream}/{name}")[: len(steps)], expected, err_msg=f"{stream}/{name}")
        np.testing.assert_array_equal(read(f"{stream}/step")[: len(steps)], steps)
        np.testing.assert_array_equal(read(f"{stream}/time")[: len(steps)], steps / 4)
    assert [read(f"series/{name}")[-1] for name in ("step", "time", "loss")] == [make.STEPS, 9.0, 0.0]
    assert np.isnan(read("series/rel_l2")[-1])
    metric = [np.nan if step < make.LATE else make.value("series", "my_metric", step) for step in steps]
    np.testing.assert_array_equal(read("series/my_metric"), [*metric, np.nan])
    late = [make.value("late_stream", "a", step) for step in steps[make.LATE :]]
    np.testing.assert_array_equal(read("late_stream/a"), late)
    np.testing.assert_array_equal(read("late_stream/step"), steps[make.LATE :])
    np.testing.assert_array_equal(read("points/interior"), make.value("points", "interior", 0, (3, 2)))
    assert read("points/axis").astype(str).tolist() == ["x", "t"]
    assert read("gradients/layer").astype(str).tolist() == make.LABELS["layer"]


def check_closed(path, version, status, reason):
    """Check a closed file with h5py alone."""
    assert validate(path) == []
    with h5py.File(path) as file:
        assert file["status"][()].decode() == status
        assert file["stop_reason"][()].decode().startswith(reason)
        assert {name for name in file if isinstance(file[name], h5py.Group)} == {
            *known(version), "late_stream", "late", "points"
        }  # fmt: skip
        for stream, names in known(version).items():
            assert names <= set(file[stream])
        check(lambda name: file[name][:], version)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_left_file_is_shown_and_recovered(version, tmp_path):
    path = unpack(version, "left", tmp_path)
    assert validate(path) == []
    with h5py.File(path, "r", swmr=True) as file:
        assert file["late/committed"][()] > 0
    with open_trajectory(path) as tree:
        assert set(tree.children) == {*known(version), "late_stream", "points"}
        check(lambda name: tree[name].values, version)
        named = [tree.attrs[name] for name in ("format_version", "seed", "device", "status", "stop_reason")]
        assert named == [version, 3, "cpu", "running", ""]
        assert "my_metric" in tree["series"].data_vars
        diagnose(tree)
    recover(path)
    writer = "process " if version >= "1.4" else "its writer ended without"
    check_closed(path, version, "interrupted", f"recovered: {writer}")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_closed_file_is_copied(version, tmp_path):
    path, target = unpack(version, "closed", tmp_path), tmp_path / "copy.h5"
    check_closed(path, version, "interrupted", "a sample")
    rows = copy_rows(str(path), str(target))
    assert verify_copy(str(path), str(target), rows) == []
    check_closed(target, version, "interrupted", "a sample")
    assert not recover(path).needed


@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])
def test_commands_take_the_oldest_and_the_newest(version, tmp_path):
    path = unpack(version, "closed", tmp_path)
    repack(path)
    check_closed(path, version, "interrupted", "a sample")
    for command in ("info", "diagnose"):
        answer = CliRunner().invoke(app, [command, str(path)])
        assert answer.exit_code == 0, answer.output
        assert command == "diagnose" or "homogeneity" in answer.output


def test_there_is_a_sample_of_this_version():
    assert VERSIONS[-1] == ".".join(map(str, FORMAT_VERSION)), "make one: PYTHONPATH=. python data/versions/make.py"


def test_what_nobody_knows_is_ignored_and_kept(tmp_path):
    path = tmp_path / "run.h5"
    with Recorder(path) as recorder:
        for step in range(60):
            recorder.record("series", step, loss=1 / (step + 1), rel_l2=0.5)
    with open_trajectory(path) as tree:
        before = [str(finding) for finding in diagnose(tree)]
    with h5py.File(path, "r+") as file:
        file.attrs["from_the_future"] = [1, 2]
        file["series"].attrs["cadence"] = "odd"
        file["series/loss"].attrs["uncertainty"] = 0.5
        tomorrow = file.create_group("tomorrow")
        for axis in ("row", "column"):
            tomorrow.create_dataset(axis, data=np.arange(3)).make_scale(axis)
        tomorrow.create_dataset("matrix", data=np.eye(3), maxshape=(None, 3), chunks=(2, 3))
        for axis, name in enumerate(("row", "column")):
            tomorrow["matrix"].dims[axis].attach_scale(tomorrow[name])
        file["status"][...] = b"running"

    def check_kept(path):
        with h5py.File(path) as file:
            assert file.attrs["from_the_future"].tolist() == [1, 2]
            assert file["series"].attrs["cadence"] == "odd"
            assert file["series/loss"].attrs["uncertainty"] == 0.5
            np.testing.assert_array_equal(file["tomorrow/matrix"], np.eye(3))
            assert file["tomorrow/matrix"].dims[1][0] == file["tomorrow/column"]
        with open_trajectory(path) as tree:
            assert [str(finding) for finding in diagnose(tree)] == before

    check_kept(path)
    copy_rows(str(path), str(tmp_path / "copy.h5"))
    check_kept(tmp_path / "copy.h5")
    assert recover(path).needed
    check_kept(path)
    repack(path)
    check_kept(path)
