"""Whatever happens to the child that reads a file comes back as a finding in plain words, and within its limits."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from dynamics.confined import confined, keeper
from dynamics.confined.confined import Task, run

HERE = "tests.dynamics.test_confined"


def answer(path, *arguments):
    return [path, list(arguments[:-1]), os.getpid(), os.getppid()]


def modules(path, report):
    return sorted({name.partition(".")[0] for name in sys.modules} & {"xarray", "pandas", "scipy", "torch", "h5netcdf"})


def environment(path, report):
    return {name: value for name, value in os.environ.items() if "HDF5" in name or "THREADS" in name}


def crash(path, report):
    report.at("a place")
    ctypes.string_at(0)


def abort(path, report):
    os.abort()


def killed(path, report):
    os.kill(os.getpid(), signal.SIGKILL)


def leave(path, report):
    os._exit(3)


def fail(path, report):
    raise ValueError("bad luck\nin two lines")


def devour(path, report):
    report.at("a bomb")
    kept = []
    while True:
        kept.append(np.ones(1 << 20))


def devour_inside(path, report):
    raise OSError("Can't synchronously read data (memory allocation failed for chunk)")


def sleep(path, report):
    report.at("a place")
    time.sleep(60)


def spin(path, report):
    while True:
        pass


def crawl(path, report):
    for part in range(8):
        time.sleep(0.15)
        report(part / 8)
    return "done"


def crawl_for_ever(path, report):
    while True:
        time.sleep(0.05)
        report(0.5)


def begin(path, report):
    report(0.1)
    time.sleep(600)


def babble(path, report):
    print("garbage")
    os.write(2, b"garbage")
    return "x" * 10_000_000


def odd(path, report):
    return object()


def write(path, report):
    with open(path, "w") as file:
        file.write("touched")
    return "written"


@pytest.fixture
def tasks(monkeypatch):
    names = [name for name, value in globals().items() if callable(value) and name.islower() and name != "run"]
    table = {name: Task(f"{HERE}:{name}") for name in names}
    table |= {"crawl on": Task(f"{HERE}:crawl", endless=True), "write on": Task(f"{HERE}:write", writes=True)}
    monkeypatch.setattr(confined, "TASKS", table)


@pytest.fixture(params=[True, False], ids=["forks", "alone"])
def both(request, monkeypatch, tasks):
    monkeypatch.setattr(confined, "FORKS", request.param)
    if not request.param:
        keeper._close_all()
    return request.param


def test_the_answer_comes_from_another_process(both):
    outcome = run("answer", "run.h5", arguments=["a", "b"])
    path, arguments, pid, parent = outcome.value
    assert (path, arguments, outcome.death) == ("run.h5", ["a", "b"], "")
    assert pid != os.getpid() and (parent != os.getpid()) == both


def test_a_child_waits_for_further_requests(tasks):
    first, second = run("answer", "run.h5").value, run("answer", "run.h5").value
    assert first[2] != second[2] and first[3] == second[3]


def test_a_child_that_ended_meanwhile_is_replaced(tasks):
    waiting = run("answer", "run.h5").value[3]
    os.kill(waiting, signal.SIGKILL)
    assert run("answer", "run.h5").value[3] != waiting


def test_the_path_is_relative_to_where_the_caller_is(tasks, tmp_path, monkeypatch):
    run("answer", "run.h5")
    monkeypatch.chdir(tmp_path)
    assert run("write on", "here.txt").value == "written" and (tmp_path / "here.txt").read_text() == "touched"


def test_the_child_imports_little_and_finds_no_plugins(tasks, monkeypatch):
    monkeypatch.setenv("HDF5_PLUGIN_PATH", "/somewhere")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    keeper._close_all()
    assert run("environment", "x").value == {
        "HDF5_PLUGIN_PRELOAD": "::",
        "HDF5_USE_FILE_LOCKING": "BEST_EFFORT",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
    command = (
        "import sys, dynamics.confined.structure, dynamics.validation, dynamics.file.summary as s; print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True).stdout.split()
    assert not {"xarray", "pandas", "scipy", "torch", "h5netcdf", "matplotlib"} & set(loaded)


@pytest.mark.parametrize(
    ("task", "death"),
    [
        ("crash", "came a crash of its reader (SIGSEGV) at a place: the file is damaged"),
        ("abort", "came a crash of its reader (SIGABRT): the file is damaged"),
        ("killed", "came the end of its reader by SIGKILL: give the machine memory, try again"),
        ("leave", "came a crash of its reader (exit code 3): the file is damaged"),
        ("fail", "cannot be read on: ValueError: bad luck: the file is damaged"),
        ("devour", "expected to be read within 500 MB, came a demand for more at a bomb: the file is damaged"),
        ("devour_inside", "expected to be read within 500 MB, came a demand for more: the file is damaged"),
        ("babble", "its contents take 10000013 bytes to tell; expected at most 8388608"),
        ("odd", "cannot be read on: TypeError: Object of type object is not JSON serializable"),
        ("write", "cannot be read on: OSError: [Errno 27] File too large"),
    ],
)
def test_deaths_are_told(both, tmp_path, task, death):
    outcome = run(task, str(tmp_path / "run.h5"))
    assert outcome.value is None
    assert outcome.death.startswith(f"{tmp_path}/run.h5: ") and death in outcome.death
    assert outcome.memory < 500e6 and (outcome.memory > 20e6) == both
    assert run("answer", "run.h5").death == ""


@pytest.mark.parametrize("task", ["sleep", "spin", "crawl_for_ever"])
def test_the_time_is_limited(both, task):
    start = time.monotonic()
    outcome = run(task, "run.h5", seconds=0.4)
    place = " at a place" if task == "sleep" else ""
    assert outcome.death.startswith(
        f"run.h5: expected to be read within 0.4 s, came no end{place}, so its reader was killed: the file is damaged"
    )
    assert 0.4 <= outcome.seconds < 2 and time.monotonic() - start < 5
    assert run("answer", "run.h5").death == ""


def test_progress_renews_the_time_of_endless_tasks_alone(tasks):
    told = []
    assert run("crawl on", "run.h5", seconds=0.6, progress=told.append).value == "done"
    assert told == [part / 8 for part in range(8)]
    assert "within 0.6 s" in run("crawl", "run.h5", seconds=0.6).death


def test_larger_files_have_more_time(tasks, tmp_path):
    (tmp_path / "large").write_bytes(bytes(100_000_000))
    assert run("crawl", tmp_path / "large", seconds=0.6).value == "done"
    with open(tmp_path / "hollow", "wb") as file:
        file.truncate(100_000_000)
    assert "within 0.6 s" in run("crawl", tmp_path / "hollow", seconds=0.6).death


def test_the_memory_limit_can_be_chosen(tasks):
    outcome = run("devour", "run.h5", memory=200_000_000)
    assert "within 200 MB" in outcome.death and outcome.memory < 200e6


def test_the_child_ends_when_the_caller_is_interrupted(tasks):
    pids = []

    def interrupt(fraction):
        pids.extend(_children())
        raise KeyboardInterrupt

    keeper._close_all()
    before = set(_children())
    with pytest.raises(KeyboardInterrupt):
        run("begin", "run.h5", progress=interrupt)
    assert pids and _gone(set(pids) - before)


def test_the_child_ends_with_the_caller(tasks):
    code = (
        "from dynamics.confined import confined; from dynamics.confined.confined import Task\n"
        f"confined.TASKS = {{'sleep': Task('{HERE}:begin', endless=True)}}\n"
        "confined.run('sleep', 'run.h5', progress=lambda part: print('on', flush=True))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    with process:
        process.stdout.readline()
        below = _descendants(process.pid)
        process.kill()
    assert len(below) == 2 and _gone(below)


def test_what_is_no_file_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    start = time.monotonic()
    assert (
        run("validate", tmp_path / "pipe").death == f"{tmp_path}/pipe: expected a trajectory, came a pipe: name a file"
    )
    (tmp_path / "link").symlink_to("/dev/zero")
    assert "came a device: name a file" in run("recover", tmp_path / "link").death
    assert time.monotonic() - start < 1


def test_without_a_child_there_is_an_error(monkeypatch, tasks):
    keeper._close_all()
    monkeypatch.setattr(keeper, "BOOT", "raise SystemExit(1)")
    with pytest.raises(RuntimeError, match="see what `python -I -c 'import h5py'` says"):
        run("answer", "run.h5")


def test_where_pipes_cannot_be_waited_for_one_request_has_one_child(both, monkeypatch):
    if both:
        return
    monkeypatch.setattr(confined, "os", SimpleNamespace(**{**vars(os), "name": "nt"}))
    monkeypatch.setattr(confined, "START_SECONDS", 2.0)
    assert run("answer", "run.h5", arguments=["a"]).value[:2] == ["run.h5", ["a"]]
    assert "crash of its reader (SIGSEGV) at a place" in run("crash", "run.h5").death
    assert "came no end" in run("sleep", "run.h5", seconds=0.2).death


def _children():
    return _descendants(os.getpid())


def _descendants(pid):
    """Return the processes below one, from /proc."""
    parents = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat") as file:
                parents[int(entry)] = int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            continue
    below, found = {pid}, set()
    while below:
        below = {child for child, parent in parents.items() if parent in below}
        found |= below
    return found


def _gone(pids):
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if not any(os.path.exists(f"/proc/{pid}") for pid in pids):
            return True
        time.sleep(0.02)
    return False
