"""The command `pinnscope spectrum`: what it prints, what it writes, and how it fails."""

import csv
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from analyses.cli import app
from dynamics import Recorder
from dynamics.format import Stream, Variable

STEPS = (0, 10, 100, 1000)
VALUES = 5.0 * 10.0 ** -np.arange(0.0, 14.0, 0.5)
NOISE = 5e-9
ATTRS = {"matrix": "d residual / d parameters", "rows": 40, "columns": 28, "driver": "gesdd"}


def write(path, rows, *, everything=True, all_rows=None, dtype="float64"):
    with Recorder(path, config={"problem": "burgers"}, attrs={"dtype": dtype}) as recorder:
        recorder.declare(Stream("spectra", attrs=ATTRS))
        if all_rows is not None:
            recorder.declare(Stream("spectra_all", [Variable("singular_value", ("index",)), Variable("floor")]))
        for step, values in zip(STEPS, rows, strict=False):
            more = {"floor": 5e-14}
            if everything:
                more |= {"entry_floor": NOISE, "truncation": 0.02 * values, "seconds": 0.25}
                more |= {"exact_singular_value": values**1.25}
            recorder.record("spectra", step, singular_value=values, **more)
        if all_rows is not None:
            recorder.record("spectra_all", STEPS[-1], singular_value=all_rows, floor=5e-14)
    return path


@pytest.fixture
def show(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("run.h5", [VALUES * scale for scale in (1.0, 2.0, 3.0, 4.0)], all_rows=9 * VALUES[:3])

    def run(*words):
        return CliRunner().invoke(app, ["spectrum", *(str(word) for word in words)])

    return run


def refused(result, code, *parts):
    assert result.exit_code == code, result.output
    (line,) = [line for line in result.stderr.splitlines() if line]
    assert line.startswith("pinnscope: ")
    for part in parts:
        assert part in line


def test_the_table_fits_eighty_columns_and_says_what_it_is(show):
    result = show("run.h5")
    assert result.exit_code == 0, result.output
    assert max(map(len, result.output.splitlines())) <= 80
    text = " ".join(result.output.split())
    for said in ("run.h5: d residual / d parameters, step 1000", "40 x 28, float64, driver gesdd, 0.25 s"):
        assert said in text
    for said in (
        "sigma_1 20",
        "SVD 2.5e-15, entries 2.5e-10 of sigma_1",
        "larger: round-off of the entries",
        "by over 1 %",
    ):
        assert said in text
    assert "warning: cuts from a = 1e-10 on lie below the floor 2.5e-10" in text


def test_counts_and_entropies_are_those_of_the_file(show):
    lines = [line.split() for line in show("run.h5").output.splitlines() if re.match(r" *1e-\d\d ", line)]
    assert [float(line[0]) for line in lines] == [10.0**-k for k in range(2, 16)]
    scaled = VALUES / VALUES[0]
    for line in lines:
        kept = scaled[scaled >= float(line[0]) * (1 - 1e-9)]
        shares = kept / kept.sum()
        assert abs(int(line[1]) - len(kept)) <= 1, "the cut lies on a value"
        assert float(line[2]) == pytest.approx(-(shares * np.log(shares)).sum() / np.log(len(kept)), abs=0.02)
        assert (line[3:5] == ["below", "floor"]) == (float(line[0]) < 2.6e-10)
    exact = scaled**1.25
    columns = [line[5:7] if line[3] == "below" else line[3:5] for line in lines]
    assert [int(kept) for kept, _ in columns] == [(exact >= 10.0**-k).sum() for k in range(2, 16)]


def test_the_nearest_step_is_said_where_it_differs(show):
    assert "step 100 (the recorded step nearest to 120)" in show("run.h5", "--step", 120).output
    assert re.search(r"step 100$", show("run.h5", "--step", 100).output.splitlines()[0])
    assert json.loads(show("run.h5", "--step", 6, "--json").output)["largest"] == pytest.approx(10.0)


def test_all_rows_are_another_spectrum(show):
    told = json.loads(show("run.h5", "--all-rows", "--json").output)
    assert told["largest"] == pytest.approx(45.0) and len(told["values"]) == 3


def test_json_is_the_table_in_numbers(show):
    told = json.loads(show("run.h5", "--json").output, parse_constant=pytest.fail)
    assert told["trusted"] + told["marginal"] + told["noise"] == 28 == len(told["values"])
    assert told["trusted"] == (4 * VALUES > 100 * (NOISE + 5e-14)).sum()
    assert told["noise"] == (4 * VALUES <= NOISE + 5e-14).sum()
    assert [cut["above_floor"] for cut in told["cuts"]] == [True] * 8 + [False] * 6
    assert told["rows"] == 40 and told["seconds"] == 0.25


def test_csv_holds_every_value_to_the_last_bit(show, tmp_path):
    assert "wrote values.csv" in show("run.h5", "--csv", "values.csv").output
    with (tmp_path / "values.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["index"]) for row in rows] == list(range(1, 29))
    np.testing.assert_array_equal([float(row["singular_value"]) for row in rows], 4 * VALUES)
    np.testing.assert_array_equal([float(row["truncation"]) for row in rows], 0.02 * 4 * VALUES)
    np.testing.assert_array_equal([float(row["exact"]) for row in rows], (4 * VALUES) ** 1.25)
    state = {"trusted": 0, "marginal": 0, "noise": 0}
    for row in rows:
        ratio = float(row["singular_value"]) / float(row["floor"])
        assert row["state"] == ("trusted" if ratio > 100 else "marginal" if ratio > 1 else "noise")
        state[row["state"]] += 1
    assert min(state.values()) > 0
    refused(show("run.h5", "--csv", "values.csv"), 2, "exists", "--overwrite")
    refused(show("run.h5", "--csv", "values.txt"), 2, "ends in .csv")


def test_a_file_of_old_has_no_truncation_and_says_nothing_of_it(show, tmp_path):
    write("old.h5", [VALUES], everything=False)
    result = show("old.h5", "--csv", "old.csv", "--figure", "old.png")
    assert result.exit_code == 0, result.output
    assert "truncation" not in result.output and "exact" not in result.output and "0.25 s" not in result.output
    with (tmp_path / "old.csv").open(newline="") as file:
        assert {(row["truncation"], row["exact"]) for row in csv.DictReader(file)} == {("", "")}
    assert (tmp_path / "old.png").read_bytes()[:4] == b"\x89PNG"


def test_where_every_cut_lies_above_the_floor_no_one_is_warned(show):
    with Recorder("clean.h5") as recorder:
        recorder.record("spectra", 0, singular_value=VALUES, floor=5e-17)
    assert "warning" not in show("clean.h5").output


def test_a_diverged_end_is_not_silently_replaced(show):
    write("nan.h5", [VALUES, VALUES, VALUES * np.nan], everything=False)
    assert "step 10 (the last with a spectrum; at step 100 it is NaN or zero)" in show("nan.h5").output
    refused(show("nan.h5", "--step", 90), 2, "step 100", "NaN", "nearest step with one is 10")


def test_what_cannot_be_shown_is_one_line(show, tmp_path):
    with Recorder("bare.h5") as recorder:
        recorder.record("series", step=0, loss=1.0)
    write("empty.h5", [VALUES * np.nan], everything=False)
    refused(show("bare.h5"), 1, "/spectra", "jacobian_spectrum")
    refused(show("bare.h5", "--figure", "bare.png"), 1, "/spectra")
    refused(show("empty.h5"), 1, "finite", "diverged")
    refused(show("empty.h5", "--all-rows"), 1, "/spectra_all")
    refused(show("absent.h5"), 1, "absent.h5")
    refused(show("run.h5", "--step", -5), 2, ">= 0", "-5")
    refused(show("run.h5", "--step", 1001), 2, "from 0 to 1000", "1001")
    assert not (tmp_path / "bare.png").exists()


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from typer.testing import CliRunner; from analyses.cli import app;"
        "assert CliRunner().invoke(app, ['spectrum', '--help']).exit_code == 0;"
        "print(sorted({'torch', 'numpy', 'xarray', 'matplotlib', 'h5py', 'scipy'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert answer.stdout.strip() == "[]", answer.stderr
