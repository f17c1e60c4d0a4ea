"""The Jacobian of residuals: against one backward pass a row, for every operator, and against the gradient."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from solvers import MLP, AutoDiff, FiniteDifference, Points, TangentProp, problems
from solvers.jacobian import directional, jacobian
from solvers.objective import Objective
from solvers.problems import Coefficient, Problem
from solvers.tangent_kernel import tangent_kernel

OPERATORS = {
    "nested": AutoDiff(),
    "central": FiniteDifference(order=4),
    "taylor": TangentProp(),
    "torch": TangentProp(backend="taylor"),
    "partitions": TangentProp(rule="partitions"),
    "nested-taylor": TangentProp(backend="nested"),
}
every_operator = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)


class Scaled(nn.Module):
    """A parameter that is no part of a linear map."""

    def __init__(self):
        super().__init__()
        self.inner, self.slope = MLP(2, [7], 2), nn.Parameter(torch.tensor(1.3))

    def forward(self, x):
        return torch.tanh(self.slope * self.inner(x))


def normalised():
    network = MLP(2, [7, 6], 2)
    weight_norm(network[0])
    weight_norm(network[2])
    return network


def tied():
    layer = nn.Linear(7, 7)
    return nn.Sequential(nn.Linear(2, 7), nn.Tanh(), layer, nn.Tanh(), layer, nn.Tanh(), nn.Linear(7, 2, bias=False))


NETWORKS = {"mlp": lambda: MLP(2, [7, 6], 2), "normalised": normalised, "tied": tied, "scaled": Scaled}
every_network = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)


def residual(jet):
    return torch.cat([jet["laplacian"][:, :1] * jet[""][:, 1:], jet["x"][:, 1:] ** 2, jet["y"][:, :1]], dim=1)


def setting(operator, make):
    torch.manual_seed(3)
    points = Points(torch.rand(11, 2).double(), axes="xy")
    network = make().double()
    return operator.plan(points, ["", "x", "y", "laplacian"]), network, list(network.parameters())


def tolerance(operator):
    # Sums of finite differences in another order differ by their round-off, eps / h^2.
    return 1e-12 if operator.exact else 1e-9


def row_by_row(plan, network, parameters):
    rows = []
    for entry in residual(plan(network)).reshape(-1):
        gradients = torch.autograd.grad(entry, parameters, retain_graph=True, materialize_grads=True)
        rows.append(torch.cat([g.reshape(-1) for g in gradients]))
    return torch.stack(rows)


@every_operator
@every_network
def test_every_row_is_the_gradient_of_its_residual(operator, make):
    plan, network, parameters = setting(operator, make)
    expected = row_by_row(plan, network, parameters)
    got = jacobian(plan, network, residual, parameters)
    assert got.shape == (33, sum(p.numel() for p in parameters))
    assert float((got - expected).abs().max()) <= tolerance(operator) * float(expected.abs().max())


@every_operator
@every_network
def test_a_directional_derivative_is_the_jacobian_times_the_direction(operator, make):
    plan, network, parameters = setting(operator, make)
    tangents = [torch.randn_like(p) for p in parameters]
    got = directional(plan, network, residual, parameters, tangents)
    expected = row_by_row(plan, network, parameters) @ torch.cat([t.reshape(-1) for t in tangents])
    assert float((got - expected).abs().max()) <= tolerance(operator) * float(expected.abs().max())


def test_only_the_parameters_asked_for_have_columns():
    plan, network, parameters = setting(TangentProp(), NETWORKS["mlp"])
    network[0].weight.requires_grad_(False)
    chosen = parameters[2:]
    got = jacobian(plan, network, residual, chosen)
    assert torch.allclose(got, row_by_row(plan, network, chosen), rtol=1e-12, atol=1e-13)


def inverse_problem():
    base = problems.poisson_1d()
    return Problem(
        name="inverse",
        domain=base.domain,
        partials=("xx", ""),
        residual=lambda jet, x, c: c["k"] * jet["xx"] + c["a"] ** 2 * jet[""] + torch.sin(3 * x),
        conditions=base.conditions,
        coefficients=(Coefficient("k", 1.5), Coefficient("a", 0.7)),
    )


@pytest.mark.parametrize("problem", [problems.helmholtz((1, 2)), inverse_problem()], ids=["helmholtz", "inverse"])
@pytest.mark.parametrize("operator", [AutoDiff(), TangentProp()], ids=["nested", "taylor"])
def test_the_loss_its_gradient_and_a_direction_follow_from_residual_and_jacobian(problem, operator):
    torch.manual_seed(0)
    points = problem.sample(interior=20, boundary=8, seed=0)
    objective = Objective(problem, MLP(len(problem.axes), [9, 9]).double(), operator, points)
    objective.attention = torch.linspace(0.5, 2.0, 20).double()
    evaluation = objective(objective.vector)
    r, j = evaluation.scaled_residual, evaluation.jacobian
    assert float(r @ r) == pytest.approx(float(evaluation.value.detach()), rel=1e-13)
    assert torch.allclose(2 * j.T @ r, evaluation.gradient, rtol=1e-11, atol=1e-12)
    assert torch.allclose(evaluation.gram, j @ j.T)
    vector = torch.randn_like(objective.vector)
    assert torch.allclose(evaluation.directional(vector), j @ vector, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("operator", [TangentProp(), AutoDiff()])
def test_residuals_without_columns_are_refused(operator):
    plan, network, parameters = setting(operator, NETWORKS["mlp"])
    with pytest.raises(ValueError, match=r"shape \(points, equations\), came \(11,\) at 11 points: keep columns"):
        jacobian(plan, network, lambda jet: jet["laplacian"][:, 0], parameters)


@pytest.mark.parametrize("count", [1, 128, 300])
def test_the_tangent_kernel_is_whole_whatever_the_number_of_its_blocks(count):
    network = MLP(2, [5, 4]).double()
    network[2].bias.requires_grad_(False)
    plan = TangentProp().plan(Points(torch.rand(count, 2, dtype=torch.float64), axes=("x", "y")), [""])
    parameters = [each for each in network.parameters() if each.requires_grad]
    rows = jacobian(plan, network, lambda jet: jet[""], parameters)
    found = tangent_kernel(plan, network, parameters)
    assert torch.allclose(found, rows @ rows.T, rtol=1e-12, atol=1e-14)
