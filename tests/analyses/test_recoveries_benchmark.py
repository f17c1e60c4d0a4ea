"""The benchmark of killed recoveries, in its short form: everything it counts must be right."""

import json

import pytest

from analyses.benchmarks import recoveries


def test_the_short_form_loses_nothing(tmp_path, capsys):
    results = recoveries.main(quick=True, seed=3, json_file=tmp_path / "results.json")
    assert results["wrong"] == []
    assert results["good"] == results["trials"] >= 5
    assert results["killed"] == 5
    assert f"{results['good']} of {results['trials']}" in capsys.readouterr().out
    assert json.loads((tmp_path / "results.json").read_text())["killed"] == 5


@pytest.mark.parametrize("fault", ["bytes", "litter"])
def test_a_fault_is_counted(tmp_path, monkeypatch, fault):
    left = tmp_path / "left" / "run.h5"
    left.parent.mkdir()
    recoveries.crashed(left, 100_000)
    code = "open(sys.argv[1], 'r+b').truncate(3000)" if fault == "bytes" else "open(sys.argv[1] + '.more', 'w').close()"
    monkeypatch.setattr(recoveries, "RECOVERY", f"import sys; {code}; print('ready')")
    what, wrong = recoveries.trial(left, tmp_path / "trial", 0.5)
    assert what == "over"
    if fault == "bytes":
        assert any(line.startswith("unreadable") or line.startswith("second recovery") for line in wrong)
    else:
        assert wrong == ["litter: run.h5.more"]
