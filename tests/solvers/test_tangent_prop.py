"""Taylor propagation beyond the operator contract: series of residuals, the one-call gradient, backends, refusals."""

import math
import pickle

import pytest
import sympy
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import remove_parametrizations

from solvers import MLP, AutoDiff, Points, TangentProp, Torch, TwoLayer, problems, register_rule, train
from solvers.functions import exp, sin
from solvers.jacobian import jacobian
from solvers.networks.substitution import call_with
from solvers.objective import Objective
from solvers.operators import compiled
from solvers.operators.chain import find_chain
from solvers.operators.rules import RULES
from solvers.problems import Coefficient, Problem

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
    column = "xy".index(along)
    value = nested_residual(net, x, residual)
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
    high = TangentProp().plan(line(), ["x" * 24])
    high(network())
    assert high.backend == "fused"
    higher = TangentProp().plan(line(), ["x" * 25])
    higher(network())
    assert higher.backend == "taylor"
    two = TangentProp().plan(plane(), ["x" * 13, "y"])
    two(network(2))
    assert two.backend == "taylor"


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
    plan = TangentProp().plan(line(), ["xx"])
    copied = pickle.loads(pickle.dumps(plan))
    assert torch.equal(copied(network())["xx"], plan(network())["xx"])
    assert repr(plan) == "TangentPropPlan(3 rows at 9 points, backend='fused')"


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
    [(TangentProp(backend="fused"), 25), (TangentProp(backend="layerwise"), 25), (TangentProp(rule="partitions"), 15)],
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


# What a reader of the code found, each once a wrong number.


def gradients_of(backend, net, loss, points=None):
    plan = TangentProp(backend=backend).plan(points or line(), ["", "x", "xx", "xxx"])
    return plan.value_and_grad(net, loss)


@pytest.mark.parametrize("backend", ["fused", "layerwise", "taylor"])
def test_a_loss_may_use_the_network_and_its_parameters_beside_the_jet(backend):
    net = network()
    edge = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)

    def loss(jet):
        return sum_of_squares(jet) + net(edge).square().sum() + 0.1 * sum(p.square().sum() for p in net.parameters())

    _, gradient = gradients_of(backend, net, loss)
    jet = AutoDiff().plan(line(), ["", "x", "xx", "xxx"])(net)
    expected = torch.autograd.grad(loss(jet), list(net.parameters()))
    assert torch.allclose(gradient, torch.cat([g.reshape(-1) for g in expected]), rtol=1e-12, atol=1e-13)


class Extended(nn.Sequential):
    """A chain with a parameter of its own that only the loss uses."""

    def __init__(self):
        super().__init__(nn.Linear(1, 5), nn.Tanh(), nn.Linear(5, 1))
        self.scale = nn.Parameter(torch.tensor(1.7))


def reordered():
    net = nn.Sequential(nn.Linear(1, 5), nn.Tanh(), nn.Linear(5, 1))
    weight_norm(net[0])
    remove_parametrizations(net[0], "weight")
    return net


@pytest.mark.parametrize("make", [Extended, reordered])
def test_the_flat_gradient_follows_the_networks_own_list_of_parameters(make):
    torch.manual_seed(0)
    net = make().double()

    def loss(jet):
        return sum_of_squares(jet) * getattr(net, "scale", 1.0)

    _, gradient = gradients_of("fused", net, loss)
    jet = AutoDiff().plan(line(), ["", "x", "xx", "xxx"])(net)
    expected = torch.autograd.grad(loss(jet), list(net.parameters()), materialize_grads=True)
    assert torch.allclose(gradient, torch.cat([g.reshape(-1) for g in expected]), rtol=1e-12, atol=1e-13)


def unfitting():
    wrong_width = nn.Sequential(nn.Linear(1, 40), nn.Tanh(), nn.Linear(3, 1)).double()
    short_bias = network()
    short_bias[2].bias = nn.Parameter(torch.ones(1, dtype=torch.float64))
    single_bias = network()
    single_bias[2].bias.data = single_bias[2].bias.data.float()
    return {"width": wrong_width, "bias": short_bias, "dtype": single_bias}


@pytest.mark.parametrize("name", ["width", "bias", "dtype"])
def test_layers_that_do_not_fit_are_left_to_torch(name):
    net = unfitting()[name]
    assert find_chain(net) is None
    plan = TangentProp().plan(line(), ["xx"])
    if name == "bias":
        assert torch.allclose(plan(net)["xx"], AutoDiff().plan(line(), ["xx"])(net)["xx"], rtol=1e-12, atol=1e-13)
    if name == "width":
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            plan(net)


def test_what_a_class_does_beside_forward_is_never_passed_over():
    class Tripled(nn.Sequential):
        def __call__(self, x):
            return 3 * super().__call__(x)

    net = Tripled(*network())
    assert torch.allclose(
        TangentProp().plan(line(), ["xx"])(net)["xx"],
        AutoDiff().plan(line(), ["xx"])(net)["xx"],
        rtol=1e-12,
        atol=1e-13,
    )
    hooked = network()
    hooked[0].weight.register_hook(torch.zeros_like)
    _, gradient = gradients_of("auto", hooked, sum_of_squares)
    assert (gradient[:10] == 0).all()
    assert (gradient[10:] != 0).any()


@pytest.mark.parametrize("backend", ["fused", "layerwise"])
def test_a_loss_that_is_linear_in_the_jet_is_refused_a_second_derivative_too(backend):
    net = network()
    weight = net[0].weight
    value = TangentProp(backend=backend).plan(line(), ["x"])(net)["x"].mean() + weight.square().sum()
    (first,) = torch.autograd.grad(value, weight, create_graph=True)
    with pytest.raises(RuntimeError, match=r"differentiated once"):
        torch.autograd.grad(first.sum(), weight)


def test_memory_given_to_a_parameter_anew_is_an_error_and_never_read():
    net = network()
    value = sum_of_squares(TangentProp().plan(line(), ["", "x", "xx", "xxx"])(net))
    net[2].weight.data = torch.full_like(net[2].weight, 7.0)
    with pytest.raises(RuntimeError, match="memory of a parameter was replaced"):
        torch.autograd.grad(value, list(net.parameters()))


def test_a_graph_that_was_freed_is_refused_and_one_that_was_kept_is_not():
    net = network()
    for retain in (True, False):
        value = sum_of_squares(TangentProp().plan(line(), ["", "x", "xx", "xxx"])(net))
        first = torch.autograd.grad(value, net[0].weight, retain_graph=retain)[0]
        if retain:
            assert torch.equal(torch.autograd.grad(value, net[0].weight)[0], first)
        else:
            with pytest.raises(RuntimeError, match="second time"):
                torch.autograd.grad(value, net[0].weight)


def test_a_network_that_stops_gradients_inside_is_refused():
    def stopped(x):
        with torch.no_grad():
            inner = torch.sin(x)
        return inner * x

    with pytest.raises(TypeError, match=r"switches the recording of gradients.*use AutoDiff\(\)"):
        TangentProp().plan(line(), ["x"])(stopped)
    with torch.no_grad():
        assert TangentProp().plan(line(), ["x"])(lambda x: torch.sin(x) * x)["x"].isfinite().all()


def test_inference_mode_and_networks_without_biases():
    net = TwoLayer(1, 6).double()
    plan = TangentProp().plan(line(), ["xx"])
    expected = plan(net)["xx"].detach()
    with torch.inference_mode():
        assert torch.equal(plan(net)["xx"], expected)


@pytest.mark.filterwarnings("ignore:Implicit dimension choice")
@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.cat([x, x * x], dim=1).softmax(dim=1)[:, :1],
        lambda x: nn.Softmax(dim=None)(torch.cat([x, x * x], dim=1))[:, :1],
        lambda x: (x ** torch.arange(4.0, dtype=torch.float64)).sum(dim=1, keepdim=True),
    ],
)
def test_softmax_and_powers_are_those_of_torch(function):
    # Eight points leave out 0, where torch's own second derivative of a power is NaN.
    jets = [op.plan(line(8), ["x", "xx"])(function) for op in (TangentProp(), AutoDiff())]
    for letters in ("", "x", "xx"):
        assert torch.allclose(jets[0][letters], jets[1][letters], rtol=1e-11, atol=1e-12)


def test_a_softplus_with_a_kink_is_refused():
    with pytest.raises(TypeError, match="threshold of 20 or above, came 1"):
        TangentProp().plan(line(), ["x"])(nn.Sequential(nn.Linear(1, 3), nn.Softplus(threshold=1)).double())


def test_a_rule_gets_every_argument():
    class Scaled(nn.Module):
        def forward(self, x, factor, shift=0.0):
            return x.mul_(factor) + shift

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Scaled()

        def forward(self, x):
            return self.inner(x, 3.0, shift=1.0)

    register_rule(Scaled, lambda module, x, factor, shift=0.0: factor * x + shift)
    try:
        jet = TangentProp().plan(line(), ["x"])(Outer())
    finally:
        del RULES[Scaled]
    assert torch.equal(jet["x"], torch.full((9, 1), 3.0, dtype=torch.float64))
    assert torch.equal(jet[""], 3 * line().interior + 1)


def test_multiples_of_a_planned_sum_and_what_is_only_inside_it():
    net = network(2)
    jet = TangentProp().plan(plane(), ["laplacian"])(net)
    assert torch.allclose(jet["-2xx - 2yy"], -2 * jet["laplacian"])
    with pytest.raises(KeyError, match=r"'xx' was not planned, it is only inside the sum 'xx\+yy'"):
        jet["xx"]
    with pytest.raises(KeyError, match="'xx' was not planned"):
        jet["xx+2yy"]


@pytest.mark.parametrize("operator", [TangentProp(), AutoDiff()])
def test_axes_with_names_of_several_letters_have_a_laplacian(operator):
    axes = tuple(f"x{i}" for i in range(1, 13))
    torch.manual_seed(0)
    points = Points(torch.rand(5, 12).double(), axes=axes)
    jet = operator.plan(points, ["laplacian"])(lambda x: (x**2 * torch.arange(1.0, 13.0).double()).sum(1, keepdim=True))
    assert torch.allclose(jet["laplacian"], torch.full((5, 1), 156.0, dtype=torch.float64))


def test_a_text_in_place_of_a_list_is_refused():
    with pytest.raises(ValueError, match=r"expected a list of partials, came the text 'xx': write \['xx'\]"):
        TangentProp().plan(line(), "xx")


def test_the_jacobian_of_paired_faces_and_of_parameters_beside_linear_maps():
    problem = problems.allen_cahn()
    torch.manual_seed(0)
    results = []
    for operator in (TangentProp(), AutoDiff()):
        points = problem.sample(interior=12, boundary=8, initial=5, seed=0)
        torch.manual_seed(0)
        objective = Objective(problem, MLP(2, [6]).double(), operator, points)
        results.append(objective(objective.vector).jacobian)
    assert torch.allclose(results[0], results[1], rtol=1e-10, atol=1e-11)
    symmetric, slope = Points(torch.tensor([[-1.0], [1.0]]).double(), axes="x"), nn.Parameter(torch.ones(1).double())
    net = network()
    net.slope = slope
    with_slope = lambda x: net(x) + slope * x  # noqa: E731
    rows = jacobian(TangentProp().plan(symmetric, [""]), with_slope, lambda jet: jet[""], [slope])
    assert rows.flatten().tolist() == [-1.0, 1.0]


def test_a_coefficient_beyond_its_bound_counts_as_the_bound_and_is_put_there():
    base = problems.poisson_1d()
    problem = Problem(
        "inverse",
        base.domain,
        ("xx",),
        lambda jet, x, c: c["k"] * jet["xx"] + 1.0,
        base.conditions,
        coefficients=(Coefficient("k", 1.0, 0.5, 2.0),),
    )
    points = problem.sample(interior=10, seed=0)
    objective = Objective(problem, network(), TangentProp(), points)
    with torch.no_grad():
        objective.vector[-1] = 9.0
    beyond = float(objective(objective.vector).value.detach())
    objective.parameters.clamp()
    assert float(objective(objective.vector).value.detach()) == beyond
    with torch.no_grad():
        objective.vector[-1] = 1.5
    assert float(objective(objective.vector).value.detach()) != beyond
    with torch.no_grad():
        objective.vector[-1] = 2.0
    assert float(objective.parameters.coefficients["k"].detach()) == 2.0


def test_a_residual_that_is_first_read_without_gradients_still_has_one():
    problem = problems.helmholtz((1, 1))
    points = problem.sample(interior=20, boundary=8, seed=0)
    for operator in (TangentProp(), AutoDiff()):
        objective = Objective(problem, network(2), operator, points)
        evaluation = objective(objective.vector)
        with torch.no_grad():
            assert evaluation.residual.isfinite().all()
        read_first = evaluation.gradient
        assert torch.equal(read_first, Objective(problem, network(2), operator, points)(objective.vector).gradient)


@pytest.mark.parametrize("operator", [TangentProp(), AutoDiff()])
def test_the_gradient_of_an_evaluation_whose_parameters_have_moved_on_is_refused(operator):
    problem = problems.helmholtz((1, 1))
    objective = Objective(problem, network(2), operator, problem.sample(interior=20, boundary=8, seed=0))
    evaluation = objective(objective.vector)
    assert float(evaluation.value.detach()) > 0
    with torch.no_grad():
        objective.vector.mul_(1.1)
    with pytest.raises(RuntimeError, match="parameters have changed since this evaluation"):
        _ = evaluation.gradient
    assert objective(objective.vector).gradient.isfinite().all()
