"""One writer a trajectory: who holds the lock is named, a dead holder is found out, and only one gets a stale lock."""

import json
import os
import platform
import subprocess
import sys
import time

import pytest

from dynamics import Recorder
from dynamics.file.lock import Holder, Lock, LockedError, holder
from dynamics.format import Stream


@pytest.fixture
def elsewhere(tmp_path):
    """A living process that writes run.h5."""
    code = (
        "import sys; from dynamics import Recorder; r = Recorder(sys.argv[1]); r.record('series', 0, loss=1.0);"
        "print('ready', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run.h5")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


def write_lock(path, **entries):
    (path.parent / f"{path.name}.lock").write_text(json.dumps(entries))


def test_a_second_writer_is_refused_and_told_who_the_first_is(tmp_path, elsewhere):
    path = tmp_path / "run.h5"
    before = path.read_bytes()
    for options in ({"overwrite": True}, {}):
        with pytest.raises(OSError, match=f"process {elsewhere.pid} on {platform.node()}"):
            Recorder(path, **options)
    with pytest.raises(LockedError, match="wait for it, end it, or choose another name"):
        Recorder(path, overwrite=True)
    assert path.read_bytes() == before


def test_a_killed_writer_leaves_a_lock_that_is_taken_over(tmp_path, elsewhere):
    path = tmp_path / "run.h5"
    elsewhere.kill()
    elsewhere.wait()
    assert holder(str(path)).alive is False
    with Recorder(path, overwrite=True) as recorder:
        assert holder(str(path)).pid == os.getpid()
        recorder.record("series", 0, loss=1.0)
    assert os.listdir(tmp_path) == ["run.h5"]


def test_a_killed_writer_that_nobody_has_waited_for_is_dead(tmp_path, elsewhere):
    path = str(tmp_path / "run.h5")
    if not Holder.here().started:
        pytest.skip("this system does not tell a zombie from a process")
    elsewhere.kill()
    os.waitid(os.P_PID, elsewhere.pid, os.WEXITED | os.WNOWAIT)
    assert holder(path).alive is False
    Recorder(path, overwrite=True).close()


def test_a_recorder_that_could_not_be_made_leaves_nothing(tmp_path):
    for path in (tmp_path / "run.h5", tmp_path / "run.segments"):
        with pytest.raises(ValueError, match="expected a stream's name") as raised:
            Recorder(path, streams=[Stream("no name")])
        assert os.listdir(tmp_path) == [], raised
    Recorder(tmp_path / "run.h5").close()


def test_two_recorders_in_one_process(tmp_path):
    path = tmp_path / "run.h5"
    with Recorder(path) as first:
        first.record("series", 0, loss=1.0)
        with pytest.raises(LockedError, match="another recorder of this process: close that one first"):
            Recorder(path, overwrite=True)
        first.record("series", 1, loss=2.0)
    Recorder(path, overwrite=True).close()


def test_two_names_of_one_file_have_one_lock(tmp_path):
    path, other = tmp_path / "run.h5", tmp_path / "latest.h5"
    other.symlink_to(path)
    with Recorder(path) as recorder:
        recorder.record("series", 0, loss=1.0)
        with pytest.raises(LockedError):
            Recorder(other, overwrite=True)


def test_a_forgotten_recorder_gives_its_lock_back(tmp_path):
    recorder = Recorder(tmp_path / "run.h5")
    assert holder(recorder.path) is not None
    path = recorder.path
    del recorder
    assert holder(path) is None


def test_a_process_number_that_is_used_again_is_not_the_writer(tmp_path):
    path = tmp_path / "run.h5"
    here = Holder.here()
    if not here.started:
        pytest.skip("this system does not tell when a process started")
    write_lock(path, host=here.host, pid=here.pid, started="1")
    assert holder(str(path)).alive is False
    Lock(str(path)).release()


def test_a_writer_on_another_machine_is_believed(tmp_path):
    path = tmp_path / "run.h5"
    write_lock(path, host="another-machine", pid=1, started="")
    assert holder(str(path)).alive is None
    with pytest.raises(LockedError, match=r"process 1 on another-machine.*; if it is dead, remove .*run\.h5\.lock"):
        Recorder(path)
    assert os.listdir(tmp_path) == ["run.h5.lock"]


@pytest.mark.parametrize("text", ["", "no json", "[1, 2]", '{"host": "x"}', '{"host": "x", "pid": "many"}'])
def test_a_lock_file_of_somebody_else_is_not_taken_away(tmp_path, text):
    (tmp_path / "run.h5.lock").write_text(text)
    with pytest.raises(LockedError, match="remove it if nobody writes"):
        Recorder(tmp_path / "run.h5")
    assert (tmp_path / "run.h5.lock").read_text() == text


def test_of_many_that_find_a_dead_lock_one_gets_it(tmp_path):
    path = tmp_path / "run.h5"
    write_lock(path, host=platform.node(), pid=2**22 + 1, started="1")
    code = (
        "import sys, time; from dynamics.file.lock import Lock, LockedError\n"
        "time.sleep(max(0, float(sys.argv[2]) - time.time()))\n"
        "try: Lock(sys.argv[1]); print('mine', flush=True)\n"
        "except LockedError: print('refused', flush=True)\n"
        "sys.stdin.read()"
    )
    start = str(time.time() + 1.5)
    command = [sys.executable, "-c", code, str(path), start]
    several = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    answers = sorted(process.stdout.readline().strip() for process in several)
    for process in several:
        process.communicate("")
    assert answers == ["mine", *["refused"] * 5]


def test_a_forked_process_does_not_give_back_what_is_not_its_own(tmp_path):
    code = (
        "import os, sys; from dynamics import Recorder; from dynamics.file.lock import holder\n"
        "recorder = Recorder(sys.argv[1])\n"
        "if os.fork() == 0:\n    recorder._file.lock.release(); os._exit(0)\n"
        "os.wait(); print(holder(sys.argv[1]) is not None)"
    )
    answer = subprocess.run([sys.executable, "-c", code, tmp_path / "run.h5"], capture_output=True, text=True)
    assert answer.stdout == "True\n"
