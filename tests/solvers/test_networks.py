"""Networks: the formula of each, how it is drawn, and sizes that make none."""

import math

import pytest
import torch
from torch import nn

from solvers.networks import MLP, RandomFeatures, Sine, TwoLayer

X = torch.linspace(-1.0, 1.0, 6, dtype=torch.float64).reshape(3, 2)


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
    ],
)
def test_sizes_that_make_no_network_are_refused(make):
    with pytest.raises(ValueError, match=r"expected .* came "):
        make()
