"""Odd networks: through compiled code, through every adjoint, and against nested differentiation and fifty digits."""

import math
from dataclasses import replace
from itertools import pairwise

import mpmath
import pytest
import torch
from torch import nn

from solvers import MLP, AutoDiff, Points, TangentProp, problems, train
from solvers.blocks import BlockGradients
from solvers.jacobian import directional, jacobian
from solvers.kernels import perceptron
from solvers.kernels.compiler import host
from solvers.kernels.linears import Linears
from solvers.layout import Group, Layout
from solvers.networks import Odd, factorise
from solvers.objective import Objective
from solvers.operators.chain import find_chain
from solvers.operators.detached import flat_starts
from solvers.optimizers import Torch
from solvers.series import Series

TIGHT = {torch.float32: 2e-6, torch.float64: 1e-13}
every_dtype = pytest.mark.parametrize("dtype", TIGHT)


def odd(inputs=1, outputs=1, dtype=torch.float64, activation=nn.Tanh):
    torch.manual_seed(3)
    return Odd(MLP(inputs, [7, 6], outputs, activation)).to(dtype)


def line(count=9, dtype=torch.float64):
    return Points(torch.linspace(-1.0, 1.3, count, dtype=torch.float64)[:, None], axes="x").to(dtype=dtype)


def plane(count=11, dtype=torch.float64):
    rows = torch.rand(count, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.3
    return Points(rows, axes="xy").to(dtype=dtype)


def near(found, expected, tolerance):
    return float((found.double() - expected.double()).detach().abs().max()) <= tolerance * max(
        1.0, float(expected.detach().abs().max())
    )


def compare(network, points, partials, dtype=torch.float64):
    """Values, and gradients by autograd and by the adjoint, against nested differentiation in double precision."""

    def sum_of_squares(jet):
        return sum(jet[partial].square().sum() for partial in partials)

    plan, exact = TangentProp(backend="fused").plan(points, partials), network.double()
    parameters = list(exact.parameters())
    expected = AutoDiff().plan(points.to(dtype=torch.float64), partials)(exact)
    gradient = torch.autograd.grad(sum_of_squares(expected), parameters, materialize_grads=True)
    gradient = torch.cat([g.reshape(-1) for g in gradient])
    network.to(dtype)
    parameters = list(network.parameters())
    found = plan(network)
    by_graph = torch.autograd.grad(sum_of_squares(found), parameters, materialize_grads=True)
    _, by_adjoint = plan.value_and_grad(network, sum_of_squares)
    for partial in partials:
        assert near(found[partial], expected[partial], TIGHT[dtype]), partial
    assert near(torch.cat([g.reshape(-1) for g in by_graph]), gradient, TIGHT[dtype])
    assert near(by_adjoint, gradient, TIGHT[dtype])


@every_dtype
@pytest.mark.parametrize("count", [1, 3, 32, 33, 65])
def test_values_and_gradients_are_those_of_nested_differentiation(count, dtype):
    compare(odd(), line(count, dtype), ["", "x", "xx", "xxxxx"], dtype)


@every_dtype
@pytest.mark.parametrize("partials", [["", "xx+yy"], ["xy", "y"], ["", "bilaplacian"], [""], ["x", "xxy"]])
def test_several_directions_and_components(partials, dtype):
    compare(odd(2, 2, activation=nn.SiLU), plane(3, dtype), partials, dtype)


@pytest.mark.parametrize("order", [7, 12, 20])
def test_high_orders_against_fifty_digits(order):
    network = Odd(MLP(1, [3, 2])).double()
    points = torch.tensor([[0.4], [-1.1]], dtype=torch.float64)
    partials = ["x" * k for k in range(order + 1)]
    jet = TangentProp(backend="fused").plan(Points(points, axes="x"), partials)(network)
    layers = [(m.weight.tolist(), m.bias.tolist()) for m in network.network if isinstance(m, nn.Linear)]

    def chain(x):
        values = [x]
        for number, (weight, bias) in enumerate(layers):
            values = [mpmath.fsum(w * v for w, v in zip(row, values, strict=True)) for row in weight]
            values = [v + b for v, b in zip(values, bias, strict=True)]
            values = [mpmath.tanh(v) for v in values] if number < 2 else values
        return values[0]

    with mpmath.workdps(80):
        for row, x in enumerate(points.flatten().tolist()):
            exact = mpmath.taylor(lambda t: chain(t) - chain(-t), mpmath.mpf(x), order)
            scale = max(abs(c) for c in exact)
            for k, coefficient in enumerate(exact):
                found = jet["x" * k][row, 0].item() / math.factorial(k)
                assert abs(found - float(coefficient)) <= 1e-14 * float(scale)


def test_one_step_of_training_is_that_of_nested_differentiation():
    vectors = {}
    for operator in (AutoDiff(), TangentProp()):
        problem, network = problems.helmholtz((1, 1)), odd(2)
        points = problem.sample(interior=40, boundary=12, seed=0)
        train(problem, network, operator, Torch(torch.optim.SGD, lr=1e-3), points=points, steps=1)
        vectors[type(operator)] = torch.cat([p.detach().reshape(-1) for p in network.parameters()])
    assert near(vectors[TangentProp], vectors[AutoDiff], 1e-13)
    assert float((vectors[AutoDiff] - torch.cat([p.detach().reshape(-1) for p in odd(2).parameters()])).abs().max()) > 0


def test_the_gradient_of_some_of_the_points():
    network, points = odd(), line(40)
    plan = TangentProp().plan(points, ["", "xx"])
    detached = plan.detached(network)
    assert plan.backend == "fused"
    parameters = list(network.parameters())
    loss = detached.jet["xx"][5:23].square().sum() + detached.jet[""][5:23].sin().sum()
    cotangents = torch.autograd.grad(loss, detached.leaves)
    part = [cotangent[5:23] for cotangent in cotangents]
    whole, found = (torch.zeros(sum(p.numel() for p in parameters), dtype=torch.float64) for _ in range(2))
    detached.pull_back(cotangents, whole, flat_starts(parameters))
    padded = [torch.nn.functional.pad(c, (0, 0, 5, 17), value=math.nan) for c in part]
    detached.pull_back(padded, found, flat_starts(parameters), part=(5, 23))
    jet = AutoDiff().plan(Points(points.interior[5:23], axes="x"), ["", "xx"])(network)
    loss = jet["xx"].square().sum() + jet[""].sin().sum()
    expected = torch.autograd.grad(loss, parameters, materialize_grads=True)
    expected = torch.cat([g.reshape(-1) for g in expected])
    assert near(whole, expected, 1e-13)
    assert near(found, expected, 1e-13)


def test_jacobians_and_their_products():
    network, points = odd(2), plane(8)
    parameters = list(network.parameters())

    def residual(jet):
        return torch.cat([jet["xx+yy"] + jet[""] ** 2, jet["x"] * jet["y"]], dim=1)

    rows = {}
    for operator in (AutoDiff(), TangentProp()):
        plan = operator.plan(points, ["", "xx+yy", "x", "y"])
        rows[type(operator)] = jacobian(plan, network, residual, parameters)
    assert near(rows[TangentProp], rows[AutoDiff], 1e-12)
    tangents = [torch.randn_like(p) for p in parameters]
    flat = torch.cat([t.reshape(-1) for t in tangents])
    assert near(directional(plan, network, residual, parameters, tangents), rows[AutoDiff] @ flat, 1e-12)


@pytest.mark.parametrize(("interior", "blocks"), [(24, 4), (512, 4), (40, 2)])
def test_gradients_of_blocks_in_tiles_and_by_layers(interior, blocks):
    """Blocks of 128 points fill tiles, those of 6 go by layers, and periodic faces are pairs of copies."""
    found = {}
    problem = problems.allen_cahn()
    points = problem.sample(interior=interior, boundary=24, initial=16, seed=0)
    for operator in (AutoDiff(), TangentProp()):
        objective = Objective(problem, odd(2), operator, points)
        dealt = BlockGradients(objective, blocks, "")
        found[type(operator)] = [dealt.interior(), *dealt.condition_blocks(), *dealt.condition_gradients()]
        assert operator == AutoDiff() or dealt.plan.backend == "fused"
    for one, other in zip(found[TangentProp], found[AutoDiff], strict=True):
        assert near(one, other, 1e-12)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_share_points_and_images(threads, monkeypatch):
    monkeypatch.setattr(perceptron, "THREAD_WORK", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    compare(odd(), line(1001), ["", "x", "xx"])


@every_dtype
@pytest.mark.parametrize("vector_bytes", [16, 32])
def test_narrower_vectors(vector_bytes, dtype, monkeypatch):
    monkeypatch.setattr(perceptron, "host", lambda: replace(host(), vector_bytes=vector_bytes, registers=16))
    layout, widths = Layout((Group(2, 2, collapsed=True), Group(1, 3))), (2, 7, 2)
    compiled = perceptron.Kernel("sin", layout, dtype)
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(b, a, generator=generator).to(dtype) for a, b in pairwise(widths)]
    biases = [torch.randn(b, generator=generator).to(dtype) for b in widths[1:]]
    points, directions = (
        torch.rand(19, 2, generator=generator).to(dtype),
        torch.rand(3, 2, generator=generator).to(dtype),
    )
    rows, _ = compiled.forward(points, directions, Linears(weights, biases), False, mirrored=True)
    entry = Series.along(points, directions, layout)
    there, back = (s.linear(weights[0], biases[0]).sin().linear(weights[1], biases[1]) for s in (entry, -entry))
    assert near(rows, (there - back).coefficients, 20 * TIGHT[dtype])


def test_the_last_bias_cancels_and_what_is_not_finite_in_it_does_not():
    network = odd()
    plan = TangentProp(backend="fused").plan(line(), ["", "x"])
    plan(network)["x"].square().sum().backward()
    assert network.network[-1].bias.grad.item() == 0.0
    with torch.no_grad():
        network.network[-1].bias.fill_(math.inf)
    assert plan(network)[""].isnan().all()
    assert plan(network)["x"].isfinite().all()


def test_what_is_compiled_and_what_is_left_to_torch():
    class Even(Odd):
        def forward(self, x):
            return self.network(x) + self.network(-x)

    hooked, inner = odd(), odd()
    hooked.register_forward_hook(lambda module, given, values: 2 * values)
    inner.network[0].register_forward_hook(lambda module, given, values: 2 * values)
    nested, gated = Odd(odd()), Odd(nn.Sequential(odd(), nn.Linear(1, 1))).double()
    for network in (Even(MLP(1, [5])).double(), hooked, inner, nested, gated):
        assert find_chain(network) is None
        plan, exact = TangentProp().plan(line(), ["", "xx"]), AutoDiff().plan(line(), ["", "xx"])
        for partial in ("", "xx"):
            assert near(plan(network)[partial], exact(network)[partial], 1e-13)
        assert plan.backend == "layerwise"
    assert find_chain(odd()).odd
    assert not find_chain(odd().network).odd
    compare(factorise(odd()), line(), ["", "xx"])


@pytest.mark.parametrize("backend", ["layerwise", "taylor", "partitions", "nested"])
def test_every_other_backend_takes_its_plain_forward(backend):
    network, partials = odd(2), ["", "xx+yy", "xy"]
    jet = TangentProp(rule="partitions") if backend == "partitions" else TangentProp(backend=backend)
    jet, expected = jet.plan(plane(), partials)(network), TangentProp(backend="fused").plan(plane(), partials)(network)
    for partial in partials:
        assert near(jet[partial], expected[partial], 1e-13)


def test_a_function_is_no_network():
    with pytest.raises(ValueError, match=r"expected a module, came function: give an nn.Module"):
        Odd(lambda x: x)
