"""Killed writers and full disks: twenty and ten trials of each kind; the benchmarks do hundreds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from analyses.benchmarks.crashes import departures, scalars, snapshot
from dynamics import Recorder
from dynamics.format import Stream, Variable

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="trials are forked")


def results(name, tmp_path):
    # A process of its own: its trials are forks, and this one has threads.
    file = tmp_path / "results.json"
    command = [sys.executable, "-m", f"analyses.benchmarks.{name}", "--quick", "--json", str(file)]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert answer.returncode == 0, answer.stderr
    return {row["trial"]: row for row in json.loads(file.read_text())["trials"]}


def test_nothing_committed_is_lost_to_a_kill(tmp_path):
    rows = results("crashes", tmp_path)
    assert [row["count"] for row in rows.values()] == [20, 20]
    assert [row["faults"] for row in rows.values()] == [{}, {}]


def test_a_full_disk_costs_nothing_that_was_committed(tmp_path):
    rows = results("full_disks", tmp_path)
    assert "file size limit" in rows
    assert all(row["count"] == 10 and row["faults"] == {} for row in rows.values())


def write(path, count, wrong=None, rows=None):
    snapshots = Stream("snapshots", [Variable("value", ("entry",))], {"entry": 3000})
    with Recorder(path, streams=[snapshots, Stream("evaluations")]) as recorder:
        for step in range(count):
            values = scalars(step)
            recorder.record("series", step, **({**values, "loss": 0.0} if wrong == "series/loss" else values))
            if step % 3 == 0:
                recorder.record("snapshots", step, value=snapshot(step) + (wrong == "snapshots"))
            for _ in range(step % 4 + (wrong == "evaluations")):
                recorder.record("evaluations", step, loss=float(step))


@pytest.mark.parametrize("wrong", ["series/loss", "snapshots", "evaluations"])
def test_the_judge_sees_what_is_wrong(tmp_path, wrong):
    write(tmp_path / "run.h5", 60, wrong)
    assert departures(tmp_path / "run.h5", 60) == [wrong]


def test_the_judge_misses_rows_and_reads_no_rubbish(tmp_path):
    write(tmp_path / "run.h5", 60)
    assert departures(tmp_path / "run.h5", 60) == []
    assert departures(tmp_path / "run.h5", 61) == ["60 rows of 61 committed"]
    (tmp_path / "rubbish.h5").write_bytes(np.arange(100).tobytes())
    assert departures(tmp_path / "rubbish.h5", 0)[0].startswith("unreadable: TrajectoryError")
