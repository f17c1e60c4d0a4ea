"""Compiled residuals inside the loss: the same numbers as torch's, for every problem, or torch itself."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from solvers import MLP, AutoDiff, TangentProp
from solvers.networks import Odd
from solvers.objective import Objective
from solvers.problems import PROBLEMS, allen_cahn, burgers, selfsimilar_burgers

IN_TORCH = {"inverse-allen-cahn", "inverse-burgers", "inverse-heat"}
"""Problems whose measurements are looked up point by point."""


def pair(problem, network=None, points=None, **options):
    torch.manual_seed(3)
    network = network or MLP(len(problem.axes), [9, 9], problem.components).double()
    points = points or problem.sample(interior=40, seed=1)
    return [Objective(problem, network, TangentProp(), points, compiled=compiled) for compiled in (True, False)]


def agree(compiled, plain, rtol=1e-11):
    found, expected = (objective(objective.vector) for objective in (compiled, plain))
    torch.testing.assert_close(found.value.detach(), expected.value.detach(), rtol=rtol, atol=0)
    scale = float(expected.gradient.abs().max())
    torch.testing.assert_close(found.gradient, expected.gradient, rtol=0, atol=rtol * scale)
    assert found.coefficients == pytest.approx(expected.coefficients, rel=1e-9)


@pytest.mark.parametrize("name", sorted(PROBLEMS))
def test_every_problem_has_the_loss_and_gradient_of_torch(name):
    problem = PROBLEMS[name]()
    compiled, plain = pair(problem)
    assert (compiled.compiled is None) == (name in IN_TORCH)
    agree(compiled, plain)


@pytest.mark.parametrize("how", ["trained", "bounded", "eliminated"])
@pytest.mark.parametrize("k", [0, 2])
def test_coefficients_in_every_way(how, k):
    problem = selfsimilar_burgers(k, how)
    agree(*pair(problem, Odd(MLP(1, [9, 9])).double()), rtol=1e-9)


def test_attention_stands_in_value_and_gradient():
    compiled, plain = pair(burgers())
    for objective in (compiled, plain):
        objective.attention = torch.linspace(0.1, 3, 40, dtype=torch.float64)
    agree(compiled, plain)


def test_periodic_faces():
    agree(*pair(allen_cahn()))


def test_float32():
    problem = burgers()
    torch.manual_seed(0)
    network, points = MLP(2, [9]), problem.sample(interior=40).to(dtype=torch.float32)
    agree(*pair(problem, network, points), rtol=1e-4)


def test_other_operators_stay_in_torch():
    problem = burgers()
    torch.manual_seed(0)
    network = MLP(2, [9]).double()
    assert Objective(problem, network, AutoDiff(), problem.sample(interior=9), compiled=True).compiled is None


class Halved(nn.Module):
    def forward(self, x):
        return x / 2


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net.register_forward_hook(lambda module, given, values: 2 * values),
        lambda net: parametrize.register_parametrization(net[0], "weight", Halved()),
    ],
    ids=["hook", "parametrisation"],
)
def test_a_network_that_has_changed_since_goes_on_in_torch(change):
    problem = burgers()
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 9), nn.Tanh(), nn.Linear(9, 1)).double()
    compiled, plain = pair(problem, network)
    before = float(compiled(compiled.vector).value)
    change(network)
    for objective in (compiled, plain):
        objective.vector.mul_(1)
    agree(compiled, plain)
    assert float(compiled(compiled.vector).value.detach()) != before
