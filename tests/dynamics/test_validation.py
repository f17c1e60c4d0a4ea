"""Every departure from the format is named, and no file makes the validator raise."""

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamics import validation
from dynamics.confined import confined
from dynamics.copies.copying import copy_rows
from dynamics.format import ROOT_ATTRIBUTES, Stream
from dynamics.recorder import Recorder
from dynamics.validation import departures, validate


def write(path):
    with Recorder(path, streams=[Stream("series", coords={"term": ["interior", "boundary"]})]) as recorder:
        recorder.store("points", coords={"axis": ["x"]}, interior=(("interior_point", "axis"), np.zeros((3, 1))))
        for step in range(3):
            recorder.record("series", step=step, loss=1.0, loss_raw=[1.0, 2.0])
            recorder.record("evaluations", step=step, loss=1.0)
            recorder.record("spectra", step=step, singular_value=np.ones(3))
    return path


@pytest.fixture
def run(tmp_path):
    return write(tmp_path / "run.h5")


def test_what_the_recorder_writes_is_valid(run):
    assert validate(run) == []
    assert validate(str(run)) == []


def test_running_files_are_valid(tmp_path):
    recorder = Recorder(tmp_path / "run.h5", commit_every=0.0)
    recorder.record("series", step=0, loss=1.0)
    recorder.record("series", step=1, loss=1.0, new=2.0)
    assert validate(tmp_path / "run.h5") == []
    recorder.close()


def resized(file):
    file["series/loss"].resize(5, axis=0)


def shorter(file):
    file["series/loss"].resize(1, axis=0)


def disordered(file):
    file["series/step"][:] = [0, 2, 2]


def without_scale(file):
    file["series"].create_dataset("bare", data=np.zeros(3)).attrs.update({"long_name": "bare", "units": "1"})


def scale_of_another_group(file):
    dataset = file["series"].create_dataset("far", data=np.zeros(3))
    dataset.attrs.update({"long_name": "far", "units": "1"})
    dataset.dims[0].attach_scale(file["spectra/step"])


def at_the_root(file):
    file["step"] = np.arange(3)


def single_precision(file):
    values = file["spectra"].create_dataset("f4", data=np.zeros(3, "f4"))
    values.attrs.update({"long_name": "f4", "units": "1"})
    values.dims[0].attach_scale(file["spectra/step"])


def ragged(file):
    file["series"].create_dataset("ragged", (3,), h5py.vlen_dtype(np.float64))


def text_value(file):
    file["series"].create_dataset("text", (3,), h5py.string_dtype()).dims[0].attach_scale(file["series/step"])


def soft_link(file):
    file["series/link"] = h5py.SoftLink("/series/loss")


def external_link(file):
    file["series/link"] = h5py.ExternalLink("/etc/hostname", "/x")


def external_data(file):
    file["series"].create_dataset("raw", (3,), "f8", external=[("/etc/hostname", 0, 24)])


def nested(file):
    file.create_group("series/inner")


def circle(file):
    file["series/again"] = file["/"]


def wrong_counter(file):
    del file["series/committed"]
    file["series/committed"] = np.zeros(2)


def unknown_status(file):
    file["status"][...] = b"asleep"


@pytest.mark.parametrize(
    ("spoil", "finding"),
    [
        *[
            (lambda file, name=name: file.attrs.__delitem__(name), f"/: attribute {name} is missing")
            for name in ROOT_ATTRIBUTES
        ],
        (lambda file: file.attrs.__setitem__("format", "other"), "/: format is 'other'"),
        (lambda file: file.attrs.__setitem__("format_version", "2.0"), "/: format_version is '2.0'"),
        (lambda file: file.__delitem__("status"), "/status: missing"),
        (lambda file: file.__delitem__("stop_reason"), "/stop_reason: missing"),
        (unknown_status, "/status: 'asleep'; expected one of running"),
        (lambda file: file["series"].__delitem__("committed"), "/series/committed: missing"),
        (lambda file: file["series"].__delitem__("time"), "/series/time: missing"),
        (lambda file: file["evaluations"].__delitem__("step"), "/evaluations/step: missing"),
        (lambda file: file["late"].__delitem__("name"), "/late/name: missing"),
        (wrong_counter, "/series/committed: expected a scalar int64"),
        (resized, "/series/loss: 5 rows; committed says 3"),
        (shorter, "/series/loss: 1 rows; committed says 3"),
        (disordered, "/series/step: 2 after 2 in row 2"),
        (without_scale, "/series/bare: axis 0 has no dimension scale"),
        (scale_of_another_group, "/series/far: axis 0 has the scale /spectra/step"),
        (at_the_root, "/step: a dataset at the root"),
        (lambda file: file["series/loss"].attrs.__delitem__("units"), "/series/loss: attribute units is missing"),
        (
            lambda file: file["series/loss"].attrs.__delitem__("long_name"),
            "/series/loss: attribute long_name is missing",
        ),
        (single_precision, "/spectra/f4: float32; expected float64"),
        (ragged, "/series/ragged: holds objects"),
        (text_value, "/series/text: strings of varying length"),
        (soft_link, "/series/link: SoftLink"),
        (external_link, "/series/link: ExternalLink"),
        (external_data, "/series/raw: data in another file"),
        (nested, "/series/inner: a group in a group"),
        (circle, "/series/again: a group in a group"),
    ],
)
def test_departures_are_named(run, spoil, finding):
    with h5py.File(run, "r+", libver="latest") as file:
        spoil(file)
    found = validate(run)
    assert any(line.startswith(finding) for line in found), found


def test_departures_are_named_one_by_one(run):
    with h5py.File(run, "r+") as file:
        del file.attrs["seed"]
    assert validate(run) == ["/: attribute seed is missing"]


def test_no_file(tmp_path):
    assert validate(tmp_path / "no.h5") == [f"{tmp_path}/no.h5: expected a trajectory, came no file: check the path"]
    assert len(validate(tmp_path)) == 1


@pytest.fixture(scope="module")
def valid_bytes(tmp_path_factory):
    return write(tmp_path_factory.mktemp("valid") / "run.h5").read_bytes()


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_cut_files_never_raise_and_are_never_valid(valid_bytes, tmp_path_factory, data):
    end = data.draw(st.integers(0, len(valid_bytes) - 1))
    path = tmp_path_factory.mktemp("cut") / "run.h5"
    path.write_bytes(valid_bytes[:end])
    assert validate(path) != []


def test_steps_are_compared_across_blocks(tmp_path, monkeypatch):
    with Recorder(tmp_path / "run.h5") as recorder:
        for step in range(10):
            recorder.record("series", step=step, loss=1.0)
    monkeypatch.setattr(validation, "BLOCK", 4)
    assert departures(str(tmp_path / "run.h5")) == []
    for row in (1, 3, 4, 5, 8, 9):
        with h5py.File(tmp_path / "run.h5", "r+") as file:
            file["series/step"][:] = np.arange(10)
            file["series/step"][row] = row - 1
        assert departures(str(tmp_path / "run.h5")) == [
            f"/series/step: {row - 1} after {row - 1} in row {row}; expected increasing values"
        ]


def test_many_steps_take_little_memory(tmp_path):
    rows = 10_000_000
    with Recorder(tmp_path / "run.h5") as recorder:
        for step in range(3):
            recorder.record("series", step=step, loss=1.0)
    copy_rows(str(tmp_path / "run.h5"), str(tmp_path / "long.h5"))
    with h5py.File(tmp_path / "long.h5", "r+", libver="latest") as file:
        for name in ("step", "time", "loss"):
            file["series"][name].resize(rows, axis=0)
        for start in range(0, rows, 1 << 20):
            stop = min(start + (1 << 20), rows)
            file["series/step"][start:stop] = np.arange(start, stop)
        file["series/committed"][...] = rows
    outcome = confined.run("validate", tmp_path / "long.h5", seconds=60)
    assert outcome.value == [] and outcome.memory < 120e6


def test_dangers_come_alone(run):
    with h5py.File(run, "r+", libver="latest") as file:
        file["series/link"] = h5py.SoftLink("/series/loss")
        del file.attrs["seed"]
    assert validate(run) == ["/series/link: SoftLink; expected every group and dataset in the file itself"]


def test_the_end_of_the_child_is_a_finding(run, monkeypatch):
    monkeypatch.setattr(confined, "TASKS", {"validate": confined.Task("os:abort")})
    assert len(found := validate(run)) == 1 and found[0].startswith(f"{run}: ")
