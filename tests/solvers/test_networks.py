"""Networks: the formula of each, how it is drawn, and sizes that make none."""

import copy
import math

import pytest
import torch
from torch import nn

from solvers.networks import (
    MLP,
    Atan,
    FourierFeatures,
    FourierMLP,
    Gaussian,
    HardBoundary,
    ModifiedMLP,
    PeriodicFeatures,
    PeriodicMLP,
    RandomFeatures,
    ResidualMLP,
    Sine,
    TwoLayer,
    factorise,
)

X = torch.linspace(-1.0, 1.0, 6, dtype=torch.float64).reshape(3, 2)
BASE = MLP(2, [6])


def test_mlp_is_the_written_out_formula():
    network = MLP(2, [5, 4], 3).double()
    first, second, last = (layer for layer in network if isinstance(layer, nn.Linear))
    hidden = torch.tanh(torch.tanh(X @ first.weight.T + first.bias) @ second.weight.T + second.bias)
    assert torch.allclose(network(X), hidden @ last.weight.T + last.bias, rtol=1e-14)
    assert network(X).shape == (3, 3)
    assert [type(layer) for layer in network] == [nn.Linear, nn.Tanh] * 2 + [nn.Linear]


def test_mlp_weights_are_xavier_normal_and_biases_torch_default():
    network = MLP(300, [200], 1)
    weight, bias = network[0].weight, network[0].bias
    deviation = math.sqrt(2 / 500)
    assert float(weight.detach().std()) == pytest.approx(deviation, rel=0.02)
    assert float(weight.detach().abs().max()) > 3.5 * deviation
    assert 0.9 / math.sqrt(300) < float(bias.detach().abs().max()) <= 1 / math.sqrt(300)


def test_the_activation_is_the_one_asked_for():
    network = MLP(2, [4], activation=Sine).double()
    expected = torch.sin(X @ network[0].weight.T + network[0].bias) @ network[2].weight.T + network[2].bias
    assert torch.allclose(network(X), expected, rtol=1e-14)


def test_random_features_are_the_formula_with_coefficients():
    network = RandomFeatures(2, 7, activation=Sine, scale=3.0)
    with torch.no_grad():
        network.coefficient.copy_(torch.arange(7.0)[:, None])
    features = torch.sin(X @ network.weight.T + network.bias)
    assert torch.allclose(network.features(X), features, rtol=1e-14)
    assert torch.allclose(network(X), features @ torch.arange(7.0, dtype=torch.float64)[:, None], rtol=1e-14)


def test_random_features_are_drawn_uniformly_once_and_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    one, same, other = (RandomFeatures(1, 2000, scale=2.0, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.weight, same.weight)
    assert torch.equal(one.bias, same.bias)
    assert not torch.equal(one.weight, other.weight)
    for drawn in (one.weight, one.bias):
        assert float(drawn.abs().max()) <= 2.0
        assert float(drawn.std()) == pytest.approx(2.0 / math.sqrt(3), rel=0.05)
        assert float(drawn.mean()) == pytest.approx(0.0, abs=0.1)
    assert abs(float(torch.corrcoef(torch.stack([one.weight[:, 0], one.bias]))[0, 1])) < 0.1


def test_only_the_coefficients_of_random_features_are_trained():
    network = RandomFeatures(2, 7)
    assert [name for name, _ in network.named_parameters()] == ["coefficient"]
    assert (network.coefficient == 0).all()
    assert set(network.state_dict()) == {"weight", "bias", "coefficient"}


def test_two_layer_is_the_formula_and_its_draw():
    network = TwoLayer(2, 3000, scale=4.0).double()
    hidden, _, outer = network
    expected = torch.tanh(X @ hidden.weight.T + hidden.bias) @ outer.weight.T
    assert torch.allclose(network(X), expected, rtol=1e-12)
    assert outer.bias is None
    for drawn in (hidden.weight, hidden.bias):
        assert 3.9 < float(drawn.detach().abs().max()) <= 4.0
    assert float(outer.weight.detach().std()) == pytest.approx(3000**-0.5, rel=0.05)


def test_activations_are_their_formulas():
    assert torch.allclose(Gaussian()(X), torch.tensor([[math.exp(-v * v) for v in row] for row in X.tolist()]).double())
    assert torch.equal(Atan()(X), torch.atan(X))


def test_fourier_features_are_sines_and_cosines_of_whole_periods():
    features = FourierFeatures(2, 5, scale=2.0).double()
    phase = 2 * math.pi * X @ features.frequencies.T
    expected = torch.cat([torch.sin(phase), torch.cos(phase)], dim=1)
    assert torch.allclose(features(X), expected, rtol=0, atol=1e-13)
    assert not list(features.parameters())
    assert set(features.state_dict()) == {"frequencies"}


def test_fourier_frequencies_are_normal_drawn_once_and_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    one, same, other = (FourierFeatures(2, 3000, scale=3.0, seed=seed).frequencies for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.dtype == torch.get_default_dtype()
    assert float(one.std()) == pytest.approx(3.0, rel=0.05)
    assert float(one.mean()) == pytest.approx(0.0, abs=0.15)
    assert float((one.abs() < 3.0).double().mean()) == pytest.approx(0.683, abs=0.03)


def test_fourier_mlp_is_an_mlp_of_features():
    network = FourierMLP(2, 3, [5], 2, Sine, scale=0.5, seed=4).double()
    features, mlp = network
    assert torch.equal(features.frequencies, FourierFeatures(2, 3, 0.5, 4).double().frequencies)
    assert isinstance(mlp, MLP)
    assert isinstance(mlp[1], Sine)
    assert torch.equal(network(X), mlp(features(X)))
    assert network(X).shape == (3, 2)


def test_modified_mlp_is_the_written_out_formula():
    network = ModifiedMLP(2, [4, 4], 3).double()

    def layer(linear, x):
        return torch.tanh(x @ linear.weight.T + linear.bias)

    u, v = layer(network.first, X), layer(network.second, X)
    first = layer(network.gates[0], X)
    hidden = (1 - first) * u + first * v
    second = layer(network.gates[1], hidden)
    hidden = (1 - second) * u + second * v
    assert len(network.gates) == 2
    assert torch.allclose(network(X), hidden @ network.last.weight.T + network.last.bias, rtol=1e-13, atol=1e-15)


def test_residual_mlp_is_the_written_out_formula():
    network = ResidualMLP(2, 5, 2, 3, Sine).double()
    hidden = X @ network.first.weight.T + network.first.bias
    for block in network.blocks:
        inner = torch.sin(hidden @ block[0].weight.T + block[0].bias)
        hidden = hidden + torch.sin(inner @ block[2].weight.T + block[2].bias)
    assert len(network.blocks) == 2
    assert torch.allclose(network(X), hidden @ network.last.weight.T + network.last.bias, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("make", [lambda: ModifiedMLP(200, [200]), lambda: ResidualMLP(200, 200, 1)])
def test_gated_and_residual_weights_are_xavier_normal(make):
    weights = [p.detach() for name, p in make().named_parameters() if p.shape == (200, 200)]
    assert len(weights) == 3
    for weight in weights:
        assert float(weight.std()) == pytest.approx(math.sqrt(2 / 400), rel=0.03)
        assert float(weight.abs().max()) > 3.5 * math.sqrt(2 / 400)


def test_factorised_weights_keep_their_values_and_train_their_factors():
    network = MLP(2, [400, 5]).double()
    before, state = copy.deepcopy(network), torch.get_rng_state()
    assert factorise(network, mean=0.5, std=0.2) is network
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.allclose(network(X), before(X), rtol=1e-13, atol=1e-15)
    first, second = (network[i].parametrizations.weight for i in (0, 2))
    v, s = first.original0, first.original1
    assert s.shape == (400, 1)
    assert torch.equal(network[0].weight, torch.exp(s) * v)
    assert float(s.detach().mean()) == pytest.approx(0.5, abs=0.05)
    assert float(s.detach().std()) == pytest.approx(0.2, rel=0.15)
    assert not torch.equal(s[:5], second.original1)
    gradient = torch.autograd.grad(network(X).sum(), [v, s])
    with torch.no_grad():
        v -= 0.1 * gradient[0]
        s -= 0.1 * gradient[1]
    assert not torch.allclose(network(X), before(X))


def test_factorised_networks_are_copied_and_drawn_by_their_seed():
    one, same, other = (factorise(copy.deepcopy(BASE), seed=seed) for seed in (1, 1, 2))
    factors = [network[0].parametrizations.weight.original1 for network in (one, same, other)]
    assert torch.equal(factors[0], factors[1])
    assert not torch.equal(factors[0], factors[2])
    twin = copy.deepcopy(one)
    twin.load_state_dict(other.state_dict())
    assert torch.allclose(twin(X.float()), BASE(X.float()), rtol=1e-4, atol=1e-6)


def test_hard_boundaries_hold_whatever_the_weights():
    inner = MLP(2, [7], 2).double()
    network = HardBoundary(inner, lambda x: x[:, :1] * (1 - x[:, :1]), lambda x: torch.cat([x[:, 1:], x[:, :1]], dim=1))
    edge = torch.tensor([[0.0, 0.3], [1.0, -2.0]], dtype=torch.float64)
    assert torch.equal(network(edge), edge.flip(1))
    assert torch.allclose(network(X), X.flip(1) + (X[:, :1] * (1 - X[:, :1])) * inner(X), rtol=1e-14)
    assert torch.equal(HardBoundary(inner, torch.ones_like)(X[:, :2]), inner(X))
    assert [p.shape for p in network.parameters()] == [p.shape for p in inner.parameters()]


def test_networks_are_factorised_once_and_where_there_is_something_to():
    with pytest.raises(ValueError, match=r"expected a network with linear layers .* came Tanh with 0"):
        factorise(nn.Tanh())
    with pytest.raises(ValueError, match=r"none parametrised, came MLP with 2"):
        factorise(factorise(MLP(2, [4])))
    with pytest.raises(ValueError, match=r"expected std >= 0, came -0.1"):
        factorise(MLP(2, [4]), std=-0.1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: MLP(2, []),
        lambda: MLP(2, [4, 0]),
        lambda: MLP(0, [4]),
        lambda: MLP(2, [4], 0),
        lambda: RandomFeatures(1, 0),
        lambda: RandomFeatures(1, 5, scale=0.0),
        lambda: TwoLayer(1, 0),
        lambda: TwoLayer(1, 5, scale=-1.0),
        lambda: FourierFeatures(0, 5),
        lambda: FourierFeatures(1, 0),
        lambda: FourierFeatures(1, 5, scale=0.0),
        lambda: FourierFeatures(1, 5, scale=float("nan")),
        lambda: FourierMLP(1, 5, []),
        lambda: ModifiedMLP(2, []),
        lambda: ModifiedMLP(2, [4, 5]),
        lambda: ModifiedMLP(2, [0, 0]),
        lambda: ModifiedMLP(2, 4),
        lambda: ModifiedMLP(2, [4], 0),
        lambda: ResidualMLP(2, 0, 1),
        lambda: ResidualMLP(2, 4, 0),
        lambda: ResidualMLP(2, [4], 1),
    ],
)
def test_sizes_that_make_no_network_are_refused(make):
    with pytest.raises(ValueError, match=r"expected .* came "):
        make()


@pytest.mark.parametrize("even", [False, True])
def test_a_periodic_network_has_its_period_along_its_axis(even):
    torch.manual_seed(0)
    network = PeriodicMLP(2, [6], harmonics=2, axis=1, period=3.0, even=even).double()
    x = torch.tensor([[0.2, 0.4], [0.2, 3.4], [0.2, -0.4], [3.2, 0.4]], dtype=torch.float64)
    u = network(x).flatten().detach()
    assert abs(float(u[0] - u[1])) < 1e-14
    assert (abs(float(u[0] - u[2])) < 1e-14) == even
    assert abs(float(u[0] - u[3])) > 1e-3


@pytest.mark.parametrize("wrong", [{"harmonics": 0}, {"axis": 2}, {"period": 0.0}])
def test_periodic_features_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="expected harmonics >= 1, an axis of 2 and period > 0"):
        PeriodicFeatures(2, **({"harmonics": 1} | wrong))
