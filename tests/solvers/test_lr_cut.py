"""The probe that cuts the rate on a copy: its numbers, what it refuses, and that the training never learns of it."""

import functools
import math

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from dynamics import open_trajectory
from dynamics.lr_cut import oscillation
from solvers import ResidualBasedAttention, Torch, steps, train
from solvers.branch import Branch
from solvers.cadence import Every
from solvers.networks import MLP
from solvers.objective import Objective
from solvers.operators import AutoDiff, FiniteDifference, TangentProp
from solvers.probes import Moment, block_gradients
from solvers.probes.lr_cut import lr_cut
from solvers.problems import helmholtz, poisson_1d
from solvers.problems.problem import Coefficient, Problem

HALVING = functools.partial(torch.optim.lr_scheduler.StepLR, step_size=5, gamma=0.5)


# The training goes on as it would have.


@pytest.mark.parametrize("operator", [TangentProp(), AutoDiff(), FiniteDifference()], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_training_is_the_same_to_the_last_bit(operator, dtype):
    def run(probes):
        torch.manual_seed(0)
        problem = helmholtz((1, 1))
        network = MLP(2, [8, 8])
        rule = ResidualBasedAttention()
        optimizer = Torch(torch.optim.Adam, lr=5e-3, scheduler=HALVING)
        points = problem.sample(interior=48, boundary=16)
        taken = steps(
            problem, network, operator, optimizer, points=points, steps=14, probes=probes, attention=rule, dtype=dtype
        )
        losses = [step.loss for step in taken]
        return losses, [p.detach().clone() for p in network.parameters()], torch.get_rng_state()

    losses, parameters, generator = run(())
    again, probed, after = run((lr_cut(4, blocks=4, every=Every(3)),))
    assert losses == again
    assert all(torch.equal(a, b) for a, b in zip(parameters, probed, strict=True))
    assert torch.equal(generator, after)


class Noisy(nn.Module):
    """Draws from torch's global generator at every pass; too little to matter."""

    def __init__(self):
        super().__init__()
        self.inside = MLP(1, [6])
        self.register_buffer("shift", torch.zeros(1))

    def forward(self, x):
        return self.inside(x) + self.shift + 1e-9 * torch.randn(1, dtype=x.dtype)


def test_a_network_that_draws_random_numbers_draws_its_own():
    problem = poisson_1d()
    objective = Objective(problem, Noisy().double(), AutoDiff(), problem.sample(interior=12))
    adam = Torch(torch.optim.Adam, lr=1e-2)
    state = adam.init(objective.vector)
    before, start = torch.get_rng_state(), objective.vector.clone()
    branch = Branch(objective, adam)
    branch.start_from(objective, state)
    branch.loss()
    branch.advance(3)
    branch.gradient(branch.start)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(objective.vector, start)


# The copy does what the training does.


@pytest.mark.parametrize(
    ("factory", "options"),
    [
        (torch.optim.Adam, {"amsgrad": True}),
        (torch.optim.AdamW, {"weight_decay": 0.1}),
        (torch.optim.SGD, {"lr": 1e-4, "momentum": 0.9}),
    ],
)
def test_a_branch_in_float64_repeats_a_training_in_float64(factory, options):
    optimizer = Torch(factory, **{"lr": 1e-2, **options})
    problem = helmholtz((1, 1))
    objective = Objective(problem, MLP(2, [6, 6]).double(), TangentProp(), problem.sample(interior=30, boundary=8))
    objective.attention = torch.rand(30, dtype=torch.float64)
    state = optimizer.init(objective.vector)

    def forward(count):
        for _ in range(count):
            objective.begin_step()
            optimizer.step(objective, state)
        objective.begin_step()

    forward(5)
    branch = Branch(objective, optimizer)
    branch.start_from(objective, state)
    branch.advance(7, 0.1)  # A branch taken before must leave nothing behind.
    branch.advance(7)
    forward(7)
    assert float((branch.objective.vector - objective.vector).abs().max()) < 1e-13
    assert branch.loss() == pytest.approx(float(objective(objective.vector).value.detach()), rel=1e-12)
    branch.rewind()
    assert torch.equal(branch.objective.vector, branch.start)


def test_a_branch_follows_buffers_frozen_parameters_and_bounded_coefficients():
    def residual(jet, x, coefficients):
        return 1e-3 * jet["xx"] + 3.0 - coefficients["k"]

    box = poisson_1d().domain
    problem = Problem("inverse", box, ("xx",), residual, coefficients=(Coefficient("k", 0.5, 0.0, 0.6),))
    network = Noisy().double()
    network.inside[0].bias.requires_grad_(False)
    objective = Objective(problem, network, AutoDiff(), problem.sample(interior=12))
    sgd = Torch(torch.optim.SGD, lr=0.3)
    branch = Branch(objective, sgd)
    with torch.no_grad():
        network.shift.fill_(4.0)
        network.inside[0].bias.fill_(2.0)
        objective.vector.fill_(0.25)
    branch.start_from(objective, sgd.init(objective.vector))
    copied = branch.objective.network
    assert float(copied.shift) == 4.0
    assert (copied.inside[0].bias == 2.0).all()
    assert float(branch.objective.parameters.coefficients["k"].detach()) == 0.25
    assert copied.inside[0].bias.data_ptr() != network.inside[0].bias.data_ptr()
    branch.advance(20)
    assert float(branch.objective.parameters.coefficients["k"].detach()) == 0.6  # Free, it would be 3.
    assert (objective.vector == 0.25).all()


# A model that is linear in its parameters: everything has a closed form.


class Features(nn.Module):
    """u = sum_j c_j tanh(a_j x + b_j), a and b fixed: every loss is a quadratic in c.

    No (a_j, b_j) is minus another: two such features are one, and the minimum would be a line.
    """

    def __init__(self, count=6):
        super().__init__()
        self.register_buffer("inner", torch.linspace(-2, 2, count, dtype=torch.float64)[None])
        self.register_buffer("shift", torch.linspace(-1, 2, count, dtype=torch.float64))
        self.outer = nn.Linear(count, 1, bias=False)

    def forward(self, x):
        return self.outer(torch.tanh(x @ self.inner.to(x) + self.shift.to(x)))


def quadratic(rate):
    """Objective whose Hessian is 2 J^T J, started far out along its sharpest direction; SGD at rate / sharpness."""
    problem = poisson_1d()
    objective = Objective(problem, Features().double(), AutoDiff(), problem.sample(interior=40))
    jacobian = objective.begin_step().jacobian.detach()
    values, basis = torch.linalg.eigh(2 * jacobian.T @ jacobian)
    right = objective(objective.vector).scaled_residual - jacobian @ objective.vector
    lowest = torch.linalg.lstsq(jacobian, -right[:, None], driver="gelsd").solution[:, 0]
    objective.vector.copy_(lowest + 3.0 * basis[:, -1] + 0.3 * basis[:, 0])
    optimizer = Torch(torch.optim.SGD, lr=rate / float(values[-1]))
    state = optimizer.init(objective.vector)
    moment = Moment(0, objective, objective.begin_step(), torch.ones(40), optimizer, state)
    return moment, values.numpy(), basis.numpy(), lowest.numpy()


def test_a_quadratic_is_followed_in_closed_form():
    moment, values, basis, lowest = quadratic(1.99)
    found = lr_cut(steps=20, blocks=5).measure(moment)
    rate = 1.99 / values[-1]
    away = basis.T @ (moment.objective.vector.numpy() - lowest)
    floor = found["loss_before"] - 0.5 * (values * away**2).sum()

    def loss(factor):
        later = away * (1 - factor * rate * values) ** 20
        return floor + 0.5 * (values * later**2).sum()

    assert found["rate"] == pytest.approx(rate, rel=1e-12)
    assert found["loss_before"] == pytest.approx(float(moment.evaluation.value.detach()), rel=1e-12)
    assert found["loss_after"] == pytest.approx(loss(0.1), rel=1e-6)
    assert found["loss_uncut"] == pytest.approx(loss(1.0), rel=1e-6)
    assert found["sharpness"] == pytest.approx(values[-1], rel=1e-6)
    assert found["stability_limit"] == pytest.approx(2 / rate, rel=1e-12)
    assert math.isnan(found["preconditioned_sharpness"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_snr_before_is_that_of_one_backward_pass_a_block(dtype, condition_loss):
    torch.manual_seed(2)
    problem, network = helmholtz((1, 1)), MLP(2, [6, 6]).to(dtype)
    points = problem.sample(interior=42, boundary=8).to(dtype=dtype)
    objective = Objective(problem, network, AutoDiff(), points)
    objective.attention = torch.rand(42, dtype=dtype)
    adam = Torch(torch.optim.Adam, lr=1e-3)
    state = adam.init(objective.vector)
    moment = Moment(0, objective, objective.begin_step(), objective.attention, adam, state)
    found = lr_cut(2, blocks=4).measure(moment)
    probe = block_gradients(4)
    layers, labels = probe.measure(moment), probe.labels(moment).attrs
    assert labels["block_size"] == lr_cut(2, blocks=4).labels(moment).attrs["block_size"] == 10
    order = torch.randperm(42, generator=torch.Generator().manual_seed(0))[:40].reshape(4, 10)
    weights = [p for name, p in network.named_parameters() if name.endswith("weight")]
    residual = objective.interior_residual(objective.plan)
    gradients = []
    for block in order:
        loss = (objective.attention[block, None] * residual[block]).square().mean() + condition_loss(objective)
        parts = torch.autograd.grad(loss, weights, retain_graph=True)
        gradients.append(torch.cat([part.reshape(-1) for part in parts]).double().numpy())
    gradients = np.array(gradients)
    mean, deviation = np.linalg.norm(gradients.mean(axis=0)), np.linalg.norm(gradients.std(axis=0))
    near = 1e-9 if dtype == torch.float64 else 1e-4
    assert found["snr_before"] == pytest.approx(mean / deviation, rel=near)
    assert found["mean_norm_before"] == pytest.approx(mean, rel=near)
    assert layers["mean_norm_total"] == pytest.approx(mean, rel=near)
    assert math.isnan(found["stability_limit"])  # Adam has no moments yet.


def test_a_probe_that_has_measured_measures_the_next_moment():
    problem, adam = poisson_1d(), Torch(torch.optim.Adam, lr=1e-2)
    objective = Objective(problem, MLP(1, [6]).double(), AutoDiff(), problem.sample(interior=16))
    state = adam.init(objective.vector)
    probe, attention = lr_cut(3, blocks=4), torch.rand(16, dtype=torch.float64)
    for step in range(3):
        objective.attention = (1 + step) * attention
        moment = Moment(step, objective, objective.begin_step(), attention, adam, state)
        assert lr_cut(3, blocks=4).measure(moment) == pytest.approx(probe.measure(moment), rel=1e-12, nan_ok=True)
        adam.step(objective, state)


# In a run, and what it says there.


def recorded(tmp_path, optimizer, probe, count=6, **options):
    path = tmp_path / "run.h5"
    problem = options.pop("problem", None) or poisson_1d()
    network = options.pop("network", None) or MLP(1, [8])
    train(
        problem, network, TangentProp(), optimizer, points=problem.sample(interior=32), steps=count, probes=[probe],
        record=path, progress=False, **options,
    )  # fmt: skip
    return path


def test_a_run_records_every_variable_with_its_attributes(tmp_path):
    adam = Torch(torch.optim.Adam, lr=1e-2, scheduler=HALVING)
    with open_trajectory(recorded(tmp_path, adam, lr_cut(3, blocks=4, every=Every(6)))) as trajectory:
        stream = trajectory["lr_cut"]
        assert stream["step"].values.tolist() == [0, 6]
        assert stream.attrs["steps"] == 3
        assert stream.attrs["factor"] == 0.1
        assert (stream.attrs["blocks"], stream.attrs["block_size"], stream.attrs["points"]) == (4, 8, 32)
        assert stream["rate"].values.tolist() == [1e-2, 5e-3]
        last = {name: float(value[-1]) for name, value in stream.data_vars.items()}
        assert all(math.isfinite(value) for value in last.values()), last
        assert last["stability_limit"] == pytest.approx(3.8 * (1 - 0.9**7) / (0.1 * 5e-3), rel=1e-9)
        assert oscillation(trajectory).sizes["step"] == 2


def test_an_optimizer_at_the_edge_is_seen_to_oscillate():
    """SGD on a quadratic at 1.99 over its sharpness, from far out along the sharpest direction."""
    moment, *_ = quadratic(1.995)
    rows = lr_cut(blocks=5).measure(moment)
    verdict = oscillation(_tree(rows))
    assert verdict.verdict.item() == "oscillation"
    assert verdict.edge.item() == pytest.approx(1.995 / 2, rel=1e-6)
    # The same place at a rate far below the edge: the direction only decays, cut or not.
    moment, *_ = quadratic(0.02)
    found = oscillation(_tree(lr_cut(blocks=5).measure(moment)))
    assert found.verdict.item() == "progress"
    assert found.edge.item() == pytest.approx(0.01, rel=1e-6)


def _tree(row):
    return xr.DataTree.from_dict({"lr_cut": xr.Dataset({k: ("step", [v]) for k, v in row.items()}, {"step": [0]})})


# What is refused.


@pytest.mark.parametrize(
    ("optimizer", "match"),
    [
        (Torch(torch.optim.LBFGS), r"one evaluation a step, came Torch\(LBFGS\)"),
        (None, r"expected one of torch's optimizers.*came None"),
    ],
)
def test_optimizers_that_cannot_be_copied_are_refused_at_declaration(optimizer, match):
    problem = poisson_1d()
    objective = Objective(problem, MLP(1, [4]).double(), AutoDiff(), problem.sample(interior=16))
    moment = Moment(0, objective, objective.begin_step(), torch.ones(16), optimizer, None)
    with pytest.raises(ValueError, match=match):
        lr_cut().declare(moment)


@pytest.mark.parametrize("options", [{"steps": 0}, {"steps": True}, {"factor": 1.0}, {"factor": 0.0}])
def test_meaningless_numbers_are_refused(options):
    with pytest.raises(ValueError, match="at least 1 step and a factor in"):
        lr_cut(**options)


@pytest.mark.parametrize("blocks", [1, 17])
def test_blocks_that_there_are_not_are_refused(blocks):
    problem, adam = poisson_1d(), Torch(torch.optim.Adam, lr=0.1)
    objective = Objective(problem, MLP(1, [4]).double(), AutoDiff(), problem.sample(interior=16))
    moment = Moment(0, objective, objective.begin_step(), torch.ones(16), adam, adam.init(objective.vector))
    with pytest.raises(ValueError, match="expected between 2 and 16 blocks"):
        lr_cut(blocks=blocks).declare(moment)


def test_a_branch_that_diverges_is_data():
    problem, sgd = poisson_1d(), Torch(torch.optim.SGD, lr=1e300)
    objective = Objective(problem, MLP(1, [4]).double(), AutoDiff(), problem.sample(interior=16))
    moment = Moment(0, objective, objective.begin_step(), torch.ones(16), sgd, sgd.init(objective.vector))
    found = lr_cut(4, blocks=4).measure(moment)
    assert math.isfinite(found["loss_before"])
    assert not math.isfinite(found["loss_uncut"])
    assert math.isnan(found["snr_uncut"])
    assert oscillation(_tree(found)).verdict.item() == "unknown"


def test_a_model_on_another_device(cuda):
    problem, adam = poisson_1d(), Torch(torch.optim.Adam, lr=1e-2)
    objective = Objective(
        problem, MLP(1, [8]).double().to(cuda), AutoDiff(), problem.sample(interior=16).to(cuda, torch.float64)
    )
    state = adam.init(objective.vector)
    moment = Moment(0, objective, objective.begin_step(), torch.ones(16, device=cuda), adam, state)
    adam.step(objective, state)
    found = lr_cut(3, blocks=4).measure(moment)
    assert all(math.isfinite(value) for value in found.values())
