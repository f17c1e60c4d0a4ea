"""The benchmark of long and large runs, in short: it writes what it says and measures each program by itself."""

import json

import numpy as np
import pytest

from analyses.benchmarks import large
from analyses.benchmarks.large import look, main, write_large
from dynamics import open_trajectory


def test_a_short_form_of_it(tmp_path, capsys):
    found = main(quick=True, folder=tmp_path, json_file=tmp_path / "results.json")
    assert found["large"]["bytes"] > 2.8e7
    assert found["large"]["allocated"] > 0.95 * found["large"]["bytes"]
    assert [one["exit_code"] for one in found["looks"]] == [0] * 4
    assert all(30 < one["peak_mb"] < 600 for one in found["looks"])
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
    assert json.loads((tmp_path / "results.json").read_text())["steps"]["count"] == 10_000
    assert "pinnscope diagnose" in capsys.readouterr().out


def test_memory_is_that_of_the_program_and_failures_are_seen(capsys):
    held = np.ones(25_000_000)
    small = look("small", "import sys")
    big = look("big", "x = bytearray(150_000_000)")
    assert small.peak_mb < 60
    assert 140 < big.peak_mb - small.peak_mb < 170
    assert look("failing", "raise SystemExit(3)").exit_code == 3
    assert "failing failed" in capsys.readouterr().out
    assert held.nbytes == 200_000_000


def test_the_large_file_holds_what_the_analyzers_read(tmp_path):
    path = str(tmp_path / "large.h5")
    write_large(path, 1.5e7)
    with open_trajectory(path) as trajectory:
        assert {"series", "gradients", "activations", "parameters", "residuals", "points"} <= set(trajectory.children)
        assert trajectory["residuals"].sizes["point"] == large.SAMPLES
        assert not np.isnan(trajectory["gradients/gram"].values).any()
        assert trajectory["series"].sizes["step"] > 4000


def test_a_disk_without_room_is_refused(tmp_path):
    with pytest.raises(OSError, match="pass --folder"):
        main(folder=tmp_path, gigabytes=1e9)
