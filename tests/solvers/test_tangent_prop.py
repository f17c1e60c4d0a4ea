"""Taylor propagation beyond the operator contract: series of residuals, the one-call gradient, backends, refusals."""

import importlib
import math
import pickle

import pytest
import sympy
import torch
from torch import nn

from solvers import MLP, AutoDiff, Points, Series, TangentProp, Torch, problems, train
from solvers.functions import exp, sin
from solvers.networks.substitution import call_with
from solvers.operators import compiled

BACKENDS = ("fused", "layerwise", "taylor", "partitions", "nested")
every_backend = pytest.mark.parametrize("backend", BACKENDS)


def line(count=9, dtype=torch.float64):
    return Points(torch.linspace(-1.0, 1.0, count)[:, None], axes="x").to(dtype=dtype)


def plane(count=9, dtype=torch.float64):
    return Points(torch.rand(count, 2, generator=torch.Generator().manual_seed(0)), axes="xy").to(dtype=dtype)


def network(inputs=1, outputs=1, dtype=torch.float64):
    torch.manual_seed(1)
    return MLP(inputs, [10, 10], outputs).to(dtype)


# Residuals as series.


def selfsimilar(jet, x, coefficients):
    """The residual of the n-TangentProp paper, Eq. 7, with lambda = 1/3."""
    return -jet[""] / 3 + (4 * x / 3 + jet[""]) * jet["x"]


@pytest.mark.parametrize("backend", ["auto", "layerwise", "taylor", "partitions", "nested"])
def test_a_residual_of_series_has_the_derivatives_that_sympy_finds(backend):
    t = sympy.symbols("t")
    u = sympy.sin(2 * t) * sympy.exp(-t)
    residual = -u / 3 + (4 * t / 3 + u) * sympy.diff(u, t)
    points = Points([[0.3], [-0.8]], axes="x")
    order = 5
    plan = TangentProp(backend=backend).plan(points, ["", "x"])
    jet = plan.series(lambda x: sin(2 * x) * exp(-x), order=order)
    found = selfsimilar(jet, plan.variable(order=order), {}).derivatives()
    assert found.shape == (order + 1, 2, 1)
    for m in range(order + 1):
        for i, at in enumerate([sympy.Rational(3, 10), sympy.Rational(-4, 5)]):
            assert found[m, i, 0].item() == pytest.approx(float(sympy.diff(residual, t, m).subs(t, at)), rel=1e-12)


@pytest.mark.parametrize("along", ["x", "y"])
@pytest.mark.parametrize("backend", ["auto", "taylor"])
def test_series_of_a_residual_in_two_dimensions_equal_nested_differentiation(along, backend):
    points, net, order = plane(), network(2), 3

    def residual(jet, x, coefficients):
        return jet["xx+yy"] + sin(3 * x[:, 0:1]) * jet[""] ** 2 + jet["xy"]

    plan = TangentProp(backend=backend).plan(points, ["", "xx+yy", "xy"])
    found = residual(plan.series(net, order, along), plan.variable(order, along), {}).derivatives()
    x = points.interior.clone().requires_grad_(True)
    moved = Points(x, axes="xy")
    column = "xy".index(along)
    value = nested_residual(net, x, residual)
    assert moved.axes == ("x", "y")
    for m in range(order + 1):
        scale = max(1.0, float(value.detach().abs().max()))
        assert float((found[m] - value).detach().abs().max()) <= 1e-12 * scale
        if m < order:
            value = torch.autograd.grad(value.sum(), x, create_graph=True)[0][:, column : column + 1]


def nested_residual(net, x, residual):
    u = net(x)
    first = torch.autograd.grad(u.sum(), x, create_graph=True)[0]
    xx_xy = torch.autograd.grad(first[:, 0].sum(), x, create_graph=True)[0]
    yy = torch.autograd.grad(first[:, 1].sum(), x, create_graph=True)[0][:, 1:]
    return residual({"": u, "xx+yy": xx_xy[:, :1] + yy, "xy": xx_xy[:, 1:]}, x, {})


def test_a_sobolev_loss_has_the_gradient_of_nested_differentiation():
    points, net = line(), network()
    plan = TangentProp().plan(points, ["", "x"])
    parameters = list(net.parameters())

    def loss_of(jet, x):
        return selfsimilar(jet, x, {}).derivatives().square().sum()

    found = torch.autograd.grad(loss_of(plan.series(net, 4), plan.variable(4)), parameters)
    x = points.interior.clone().requires_grad_(True)
    u = net(x)
    value = selfsimilar({"": u, "x": torch.autograd.grad(u.sum(), x, create_graph=True)[0]}, x, {})
    total = value.square().sum()
    for _ in range(4):
        value = torch.autograd.grad(value.sum(), x, create_graph=True)[0]
        total = total + value.square().sum()
    expected = torch.autograd.grad(total, parameters, materialize_grads=True)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-11, atol=1e-11)


def test_series_of_several_axes_ask_for_the_one_to_follow():
    plan = TangentProp().plan(plane(), ["x"])
    with pytest.raises(ValueError, match="one of the axes x, y to differentiate along, came None"):
        plan.series(network(2), 2)
    with pytest.raises(ValueError, match="came 'z'"):
        plan.variable(2, "z")


# One call.


def sum_of_squares(jet):
    return sum((jet["x" * k] / math.factorial(k)).square().mean() for k in range(4))


@every_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_value_and_gradient_equal_those_of_nested_differentiation(backend, dtype):
    net, points = network(dtype=dtype), line(33, dtype)
    partials = ["", "x", "xx", "xxx"]
    value, gradient = TangentProp(backend=backend).plan(points, partials).value_and_grad(net, sum_of_squares)
    expected = sum_of_squares(AutoDiff().plan(points, partials)(net))
    flat = torch.cat([g.reshape(-1) for g in torch.autograd.grad(expected, list(net.parameters()))])
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    assert not value.requires_grad
    assert float(value) == pytest.approx(float(expected.detach()), rel=tolerance)
    assert float((gradient - flat).abs().max()) <= tolerance * float(flat.abs().max())


def test_frozen_and_shared_layers_keep_their_places_in_the_flat_gradient():
    layer = nn.Linear(6, 6)
    net = nn.Sequential(nn.Linear(1, 6), nn.Tanh(), layer, nn.Tanh(), layer, nn.Tanh(), nn.Linear(6, 1)).double()
    net[0].weight.requires_grad_(False)
    plan = TangentProp().plan(line(), ["", "x", "xx", "xxx"])
    _, gradient = plan.value_and_grad(net, sum_of_squares)
    trained = [p for p in net.parameters() if p.requires_grad]
    expected = torch.autograd.grad(sum_of_squares(AutoDiff().plan(line(), ["xxx", "xx", "x"])(net)), trained)
    assert plan.backend == "fused"
    assert torch.allclose(gradient, torch.cat([g.reshape(-1) for g in expected]), rtol=1e-12, atol=1e-13)


def test_a_loss_that_leaves_partials_out_and_a_network_without_parameters():
    plan = TangentProp().plan(line(), ["", "xx"])
    _, gradient = plan.value_and_grad(network(), lambda jet: jet["xx"].sum())
    assert float(gradient.abs().max()) > 0
    with pytest.raises(ValueError, match="Tanh has no trainable parameter"):
        plan.value_and_grad(nn.Tanh(), lambda jet: jet["xx"].sum())


@pytest.mark.parametrize("optimizer", [Torch(torch.optim.Adam, lr=1e-2), Torch(torch.optim.LBFGS, lr=1.0)])
def test_training_takes_the_one_call_and_gives_the_losses_of_nested_differentiation(optimizer):
    losses = {}
    for operator in (AutoDiff(), TangentProp()):
        problem = problems.helmholtz((1, 1))
        points = problem.sample(interior=70, boundary=12, seed=0)
        run = train(problem, network(2), operator, optimizer, points=points, steps=12)
        losses[type(operator)] = run.loss
    assert losses[TangentProp] == pytest.approx(losses[AutoDiff], rel=1e-7)


# Backends.


def test_the_backend_is_chosen_by_network_and_can_be_seen():
    plan = TangentProp().plan(line(), ["xx"])
    assert plan.backend == "auto"
    plan(network())
    assert plan.backend == "fused"
    plan(lambda x: x * x)
    assert plan.backend == "layerwise"
    high = TangentProp().plan(line(), ["x" * 13])
    high(network())
    assert high.backend == "taylor"


def test_hooks_are_never_passed_over():
    net = network()
    net[0].register_forward_hook(lambda module, given, result: 2 * result)
    plan = TangentProp().plan(line(), ["xx"])
    assert torch.allclose(plan(net)["xx"], AutoDiff().plan(line(), ["xx"])(net)["xx"], rtol=1e-12, atol=1e-13)
    assert plan.backend == "layerwise"
    with nn.modules.module.register_module_forward_hook(lambda m, x, y: 3 * y if isinstance(m, nn.Linear) else y):
        net = network()
        assert torch.allclose(plan(net)["xx"], AutoDiff().plan(line(), ["xx"])(net)["xx"], rtol=1e-12, atol=1e-13)


def test_without_a_compiler_torch_does_the_work_and_says_so_once(monkeypatch, recwarn):
    monkeypatch.setattr(compiled, "find_spec", lambda name: None)
    compiled.compiler_available.cache_clear()
    try:
        plan = TangentProp().plan(line(), ["xx"])
        with pytest.warns(RuntimeWarning, match="llvmlite is not installed.*pip install llvmlite"):
            got = plan(network())["xx"]
        plan(network())
        assert len(recwarn) == 0
        assert plan.backend == "taylor"
        assert torch.allclose(got, AutoDiff().plan(line(), ["xx"])(network())["xx"], rtol=1e-12, atol=1e-13)
        with pytest.raises(ValueError, match="llvmlite installed"):
            TangentProp(backend="fused").plan(line(), ["xx"])(network())
    finally:
        compiled.compiler_available.cache_clear()


def test_importing_solvers_compiles_and_loads_no_compiler():
    import subprocess
    import sys

    code = "import sys, solvers; assert 'llvmlite' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_operators_are_values():
    assert pickle.loads(pickle.dumps(TangentProp(backend="taylor"))) == TangentProp(backend="taylor")
    assert repr(TangentProp(rule="partitions")) == "TangentProp(rule='partitions', backend='auto')"
    assert importlib.import_module("solvers").TangentProp is TangentProp
    assert isinstance(Series.variable(torch.zeros(1, 1), 2), Series)


# Bad input.


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"expected a backend of auto, fused.*came 'numba'"):
        TangentProp(backend="numba")
    with pytest.raises(ValueError, match="expected a rule of recurrence, partitions, came 'bell'"):
        TangentProp(rule="bell")
    with pytest.raises(ValueError, match="has its own backend, came backend='fused'"):
        TangentProp(rule="partitions", backend="fused")


@pytest.mark.parametrize(
    ("operator", "order"),
    [(TangentProp(backend="fused"), 13), (TangentProp(backend="layerwise"), 13), (TangentProp(rule="partitions"), 15)],
)
def test_orders_beyond_a_backend_are_refused(operator, order):
    with pytest.raises(ValueError, match="reaches"):
        operator.plan(line(), ["x" * order])


def test_a_network_that_fused_code_cannot_take_is_refused_where_it_was_asked_for():
    gated = lambda x: x * torch.tanh(x)  # noqa: E731
    with pytest.raises(ValueError, match=r"a chain Linear, activation.*came function.*use backend='auto'"):
        TangentProp(backend="fused").plan(line(), ["xx"])(gated)


@pytest.mark.parametrize("backend", ["auto", "layerwise", "taylor", "partitions", "nested"])
def test_points_of_other_axes_or_another_dtype_are_refused(backend):
    plan = TangentProp(backend=backend).plan(plane(), ["xx"])
    with pytest.raises((ValueError, RuntimeError), match=r"1 inputs, the points have the 2 axes|shapes cannot be mult"):
        plan(network(1))
    with pytest.raises((ValueError, RuntimeError), match=r"float32.*float64|same dtype|Double"):
        plan(network(2, dtype=torch.float32))


def test_parameters_changed_between_forward_and_backward_are_an_error():
    net = network()
    for backend in ("fused", "layerwise", "taylor"):
        loss = TangentProp(backend=backend).plan(line(), ["xx"])(net)["xx"].sum()
        with torch.no_grad():
            net[2].weight.mul_(1.5)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


def test_second_derivatives_and_batches_of_cotangents_point_to_the_torch_backend():
    net = network()
    parameters = list(net.parameters())
    for backend in ("fused", "layerwise"):
        jet = TangentProp(backend=backend).plan(line(), ["xx"])(net)
        first = torch.autograd.grad(jet["xx"].square().sum(), parameters[0], create_graph=True)[0]
        with pytest.raises(RuntimeError, match=r"differentiated once.*TangentProp\(backend='taylor'\)"):
            torch.autograd.grad(first.sum(), parameters[0])
        jet = TangentProp(backend=backend).plan(line(), ["xx"])(net)
        seeds = torch.ones(3, 9, 1, dtype=torch.float64)
        with pytest.raises(RuntimeError, match="one cotangent at a time"):
            torch.autograd.grad(jet["xx"], parameters[0], seeds, is_grads_batched=True)
    jet = TangentProp(backend="taylor").plan(line(), ["xx"])(net)
    first = torch.autograd.grad(jet["xx"].square().sum(), parameters[0], create_graph=True)[0]
    reference = AutoDiff().plan(line(), ["xx"])(net)["xx"].square().sum()
    expected = torch.autograd.grad(reference, parameters[0], create_graph=True)[0]
    second = [torch.autograd.grad(g.square().sum(), parameters[2])[0] for g in (first, expected)]
    assert torch.allclose(second[0], second[1], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("backend", ["layerwise", "taylor", "partitions"])
def test_what_is_detached_is_a_constant_as_in_torch(backend):
    cut = lambda x: x.detach()[:, :1] * x[:, :1] + torch.tanh(x[:, 1:]).detach()  # noqa: E731
    jets = [op.plan(plane(), ["x", "y"])(cut) for op in (TangentProp(backend=backend), AutoDiff())]
    for letter in "xy":
        assert torch.equal(jets[0][letter], jets[1][letter])


# Differentiated twice.


@pytest.mark.parametrize("operator", [TangentProp(backend="taylor"), TangentProp(rule="partitions")])
@pytest.mark.parametrize("partials", [["", "x", "xxx"], ["laplacian", "xy"], ["bilaplacian", "y"]])
def test_first_and_second_derivatives_of_jets_in_the_parameters(operator, partials):
    axes = "x" if "xxx" in partials else "xy"
    torch.manual_seed(0)
    net = MLP(len(axes), [3], 2).double()
    names = [name for name, _ in net.named_parameters()]
    points = Points(torch.rand(2, len(axes)).double(), axes=axes)
    plan = operator.plan(points, partials)

    def partial(*values):
        jet = plan(lambda rows: call_with(net, dict(zip(names, values, strict=True)), rows))
        return tuple(jet[name] for name in partials)

    start = tuple(p.detach().clone().requires_grad_(True) for p in net.parameters())
    assert torch.autograd.gradcheck(partial, start, atol=1e-6, fast_mode=False)
    assert torch.autograd.gradgradcheck(partial, start, atol=1e-5, fast_mode=True)
