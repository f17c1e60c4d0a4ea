"""Block gradients against a loop of backward passes, and on objectives of pure signal and pure noise."""

import dataclasses

import pytest
import torch

from solvers import block_adjoint
from solvers.blocks import BlockGradients
from solvers.domain import Box
from solvers.networks import MLP, Atan, Gaussian, ModifiedMLP, RandomFeatures, Sine, factorise
from solvers.objective import Objective
from solvers.operators import AutoDiff, FiniteDifference, TangentProp
from solvers.points import Points
from solvers.problems import Condition, Problem, allen_cahn, biharmonic_2d, burgers, helmholtz, poisson_1d

# Wide steps: what is compared is the sum over blocks, not round-off over the square of the step.
OPERATORS = {
    "autodiff": AutoDiff(),
    "central-2": FiniteDifference(step=0.25),
    "central-4": FiniteDifference(step=0.25, order=4),
    "taylor": TangentProp(),
    "taylor-torch": TangentProp(backend="taylor"),
    "partitions": TangentProp(rule="partitions"),
}
every_operator = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)


def helmholtz_objective(operator, interior=24, attended=True):
    problem = helmholtz((1, 2))
    problem = dataclasses.replace(problem, conditions=(dataclasses.replace(problem.conditions[0], weight=3.0),))
    objective = Objective(problem, MLP(2, [7, 6]).double(), operator, problem.sample(interior=interior, boundary=8))
    if attended:
        objective.attention = torch.rand(interior, dtype=torch.float64)
    return objective


def selected(objective, suffix):
    return [p for name, p in objective.network.named_parameters() if name.endswith(suffix)]


def looped(objective, blocks, suffix):
    """One backward pass a block, on points of its own."""
    parameters, gradients = selected(objective, suffix), []
    for index in blocks.order.reshape(blocks.blocks, blocks.block_size):
        own = Points(objective.points.interior[index], axes=objective.points.axes)
        residual = objective.interior_residual(objective.operator.plan(own, objective.problem.partials))
        if objective.attention is not None:
            residual = objective.attention[index, None] * residual
        found = torch.autograd.grad(residual.square().mean(), parameters, materialize_grads=True)
        gradients.append(torch.cat([g.reshape(-1) for g in found]))
    return torch.stack(gradients)


@every_operator
@pytest.mark.parametrize("attended", [False, True])
@pytest.mark.parametrize("suffix", ["weight", "", "2.bias"])
def test_block_gradients_equal_a_loop_of_backward_passes(operator, attended, suffix, condition_loss):
    objective = helmholtz_objective(operator, attended=attended)
    blocks = BlockGradients(objective, 5, suffix)
    own, common = blocks()
    expected = looped(objective, blocks, suffix)
    assert own.shape == expected.shape
    assert float((own - expected).abs().max()) <= 1e-12 * float(expected.abs().max())
    conditions = torch.autograd.grad(condition_loss(objective), selected(objective, suffix), materialize_grads=True)
    assert torch.allclose(common, torch.cat([g.reshape(-1) for g in conditions]), rtol=1e-13, atol=1e-15)
    assert blocks.sizes == [p.numel() for p in selected(objective, suffix)]


def chain_with_shared_layer():
    layer = torch.nn.Linear(6, 6)
    return torch.nn.Sequential(
        torch.nn.Linear(2, 6), torch.nn.Tanh(), layer, torch.nn.Tanh(), layer, torch.nn.Tanh(), torch.nn.Linear(6, 1)
    )


def factorised():
    return factorise(MLP(2, [6, 5]))


@every_operator
@pytest.mark.parametrize("make", [chain_with_shared_layer, factorised])
def test_block_gradients_of_layers_used_twice_and_of_computed_weights(operator, make):
    problem = helmholtz((1, 2))
    network = make().double()
    before = dict(network.named_parameters())
    objective = Objective(problem, network, operator, problem.sample(interior=20, boundary=8))
    blocks = BlockGradients(objective, 4, "")
    expected = looped(objective, blocks, "")
    assert float((blocks()[0] - expected).abs().max()) <= 1e-12 * float(expected.abs().max())
    assert all(p is before[name] for name, p in network.named_parameters())


def test_what_a_weight_is_computed_from_counts_as_a_weight():
    problem = helmholtz((1, 2))
    objective = Objective(problem, factorised().double(), TangentProp(), problem.sample(interior=20, boundary=8))
    names = [name for name in objective.parameters.names if not name.endswith("bias")]
    assert BlockGradients(objective, 4).layers == names


@every_operator
def test_block_gradients_of_odd_derivatives_and_a_nonlinear_equation(operator):
    problem = burgers(0.1)
    points = problem.sample(interior=20, boundary=4, initial=4)
    objective = Objective(problem, MLP(2, [7, 6]).double(), operator, points)
    blocks = BlockGradients(objective, 4)
    expected = looped(objective, blocks, "weight")
    assert float((blocks()[0] - expected).abs().max()) <= 1e-12 * float(expected.abs().max())


def test_forward_mode_gives_the_same_block_gradients():
    """Six components: AutoDiff takes nested forward mode."""
    problem = Problem(
        "six",
        Box(("x",), (0.0,), (1.0,)),
        ("", "xx"),
        lambda jet, x, coefficients: jet["xx"] + torch.sin(jet[""]),
        components=6,
    )
    objective = Objective(problem, MLP(1, [7], 6).double(), AutoDiff(), problem.sample(interior=12))
    blocks = BlockGradients(objective, 3)
    own, common = blocks()
    expected = looped(objective, blocks, "weight") * 6  # the loss sums over equations
    assert float((own - expected).abs().max()) <= 1e-12 * float(expected.abs().max())
    assert not common.any()


@every_operator
def test_the_mean_of_full_blocks_is_the_training_gradient(operator):
    objective = helmholtz_objective(operator)
    own, common = BlockGradients(objective, 6, suffix="")()
    training = objective(objective.vector).gradient
    scale = float(training.abs().max())
    assert float((own.mean(dim=0) + common - training).abs().max()) <= 1e-12 * scale


NETWORKS = {
    "linear": lambda: torch.nn.Sequential(torch.nn.Linear(2, 1)),
    "one-layer": lambda: MLP(2, [6]),
    "gated": lambda: ModifiedMLP(2, [6, 6]),
    "shared": chain_with_shared_layer,
    "factorised": factorised,
    **{
        kind.__name__: lambda kind=kind: MLP(2, [7, 6], activation=kind)
        for kind in (torch.nn.Sigmoid, torch.nn.SiLU, torch.nn.GELU, torch.nn.Softplus, Sine, Gaussian, Atan)
    },
}


SOME = {name: OPERATORS[name] for name in ("autodiff", "central-2", "taylor")}


@pytest.mark.parametrize("operator", SOME.values(), ids=SOME)
@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_block_gradients_of_other_networks(operator, make):
    problem = helmholtz((1, 2))
    objective = Objective(problem, make().double(), operator, problem.sample(interior=21, boundary=8))
    objective.attention = torch.rand(21, dtype=torch.float64)
    blocks = BlockGradients(objective, 4, "")
    expected = looped(objective, blocks, "")
    assert blocks.block_size == 5
    assert float((blocks.interior() - expected).abs().max()) <= 1e-12 * float(expected.abs().max())


@pytest.mark.parametrize("held", [1, 2**13, 2**30])
@pytest.mark.parametrize(("interior", "count"), [(24, 5), (140, 2), (33, 16), (96, 3)])
@pytest.mark.parametrize("suffix", ["weight", ""])
def test_compiled_block_gradients_by_tiles_and_by_layers(monkeypatch, held, interior, count, suffix):
    """Blocks of 32 and 70 points fill tiles of 32, those of 2 and 4 go through the layers, in groups of any size."""
    monkeypatch.setattr(block_adjoint, "GROUP_BYTES", held)
    objective = helmholtz_objective(TangentProp(backend="fused"), interior=interior)
    blocks = BlockGradients(objective, count, suffix)
    expected = looped(objective, blocks, suffix)
    assert float((blocks.interior() - expected).abs().max()) <= 1e-12 * float(expected.abs().max())


def looped_condition(objective, blocked, number, suffix):
    """One backward pass a block of a condition, on the same rows of each of its parts."""
    condition = objective.problem.conditions[number]
    dealing, rows = blocked.dealing, blocked.plan.points.rows
    normals = blocked.plan.points.normals
    index = torch.arange(len(rows)).reshape(dealing.copies, dealing.blocks, dealing.block_size)
    gradients = []
    for block in range(dealing.blocks):
        chosen = index[:, block].reshape(-1)
        outward = normals[chosen] if len(normals) else None
        kind = condition.where if condition.where == "initial" else "boundary"
        own = Points(rows[:0], **{kind: rows[chosen]}, normals=outward, axes=objective.points.axes)
        jet = objective.operator.plan(own, condition.partials)(objective.network)
        residual = condition.residual(jet, own.rows, own.normals, objective.parameters.coefficients)
        loss = condition.weight * residual.square().mean()
        found = torch.autograd.grad(loss, selected(objective, suffix), materialize_grads=True)
        gradients.append(torch.cat([g.reshape(-1) for g in found]))
    return torch.stack(gradients)


@every_operator
@pytest.mark.parametrize("make", [allen_cahn, biharmonic_2d, burgers], ids=lambda make: make.__name__)
@pytest.mark.parametrize("suffix", ["weight", ""])
def test_block_gradients_of_conditions_equal_a_loop_of_backward_passes(operator, make, suffix):
    problem = make()
    weighted = [dataclasses.replace(c, weight=2.0 + i) for i, c in enumerate(problem.conditions)]
    problem = dataclasses.replace(problem, conditions=tuple(weighted))
    points = problem.sample(interior=20, boundary=28, initial=7)
    objective = Objective(problem, MLP(2, [7, 6]).double(), operator, points)
    blocks = BlockGradients(objective, 4, suffix)
    found = list(blocks.condition_blocks())
    assert len(found) == len(problem.conditions)
    for number, (own, blocked) in enumerate(zip(found, blocks._conditions, strict=True)):
        expected = looped_condition(objective, blocked, number, suffix)
        assert own.shape == expected.shape
        assert len(own) == 4
        assert float((own - expected).abs().max()) <= 1e-11 * float(expected.abs().max())


def test_pairs_of_points_stay_together_and_every_point_of_a_condition_is_dealt_once():
    problem = allen_cahn()
    objective = Objective(
        problem, MLP(2, [5]).double(), AutoDiff(), problem.sample(interior=20, boundary=22, initial=9)
    )
    periodic, slope, initial = BlockGradients(objective, 4)._conditions
    for blocked in (periodic, slope):
        assert (blocked.dealing.copies, blocked.dealing.blocks, blocked.dealing.block_size) == (2, 4, 2)
        lower, upper = blocked.plan.points.boundary.reshape(2, 8, 2)
        assert (lower[:, 0] == -1).all()
        assert (upper[:, 0] == 1).all()
        assert torch.equal(lower[:, 1], upper[:, 1])
        assert len(set(lower[:, 1].tolist())) == 8
    assert len(set(initial.plan.points.initial[:, 0].tolist())) == 8
    other = BlockGradients(objective, 4, seed=5)._conditions
    assert not torch.equal(other[2].plan.points.initial, initial.plan.points.initial)


def test_a_condition_has_no_more_blocks_than_points_and_none_with_one_point():
    problem = burgers(0.1)
    points = problem.sample(interior=20, boundary=6, initial=1)
    objective = Objective(problem, MLP(2, [5]).double(), AutoDiff(), points)
    boundary, initial = BlockGradients(objective, 10).condition_blocks()
    assert len(boundary) == 6
    assert initial is None


@pytest.mark.parametrize(("upper", "dealt"), [(2, (1, 3, 2)), (4, (2, 3, 1))])
@pytest.mark.parametrize("operator", SOME.values(), ids=SOME)
def test_parts_whose_rows_are_no_pairs(operator, upper, dealt):
    """Parts of different size are dealt as one, those of the same size one by one; their normals go with them."""
    where = ("x-", "x+")
    wall = Condition("wall", where, ("",), lambda jet, x, normals, coefficients: jet[""] - normals[:, :1] * x[:, 1:])
    problem = dataclasses.replace(helmholtz((1, 2)), conditions=(wall,))
    points = problem.sample(interior=20, boundary=16)
    points = dataclasses.replace(points, parts={"x-": points.parts["x-"], "x+": points.parts["x+"][:upper]})
    objective = Objective(problem, MLP(2, [7, 6]).double(), operator, points)
    blocks = BlockGradients(objective, 3)
    (blocked,), (own,) = blocks._conditions, blocks.condition_blocks()
    assert (blocked.dealing.copies, blocked.dealing.blocks, blocked.dealing.block_size) == dealt
    expected = looped_condition(objective, blocked, 0, "weight")
    assert float((own - expected).abs().max()) <= 1e-12 * float(expected.abs().max())
    if upper == 2:
        assert torch.allclose(own.mean(dim=0), blocks.condition_gradients()[0], rtol=1e-10, atol=1e-14)


@every_operator
def test_a_block_whose_residual_is_nan_does_not_touch_the_others(operator):
    objective = helmholtz_objective(operator)
    blocks = BlockGradients(objective, 6)
    clean = blocks.interior()
    objective.attention[blocks.order[5]] = torch.nan
    found = blocks.interior()
    assert found[1].isnan().any()
    others = [0, 2, 3, 4, 5]
    assert torch.equal(found[others], clean[others])


@every_operator
def test_a_residual_of_zero_or_without_the_network_has_zero_gradients(operator):
    for residual in (lambda jet, x, c: 0 * jet["xx"], lambda jet, x, c: x[:, :1]):
        problem = Problem("none", Box(("x", "y"), (-1.0, -1.0), (1.0, 1.0)), ("xx",), residual)
        objective = Objective(problem, MLP(2, [7, 6]).double(), operator, problem.sample(interior=20))
        assert not BlockGradients(objective, 4).interior().any()


def test_every_point_is_dealt_once_and_leftovers_are_left_out():
    objective = helmholtz_objective(AutoDiff(), interior=23)
    blocks = BlockGradients(objective, 5)
    assert blocks.block_size == 4
    assert len(set(blocks.order.tolist())) == len(blocks.order) == 20
    again, other = BlockGradients(objective, 5), BlockGradients(objective, 5, seed=1)
    assert torch.equal(blocks.order, again.order)
    assert not torch.equal(blocks.order, other.order)
    assert blocks.order.tolist() != sorted(blocks.order.tolist())


def test_measuring_leaves_the_training_alone():
    objective = helmholtz_objective(AutoDiff())
    blocks, before = BlockGradients(objective, 4), objective.vector.clone()
    state = torch.get_rng_state()
    evaluation = objective.begin_step()
    _ = evaluation.value
    blocks()
    assert torch.equal(objective.vector, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert objective(objective.vector) is evaluation
    assert objective.evaluations == 1
    assert objective.evaluated() == []
    assert all(p.grad is None for p in objective.network.parameters())


def test_pure_signal_equal_points_give_equal_blocks():
    problem = dataclasses.replace(poisson_1d(), conditions=())
    points = Points(torch.full((20, 1), 0.3, dtype=torch.float64))
    own, common = BlockGradients(Objective(problem, MLP(1, [8]).double(), AutoDiff(), points), 4)()
    assert float(own.abs().max()) > 1
    assert float((own - own[0]).abs().max()) <= 1e-13 * float(own.abs().max())
    assert not common.any()


def test_pure_noise_gradients_of_single_points_cancel():
    """u = w . x at w = 0 against the target x y on all sign patterns: the gradients -2 x y (x, y) average to zero."""
    problem = Problem(
        "noise",
        Box(("x", "y"), (-1.0, -1.0), (1.0, 1.0)),
        ("",),
        lambda jet, x, coefficients: jet[""] - x[:, :1] * x[:, 1:],
    )
    network = torch.nn.Linear(2, 1, bias=False).double()
    torch.nn.init.zeros_(network.weight)
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 2)
    objective = Objective(problem, network, AutoDiff(), Points(signs, axes="xy"))
    own, _ = BlockGradients(objective, 4)()
    assert float(own.mean(dim=0).abs().max()) <= 1e-15
    assert torch.allclose(own.square().mean(dim=0), torch.full((2,), 4.0, dtype=torch.float64))


@pytest.mark.parametrize("blocks", [1, 0, 25])
def test_numbers_of_blocks_that_the_points_cannot_fill_are_refused(blocks):
    with pytest.raises(ValueError, match=f"between 2 and 24 blocks of the 24 interior points, came {blocks}"):
        BlockGradients(helmholtz_objective(AutoDiff()), blocks)


def test_a_suffix_that_no_parameter_has_is_refused():
    problem = poisson_1d()
    objective = Objective(problem, RandomFeatures(1, 9), AutoDiff(), problem.sample(interior=9))
    with pytest.raises(ValueError, match=r"no parameter ends in 'weight'; expected one of \['coefficient'\]"):
        BlockGradients(objective, 3)
    own, _ = BlockGradients(objective, 3, suffix="coefficient")()
    assert own.shape == (3, 9)


@pytest.mark.cuda
@every_operator
def test_cuda_gives_the_block_gradients_of_the_cpu(operator, cuda):
    here = helmholtz_objective(operator, attended=False)
    problem = here.problem
    there = Objective(problem, MLP(2, [7, 6]).double().to(cuda), operator, here.points.to(cuda))
    there.vector.copy_(here.vector)
    for one, other in zip(BlockGradients(here, 4)(), BlockGradients(there, 4)(), strict=True):
        assert torch.allclose(one, other.cpu(), rtol=1e-6, atol=1e-6)
