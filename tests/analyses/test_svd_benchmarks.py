"""The benchmarks of drivers and of tall matrices run, and what they compare with is right; no time is judged here."""

import json

import h5py
import numpy as np

from analyses.benchmarks import drivers, tall


def test_the_tall_matrix_has_the_singular_values_it_is_said_to_have(tmp_path):
    exact = tall.write_matrix(tmp_path / "a.h5", 1000, 24)
    with h5py.File(tmp_path / "a.h5") as file:
        matrix = file["matrix"][()]
    assert matrix.shape == (1000, 24) and exact[-1] < 1e-13 * exact[0]
    assert np.abs(np.linalg.svd(matrix, compute_uv=False) - exact).max() < 1e-14 * exact[0]


def test_tall_reads_right_values_in_little_memory(tmp_path):
    results = tall.main(quick=True, folder=tmp_path, json_file=tmp_path / "results.json")
    assert json.loads((tmp_path / "results.json").read_text()) == json.loads(json.dumps(results))
    assert results["largest_error_over_sigma_1"] < 1e-13
    assert 0 < results["process"]["before_mb"] <= results["process"]["peak_mb"] < 600
    assert all(each["ours_s"] > 0 and each["reference_s"] > 0 for each in results["passes"])
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_drivers_stay_within_their_estimates(tmp_path):
    results = drivers.main(quick=True, json_file=tmp_path / "results.json")
    assert {row["kind"] for row in results["errors"]} == {kind for kind, _ in drivers.matrices(4, 3, 0)}
    for row in results["errors"]:
        assert all((row[driver]["estimate_over_error"] or 1.0) >= 1.0 for driver in drivers.DRIVERS)
    scaled = next(row for row in results["errors"] if row["kind"] == "scaled columns")
    assert "relative" in scaled["pivoted"] and "relative" not in scaled["gesdd"]


def test_the_kept_results_support_the_constants():
    kept = json.loads((drivers.Path(drivers.__file__).parent / "drivers.json").read_text())
    covered = [row[name]["estimate_over_error"] for row in kept["errors"] for name in drivers.DRIVERS]
    assert 1.5 < min(value for value in covered if value) < 3
    relative = [row[name].get("relative", 0.0) for row in kept["errors"] for name in ("pivoted", "jacobi")]
    assert 1.0 < max(relative) < 3.0
