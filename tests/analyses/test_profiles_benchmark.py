"""The benchmark of profiles runs, takes its options, and counts what the acceptance does."""

import json

import pytest
import torch
import typer
from typer.testing import CliRunner

from analyses.benchmarks import profiles
from analyses.benchmarks.profile_acceptance import Trial, counted, measured, trials
from solvers.problems.self_similar_profile import SelfSimilarProfile

FIELDS = {"k", "seed", "lambda_error", "u_error", "evaluations", "cpu_seconds", "backend"}
FIELDS |= {"accepted", "starts", "bar", "first_lambda_error", "loss"}


def test_quick_run_keeps_a_row_a_profile_with_the_baseline_and_the_acceptance(tmp_path, capsys):
    path = tmp_path / "profiles.json"
    profiles.main(quick=True, json_file=path)
    kept, printed = json.loads(path.read_text()), capsys.readouterr().out
    assert [(row["k"], row["seed"], row["accepted"]) for row in kept["profiles"]] == [(0, 0, True), (1, 0, True)]
    for row in kept["profiles"]:
        assert set(row) == FIELDS
        assert row["lambda_error"] < 1e-14 < row["first_lambda_error"] and row["u_error"] < 1e-13
    assert [(row["k"], row["exponent"]) for row in kept["baseline"]] == [
        (k, method) for k in (0, 1) for method in ("built in", "none")
    ]
    assert kept["baseline"][0]["lam_error"] < 1e-14 and kept["baseline"][1]["lam_error"] > 1e-2
    assert kept["machine"]["cores"] >= 1
    assert kept["acceptance"]["counts"]["runs"] == 4
    assert kept["acceptance"]["counts"]["trapped runs presented as solutions"] == 0
    assert "k = 1, seed 0: |lambda error|" in printed and "Chebyshev polynomials in place of a network" in printed
    assert "1/1" in printed and "acceptance 4:" in printed


def test_several_k_follow_one_option(monkeypatch):
    asked = []
    row = dict.fromkeys(FIELDS, 0.0) | {"backend": "taylor", "accepted": True, "starts": 1}

    def solve(k, seed, backend, second_stage):
        asked.append((k, seed, backend, second_stage))
        return row | {"k": k, "seed": seed}

    monkeypatch.setattr(profiles, "solve", solve)
    app = typer.Typer()
    app.command()(profiles.main)
    line = "--k 0 1 5 --seeds 2 --backend taylor --plain --no-acceptance"
    done = CliRunner().invoke(app, line.split())
    assert done.exit_code == 0, done.output
    assert asked == [(k, seed, "taylor", False) for k in (0, 1, 5) for seed in (0, 1)]


def test_rows_within_the_bars_are_counted_where_accepted():
    row = {"k": 0, "accepted": True, "backend": "fused", "lambda_error": 1e-8, "u_error": 1e-10}
    row |= {"evaluations": 7_000, "cpu_seconds": 9.0}
    rows = [row, row | {"accepted": False}, row | {"lambda_error": 1e-12, "cpu_seconds": 11.0}]
    assert profiles._within(rows) == ["2/3", "2/3", "1/3", "2/3", "2/3", "1/3"]
    assert profiles._within([rows[2] | {"k": 4}, rows[2] | {"backend": "taylor"}])[-1] == "2/2"


def test_wrong_options_are_refused():
    with pytest.raises(typer.BadParameter, match="fused or taylor, came 'torch'"):
        profiles.main(backend="torch")
    with pytest.raises(typer.BadParameter, match="came -1"):
        profiles.main(k=[-1])


def test_the_error_of_the_profile_is_measured_against_the_exact_one():
    exact = SelfSimilarProfile.smooth(2)
    assert profiles.u_error(lambda x: torch.from_numpy(exact(x.numpy())), 2) == 0
    assert profiles.u_error(lambda x: torch.from_numpy(exact(x.numpy())) + 1e-3, 2) == pytest.approx(1e-3)


def test_trials_try_to_trap_with_and_without_a_second_stage():
    every = list(trials())
    assert len(every) == len(set(every)) == 100
    assert {(trial.second_stage, bool(trial.orders)) for trial in every} == {(a, b) for a in (0, 1) for b in (0, 1)}
    assert any(trial.interval for trial in every) and {trial.k for trial in every} == set(range(5))


def test_a_trial_tells_truth_and_verdict_of_each_candidate():
    found = measured(Trial("short", 0, 1, False, evaluations=15))
    (one,) = found["candidates"]
    assert found["k"] == 0 and found["kind"] == "short"
    assert one["truth"] in ("unfinished", "trapped") and not one["accepted"] and one["reasons"]
    trapped = {"truth": "trapped", "accepted": True}
    good = {"truth": "good", "accepted": False}
    counts = counted([{"candidates": [trapped]}, {"candidates": [good]}, {"candidates": [good, good, good]}])
    assert counts["trapped runs presented as solutions"] == 1 and counts["good runs rejected twice"] == 1
    assert counts["good candidates rejected"] == 4 and counts["runs"] == 3
