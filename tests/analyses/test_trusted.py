"""The check of `trusted` against multiprecision: random matrices, and that it would notice wrong flags."""

import json
from pathlib import Path

import numpy as np
import pytest

import analyses.benchmarks
from analyses.benchmarks.trusted import compare, draw, main, summary
from dynamics.spectra import singular_spectrum

pytest.importorskip("flint")


def test_no_noise_is_trusted_and_no_clear_value_is_not():
    cases = [draw(seed) for seed in range(8)]
    found = summary(cases)
    assert found["trusted but off by more than 1 %"] == 0
    assert found["of which trusted"] >= 0.9 and found["clear values"] > 50
    assert found["noise above its floor"] == 0
    assert {case.operator for case in cases} == {"autodiff", "tangent-prop", "finite-difference"}


def test_wrong_flags_are_counted():
    oracle = np.array([1.0, 1e-3, 1e-9])
    computed = np.diag([1.0, 1.5e-3, 1e-5])
    blind = compare(singular_spectrum(computed, operator_floor=0.0), oracle)
    assert blind["wrong"] == 2 and blind["trusted"] == 3
    told = compare(singular_spectrum(computed, operator_floor=6e-4), oracle)
    assert told["wrong"] == 0 and told["clear"] == 0 and told["lifted"] == 0
    lifted = compare(singular_spectrum(computed, operator_floor=5e-6), oracle)
    assert lifted["lifted"] == 1
    timid = compare(singular_spectrum(np.diag(oracle), operator_floor=1e-1), oracle)
    assert timid["clear"] == 3 and timid["found"] == 0


def test_the_committed_results_are_of_200_matrices_and_have_no_wrong_flag():
    found = json.loads((Path(analyses.benchmarks.__file__).parent / "trusted.json").read_text())
    assert found["summary"]["matrices"] == len(found["cases"]) == 200
    assert found["summary"]["trusted but off by more than 1 %"] == 0
    assert found["summary"]["of which trusted"] >= 0.9


def test_the_command_writes_its_results(tmp_path, monkeypatch):
    monkeypatch.setattr("analyses.benchmarks.trusted.QUICK", 1)
    main(quick=True, json_file=tmp_path / "found.json")
    assert json.loads((tmp_path / "found.json").read_text())["summary"]["matrices"] == 1
