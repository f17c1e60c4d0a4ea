"""What compiled code remembers of a network: any change of it is noticed at the next call, whatever was changed."""

import gc
import math
import weakref

import pytest
import torch
from torch import nn
from torch.nn.modules import module as torch_module
from torch.nn.utils import parametrize

from solvers import MLP, AutoDiff, Points, TangentProp
from solvers.networks import Odd, Sine
from solvers.operators.chain import find_chain


def network():
    torch.manual_seed(0)
    return MLP(1, [5, 5]).double()


def other(layer):
    return nn.Parameter(torch.rand_like(layer.weight))


class Doubled(nn.Module):
    def forward(self, x):
        return 2 * x


def transpose_in_place(net):
    net[2].weight.data = net[2].weight.data.t()


def shorten(net):
    """The same addresses, fewer neurons."""
    net[0].weight.data, net[0].bias.data = net[0].weight.data[:3], net[0].bias.data[:3]
    net[2].weight.data = net[2].weight.data.flatten()[:15].view(5, 3)


CHANGES = {
    "hook": lambda net: net[0].register_forward_hook(lambda module, given, values: 2 * values),
    "pre-hook of the network": lambda net: net.register_forward_pre_hook(lambda module, given: (2 * given[0],)),
    "forward": lambda net: setattr(net[1], "forward", torch.sin),
    "activations": lambda net: (net.__setitem__(1, Sine()), net.__setitem__(3, Sine())),
    "layer": lambda net: net.__setitem__(2, nn.Linear(5, 5).double()),
    "parameter": lambda net: setattr(net[2], "weight", other(net[2])),
    "no bias": lambda net: setattr(net[2], "bias", None),
    "memory": lambda net: setattr(net[2].weight, "data", torch.rand(5, 5).double()),
    "transposed memory": transpose_in_place,
    "shorter memory": shorten,
    "class": lambda net: setattr(net[1], "__class__", Sine) or setattr(net[3], "__class__", Sine),
    "reparametrised weight": lambda net: parametrize.register_parametrization(net[2], "weight", Doubled()),
    "reparametrised bias": lambda net: parametrize.register_parametrization(net[2], "bias", Doubled()),
    "longer": lambda net: (net.append(nn.Tanh()), net.append(nn.Linear(1, 1).double())),
    "values": lambda net: net[2].weight.data.mul_(2),
}


def both(plan, exact, net):
    """The jet by autograd, by the adjoint, and by nested differentiation, with gradients of the parameters."""

    def loss(jet):
        return jet["xx"].square().sum() + jet[""].sum()

    parameters, results = list(net.parameters()), []
    for used in (plan, exact):
        jet = used(net)
        gradient = torch.autograd.grad(loss(jet), parameters, materialize_grads=True)
        results.append([jet[""], jet["xx"], torch.cat([g.reshape(-1) for g in gradient])])
    by_graph, expected = results
    by_adjoint = [*by_graph[:2], plan.value_and_grad(net, loss, parameters)[1]]
    for found in (by_graph, by_adjoint):
        for one, right in zip(found, expected, strict=True):
            assert float((one - right).detach().abs().max()) <= 1e-12 * max(1.0, float(right.detach().abs().max()))
    return [value.detach() for value in expected]


@pytest.mark.parametrize("wrap", [lambda net: net, Odd, nn.Sequential], ids=["plain", "odd", "inside"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_is_noticed(change, wrap):
    points = Points(torch.linspace(-1, 1, 6, dtype=torch.float64)[:, None], axes="x")
    plan, exact, inner = TangentProp().plan(points, ["", "xx"]), AutoDiff().plan(points, ["", "xx"]), network()
    net = wrap(inner)
    # Without a graph, of which torch would remember the parameters' shapes.
    with torch.no_grad():
        before = plan(net)["xx"]
    plan.value_and_grad(net, lambda jet: jet["xx"].square().sum())
    assert plan.backend == "fused"
    assert find_chain(net) is find_chain(net)
    change(inner)
    after = both(plan, exact, net)
    assert float((after[1] - before).abs().max()) > 1e-6


def test_hooks_that_come_and_go():
    points = Points(torch.linspace(-1, 1, 6, dtype=torch.float64)[:, None], axes="x")
    plan, net, seen = TangentProp().plan(points, ["", "xx"]), network(), []
    first = plan(net)["xx"]
    for _ in range(2):
        handle = net[2].weight.register_hook(seen.append)
        assert plan.detached(net) is None
        handle.remove()
        assert plan.detached(net) is not None
        handle = torch_module.register_module_forward_hook(lambda module, given, values: None)
        assert find_chain(net) is None
        handle.remove()
        assert find_chain(net) is not None
    assert torch.equal(plan(net)["xx"], first)


def test_settings_of_activations_are_looked_at_every_time():
    net = MLP(1, [5], activation=nn.GELU).double()
    assert find_chain(net).activation == "gelu"
    net[1].approximate = "tanh"
    assert find_chain(net) is None


def test_a_network_is_freed_with_its_last_user():
    net = network()
    assert find_chain(net) is not None
    gone = weakref.ref(net)
    del net
    gc.collect()
    assert gone() is None


def test_another_buffer_gets_the_gradient_at_its_own_places():
    net = network()
    plan = TangentProp().plan(Points([[0.3], [0.7]], axes="x"), ["xx"])
    parameters = list(net.parameters())
    _, forwards = plan.value_and_grad(net, lambda jet: jet["xx"].square().sum(), parameters)
    _, backwards = plan.value_and_grad(net, lambda jet: jet["xx"].square().sum(), parameters[::-1])
    _, some = plan.value_and_grad(net, lambda jet: jet["xx"].square().sum(), parameters[2:4])
    sizes = [p.numel() for p in parameters]
    pieces = forwards.split(sizes)
    assert torch.equal(torch.cat(pieces[::-1]), backwards)
    assert torch.allclose(torch.cat(pieces[2:4]), some, rtol=1e-13, atol=0)
    assert not math.isclose(float(some.abs().max()), 0.0)
