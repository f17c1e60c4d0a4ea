"""The benchmark of optimizers runs, and what it counts is right; no time is judged here."""

import json

import pytest
import torch

from analyses.benchmarks import optimizers


def test_the_gradient_of_the_cheap_loss_is_its_derivative():
    vector = torch.linspace(-1.5, 1.0, 9, dtype=torch.float64)
    value, gradient = optimizers.chained_rosenbrock(vector)

    def loss(x):
        return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()

    assert value == pytest.approx(float(loss(vector)), rel=1e-13)
    assert torch.allclose(gradient, torch.func.grad(loss)(vector), rtol=1e-12, atol=1e-12)


def test_the_time_between_evaluations_is_the_optimizers():
    found = optimizers.Clocked(None, 3, entered=[0.0, 1.5, 4.0, 7.0], left=[1.0, 3.0, 6.0])
    assert found.overhead(0) == pytest.approx((0.5 + 1.0 + 1.0) / 3)
    assert found.overhead(1) == 1.0


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_every_optimizer_makes_the_evaluations_and_descends(name):
    start = torch.linspace(-1.2, 1.0, 50, dtype=torch.float64)
    first, _ = optimizers.chained_rosenbrock(start)
    found = optimizers.clocked(name, optimizers.chained_rosenbrock, start, 10, 30)
    assert len(found.left) == 30 and len(found.entered) == 31 and found.lowest < first / 20


def test_the_quick_run_keeps_what_it_returns(tmp_path):
    results = optimizers.main(quick=True, json_file=tmp_path / "results.json")
    assert json.loads((tmp_path / "results.json").read_text()) == json.loads(json.dumps(results))
    assert {(row["optimizer"], row["history"]) for row in results["overheads"]} == {
        (name, history) for name in optimizers.OPTIMIZERS for history in optimizers.HISTORIES
    }
    assert all(row["ms"] > 0 for row in results["overheads"])
    assert all(row["evaluations"] == 60 and row["loss"] < 10 for row in results["losses"])
