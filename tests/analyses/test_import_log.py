from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from analyses.cli import app
from dynamics import open_trajectory, validate

LOGS = Path(__file__).parents[1] / "dynamics" / "logs"


def imported(*arguments):
    return CliRunner().invoke(app, ["import", *map(str, arguments)])


def test_a_log_becomes_a_trajectory_and_says_what_it_lacks(tmp_path):
    path = tmp_path / "run.h5"
    terms = "interior,left,right"
    result = imported(LOGS / "loss.dat", "-o", path, "--terms", terms, "--weights", "1,10,10", "--metrics", "rel_l2")
    assert result.exit_code == 0
    assert "gradient_snr" in result.stdout and "needs gradients/mean_norm_total" in result.stdout
    assert validate(path) == []
    with open_trajectory(path) as tree:
        series = tree["series"]
        assert series["term"].values.tolist() == terms.split(",")
        np.testing.assert_allclose(series["loss"], series["loss_raw"].values @ [1.0, 10.0, 10.0], rtol=1e-6, atol=0)
    assert imported(LOGS / "loss.dat", "-o", path).exit_code == 2


@pytest.mark.parametrize(
    ("log", "options", "message"),
    [
        ("metrics.csv", ["--terms", "a,b"], "does not take one of terms"),
        ("loss.dat", ["--weights", "one"], "expected numbers or NAME=NUMBER"),
        ("README.md", [], "README.md"),
        ("nothing.csv", [], "nothing.csv"),
    ],
)
def test_what_cannot_be_imported_is_refused(tmp_path, log, options, message):
    result = imported(LOGS / log, "-o", tmp_path / "run.h5", *options)
    assert result.exit_code in (1, 2)
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
