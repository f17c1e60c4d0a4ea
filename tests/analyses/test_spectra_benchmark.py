"""The benchmark of spectra runs, and what it keeps adds up; no time is judged here."""

import json

import pytest
import torch

from analyses.benchmarks import spectra


def test_shares_are_those_of_the_recorded_seconds(monkeypatch, tmp_path):
    monkeypatch.setattr(spectra, "POINTS", 260)
    monkeypatch.setattr(spectra, "WIDTHS", [6, 6])
    threads = torch.get_num_threads()
    try:
        results = spectra.main(quick=True, json_file=tmp_path / "results.json")
    finally:
        torch.set_num_threads(threads)
    assert json.loads((tmp_path / "results.json").read_text()) == json.loads(json.dumps(results))
    (cell,) = results["cells"]
    assert (cell["operator"], cell["dtype"], cell["spectra"]) == ("tangent-prop", "float32", len(cell["each_s"]))
    assert sum(cell["each_s"]) == pytest.approx(cell["spectra_s"], abs=1e-3)
    assert cell["share"] == pytest.approx(cell["spectra_s"] / cell["training_s"])
    assert set(cell["parts"]) == {"step", "jacobian", "svd", "noise"}
