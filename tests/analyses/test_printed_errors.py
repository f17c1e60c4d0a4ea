"""What `pinnscope run` says of the error at the end: as a whole, at its largest and by frequency, with the floor."""

import re
from dataclasses import replace

import pytest

from analyses.config import load
from analyses.construction import build_problem
from analyses.run import run
from dynamics import open_trajectory

TRAINED = """
seed = 1
[problem]
name = "poisson-1d"
[network]
name = "mlp"
widths = [6]
[points]
interior = 16
[optimizer]
name = "adam"
lr = 0.01
[training]
steps = 3
"""
SOLVED = """
[problem]
name = "poisson-1d"
[network]
name = "random-features"
features = 20
"""
NUMBER = r"(<= )?([0-9.]+e[+-][0-9]+)"
LINE = rf"  largest error {NUMBER}; L2 error by waves: 0-4 {NUMBER}, 5-12 {NUMBER}, 13\+ {NUMBER}"


def printed(text, tmp_path, capsys, monkeypatch, **changes):
    (tmp_path / "case.toml").write_text(text)
    monkeypatch.setattr("analyses.run.build_problem", lambda config: replace(build_problem(config), **changes))
    run(load(str(tmp_path / "case.toml")), tmp_path / "run.h5", overwrite=True, progress=False)
    return capsys.readouterr().out


@pytest.mark.parametrize("text", [TRAINED, SOLVED], ids=["trained", "solved"])
def test_the_last_errors_are_printed_and_stop_at_their_floors(text, tmp_path, capsys, monkeypatch):
    (line,) = [line for line in printed(text, tmp_path, capsys, monkeypatch).splitlines() if "largest" in line]
    told = re.fullmatch(LINE, line).groups()
    assert set(told[::2]) == {None} and len(line) <= 100
    with open_trajectory(tmp_path / "run.h5") as tree:
        recorded = [float(tree["series/max_error"][-1]), *tree["series/error_band"][-1].values]
        error = float(tree["series/rel_l2"][-1])
    assert [float(number) for number in told[1::2]] == pytest.approx(recorded, rel=0.05)
    # u = sin(pi x) is 1 at most; the largest error stands above the relative one.
    out = printed(text, tmp_path, capsys, monkeypatch, solution_floor=error)
    assert f"relative L2 error <= {error:.1e} (at the reference's floor)" in out
    (line,) = [line for line in out.splitlines() if "largest" in line]
    assert re.fullmatch(LINE, line).groups()[2::2] == ("<= ",) * 3 and f"{error:.1e}" in line and len(line) <= 100


def test_the_floor_of_the_largest_error_has_the_size_of_the_solution(tmp_path, capsys, monkeypatch):
    large = {"solution": lambda x: 50 * x**0 + x, "solution_floor": 1.0}
    out = printed(SOLVED, tmp_path, capsys, monkeypatch, **large)
    assert "largest error <= 5.1e+01" in out


def test_nothing_is_printed_of_errors_that_nobody_knows(tmp_path, capsys, monkeypatch):
    for text in (TRAINED, SOLVED):
        out = printed(text, tmp_path, capsys, monkeypatch, solution=None)
        assert "relative L2 error unknown" in out and "largest" not in out and "waves" not in out
