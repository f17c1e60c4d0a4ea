"""What the recorder writes: values, layout, commits, late scalars, and every refusal."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dynamics.file.opening import open_file
from dynamics.file.rows import Rows
from dynamics.file.swmr_file import SwmrFile
from dynamics.format import FORMAT, KNOWN, ROOT_ATTRIBUTES, Stream, Variable
from dynamics.recorder import Recorder, RecorderError
from dynamics.trajectory import open_trajectory
from dynamics.validation import validate


def write_rows(path, count=5, **options):
    with Recorder(path, **options) as recorder:
        for step in range(count):
            recorder.record("series", step=step, time=step / 10, loss=1.0 / (step + 1))


def frozen(path, **options):
    """A recorder whose layout is frozen: `series` with `loss`, two rows committed."""
    recorder = Recorder(path, commit_every=0.0, **options)
    recorder.record("series", step=0, loss=1.0)
    recorder.record("series", step=1, loss=0.5)
    return recorder


def python(code, *arguments, **options):
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


finite_or_nan = st.floats(width=64, allow_infinity=True)


@settings(max_examples=15, deadline=None)
@given(
    rows=st.lists(st.tuples(finite_or_nan, st.booleans()), min_size=1, max_size=6),
    shape=hnp.array_shapes(min_dims=1, max_dims=3, max_side=4),
    dtype=st.sampled_from(["f4", "f8"]),
    commit_every=st.sampled_from([0.0, 100.0]),
    data=st.data(),
)
def test_what_is_recorded_is_read_back(tmp_path_factory, rows, shape, dtype, commit_every, data):
    path = tmp_path_factory.mktemp("contract") / "run.h5"
    arrays = [data.draw(hnp.arrays(dtype, shape)) for _ in rows]
    with Recorder(path, commit_every=commit_every) as recorder:
        for step, ((value, given_array), array) in enumerate(zip(rows, arrays, strict=True)):
            extra = {"field": array} if given_array or step == 0 else {}
            recorder.record("probe", step=3 * step, time=0.5 * step, value=value, **extra)
    with open_trajectory(path) as trajectory:
        probe = trajectory["probe"].to_dataset().load()
    assert probe["step"].values.tolist() == [3 * step for step in range(len(rows))]
    assert probe["time"].values.tolist() == [0.5 * step for step in range(len(rows))]
    np.testing.assert_array_equal(probe["value"], [value for value, _ in rows])
    assert probe["field"].dtype == dtype
    assert probe["field"].dims == ("step", *(f"field_{axis}" for axis in range(len(shape))))
    for step, ((_, given_array), array) in enumerate(zip(rows, arrays, strict=True)):
        np.testing.assert_array_equal(probe["field"][step], array if given_array or step == 0 else np.nan * array)


def test_known_variables_take_dims_units_and_names_from_the_format(tmp_path):
    path = tmp_path / "run.h5"
    streams = [Stream("gradients", coords={"layer": ["0.weight", "2.weight"]}, attrs={"blocks": 10})]
    with Recorder(path, streams=streams) as recorder:
        recorder.record("gradients", step=0, mean_norm=[1.0, 2.0], block_norm=np.ones(10))
    with open_trajectory(path) as trajectory:
        gradients = trajectory["gradients"].to_dataset()
        assert gradients["mean_norm"].dims == ("step", "layer")
        assert gradients["mean_norm"].attrs["long_name"] == KNOWN["gradients"]["mean_norm"].long_name
        assert gradients["layer"].values.tolist() == ["0.weight", "2.weight"]
        assert gradients["block_norm"].dims == ("step", "block")
        assert "block" not in gradients.coords
        assert gradients.attrs["blocks"] == 10
        assert gradients["time"].attrs["units"] == "s"


def test_evaluations_are_numbered_and_steps_may_repeat(tmp_path):
    path = tmp_path / "run.h5"
    with Recorder(path) as recorder:
        for step in (0, 0, 1):
            recorder.record("evaluations", step=step, loss=float(step))
        with pytest.raises(ValueError, match="expected a step after 1, came 0"):
            recorder.record("evaluations", step=0, loss=0.0)
    with open_trajectory(path) as trajectory:
        evaluations = trajectory["evaluations"].to_dataset()
        assert evaluations["evaluation"].values.tolist() == [0, 1, 2]
        assert evaluations["step"].values.tolist() == [0, 0, 1]
        assert evaluations["loss"].dims == ("evaluation",)


def test_root_attributes(tmp_path):
    path = tmp_path / "run.h5"
    write_rows(path, config={"seed": 7, "dtype": "float32", "width": 20}, attrs={"seed": 8, "note": ["a"]})
    with h5py.File(path) as file:
        assert set(ROOT_ATTRIBUTES) <= set(file.attrs)
        assert file.attrs["format"] == FORMAT
        assert file.attrs["seed"] == 8
        assert file.attrs["dtype"] == "float32"
        assert file.attrs["device"] == ""
        assert json.loads(file.attrs["config"])["width"] == 20
        assert json.loads(file.attrs["note"]) == ["a"]
        assert json.loads(file.attrs["versions"])["h5py"] == h5py.__version__


def test_points_are_stored_once(tmp_path):
    path = tmp_path / "run.h5"
    points = np.arange(6.0).reshape(3, 2)
    with Recorder(path) as recorder:
        recorder.store("points", coords={"axis": ["x", "t"]}, interior=(("interior_point", "axis"), points))
        points[:] = -1.0
        recorder.record("series", step=0, loss=1.0)
    with open_trajectory(path) as trajectory:
        interior = trajectory["points/interior"]
        assert interior.values.tolist() == [[0, 1], [2, 3], [4, 5]]
        assert interior["axis"].values.tolist() == ["x", "t"]


def test_store_refuses_after_the_first_flush_and_wrong_dims(tmp_path):
    with Recorder(tmp_path / "run.h5") as recorder:
        with pytest.raises(ValueError, match="expected one name per dimension"):
            recorder.store("points", interior=(("point",), np.zeros((3, 2))))
    recorder = frozen(tmp_path / "frozen.h5")
    with recorder, pytest.raises(ValueError, match="store it before recording"):
        recorder.store("points", interior=(("point",), np.zeros(3)))


def test_mutating_an_array_afterwards_changes_nothing(tmp_path):
    path, field = tmp_path / "run.h5", np.ones(3)
    with Recorder(path) as recorder:
        recorder.record("probe", step=0, field=field)
        field[:] = 9.0
    with open_trajectory(path) as trajectory:
        assert trajectory["probe/field"].values.tolist() == [[1.0, 1.0, 1.0]]


def test_chunks(tmp_path):
    path = tmp_path / "run.h5"
    with Recorder(path) as recorder:
        recorder.record("series", step=0, loss=1.0)
        recorder.record("residuals", step=0, residual=np.ones(3000))
        recorder.record("spectra", step=0, floor=1e-16, singular_value=np.ones(4))
        recorder.record("parameters", step=0, value=np.ones(100_000))
    with h5py.File(path) as file:
        assert file["series/loss"].chunks == (1024,)
        assert file["residuals/residual"].chunks == (2, 3000)
        assert file["spectra/floor"].chunks == (128,)
        assert file["spectra/singular_value"].chunks == (128, 4)
        assert file["parameters/value"].chunks == (1, 100_000)
        assert file["series/loss"].compression is None


@settings(max_examples=30, deadline=None)
@given(shape=st.lists(st.integers(0, 300), max_size=3).map(tuple), stream=st.sampled_from(["series", "spectra"]))
def test_chunks_align_and_stay_small(shape, stream):
    rows = Rows(Stream(stream))
    chunk = rows.chunk(shape)
    assert rows.chunk() % chunk == 0
    assert chunk == 1 or chunk * 8 * np.prod(shape) <= 64 * 1024


def test_full_chunks_are_written_before_the_timer(tmp_path):
    with Recorder(tmp_path / "run.h5", commit_every=1e9) as recorder:
        for step in range(1025):
            recorder.record("series", step=step, loss=1.0)
        assert [len(rows.pending) for rows in recorder._streams.values()] == [1]


def test_large_rows_do_not_pile_up_in_memory(tmp_path):
    with Recorder(tmp_path / "run.h5", commit_every=1e9) as recorder:
        for step in range(9):
            recorder.record("parameters", step=step, value=np.ones(100_000))
            pending = sum(rows.pending_bytes for rows in recorder._streams.values())
            assert pending < (1 << 20) + 2 * 800_000


def test_a_slow_first_step_does_not_freeze_the_layout(tmp_path):
    path = tmp_path / "run.h5"
    with Recorder(path, commit_every=0.0) as recorder:
        recorder.record("series", step=0, loss=1.0)
        recorder.record("residuals", step=0, residual=np.ones(4))
        recorder.record("series", step=1, loss=1.0)
        with pytest.raises(ValueError, match=r"Recorder\(\.\.\., streams="):
            recorder.record("probe", step=1, field=np.ones(2))
    with open_trajectory(path) as trajectory:
        assert trajectory["residuals/residual"].shape == (1, 4)


def test_late_scalars_live_and_after_close(tmp_path):
    path = tmp_path / "run.h5"
    recorder = frozen(path)
    recorder.record("series", step=2, loss=0.25, rel_l2=0.1)
    recorder.record("custom", step=2, time=7.0, a=5.0)
    recorder.record("custom", step=4, time=8.0, a=6.0, b=2.0)
    expected = {
        "series/loss": [1.0, 0.5, 0.25],
        "series/rel_l2": [np.nan, np.nan, 0.1],
        "custom/a": [5.0, 6.0],
        "custom/b": [np.nan, 2.0],
        "custom/step": [2, 4],
        "custom/time": [7.0, 8.0],
    }
    for closing in (False, True):
        if closing:
            recorder.close()
        with open_trajectory(path) as trajectory:
            for name, values in expected.items():
                np.testing.assert_array_equal(trajectory[name], values)
            assert trajectory["series/rel_l2"].attrs["long_name"] == KNOWN["series"]["rel_l2"].long_name
            assert "late" not in trajectory.children
    with h5py.File(path) as file:
        assert file["series/rel_l2"].shape == (3,)
        assert file["late/name"].shape == (0,)
    assert validate(path) == []


def test_a_reader_that_holds_the_file_does_not_stop_close(tmp_path):
    path = tmp_path / "run.h5"
    recorder = frozen(path)
    recorder.record("series", step=2, loss=0.25, rel_l2=0.1)
    code = """
        import sys
        from dynamics.trajectory import open_trajectory
        with open_trajectory(sys.argv[1]):
            print("open", flush=True)
            sys.stdin.readline()
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout.readline() == "open\n"
        recorder.close()
        reader.communicate("\n")
    with open_trajectory(path) as trajectory:
        assert trajectory.attrs["status"] == "complete"
        np.testing.assert_array_equal(trajectory["series/rel_l2"], [np.nan, np.nan, 0.1])
    assert validate(path) == []


@pytest.mark.parametrize(
    ("stream", "values", "message"),
    [
        ("series", {"field": np.ones(2)}, r"Stream\('series', \[Variable\('field', \('field_0',\)\)\]"),
        ("series", {"loss_raw": np.ones(2)}, r"\('term',\)\)\], coords=\{'term': 2\}"),
        ("other", {"field": np.ones(2)}, r"streams=\[Stream\('other'"),
        ("evaluations", {"loss": 1.0}, r"index='evaluation'"),
        ("series", {"n" * 60: 1.0}, "at most 64 bytes"),
        ("series", {"loss": np.ones(2)}, r"expected shape \(\), as before, came \(2,\)"),
        ("series", {"loss": "text"}, "expected real numbers"),
        ("series", {"loss": 1j}, "two variables"),
        ("series", {"loss": [[1.0], [1.0, 2.0]]}, "expected a number or an array, came list"),
    ],
)
def test_refusals_after_the_first_flush(tmp_path, stream, values, message):
    path = tmp_path / "run.h5"
    with frozen(path) as recorder, pytest.raises(ValueError, match=message):
        recorder.record(stream, step=2, **values)
    with open_trajectory(path) as trajectory:
        assert trajectory["series"].sizes["step"] == 2


def test_the_declaration_that_a_late_array_asks_for_works(tmp_path):
    streams = [Stream("series", [Variable("field", ("field_0",))], coords={"field_0": 2})]
    path = tmp_path / "run.h5"
    with frozen(path, streams=streams) as recorder:
        recorder.record("series", step=2, field=np.ones(2))
    with open_trajectory(path) as trajectory:
        np.testing.assert_array_equal(trajectory["series/field"], [[np.nan] * 2, [np.nan] * 2, [1, 1]])


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ((3, {"loss": 1.0}), (3, {"loss": 1.0}), "expected a step after 3, came 3: record all values of a step in one"),
        ((3, {"loss": 1.0}), (2, {"loss": 1.0}), "expected a step after 3, came 2"),
        ((0, {"loss_raw": [1.0, 2.0]}), (1, {"loss_raw": [1.0]}), r"expected shape \(2,\), as before, came \(1,\)"),
        ((0, {"loss_raw": [1.0, 2.0]}), (1, {"loss_weight": [1.0]}), "expected 2 along term, as before, came 1"),
        ((0, {"loss": 1.0}), (1, {"loss_raw": 1.0}), r"expected dimensions \(term\), came shape \(\)"),
        ((0, {"loss": 1.0}), (1, {"committed": 1.0}), "choose another name"),
    ],
)
def test_refusals_before_the_first_flush(tmp_path, first, second, message):
    with Recorder(tmp_path / "run.h5", commit_every=1e9) as recorder:
        recorder.record("series", step=first[0], **first[1])
        with pytest.raises(ValueError, match=message):
            recorder.record("series", step=second[0], **second[1])


@pytest.mark.parametrize("name", ["late", "status", "stop_reason"])
def test_variables_that_come_late_may_be_called_as_groups_are(tmp_path, name):
    path = tmp_path / "run.h5"
    with frozen(path) as recorder:
        recorder.record("series", step=5, **{name: 7.0})
    with open_trajectory(path) as trajectory:
        assert trajectory["series"][name].values[-1] == 7.0
    with h5py.File(path) as file:
        assert name in file["series"]
    assert validate(path) == []


@pytest.mark.parametrize("name", ["committed", "a/b", "evaluation"])
def test_names_that_late_variables_cannot_have(tmp_path, name):
    with frozen(tmp_path / "run.h5") as recorder, pytest.raises(ValueError, match="choose another name"):
        recorder.record("series", step=5, **{name: 7.0})


@pytest.mark.parametrize("name", ["late", "status", "a/b", ""])
def test_names_that_are_no_streams(tmp_path, name):
    with Recorder(tmp_path / "run.h5") as recorder, pytest.raises(ValueError, match="expected a stream's name"):
        recorder.record(name, step=0, value=1.0)


def test_integer_arrays_need_a_value_in_every_row(tmp_path):
    streams = [Stream("probe", [Variable("rank", ("layer",), dtype="i4")], coords={"layer": 2})]
    path = tmp_path / "run.h5"
    with Recorder(path, streams=streams) as recorder:
        recorder.record("probe", step=0, rank=[1, 2])
        with pytest.raises(ValueError, match="i4 has no NaN"):
            recorder.record("probe", step=1)
    with open_trajectory(path) as trajectory:
        assert trajectory["probe/rank"].dtype == np.int32


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (RuntimeError("no\nluck"), "failed", "RuntimeError: no"),
        (KeyboardInterrupt(), "interrupted", "KeyboardInterrupt"),
    ],
)
def test_an_exception_is_recorded_and_propagates(tmp_path, error, status, reason):
    path = tmp_path / "run.h5"
    with pytest.raises(type(error)), Recorder(path) as recorder:
        recorder.record("series", step=0, loss=1.0)
        raise error
    with open_trajectory(path) as trajectory:
        assert trajectory.attrs["status"] == status
        assert trajectory.attrs["stop_reason"] == reason
        assert trajectory["series/loss"].values.tolist() == [1.0]


def test_divergence_is_a_status_and_long_reasons_are_cut(tmp_path):
    path = tmp_path / "run.h5"
    with Recorder(path) as recorder:
        recorder.record("series", step=0, loss=np.inf)
        with pytest.raises(ValueError, match="expected a status"):
            recorder.close("running")
        recorder.close("diverged", "é" * 200)
        with pytest.raises(ValueError, match="closed"):
            recorder.record("series", step=1, loss=1.0)
    with open_trajectory(path) as trajectory:
        assert trajectory.attrs["status"] == "diverged"
        assert trajectory.attrs["stop_reason"] == "é" * 128


def test_existing_files_are_kept_unless_told_otherwise(tmp_path):
    path = tmp_path / "run.h5"
    write_rows(path, count=3)
    with pytest.raises(
        FileExistsError, match=r"exists; expected a new file: choose another name or pass overwrite=True"
    ):
        Recorder(path)
    with pytest.raises(ZeroDivisionError), Recorder(path, overwrite=True):
        1 / 0  # noqa: B018
    with open_trajectory(path) as trajectory:
        assert trajectory["series"].sizes["step"] == 3
    recorder = Recorder(path, overwrite=True, commit_every=1e9)
    recorder.record("series", step=0, loss=1.0)
    with open_trajectory(path) as trajectory:
        assert trajectory["series"].sizes["step"] == 3
    recorder.close()
    with open_trajectory(path) as trajectory:
        assert trajectory["series"].sizes["step"] == 1
    assert os.listdir(tmp_path) == ["run.h5"]


def test_bad_places(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="missing does not exist; expected a directory"):
        Recorder(tmp_path / "missing" / "run.h5")
    with pytest.raises(FileExistsError, match="is a directory"):
        Recorder(tmp_path)
    # Asked through os.access, since root may write everywhere.
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match="cannot be written"):
        Recorder(tmp_path / "run.h5")
    assert os.listdir(tmp_path) == []


def test_commit_is_at_least_as_often_as_promised(tmp_path):
    path = tmp_path / "run.h5"
    recorder = Recorder(path, commit_every=0.05)
    for step in range(3):
        recorder.record("series", step=step, loss=1.0)
        time.sleep(0.06)
    with h5py.File(path, "r", swmr=True) as file:
        assert file["series/committed"][()] >= 2
    recorder.close()


def test_seconds_counts_the_time_inside(tmp_path):
    with Recorder(tmp_path / "run.h5") as recorder:
        before = recorder.seconds
        time.sleep(0.05)
        assert recorder.seconds == before > 0
        recorder.record("series", step=0, loss=1.0)
        assert before < recorder.seconds < before + 0.05


WRITE_UNTIL_FULL = """
    import resource, signal, sys
    import numpy as np
    from dynamics.recorder import Recorder, RecorderError
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
    try:
        with Recorder(sys.argv[1], commit_every=0.0) as recorder:
            for step in range(100_000):
                recorder.record("series", step=step, loss=float(step), loss_raw=np.full(50, step))
    except RecorderError as error:
        print(error)
    try:
        recorder.record("series", step=step + 1, loss=0.0)
    except NameError:
        pass
    except RecorderError as error:
        assert "earlier" in str(error)
        recorder.close()
    print("end")
"""


@pytest.mark.parametrize("limit", [100_000, 300_000])
def test_a_full_disk_costs_no_committed_row(tmp_path, limit):
    path = tmp_path / "run.h5"
    answer = python(WRITE_UNTIL_FULL, path, limit)
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""
    message, end = answer.stdout.splitlines()
    assert end == "end"
    assert "File too large" in message
    rows = int(message.split("; ")[1].split()[0])
    assert rows > 0
    with open_trajectory(path) as trajectory:
        np.testing.assert_array_equal(trajectory["series/loss"], np.arange(rows))
        np.testing.assert_array_equal(trajectory["series/loss_raw"][:, 49], np.arange(rows))
        assert trajectory.attrs["status"] == "failed"
        assert "File too large" in trajectory.attrs["stop_reason"]
    assert validate(path) == []


def test_a_disk_full_at_once_leaves_no_file(tmp_path):
    answer = python(WRITE_UNTIL_FULL, tmp_path / "run.h5", 3000)
    assert answer.returncode == 0, answer.stderr
    assert "nothing was written yet" in answer.stdout
    assert os.listdir(tmp_path) == []


WRITE_FOREVER = """
    import sys
    import numpy as np
    from dynamics.recorder import Recorder
    recorder = Recorder(sys.argv[1], commit_every=0.002)
    for step in range(10**9):
        recorder.record("series", step=step, loss=float(step), loss_raw=[step, 2.0 * step])
        if step % 10 == 0:
            recorder.record("spectra", step=step, singular_value=np.full(30, step))
        if step > 500:
            recorder.record("extra", step=step, late=float(step))
"""


def start_writer(path):
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(WRITE_FOREVER), str(path)])


def check_rows(path):
    with open_trajectory(path) as trajectory:
        rows = trajectory["series"].sizes["step"]
        np.testing.assert_array_equal(trajectory["series/step"], np.arange(rows))
        np.testing.assert_array_equal(trajectory["series/loss"], np.arange(rows))
        np.testing.assert_array_equal(trajectory["series/loss_raw"][:, 1], 2.0 * np.arange(rows))
        spectra = trajectory["spectra/singular_value"]
        np.testing.assert_array_equal(spectra, np.repeat(10.0 * np.arange(len(spectra))[:, None], 30, axis=1))
        if "extra" in trajectory.children:
            late = trajectory["extra/late"]
            np.testing.assert_array_equal(late, late["step"])
        return rows


def test_reading_while_writing_and_after_kill(tmp_path):
    paths = [tmp_path / f"run{number}.h5" for number in range(3)]
    writers = [start_writer(path) for path in paths]
    try:
        for path, writer in zip(paths, writers, strict=True):
            deadline = time.monotonic() + 20
            while not path.exists() or len(validate(path)) > 0:
                assert time.monotonic() < deadline, validate(path)
                time.sleep(0.02)
            seen = [check_rows(path) for _ in range(4)]
            assert seen == sorted(seen)
            assert seen[-1] > seen[0]
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            with h5py.File(path, "r", swmr=True) as file:
                committed = int(file["series/committed"][()])
            assert check_rows(path) == committed >= seen[-1]
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()


def test_torch_tensors_are_read_without_importing_torch(tmp_path):
    class Tensor:
        """What a tensor on the CPU offers to numpy."""

        def __init__(self, values):
            self.values = np.array(values, np.float32)

        def __array__(self, dtype=None, copy=None):
            return self.values

    class OnDevice:
        def __array__(self, dtype=None, copy=None):
            raise TypeError("can't convert device tensor to numpy")

    path = tmp_path / "run.h5"
    with Recorder(path) as recorder:
        recorder.record("probe", step=0, loss=Tensor(2.0), field=Tensor([1.0, 2.0]))
        with pytest.raises(ValueError, match="detached CPU tensors"):
            recorder.record("probe", step=1, loss=OnDevice())
    with open_trajectory(path) as trajectory:
        assert trajectory["probe/loss"].values.tolist() == [2.0]
        assert trajectory["probe/field"].dtype == np.float32


def test_recorder_error_is_an_os_error():
    assert issubclass(RecorderError, OSError)


def test_late_scalars_are_promised_on_the_disk_before_their_rows(tmp_path, monkeypatch):
    path, seen = tmp_path / "run.h5", []
    promise = SwmrFile._promise

    def watched(file, name, counts):
        if name == "series":
            # Of a copy: within a process HDF5 shows what it has not written yet.
            shutil.copy(path, tmp_path / "copy.h5")
            with open_file(str(tmp_path / "copy.h5")) as (there, _):
                seen.append((there["late/committed"][()], there["series/committed"][()]))
        promise(file, name, counts)

    with frozen(path) as recorder:
        monkeypatch.setattr(SwmrFile, "_promise", watched)
        for step in range(2, 5):
            recorder.record("series", step=step, loss=1.0, appeared=2.0)
    assert seen[:3] == [(1, 2), (2, 3), (3, 4)]


LEFT = """
import os, sys
from dynamics import Recorder
recorder = Recorder(sys.argv[1])
for step in range(int(sys.argv[2])):
    recorder.record("series", step, loss=1.0 / (step + 1))
if len(sys.argv) > 3 and os.fork() == 0:
    sys.exit()
if len(sys.argv) > 3:
    os.wait()
    recorder.record("series", int(sys.argv[2]), loss=0.0)
"""


@pytest.mark.parametrize(("rows", "options"), [(300, ()), (0, ()), (5, ("fork",))])
def test_a_program_that_never_closes_leaves_a_closed_file(tmp_path, rows, options):
    """Without a row it leaves none; a process that it forks leaves the file alone."""
    path = tmp_path / "run.h5"
    subprocess.run([sys.executable, "-W", "error", "-c", LEFT, path, str(rows), *options], check=True, timeout=60)
    if not rows:
        assert not list(tmp_path.iterdir())
        return
    with open_trajectory(path) as trajectory:
        assert trajectory.attrs["status"] == "interrupted"
        assert trajectory.attrs["stop_reason"] == "the program ended without close()"
        assert trajectory["series"].sizes["step"] == rows + len(options)
    assert [each.name for each in tmp_path.iterdir()] == ["run.h5"]
