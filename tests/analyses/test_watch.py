"""The view of a running run: what it says of rate, time left, writer and phase, and what no file can make it do."""

import contextlib
import io
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console
from typer.testing import CliRunner

from analyses import watch as watch_module
from analyses import watched
from analyses.cli import app
from analyses.pace import duration, elapsed, pace
from analyses.sparkline import LEVELS, PLAIN_LEVELS, sparkline
from analyses.watch import Watcher, phase_so_far, watch
from analyses.watch_frame import frame, line, plain
from analyses.watched import QUIET, file_age
from dynamics.file.opening import TrajectoryError
from dynamics.format import Stream
from dynamics.recorder import Recorder

SAMPLE = "data/helmholtz-rba.h5"


class Clock:
    def __init__(self):
        self.seconds = 100.0

    def __call__(self):
        return self.seconds


def drawn(watcher, now=None, width=80, **options):
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    console.print(frame(watcher.watched, watcher.phase, watcher.now() if now is None else now, **options))
    return console.export_text()


def started(path, count=5, **options):
    recorder = Recorder(path, commit_every=0.0, config={"steps": 20, "problem": {"name": "wave"}}, **options)
    for step in range(count):
        recorder.record("series", step, time=2.0 * step, loss=10.0**-step, loss_raw=[1.0, 2.0], rel_l2=0.5)
    return recorder


def test_a_frame_of_a_running_run(tmp_path):
    path, clock = str(tmp_path / "run.h5"), Clock()
    recorder = started(path, streams=[Stream("series", coords={"term": ["interior", "boundary"]})])
    watcher = Watcher(path, clock)
    assert not watcher.poll()
    text = drawn(watcher)
    for part in (
        "wave",
        "running",
        "step 4 of 20 (20%)",
        "0.5 steps/s",
        "0:00:08 elapsed",
        "0:00:32 left",
        "loss",
        "1.00e-04",
        "interior",
        "boundary",
        "rel_l2",
        f"process {os.getpid()}",
        "last row 0.",
    ):
        assert part in text, part
    assert "0.5 steps/s, 0:00:32 left" in line(watcher.watched, clock())
    clock.seconds += 40
    watcher.poll()
    assert "no row for 40 s" in drawn(watcher)
    assert "alive, stalled or in a long step" in " ".join(drawn(watcher).replace("│", " ").split())
    recorder.end("diverged", "loss is nan at step 5")
    recorder.close()
    assert watcher.poll()
    assert "diverged (loss is nan at step 5)" in drawn(watcher)
    assert "left" not in line(watcher.watched, clock())


def test_a_frame_fits_a_terminal_whatever_is_recorded(tmp_path):
    path = str(tmp_path / "run.h5")
    config = {"steps": 10**9, "case": {"title": "t\x1b[2J" * 50}}
    terms = [f"a term with a long name {number}" for number in range(30)]
    with Recorder(
        path, config=config, streams=[Stream("series", coords={"term": terms})], commit_every=0.0
    ) as recorder:
        for step in range(3):
            recorder.record("series", step, loss=1.0, loss_raw=np.ones(30), **{f"extra{n}": -1.0 for n in range(30)})
        watcher = Watcher(path, Clock())
        watcher.poll()
        watcher.phase, watcher.watched.event = "p" * 500, "e" * 500
        recorder.end("failed", "r" * 250)
    watcher.poll()
    for unicode in (True, False):
        lines = drawn(watcher, now=1e4, unicode=unicode).rstrip("\n").split("\n")
        assert len(lines) <= 24
        assert max(map(cell_len, lines)) <= 80
        assert "\x1b" not in "".join(lines)
    assert "and 21 more" in "".join(lines)
    assert "\x1b" not in line(watcher.watched, 0.0)


def test_no_block_characters_where_the_terminal_has_none(tmp_path):
    path = str(tmp_path / "run.h5")
    started(path).close()
    watcher = Watcher(path, Clock())
    watcher.poll()
    text = drawn(watcher, unicode=False)
    assert not set(LEVELS) & set(text)
    assert "━" not in text


def test_coefficients_are_shown_by_name(tmp_path):
    path = str(tmp_path / "run.h5")
    with Recorder(path, streams=[Stream("coefficients", coords={"coefficient": ["viscosity"]})]) as recorder:
        for step in range(3):
            recorder.record("series", step, loss=1.0)
            recorder.record("coefficients", step, value=[0.01 * step - 0.01])
    watcher = Watcher(path, Clock())
    watcher.poll()
    assert [part for part in drawn(watcher).split("\n") if "viscosity" in part and "0.01 " in part]


@pytest.mark.parametrize("jump", [-1e6, 1e-9, float("nan")])
def test_a_clock_that_jumps_breaks_neither_rate_nor_time_left(tmp_path, jump):
    path = str(tmp_path / "run.h5")
    with Recorder(path, config={"steps": 30}) as recorder:
        for step in range(20):
            # Two steps a second; once the clock jumps.
            off = jump if step == 12 or (step > 12 and jump < 0) else 0.0
            clock = step / 2 + off
            recorder.record("series", step, time=clock, loss=1.0)
    watcher = Watcher(path, Clock())
    watcher.poll()
    watched = watcher.watched
    assert watched.rate == pytest.approx(2.0, rel=1e-9)
    assert watched.elapsed == pytest.approx(9.5, abs=0.51)


def test_rates_and_durations():
    steps, times = np.arange(2001), np.concatenate([np.arange(1001) * 1.0, 1000 + np.arange(1, 1001) * 0.1])
    # The last ten seconds count, not the slow beginning.
    assert pace(steps, times) == pytest.approx(10.0, rel=0.02)
    assert math.isnan(pace(steps[:1], times[:1])) and math.isnan(pace(steps[:0], times[:0]))
    assert math.isnan(pace(steps[:5], np.full(5, 3.0)))
    assert pace(np.array([0, 1000]), np.array([0.0, 60.0])) == pytest.approx(1000 / 60)
    assert math.isnan(elapsed(np.array([np.nan])))
    assert elapsed(np.array([5.0, 6.0, 2.0, 3.0])) == 7.0
    assert duration(-1.0) == "-"
    assert duration(math.inf) == "-"


def test_sparklines():
    step = np.arange(1000)
    falling = sparkline(step, 10.0 ** -(step / 100), 20)
    assert (len(falling), falling[0], falling[-1]) == (20, LEVELS[-1], LEVELS[0])
    assert [LEVELS.index(c) for c in falling] == sorted((LEVELS.index(c) for c in falling), reverse=True)
    assert sparkline([0], [5.0], 3) == sparkline([0, 9], [5.0, 5.0], 3) == "▄▄▄"
    assert sparkline([0, 1], [np.nan, -1.0], 3) == "   "
    # Blank till the first value, which comes at step 99 of 9999: half the width in log10.
    assert sparkline([99, 9999], [1.0, 10.0], 8) == "    ▁▁▁█"
    assert set(sparkline(step, step - 5.0, 30, logarithmic=False, levels=PLAIN_LEVELS)) <= set(PLAIN_LEVELS)
    spike = np.ones(1000)
    spike[-1] = np.inf
    assert sparkline(step, spike, 5) == "▄" * 5


def test_phases_are_found_in_a_sample_and_analysed_seldom(monkeypatch):
    assert "total diffusion since step" in phase_so_far(SAMPLE)
    assert phase_so_far("no_such_run.h5") == ""
    clock, calls = Clock(), []

    def slow(path):
        calls.append(path)
        clock.seconds += 1.0
        return f"phase {len(calls)}"

    monkeypatch.setattr(watch_module, "phase_so_far", slow)
    watcher = Watcher(SAMPLE, clock)
    watcher.poll()
    watcher.analyse()
    watcher.analyse()
    assert (calls, watcher.phase) == ([SAMPLE], "phase 1")
    watcher.watched.rows["gradients"]["step"] = watcher.watched.rows["gradients"]["step"][:-1]
    watcher.watched.news = type(watcher.watched.news)("live", "running")
    clock.seconds += 18.0
    watcher.analyse()
    assert len(calls) == 1
    clock.seconds += 2.0
    watcher.analyse()
    assert len(calls) == 2


def test_once_prints_a_frame_and_lines_elsewhere(tmp_path, capsys):
    path = tmp_path / "run.h5"
    started(str(path)).close()
    watch(path, once=True)
    assert "step 4 of 20" in capsys.readouterr().out
    watch(path)
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 1
    assert out[0].startswith(f"{path}: complete, step 4 of 20 (20%), loss 1.00e-04, rel_l2 5.00e-01")
    with pytest.raises(TrajectoryError, match="came no file: check the path"):
        watch(tmp_path / "none.h5", once=True)
    result = CliRunner().invoke(app, ["watch", str(tmp_path / "none.h5"), "--once"])
    assert result.exit_code == 1 and "came no file" in result.stderr
    (tmp_path / "empty.h5").touch()
    (tmp_path / "text.h5").write_text("no trajectory at all")
    for name, message in {"": "nobody at work", "empty.h5": "nobody at work", "text.h5": "expected an HDF5"}.items():
        with pytest.raises(TrajectoryError, match=message):
            watch(tmp_path / name, once=True)


def test_a_run_that_was_left_tells_how_to_go_on(tmp_path):
    path = tmp_path / "run.h5"
    told = watched._advice(str(path))
    assert told == f"pinnscope recover {path}"
    for step in (9, 1200):
        (tmp_path / f"run.h5.checkpoint-{step}.npz").touch()
    assert watched._advice(str(path)) == f"go on from step 1,200 with --resume, or {told}"
    (tmp_path / "run.segments").mkdir()
    assert watched._advice(str(tmp_path / "run.segments")).endswith("run.segments -o NEW.h5")


def test_a_file_that_stays_unreadable_ends_the_watch(tmp_path):
    path = tmp_path / "run.h5"
    path.write_bytes(b"no trajectory at all")
    watcher = Watcher(str(path), Clock())
    assert not watcher.poll()
    with pytest.raises(TrajectoryError, match="expected an HDF5 file"):
        for _ in range(5):
            watcher.poll()


def test_went_back_and_replaced_are_said(tmp_path):
    path = str(tmp_path / "run.h5")
    started(path, 10).close()
    watcher = Watcher(path, Clock())
    watcher.poll()
    started(path, 4, overwrite=True).close()
    watcher.poll()
    assert "went back from row 10 to row 4" in drawn(watcher)
    with Recorder(path, overwrite=True) as recorder:
        recorder.record("series", 0, time=77.0, loss=1.0)
    watcher.poll()
    assert "another run took its place" in line(watcher.watched, 0.0)


WRITER = """
import sys, time
from dynamics.recorder import Recorder
with Recorder(sys.argv[1], commit_every=0.05, config={"steps": 60}) as recorder:
    for step in range(int(sys.argv[2])):
        recorder.record("series", step, loss=1.0 / (step + 1))
        time.sleep(0.01)
"""


@contextlib.contextmanager
def writing(path, steps):
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(WRITER), str(path), str(steps)])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_watching_a_process_until_it_ends(tmp_path, capsys):
    path = tmp_path / "run.h5"
    with writing(path, 60):
        watch(path, interval=0.05)
    lines = capsys.readouterr().out.splitlines()
    assert "waiting" in lines[0]
    assert any("running, step" in text and "steps/s" in text for text in lines)
    assert lines[-1].startswith(f"{path}: complete, step 59 of 60")


def test_a_killed_process_is_named(tmp_path):
    path = tmp_path / "run.h5"
    with writing(path, 10**6) as process:
        watcher, stop = Watcher(str(path), Clock()), time.monotonic() + 30
        while not len(watcher.watched.steps) and time.monotonic() < stop:
            watcher.poll()
            time.sleep(0.02)
    os.utime(path, (1, 1))
    assert watcher.poll()
    said = line(watcher.watched, watcher.now() + 3 * QUIET)
    assert f"no row for 30 s: process {process.pid} on" in said
    assert "is dead, killed before it closed the file: pinnscope recover" in said


def test_writers_elsewhere_and_none(tmp_path):
    path = str(tmp_path / "run.h5")
    recorder = started(path)
    watcher = Watcher(path, Clock())
    watcher.poll()
    own = Path(path + ".lock").read_text()
    with open(path + ".lock", "w") as file:
        json.dump({"host": "elsewhere", "pid": 7, "started": ""}, file)
    assert "written by process 7 on elsewhere, stalled or dead, which cannot be told" in line(watcher.watched, 200.0)
    assert "stalled" not in line(watcher.watched, 100.0)
    os.remove(path + ".lock")
    assert "no row for 100 s: nobody holds its lock" in line(watcher.watched, 200.0)
    Path(path + ".lock").write_text(own)
    recorder.close()


def test_interrupting_leaves_quietly(tmp_path):
    path = tmp_path / "run.h5"
    with writing(path, 10**6):
        command = [sys.executable, "-m", "analyses.cli", "watch", str(path), "--interval", "0.05"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            while "running" not in process.stdout.readline():
                pass
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")


def test_ages_are_never_negative(tmp_path):
    path = tmp_path / "file"
    path.write_text("x")
    os.utime(path, (time.time() + 1e6,) * 2)
    assert file_age(str(path)) == 0.0 == file_age(str(tmp_path / "none"))
    os.utime(path, (time.time() - 100,) * 2)
    assert 99 < file_age(str(path)) < 200


def test_text_of_a_file_cannot_move_the_cursor(tmp_path):
    assert plain("a\x1b[2J\nb\u202e", 99) == "a [2J b "
    path = str(tmp_path / "run.h5")
    started(path).close()
    with h5py.File(path, "r+") as file:
        file.attrs["config"] = json.dumps({"problem": {"name": "[bold red]x[/]\x1b]0;title\x07"}})
    watcher = Watcher(path, Clock())
    watcher.poll()
    assert "[bold red]x[/] ]0;title" in drawn(watcher)
    with h5py.File(path, "r+") as file:
        file.attrs["config"] = "no json"
    watcher = Watcher(path, Clock())
    watcher.poll()
    assert "run.h5" in drawn(watcher)


def test_a_run_without_a_loss_shows_what_it_records(tmp_path):
    path = str(tmp_path / "run.h5")
    with Recorder(path, commit_every=0.0) as recorder:
        watcher = Watcher(path, Clock())
        for step in range(3):
            recorder.record("series", step, accuracy=0.25, wide=np.zeros(100))
        watcher.poll()
        recorder.record("series", 3, accuracy=0.5)
    watcher.poll()
    assert len(watcher.watched.rows["series"]["accuracy"]) == 4
    assert "accuracy" in drawn(watcher) and "5.00e-01" in drawn(watcher)


def test_a_run_in_segments_is_watched_too(tmp_path):
    path = str(tmp_path / "run.segments")
    recorder = started(path)
    watcher = Watcher(path, Clock())
    watcher.poll()
    assert "step 4 of 20 (20%)" in drawn(watcher)
    recorder.close()
    assert watcher.poll()
    assert line(watcher.watched, 0.0).startswith(f"{path}: complete, step 4 of 20")
