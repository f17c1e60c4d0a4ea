"""The command that computes references: what it prints, writes and refuses."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from analyses import references
from solvers.references import netcdf, store
from solvers.references.recipe import Recipe, Refinement
from solvers.references.reference import Reference

ROWS = (Refinement("4 modes", 1e-3, "8 modes", 0.5), Refinement("other method", 2e-10, "kept", 1.0))


def work():
    return {"c": (("mode",), work.values.copy(), {"units": "1", "long_name": "amplitudes"})}


SUM = Recipe("sum", {"speed": 2.0}, work, "adding up", 1e-9, "counting", lambda: iter(ROWS))
FORMULA = replace(SUM, name="formula", compute=dict, method="in closed form", refine=lambda: iter(ROWS[:1]))


@pytest.fixture
def command(tmp_path, monkeypatch):
    """The command with two references of its own, in a cache and a checkout of its own."""
    monkeypatch.setenv(store.CACHE, str(tmp_path / "cache"))
    monkeypatch.setattr(store, "committed_folder", lambda: tmp_path / "committed")
    monkeypatch.setattr(references, "RECIPES", {"sum": lambda: SUM, "formula": lambda: FORMULA})
    monkeypatch.setattr(work, "values", np.array([3.0, 4.0]), raising=False)

    def run(*words):
        return CliRunner().invoke(references.app, [str(word) for word in words])

    return run


def line_of(result, name):
    return next(line.split() for line in result.output.splitlines() if line.strip().startswith(name + " "))


def test_all_are_computed_kept_and_named(command):
    first = command()
    assert first.exit_code == 0, first.output
    assert line_of(first, "sum")[1] == "1e-09"
    assert "sum      adding up; floor by counting" in first.output
    assert line_of(first, "sum")[-2:] == ["cache,", "new"]
    assert line_of(first, "formula")[-1] == "formula"
    second = command("sum")
    assert line_of(second, "sum")[-1] == "cache"
    assert "formula" not in second.output
    assert f"cache:    {store.cache_folder()}" in second.output
    assert [path.name for path in store.cache_folder().iterdir()] == [netcdf.file_name(SUM)]


def test_the_list_computes_nothing(command):
    result = command("--list")
    assert result.exit_code == 0
    assert line_of(result, "sum")[-2:] == ["not", "yet"]
    assert not store.cache_folder().exists()
    command()
    assert line_of(command("--list"), "sum")[-1] == "cache"
    assert command("--list", "--verify").exit_code == 2


def test_verify_shows_how_the_floor_was_found_and_compares(command):
    first = command("sum", "--verify")
    assert first.exit_code == 0
    assert "sum: floor 1.0e-09, by counting" in first.output
    assert line_of(first, "4 modes") == ["4", "modes", "1.0e-03", "8", "modes", "0.50", "s"]
    assert line_of(first, "other method")[2:] == ["2.0e-10", "kept", "1.00", "s"]
    assert "nothing was kept to compare with" in first.output
    assert "the same bit for bit" in command("sum", "--verify").output
    assert "a formula, nothing to keep" in command("formula", "--verify").output


def test_verify_fails_where_what_is_kept_is_off_by_more_than_the_floor(command):
    command("sum")
    work.values = np.array([3.0, 4.0 + 3e-9])
    near = command("sum", "--verify")
    assert near.exit_code == 0 and "6.0e-10 apart, less than its floor" in near.output
    work.values = np.array([3.0, 4.0 + 3e-8])
    far = command("sum", "--verify")
    assert far.exit_code == 1 and "6.0e-09 apart, more than its floor of 1.0e-09: delete" in far.output
    assert store.find(SUM).arrays["c"].tolist() == [3.0, 4.0]
    work.values = np.array([3.0])
    assert command("sum", "--verify").exit_code == 1


def test_verify_compares_values_where_arrays_may_be_cut_elsewhere(command, monkeypatch):
    series = replace(SUM, sampled=lambda arrays: np.polynomial.chebyshev.chebval(np.linspace(-1, 1, 9), arrays["c"]))
    monkeypatch.setattr(references, "RECIPES", {"sum": lambda: series})
    command("sum")
    work.values = np.array([3.0, 4.0, 1e-12])
    longer = command("sum", "--verify")
    assert longer.exit_code == 0 and "apart, less than its floor" in longer.output
    work.values = np.array([3.0, 4.0, 1e-7])
    assert command("sum", "--verify").exit_code == 1


def test_output_computes_anew_and_writes_there(command, tmp_path):
    command()
    work.values = np.array([5.0, 6.0])
    result = command("--output", tmp_path / "made")
    assert result.exit_code == 0
    assert netcdf.read(tmp_path / "made" / netcdf.file_name(SUM), SUM).arrays["c"].tolist() == [5.0, 6.0]
    assert len(list((tmp_path / "made").iterdir())) == 1
    assert store.find(SUM).arrays["c"].tolist() == [3.0, 4.0]
    (tmp_path / "file").write_text("")
    assert command("sum", "--output", tmp_path / "file").exit_code == 2


def test_the_checkout_is_named(command):
    command("sum", "--output", store.committed_folder())
    assert line_of(command("sum"), "sum")[-1] == "checkout"
    assert not store.cache_folder().exists()


def test_json_holds_the_same_numbers(command, tmp_path):
    result = command("--verify", "--json", tmp_path / "all.json")
    assert f"wrote {tmp_path / 'all.json'}" in result.output
    told = json.loads((tmp_path / "all.json").read_text())
    assert list(told) == ["sum", "formula"]
    assert told["sum"]["key"] == SUM.key and told["sum"]["settings"] == {"speed": 2.0}
    assert told["sum"]["refinement"][1]["difference"] == 2e-10
    assert told["sum"]["content"] == store.find(SUM).content
    assert told["sum"]["bytes"] == (store.cache_folder() / netcdf.file_name(SUM)).stat().st_size


def test_an_unknown_name_is_refused_with_the_nearest(command):
    result = command("sun")
    assert result.exit_code == 2
    assert "unknown reference 'sun'; expected 'sum' (did you mean it?) or one of sum, formula" in result.output
    assert not store.cache_folder().exists()


def test_a_cache_that_cannot_be_written_still_computes(command, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(store.CACHE, str(tmp_path / "file"))
    monkeypatch.setattr(store, "_refused", set())
    with pytest.warns(UserWarning, match="cannot be kept"):
        result = command("sum")
    assert result.exit_code == 0 and line_of(result, "sum")[-1] == "memory"


def test_arrays_of_other_names_or_of_nothing_are_infinitely_apart():
    def of(**arrays):
        return Reference({name: (("n",), np.array(values), {}) for name, values in arrays.items()}, 0.0)

    assert references.difference(of(a=[1.0]), of(b=[1.0])) == math.inf
    assert references.difference(of(a=[1.0]), of(a=[0.0])) == math.inf
    assert references.difference(of(a=[0.0]), of(a=[0.0])) == 0.0
    assert references.difference(of(a=[1.0], b=[2.0]), of(a=[1.0], b=[2.5])) == pytest.approx(0.2)
