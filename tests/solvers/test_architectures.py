"""Every architecture with every backend of `TangentProp`: nested differentiation, 50 digits, and what is refused."""

import copy
from functools import lru_cache

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from solvers.networks import (
    MLP,
    Atan,
    FourierMLP,
    Gaussian,
    HardBoundary,
    ModifiedMLP,
    RandomFeatures,
    ResidualMLP,
    Sine,
    TwoLayer,
    factorise,
)
from solvers.operators import TangentProp, register_rule, rules
from solvers.operators.chain import find_chain
from solvers.points import Points

F64, F32 = torch.float64, torch.float32
PARTIALS = ("", "x", "xy", "xxyy", "yyyy", "laplacian")


class Own(nn.Module):
    """What a user may write: two branches, a gate, stacked and joined, a power and a quotient."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.last = nn.Linear(2, 5), nn.Linear(2, 5, bias=False), nn.Linear(12, 1)

    def forward(self, x):
        left, right = torch.sin(self.left(x)), torch.sigmoid(self.right(x))
        pair = torch.stack([left, right], dim=1)
        gated = left * right + pair.mean(dim=1) / (1 + right**2)
        return self.last(torch.cat([gated, x, pair[:, 0] ** 3], dim=-1))


class Features(RandomFeatures):
    """The matrix of least squares as a network of many components."""

    def forward(self, x):
        return self.features(x)


class Attention(nn.Module):
    """Softmax weights between a few directions."""

    def __init__(self):
        super().__init__()
        self.keys, self.values = nn.Linear(2, 4), nn.Linear(2, 4)

    def forward(self, x):
        return (torch.softmax(self.keys(x), dim=-1) * self.values(x)).sum(dim=-1, keepdim=True)


class WrittenOut(nn.LayerNorm):
    """nn.LayerNorm in elementary operations: torch errs from the third nested derivative on (pytorch#175754)."""

    def forward(self, x):
        centred = x - x.mean(-1, keepdim=True)
        return centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + self.eps) * self.weight + self.bias


def normalised():
    network = nn.Sequential(nn.Linear(2, 6), nn.LayerNorm(6, eps=0.1), nn.SiLU(), nn.Linear(6, 1))
    nn.init.normal_(network[1].weight)
    return network


def without_biases():
    return nn.Sequential(
        nn.Linear(2, 7, bias=False), nn.Tanh(), nn.Linear(7, 5, bias=False), nn.Tanh(), nn.Linear(5, 1, bias=False)
    )


def weight_normalised():
    network = MLP(2, [8, 6])
    for layer in network:
        if isinstance(layer, nn.Linear):
            weight_norm(layer)
    return network


def nested_sequential():
    inner = nn.Sequential(Sine(), nn.Linear(7, 6), nn.Identity(), Sine())
    return nn.Sequential(nn.Sequential(nn.Linear(2, 7), inner), nn.Sequential(nn.Linear(6, 1)))


def in_a_disk():
    return HardBoundary(
        MLP(2, [8, 8]), lambda x: 1 - (x * x).sum(dim=-1, keepdim=True), lambda x: torch.exp(x[:, :1]) * x[:, 1:]
    )


ACTIVATIONS = {
    "tanh": nn.Tanh,
    "sine": Sine,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "gaussian": Gaussian,
    "atan": Atan,
}
ARCHITECTURES = {f"mlp-{name}": lambda kind=kind: MLP(2, [9, 6], activation=kind) for name, kind in ACTIVATIONS.items()}
ARCHITECTURES |= {
    "deep": lambda: MLP(2, [6] * 5),
    "several-outputs": lambda: MLP(2, [8, 6], 3),
    "one-layer": lambda: nn.Linear(2, 2),
    "two-layer": lambda: TwoLayer(2, 20, scale=2.0),
    "without-biases": without_biases,
    "weight-normalised": weight_normalised,
    "factorised": lambda: factorise(MLP(2, [8, 6])),
    "nested-sequential": nested_sequential,
    "modified": lambda: ModifiedMLP(2, [6, 6, 6], 2),
    "residual": lambda: ResidualMLP(2, 7, 2, activation=nn.GELU),
    "fourier": lambda: FourierMLP(2, 3, [8], scale=0.3),
    "hard-boundary": in_a_disk,
    "features": lambda: Features(2, 4, activation=Sine),
    "random-features": lambda: RandomFeatures(2, 6),
    "own": Own,
    "attention": Attention,
    "layer-norm": normalised,
    "mixed": lambda: nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 6), Sine(), nn.Linear(6, 1)),
    "options": lambda: nn.Sequential(nn.Linear(2, 6), nn.Softplus(2.0), nn.GELU("tanh"), nn.Linear(6, 1)),
}
CHAINS = [f"mlp-{name}" for name in list(ACTIVATIONS)[:6]]
CHAINS += (
    "deep several-outputs one-layer two-layer without-biases weight-normalised factorised nested-sequential".split()
)
OPERATORS = {
    "auto": TangentProp(),
    "fused": TangentProp(backend="fused"),
    "layerwise": TangentProp(backend="layerwise"),
    "taylor": TangentProp(backend="taylor"),
    "partitions": TangentProp(rule="partitions"),
    "nested": TangentProp(backend="nested"),
}
PAIRS = [(name, backend) for backend in OPERATORS for name in (CHAINS if backend == "fused" else ARCHITECTURES)]
PAIRS.remove(("layer-norm", "nested"))


@lru_cache
def built(name: str) -> nn.Module:
    """A network whose float64 weights are float32 numbers, so that both precisions have the same exact values."""
    torch.manual_seed(7)
    network = ARCHITECTURES[name]().float()
    if name == "random-features":
        nn.init.normal_(network.coefficient)
    network.double()
    for tensor in tensors(network):
        tensor.requires_grad_(True)
    return network


def points(dtype=F64, n=11) -> Points:
    rows = 2 * torch.rand(n, 2, generator=torch.Generator().manual_seed(3)) - 1
    return Points(rows.to(dtype), axes="xy")


def tensors(network: nn.Module) -> list[torch.Tensor]:
    """Parameters, and the buffers that a network draws once: gradients must reach both."""
    return [*network.parameters(), *network.buffers()]


def differentiated(network, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Every partial by one torch.autograd.grad after the other, with nothing of this package."""
    x = x.clone().requires_grad_(True)

    def along(values, axis):
        columns = [
            torch.autograd.grad(c.sum(), x, create_graph=True, materialize_grads=True)[0][:, axis]
            if c.requires_grad
            else torch.zeros(len(x), dtype=x.dtype)
            for c in values.unbind(1)
        ]
        return torch.stack(columns, dim=1)

    known = {"": network(x)}
    for letters in ("x", "y", "xx", "xy", "yy", "xxx", "xxy", "yyy", "xxxx", "xxyy", "yyyy"):
        known[letters] = along(known[letters[:-1]], "xy".index(letters[-1]))
    known["laplacian"] = known["xx"] + known["yy"]
    known["bilaplacian"] = known["xxxx"] + 2 * known["xxyy"] + known["yyyy"]
    return {name: known[name] for name in (*PARTIALS, "bilaplacian")}


def written_out(network: nn.Module) -> nn.Module:
    """Return a network of the same parameters that torch differentiates correctly."""
    layers = list(network) if isinstance(network, nn.Sequential) else []
    for i, layer in enumerate(layers):
        if isinstance(layer, nn.LayerNorm):
            layers[i] = WrittenOut(layer.normalized_shape, layer.eps)
            layers[i].weight, layers[i].bias = layer.weight, layer.bias
    return nn.Sequential(*layers) if layers else network


@lru_cache
def exact(name: str):
    """Partials and the gradient of a loss in which each counts, in float64."""
    network = built(name)
    partials = differentiated(written_out(network), points().rows)
    del partials["bilaplacian"]
    scales = {key: max(1e-3, float(value.detach().abs().max())) for key, value in partials.items()}
    gradient = torch.autograd.grad(loss(partials, scales), tensors(network), materialize_grads=True)
    return {key: value.detach() for key, value in partials.items()}, scales, gradient


def loss(partials, scales):
    return sum(((partials[name] / scale) ** 2).mean() for name, scale in scales.items())


def flat(gradient):
    return torch.cat([g.reshape(-1) for g in gradient])


@pytest.mark.parametrize(("name", "backend"), PAIRS)
def test_partials_and_gradients_are_those_of_nested_differentiation(name, backend):
    expected, scales, gradient = exact(name)
    network = built(name)
    plan = OPERATORS[backend].plan(points(), PARTIALS)
    jet = plan(network)
    assert plan.backend == backend or backend == "auto"
    for key, value in expected.items():
        error = float((jet[key].detach() - value).abs().max())
        assert error <= 1e-12 * max(1.0, float(value.abs().max())), (key, error)
    found = torch.autograd.grad(
        loss({key: jet[key] for key in PARTIALS}, scales), tensors(network), materialize_grads=True
    )
    assert [g.shape for g in found] == [g.shape for g in gradient]
    difference = float((flat(found) - flat(gradient)).abs().max())
    assert difference <= 1e-12 * float(flat(gradient).abs().max()), difference


@pytest.mark.parametrize(("name", "backend"), PAIRS)
def test_single_precision_keeps_six_digits(name, backend):
    expected, _, _ = exact(name)
    network = copy.deepcopy(built(name)).float()
    jet = OPERATORS[backend].plan(points(F32), PARTIALS)(network)
    for key, value in expected.items():
        assert jet[key].dtype == F32
        error = float((jet[key].detach() - value).abs().max())
        assert error <= 5e-6 * max(1.0, float(value.abs().max())), (key, error)


@pytest.mark.parametrize("backend", ["auto", "layerwise", "taylor", "partitions"])
@pytest.mark.parametrize("name", "mlp-tanh several-outputs modified hard-boundary layer-norm own".split())
def test_sums_of_directions_before_propagation(name, backend):
    # Asked for alone, Laplacian and bilaplacian need no partial apart: their directions are summed on the way.
    network = built(name)
    plan = OPERATORS[backend].plan(points(), ("laplacian", "bilaplacian"))
    assert any(group.collapsed for group in plan.layout.groups)
    jet = plan(network)
    partials = differentiated(written_out(network), points().rows)
    expected = {"laplacian": partials["laplacian"], "bilaplacian": partials["bilaplacian"]}
    for key, value in expected.items():
        error = float((jet[key] - value).detach().abs().max())
        assert error <= 1e-12 * max(1.0, float(value.detach().abs().max())), (key, error)
    found, reference = (
        flat(torch.autograd.grad(loss(p, dict.fromkeys(expected, 1.0)), tensors(network), materialize_grads=True))
        for p in (jet, expected)
    )
    assert float((found - reference).abs().max()) <= 1e-12 * float(reference.abs().max())


@pytest.mark.parametrize("name", CHAINS)
def test_value_and_grad_of_chains(name):
    expected, scales, _ = exact(name)
    network = built(name)
    plan = TangentProp(backend="fused").plan(points(), PARTIALS)
    value, gradient = plan.value_and_grad(network, lambda jet: loss({key: jet[key] for key in PARTIALS}, scales))
    reference = loss(differentiated(network, points().rows), scales)
    expected = flat(torch.autograd.grad(reference, list(network.parameters()), materialize_grads=True))
    assert float(value) == pytest.approx(float(reference.detach()), rel=1e-12)
    assert float((gradient - expected).abs().max()) <= 1e-12 * float(expected.abs().max())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_auto_takes_compiled_code_where_it_can(name):
    plan = TangentProp().plan(points(), PARTIALS)
    plan(built(name))
    assert plan.backend == ("fused" if find_chain(built(name)) is not None else "layerwise")
    assert name not in CHAINS or plan.backend == "fused"


# ---- one axis: every order to 50 digits -----------------------------------------------------------------------------

HIGHEST = 9
IN_MPMATH = {nn.Tanh: mpmath.tanh, Sine: mpmath.sin, nn.GELU: lambda z: z * mpmath.ncdf(z)}
LINE = torch.tensor([[-0.75], [0.25], [1.125]])


def perceptron(activation) -> nn.Module:
    torch.manual_seed(11)
    return MLP(1, [12] * 3, activation=activation)


@lru_cache
def to_fifty_digits(activation) -> list[list[float]]:
    """Derivatives 0 to 9 at the points of LINE."""
    with mpmath.workdps(50):
        linears = [layer for layer in perceptron(activation) if isinstance(layer, nn.Linear)]
        weights = [(layer.weight.tolist(), layer.bias.tolist()) for layer in linears]

        def u(x):
            hidden = [x]
            for weight, bias in weights[:-1]:
                hidden = [
                    IN_MPMATH[activation](mpmath.fdot(row, hidden) + b) for row, b in zip(weight, bias, strict=True)
                ]
            return mpmath.fdot(weights[-1][0][0], hidden) + weights[-1][1][0]

        series = [mpmath.taylor(u, mpmath.mpf(x), HIGHEST) for x in LINE.flatten().tolist()]
        return [[float(c * mpmath.factorial(k)) for k, c in enumerate(row)] for row in series]


@pytest.mark.parametrize("dtype", [F64, F32], ids=["float64", "float32"])
@pytest.mark.parametrize("backend", ["fused", "layerwise", "taylor", "partitions"])
@pytest.mark.parametrize("activation", IN_MPMATH, ids=lambda kind: kind.__name__)
def test_orders_to_nine_against_fifty_digits(activation, backend, dtype):
    expected = torch.tensor(to_fifty_digits(activation), dtype=F64)
    letters = ["x" * k for k in range(HIGHEST + 1)]
    jet = OPERATORS[backend].plan(Points(LINE.to(dtype), axes="x"), letters)(perceptron(activation).to(dtype))
    for k, name in enumerate(letters):
        error = (jet[name].detach().double()[:, 0] - expected[:, k]).abs().max() / expected[:, k].abs().max()
        assert float(error) <= (1e-14 if dtype == F64 else 2e-6), (k, float(error))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    widths=st.lists(st.integers(1, 20), min_size=1, max_size=4),
    inputs=st.integers(1, 3),
    outputs=st.integers(1, 3),
    activation=st.sampled_from(list(ACTIVATIONS.values())[:6]),
    order=st.sampled_from([0, 2, 5]),
    n=st.integers(1, 70),
    dtype=st.sampled_from([F64, F32]),
    seed=st.integers(0, 2**31),
)
def test_compiled_chains_equal_the_series_in_torch(widths, inputs, outputs, activation, order, n, dtype, seed):
    torch.manual_seed(seed)
    network = MLP(inputs, widths, outputs, activation).to(dtype)
    at = Points(torch.randn(n, inputs, dtype=dtype), axes="xyz"[:inputs])
    letters = ["x" * k for k in range(order + 1)]
    weights = torch.randn(order + 1, n, outputs, dtype=dtype)
    close = 1e-11 if dtype == F64 else 5e-4
    found, gradients = [], []
    for backend in ("fused", "taylor"):
        jet = TangentProp(backend=backend).plan(at, letters)(network)
        found.append(torch.stack([jet[name] for name in letters]))
        gradients.append(flat(torch.autograd.grad((found[-1] * weights).sum(), list(network.parameters()))))
    for fused, taylor in (found, gradients):
        fused, taylor = fused.detach(), taylor.detach()
        assert fused.shape == taylor.shape
        assert float((fused - taylor).abs().max()) <= close * max(1.0, float(taylor.abs().max()))


# ---- what is not finite ---------------------------------------------------------------------------------------------

SERIES = ["auto", "fused", "layerwise", "taylor", "partitions"]


@pytest.mark.parametrize("backend", SERIES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_point_that_is_not_finite_spoils_itself_alone(backend, bad):
    network = built("mlp-tanh")
    plan = OPERATORS[backend].plan(points(n=19), PARTIALS)
    clean = plan(network)
    # Points refuse it; what a plan was given may be overwritten all the same.
    plan.rows = plan.rows.clone()
    plan.rows[5, 0] = bad
    spoilt = plan(network)
    others = [i for i in range(19) if i != 5]
    for name in PARTIALS:
        assert torch.equal(clean[name][others], spoilt[name][others])
        if bad != bad:
            assert spoilt[name][5].isnan().all()
    torch.autograd.grad(spoilt["laplacian"].sum(), list(network.parameters()), materialize_grads=True)


@pytest.mark.parametrize("backend", SERIES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_spoils_everything_and_raises_nothing(backend, bad):
    network = copy.deepcopy(built("mlp-tanh"))
    with torch.no_grad():
        network[2].weight[1, 1] = bad
    jet = OPERATORS[backend].plan(points(), PARTIALS)(network)
    for name in PARTIALS:
        assert bool(jet[name].isnan().all()) if bad != bad else not bool(jet[name][:, 0].isinf().all())
    gradient = torch.autograd.grad(jet["laplacian"].sum(), list(network.parameters()), materialize_grads=True)
    assert bad == bad or all(bool(g.isnan().any()) for g in gradient[:2])


def test_order_thirty_in_single_precision():
    at = Points(LINE, axes="x")
    plan = TangentProp().plan(at, ["x" * 30])
    found = plan(perceptron(nn.Tanh))["x" * 30].detach()
    exactly = TangentProp(backend="taylor").plan(at.to(dtype=F64), ["x" * 30])
    expected = exactly(perceptron(nn.Tanh).double())["x" * 30].detach()
    assert plan.backend == "layerwise" or plan.backend == "taylor"
    assert found.isfinite().all()
    assert float((found - expected).abs().max()) <= 1e-3 * float(expected.abs().max())


# ---- what is refused ------------------------------------------------------------------------------------------------


class Branch(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Cube(nn.Module):
    def forward(self, x):
        return x.pow_(3)


class Offset(nn.Module):
    """A linear map that torch writes in place."""

    def __init__(self):
        super().__init__()
        self.offset = nn.Parameter(torch.tensor([0.5], dtype=F64))

    def forward(self, x):
        return x.mul_(2).add_(self.offset)


def between(module: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(2, 6), module, nn.Linear(6, 1)).double()


@pytest.mark.parametrize("backend", ["auto", "layerwise", "taylor", "partitions"])
@pytest.mark.parametrize(
    ("module", "operation"),
    [
        (nn.MaxPool1d(1), "max_pool1d"),
        (Branch(), "__gt__"),
        (Cube(), "pow_"),
        (nn.Hardtanh(), "hardtanh"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_modules_that_series_cannot_pass_are_named(module, operation, backend):
    plan = OPERATORS[backend].plan(points(), ["xx"])
    with pytest.raises(TypeError, match=rf"(?s)^{type(module).__name__}: expected .*{operation}.*register_rule"):
        plan(between(module))


@pytest.mark.parametrize("backend", ["auto", "layerwise", "taylor", "partitions"])
@pytest.mark.parametrize("module", [nn.ReLU(), nn.LeakyReLU()], ids=["ReLU", "LeakyReLU"])
def test_relu_is_refused_above_first_order_and_says_why(module, backend):
    network, at = between(module), points()
    first = OPERATORS[backend].plan(at, ["x"])(network)
    expected = TangentProp(backend="nested").plan(at, ["x"])(network)
    assert torch.allclose(first["x"], expected["x"], rtol=1e-13, atol=1e-15)
    with pytest.raises(TypeError, match=rf"^{type(module).__name__}: expected a smooth activation .* order 2.*zero"):
        OPERATORS[backend].plan(at, ["xx"])(network)


@pytest.mark.parametrize("backend", ["auto", "layerwise", "taylor", "partitions"])
def test_a_rule_stands_in_for_a_forward(backend, monkeypatch):
    monkeypatch.setattr(rules, "RULES", {})
    register_rule(Cube, lambda module, x: x * x * x)
    register_rule(Offset, lambda module, x: 2 * x + module.offset)
    network = nn.Sequential(between(Cube()), Offset())
    at = points()
    jet = OPERATORS[backend].plan(at, PARTIALS)(network)
    cube = nn.Sequential(network[0][0], Power(), network[0][2], Affine(network[1].offset))
    expected = differentiated(cube, at.rows)
    for name in PARTIALS:
        assert torch.allclose(jet[name], expected[name], rtol=1e-12, atol=1e-12), name
    gradient = torch.autograd.grad((jet["xx"] + jet[""]).sum(), list(network.parameters()), materialize_grads=True)
    assert float(gradient[-1]) == pytest.approx(len(at.rows))
    assert not any("forward" in vars(module) for module in network.modules())


class Power(nn.Module):
    def forward(self, x):
        return x**3


class Affine(nn.Module):
    def __init__(self, offset):
        super().__init__()
        self.offset = offset

    def forward(self, x):
        return 2 * x + self.offset


def test_a_rule_is_for_classes_of_modules():
    with pytest.raises(TypeError, match="expected a class of modules, came Tanh"):
        register_rule(nn.Tanh(), lambda module, x: x)


@pytest.mark.parametrize("backend", ["auto", "fused"])
def test_a_network_of_other_inputs_is_refused(backend):
    with pytest.raises(ValueError, match="MLP takes 3 inputs, the points have the 2 axes x, y"):
        OPERATORS[backend].plan(points(), ["x"])(MLP(3, [4]).double())


@pytest.mark.parametrize("backend", ["layerwise", "taylor", "partitions", "nested"])
def test_a_network_of_other_inputs_is_refused_by_torch(backend):
    with pytest.raises(RuntimeError, match="shape"):
        OPERATORS[backend].plan(points(), ["x"])(MLP(3, [4]).double())


def test_a_chain_of_another_type_is_refused():
    with pytest.raises(ValueError, match=r"MLP is in torch\.float32, the points are in torch\.float64: use"):
        TangentProp().plan(points(), ["x"])(MLP(2, [4]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64])
def test_points_of_other_types_are_refused(dtype):
    with pytest.raises((ValueError, TypeError), match="expected .*came .*" + str(dtype).removeprefix("torch.")):
        TangentProp().plan(Points(torch.ones(3, 2, dtype=dtype), axes="xy"), ["x"])


def test_no_points_are_refused():
    with pytest.raises(ValueError, match="expected at least one point"):
        TangentProp().plan(Points(torch.empty(0, 2), axes="xy"), ["x"])


@pytest.mark.parametrize("backend", SERIES)
def test_weights_changed_before_the_backward_pass_are_noticed(backend):
    network = MLP(2, [5, 4]).double()
    value = OPERATORS[backend].plan(points(), ["xx"])(network)["xx"].sum()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()


def test_compiled_code_differentiates_once_and_says_so():
    parameters = list((network := MLP(2, [5, 4]).double()).parameters())
    for backend in ("auto", "fused", "layerwise"):
        jet = OPERATORS[backend].plan(points(), ["xx"])(network)
        gradient = torch.autograd.grad(jet["xx"].square().sum(), parameters, create_graph=True, materialize_grads=True)
        with pytest.raises(RuntimeError, match=r"differentiated once.*backend='taylor'"):
            torch.autograd.grad(flat(gradient).square().sum(), parameters)


def test_torch_series_differentiate_twice():
    network = MLP(2, [5, 4]).double()
    parameters = list(network.parameters())

    def curvature(backend):
        jet = OPERATORS[backend].plan(points(), ["xx"])(network)
        gradient = torch.autograd.grad(jet["xx"].square().sum(), parameters, create_graph=True, materialize_grads=True)
        return flat(torch.autograd.grad(flat(gradient).square().sum(), parameters, materialize_grads=True))

    expected = curvature("nested")
    for backend in ("taylor", "partitions"):
        assert float((curvature(backend) - expected).abs().max()) <= 1e-11 * float(expected.abs().max())


@pytest.mark.parametrize("backend", ["fused", "layerwise"])
def test_orders_above_the_limit_are_refused_by_compiled_code(backend):
    with pytest.raises(ValueError, match=r"reaches order 24 .*came order 25 .*use backend='auto' or 'taylor'"):
        TangentProp(backend=backend).plan(Points(LINE, axes="x"), ["x" * 25])


def test_what_is_no_chain_is_refused_by_fused():
    with pytest.raises(ValueError, match=r"expects a chain Linear, activation, .*came ModifiedMLP"):
        TangentProp(backend="fused").plan(points(), ["x"])(built("modified"))


def test_unknown_backends_and_rules_are_refused():
    with pytest.raises(ValueError, match=r"expected a backend of auto, .*came 'compiled'"):
        TangentProp(backend="compiled")
    with pytest.raises(ValueError, match=r"expected a rule of recurrence, partitions, came 'bell'"):
        TangentProp(rule="bell")
    with pytest.raises(ValueError, match="has its own backend, came backend='fused'"):
        TangentProp(rule="partitions", backend="fused")
