"""Probes: each measures what it declares, and its numbers equal direct computations."""

import dataclasses

import numpy as np
import pytest
import torch

from dynamics import open_trajectory
from dynamics.format import KNOWN
from solvers import Torch, probes, train
from solvers.cadence import AtEnd, Every
from solvers.networks import MLP
from solvers.objective import Objective
from solvers.operators import AutoDiff, FiniteDifference
from solvers.probes import Moment, Probe, standard_probes
from solvers.probes.probe import Labels
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
    def streams(moment, **options):
        return {(probe.stream, *probe.dims) for probe in standard_probes(moment.objective, **options)}

    exact = streams(moment_of())
    always = {"gradients", "homogeneity", "residuals", "parameters", "series", "compression", "reference"}
    assert {stream for stream, *_ in exact} == always
    with_adam = streams(moment_of(), optimizer=Torch(torch.optim.Adam, lr=1e-3))
    assert {stream for stream, *_ in with_adam} == always | {"adam"}
    assert streams(moment_of(), optimizer=Torch(torch.optim.LBFGS)) == exact
    assert ("series", "rel_l2", "max_error", "error_band") in exact
    assert ("series", "exact_loss") not in exact
    assert ("series", "exact_loss") in streams(moment_of(operator=FiniteDifference()))
    unsolved = streams(moment_of(dataclasses.replace(helmholtz(), solution=None)))
    assert not any("rel_l2" in dims for _, *dims in unsolved)
    assert not any(stream == "reference" for stream, *_ in unsolved)


def test_one_cadence_serves_all_standard_probes():
    moment = moment_of()
    for probe in standard_probes(moment.objective, every=Every(7)):
        if probe.stream != "reference":
            assert [probe.every.due(step) for step in (0, 4, 7, 8)] == [True, False, True, False], probe.stream


def test_a_network_without_hidden_layers_has_no_compression():
    problem = poisson_1d()
    objective = Objective(problem, torch.nn.Linear(1, 1).double(), AutoDiff(), problem.sample(interior=9))
    assert "compression" not in {probe.stream for probe in standard_probes(objective)}


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


class Restless(torch.nn.Module):
    """Drops neurons at random where asked to, and counts its forward passes in a buffer that enters its values."""

    def __init__(self, share: float, in_place: bool):
        super().__init__()
        self.hidden, self.out, self.drop = torch.nn.Linear(1, 8), torch.nn.Linear(8, 1), torch.nn.Dropout(share)
        self.in_place = in_place
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, x):
        value = self.out(self.drop(torch.tanh(self.hidden(x)))) * (1 + 1e-3 * float(self.passes))
        self.passes = self.passes.add_(1.0) if self.in_place else self.passes + 1.0
        return value


def at_declaration(moment):
    return Labels(attrs={"sum": float(moment.objective.network(moment.objective.points.interior).detach().sum())})


RUNS_WHEN_DECLARED = Probe("own", {"one": ()}, lambda moment: {"one": 1.0}, Every(5), at_declaration)


@pytest.mark.parametrize("chosen", [None, [RUNS_WHEN_DECLARED]])
@pytest.mark.parametrize(("share", "in_place"), [(0.1, False), (0.0, True), (0.0, False)])
def test_measuring_leaves_random_numbers_and_buffers_alone(share, in_place, chosen, tmp_path):
    """The losses of a network that draws and counts are the same to the last bit, recorded or not."""
    problem, ended = poisson_1d(), []
    for record in (None, tmp_path / "run.h5"):
        torch.manual_seed(0)
        network, points = Restless(share, in_place), problem.sample(interior=32, seed=0)
        adam = Torch(torch.optim.Adam, lr=1e-2)
        run = train(
            problem,
            network,
            AutoDiff(),
            adam,
            points=points,
            steps=12,
            probes=chosen if record else None,
            record=record,
            progress=False,
        )
        ended.append((run.loss, float(network.passes)))
    assert ended[0] == ended[1]
