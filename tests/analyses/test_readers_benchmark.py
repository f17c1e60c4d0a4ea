"""Readers beside a writer, in short: no torn row, no gap, no error; what counts them can count."""

import json

import numpy as np
import pytest

from analyses.benchmarks import readers
from analyses.benchmarks.readers import SCALARS, main, values
from dynamics.recorder import Recorder


def test_no_row_is_torn_and_no_reader_fails(tmp_path, capsys):
    found = main(quick=True, json_file=tmp_path / "results.json")
    assert len(found["readers"]) == 3
    for reader in found["readers"]:
        assert (reader["rows"], reader["torn"], reader["gaps"], reader["errors"]) == (3000, 0, 0, ())
        assert reader["polls"] > 20
    assert "0 torn rows of 9000 read, 0 errors in" in capsys.readouterr().out
    assert json.loads((tmp_path / "results.json").read_text())["slowed"].keys() == {"cpu", "pace"}


class Outcome:
    def send(self, found):
        self.found = found


@pytest.mark.parametrize("wrong", [0.0, 2**-53, float("nan")])
def test_a_wrong_value_is_a_torn_row(tmp_path, wrong):
    path, outcome = str(tmp_path / "run.h5"), Outcome()
    rows = values(np.arange(50))
    rows[20:22, 3] += wrong
    with Recorder(path) as recorder:
        for step, row in enumerate(rows):
            recorder.record("series", step, **{f"scalar_{number}": value for number, value in enumerate(row)})
    readers.read(path, outcome)
    assert (outcome.found.rows, outcome.found.torn) == (50, 2 * (wrong != 0.0))


def test_failures_are_counted(tmp_path, monkeypatch):
    path, outcome = tmp_path / "run.h5", Outcome()
    path.write_bytes(b"no trajectory")
    monkeypatch.setattr(readers, "HERTZ", 1e9)
    monkeypatch.setattr("dynamics.following.following.PAUSE", 0.0)
    readers.read(str(path), outcome)
    assert len(outcome.found.errors) == 101
    assert "expected an HDF5 file" in outcome.found.errors[0]


def test_rows_differ_from_one_another():
    rows = values(np.arange(60_000))
    assert rows.shape == (60_000, SCALARS)
    assert len(np.unique(rows[:, 0])) == 60_000
    assert (np.ptp(rows[:100], axis=1) > 0).all()
