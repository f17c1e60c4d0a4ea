"""Trajectories in other formats: read back without our code, number for number."""

import csv
import json
import os
import struct
import subprocess
import sys
import textwrap
from datetime import datetime

import h5py
import numpy as np
import pytest
import xarray as xr

from dynamics.export.netcdf import export_netcdf
from dynamics.export.table import export_csv
from dynamics.export.tensorboard import export_tensorboard
from dynamics.format import Stream, Variable
from dynamics.recorder import Recorder
from dynamics.trajectory import TrajectoryError, open_trajectory

AWKWARD = [0.1, 1 / 3, -0.0, 5e-324, 1.7976931348623157e308, np.inf, -np.inf, np.nan, 1e-7 + 2**-60, 1e22]


def start(path, **options):
    """A run with awkward numbers, arrays small and large, late scalars, a stream of evaluations and points."""
    streams = [
        Stream("series", coords={"term": ["interior", 'a, "quoted"\nterm']}, attrs={"note": "x"}),
        Stream("residuals", [Variable("residual", ("point",), dtype="f4")], coords={"point": 100}),
        Stream("gradients", coords={"term_row": ["a", "b"], "term_column": ["a", "b"]}),
    ]
    recorder = Recorder(path, streams=streams, config={"steps": 9}, commit_every=0.0, **options)
    recorder.store("points", coords={"axis": ["x", "t"]}, interior=(("interior_point", "axis"), np.eye(2)))
    for step, value in enumerate(AWKWARD):
        late = {"rel_l2": value} if step > 4 else {}
        recorder.record("series", 3 * step, time=0.5 * step, loss=value, loss_raw=[value, step], **late)
        recorder.record("evaluations", 3 * step, time=0.5 * step, loss=value)
        recorder.record(
            "residuals", 3 * step, time=0.5 * step, residual=np.full(100, value if abs(value) < 9 else 1.0, "f4")
        )
    recorder.record("gradients", 0, time=0.0, term_gram=[[1.0, 2.0], [3.0, 4.0]])
    return recorder


@pytest.fixture
def run(tmp_path):
    path = tmp_path / "run.h5"
    start(path).close()
    return path


def same_bits(a, b):
    np.testing.assert_array_equal(np.asarray(a, np.float64).view(np.int64), np.asarray(b, np.float64).view(np.int64))


def python(code, *arguments):
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_netcdf_opens_without_our_code_and_without_warnings(run, tmp_path):
    made = export_netcdf(run, tmp_path / "run.nc")
    assert made.files == (str(tmp_path / "run.nc"),)
    answer = python(
        """
        import sys, json, xarray
        with xarray.open_datatree(sys.argv[1]) as tree:
            series = tree["series"].to_dataset().load()
            assert "dynamics" not in sys.modules
            print(json.dumps([tree.attrs["status"], sorted(tree.children), sorted(map(str, series.coords)),
                              series["loss"].dims, series["term"].values.tolist(), series["loss"].attrs["long_name"]]))
        """,
        made.files[0],
    )
    assert answer.stderr == ""
    assert json.loads(answer.stdout) == [
        "complete",
        ["evaluations", "gradients", "points", "residuals", "series"],
        ["step", "term", "time"],
        ["step"],
        ["interior", 'a, "quoted"\nterm'],
        "weighted loss",
    ]


def test_netcdf_holds_the_same_values(run, tmp_path):
    export_netcdf(run, tmp_path / "run.nc")
    with open_trajectory(run) as ours, xr.open_datatree(tmp_path / "run.nc", engine="h5netcdf") as theirs:
        assert json.loads(theirs.attrs["config"]) == {"steps": 9}
        for name, group in ours.children.items():
            exported = theirs[name].to_dataset()
            dataset = group.to_dataset()
            assert set(exported.variables) == set(dataset.variables)
            assert theirs[name].attrs.get("note") == group.attrs.get("note")
            for key, variable in dataset.variables.items():
                assert exported[key].dims == variable.dims
                assert exported[key].attrs == variable.attrs
                if variable.dtype.kind == "f":
                    assert exported[key].dtype == variable.dtype
                    same_bits(exported[key].values, variable.values)
                else:
                    assert exported[key].values.tolist() == variable.values.tolist()
    with h5py.File(tmp_path / "run.nc") as file:
        assert "late" not in file and "committed" not in file["series"]
        assert all(file["residuals/residual"].maxshape)


def test_large_variables_are_copied_in_blocks(tmp_path, monkeypatch):
    from dynamics.export import netcdf

    monkeypatch.setattr(netcdf, "BLOCK_BYTES", 1000)
    path, values = tmp_path / "run.h5", np.random.default_rng(0).normal(size=(37, 30))
    with Recorder(path) as recorder:
        for step, row in enumerate(values):
            recorder.record("probe", step, field=row)
    read = []
    real = xr.Variable.__getitem__
    monkeypatch.setattr(xr.Variable, "__getitem__", lambda self, key: (read.append(key), real(self, key))[1])
    netcdf.export_netcdf(path, tmp_path / "run.nc")
    assert max(key.stop - key.start for key in read if isinstance(key, slice)) == 125
    assert [key for key in read if isinstance(key, slice) and key.stop - key.start == 4]
    monkeypatch.undo()
    with xr.open_datatree(tmp_path / "run.nc", engine="h5netcdf") as tree:
        np.testing.assert_array_equal(tree["probe/field"].values, values)


def test_csv_round_trips_every_number(run, tmp_path):
    made = export_csv(run, tmp_path / "tables")
    assert [os.path.basename(file) for file in made.files] == [
        "evaluations.csv", "gradients.csv", "residuals.csv", "series.csv", "columns.csv",
    ]  # fmt: skip
    assert made.left_out == ("points", "residuals/residual")
    with open(tmp_path / "tables/series.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header[:3] == ["step", "time", "loss"]
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    assert [int(text) for text in columns["step"]] == [3 * step for step in range(len(AWKWARD))]
    same_bits([float(text) for text in columns["loss"]], AWKWARD)
    same_bits([float(text) for text in columns["loss_raw[interior]"]], AWKWARD)
    assert [float(text) for text in columns['loss_raw[a, "quoted"\nterm]']] == list(range(len(AWKWARD)))
    same_bits([float(text) for text in columns["rel_l2"]], [np.nan] * 5 + AWKWARD[5:])
    with open(tmp_path / "tables/evaluations.csv", newline="") as file:
        assert next(csv.reader(file))[:3] == ["evaluation", "step", "time"]
    with open(tmp_path / "tables/gradients.csv", newline="") as file:
        header, row = csv.reader(file)
    grams = {name: float(text) for name, text in zip(header, row, strict=True) if "gram" in name}
    assert grams == {"term_gram[a,a]": 1.0, "term_gram[a,b]": 2.0, "term_gram[b,a]": 3.0, "term_gram[b,b]": 4.0}


def test_csv_says_what_its_columns_are(run, tmp_path):
    export_csv(run, tmp_path / "tables", streams=["series"])
    with open(tmp_path / "tables/columns.csv", newline="") as file:
        rows = {row["column"]: row for row in csv.DictReader(file)}
    assert rows["time"] == {
        "file": "series.csv",
        "column": "time",
        "units": "s",
        "long_name": "wall time since the start of the run",
        "dtype": "float64",
    }
    assert rows["loss"]["units"] == "1" and rows["step"]["dtype"] == "int64"


def test_csv_of_many_rows_comes_in_blocks(tmp_path):
    path = tmp_path / "run.h5"
    with Recorder(path) as recorder:
        for step in range(20_000):
            recorder.record("series", step, x=step / 7)
    export_csv(path, tmp_path / "tables")
    with open(tmp_path / "tables/series.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    same_bits([float(row["x"]) for row in rows], np.arange(20_000) / 7)


def events(folder):
    """Read event files by their framing: length, checksum, protocol buffer, checksum."""
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed: no event files can be made")
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as file:
            while header := file.read(12):
                event = Event.FromString(file.read(struct.unpack("<Q", header[:8])[0]))
                file.read(4)
                found += [(value.tag, event.step, value.simple_value, event.wall_time) for value in event.summary.value]
    return found


def test_tensorboard_events(run, tmp_path):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    made = export_tensorboard(run, tmp_path / "board")
    assert len(made.files) == 1
    assert made.left_out == ("points", "residuals/residual")
    found = events(tmp_path / "board")
    with open_trajectory(run) as trajectory:
        begun = datetime.fromisoformat(trajectory.attrs["created"]).timestamp()
    kept = [(step, value) for step, value in enumerate(AWKWARD) if not np.isnan(value)]
    with np.errstate(over="ignore"):
        losses = [(3 * step, float(np.float32(value)), begun + 0.5 * step) for step, value in kept]
    assert [entry[1:] for entry in found if entry[0] == "series/loss"] == losses
    assert len([entry for entry in found if entry[0] == "series/rel_l2"]) == 4
    assert {tag for tag, *_ in found if tag.startswith("series/loss_raw/")} >= {"series/loss_raw/interior"}
    assert [step for tag, step, *_ in found if tag == "evaluations/loss"] == [step for step, _ in kept]
    assert not [tag for tag, *_ in found if tag.endswith(("/time", "/step"))]
    with pytest.raises(FileExistsError, match="pass --overwrite"):
        export_tensorboard(run, tmp_path / "board")
    (tmp_path / "board" / "mine.txt").write_text("mine")
    export_tensorboard(run, tmp_path / "board", overwrite=True)
    (tmp_path / "board" / "mine.txt").unlink()
    assert sorted(events(tmp_path / "board")) == sorted(found)


def test_without_tensorboard_it_is_said_what_to_install(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'pinnscope\[tensorboard\]'"):
        export_tensorboard(run, tmp_path / "board")
    assert not (tmp_path / "board").exists()


@pytest.mark.parametrize("export", [export_netcdf, export_csv, export_tensorboard])
def test_a_running_file_is_exported_up_to_its_committed_rows(tmp_path, export):
    if export is export_tensorboard:
        pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    path, target = tmp_path / "run.h5", tmp_path / "out"
    recorder = start(path)
    recorder._commit()
    recorder._commit_every = 1e9
    for step in range(1000, 3100):
        recorder.record("series", step, time=1.0, loss=1.0, loss_raw=[1.0, 1.0])
    with h5py.File(path, "r", swmr=True, libver="latest") as file:
        assert len(file["series/loss"]) > len(AWKWARD)
    export(path, target)
    if export is export_netcdf:
        with xr.open_datatree(target, engine="h5netcdf") as tree:
            steps, status = tree["series/step"].values, tree.attrs["status"]
        assert status == "running"
    elif export is export_csv:
        steps = np.loadtxt(target / "evaluations.csv", delimiter=",", skiprows=1)[:, 1]
    else:
        steps = [step for tag, step, *_ in events(target) if tag == "series/loss_raw/interior"]
        steps = [*steps[:7], 21, *steps[7:]]
    assert list(steps) == [3 * step for step in range(len(AWKWARD))]
    recorder.close()


def test_existing_outputs_are_kept(run, tmp_path):
    target, folder = tmp_path / "run.nc", tmp_path / "tables"
    target.write_text("precious")
    with pytest.raises(FileExistsError, match="choose another name or pass --overwrite"):
        export_netcdf(run, target)
    assert target.read_text() == "precious"
    export_netcdf(run, target, overwrite=True)
    folder.mkdir()
    (folder / "notes.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="is not empty"):
        export_csv(run, folder)
    assert os.listdir(folder) == ["notes.txt"]
    export_csv(run, folder, overwrite=True)
    export_csv(run, folder, overwrite=True)
    assert (folder / "notes.txt").read_text() == "precious"
    with pytest.raises(FileExistsError, match="is a file; expected a new folder"):
        export_csv(run, target)
    with pytest.raises(FileExistsError, match="expected a new file"):
        export_netcdf(run, folder, overwrite=True)


def test_a_failing_export_leaves_nothing(run, tmp_path, monkeypatch):
    import h5netcdf

    def full(*arguments, **options):
        raise OSError("No space left on device")

    monkeypatch.setattr(h5netcdf.Group, "create_variable", full)
    with pytest.raises(OSError, match="No space left"):
        export_netcdf(run, tmp_path / "run.nc")
    assert os.listdir(tmp_path) == ["run.h5"]


@pytest.mark.parametrize("export", [export_netcdf, export_csv])
def test_refusals(run, tmp_path, export):
    with pytest.raises(ValueError, match=r"expected a stream of the trajectory \(evaluations, .*came 'serie'"):
        export(run, tmp_path / "out", streams=["serie"])
    with pytest.raises(TrajectoryError, match="came no file"):
        export(tmp_path / "none.h5", tmp_path / "out")
    assert not (tmp_path / "out").exists()
