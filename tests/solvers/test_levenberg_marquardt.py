"""Levenberg-Marquardt: its step against least squares, primal against dual, standard problems, singular matrices."""

import itertools
import statistics

import numpy as np
import pytest
import scipy.optimize
import torch

from solvers import MLP, AutoDiff
from solvers.objective import Objective
from solvers.optimizers import normal_equations
from solvers.optimizers.levenberg_marquardt import LevenbergMarquardt
from solvers.optimizers.normal_equations import NormalEquations
from solvers.problems import poisson_1d
from tests.solvers.more_garbow_hillstrom import PROBLEMS, Evaluation, Problem, rosenbrock


class Shared:
    """An objective that evaluates once a version of the vector; counts evaluations, Gram matrices and Jacobians."""

    def __init__(self, function):
        self.function, self.count, self.latest = function, 0, (None, None)
        self.asked = {"gram": 0, "jacobian": 0, "transposed": 0}

    def __call__(self, vector):
        if self.latest[0] != vector._version:
            self.count += 1
            self.latest = (vector._version, Watched(self, vector))
        return self.latest[1]


class Watched:
    """An evaluation that counts what is asked of it, and answers for its own vector only."""

    def __init__(self, owner, vector):
        self.owner, self.vector, self.version = owner, vector, vector._version
        self.inner = Evaluation(owner.function, vector.detach().numpy().copy())

    def __getattr__(self, name):
        assert self.vector._version == self.version, f"{name} of an evaluation at another vector"
        if name in self.owner.asked:
            self.owner.asked[name] += 1
        return getattr(self.inner, name)


def run(optimizer, function, start, steps=2000, dtype=torch.float64):
    objective, vector = Shared(function), torch.tensor(start, dtype=dtype)
    state, infos, path = optimizer.init(vector), [], [vector.clone()]
    for _ in range(steps):
        state, info = optimizer.step(objective, state)
        infos.append(info)
        path.append(vector.clone())
        if info.stopped:
            break
    return path, infos, state, objective


def curved(rows, columns, seed=0):
    """A residual A x + sin(B x) - b, consistent where rows < columns."""
    generator = np.random.default_rng(seed)
    first, second = generator.normal(size=(2, rows, columns))
    right = generator.normal(size=rows)

    def function(x):
        return first @ x + np.sin(second @ x) - right, first + np.cos(second @ x)[:, None] * second

    return function


# The step.


@pytest.mark.parametrize("form", ["primal", "dual"])
@pytest.mark.parametrize(("rows", "columns"), [(9, 4), (4, 9), (5, 5)])
def test_the_step_solves_the_damped_least_squares_problem(form, rows, columns):
    function, vector = curved(rows, columns), torch.linspace(-1, 1, columns, dtype=torch.float64)
    normal = NormalEquations.of(Shared(function), vector, form, 0.5)
    residual, jacobian = function(vector.numpy())
    assert normal.trace == pytest.approx((jacobian**2).sum(), rel=1e-13)
    for damping in (1e-3, 1.0, 1e3):
        found = normal.step(damping)
        tall = np.concatenate([jacobian, damping**0.5 * np.eye(columns)])
        expected = np.linalg.lstsq(tall, -np.concatenate([residual, np.zeros(columns)]), rcond=None)[0]
        assert np.abs(found.step.numpy() - expected).max() < 1e-10 * np.abs(expected).max()
        after = residual + jacobian @ expected
        assert found.promised == pytest.approx(residual @ residual - after @ after, rel=1e-9)
        assert found.damping == damping


@pytest.mark.parametrize("form", ["primal", "dual"])
@pytest.mark.parametrize(("rows", "columns"), [(9, 4), (4, 9)])
def test_the_acceleration_is_that_of_the_damped_path(form, rows, columns):
    """On quadratics, whose second difference is exact: r = A x + (B x)^2, r_ss = 2 (B s)^2."""
    first, second = np.random.default_rng(1).normal(size=(2, rows, columns))

    def function(x):
        return first @ x + (second @ x) ** 2, first + 2 * (second @ x)[:, None] * second

    vector = torch.linspace(-1, 1, columns, dtype=torch.float64)
    normal = NormalEquations.of(Shared(function), vector, form, 0.5)
    damped = normal.step(0.3)
    ahead = torch.from_numpy(function(vector.numpy() + 0.1 * damped.step.numpy())[0])
    found = normal.acceleration(damped, ahead).numpy()
    tall = np.concatenate([function(vector.numpy())[1], 0.3**0.5 * np.eye(columns)])
    curved = 2 * (second @ damped.step.numpy()) ** 2
    expected = np.linalg.lstsq(tall, -np.concatenate([curved, np.zeros(columns)]), rcond=None)[0]
    assert np.abs(found - expected).max() < 1e-10 * np.abs(expected).max()


@pytest.mark.parametrize(("rows", "columns"), [(6, 15), (8, 8), (20, 7)])
def test_primal_and_dual_iterates_are_the_same(rows, columns):
    start = np.linspace(-1, 1, columns).tolist()
    paths, dampings = [], []
    for form in ("primal", "dual"):
        path, infos, _, _ = run(LevenbergMarquardt(form=form), curved(rows, columns), start, steps=6)
        paths.append(torch.stack(path))
        dampings.append([info.damping for info in infos])
    assert len(paths[0]) == 7
    assert float((paths[0] - paths[1]).abs().max()) < 1e-8
    assert dampings[0] == pytest.approx(dampings[1], rel=1e-6)


@pytest.mark.parametrize(("rows", "columns", "asked"), [(6, 15, "gram"), (15, 6, "jacobian"), (6, 6, "jacobian")])
def test_auto_takes_the_smaller_side(rows, columns, asked):
    _, _, _, objective = run(LevenbergMarquardt(), curved(rows, columns), [0.5] * columns, steps=2)
    assert objective.asked["jacobian"] == (2 if asked == "jacobian" else 0)
    assert objective.asked["gram"] == (2 if asked == "gram" else 0)


def nielsen(function, x, steps, acceleration, share=1e-3):
    """Iterates by the book, without a Gram matrix; and how many trials left the acceleration out."""
    residual, jacobian = function(x)
    damping, growth = share * (jacobian**2).sum(), 2.0
    path, plain = [], 0

    def damped(right):
        tall = np.concatenate([jacobian, damping**0.5 * np.eye(len(x))])
        return np.linalg.lstsq(tall, -np.concatenate([right, np.zeros(len(x))]), rcond=None)[0]

    while len(path) < steps:
        step = damped(residual)
        bend = damped(200 * (function(x + 0.1 * step)[0] - residual - 0.1 * jacobian @ step))
        bent = 2 * np.linalg.norm(bend) <= acceleration * np.linalg.norm(step)
        plain += not bent
        moved = x + step + bend / 2 * bent
        trial, slopes = function(moved)
        promised = damping * step @ step - step @ (jacobian.T @ residual)
        gain = (residual @ residual - trial @ trial) / promised
        if gain > 0:
            x, residual, jacobian = moved, trial, slopes
            damping, growth = damping * max(1 / 3, 1 - (2 * gain - 1) ** 3), 2.0
            path.append(x)
        else:
            damping, growth = damping * growth, 2 * growth
    return np.array(path), plain


@pytest.mark.parametrize("form", ["primal", "dual"])
@pytest.mark.parametrize("acceleration", [0.0, 0.3])
def test_the_damping_follows_nielsens_rule(form, acceleration):
    optimizer = LevenbergMarquardt(form=form, acceleration=acceleration)
    path, _, _, objective = run(optimizer, rosenbrock, (-1.2, 1.0), steps=12)
    expected, plain = nielsen(rosenbrock, path[0].numpy(), 12, acceleration)
    assert np.abs(torch.stack(path[1:]).numpy() - expected).max() < 1e-9
    # Some trials were rejected, and none of them asked for another Jacobian.
    assert objective.asked["gram" if form == "dual" else "jacobian"] == 12
    assert objective.asked["transposed"] == 0 or form == "dual"
    trials = objective.count if acceleration == 0 else objective.count / 2
    assert trials > 13 and plain > 2
    if acceleration:
        assert plain < 0.7 * trials


# Standard problems.


def test_standard_problems_reach_their_minima_as_soon_as_scipy_does(capsys):
    lines, ratios, jacobians = [], [], []
    for problem in PROBLEMS:
        counts = []
        for acceleration in (0.0, 0.75):
            optimizer = LevenbergMarquardt(form="primal", acceleration=acceleration)
            path, infos, _, objective = run(optimizer, problem.function, problem.start)
            value = float(Evaluation(problem.function, path[-1].numpy()).value)
            assert any(abs(value - least) < 1e-6 * least + 1e-16 for least in problem.minima), problem.name
            assert infos[-1].stopped, problem.name
            counts.append((objective.count, objective.asked["jacobian"]))
        theirs = scipy.optimize.least_squares(
            lambda x, p=problem: p.function(x)[0],
            np.array(problem.start),
            jac=lambda x, p=problem: p.function(x)[1],
            method="lm",
            **dict.fromkeys(("ftol", "xtol", "gtol"), 1e-12),
        )
        (plain, first), (_, second) = counts
        ratios.append(plain / theirs.nfev)
        jacobians.append((first, second))
        lines.append(
            f"{problem.name:21s} {value:10.3e}; evaluations: plain {plain:3d}, scipy {theirs.nfev:3d}; Jacobians: "
            f"plain {first:3d}, accelerated {second:3d}"
        )
    shares = [second / first for first, second in jacobians]
    with capsys.disabled():
        medians = statistics.median(ratios), statistics.median(shares)
        print("\n" + "\n".join(lines) + "\nmedian ratios {:.2f} and {:.2f}".format(*medians))
    assert statistics.median(ratios) < 2
    assert statistics.median(shares) <= 1 and sum(b for _, b in jacobians) < 0.75 * sum(a for a, _ in jacobians)


@pytest.mark.parametrize("form", ["primal", "dual"])
def test_convergence_is_quadratic_near_a_residual_of_zero(form):
    optimizer = LevenbergMarquardt(damping=1e-14, form=form, tolerance_gradient=0.0)
    path, _, _, _ = run(optimizer, PROBLEMS[-2].function, (-0.6,) * 10, steps=6)
    root = scipy.optimize.fsolve(lambda x: PROBLEMS[-2].function(x)[0], path[-1].numpy(), xtol=1e-15)
    errors = [float(np.linalg.norm(point.numpy() - root)) for point in path]
    seen = [(before, after) for before, after in itertools.pairwise(errors) if before < 0.5 and after > 1e-13]
    assert len(seen) >= 2
    assert all(after < 2 * before**2 for before, after in seen) and errors[-1] < 1e-13


# Where it must survive.


@pytest.mark.parametrize("form", ["primal", "dual"])
def test_a_singular_gram_matrix_raises_the_damping_and_never_fails(form):
    def repeated(x):
        row = np.array([1.0, 2.0, 3.0])
        return np.full(3, row @ x - 1.0), np.tile(row, (3, 1))

    path, infos, _, _ = run(LevenbergMarquardt(damping=1e-30, form=form), repeated, (1.0, 1.0, 1.0), steps=5)
    assert infos[0].damping >= np.finfo(float).eps * 42
    assert abs(float(path[-1] @ torch.tensor([1.0, 2.0, 3.0]).double()) - 1) < 1e-10
    assert infos[-1].stopped


@pytest.mark.parametrize("form", ["primal", "dual"])
def test_a_region_without_values_is_survived(form):
    def logarithm(x):
        with np.errstate(all="ignore"):
            return np.log(x), np.diag(1 / x)

    path, infos, _, _ = run(LevenbergMarquardt(damping=1e-10, form=form), logarithm, (30.0, 4.0))
    assert (path[-1] - 1).abs().max() < 1e-10 and infos[-1].stopped


@pytest.mark.parametrize("function", [lambda x: (x - 3, np.eye(2)), lambda x: (np.ones(2), np.zeros((2, 2)))])
def test_nothing_moves_where_the_gradient_is_zero(function):
    path, infos, _, objective = run(LevenbergMarquardt(), function, (3.0, 3.0))
    assert infos[0].stopped == "gradient below tolerance_gradient = 1e-12" and objective.count == 1
    assert path[-1].tolist() == [3.0, 3.0] and objective.asked["jacobian"] == 0


def test_a_start_or_a_jacobian_that_is_not_finite_stops_and_says_so():
    _, infos, _, _ = run(LevenbergMarquardt(), lambda x: (x * np.nan, np.eye(2)), (1.0, 1.0))
    assert "nothing to descend on" in infos[0].stopped

    class Broken(Shared):
        def __call__(self, vector):
            evaluation = super().__call__(vector)
            evaluation.inner.__dict__["gradient"] = torch.ones(2).double()
            return evaluation

    vector = torch.ones(2).double()
    optimizer = LevenbergMarquardt()
    _, info = optimizer.step(Broken(lambda x: (x, np.full((2, 2), np.inf))), optimizer.init(vector))
    assert info.stopped == "the Jacobian is not finite: no step can be computed" and vector.tolist() == [1.0, 1.0]


def lying(x):
    return 1 + x**2, -2 * np.diag(x)


@pytest.mark.parametrize("form", ["primal", "dual"])
def test_a_step_rejected_throughout_puts_the_vector_back_exactly(form):
    start = (0.1, 1 / 3)
    path, infos, state, objective = run(LevenbergMarquardt(form=form, max_rejections=3), lying, start, steps=1)
    assert infos[0].stopped is None and torch.equal(path[0], path[1])
    # Four trials: mu, 2 mu, 8 mu, 64 mu; the next step begins at 1024 mu.
    first = 1e-3 * float(np.square(lying(np.array(start))[1]).sum())
    assert infos[0].damping == pytest.approx(64 * first) and state.damping == pytest.approx(1024 * first)
    assert objective.asked["gram" if form == "dual" else "jacobian"] == 1
    path, infos, _, _ = run(LevenbergMarquardt(form=form), lying, start)
    assert infos[-1].stopped == "no decrease possible: damping above max_damping = 1e+12 of the trace"
    assert torch.equal(path[0], path[-1])


def test_a_step_below_its_tolerance_stops():
    _, infos, _, _ = run(LevenbergMarquardt(tolerance_step=0.05), rosenbrock, (-1.2, 1.0))
    assert infos[-1].stopped == "step below tolerance_step = 0.05" and 2 < len(infos) < 30


def test_a_loss_that_no_longer_falls_stops_after_ten_steps():
    # 1 + (c / x)^2 falls for ever, by less than c^2 together.
    def slow(x):
        return np.array([1.0, 9e-4 / x[0]]), np.array([[0.0], [-9e-4 / x[0] ** 2]])

    _, infos, _, _ = run(LevenbergMarquardt(tolerance_gradient=0.0, tolerance_change=1e-6), slow, (1.0,))
    assert infos[-1].stopped == "10 steps without a relative decrease above tolerance_change = 1e-06"
    assert len(infos) == 10


def test_single_precision_works():
    path, infos, _, _ = run(LevenbergMarquardt(), rosenbrock, (-1.2, 1.0), dtype=torch.float32)
    assert path[-1].dtype == torch.float32 and infos[-1].stopped
    assert (path[-1] - 1).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("form", "rows", "columns", "message"),
    [
        (
            "dual",
            9,
            4,
            r"came .* GiB for 9 rows and 4 parameters: use form='primal', fewer points, a smaller network, or",
        ),
        ("primal", 4, 9, r"use form='dual', fewer points"),
        ("auto", 4, 9, r"Levenberg-Marquardt, dual: .*parameters: use fewer points, a smaller network, or LBFGS\(\)"),
    ],
)
def test_matrices_that_do_not_fit_are_refused(form, rows, columns, message, monkeypatch):
    size = rows if form == "dual" or (form == "auto") else columns
    needed = 8 * (3 * size**2 + (rows * columns if form == "primal" else 0))
    monkeypatch.setattr(normal_equations, "available_memory", lambda: 2 * needed)
    run(LevenbergMarquardt(form=form), curved(rows, columns), [0.0] * columns, steps=1)
    monkeypatch.setattr(normal_equations, "available_memory", lambda: 2 * needed - 2)
    objective, vector = Shared(curved(rows, columns)), torch.zeros(columns).double()
    optimizer = LevenbergMarquardt(form=form)
    with pytest.raises(ValueError, match=message):
        optimizer.step(objective, optimizer.init(vector))
    assert objective.asked["gram"] == objective.asked["jacobian"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mu": 1.0}, "LevenbergMarquardt has no option 'mu'; it has damping, form, acceleration, max_rejections"),
        ({"form": "both"}, "one of 'auto', 'primal', 'dual', came form = 'both'"),
        ({"damping": 0.0}, "0 < damping < max_damping, shares of the trace, came damping = 0.0"),
        ({"max_damping": 1e-4}, "came damping = 0.001, max_damping = 0.0001"),
        ({"acceleration": True}, "LevenbergMarquardt: expected a number, came acceleration = True"),
        ({"acceleration": -1.0}, "a ratio of lengths, at least 0, came acceleration = -1.0"),
        ({"max_rejections": -1}, "a number of rejections, at least 0"),
        ({"tolerance_change": -1.0}, "a tolerance of at least 0, came tolerance_change = -1.0"),
        ({"memory_fraction": 0.0}, "a share of the memory, above 0, at most 1"),
    ],
)
def test_invalid_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LevenbergMarquardt(**options)


@pytest.mark.parametrize("steps", [0, 5])
def test_a_restored_state_continues_to_the_last_bit(steps):
    problem: Problem = PROBLEMS[12]
    optimizer, objective = LevenbergMarquardt(), Shared(problem.function)
    vector = torch.tensor(problem.start, dtype=torch.float64)
    state = optimizer.init(vector)
    for _ in range(steps):
        state, _ = optimizer.step(objective, state)
    again = torch.zeros(4).double()
    other = optimizer.from_arrays(state.to_arrays(), again)
    for _ in range(6):
        state, info = optimizer.step(objective, state)
        other, same = optimizer.step(Shared(problem.function), other)
        assert torch.equal(vector, again) and info == same
    assert all(
        np.array_equal(a, b) for a, b in zip(state.to_arrays().values(), other.to_arrays().values(), strict=True)
    )


# A network.


def trained(form, steps):
    torch.manual_seed(2)
    problem = poisson_1d()
    objective = Objective(problem, MLP(1, [8, 8]).double(), AutoDiff(), problem.sample(interior=24, boundary=2))
    optimizer = LevenbergMarquardt(form=form)
    state, losses = optimizer.init(objective.vector), []
    for _ in range(steps):
        losses.append(float(objective.begin_step().value.detach()))
        state, _ = optimizer.step(objective, state)
    return losses


def test_a_network_is_trained_alike_in_both_forms():
    primal, dual = (trained(form, 30) for form in ("primal", "dual"))
    assert primal[:8] == pytest.approx(dual[:8], rel=1e-6)
    assert dual[-1] < 1e-7 * dual[0] and primal[-1] < 1e-7 * primal[0]
