"""Reading: with xarray alone, lazily, in constant memory, and one-line errors for every other file."""

import ast
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from dynamics.format import FORMAT, KNOWN, Stream
from dynamics.recorder import Recorder
from dynamics.trajectory import TrajectoryError, open_trajectory, require


@pytest.fixture
def run(tmp_path):
    path = tmp_path / "run.h5"
    streams = [Stream("series", coords={"term": ["interior", "boundary"]}), Stream("residuals", coords={"point": 4})]
    with Recorder(path, streams=streams) as recorder:
        for step in range(4):
            recorder.record("series", step=step, time=step / 2, loss=2.0**-step, loss_raw=[step, -step])
            recorder.record("evaluations", step=step, loss=0.0)
        recorder.record("residuals", step=0, residual=np.arange(4.0))
    return path


def python(code, *arguments, flags=("-W", "error")):
    command = [sys.executable, *flags, "-c", textwrap.dedent(code), *map(str, arguments)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_xarray_alone_opens_it_without_a_warning(run):
    code = """
        import sys
        import xarray
        tree = xarray.open_datatree(sys.argv[1], engine="h5netcdf")
        print({node.path: sorted(node.sizes) for node in tree.subtree if node.sizes})
        series = tree["series"]
        print(series["loss_raw"].dims, series["term"].values.tolist(), series["term"].dtype.kind)
        print(sorted(series.coords), series["time"].values.tolist(), series["loss"].values.tolist())
        print(sorted(module for module in sys.modules if module.split(".")[0] in ("dynamics", "solvers", "torch")))
    """
    lines = python(code, run).splitlines()
    assert ast.literal_eval(lines[0]) == {
        "/series": ["step", "term"],
        "/evaluations": ["evaluation"],
        "/residuals": ["point", "step"],
        "/late": ["entry"],
    }
    assert lines[1] == "('step', 'term') ['interior', 'boundary'] U"
    assert lines[2] == "['step', 'term', 'time'] [0.0, 0.5, 1.0, 1.5] [1.0, 0.5, 0.25, 0.125]"
    assert lines[3] == "[]"


def test_xarray_alone_reads_a_file_that_is_being_written(tmp_path):
    path = tmp_path / "run.h5"
    recorder = Recorder(path, commit_every=0.0)
    recorder.record("series", step=0, loss=1.0)
    recorder.record("series", step=1, loss=0.5)
    code = """
        import sys
        import xarray
        kwds = dict(swmr=True, libver="latest")
        tree = xarray.open_datatree(sys.argv[1], engine="h5netcdf", driver_kwds=kwds)
        print(tree["series/loss"].values.tolist(), int(tree["series/committed"]))
    """
    assert python(code, path) == "[1.0, 0.5] 2\n"
    recorder.close()


def test_statuses_and_attributes(run):
    with open_trajectory(run) as trajectory:
        assert trajectory.attrs["format"] == FORMAT
        assert trajectory.attrs["status"] == "complete"
        assert trajectory.attrs["stop_reason"] == ""
        assert list(trajectory.children) == ["evaluations", "residuals", "series"]
        assert "committed" not in trajectory["series"].data_vars


def test_what_was_declared_and_never_recorded_is_left_out(run):
    with open_trajectory(run) as trajectory:
        assert set(trajectory["series"].data_vars) == {"loss", "loss_raw"}
        assert set(trajectory["residuals"].data_vars) == {"residual"}


def test_rows_beyond_committed_are_hidden(run):
    with h5py.File(run, "r+") as file:
        file["series/committed"][...] = 2
    with open_trajectory(run) as trajectory:
        assert trajectory["series/loss"].values.tolist() == [1.0, 0.5]
        assert trajectory["evaluations"].sizes["evaluation"] == 4


def test_a_newer_minor_version_is_read(run):
    with h5py.File(run, "r+") as file:
        file.attrs["format_version"] = "1.999"
    with open_trajectory(run) as trajectory:
        assert trajectory["series/loss"].size == 4


def remove(path):
    os.remove(path)


def other_bytes(path):
    path.write_bytes(b"not a trajectory at all")


def empty(path):
    path.write_bytes(b"")


def directory(path):
    os.remove(path)
    path.mkdir()


def other_hdf5(path):
    with h5py.File(path, "w") as file:
        file.attrs["creator"] = "somebody"
        file.create_group("weights")


def newer(path):
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = "2.0"


def odd_version(path):
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = "new"


def without_status(path):
    with h5py.File(path, "r+") as file:
        del file["status"]


def truncated(path):
    os.truncate(path, os.path.getsize(path) - 3000)


def truncated_early(path):
    os.truncate(path, 100)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove, "came no file: check the path"),
        (other_bytes, "expected an HDF5 file, came 23 bytes that start with b'not a tr'"),
        (empty, "came an empty file"),
        (directory, "came a directory"),
        (other_hdf5, r"another HDF5 file \(groups: weights; attributes: creator\)"),
        (newer, r"expected format version 1\.x, came 2\.0: upgrade"),
        (odd_version, "expected a format version such as 1.0, came 'new'"),
        (without_status, "damaged or truncated"),
        (truncated, "truncated"),
        (truncated_early, "truncated"),
    ],
)
def test_files_that_are_no_trajectory(run, spoil, message):
    spoil(run)
    with pytest.raises(TrajectoryError, match=message) as raised:
        open_trajectory(run)
    assert str(run) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_live_file_cut_off_is_refused_not_read_as_zeros(tmp_path):
    path = tmp_path / "run.h5"
    code = """
        import os, sys
        import numpy as np
        from dynamics.recorder import Recorder
        recorder = Recorder(sys.argv[1], commit_every=0.0)
        for step in range(40):
            recorder.record("parameters", step=step, value=np.full(10_000, 1.0 + step))
        os._exit(0)
    """
    python(code, path)
    with open_trajectory(path) as trajectory:
        assert trajectory["parameters/value"].shape == (40, 10_000)
        assert float(trajectory["parameters/value"].min()) == 1.0
    os.truncate(path, os.path.getsize(path) // 2)
    with pytest.raises(TrajectoryError, match="rows of parameters/value are lost"):
        open_trajectory(path)


def test_a_file_cut_anywhere_never_hangs_nor_reads_other_values(tmp_path):
    path = tmp_path / "run.h5"
    recorder = Recorder(path, commit_every=0.0)
    for step in range(200):
        recorder.record("series", step=step, loss=1.0 + step, loss_raw=[1.0, 2.0])
    whole = path.read_bytes()
    recorder.close()
    for end in [*range(0, len(whole), len(whole) // 24), len(whole) - 1]:
        path.write_bytes(whole[:end])
        try:
            with open_trajectory(path) as trajectory:
                np.testing.assert_array_equal(trajectory["series/loss"], 1.0 + np.arange(200))
        except TrajectoryError as error:
            assert str(path) in str(error)


def test_a_locked_file_says_so(run):
    code = """
        import sys
        import h5py
        file = h5py.File(sys.argv[1], "r+", libver="latest")
        print("locked", flush=True)
        sys.stdin.readline()
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(run)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "locked\n"
        with pytest.raises(TrajectoryError, match="locked"):
            open_trajectory(run)
        writer.communicate("\n")


def test_require_names_everything_that_is_missing(run):
    with open_trajectory(run) as trajectory:
        found = require(trajectory, "series/loss", "residuals/residual")
        assert list(found) == ["series/loss", "residuals/residual"]
        assert found["residuals/residual"].values.tolist() == [[0.0, 1.0, 2.0, 3.0]]
        with pytest.raises(TrajectoryError) as raised:
            require(trajectory, "series/loss", "gradients/mean_norm_total", "series/rel_l2", "series")
    message = str(raised.value)
    assert message.startswith("expected gradients/mean_norm_total, series/rel_l2, series;")
    assert "/evaluations, /residuals, /series" in message
    assert "recorder.record('gradients', step=step, mean_norm_total=...)" in message


MEMORY = """
    import resource, sys
    from dynamics.trajectory import open_trajectory
    with open_trajectory(sys.argv[1]) as trajectory:
        assert trajectory["parameters/value"].nbytes == int(sys.argv[2])
        assert trajectory["series/loss"].values.tolist() == [1.0, 0.5]
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def memory_to_read_one_series(path, rows, width):
    with Recorder(path) as recorder:
        recorder.record("series", step=0, loss=1.0)
        recorder.record("parameters", step=0, value=np.ones(width))
        recorder.record("series", step=1, loss=0.5)
    # Chunks that are never written take no room on disk, and read as NaN.
    with h5py.File(path, "r+") as file:
        group = file["parameters"]
        for name in ("step", "time", "value"):
            group[name].resize(rows, axis=0)
        group["step"][:] = np.arange(rows)
        group["committed"][...] = rows
    return int(python(MEMORY, path, rows * width * 8))


def test_memory_does_not_grow_with_the_file(tmp_path):
    small = memory_to_read_one_series(tmp_path / "small.h5", 2, 1000)
    large = memory_to_read_one_series(tmp_path / "large.h5", 2000, 125_000)
    assert os.path.getsize(tmp_path / "large.h5") < 4e6
    assert large - small < 20_000  # KiB, for 2 GB


def test_the_written_format_names_every_variable():
    page = (Path(__file__).parents[2] / "data" / "README.md").read_text()
    for stream, variables in KNOWN.items():
        drawn = page.split(f"├── {stream}/")[1].split("├── committed")[0].split("└── committed")[0]
        for variable in variables.values():
            line = next(line for line in drawn.splitlines() if f"─ {variable.name} " in line)
            assert variable.long_name in line
            assert all(dim in line for dim in variable.dims)


def test_values_are_lazy_until_asked_for(run):
    trajectory = open_trajectory(run)
    assert isinstance(trajectory, xr.DataTree)
    assert not trajectory["series/loss"].variable._in_memory
    trajectory.close()
