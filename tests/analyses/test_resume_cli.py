"""`pinnscope run --resume` as a user types it: after a kill, after an end, and where it cannot be."""

import os
import signal
import subprocess
import sys
import time
import warnings

import pytest
from typer.testing import CliRunner

from analyses import cli
from analyses.benchmarks.resumes import departures
from analyses.cli import app
from dynamics.file.opening import open_file
from solvers.checkpoint import paths_beside

CASE = """
[problem]
name = "poisson-1d"
[network]
name = "mlp"
widths = [8]
[operator]
name = "tangent-prop"
[points]
interior = 20
[optimizer]
name = "adam"
lr = 1e-2
[training]
steps = 24
blocks = 2
every = 5
"""


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "case.toml").write_text(CASE)

    def run(*words):
        return CliRunner().invoke(app, ["run", *(str(word) for word in words)])

    return run


def refused(result, *parts):
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if line]
    assert len(lines) == 1 and lines[0].startswith("pinnscope: ")
    for part in parts:
        assert part in lines[0]


def test_a_short_run_is_made_longer(command, tmp_path):
    assert command("case.toml", "-o", "whole.h5").exit_code == 0
    assert command("case.toml", "-o", "part.h5", "--steps", 9).exit_code == 0
    assert [step for step, _ in paths_beside("part.h5")] == [9]
    refused(command("case.toml", "-o", "part.h5", "--resume", "--steps", 8), "at least 9 steps", "came steps=8")
    refused(command("case.toml", "-o", "part.h5", "--resume", "--seed", 4), "seed: was 0, now 4")
    result = command("case.toml", "-o", "part.h5", "--resume")
    assert result.exit_code == 0 and "complete after 24 steps" in result.output
    assert departures("whole.h5", "part.h5") == []
    assert [step for step, _ in paths_beside("part.h5")] == [24, 9]


def test_no_checkpoints_on_request(command, tmp_path):
    assert command("case.toml", "-o", "run.h5", "--checkpoint", 0).exit_code == 0
    assert sorted(os.listdir(tmp_path)) == ["case.toml", "run.h5"]
    refused(command("case.toml", "-o", "run.h5", "--resume"), "run.h5", "there is none")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("case.toml", "--resume"), "case.h5: expected a trajectory, came no file"),
        (("case.toml", "--resume", "--overwrite"), "--overwrite begins anew and --resume goes on"),
        (("case.toml", "--anyway"), "--anyway belongs to --resume"),
        (("poisson-ad", "--resume"), "no meaning for a least-squares solve"),
    ],
)
def test_what_cannot_be_resumed(command, words, part):
    refused(command(*words), part)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill-9", "terminated"])
def test_a_killed_run_goes_on_as_if_it_had_not_stopped(command, tmp_path, number):
    long = ("case.toml", "-o", "run.h5", "--steps", "1500", "--checkpoint", "0.05")
    process = subprocess.Popen([sys.executable, "-m", "analyses.cli", "run", *long], stdout=subprocess.DEVNULL)
    while process.poll() is None and not paths_beside("run.h5"):
        time.sleep(0.01)
    process.send_signal(number)
    code = process.wait(60)
    assert code in (-number, 128 + number, 0), "0 where the run was faster"
    kept = paths_beside("run.h5")[0][0]
    assert command(*long, "--resume").exit_code == 0
    assert command("case.toml", "-o", "whole.h5", "--steps", 1500, "--checkpoint", 0).exit_code == 0
    assert departures("whole.h5", "run.h5") == []
    with open_file("run.h5") as (file, state):
        assert state == "closed" and file["series/committed"][()] > kept


def test_a_warning_is_one_line_without_code(capsys, monkeypatch):
    monkeypatch.setattr(
        cli, "app", lambda: warnings.warn("this checkpoint is damaged; going on from that", stacklevel=1)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        cli.main()
    assert capsys.readouterr().err == "pinnscope: warning: this checkpoint is damaged; going on from that\n"
