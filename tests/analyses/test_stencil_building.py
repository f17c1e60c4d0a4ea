"""The benchmark of building stencils runs, with the peer and without; no time is judged here."""

import importlib.util
import json
import sys

import numpy as np
import pytest

from analyses.benchmarks import stencil_building, stencil_peer
from solvers.stencils import Recipe

HERE = importlib.util.find_spec("rbf") is not None


@pytest.fixture
def results(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(stencil_building, "KINDS", ("lattice",))
    memory = {"dimension": 2, "order": 3, "count": 9, "before_mb": 1.0, "peak_mb": 2.0}
    monkeypatch.setattr(stencil_building, "peak_memory", lambda *given: memory)
    found = stencil_building.main(quick=True, json_file=tmp_path / "results.json")
    assert json.loads((tmp_path / "results.json").read_text()) == json.loads(json.dumps(found))
    return found, capsys.readouterr().out


def test_rows_and_memory_are_kept_and_shown(results):
    found, shown = results
    assert [(row["dimension"], row["order"], row["stencil"]) for row in found["rows"]] == [(2, 3, 31), (3, 3, 71)]
    for row in found["rows"]:
        assert 0 < row["kernel_s"] and 0 < row["build_s"] and row["unsolved"] == 0
        assert (row["peer_s"] is not None) == HERE and (row["peer_over_build"] is not None) == HERE
    assert len(found["memory"]) == 2
    assert "2-D" in shown and "memory" in shown


@pytest.mark.parametrize(("dimension", "touching"), [(2, 6), (3, 12)])
def test_lattices_are_close_packed(dimension, touching):
    nodes = stencil_building.make_nodes(15**dimension, dimension, "lattice") * 15
    middle = nodes[np.abs(nodes - nodes.mean(axis=0)).sum(axis=1).argmin()]
    distances = np.sort(np.linalg.norm(nodes - middle, axis=1))
    assert np.allclose(distances[1 : touching + 1], 1.0) and distances[touching + 1] > 1.2


def test_memory_is_that_of_a_process_of_its_own():
    found = stencil_building.peak_memory(2, 2, 400)
    assert 0 < found["before_mb"] <= found["peak_mb"] < 700 and found["count"] == 400


def test_the_difference_is_that_of_rows_with_the_same_stencils():
    index, weights = np.array([[2, 0, 1]]), np.array([[4.0, 1.0, -5.0]])
    same = {"index": np.array([0, 1, 2]), "weights": np.array([1.0, -5.0, 4.5])}
    assert stencil_building._difference(index, weights, same) == pytest.approx(0.1)
    assert stencil_building._difference(index, weights, same | {"index": np.array([0, 1, 3])}) is None


def test_a_peer_is_sent_its_jobs(monkeypatch):
    answers = "print('ready', flush=True)\nfor line in __import__('sys').stdin:\n    print(0.25, flush=True)"
    monkeypatch.setattr(stencil_peer, "PEER", answers)
    with stencil_peer.peer_process(sys.executable) as peer:
        assert peer.seconds(np.zeros((3, 2)), Recipe.of(2, 2, 2)) == 0.25
    monkeypatch.setattr(stencil_peer, "PEER", "print('ready', flush=True)")
    with stencil_peer.peer_process(sys.executable) as peer:
        peer.process.wait()
        with pytest.raises(RuntimeError, match="see its message above"):
            peer.seconds(np.zeros((3, 2)), Recipe.of(2, 2, 2))
