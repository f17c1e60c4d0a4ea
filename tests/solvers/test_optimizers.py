"""Flat parameters, torch's optimizers behind the protocol, and the reasons why L-BFGS stops."""

import functools

import pytest
import torch
from torch import nn

from solvers.networks import MLP
from solvers.objective import Objective
from solvers.operators import AutoDiff
from solvers.optimizers import FlatParameters, Torch
from solvers.problems import Coefficient, helmholtz, poisson_1d


class Stub:
    """A loss written as a function of the vector; counts how often it is evaluated."""

    def __init__(self, function):
        self.function, self.count = function, 0

    def __call__(self, vector):
        self.count += 1
        with torch.enable_grad():
            leaf = vector.detach().clone().requires_grad_(True)
            value = self.function(leaf)
            (gradient,) = torch.autograd.grad(value, leaf)
        self.value, self.gradient = value.detach(), gradient
        return self


# The buffer.


def test_the_buffer_and_the_parameters_are_the_same_memory():
    network = MLP(2, [3, 4]).double()
    before = [p.detach().clone() for p in network.parameters()]
    flat = FlatParameters(network, [Coefficient("slope", 1.5)])
    assert flat.names == [name for name, _ in network.named_parameters()]
    assert torch.equal(flat.vector, torch.cat([*(p.reshape(-1) for p in before), torch.tensor([1.5]).double()]))
    for parameter, start in zip(network.parameters(), before, strict=True):
        assert torch.equal(parameter.detach(), start)
    flat.vector.copy_(torch.arange(len(flat.vector)))
    written = torch.cat(
        [*(p.detach().reshape(-1) for p in network.parameters()), flat.coefficients["slope"].detach()[None]]
    )
    assert torch.equal(written, flat.vector)
    with torch.no_grad():
        network[0].bias.fill_(-1.0)
    assert (flat.vector[6:9] == -1).all()


def test_frozen_parameters_stay_out_of_the_buffer():
    network = MLP(2, [3])
    network[0].weight.requires_grad_(False)
    flat = FlatParameters(network)
    assert flat.names == ["0.bias", "2.weight", "2.bias"]
    assert len(flat.vector) == 3 + 3 + 1


def test_gradients_come_in_the_order_of_the_buffer_with_zeros_for_what_does_not_occur():
    network = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Linear(2, 1))
    flat = FlatParameters(network, [Coefficient("unused", 0.0), Coefficient("used", 2.0)])
    weights = torch.tensor([[1.0], [-3.0]])
    gradient = flat.gradient((network[0].weight * weights).sum() + 5 * flat.coefficients["used"])
    assert gradient.tolist() == [1.0, -3.0, 0.0, 0.0, 0.0, 0.0, 5.0]


def test_several_coefficients_have_places_of_their_own():
    flat = FlatParameters(nn.Linear(1, 1, bias=False), [Coefficient("one", 1.0), Coefficient("two", 2.0)])
    flat.vector.copy_(torch.tensor([5.0, 6.0, 7.0]))
    assert [float(value.detach()) for value in flat.coefficients.values()] == [6.0, 7.0]


def test_networks_that_have_no_flat_buffer_are_refused():
    with pytest.raises(ValueError, match="Tanh has no trainable parameter"):
        FlatParameters(nn.Tanh())
    mixed = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1).double())
    with pytest.raises(ValueError, match=r"one device and in one dtype: call network\.to"):
        FlatParameters(mixed)


# Torch's own.


@pytest.mark.parametrize(
    ("factory", "options"),
    [
        (torch.optim.Adam, {"lr": 1e-2, "betas": (0.8, 0.99)}),
        (torch.optim.SGD, {"lr": 1e-5, "momentum": 0.9}),
        (torch.optim.LBFGS, {"lr": 1.0, "max_iter": 3, "line_search_fn": "strong_wolfe"}),
    ],
)
def test_torch_optimizers_move_the_flat_vector_as_they_move_the_parameters(factory, options):
    problem = helmholtz((1, 1))
    points = problem.sample(interior=20, boundary=8)
    ours, theirs = MLP(2, [6, 6]).double(), MLP(2, [6, 6]).double()
    theirs.load_state_dict(ours.state_dict())
    objective = Objective(problem, ours, AutoDiff(), points)
    twin = Objective(problem, theirs, AutoDiff(), points)
    separate = [nn.Parameter(p.detach().clone()) for p in theirs.parameters()]
    reference = factory(separate, **options)

    def closure():
        twin.vector.copy_(torch.cat([p.detach().reshape(-1) for p in separate]))
        evaluation = twin(twin.vector)
        start = 0
        for parameter in separate:
            parameter.grad = evaluation.gradient[start : start + parameter.numel()].view_as(parameter)
            start += parameter.numel()
        return evaluation.value.detach()

    optimizer = Torch(factory, **options)
    state = optimizer.init(objective.vector)
    assert state.vector is objective.vector
    for _ in range(20):
        objective.begin_step()
        state, info = optimizer.step(objective, state)
        reference.step(closure)
        expected = torch.cat([p.detach().reshape(-1) for p in separate])
        assert float((objective.vector - expected).abs().max()) <= 1e-14
        assert info.learning_rate == options["lr"]
        assert info.stopped is None
    assert float(objective.begin_step().value.detach()) == pytest.approx(
        float(twin(expected).value.detach()), rel=1e-12
    )


def test_a_scheduler_is_stepped_once_a_step():
    halving = functools.partial(torch.optim.lr_scheduler.StepLR, step_size=2, gamma=0.5)
    optimizer = Torch(torch.optim.SGD, scheduler=halving, lr=0.8)
    state, rates = optimizer.init(torch.ones(1)), []
    for _ in range(6):
        state, info = optimizer.step(Stub(lambda x: x.square().sum()), state)
        rates.append(info.learning_rate)
    assert rates == [0.8, 0.8, 0.4, 0.4, 0.2, 0.2]


def test_an_unknown_option_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"torch.optim.Adam has no option 'learning_rate'; it has lr, betas"):
        Torch(torch.optim.Adam, learning_rate=1e-3)
    with pytest.raises(ValueError, match="no option 'params'"):
        Torch(torch.optim.Adam, params=[])


def test_an_optimizer_prints_what_it_is():
    assert repr(Torch(torch.optim.Adam, lr=1e-3)) == "Torch(Adam, lr=0.001)"
    assert "scheduler" in repr(Torch(torch.optim.Adam, scheduler=torch.optim.lr_scheduler.StepLR))


@pytest.mark.parametrize(
    ("factory", "many"), [(torch.optim.Adam, False), (torch.optim.SGD, False), (torch.optim.LBFGS, True)]
)
def test_only_lbfgs_evaluates_several_times_a_step(factory, many):
    assert Torch(factory, lr=0.1).many_evaluations is many
    Torch(factory, lr=0.1).init(torch.ones(1))  # torch patches `step` when the first one is made
    assert Torch(factory, lr=0.1).many_evaluations is many


def test_every_evaluation_of_a_line_search_is_counted():
    objective = Objective(poisson_1d(), MLP(1, [6]).double(), AutoDiff(), poisson_1d().sample(interior=20))
    optimizer = Torch(torch.optim.LBFGS, lr=1.0, max_iter=6, max_eval=100, line_search_fn="strong_wolfe")
    state, total = optimizer.init(objective.vector), 0
    for _ in range(4):
        objective.begin_step()
        state, info = optimizer.step(objective, state)
        counted = objective.evaluated()
        total += len(counted)
        assert info.stopped is None
        assert len(counted) > 6
        assert counted[0].step_length == 0.0
        assert max(c.step_length for c in counted) > 0
    assert total == state.optimizer.state[state.vector]["func_evals"] == objective.evaluations


# Why L-BFGS stops.


def lbfgs(function, start, **options):
    objective = Stub(function)
    optimizer = Torch(torch.optim.LBFGS, **{"lr": 1.0, "max_iter": 20, "tolerance_grad": 1e-12} | options)
    state = optimizer.init(torch.tensor(start, dtype=torch.float64))
    state, info = optimizer.step(objective, state)
    return info.stopped, state, objective


def bowl(x):
    return 0.5 * x.square().sum()


SEARCHES = pytest.mark.parametrize("search", [None, "strong_wolfe"])


@SEARCHES
def test_it_stops_at_a_gradient_that_was_small_already(search):
    stopped, state, objective = lbfgs(bowl, [1e-13, 0.0], line_search_fn=search)
    assert stopped == "gradient below tolerance_grad = 1e-12"
    assert state.vector.tolist() == [1e-13, 0.0]
    assert objective.count == 1


@SEARCHES
def test_it_stops_at_a_gradient_that_became_small(search):
    stopped, state, _ = lbfgs(bowl, [0.25, 0.25], line_search_fn=search)
    assert stopped == "gradient below tolerance_grad = 1e-12"
    assert state.vector.tolist() == [0.0, 0.0]


@SEARCHES
def test_it_stops_where_no_descent_is_left(search):
    stopped, state, _ = lbfgs(bowl, [1e-6, 0.0], line_search_fn=search)
    assert stopped == "no descent left: directional derivative above -tolerance_change = 1e-09"
    assert state.vector.tolist() == [1e-6, 0.0]


@SEARCHES
def test_it_stops_where_no_descent_is_left_after_some_iterations(search):
    stopped, state, _ = lbfgs(
        lambda x: 0.5 * (x * x * torch.tensor([1.0, 30.0])).sum(),
        [0.4, 0.2],
        line_search_fn=search,
        tolerance_grad=0.0,
        tolerance_change=1e-6,
        max_iter=50,
        max_eval=500,
    )
    assert stopped == "no descent left: directional derivative above -tolerance_change = 1e-06"
    assert float(state.vector.abs().max()) < 1e-2


def test_it_stops_at_a_step_that_became_small():
    stopped, _, _ = lbfgs(lambda x: 1e3 * x.sum(), [1.0, 1.0], lr=1e-9)
    assert stopped == "step below tolerance_change = 1e-09"


@SEARCHES
def test_it_stops_where_the_loss_no_longer_changes(search):
    stopped, _, _ = lbfgs(bowl, [4e-5, 0.0], lr=0.5, line_search_fn=search)
    assert stopped == "change of loss below tolerance_change = 1e-09"


@SEARCHES
@pytest.mark.parametrize("limits", [{"max_iter": 2}, {"max_iter": 20, "max_eval": 3}])
def test_using_up_its_limits_is_no_reason_to_stop(search, limits):
    def valley(x):
        return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2

    stopped, _, _ = lbfgs(valley, [-1.2, 1.0], lr=1e-3 if search is None else 1.0, line_search_fn=search, **limits)
    assert stopped is None


def test_divergence_is_no_reason_to_stop():
    stopped, state, _ = lbfgs(lambda x: x.exp().sum() - x.sum() * 1e300, [1.0], lr=1e308)
    assert stopped is None
    assert not torch.isfinite(state.vector).all()


def test_other_optimizers_never_stop():
    state = Torch(torch.optim.SGD, lr=0.1).init(torch.zeros(2))
    _, info = Torch(torch.optim.SGD, lr=0.1).step(Stub(bowl), state)
    assert info.stopped is None


def test_an_optimizer_whose_step_names_no_closure_is_taken_for_one_evaluation_a_step():
    class Forwarding(torch.optim.SGD):
        def step(self, *args, **kwargs):
            return super().step(*args, **kwargs)

    assert not Torch(Forwarding, lr=0.1).many_evaluations
    assert Torch(torch.optim.LBFGS).many_evaluations
