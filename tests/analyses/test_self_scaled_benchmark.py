"""The benchmark of the dense self-scaled methods runs, and what it counts is right; no time is judged here."""

import json
import math

import numpy as np
import pytest
import torch

from analyses.benchmarks import self_scaled
from analyses.benchmarks.clocked import Clocked
from analyses.benchmarks.optimizer_losses import chained_rosenbrock, poisson_network
from analyses.benchmarks.plain_ssbfgs import PlainInverseHessian
from solvers.optimizers.broyden import BroydenUpdate

NAMES = (*self_scaled.OURS, self_scaled.SCIPY)


def start(size=50):
    return torch.linspace(-1.2, 1.0, size, dtype=torch.float64)


@pytest.mark.parametrize("phi", [1.0, 0.4])
def test_the_plain_matrix_is_the_update_of_the_inverse_of_the_hessian(phi):
    rng = np.random.default_rng(0)
    s, y = rng.normal(size=(2, 5))
    y *= np.sign(s @ y)
    plain, tau = PlainInverseHessian(5), 0.6
    root = rng.normal(size=(5, 5))
    plain.matrix = H = root @ root.T + np.eye(5)
    h = y @ H @ y / (s @ y)
    plain.update(BroydenUpdate(torch.tensor(s), torch.tensor(H @ y), s @ y, h, tau, phi))
    # BFGS and DFP as products of projections, of H / tau; every phi lies on the line through both.
    P = np.eye(5) - np.outer(s, y) / (s @ y)
    bfgs = P @ (H / tau) @ P.T
    dfp = (H - np.outer(H @ y, H @ y) / (y @ H @ y)) / tau
    expected = phi * bfgs + (1 - phi) * dfp + np.outer(s, s) / (s @ y)
    assert np.abs(plain.matrix - expected).max() < 1e-13 * np.abs(expected).max()
    assert np.abs(plain.matrix @ y - s).max() < 1e-13 * np.abs(expected).max() * np.abs(y).max() and plain.learnt


def test_plain_numpy_makes_the_same_run():
    vectors = {name: start() for name in ("SSBFGS", "numpy SSBFGS", "SSBroyden")}
    runs = {name: self_scaled.perform(name, chained_rosenbrock, at, 40) for name, at in vectors.items()}
    ours, plain = runs["SSBFGS"], runs["numpy SSBFGS"]
    assert plain.ends == ours.ends and plain.clocked.lowest == pytest.approx(ours.clocked.lowest, rel=1e-8)
    assert torch.allclose(vectors["numpy SSBFGS"], vectors["SSBFGS"], rtol=1e-7, atol=1e-9)
    assert not torch.allclose(vectors["numpy SSBFGS"], vectors["SSBroyden"], rtol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_makes_the_evaluations_and_descends(name):
    at = start()
    first, _ = chained_rosenbrock(at)
    run = self_scaled.perform(name, chained_rosenbrock, at, 60)
    assert run.evaluations == 60 and len(run.clocked.entered) == 61 and run.stopped == ""
    assert run.clocked.lowest < first / 20
    assert run.ends == sorted(set(run.ends)) and 15 < len(run.ends) <= 60
    # Every iteration evaluates the loss, so that none but the last evaluations lie after an iteration's end.
    assert 2 <= run.ends[0] and run.ends[-1] > 60 - 10


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_ends_by_itself_says_why(name):
    def bowl(vector, kept=torch.empty(3, dtype=torch.float64)):  # noqa: B008
        kept.copy_(vector).mul_(torch.tensor([2.0, 4.0, 6.0], dtype=torch.float64))
        return float(vector @ kept) / 2, kept

    run = self_scaled.perform(name, bowl, torch.ones(3, dtype=torch.float64), 10_000)
    assert run.evaluations < 10_000 and run.stopped and run.clocked.lowest < 1e-20


def test_the_evaluations_an_iteration_are_those_of_the_measured_part():
    clocked = Clocked(None, 10, left=[0.0] * 10)
    assert self_scaled.Run(clocked, [2, 5, 6, 8, 10]).share(4) == 6 / 4
    assert self_scaled.Run(clocked, [2, 5]).share(0) == 5
    assert math.isnan(self_scaled.Run(clocked, [2, 5]).share(5))


def test_the_network_starts_from_its_seed():
    (loss, vector), (again, same), (_, other) = (poisson_network(seed) for seed in (3, 3, 4))
    assert torch.equal(vector, same) and not torch.equal(vector, other)
    value, gradient = loss(vector)
    assert again(same)[0] == value
    step = 1e-6 * torch.randn(481, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    slope = float(gradient @ step)
    around = []
    for sign in (1, -1):
        vector.copy_(same + sign * step)
        around.append(loss(vector)[0])
    assert (around[0] - around[1]) / 2 == pytest.approx(slope, rel=1e-6)


def test_the_quick_run_keeps_what_it_returns(tmp_path, capsys):
    results = self_scaled.main(quick=True, json_file=tmp_path / "results.json")
    assert json.loads((tmp_path / "results.json").read_text()) == json.loads(json.dumps(results))
    assert [(row["optimizer"], row["parameters"]) for row in results["overheads"]] == [
        (name, 522) for name in self_scaled.TIMED
    ]
    assert all(row["ms"] > 0 and row["evaluations_an_iteration"] >= 1 for row in results["overheads"])
    assert [row["optimizer"] for row in results["losses"]] == list(self_scaled.TRAINED)
    assert all(row["evaluations"] == 40 and row["stopped"] == "" for row in results["losses"])
    loss, vector = poisson_network(0)
    assert all(row["loss"] < loss(vector)[0] / 20 for row in results["losses"])
    assert "left out" not in capsys.readouterr().out
    assert set(results["threads"]) == {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"}


def test_scipy_is_left_out_where_it_has_no_evaluations(capsys):
    rows = self_scaled.overheads({30: 20, 40: 24}, {30: 10}, rounds=2)
    found = {(row["optimizer"], row["parameters"]): row for row in rows}
    assert len(found) == len(rows) == 8
    left_out = found.pop((self_scaled.SCIPY, 40))
    assert "4 n^3" in left_out["left_out"] and "ms" not in left_out
    made = {key: row["evaluations"] for key, row in found.items()}
    assert made == {key: 10 if key[0] == self_scaled.SCIPY else {30: 20, 40: 24}[key[1]] for key in found}
    assert all(len(row["rounds_ms"]) == 2 for row in found.values())
    self_scaled._show(rows, [], 0)
    assert "left out at 40: scipy" in capsys.readouterr().out
