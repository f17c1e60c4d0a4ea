"""Probes: each measures what it declares, and its numbers equal direct computations."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dynamics import open_trajectory
from dynamics.format import KNOWN
from solvers import Torch, probes, train
from solvers.cadence import AtEnd, Every
from solvers.networks import MLP
from solvers.objective import Objective
from solvers.operators import AutoDiff, FiniteDifference
from solvers.probes import Moment, gradient_statistics, standard_probes
from solvers.problems import helmholtz, poisson_1d
from solvers.scoring import Score


def moment_of(problem=None, operator=None, interior=40, dtype=torch.float64):
    problem = problem or helmholtz((1, 1))
    network = MLP(len(problem.axes), [6, 5]).to(dtype)
    points = problem.sample(interior=interior, boundary=8).to(dtype=dtype)
    objective = Objective(problem, network, operator or AutoDiff(), points)
    return Moment(0, objective, objective.begin_step(), torch.rand(interior, dtype=dtype))


STOCK = {
    "errors": probes.errors,
    "exact_loss": probes.exact_loss,
    "block_gradients": probes.block_gradients,
    "residuals": probes.residuals,
    "homogeneity": probes.homogeneity,
    "parameters": probes.parameters,
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("make", STOCK.values(), ids=STOCK)
def test_a_probe_measures_what_it_declares(make, dtype):
    moment, probe = moment_of(dtype=dtype), make(every=Every(3))
    values = probe.measure(moment)
    assert list(values) == list(probe.dims)
    for name, dims in probe.dims.items():
        assert np.ndim(values[name]) == len(dims), name
        assert np.isfinite(values[name]).all()
        assert KNOWN[probe.stream][name].dims == dims
    coords = probe.labels(moment).coords
    for name, dims in probe.dims.items():
        for dim, size in zip(dims, np.shape(values[name]), strict=True):
            if dim in coords:
                assert size == (coords[dim] if isinstance(coords[dim], int) else len(coords[dim]))
    assert probe.declare(moment).name == probe.stream
    assert [probe.every.due(step) for step in range(4)] == [True, False, False, True]


@settings(max_examples=30, deadline=None)
@given(
    own=hnp.arrays(np.float64, st.tuples(st.integers(2, 6), st.just(7)), elements=st.floats(-1e3, 1e3)),
    common=hnp.arrays(np.float64, 7, elements=st.floats(-1e3, 1e3)),
)
def test_gradient_statistics_are_those_of_numpy(own, common):
    found = gradient_statistics(own, common, [2, 4, 1])
    blocks = own + common
    for i, columns in enumerate((slice(0, 2), slice(2, 6), slice(6, 7))):
        part = blocks[:, columns]
        near = {"rtol": 1e-9, "atol": 1e-9}
        assert np.allclose(found["mean_norm"][i], np.linalg.norm(part.mean(axis=0)), **near)
        assert np.allclose(found["std_norm"][i], np.linalg.norm(part.std(axis=0)), **near)
        assert np.allclose(found["rms_norm"][i], np.sqrt(np.mean(np.sum(part**2, axis=1))), **near)
    for name in ("mean_norm", "std_norm", "rms_norm"):
        assert np.allclose(found[f"{name}_total"] ** 2, np.sum(found[name] ** 2), rtol=1e-12)
    # Parallel axes: rms^2 = mean^2 + std^2.
    assert np.allclose(found["rms_norm"] ** 2, found["mean_norm"] ** 2 + found["std_norm"] ** 2, rtol=1e-9, atol=1e-6)
    assert np.allclose(found["interior_mean_norm_total"], np.linalg.norm(own.mean(axis=0)), **near)
    assert np.allclose(found["block_norm"], [np.linalg.norm(block) for block in blocks], **near)
    assert np.allclose(found["gram"][:-1, :-1], blocks @ blocks.T, rtol=1e-12, atol=1e-9)
    assert np.allclose(found["gram"][-1, :-1], blocks @ blocks.sum(axis=0), rtol=1e-12, atol=1e-6)
    assert np.allclose(found["gram"][-1, -1], np.sum(blocks.sum(axis=0) ** 2), rtol=1e-12, atol=1e-6)


def test_a_common_gradient_does_not_blur_the_deviation():
    own = np.array([[1.0, 2.0], [1.0 + 1e-9, 2.0]])
    found = gradient_statistics(own, np.array([1e12, 0.0]), [2])
    assert found["std_norm_total"] == pytest.approx(5e-10, rel=1e-6)


def test_pure_signal_and_pure_noise():
    signal = gradient_statistics(np.tile([[3.0, 4.0]], (5, 1)), np.zeros(2), [2])
    assert (signal["mean_norm_total"], signal["std_norm_total"]) == (5.0, 0.0)
    noise = gradient_statistics(np.array([[3.0, 4.0], [-3.0, -4.0]]), np.zeros(2), [1, 1])
    assert (noise["mean_norm_total"], noise["std_norm_total"]) == (0.0, 5.0)
    assert noise["gram"].tolist() == [[25.0, -25.0, 0.0], [-25.0, 25.0, 0.0], [0.0, 0.0, 0.0]]


def test_the_gradient_probe_measures_the_weights_of_the_objective_that_it_is_given():
    moment, probe = moment_of(), probes.block_gradients(blocks=5)
    found = probe.measure(moment)
    layers = probe.labels(moment).coords["layer"]
    assert layers == ["0.weight", "2.weight", "4.weight"]
    gradient = moment.evaluation.gradient
    sizes, names = [], moment.objective.parameters.names
    for parameter in moment.objective.parameters.parameters:
        sizes.append(parameter.numel())
    parts = dict(zip(names, gradient.split(sizes), strict=True))
    expected = [float(parts[layer].norm()) for layer in layers]
    assert found["mean_norm"].tolist() == pytest.approx(expected, rel=1e-10)
    attrs = probe.labels(moment).attrs
    assert (attrs["blocks"], attrs["block_size"], attrs["points"], attrs["terms"]) == (
        5,
        8,
        40,
        ["interior", "boundary"],
    )


@pytest.mark.parametrize("name", ["errors", "block_gradients", "homogeneity"])
def test_a_probe_that_served_one_run_serves_the_next(name):
    probe = STOCK[name]()
    probe.measure(moment_of())
    torch.manual_seed(7)
    other = moment_of(poisson_1d(), interior=24)
    expected = STOCK[name]().measure(other)
    found = probe.measure(other)
    for variable, value in expected.items():
        assert np.array_equal(found[variable], value), variable


def test_the_residual_is_signed_for_one_equation():
    moment = moment_of()
    found = probes.residuals().measure(moment)
    assert np.array_equal(found["residual"], moment.evaluation.residual.detach().numpy()[:, 0])
    assert (found["residual"] < 0).any()
    assert (found["residual"] > 0).any()
    assert np.array_equal(found["attention"], moment.attention.numpy())


def test_homogeneity_averages_over_cells_then_over_cells():
    moment = moment_of(interior=200)
    found = probes.homogeneity(cells=3).measure(moment)
    points = moment.objective.points.interior.numpy()
    cell = np.minimum(((points + 1) / 2 * 3).astype(int), 2) @ [3, 1]
    for i, values in enumerate((moment.attention.numpy(), moment.evaluation.residual.detach().abs().numpy()[:, 0])):
        averages = [values[cell == k].mean() for k in range(9) if (cell == k).any()]
        assert found["cell_mean"][i] == pytest.approx(np.mean(averages), rel=1e-12)
        assert found["cell_rms"][i] == pytest.approx(np.sqrt(np.mean(np.square(averages))), rel=1e-12)
    assert probes.homogeneity().labels(moment).coords["quantity"] == ["attention", "residual"]


def test_errors_are_relative_to_the_solution_on_the_test_grid():
    problem = poisson_1d()
    moment = moment_of(problem)
    found = probes.errors().measure(moment)
    x = np.linspace(-1, 1, 1001)
    with torch.no_grad():
        difference = moment.objective.network(torch.from_numpy(x)[:, None])[:, 0].numpy() - np.sin(np.pi * x)
    assert found["rel_l2"] == pytest.approx(np.linalg.norm(difference) / np.linalg.norm(np.sin(np.pi * x)), rel=1e-12)
    assert found["max_error"] == pytest.approx(np.abs(difference).max(), rel=1e-12)


def test_a_problem_without_a_solution_has_no_score():
    with pytest.raises(ValueError, match="poisson-1d has no solution to score against"):
        Score(dataclasses.replace(poisson_1d(), solution=None), torch.zeros(1))


def test_the_exact_loss_does_not_depend_on_the_operator():
    torch.manual_seed(5)
    coarse = moment_of(operator=FiniteDifference(step=0.3))
    torch.manual_seed(5)
    exact = moment_of()
    found = probes.exact_loss().measure(coarse)["exact_loss"]
    assert found == pytest.approx(float(exact.evaluation.raw[0]), rel=1e-12)
    assert found != pytest.approx(float(coarse.evaluation.raw[0]), rel=1e-6)


def test_the_standard_probes_are_those_that_make_sense():
    def streams(moment):
        return {(probe.stream, *probe.dims) for probe in standard_probes(moment.objective)}

    exact = streams(moment_of())
    assert {stream for stream, *_ in exact} == {"gradients", "homogeneity", "residuals", "parameters", "series"}
    assert ("series", "rel_l2", "max_error") in exact
    assert ("series", "exact_loss") not in exact
    assert ("series", "exact_loss") in streams(moment_of(operator=FiniteDifference()))
    unsolved = streams(moment_of(dataclasses.replace(helmholtz(), solution=None)))
    assert ("series", "rel_l2", "max_error") not in unsolved


def test_probes_that_come_beside_another_are_measured_too(tmp_path):
    problem = poisson_1d()

    def once(moment):
        return {"size": float(moment.objective.vector.norm())}

    def beside(objective):
        assert objective.problem is problem
        return [probes.Probe("ending", {"size": ()}, once, AtEnd())]

    chosen = [probes.Probe("often", {"size": ()}, once, Every(2), beside=beside)]
    adam = Torch(torch.optim.Adam, lr=1e-3)
    path = tmp_path / "run.h5"
    train(problem, MLP(1, [4]), AutoDiff(), adam, steps=5, probes=chosen, record=path, progress=False)
    with open_trajectory(path) as trajectory:
        assert trajectory["often/step"].values.tolist() == [0, 2, 4, 5]
        assert trajectory["ending/step"].values.tolist() == [5]
