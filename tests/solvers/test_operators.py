"""One contract for every derivative operator; a new one is a line in OPERATORS.

Points lie among nodes, which operators with stencils reach for and the others do not see.

The manufactured functions are u_c = sin(w_c . x + c) + exp(v_c . x) / 4, c = 0, 1, ...: not symmetric, with
all derivatives known. Five components make AutoDiff take its forward mode.
"""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import sympy
import torch
from torch import nn

from dynamics.differences import central_weights
from solvers.jet import parse_partial
from solvers.networks import MLP, RandomFeatures
from solvers.operators import RBFFD, AutoDiff, FiniteDifference, Operator, TangentProp
from solvers.points import Points

EPS = {torch.float64: 2.0**-52, torch.float32: 2.0**-23}


@dataclass(frozen=True)
class Case:
    """An operator, with the number of components that it is asked for."""

    operator: Operator
    components: int = 2


OPERATORS = {
    "reverse": Case(AutoDiff()),
    "forward": Case(AutoDiff(), 5),
    "taylor": Case(TangentProp()),
    "taylor-torch": Case(TangentProp(backend="taylor"), 3),
    "partitions": Case(TangentProp(rule="partitions")),
    "central-2": Case(FiniteDifference(order=2)),
    "central-4": Case(FiniteDifference(order=4)),
    "rbf-fd": Case(RBFFD(order=8)),
}
EXACT = {name: case for name, case in OPERATORS.items() if case.operator.exact}
CENTRAL = {name: case for name, case in OPERATORS.items() if isinstance(case.operator, FiniteDifference)}

LINE = ["x", "xx", "xxx", "xxxx"]
PLANE = ["x", "y", "xx", "xy", "yy", "xxx", "xxy", "xyy", "yyy", "xxxx", "xxxy", "xxyy", "xyyy", "yyyy"]
IN_1D = [("x", letters) for letters in LINE]
IN_2D = [("xy", letters) for letters in PLANE]

every_operator = pytest.mark.parametrize("case", OPERATORS.values(), ids=OPERATORS)
pointwise_operators = pytest.mark.parametrize("case", [c for n, c in OPERATORS.items() if n != "rbf-fd"], ids=repr)
exact_operators = pytest.mark.parametrize("case", EXACT.values(), ids=EXACT)
central_operators = pytest.mark.parametrize("case", CENTRAL.values(), ids=CENTRAL)
every_partial = pytest.mark.parametrize(("axes", "letters"), IN_1D + IN_2D)


class Manufactured(nn.Module):
    """sin(w . x + c) + exp(v . x) / 4 with its derivatives in closed form."""

    def __init__(self, dimension, components, dtype=torch.float64):
        super().__init__()
        wave = [[1.3 - 0.2 * c + 0.3 * i for i in range(dimension)] for c in range(components)]
        growth = [[0.4 + 0.1 * c - 0.5 * i for i in range(dimension)] for c in range(components)]
        self.wave = nn.Parameter(torch.tensor(wave, dtype=dtype))
        self.growth = nn.Parameter(torch.tensor(growth, dtype=dtype))
        self.phase = torch.arange(components, dtype=dtype)

    def forward(self, x):
        return torch.sin(x @ self.wave.T + self.phase) + torch.exp(x @ self.growth.T) / 4

    def partial(self, x, letters, axes):
        index = [axes.index(letter) for letter in letters]
        wave, growth = self.wave.detach().numpy(), self.growth.detach().numpy()
        x = x.double().numpy()
        argument = x @ wave.T + self.phase.numpy() + len(letters) * np.pi / 2
        return wave[:, index].prod(axis=1) * np.sin(argument) + growth[:, index].prod(axis=1) * np.exp(x @ growth.T) / 4


def points_in(axes, count=12, dtype=torch.float64):
    rows = torch.rand(count, len(axes), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return among_nodes(Points((2 * rows - 1).to(dtype), axes=axes))


def among_nodes(points):
    """The same points in a square lattice of nodes, at two times where there is time."""
    space = [axis for axis in points.axes if axis != "t"]
    line = torch.linspace(-1.7, 1.7, 61, dtype=points.interior.dtype)
    nodes = torch.cartesian_prod(*[line] * len(space)).reshape(-1, len(space))
    if "t" not in points.axes:
        return points.within(Points(nodes, axes=points.axes))
    times = torch.tensor([0.0, 1.0], dtype=nodes.dtype)
    at = times.repeat_interleave(len(nodes))[:, None]
    return points.within(Points(torch.cat([nodes.repeat(2, 1), at], dim=1), times=times, axes=points.axes))


def nested(network, x, letters, axes):
    """The oracle: one `torch.autograd.grad` after another, one component and one letter at a time."""
    x = x.clone().requires_grad_(True)
    columns = []
    for component in range(network(x).shape[1]):
        value = network(x)[:, component]
        for letter in letters:
            value = torch.autograd.grad(value.sum(), x, create_graph=True)[0][:, axes.index(letter)]
        columns.append(value)
    return torch.stack(columns, dim=1)


def monomials(axes, degree):
    """All monomials up to a total degree, as one network, with the exact derivative of each."""
    powers = [p for p in np.ndindex(*[degree + 1] * len(axes)) if sum(p) <= degree]

    def network(x):
        columns = []
        for power in powers:
            column = torch.ones_like(x[:, 0])
            for i, exponent in enumerate(power):
                for _ in range(exponent):
                    column = column * x[:, i]
            columns.append(column)
        return torch.stack(columns, dim=1)

    def derivative(x, letters):
        columns = []
        for power in powers:
            column = np.ones(len(x))
            for i, exponent in enumerate(power):
                times = letters.count(axes[i])
                left = exponent - times
                column = column * (math.perm(exponent, times) * x[:, i] ** left if left >= 0 else 0.0)
            columns.append(column)
        return np.stack(columns, axis=1)

    return network, derivative


@every_operator
def test_operators_keep_the_protocol(case):
    operator = case.operator
    assert isinstance(operator, Operator)
    assert operator.exact == (operator.order is None)
    assert operator.max_partial >= 4
    assert hash(operator) == hash(type(operator)(**vars(operator)))


@every_operator
@every_partial
def test_exact_on_polynomials_up_to_the_consistency_degree(case, axes, letters):
    degree = len(letters) + (case.operator.order or 3) - 1
    central = isinstance(case.operator, FiniteDifference)
    operator = FiniteDifference(step=0.25, order=case.operator.order) if central else case.operator
    network, derivative = monomials(axes, degree)
    points = points_in(axes, 5)
    plan = operator.plan(points, [letters])
    got = plan(network)[letters].detach()
    expected = derivative(points.interior.numpy(), letters)
    assert np.abs(expected).max() >= 1
    noise = 0.0 if operator.exact else 10 * plan.roundoff[letters]
    assert np.allclose(got.numpy(), expected, rtol=1e-11, atol=1e-10 + noise)


@central_operators
@every_partial
def test_error_falls_with_the_order_that_the_operator_states(case, axes, letters):
    network, points = Manufactured(len(axes), case.components), points_in(axes)
    exact = network.partial(points.interior, letters, axes)
    steps = 0.32 * 2.0 ** (-np.arange(5) / 2)
    errors = []
    for step in steps:
        plan = FiniteDifference(step=step, order=case.operator.order).plan(points, [letters])
        errors.append(np.sqrt(np.mean((plan(network)[letters].detach().numpy() - exact) ** 2)))
    rate = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert rate > case.operator.order - 0.3
    # All derivatives of the manufactured functions stay below 1.6^m + exp(1.3) / 4, m up to 8.
    assert errors[-1] < 50 * steps[-1] ** case.operator.order


@exact_operators
@every_partial
def test_exact_operators_equal_nested_autograd(case, axes, letters):
    network = MLP(len(axes), [10, 10], case.components).double()
    points = points_in(axes)
    got = case.operator.plan(points, [letters])(network)[letters].detach()
    expected = nested(network, points.interior, letters, axes).detach()
    assert got.shape == (12, case.components)
    assert float((got - expected).abs().max()) <= 1e-12 * max(1.0, float(expected.abs().max()))


@exact_operators
@pytest.mark.parametrize("letters", ["", "x", "y", "xy", "xxy", "xxxx", "xxyyy"])
def test_exact_operators_equal_symbolic_derivatives(case, letters):
    x, y = sympy.symbols("x y")
    formulas = [sympy.tanh(x * y + x / 2) * sympy.exp(-y), sympy.sin(x**2 + y)] * 3
    at = {x: sympy.Rational(3, 10), y: sympy.Rational(-7, 10)}
    expected = [sympy.diff(f, *letters).evalf(30, subs=at) if letters else f.evalf(30, subs=at) for f in formulas]

    def network(p):
        first = torch.tanh(p[:, 0] * p[:, 1] + p[:, 0] / 2) * torch.exp(-p[:, 1])
        second = torch.sin(p[:, 0] ** 2 + p[:, 1])
        return torch.stack([first, second] * 3, dim=1)[:, : case.components]

    jet = case.operator.plan(Points([[0.3, -0.7]], axes="xy"), [letters])(network)
    assert np.allclose(
        jet[letters][0].detach().numpy(), np.array(expected[: case.components], float), rtol=1e-12, atol=1e-13
    )


@every_operator
@pytest.mark.parametrize("letters", ["", "x", "xy", "xxyy"])
def test_gradients_in_the_parameters_pass_through_the_jet(case, letters):
    network = MLP(2, [8, 8], case.components).double()
    plan = case.operator.plan(points_in("xy"), [letters])
    weights = torch.linspace(-1.0, 2.0, case.components, dtype=torch.float64)

    def loss():
        return (plan(network)[letters] * weights).square().mean()

    gradients = torch.autograd.grad(loss(), list(network.parameters()), materialize_grads=True)
    start = [p.detach().clone() for p in network.parameters()]
    directions = [torch.randn_like(p) for p in start]

    def along(t):
        with torch.no_grad():
            for p, s, d in zip(network.parameters(), start, directions, strict=True):
                p.copy_(s + t * d)
            return float(loss())

    h = 1e-3
    numerical = (8 * (along(h) - along(-h)) - (along(2 * h) - along(-2 * h))) / (12 * h)
    exact = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True))
    # The loss of finite differences carries their round-off, and so does its difference quotient.
    assert exact == pytest.approx(numerical, rel=1e-7 if case.operator.exact else 1e-3)


@exact_operators
def test_parameter_gradients_equal_those_of_nested_autograd(case):
    network = MLP(2, [8, 8], case.components).double()
    points = points_in("xy")
    jet = case.operator.plan(points, ["xxy", "yy"])(network)
    got = torch.autograd.grad((jet["xxy"] * jet["yy"]).sum(), list(network.parameters()), materialize_grads=True)
    product = nested(network, points.interior, "xxy", "xy") * nested(network, points.interior, "yy", "xy")
    expected = torch.autograd.grad(product.sum(), list(network.parameters()), materialize_grads=True)
    for one, other in zip(got, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-12)


@every_operator
def test_no_graph_where_gradients_are_off(case):
    network = MLP(1, [4], case.components).double()
    plan = case.operator.plan(points_in("x"), ["xx"])
    with torch.no_grad():
        jet = plan(network)
    assert not jet["xx"].requires_grad
    assert not jet[""].requires_grad
    assert torch.equal(jet["xx"], plan(network)["xx"].detach())
    assert plan(network)["xx"].requires_grad


@every_operator
@every_partial
def test_linear_in_the_network(case, axes, letters):
    one, other = (MLP(len(axes), [6], case.components).double() for _ in range(2))
    plan = case.operator.plan(points_in(axes), [letters])
    both = plan(lambda x: 2.5 * one(x) - 0.5 * other(x))[letters]
    separate = 2.5 * plan(one)[letters] - 0.5 * plan(other)[letters]
    noise = 0.0 if case.operator.exact else 10 * plan.roundoff[letters]
    assert float((both - separate).detach().abs().max()) <= noise + 1e-12


@every_operator
@every_partial
def test_constants_have_no_derivative(case, axes, letters):
    plan = case.operator.plan(points_in(axes), [letters, ""])
    jet = plan(lambda x: torch.full((len(x), case.components), 7.0, dtype=x.dtype))
    # The weights of a stencil are solved for: their own round-off is a few times that of the values.
    solved = 10 if isinstance(case.operator, RBFFD) else 1
    bound = 0.0 if case.operator.exact else 7 * solved * plan.roundoff[letters]
    assert jet[letters].shape == (12, case.components)
    assert float(jet[letters].abs().max()) <= bound
    assert (jet[""] - 7).abs().max() <= (1e-12 if isinstance(case.operator, RBFFD) else 0)


@exact_operators
def test_a_network_that_ignores_an_axis_has_zero_derivatives_there(case):
    weights = torch.linspace(1.0, 2.0, case.components, dtype=torch.float64)
    jet = case.operator.plan(points_in("xy"), ["xx", "y", "xy"])(lambda p: torch.sin(p[:, :1]) * weights)
    assert float(jet["xx"].detach().abs().min()) > 0
    # Where series are propagated, these are differences of derivatives along slanted directions: zero to round-off.
    bound = 1e-15 if isinstance(case.operator, TangentProp) else 0.0
    assert float(jet["y"].detach().abs().max()) <= bound
    assert float(jet["xy"].detach().abs().max()) <= bound


@central_operators
@pytest.mark.parametrize("dtype", EPS)
@every_partial
def test_the_default_step_keeps_its_own_promise(case, axes, letters, dtype):
    network, points = Manufactured(len(axes), 1, dtype), points_in(axes, dtype=dtype)
    plan = case.operator.plan(points, [letters])
    got = plan(network)[letters]
    assert got.dtype == dtype
    order, power = case.operator.order, len(letters)
    # |u^(m + order)| <= 1.6^(m + order) + 0.4 and |u| <= 2.
    promise = plan.truncation[letters] * (1.6 ** (power + order) + 0.4) + 2 * plan.roundoff[letters]
    error = np.abs(got.detach().double().numpy() - network.partial(points.interior, letters, axes)).max()
    assert error <= promise
    assert promise < EPS[dtype] ** (order / (power + order)) * 1e3


@central_operators
@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("letters", ["x", "xx", "xxxx", "xy", "xxyy"])
def test_the_default_step_minimizes_the_sum_of_both_errors(case, letters, dtype):
    points = points_in("xy", dtype=dtype)

    def total(step):
        plan = FiniteDifference(step=step, order=case.operator.order).plan(points, [letters])
        assert plan.roundoff[letters] > 0
        return plan.truncation[letters] + plan.roundoff[letters]

    best = case.operator.plan(points, [letters]).steps[letters]
    assert total(best) < min(total(0.9 * best), total(1.1 * best))


@central_operators
def test_the_step_that_was_asked_for_is_used_for_every_partial(case):
    plan = FiniteDifference(step=0.125, order=case.operator.order).plan(points_in("x"), ["x", "xxxx"])
    assert plan.steps == {"x": 0.125, "xxxx": 0.125}
    reach = (plan.rows - plan.points.rows.repeat(len(plan.rows) // 12, 1)).abs().max()
    assert reach == pytest.approx(0.125 * (2 + case.operator.order // 2 - 1))


@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize("derivative", [1, 2, 3, 4])
def test_central_weights_are_the_rational_ones(derivative, order):
    offsets, weights, constant = central_weights(derivative, order)
    expected = sympy.finite_diff_weights(derivative, sympy.Matrix(offsets), 0)[derivative][-1]
    assert list(weights) == [float(w) for w in expected]
    power = derivative + order
    error = sum(w * j**power for w, j in zip(expected, offsets, strict=True)) / sympy.factorial(power)
    assert constant == pytest.approx(float(error), rel=1e-15)
    assert constant != 0


@every_operator
def test_float32_points_give_float32_partials(case):
    network = Manufactured(1, case.components, torch.float32)
    points = points_in("x", dtype=torch.float32)
    jet = case.operator.plan(points, ["x"])(network)
    assert jet["x"].dtype == jet[""].dtype == torch.float32
    error = np.abs(jet["x"].detach().numpy() - network.partial(points.interior, "x", "x")).max()
    assert error < (1e-5 if case.operator.exact else 1e-2)


@every_operator
def test_sums_aliases_and_the_value(case):
    network = Manufactured(2, case.components)
    points = points_in("xy")
    jet = case.operator.plan(points, ["laplacian", "xx+2xy", "bilaplacian"])(network)

    def exact(name):
        parts = parse_partial(name, ("x", "y")).items()
        return sum(c * network.partial(points.interior, letters, "xy") for letters, c in parts)

    assert np.allclose(jet[""].detach().numpy(), exact(""), rtol=1e-14, atol=1e-15)
    for name, tolerance in (("laplacian", 1e-6), ("xx+2xy", 1e-6), ("bilaplacian", 2e-3)):
        assert np.allclose(jet[name].detach().numpy(), exact(name), rtol=0, atol=tolerance)


@every_operator
def test_the_normal_derivative_on_a_circle(case):
    angle = torch.linspace(0.1, 6.0, 9, dtype=torch.float64)
    normals = torch.stack([angle.cos(), angle.sin()], dim=1)
    network = Manufactured(2, case.components)
    points = among_nodes(Points(torch.zeros(3, 2).double(), boundary=0.7 * normals, normals=normals, axes="xy"))
    jet = case.operator.plan(points, ["n"])(network)
    gradient = [network.partial(points.boundary, letter, "xy") for letter in "xy"]
    expected = gradient[0] * normals[:, :1].numpy() + gradient[1] * normals[:, 1:].numpy()
    assert np.allclose(jet.boundary["n"].detach().numpy(), expected, rtol=0, atol=1e-8)


@every_operator
def test_rows_are_interior_boundary_initial_and_ghosts_are_none(case):
    points = Points([[0.1, 0.2]], [[1.0, 0.3]], [[0.4, 0.0], [0.5, 0.0]], ghost=[[9.0, 9.0]], axes="xt")
    points = among_nodes(points)
    weights = torch.linspace(1.0, 2.0, case.components, dtype=torch.float64)
    jet = case.operator.plan(points, ["xt"])(lambda p: (p[:, :1] * p[:, 1:]) * weights)
    expected = torch.tensor([[0.02], [0.3], [0.0], [0.0]], dtype=torch.float64) * weights
    assert torch.allclose(jet[""], expected, rtol=1e-15)
    assert torch.allclose(jet["xt"], weights.expand(4, -1), rtol=0, atol=1e-6)
    assert jet.initial[""].shape == (2, case.components)


@every_operator
def test_all_columns_of_a_feature_matrix_at_once(case):
    network = RandomFeatures(1, 30, seed=4)
    points = points_in("x")
    got = case.operator.plan(points, ["xx"])(network.features)["xx"]
    expected = nested(network.features, points.interior, "xx", "x")
    tolerance = 1e-12 if case.operator.exact else 1e-6
    assert float((got - expected).detach().abs().max()) <= tolerance


@every_operator
@pytest.mark.cuda
def test_cuda_gives_the_partials_of_the_cpu(case, cuda):
    network = MLP(2, [16], case.components).double()
    points = points_in("xy")
    here = case.operator.plan(points, ["xx", "xy"])(network)
    there = case.operator.plan(points.to(cuda), ["xx", "xy"])(network.to(cuda))
    for letters in ("", "xx", "xy"):
        assert there[letters].device.type == "cuda"
        assert torch.allclose(there[letters].cpu(), here[letters], rtol=1e-6 if letters else 1e-12, atol=1e-6)


# Bad input.


@every_operator
def test_no_points_are_refused(case):
    with pytest.raises(ValueError, match="at least one point to differentiate at"):
        case.operator.plan(Points(np.empty((0, 1))), ["x"])


@every_operator
def test_letters_that_are_no_axis_are_refused(case):
    with pytest.raises(ValueError, match="'xz' is not a partial; z is no axis"):
        case.operator.plan(points_in("xy"), ["xz"])


@every_operator
def test_derivatives_above_the_highest_are_refused(case):
    highest = case.operator.max_partial
    letters = "x" * (highest + 1)
    expected = f"{type(case.operator).__name__} reaches derivatives up to order {highest}, '{letters}' has order"
    with pytest.raises(ValueError, match=expected):
        case.operator.plan(points_in("x"), [letters])
    case.operator.plan(points_in("x"), ["x" * highest])


@pytest.mark.parametrize("arguments", [{"order": 3}, {"order": 0}, {"step": 0.0}, {"step": -1e-3}, {"step": math.inf}])
def test_schemes_that_do_not_exist_are_refused(arguments):
    with pytest.raises(ValueError, match=f"came {next(iter(arguments.values()))}"):
        FiniteDifference(**arguments)


def test_a_step_of_nan_is_refused():
    with pytest.raises(ValueError, match="positive finite step"):
        FiniteDifference(step=math.nan)


def test_three_axes_in_one_partial_are_refused():
    with pytest.raises(ValueError, match=r"at most two axes in a partial, came 'xyz': use AutoDiff\(\)"):
        FiniteDifference().plan(points_in("xyz"), ["xyz"])


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("letters", ["x", "xx", "xxxx", "xy", "xxyy"])
@central_operators
def test_a_step_below_round_off_is_refused_with_the_smallest_that_is_not(case, letters, dtype):
    points = points_in("xy", dtype=dtype)
    smallest = 0.9 * EPS[dtype] ** (1 / len(letters))
    with pytest.raises(ValueError, match=f"below round-off for '{letters}' in {str(dtype)[6:]}") as caught:
        FiniteDifference(step=smallest, order=case.operator.order).plan(points, [letters])
    offered = float(str(caught.value).split("expected at least ")[1].split(",")[0])
    assert offered >= smallest
    FiniteDifference(step=offered, order=case.operator.order).plan(points, [letters])


def test_a_step_that_vanishes_beside_the_coordinates_is_refused():
    far = Points([[1e6]])
    with pytest.raises(ValueError, match=r"below round-off.*expected at least 2\.4e-10"):
        FiniteDifference(step=1e-10).plan(far, ["x"])
    FiniteDifference(step=2.4e-10).plan(far, ["x"])


@central_operators
def test_a_network_that_is_not_finite_outside_the_domain_is_an_error_that_names_the_point(case):
    points = Points([[0.5], [1e-9], [0.3]])
    plan = FiniteDifference(step=1e-3, order=case.operator.order).plan(points, ["x"])
    with pytest.raises(ValueError, match=r"not finite at a shifted point.*outside the domain") as caught:
        plan(torch.sqrt)
    where = float(str(caught.value).split("such as [")[1].split("]")[0])
    assert where < 0


@central_operators
def test_a_network_that_is_nowhere_finite_is_data(case):
    jet = case.operator.plan(points_in("x"), ["xx"])(lambda x: x * math.nan)
    assert jet["xx"].isnan().all()


@pointwise_operators
def test_a_network_that_is_infinite_at_one_point_is_data(case):
    points = Points([[0.5], [0.0]])
    jet = case.operator.plan(points, ["x"])(lambda x: (1 / x).expand(-1, case.components))
    assert not jet[""][1].isfinite().any()
    assert jet["x"][0].isfinite().all()
