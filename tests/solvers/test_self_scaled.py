"""SSBroyden and SSBFGS: the update against slow twins, standard problems beside scipy, rounding, checkpoints."""

import math
import statistics
from types import SimpleNamespace

import mpmath
import numpy as np
import pytest
import scipy.optimize
import torch

from solvers import LBFGS, MLP, SSBFGS, SSBroyden, TangentProp, train
from solvers.optimizers import self_scaled
from solvers.optimizers.broyden import BroydenUpdate
from solvers.optimizers.inverse_hessian import ROOM, InverseHessian
from solvers.optimizers.rounding import loss_rounding
from solvers.problems import poisson_1d
from tests.solvers.more_garbow_hillstrom import PROBLEMS
from tests.solvers.test_lbfgs import Lying, Shared, run, smooth

BOTH = pytest.mark.parametrize("method", [SSBroyden, SSBFGS])


# The update.


def twin(matrix, s, y, tau, phi):
    """H_+ term by term, with outer products."""
    p, curvature = matrix @ y, s @ y
    around = y @ p
    v = s / curvature - p / around
    scaled = matrix - np.outer(p, p) / around + phi * around * np.outer(v, v)
    return scaled / tau + np.outer(s, s) / curvature


def updated(inverse, s, y, tau, phi):
    """Update with numpy vectors; returns the product of the new H with y, found without H."""
    s, y = torch.from_numpy(s), torch.from_numpy(y)
    p = inverse.product(y)
    update = BroydenUpdate(s, p, float(s @ y), float(y @ p) / float(s @ y), tau, phi)
    inverse.update(update)
    return update.applied(p, y)


@pytest.mark.parametrize("phi", [1.0, 0.0, 0.4, 3.0, -0.3])
def test_updates_are_those_of_dense_matrices(phi):
    generator = np.random.default_rng(3)
    hessian = np.diag(np.logspace(-1, 1, 9))
    inverse, matrix = InverseHessian(torch.zeros(9)), np.eye(9)
    # More than the pairs that wait, twice over.
    for number in range(2 * ROOM + 3):
        s = generator.normal(size=9)
        y = hessian @ s
        tau = (0.7, 1.0, 1.3)[number % 3]
        matrix = twin(matrix, s, y, tau, phi)
        ahead = updated(inverse, s, y, tau, phi)
        size = np.abs(matrix).max()
        dense = inverse.dense().numpy()
        other = generator.normal(size=9)
        assert np.abs(dense - matrix).max() < 1e-10 * size
        assert np.abs(inverse.product(torch.from_numpy(other)).numpy() - matrix @ other).max() < 1e-10 * size
        assert np.abs(ahead.numpy() - s).max() < 1e-10 * size
        assert np.array_equal(dense, dense.T)


@pytest.mark.parametrize(("phi", "tau", "count"), [(1.0, 1.0, 1), (0.0, 0.5, 1), (1.5, 1.0, 1), (1.5, 50.0, 2)])
def test_an_update_is_one_pair_or_two(phi, tau, count):
    s, p = torch.tensor([1.0, 2.0, -1.0]).double(), torch.tensor([0.5, 1.0, 3.0]).double()
    update = BroydenUpdate(s, p, 2.0, 1.5, tau, phi)
    pairs = update.pairs()
    a, b, c = update.entries
    exact = a * torch.outer(p, p) + b * (torch.outer(p, s) + torch.outer(s, p)) + c * torch.outer(s, s)
    found = sum(torch.outer(u, w) + torch.outer(w, u) for u, w in pairs)
    assert len(pairs) == count and torch.allclose(found, exact, rtol=1e-13, atol=1e-13)


def test_no_second_triangle_is_read_or_written():
    inverse = InverseHessian(torch.zeros(5))
    inverse._matrix.tril(-1)
    inverse._matrix += torch.full((5, 5), math.nan).double().tril(-1)
    generator = np.random.default_rng(0)
    for _ in range(ROOM + 2):
        s = generator.normal(size=5)
        updated(inverse, s, 2 * s, 1.0, 1.0)
    assert bool(torch.isfinite(inverse.product(torch.ones(5).double())).all())
    assert bool(inverse._matrix.tril(-1).isnan().sum() == 10)


def test_the_full_matrix_of_other_devices_gives_the_same(monkeypatch):
    """The branch for accelerators, on the CPU: the matrix is symmetric to the last bit."""
    generator = np.random.default_rng(1)
    one, other = InverseHessian(torch.zeros(7)), InverseHessian(torch.zeros(7))
    other._blas = None
    for _ in range(3 * ROOM):
        s = generator.normal(size=7)
        y = np.linspace(1, 3, 7) * s
        for inverse in (one, other):
            updated(inverse, s, y, 0.9, 0.8)
    assert torch.allclose(one.dense(), other.dense(), rtol=1e-10, atol=1e-12)
    other._fold()
    assert torch.equal(other._matrix, other._matrix.T)


def exact_factors(h, b, size):
    """Al-Baali and Khalfan's tau and phi with 50 digits."""
    with mpmath.workdps(50):
        h, b = mpmath.mpf(h), mpmath.mpf(b)
        a = b * h - 1
        least = min(1, h * (1 - mpmath.sqrt(a / (1 + a))))
        theta = max((least - 1) / a, min(1 / least, 1 / b - 1))
        sigma = 1 + theta * a
        spread, short = sigma ** (mpmath.mpf(1) / (1 - size)), min(1, 1 / b)
        tau = min(short * spread, sigma) if theta <= 0 else min(short * spread, short / theta)
        return float(tau), float((1 - theta) / sigma), float(sigma)


@pytest.mark.parametrize("size", [2, 10, 500])
@pytest.mark.parametrize(("h", "b"), [(0.3, 5.0), (4.0, 0.4), (2.0, 3.0), (30.0, 0.05), (1e4, 1e-3), (0.01, 900.0)])
def test_the_factors_of_ssbroyden(h, b, size):
    tau, phi, sigma = exact_factors(h, b, size)
    assert SSBroyden()._factors(h, b, size, first=False) == pytest.approx((tau, phi), rel=1e-9)
    assert SSBroyden()._factors(h, b, size, first=True) == pytest.approx((h / sigma, phi), rel=1e-9)


@pytest.mark.parametrize("first", [True, False])
def test_an_update_along_what_is_nearly_singular_is_that_of_bfgs(first):
    """Where 1 - sqrt(a / (1 + a)) rounds to 0, so would sigma, by which all is divided."""
    for h, b in ((1.0, 1e16), (1e20, 1.0), (1e-8, 1e18)):
        assert SSBroyden()._factors(h, b, 9, first=first) == (h if first else min(1.0, 1 / b), 1.0)


def test_the_factors_of_ssbfgs_and_of_one_unknown():
    assert SSBFGS()._factors(3.0, 4.0, 5, first=False) == (0.25, 1.0)
    assert SSBFGS()._factors(3.0, 0.5, 5, first=False) == (1.0, 1.0)
    assert SSBFGS()._factors(3.0, 4.0, 5, first=True) == (3.0, 1.0)
    for first in (True, False):
        assert all(map(math.isfinite, SSBroyden()._factors(2.0, 0.5, 1, first)))


@BOTH
def test_a_step_is_that_of_the_slow_twin(method):
    """A whole run beside a loop with dense matrices, which takes the steps' lengths from it."""
    problem, optimizer = PROBLEMS[-1], method()
    objective = Shared(problem.objective)
    vector = torch.tensor(problem.start, dtype=torch.float64)
    state, matrix = optimizer.init(vector), np.eye(20)
    for number in range(25):
        x, gradient = vector.numpy().copy(), objective(vector).gradient.numpy().copy()
        state, info = optimizer.step(objective, state)
        direction = -matrix @ gradient
        assert np.abs(vector.numpy() - x - info.step_length * direction).max() < 1e-6 * np.abs(vector.numpy() - x).max()
        s, y = vector.numpy() - x, objective(vector).gradient.numpy() - gradient
        h, b = (y @ matrix @ y) / (s @ y), -info.step_length * (s @ gradient) / (s @ y)
        matrix = twin(matrix, s, y, *optimizer._factors(h, b, 20, first=number == 0))


# Standard problems.


@BOTH
def test_a_quadratic_is_solved_in_about_as_many_steps_as_unknowns(method):
    eigenvalues = torch.logspace(0, 1, 6).double()
    vector, infos, _ = run(
        method(curvature=1e-3, max_evaluations=60), smooth(lambda x: (eigenvalues * x**2).sum() / 2), [1.0] * 6, 9
    )
    assert float(vector.abs().max()) < 1e-5 and len(infos) <= 9


def scipys(problem):
    def both(x):
        residual, jacobian = problem.function(x)
        return residual @ residual, 2 * jacobian.T @ residual

    options = {"gtol": 1e-12, "maxiter": 20000}
    with np.errstate(all="ignore"):
        found = scipy.optimize.minimize(both, np.array(problem.start), jac=True, method="BFGS", options=options)
    return found.nfev, float(found.fun)


@BOTH
def test_standard_problems_reach_their_minima_as_soon_as_scipys_bfgs_does(method, capsys):
    lines, ratios = [], []
    for problem in PROBLEMS:
        objective = Shared(problem.objective)
        vector, infos, state = run(method(), objective, problem.start)
        value, (theirs, their_value) = float(problem.objective(vector).value), scipys(problem)
        assert any(abs(value - least) < 1e-6 * least + 1e-16 for least in problem.minima), problem.name
        assert infos[-1].stopped, problem.name
        dense = state.inverse.dense()
        assert torch.equal(dense, dense.T)
        if their_value < value * (1 + 1e-6) + 1e-14:
            ratios.append(objective.count / theirs)
        lines.append(f"{problem.name:21s} {value:10.3e} in {objective.count:4d}, scipy {their_value:10.3e} in {theirs}")
    with capsys.disabled():
        print(f"\n{method.__name__}\n" + "\n".join(lines) + f"\nmedian ratio {statistics.median(ratios):.2f}")
    assert len(ratios) >= 16 and statistics.median(ratios) < 1.5


@BOTH
def test_rosenbrock_from_many_starts(method):
    generator, counts = np.random.default_rng(0), []
    for _ in range(40):
        objective = Shared(PROBLEMS[0].objective)
        vector, _, _ = run(method(), objective, generator.uniform(-5, 5, 2).tolist(), steps=300)
        assert (vector - 1).abs().max() < 1e-8
        counts.append(objective.count)
    assert statistics.median(counts) < 80


# Rounding.


def test_the_rounding_of_a_loss_grows_as_it_falls():
    double = [loss_rounding(value, torch.float64) for value in (1e6, 1e-2, 1e-18, 1e-40, 0.0)]
    assert double == pytest.approx([1e-10, 1e-10, 64 * 2**-52 * 1e9, 1e-2, 1e-10])
    assert loss_rounding(1e-18, torch.float64, caution=10.0) == pytest.approx(10 * double[2])
    assert loss_rounding(1.0, torch.float64, caution=1e20) == 1e-2
    assert loss_rounding(1e8, torch.float32) == 1e-6 and loss_rounding(1.0, torch.float32) > 7e-6


def cancelling(offset, decades, seed, unknowns, rows):
    """Sum of squares of (offset + t) - offset, t = J x + 0.3 (J x)^2, J with singular values 1 to 10^-decades."""
    generator = np.random.default_rng(seed)
    left, right = (np.linalg.qr(generator.normal(size=(m, unknowns)))[0] for m in (rows, unknowns))
    jacobian = torch.from_numpy(left * np.logspace(0, -decades, unknowns) @ right.T)

    def evaluate(x):
        t = jacobian @ x
        residual = (offset + t + 0.3 * t**2) - offset
        return SimpleNamespace(value=residual @ residual, gradient=2 * jacobian.T @ (residual * (1 + 0.6 * t)))

    return evaluate, generator.normal(size=unknowns).tolist()


def test_a_growing_rounding_lets_a_loss_fall_where_a_fixed_one_ends():
    gains = []
    for seed in range(3):
        evaluate, start = cancelling(1.0, 8, seed, unknowns=30, rows=40)
        ends = []
        for noise in (1e-10, None):
            vector, _, _ = run(LBFGS(noise=noise, tolerance_gradient=0.0), Shared(evaluate), start, steps=900)
            ends.append(float(evaluate(vector).value))
        gains.append(ends[0] / ends[1])
    assert statistics.median(gains) > 30


# Where it must survive.


@BOTH
def test_a_region_without_values_is_survived(method):
    vector, infos, _ = run(method(), smooth(lambda x: (x - x.log()).sum()), [0.01, 30.0, 2.0])
    assert (vector - 1).abs().max() < 1e-7 and infos[-1].stopped


def test_the_reasons_of_a_stop_are_those_of_lbfgs():
    _, infos, _ = run(SSBroyden(), smooth(lambda x: (x * math.nan).sum()), [1.0, 2.0])
    assert len(infos) == 1 and "is not finite: nothing to descend on" in infos[0].stopped
    _, infos, _ = run(SSBroyden(), smooth(lambda x: (x - 3).square().sum()), [3.0, 3.0])
    assert infos[0].stopped == "gradient below tolerance_gradient = 1e-12"
    _, infos, _ = run(SSBroyden(tolerance_step=0.1), Shared(PROBLEMS[0].objective), (-1.2, 1.0))
    assert infos[-1].stopped == "step below tolerance_step = 0.1" and len(infos) > 1
    start = [0.1, 1 / 3, -7.0]
    vector, infos, _ = run(SSBFGS(), Shared(Lying), start)
    assert infos[0].stopped.startswith("no decrease possible")
    assert torch.equal(vector, torch.tensor(start, dtype=torch.float64))


@pytest.mark.parametrize("spoiled", [-1.0, math.nan])
def test_a_matrix_that_points_uphill_is_dropped_for_steepest_descent(spoiled):
    objective = Shared(PROBLEMS[0].objective)
    vector, _, state = run(SSBroyden(), objective, (-1.2, 1.0), steps=8)
    assert state.inverse.learnt
    state.direction = state.direction * spoiled
    start, gradient = vector.clone(), objective(vector).gradient
    state, info = SSBroyden().step(objective, state)
    assert info.stopped is None
    assert torch.allclose(vector - start, -gradient * info.step_length, rtol=1e-9, atol=0)
    # One update of the unit matrix since.
    assert state.inverse._count == 1 and torch.equal(state.inverse._matrix, torch.eye(2).double())


@pytest.mark.parametrize(("noise", "caution"), [(1e-10, 1.0), (None, 100.0)])
def test_a_failed_search_is_repeated_with_more_caution_before_the_matrix_is_dropped(noise, caution):
    """A loss whose values rise by 1e-10 with every evaluation from the third step on; its slopes are right."""
    weights, count = torch.tensor([1.0, 3.0, 10.0, 50.0]).double(), [0]

    def evaluate(x):
        count[0] += drifting
        return SimpleNamespace(
            value=1e-6 * (weights * x**2).sum() * (not drifting) + 1 + 1e-10 * count[0], gradient=1e-6 * weights * x
        )

    drifting = False
    optimizer, objective = SSBFGS(noise=noise, tolerance_gradient=0.0), Shared(evaluate)
    vector, _, state = run(optimizer, objective, [1.0, -2.0, 3.0, 1.0], steps=3)
    drifting, before = True, objective(vector).gradient.norm()
    for _ in range(4):
        state, info = optimizer.step(Shared(evaluate), state)
    assert state.caution == caution and state.inverse.learnt == (noise is None)
    assert (info.stopped is None) == (noise is None)
    assert bool(objective(vector).gradient.norm() < before / 2) == (noise is None)


def test_negative_curvature_leaves_the_matrix_alone():
    # A search cut short on the way down a concave slope: s y < 0.
    _, _, state = run(SSBroyden(max_evaluations=1), smooth(lambda x: torch.cos(x).sum()), [0.1, 0.2], steps=1)
    assert not state.inverse.learnt and torch.equal(state.direction, -state.gradient)


def test_a_matrix_that_is_not_finite_is_dropped():
    objective = Shared(PROBLEMS[0].objective)
    _, _, state = run(SSBroyden(), objective, (-1.2, 1.0), steps=8)
    state.inverse._matrix.fill_(math.nan)
    state, info = SSBroyden().step(objective, state)
    assert info.stopped is None and not state.inverse.learnt
    assert torch.equal(state.direction, -state.gradient) and bool(torch.isfinite(state.gradient).all())


@BOTH
def test_single_precision_works_with_a_matrix_in_double(method):
    vector, infos, state = run(method(), Shared(PROBLEMS[0].objective), (-1.2, 1.0), dtype=torch.float32)
    assert vector.dtype == torch.float32 and state.inverse._matrix.dtype == state.direction.dtype == torch.float64
    assert (vector - 1).abs().max() < 1e-3 and infos[-1].stopped


def test_another_loss_between_steps_is_noticed():
    def scaled(factor):
        return smooth(lambda x: factor * ((x[1] - x[0] ** 2) ** 2 + 0.1 * (1 - x[0]) ** 2))

    results = []
    for forget in (False, True):
        vector, _, state = run(SSBFGS(), scaled(1.0), (-1.2, 1.0), steps=6)
        vector.add_(0.01)
        if forget:
            state.gradient = state.gradient[:0]
        SSBFGS().step(scaled(2.0), state)
        results.append(vector.clone())
    assert torch.equal(*results)


# Refusals.


@BOTH
def test_what_does_not_fit_is_refused(method, monkeypatch):
    monkeypatch.setattr(self_scaled, "available_memory", lambda: 2**20)
    method().init(torch.zeros(256).double())
    with pytest.raises(ValueError, match=r"came 0.00\d+ GiB for 300 parameters: use a smaller network, or LBFGS\(\)"):
        method().init(torch.zeros(300).double())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"history": 10}, "SSBroyden has no option 'history'; it has max_evaluations, decrease, curvature"),
        ({"max_evaluations": 0}, "at least one evaluation a search"),
        ({"decrease": 0.95}, "0 < decrease < 1/2 and decrease < curvature < 1"),
        ({"tolerance_step": float("nan")}, "came tolerance_step = nan"),
        ({"noise": 1.0}, "a share of the loss, below 1"),
        ({"memory_fraction": 0.0}, "a share of the memory, above 0, at most 1, came memory_fraction = 0.0"),
        ({"memory_fraction": "all"}, "SSBroyden: expected a number, came memory_fraction = 'all'"),
    ],
)
def test_invalid_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SSBroyden(**options)


# Checkpoints.


@BOTH
@pytest.mark.parametrize("steps", [0, 3, ROOM, 2 * ROOM + 5])
def test_a_restored_state_continues_to_the_last_bit(method, steps):
    optimizer, start = method(), PROBLEMS[-1].start
    vector, _, state = run(optimizer, Shared(PROBLEMS[-1].objective), start, steps=steps)
    arrays = state.to_arrays()
    kept = {name: values.copy() for name, values in arrays.items()}
    again = torch.zeros(len(start), dtype=torch.float64)
    other = optimizer.from_arrays(arrays, again)
    assert torch.equal(again, vector)
    for _ in range(ROOM + 3):
        state, _ = optimizer.step(Shared(PROBLEMS[-1].objective), state)
        other, _ = optimizer.step(Shared(PROBLEMS[-1].objective), other)
        assert torch.equal(vector, again)
    assert all(np.array_equal(kept[name], arrays[name], equal_nan=True) for name in kept)
    ends = zip(state.to_arrays().values(), other.to_arrays().values(), strict=True)
    assert all(np.array_equal(a, b) for a, b in ends)


def test_the_caution_is_restored():
    _, _, state = run(SSBFGS(), Shared(PROBLEMS[0].objective), (-1.2, 1.0), steps=4)
    state.caution = 100.0
    assert SSBFGS().from_arrays(state.to_arrays(), torch.zeros(2).double()).caution == 100.0


def test_a_state_of_another_network_is_refused():
    _, _, state = run(SSBFGS(), Shared(PROBLEMS[0].objective), (-1.2, 1.0), steps=4)
    with pytest.raises(ValueError, match="of 3 parameters, came one of 2: restore with the network that wrote it"):
        SSBFGS().from_arrays(state.to_arrays(), torch.zeros(3).double())


# A network.


def test_a_network_ends_lower_than_with_lbfgs_after_as_many_evaluations():
    losses = {}
    for method in (LBFGS, SSBFGS, SSBroyden):
        torch.manual_seed(1)
        problem = poisson_1d()
        network, points = MLP(1, [8, 8]).double(), problem.sample(interior=32, boundary=2)
        steps = {"points": points, "steps": 250, "progress": False}
        losses[method] = train(problem, network, TangentProp(), method(), **steps).loss
    assert max(losses[SSBFGS], losses[SSBroyden]) < losses[LBFGS] / 10


@pytest.mark.cuda
def test_an_accelerator_takes_the_same_steps(cuda):
    ends = []
    for device in ("cpu", cuda):
        vector = torch.linspace(-1.2, 1.0, 40, dtype=torch.float64, device=device)
        objective = smooth(lambda x: (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())
        optimizer = SSBroyden()
        state = optimizer.init(vector)
        for _ in range(ROOM + 4):
            state, _ = optimizer.step(objective, state)
        restored = optimizer.from_arrays(state.to_arrays(), torch.zeros_like(vector))
        assert torch.equal(restored.inverse._matrix, state.inverse._matrix)
        ends.append(vector.cpu())
    assert torch.allclose(*ends, rtol=1e-6, atol=1e-9)
