"""L-BFGS: its direction against dense BFGS, standard problems beside scipy, stops, restarts, checkpoints, a network."""

import dataclasses
import statistics

import numpy as np
import pytest
import scipy.optimize
import torch

from solvers import MLP, AutoDiff, Torch, train
from solvers.optimizers.curvature_pairs import CurvaturePairs
from solvers.optimizers.lbfgs import LBFGS
from solvers.problems import poisson_1d
from tests.solvers.more_garbow_hillstrom import PROBLEMS, Evaluation, bard, rosenbrock


class Shared:
    """An objective that evaluates once a version of the vector, as `solvers.objective.Objective` does."""

    def __init__(self, evaluate):
        self.evaluate, self.count, self.latest = evaluate, 0, (None, None)

    def __call__(self, vector):
        if self.latest[0] != vector._version:
            self.count += 1
            self.latest = (vector._version, self.evaluate(vector))
        return self.latest[1]


class Smooth:
    """A loss from a function of a tensor."""

    def __init__(self, function, vector):
        leaf = vector.detach().clone().requires_grad_(True)
        self.value = function(leaf)
        (self.gradient,) = torch.autograd.grad(self.value, leaf)


def smooth(function):
    return Shared(lambda vector: Smooth(function, vector))


def run(optimizer, objective, start, steps=3000, dtype=torch.float64):
    vector = torch.tensor(start, dtype=dtype)
    state, infos = optimizer.init(vector), []
    for _ in range(steps):
        state, info = optimizer.step(objective, state)
        infos.append(info)
        if info.stopped:
            break
    return vector, infos, state


# The problems.


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: f"{p.name}{len(p.start)}")
def test_jacobians_are_complex_step_derivatives(problem):
    x = np.array(problem.start) + 0.01 * np.arange(1, len(problem.start) + 1)
    columns = [problem.function(x + 1e-30j * e)[0].imag / 1e-30 for e in np.eye(len(x))]
    jacobian = problem.function(x)[1]
    assert np.abs(jacobian - np.stack(columns, axis=1)).max() <= 1e-13 * np.abs(jacobian).max()


# The direction.


def dense(pairs):
    """The inverse Hessian of BFGS, pair by pair."""
    s, y = pairs[-1]
    matrix = np.eye(len(s)) * (s @ y) / (y @ y)
    for s, y in pairs:
        rho, eye = 1 / (s @ y), np.eye(len(s))
        matrix = (eye - rho * np.outer(s, y)) @ matrix @ (eye - rho * np.outer(y, s)) + rho * np.outer(s, s)
    return matrix


@pytest.mark.parametrize("count", [1, 3, 4, 5, 9])
def test_the_direction_is_that_of_dense_bfgs_with_the_last_pairs(count):
    generator = np.random.default_rng(count)
    hessian = np.diag(10.0 ** np.linspace(-2, 2, 12))
    buffer, pairs = CurvaturePairs(4, torch.zeros(12)), []
    for _ in range(count):
        s = generator.normal(size=12)
        y = hessian @ s
        buffer.add(torch.from_numpy(s), torch.from_numpy(y), buffer.products(torch.from_numpy(y)))
        pairs.append((s, y))
    assert buffer.count == min(count, 4)
    gradient = generator.normal(size=12)
    given = torch.from_numpy(gradient)
    found = buffer.direction(given, buffer.products(given)).numpy()
    expected = -dense(pairs[-4:]) @ gradient
    assert np.abs(found - expected).max() < 1e-10 * np.abs(expected).max()


def test_a_quadratic_is_solved_in_as_many_steps_as_it_has_eigenvalues():
    eigenvalues = torch.tensor([1.0, 1.0, 5.0, 20.0, 20.0, 20.0, 100.0]).double()
    exact = dataclasses.replace(LBFGS(), curvature=1e-3)
    vector, infos, _ = run(exact, smooth(lambda x: (eigenvalues * x**2).sum() / 2), [1.0] * 7, steps=6)
    assert float(vector.abs().max()) < 1e-5 and len(infos) <= 6


# Standard problems.


def scipy_evaluations(problem, options):
    def both(x):
        residual, jacobian = problem.function(x)
        return residual @ residual, 2 * jacobian.T @ residual

    found = scipy.optimize.minimize(both, np.array(problem.start), jac=True, method="L-BFGS-B", options=options)
    return found.nfev, float(found.fun)


def test_standard_problems_reach_their_minima_as_soon_as_scipy_does(capsys):
    lines, ratios = [], []
    options = {"maxcor": 10, "maxfun": 20000, "maxiter": 20000, "ftol": 1e-15, "gtol": 1e-12}
    for problem in PROBLEMS:
        objective = Shared(problem.objective)
        vector, infos, _ = run(LBFGS(history=10), objective, problem.start)
        value = float(problem.objective(vector).value)
        with np.errstate(all="ignore"):
            theirs, their_value = scipy_evaluations(problem, options)
        assert any(abs(value - least) < 1e-6 * least + 1e-16 for least in problem.minima), problem.name
        assert infos[-1].stopped, problem.name
        if their_value < value * (1 + 1e-6) + 1e-14:
            ratios.append(objective.count / theirs)
        lines.append(
            f"{problem.name:21s} ours {value:10.3e} in {objective.count:4d}, scipy {their_value:10.3e} in {theirs}"
        )
    with capsys.disabled():
        print("\n" + "\n".join(lines) + f"\nmedian ratio where both arrive {statistics.median(ratios):.2f}")
    assert len(ratios) >= 12 and statistics.median(ratios) < 2


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: f"{p.name}{len(p.start)}")
def test_wolfes_conditions_hold_at_every_step(problem):
    optimizer, objective = LBFGS(history=5, noise=0.0), Shared(problem.objective)
    vector = torch.tensor(problem.start, dtype=torch.float64)
    state, checked = optimizer.init(vector), 0
    for _ in range(60):
        before, start = problem.objective(vector), vector.clone()
        state, info = optimizer.step(objective, state)
        after = problem.objective(vector)
        if info.stopped or before.value - after.value < 1e-9 * before.value:
            break
        direction = (vector - start) / info.step_length
        slopes = [float(point.gradient @ direction) for point in (before, after)]
        slack = 1e-7 * abs(slopes[0])
        assert slopes[0] < 0
        assert float(after.value - before.value) <= 1e-4 * info.step_length * slopes[0] * (1 - 1e-6)
        assert abs(slopes[1]) <= 0.9 * abs(slopes[0]) + slack
        checked += 1
    assert checked >= 2


def test_an_evaluation_at_an_unchanged_vector_is_shared():
    objective = Shared(PROBLEMS[0].objective)
    _, infos, _ = run(LBFGS(), objective, (-1.2, 1.0), steps=20)
    assert 20 < objective.count < 30
    assert all(info.step_length > 0 and np.isnan(info.learning_rate) for info in infos)


# Where it must survive.


def test_a_region_without_values_is_survived():
    vector, infos, _ = run(LBFGS(), smooth(lambda x: (x - x.log()).sum()), [0.01, 30.0, 2.0])
    assert (vector - 1).abs().max() < 1e-7 and infos[-1].stopped


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_start_that_is_not_finite_stops_and_says_so(value):
    vector, infos, _ = run(LBFGS(), smooth(lambda x: (x * value).sum()), [1.0, 2.0])
    assert len(infos) == 1 and "is not finite: nothing to descend on" in infos[0].stopped
    assert vector.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "function", [lambda x: (x - 3).square().sum(), lambda x: 0 * x.sum() + 7], ids=["solved", "constant"]
)
def test_nothing_moves_where_the_gradient_is_zero(function):
    objective = smooth(function)
    vector, infos, _ = run(LBFGS(), objective, [3.0, 3.0])
    assert infos[0].stopped == "gradient below tolerance_gradient = 1e-12"
    assert vector.tolist() == [3.0, 3.0] and objective.count == 1


def test_a_step_after_the_last_one_stops_again():
    objective = smooth(lambda x: (x - 3).square().sum())
    vector, infos, state = run(LBFGS(), objective, [1.0, 5.0])
    at, count = vector.clone(), objective.count
    _, again = LBFGS().step(objective, state)
    assert again.stopped == infos[-1].stopped == "gradient below tolerance_gradient = 1e-12"
    assert torch.equal(vector, at) and objective.count == count


class Lying:
    """A bowl whose gradient points the wrong way."""

    def __init__(self, vector):
        self.value, self.gradient = (vector**2).sum(), -2 * vector


def test_a_wrong_gradient_ends_with_the_vector_put_back():
    start = [0.1, 1 / 3, -7.0]
    vector, infos, _ = run(LBFGS(), Shared(Lying), start)
    assert infos[0].stopped.startswith("no decrease possible") and "float64" not in infos[0].stopped
    assert torch.equal(vector, torch.tensor(start, dtype=torch.float64))


def test_a_failed_search_drops_the_pairs_and_tries_steepest_descent():
    objective = Shared(PROBLEMS[0].objective)
    vector, _, state = run(LBFGS(), objective, (-1.2, 1.0), steps=8)
    assert state.pairs.count == 8
    # Pairs that point uphill: -H g with H = -I / 1000.
    state.pairs.count = 1
    state.pairs.sy[0, 0], state.pairs.yy[0, 0] = -1.0, 1000.0
    state.pairs.rows[0, 0], state.pairs.rows[0, 1] = 0.0, 0.0
    state.products = np.zeros((1, 2))
    start, gradient = vector.clone(), objective(vector).gradient
    state, info = LBFGS().step(objective, state)
    moved = vector - start
    assert info.stopped is None and state.pairs.count == 1
    assert torch.allclose(moved, -gradient * info.step_length, rtol=1e-9, atol=0)
    assert float(objective(vector).value) < float(PROBLEMS[0].objective(start).value)


def test_pairs_that_are_not_finite_are_dropped():
    objective = Shared(PROBLEMS[0].objective)
    _, _, state = run(LBFGS(), objective, (-1.2, 1.0), steps=8)
    state.pairs.rows[:8] = float("nan")
    state, info = LBFGS().step(objective, state)
    assert info.stopped is None and info.step_length > 0 and state.pairs.count == 1


def test_negative_curvature_gives_no_pair():
    # A search cut short on the way down a concave slope: s y < 0.
    optimizer = LBFGS(max_evaluations=1)
    objective = smooth(lambda x: torch.cos(x).sum())
    _, _, state = run(optimizer, objective, [0.1], steps=1)
    assert state.pairs.count == 0


def test_the_vector_ends_at_the_accepted_trial_and_not_at_the_last_one():
    # |x| far from its kink: 1 lowers and is too steep, 10 overshoots.
    def kinked(x):
        return (x - 2.0).abs().sum()

    objective = smooth(kinked)
    vector, infos, state = run(LBFGS(max_evaluations=2), objective, [0.0], steps=1)
    assert vector.tolist() == [1.0] and infos[0].step_length == 1.0
    assert state.plateau.value == 1.0 and state.gradient.tolist() == [-1.0]


def test_a_loss_that_no_longer_falls_stops_after_ten_steps():
    objective = smooth(lambda x: 1 + 1e-13 / (1 + x).sum())
    _, infos, _ = run(LBFGS(tolerance_gradient=0.0), objective, [0.0], steps=50)
    assert len(infos) == 10 and all(info.step_length > 0 for info in infos)
    assert infos[-1].stopped == "10 steps without a relative decrease above tolerance_change = 1e-12"


def test_a_step_below_its_tolerance_stops():
    vector, infos, _ = run(LBFGS(tolerance_step=0.1), Shared(PROBLEMS[0].objective), (-1.2, 1.0))
    assert infos[-1].stopped == "step below tolerance_step = 0.1" and 1 < len(infos) < 20
    assert (vector - 1).abs().max() > 0.01


def test_single_precision_works_and_says_where_it_ends():
    objective = Shared(PROBLEMS[0].objective)
    vector, infos, state = run(LBFGS(), objective, (-1.2, 1.0), dtype=torch.float32)
    assert vector.dtype == torch.float32 and state.pairs.rows.dtype == torch.float64
    assert (vector - 1).abs().max() < 1e-3
    assert infos[-1].stopped
    _, infos, _ = run(LBFGS(tolerance_gradient=0.0), Shared(lambda v: Lying(v)), [1.0, 2.0], dtype=torch.float32)
    assert infos[0].stopped.endswith("in float32: float64 goes lower")


def test_single_precision_takes_the_step_that_was_really_made():
    # The vector is rounded to 1e-7 of itself, here a tenth of the step: the pair of the intended step is wrong by that.
    def bowl(vector):
        class At:
            value = 0.35 * ((vector.double() - 1e4) ** 2).sum()
            gradient = 0.7 * (vector.double() - 1e4)

        return At

    _, _, state = run(LBFGS(), Shared(bowl), [1e4 + 0.01, 1e4 + 0.004], steps=1, dtype=torch.float32)
    count = state.pairs.count
    assert count == 1
    assert torch.allclose(0.7 * state.pairs.rows[0, 0], state.pairs.rows[0, 1], rtol=1e-9, atol=0)


# Changes from outside, checkpoints.


def test_another_loss_or_vector_between_steps_is_noticed():
    def scaled(factor):
        class Twice(Evaluation):
            value = property(lambda self: factor * Evaluation.value.func(self))
            gradient = property(lambda self: factor * Evaluation.gradient.func(self))

        return Shared(lambda vector: Twice(rosenbrock, vector.numpy().copy()))

    results = []
    for forget in (False, True):
        vector, _, state = run(LBFGS(), scaled(1.0), (-1.2, 1.0), steps=6)
        vector.add_(0.01)
        if forget:
            state.gradient = state.gradient[:0]
        LBFGS().step(scaled(2.0), state)
        results.append(vector.clone())
    assert torch.equal(*results)


@pytest.mark.parametrize(("history", "steps"), [(4, 2), (4, 11), (50, 11)])
def test_a_restored_state_continues_to_the_last_bit(history, steps):
    optimizer = LBFGS(history=history)
    start = PROBLEMS[-1].start
    vector, _, state = run(optimizer, Shared(PROBLEMS[-1].objective), start, steps=steps)
    arrays = state.to_arrays()
    kept = {name: values.copy() for name, values in arrays.items()}
    again = torch.zeros(len(start), dtype=torch.float64)
    other = optimizer.from_arrays(arrays, again)
    assert torch.equal(again, vector)
    for _ in range(7):
        state, _ = optimizer.step(Shared(PROBLEMS[-1].objective), state)
        other, _ = optimizer.step(Shared(PROBLEMS[-1].objective), other)
        assert torch.equal(vector, again)
    assert all(np.array_equal(kept[name], arrays[name], equal_nan=True) for name in kept)
    assert all(
        np.array_equal(a, b) for a, b in zip(state.to_arrays().values(), other.to_arrays().values(), strict=True)
    )


def test_a_longer_history_takes_shorter_ones_in_order():
    vector, _, state = run(LBFGS(history=3), Shared(PROBLEMS[-1].objective), PROBLEMS[-1].start, steps=8)
    gradient = PROBLEMS[-1].objective(vector).gradient
    expected = state.pairs.direction(gradient, state.pairs.products(gradient))
    longer = LBFGS(history=6).from_arrays(state.to_arrays(), vector.clone()).pairs
    assert torch.allclose(longer.direction(gradient, longer.products(gradient)), expected, rtol=1e-12, atol=0)
    longer.add(gradient, gradient, longer.products(gradient))
    assert torch.equal(longer.rows[3, 0], gradient)


def test_a_state_of_another_network_is_refused():
    _, _, state = run(LBFGS(history=5), Shared(PROBLEMS[0].objective), (-1.2, 1.0), steps=6)
    with pytest.raises(ValueError, match="restore with the options and the network that wrote them"):
        LBFGS(history=4).from_arrays(state.to_arrays(), torch.zeros(2).double())
    with pytest.raises(ValueError, match="of 3 parameters"):
        CurvaturePairs.from_arrays(state.to_arrays(), 5, torch.zeros(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory": 10}, "LBFGS has no option 'memory'; it has history, max_evaluations, decrease, curvature"),
        ({"history": 0}, "a whole number of pairs, at least 1, came history = 0"),
        ({"history": "ten"}, "LBFGS: expected a number, came history = 'ten'"),
        ({"history": 2.5}, "a whole number of pairs"),
        ({"max_evaluations": 0}, "at least one evaluation a search"),
        ({"decrease": 0.95}, "0 < decrease < 1/2 and decrease < curvature < 1, came decrease = 0.95, curvature = 0.9"),
        ({"curvature": 1.0}, "curvature < 1"),
        ({"tolerance_gradient": -1.0}, "a tolerance of at least 0, came tolerance_gradient = -1.0"),
        ({"tolerance_step": float("nan")}, "came tolerance_step = nan"),
        ({"noise": 1.0}, "a share of the loss, below 1"),
    ],
)
def test_invalid_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LBFGS(**options)


# A network.


def test_a_network_ends_far_lower_than_with_adam():
    losses = {}
    for optimizer, count in ((Torch(torch.optim.Adam, lr=1e-2), 1000), (LBFGS(), 500)):
        torch.manual_seed(1)
        problem = poisson_1d()
        network, points = MLP(1, [8, 8]), problem.sample(interior=32, boundary=2)
        run = train(problem, network, AutoDiff(), optimizer, points=points, steps=count, progress=False)
        losses[type(optimizer).__name__] = run.loss
        assert run.status == "complete"
    assert losses["LBFGS"] < losses["Torch"] / 30


def test_the_file_has_every_evaluation_of_a_search(tmp_path):
    from dynamics import open_trajectory

    problem = poisson_1d()
    network, points = MLP(1, [6]), problem.sample(interior=16, boundary=2)
    path = tmp_path / "run.h5"
    train(problem, network, AutoDiff(), LBFGS(), points=points, steps=12, record=path, progress=False)
    with open_trajectory(path) as trajectory:
        loss = trajectory["evaluations/loss"].values
    assert len(loss) > 12 and loss[-1] < loss[0]


def test_bard_is_refined_to_rounding():
    vector, _, _ = run(LBFGS(), Shared(PROBLEMS[7].objective), PROBLEMS[7].start)
    exact = scipy.optimize.least_squares(
        lambda x: bard(x)[0], vector.numpy(), jac=lambda x: bard(x)[1], method="lm", xtol=1e-15, ftol=1e-15, gtol=1e-15
    ).x
    assert np.abs(vector.numpy() / exact - 1).max() < 1e-9
