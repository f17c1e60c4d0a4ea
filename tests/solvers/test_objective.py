"""The loss: value and gradient against a slow twin that goes point by point, shared evaluations, effective weights."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch

from solvers.domain import Box
from solvers.evaluation import mean_square
from solvers.networks import MLP
from solvers.objective import Objective
from solvers.operators import AutoDiff, FiniteDifference, TangentProp
from solvers.problems import Coefficient, Condition, Problem, helmholtz, poisson_1d
from solvers.problems.conditions import dirichlet


def second(network, point, axis):
    """One second derivative at one point, by nested autograd."""
    point = point.clone().requires_grad_(True)
    value = network(point[None])[0, 0]
    first = torch.autograd.grad(value, point, create_graph=True)[0][axis]
    return torch.autograd.grad(first, point, create_graph=True)[0][axis]


def slow_helmholtz_loss(network, points, boundary_weight, attention):
    """L = mean (lambda r)^2 + w mean u^2 for modes (1, 2) and k = 1, in a loop over points."""
    interior = []
    for i, point in enumerate(points.interior):
        x, y = point
        exact = torch.sin(math.pi * x) * torch.sin(2 * math.pi * y)
        left = second(network, point, 0) + second(network, point, 1) + network(point[None])[0, 0]
        interior.append((attention[i] * (left - (1 - 5 * math.pi**2) * exact)) ** 2)
    boundary = [network(point[None])[0, 0] ** 2 for point in points.boundary]
    return sum(interior) / len(interior) + boundary_weight * sum(boundary) / len(boundary)


@pytest.fixture
def weighted():
    problem = helmholtz((1, 2))
    condition = dataclasses.replace(problem.conditions[0], weight=7.0)
    return dataclasses.replace(problem, conditions=(condition,))


@pytest.mark.parametrize("attended", [False, True])
def test_value_and_gradient_equal_the_slow_twin(weighted, attended):
    points = weighted.sample(interior=11, boundary=8)
    network = MLP(2, [6, 6]).double()
    objective = Objective(weighted, network, AutoDiff(), points)
    attention = torch.rand(11, dtype=torch.float64) if attended else torch.ones(11, dtype=torch.float64)
    objective.attention = attention if attended else None
    evaluation = objective(objective.vector)
    expected = slow_helmholtz_loss(network, points, 7.0, attention)
    assert float(evaluation.value.detach()) == pytest.approx(float(expected.detach()), rel=1e-12)
    slow = torch.autograd.grad(expected, list(network.parameters()), materialize_grads=True)
    assert torch.allclose(evaluation.gradient, torch.cat([g.reshape(-1) for g in slow]), rtol=1e-10, atol=1e-10)


def test_raw_losses_are_unweighted_and_effective_weights_make_the_loss(weighted):
    points = weighted.sample(interior=30, boundary=12)
    objective = Objective(weighted, MLP(2, [6]).double(), AutoDiff(), points)
    objective.attention = torch.rand(30, dtype=torch.float64)
    evaluation = objective(objective.vector)
    residual = evaluation.residual.detach()
    boundary = objective(objective.vector).condition_residuals[0].detach()
    assert objective.terms == ("interior", "boundary")
    assert evaluation.raw.tolist() == pytest.approx(
        [float((residual**2).mean()), float((boundary**2).mean())], rel=1e-14
    )
    interior_weight = float(((objective.attention[:, None] * residual) ** 2).mean() / (residual**2).mean())
    assert evaluation.effective_weights.tolist() == pytest.approx([interior_weight, 7.0], rel=1e-14)
    assert float((evaluation.effective_weights * evaluation.raw).sum()) == pytest.approx(
        float(evaluation.value.detach()), rel=1e-14
    )


def test_a_term_that_vanishes_keeps_its_weight(weighted):
    network = MLP(2, [6]).double()
    torch.nn.init.zeros_(network[-1].weight)
    torch.nn.init.zeros_(network[-1].bias)
    objective = Objective(weighted, network, AutoDiff(), weighted.sample(interior=30, boundary=12))
    evaluation = objective(objective.vector)
    assert evaluation.raw[1] == 0
    assert evaluation.effective_weights.tolist() == [1.0, 7.0]


class Counting:
    """A function in the place of a module's forward that counts its calls."""

    def __init__(self, network):
        self.calls, self.forward = 0, network.forward
        network.forward = self

    def __call__(self, x):
        self.calls += 1
        return self.forward(x)


def test_evaluations_at_an_unchanged_vector_are_shared():
    network = MLP(1, [5]).double()
    objective = Objective(poisson_1d(), network, AutoDiff(), poisson_1d().sample(interior=6))
    counting = Counting(network)
    one = objective.begin_step()
    _ = one.value, one.gradient, one.residual, one.raw
    assert objective(objective.vector) is one
    assert objective.evaluations == 1
    assert counting.calls == 2  # interior and boundary
    objective.vector.add_(0.1)
    other = objective(objective.vector)
    assert other is not one
    assert objective.evaluations == 1
    assert float(other.value.detach()) != float(one.value.detach())
    assert objective.evaluations == 2
    assert counting.calls == 4


def test_nothing_is_computed_before_it_is_asked_for():
    network = MLP(1, [5]).double()
    objective = Objective(poisson_1d(), network, AutoDiff(), poisson_1d().sample(interior=6))
    counting = Counting(network)
    evaluation = objective.begin_step()
    assert counting.calls == 0
    _ = evaluation.residual
    assert counting.calls == 1
    assert objective.evaluated() == []


def test_other_values_are_written_into_the_buffer():
    network = MLP(1, [5]).double()
    objective = Objective(poisson_1d(), network, AutoDiff(), poisson_1d().sample(interior=6))
    before = float(objective(objective.vector).value.detach())
    elsewhere = objective.vector + 0.5
    value = float(objective(elsewhere).value.detach())
    assert value != before
    assert torch.equal(objective.vector, elsewhere)
    assert torch.equal(network[0].weight.detach().ravel(), elsewhere[:5])


def test_a_step_counts_its_gradients_and_measures_lengths_from_its_start():
    objective = Objective(poisson_1d(), MLP(1, [5]).double(), AutoDiff(), poisson_1d().sample(interior=6))
    objective.vector.add_(1.0)
    start = objective.begin_step()
    gradient = start.gradient
    objective.vector.add_(gradient, alpha=-1e-3)
    other = objective(objective.vector)
    _ = other.value
    assert len(objective.evaluated()) == 1
    _ = other.gradient
    first, second = objective.evaluated()
    assert first.loss == float(start.value.detach())
    assert first.gradient_norm == pytest.approx(float(gradient.norm()), rel=1e-14)
    assert first.step_length == 0.0
    assert second.step_length == pytest.approx(1e-3 * float(gradient.norm()), rel=1e-9)
    assert objective.update_norm() == second.step_length
    objective.begin_step()
    assert objective.evaluated() == []
    assert objective.update_norm() == 0.0


def test_a_step_that_begins_where_the_last_one_evaluated_uses_the_attention_of_its_own():
    """L-BFGS may leave an evaluation at its last vector; the next step has other attention weights and counts anew."""
    objective = Objective(poisson_1d(), MLP(1, [5]).double(), AutoDiff(), poisson_1d().sample(interior=6))
    objective.attention = torch.full((6,), 0.5, dtype=torch.float64)
    old = objective.begin_step()
    _ = old.gradient
    objective.attention = torch.full((6,), 2.0, dtype=torch.float64)
    new = objective.begin_step()
    expected = 4 * new.raw[0] + new.raw[1]
    assert float(new.value.detach()) == pytest.approx(float(expected), rel=1e-14)
    assert new.gradient.shape == objective.vector.shape
    assert len(objective.evaluated()) == 1


def first_order_system():
    """u' = v, v' = -u on (0, 1) with u(0) = v(0) = 1: two equations, two components."""

    def residual(jet, x, coefficients):
        u, v = jet[""][:, :1], jet[""][:, 1:]
        du, dv = jet["x"][:, :1], jet["x"][:, 1:]
        return torch.cat([du - v, dv + u], dim=1)

    start = Condition("start", "x-", ("",), lambda jet, x, normals, coefficients: jet[""] - 1.0)
    return Problem("oscillator", Box(("x",), (0.0,), (1.0,)), ("", "x"), residual, (start,), components=2)


@pytest.mark.parametrize("operator", [AutoDiff(), FiniteDifference(order=4)], ids=["autodiff", "central-4"])
def test_a_system_counts_the_sum_over_its_equations(operator):
    problem, network = first_order_system(), MLP(1, [5], 2).double()
    points = problem.sample(interior=9)
    objective = Objective(problem, network, operator, points)
    objective.attention = torch.linspace(0.1, 1.0, 9, dtype=torch.float64)
    evaluation = objective(objective.vector)
    total = 0.0
    for i, x in enumerate(points.interior):
        u, v = network(x[None])[0].tolist()
        du, dv = torch.autograd.functional.jacobian(lambda p: network(p[None])[0], x)[:, 0].tolist()
        total += float(objective.attention[i]) ** 2 * ((du - v) ** 2 + (dv + u) ** 2)
    u, v = network(torch.zeros(1, 1, dtype=torch.float64))[0].tolist()
    expected = total / 9 + (u - 1) ** 2 + (v - 1) ** 2
    assert float(evaluation.value.detach()) == pytest.approx(expected, rel=1e-12 if operator.exact else 1e-8)
    assert evaluation.residual.shape == (9, 2)


def test_the_mean_square_is_over_points_of_sums_over_equations():
    assert float(mean_square(torch.tensor([[1.0, 2.0], [3.0, 0.0]]))) == pytest.approx((5 + 9) / 2)


def test_unknown_coefficients_are_trained_beside_the_network():
    problem = Problem(
        "unknown-slope",
        Box(("x",), (0.0,), (1.0,)),
        ("x",),
        lambda jet, x, coefficients: jet["x"] - coefficients["slope"],
        (dirichlet(),),
        (Coefficient("slope", 2.5),),
    )
    network = MLP(1, [4]).double()
    objective = Objective(problem, network, AutoDiff(), problem.sample(interior=5))
    assert float(objective.vector[-1]) == 2.5
    evaluation = objective(objective.vector)
    expected = -2 * float(evaluation.residual.detach().mean())
    assert float(evaluation.gradient[-1]) == pytest.approx(expected, rel=1e-12)
    objective.vector[-1] = -1.0
    assert float(objective.parameters.coefficients["slope"].detach()) == -1.0


def test_points_and_operators_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="lie outside the domain"):
        points = poisson_1d().sample(interior=4)
        points.interior[0] = 2.0
        Objective(poisson_1d(), MLP(1, [4]), AutoDiff(), points)
    fifth = dataclasses.replace(poisson_1d(), partials=("xxxxx",))
    with pytest.raises(ValueError, match="reaches derivatives up to order 4"):
        Objective(fifth, MLP(1, [4]).double(), FiniteDifference(), poisson_1d().sample(interior=4))


def test_a_problem_without_conditions_has_one_term():
    problem = dataclasses.replace(poisson_1d(), conditions=())
    objective = Objective(problem, MLP(1, [4]).double(), AutoDiff(), problem.sample(interior=4))
    evaluation = objective(objective.vector)
    assert objective.terms == ("interior",)
    assert np.isclose(float(evaluation.value.detach()), float(evaluation.raw[0]), rtol=1e-15)


def small(operator=None, compiled=False):
    torch.manual_seed(0)
    problem = poisson_1d()
    return Objective(
        problem, MLP(1, [6]).double(), operator or TangentProp(), problem.sample(interior=9), compiled=compiled
    )


def fresh(objective):
    """The loss of a copy of the network as it is now."""
    network = copy.deepcopy(objective.network)
    other = Objective(objective.problem, network, AutoDiff(), objective.points)
    return other(other.vector)


@pytest.mark.parametrize("compiled", [True, False])
def test_values_that_are_written_past_the_vector_are_noticed(compiled):
    objective = small(compiled=compiled)
    before = objective(objective.vector)
    old = float(before.value.detach())
    objective.network.load_state_dict({name: 2 * x for name, x in objective.network.state_dict().items()})
    now, expected = objective.begin_step(), fresh(objective)
    assert float(now.value.detach()) == pytest.approx(float(expected.value.detach()), rel=1e-12) != old
    torch.testing.assert_close(now.gradient, expected.gradient)
    with pytest.raises(RuntimeError, match="ask objective"):
        _ = before.gradient


def test_an_evaluation_that_was_left_behind_says_nothing():
    objective = small()
    left = objective(objective.vector)
    objective.vector.mul_(2)
    for ask in ("value", "residual", "condition_residuals", "jacobian"):
        with pytest.raises(RuntimeError, match="have changed since this evaluation"):
            getattr(left, ask)


def test_the_value_may_be_asked_for_first_where_no_graph_is_wanted():
    objective = small(AutoDiff())
    with torch.no_grad():
        value = float(objective(objective.vector).value)
    assert value == pytest.approx(float(fresh(objective).value.detach()), rel=1e-12)
    torch.testing.assert_close(objective(objective.vector).gradient, fresh(objective).gradient)


@pytest.mark.parametrize(
    "take", [lambda o: small_on(o), lambda o: o.network.float(), lambda o: o.network.to(torch.float32)]
)
def test_a_network_that_no_longer_lies_in_the_vector_is_refused(take):
    objective = small()
    take(objective)
    with pytest.raises(RuntimeError, match=r"copy\.deepcopy\(network\)"):
        objective.begin_step()
    with pytest.raises(RuntimeError, match="make a new Objective"):
        objective(objective.vector * 2)


def small_on(objective):
    return Objective(objective.problem, objective.network, AutoDiff(), objective.points)


def test_parameters_are_frozen_before_the_loss_is_made():
    objective = small()
    next(objective.network.parameters()).requires_grad_(False)
    with pytest.raises(RuntimeError, match="freeze parameters first"):
        objective.begin_step()
