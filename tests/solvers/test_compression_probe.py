"""Probes of activations: which layers they find, that the numbers are the network's, that they change nothing."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from dynamics import open_trajectory, validate
from dynamics.compression import compress, extreme_share, information_compression
from dynamics.format import KNOWN
from solvers.attention import ResidualBasedAttention
from solvers.cadence import Every
from solvers.hidden_layers import HiddenLayers, activation_range
from solvers.networks import (
    MLP,
    FourierMLP,
    HardBoundary,
    ModifiedMLP,
    RandomFeatures,
    ResidualMLP,
    TwoLayer,
    factorise,
)
from solvers.networks.activations import Atan, Gaussian
from solvers.networks.mlp import Sine
from solvers.objective import Objective
from solvers.operators import AutoDiff, TangentProp
from solvers.optimizers import Torch
from solvers.probes import Moment
from solvers.probes.compression import activations, compression
from solvers.problems import helmholtz
from solvers.training import train


def moment_of(network, interior=40, dtype=torch.float64):
    problem, network = helmholtz((1, 1)), network.to(dtype)
    points = problem.sample(interior=interior, boundary=8).to(dtype=dtype)
    objective = Objective(problem, network, AutoDiff(), points)
    return Moment(0, objective, objective.begin_step(), torch.rand(interior, dtype=dtype))


class Functional(nn.Module):
    """Calls functions, scales its input, has two heads on one hidden layer and a way around both."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.one, self.other = (nn.Linear(*s) for s in ((2, 5), (5, 7), (7, 1), (7, 1)))
        self.around = nn.Linear(2, 1)

    def hidden(self, x):
        first = torch.tanh(self.first(x))
        return first, torch.sin(self.second(first))

    def forward(self, x):
        scaled = 2 * x
        hidden = self.hidden(scaled)[1]
        return self.one(hidden) * self.other(hidden) + self.around(scaled)


class Swish(nn.Module):
    """An activation of a user's own."""

    def forward(self, x):
        return x * torch.sigmoid(x)


def named(network, points, modules=None):
    found = HiddenLayers(network, modules)(points, lambda layer: (layer.name, layer.values.clone()))
    return [name for name, _ in found], [values for _, values in found]


def test_layers_of_a_perceptron_are_its_activations():
    network, x = MLP(2, [4, 6]).double(), torch.rand(9, 2, dtype=torch.float64)
    names, values = named(network, x)
    assert names == ["1", "3"]
    first = torch.tanh(network[0](x))
    assert torch.equal(values[0], first)
    assert torch.equal(values[1], torch.tanh(network[2](first)))


@pytest.mark.parametrize(
    ("network", "names"),
    [
        (TwoLayer(2, 5), ["1"]),
        (FourierMLP(2, 3, [4, 4]), ["1.1", "1.3"]),
        (RandomFeatures(2, 9).float(), ["activation"]),
        (ModifiedMLP(2, [4, 4]), ["activation", "activation#2", "activation#3", "activation#4"]),
        (ResidualMLP(2, 4, 2), ["blocks.0.1", "blocks.0.3", "blocks.1.1", "blocks.1.3"]),
        (HardBoundary(MLP(2, [4]), lambda x: x[:, :1]), ["network.1"]),
        (factorise(MLP(2, [4])), ["1"]),
        (Functional(), ["into second", "into one"]),
        (MLP(2, [4, 3], activation=Swish), ["into 2", "into 4"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_layers_of_other_networks(network, names):
    assert named(network, torch.rand(9, 2))[0] == names


def test_layers_of_functions_are_what_goes_into_linear_layers():
    network, x = Functional(), torch.rand(9, 2)
    for found, value in zip(named(network, x)[1], network.hidden(2 * x), strict=True):
        assert torch.equal(found, value)


def test_layers_by_name_and_names_that_are_not_there():
    network, x = MLP(2, [4, 3]), torch.rand(5, 2)
    names, (values,) = named(network, x, ["2"])
    assert names == ["2"]
    assert torch.equal(values, network[2](torch.tanh(network[0](x))))
    with pytest.raises(ValueError, match=r"came \['9'\]: choose among '0', '1', '2'"):
        HiddenLayers(network, ["9"])


def test_no_hidden_layer_is_an_error_that_lists_the_modules():
    for network in (nn.Linear(2, 1), nn.Sequential(nn.Linear(2, 1), nn.Softmax(dim=1))):
        with pytest.raises(ValueError, match=r"expected hidden layers.*modules=\[\.\.\.\]"):
            HiddenLayers(network)(torch.rand(3, 2), print)


def test_an_output_without_a_row_a_point_is_an_error():
    network = nn.Sequential(nn.Linear(2, 3), nn.Flatten(0), nn.Tanh())
    with pytest.raises(ValueError, match="one row for each of 5 points at the module '2', came \\(15,\\)"):
        HiddenLayers(network)(torch.rand(5, 2), print)


@pytest.mark.parametrize(
    "module",
    [
        nn.Tanh(),
        nn.Sigmoid(),
        nn.Softsign(),
        nn.Hardsigmoid(),
        nn.ReLU6(),
        nn.Hardtanh(-2, 3),
        Sine(),
        Atan(),
        Gaussian(),
    ],
)
def test_stated_ranges_are_those_of_the_functions(module):
    values = module(torch.linspace(-1e6, 1e6, 20_000_01, dtype=torch.float64))
    lower, upper = activation_range(module)
    assert values.min().item() == pytest.approx(lower, abs=1e-4)
    assert values.max().item() == pytest.approx(upper, abs=1e-4)


@pytest.mark.parametrize("module", [nn.ReLU(), nn.Softplus(), nn.SiLU(), nn.GELU(), nn.Identity(), Swish()])
def test_unbounded_and_unknown_activations_have_no_range(module):
    assert np.isnan(activation_range(module)).all()


class Restless(nn.Module):
    """Draws numbers, counts its calls in a buffer and normalises by a running mean: all of it state."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 1))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return self.net(x)


@pytest.mark.parametrize("training", [True, False])
def test_listening_changes_no_state(training):
    network = Restless().train(training)
    network.net[3].eval()
    before, draws = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    modes = [module.training for module in network.modules()]
    HiddenLayers(network)(torch.rand(16, 2, generator=torch.Generator().manual_seed(0)), lambda layer: None)
    assert torch.equal(torch.get_rng_state(), draws)
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())
    assert all(p.grad is None for p in network.parameters())


def test_random_layers_leave_the_generator_where_it_was():
    network = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 1)).train()
    draws = torch.get_rng_state()
    HiddenLayers(network)(torch.ones(16, 2), lambda layer: None)
    assert torch.equal(torch.get_rng_state(), draws)


def test_hooks_are_gone_also_after_an_error():
    network = MLP(2, [4])

    def fail(layer):
        raise KeyError(layer.name)

    with pytest.raises(KeyError):
        HiddenLayers(network)(torch.rand(3, 2), fail)
    assert not any(module._forward_hooks for module in network.modules())


class Scaled(nn.Module):
    """A buffer that the backward pass needs as it was in the forward pass."""

    def __init__(self):
        super().__init__()
        self.net = MLP(2, [4])
        self.register_buffer("scale", torch.full((2,), 0.5))

    def forward(self, x):
        return self.net(x * self.scale)


def test_listening_leaves_the_graph_of_the_step_whole():
    moment = moment_of(Scaled())
    loss = moment.evaluation.value
    compression().measure(moment)
    activations().measure(moment)
    assert torch.isfinite(moment.evaluation.gradient).all()
    assert torch.isfinite(loss)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("make", [activations, compression])
def test_a_probe_measures_what_it_declares(make, dtype):
    moment, probe = moment_of(MLP(2, [6, 5]), dtype=dtype), make(every=Every(3))
    values, labels = probe.measure(moment), probe.labels(moment)
    assert list(values) == list(probe.dims)
    for name, dims in probe.dims.items():
        assert KNOWN[probe.stream][name].dims == dims
        sizes = dict(zip(dims, values[name].shape, strict=True))
        for dim, size in ((dim, sizes[dim]) for dim in dims if dim in labels.coords):
            assert size == len(labels.coords[dim])
    assert labels.coords["layer"] == ["1", "3"]


def test_activations_are_the_layers_at_the_chosen_points():
    moment = moment_of(MLP(2, [6, 4]))
    network, interior = moment.objective.network, moment.objective.points.interior
    probe = activations(points=7, seed=3)
    labels, found = probe.labels(moment), probe.measure(moment)["activation"]
    index = labels.coords["point"]
    assert len(set(index)) == len(index) == 7
    assert found.shape == (2, 7, 6)
    first = torch.tanh(network[0](interior[index]))
    assert np.array_equal(found[0], first.detach().numpy())
    assert np.array_equal(found[1, :, :4], torch.tanh(network[2](first)).detach().numpy())
    assert np.isnan(found[1, :, 4:]).all()
    assert (labels.attrs["lower"], labels.attrs["upper"]) == ([-1.0, -1.0], [1.0, 1.0])
    unbounded = moment_of(MLP(2, [6], activation=nn.Softplus))
    assert activations().labels(unbounded).attrs["lower"] == [None]
    assert activations(points=7, seed=3).labels(moment).coords["point"] == index
    assert activations(points=7, seed=4).labels(moment).coords["point"] != index
    assert activations(points=400).labels(moment).coords["point"] == list(range(40))


def test_what_is_kept_is_not_what_the_network_changes_later():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.act, self.last = nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)

        def forward(self, x):
            hidden = self.act(self.first(x))
            return self.last(hidden.add_(100.0) if not torch.is_grad_enabled() else hidden + 100.0)

    moment = moment_of(InPlace())
    assert np.abs(activations().measure(moment)["activation"]).max() <= 1


def test_compression_is_that_of_all_points():
    moment = moment_of(MLP(2, [6, 4], activation=nn.Sigmoid), interior=200)
    network, interior = moment.objective.network, moment.objective.points.interior
    found = compression(bins=12).measure(moment)
    hidden = interior
    for k, linear in enumerate((network[0], network[2])):
        hidden = torch.sigmoid(linear(hidden))
        values = hidden.detach().numpy()
        assert (found["saturation"][k], found["row_entropy"][k], found["neuron_entropy"][k]) == compress(values, 12)
        assert found["extreme"][k] == extreme_share(values, 0.0, 1.0)
    assert compression(bins=12).labels(moment).attrs == {"bins": 12, "points": 200}
    assert compression(points=50).labels(moment).attrs["points"] == 50
    unbounded = moment_of(MLP(2, [6], activation=nn.Softplus))
    assert np.isnan(compression().measure(unbounded)["extreme"]).all()


def test_wrong_numbers_are_refused():
    for make in (lambda: activations(points=0), lambda: compression(points=0), lambda: compression(bins=0)):
        with pytest.raises(ValueError, match=r"expected .* came"):
            make()


@pytest.mark.parametrize(
    ("make", "operator"),
    [(MLP, TangentProp()), (ModifiedMLP, TangentProp()), (FourierMLP, AutoDiff())],
    ids=["fused", "compiled", "autodiff"],
)
def test_recording_changes_no_bit_and_both_streams_agree(make, operator, tmp_path):
    def trained(probes=(), record=None):
        torch.manual_seed(7)
        network = make(2, 3, [5, 5]) if make is FourierMLP else make(2, [5, 5])
        problem = helmholtz((1, 1))
        adam = Torch(torch.optim.Adam, lr=1e-2)
        points = problem.sample(interior=48, boundary=8)
        options = {"points": points, "steps": 6, "attention": ResidualBasedAttention(), "dtype": torch.float32}
        run = train(problem, network, operator, adam, probes=probes, record=record, **options)
        return run, [p.detach().clone() for p in network.parameters()]

    _, plain = trained()
    probes = (activations(points=48, every=Every(2)), compression(every=Every(2)))
    run, recorded = trained(probes, tmp_path / "run.h5")
    assert all(torch.equal(a, b) for a, b in zip(plain, recorded, strict=True))
    assert validate(run.path) == []
    with open_trajectory(run.path) as trajectory:
        both = trajectory.load()
    assert both["activations/activation"].dtype == np.float32
    measured = information_compression(both)
    computed = information_compression(both.filter(lambda node: node.name != "compression"))
    assert (measured.attrs["origin"], computed.attrs["origin"]) == (
        "recorded in /compression",
        "computed from /activations",
    )
    assert measured.attrs["points"] == computed.attrs["points"] == 48
    assert measured["step"].values.tolist() == [0, 2, 4, 6]
    for name in ("saturation", "row_entropy", "row_entropy_share", "neuron_entropy", "extreme"):
        assert np.array_equal(measured[name], computed[name], equal_nan=True), name
        assert measured[name].dims == ("step", "layer")
        assert np.isfinite(measured[name]).all(), name


@pytest.mark.cuda
def test_on_another_device(cuda):
    moment = moment_of(MLP(2, [6, 4]), dtype=torch.float32)
    here = compression().measure(moment)
    objective = moment.objective
    there = Objective(
        objective.problem, objective.network.to(cuda), AutoDiff(), objective.points.to(cuda, torch.float32)
    )
    found = compression().measure(Moment(0, there, there.begin_step(), moment.attention.to(cuda)))
    for name, values in here.items():
        assert found[name] == pytest.approx(values, abs=0.02), name
    assert activations().measure(Moment(0, there, there.begin_step(), moment.attention))["activation"].shape == (
        2,
        40,
        6,
    )


def tanh(x):
    return torch.tanh(x)


class HeldFunction(nn.Module):
    """Calls the function that it holds, as networks of DeepXDE do."""

    def __init__(self, activation, shift=0.0):
        super().__init__()
        self.one, self.two = nn.Linear(2, 4), nn.Linear(4, 1)
        self.activation, self.shift = activation, shift

    def forward(self, x):
        return self.two((self.activation or torch.relu)(self.one(x)) + self.shift)


@pytest.mark.parametrize(
    ("network", "ends"),
    [
        (HeldFunction(torch.tanh), (-1.0, 1.0)),
        (HeldFunction(tanh), (-1.0, 1.0)),
        (HeldFunction(None), (None, None)),
        (HeldFunction(torch.sigmoid), (0.0, 1.0)),
        (HeldFunction(torch.tanh, shift=2.0), (None, None)),
        (HeldFunction(torch.relu), (None, None)),
    ],
)
def test_the_range_of_a_function_that_a_network_holds(network, ends):
    """Where the values leave it, something else happened to them: nothing is claimed."""
    ((lower, upper),) = HiddenLayers(network)(torch.rand(5, 2), lambda layer: (layer.lower, layer.upper))
    assert (lower, upper) == ends if ends[0] is not None else lower != lower and upper != upper
