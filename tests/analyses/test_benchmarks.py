"""The benchmarks run, keep what they measured, and compare methods that agree; no time is judged here."""

import json

import pytest
import torch
import typer

from analyses.benchmarks.derivatives import main
from analyses.benchmarks.interleaved import interleave


def test_interleaved_calls_are_all_measured():
    calls = []
    found = interleave({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, budget=0.02)
    assert set(found) == {"a", "b"}
    assert all(timing.as_json()["cpu_ms"] >= 0 for timing in found.values())
    assert {"a", "b"} <= set(calls)


def test_counting_dispatches_says_that_taylor_propagation_does_not_grow_as_nesting_does(tmp_path):
    threads = torch.get_num_threads()
    try:
        results = main(quick=True, json_file=tmp_path / "results.json", part=["dispatch"])
    finally:
        torch.set_num_threads(threads)
    assert json.loads((tmp_path / "results.json").read_text())["cells"] == json.loads(json.dumps(results["cells"]))
    last = results["cells"][-1]["methods"]
    assert not [name for name, entry in last.items() if "failed" in entry]


def test_unknown_parts_are_refused():
    with pytest.raises(typer.BadParameter, match=r"unknown part 'speed'; expected one of all"):
        main(quick=True, part=["speed"])
