"""Gauss-Newton: its step against least squares, scaling, conditioning, halving, rank, restart, standard problems."""

from fractions import Fraction

import numpy as np
import pytest
import scipy.linalg
import torch

from solvers import RandomFeatures, TangentProp, problems
from solvers.networks import Odd
from solvers.networks.odd_features import OddFeatures
from solvers.objective import Objective
from solvers.optimizers import GaussNewton
from tests.solvers.more_garbow_hillstrom import PROBLEMS, Evaluation

EPS = 2.0**-52


class Ungraded(Evaluation):
    """An evaluation whose gradient and Gram matrix are nobody's business."""

    @property
    def gradient(self):
        raise AssertionError("Gauss-Newton asked for the gradient")

    gram = gradient


def objective_of(function):
    return lambda vector: Ungraded(function, vector.detach().numpy().copy())


def linear(matrix, right):
    return objective_of(lambda x: (matrix @ x - right, matrix))


def run(function, start, steps=200, **options):
    optimizer, vector = GaussNewton(**options), torch.tensor(start, dtype=torch.float64)
    state, infos = optimizer.init(vector), []
    while len(infos) < steps and (not infos or infos[-1].stopped is None):
        state, info = optimizer.step(function, state)
        infos.append(info)
    return vector.numpy(), infos


@pytest.mark.parametrize(("rows", "columns"), [(30, 12), (12, 12), (12, 30)])
def test_one_step_solves_linear_least_squares(rows, columns):
    generator = np.random.default_rng(rows)
    matrix, right = generator.normal(size=(rows, columns)), generator.normal(size=rows)
    found, infos = run(linear(matrix, right), np.zeros(columns), steps=1)
    sizes = np.linalg.norm(matrix, axis=0)
    expected = np.linalg.lstsq(matrix / sizes, right, rcond=None)[0] / sizes
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert infos[0].step_length == 1.0 and infos[0].stopped is None


def test_the_step_starts_from_the_vector():
    generator = np.random.default_rng(5)
    matrix, right, start = generator.normal(size=(9, 4)), generator.normal(size=9), 100 * generator.normal(size=4)
    found, _ = run(linear(matrix, right), start, steps=1)
    np.testing.assert_allclose(found, np.linalg.lstsq(matrix, right, rcond=None)[0], atol=1e-11)


def test_columns_of_any_size_count_alike():
    generator = np.random.default_rng(0)
    matrix, scale = generator.normal(size=(20, 6)), 10.0 ** np.array([0, -18, 9, -12, 15, -5])
    right = matrix @ np.arange(1.0, 7.0)
    found, _ = run(linear(matrix * scale, right), np.zeros(6), steps=1)
    np.testing.assert_allclose(found * scale, np.arange(1.0, 7.0), rtol=1e-13)


def test_a_column_of_zeros_and_equal_columns_get_the_shortest_step():
    column = np.array([1.0, 2.0, 2.0])
    matrix = np.stack([column, np.zeros(3), column], axis=1)
    found, _ = run(linear(matrix, 4 * column), np.zeros(3), steps=1)
    np.testing.assert_allclose(found, [2.0, 0.0, 2.0], rtol=1e-14)


def test_singular_values_below_the_cut_are_left_out():
    turn = scipy.linalg.hadamard(4) / 2
    matrix = turn @ np.diag([1.0, 1e-3, 1e-7, 1e-9]) @ turn.T
    right = matrix @ np.ones(4) + 1e-4 * turn[:, 2]
    sizes = np.linalg.norm(matrix, axis=0)
    for cut, rank in ((1e-12, 4), (1e-5, 2), (0.1, 1)):
        left, values, turned = np.linalg.svd(matrix / sizes)
        expected = turned[:rank].T @ ((left[:, :rank].T @ right) / values[:rank]) / sizes
        assert (values > cut * values[0]).sum() == rank
        found, _ = run(linear(matrix, right), np.zeros(4), steps=1, rcond=cut)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_residual_of_a_hilbert_system_goes_down_to_rounding_where_normal_equations_stop_at_its_root():
    n = 12
    matrix = scipy.linalg.hilbert(n)
    right = np.array([float(sum(Fraction(1, i + j + 1) for j in range(n))) for i in range(n)])
    found, _ = run(linear(matrix, right), np.zeros(n), steps=3)
    residual = np.linalg.norm(matrix @ found - right)
    normal = np.linalg.solve(matrix.T @ matrix + 1e-15 * np.eye(n), matrix.T @ right)
    assert residual < 50 * EPS and np.linalg.norm(matrix @ normal - right) > 1e3 * residual


def test_the_step_is_halved_until_the_loss_falls():
    def arctan(x):
        return np.arctan(x), np.diag(1 / (1 + x**2))

    # The whole step from x ends at x - (1 + x^2) atan(x): farther out than x for |x| > 1.39.
    found, infos = run(objective_of(arctan), [10.0], steps=1)
    lengths = 0.5 ** np.arange(10)
    descents = lengths[np.abs(10 - lengths * 101 * np.arctan(10.0)) < 10]
    assert infos[0].step_length == descents[0] < 1
    # A halved step that takes little off is no sign of the end.
    assert run(objective_of(arctan), [10.0], steps=1, tolerance=0.999)[1][0].stopped is None
    assert found[0] == pytest.approx(10 - descents[0] * 101 * np.arctan(10.0), rel=1e-12)
    assert abs(run(objective_of(arctan), [10.0])[0][0]) < 1e-12


def test_where_no_halving_helps_the_vector_stays_and_the_run_ends():
    start = np.array([0.3, -0.7])
    found, infos = run(objective_of(lambda x: (1 + x - start, -np.eye(2))), start, halvings=4)
    assert (found == start).all() and len(infos) == 1
    assert infos[0].stopped == "the loss falls no more along the Gauss-Newton step, halved 4 times"


def test_a_tolerance_ends_the_run_at_the_first_whole_step_that_takes_little_off():
    # From x to x / 2 a step takes 3/4 off x^4; the constant is the floor.
    def function(x):
        return np.array([x[0] ** 2, 1e-3]), np.array([[2 * x[0]], [0.0]])

    loose, infos = run(objective_of(function), [1.0], tolerance=0.5)
    before, after = (2 * loose[0]) ** 4 + 1e-6, loose[0] ** 4 + 1e-6
    assert infos[-1].stopped == "a whole step takes off less than 0.5 of the loss" and infos[-1].step_length == 1.0
    assert 0.5 < after / before < 1 and (4 * loose[0]) ** 4 + 1e-6 > 2 * before
    assert len(run(objective_of(function), [1.0])[1]) > len(infos)


@pytest.mark.parametrize(
    ("residual", "jacobian", "expected"), [(np.nan, 1.0, "loss is not finite"), (1.0, np.inf, "Jacobian is not finite")]
)
def test_what_is_not_finite_ends_the_run(residual, jacobian, expected):
    found, infos = run(objective_of(lambda x: (np.array([residual]), np.array([[jacobian]]))), [2.0])
    assert found[0] == 2.0 and len(infos) == 1 and expected in infos[0].stopped


def test_a_restored_state_goes_on_as_if_nothing_had_happened():
    problem = next(p for p in PROBLEMS if p.name == "kowalik_osborne")
    function, optimizer = objective_of(problem.function), GaussNewton()
    vector = torch.tensor(problem.start, dtype=torch.float64)
    state, _ = optimizer.step(function, optimizer.init(vector))
    kept = state.to_arrays()
    optimizer.step(function, state)
    other = torch.zeros_like(vector)
    restored = optimizer.from_arrays(kept, other)
    assert not torch.equal(other, vector) and restored.vector is other
    optimizer.step(function, restored)
    assert torch.equal(other, vector)


def test_a_float32_vector_is_stepped_in_its_own_precision():
    matrix, right = np.array([[2.0, 0.0], [0.0, 4.0]]), np.array([2.0, 8.0])
    vector, optimizer = torch.zeros(2), GaussNewton()
    optimizer.step(linear(matrix.astype(np.float32), right.astype(np.float32)), optimizer.init(vector))
    assert vector.dtype == torch.float32 and vector.tolist() == [1.0, 2.0]


CONVERGES = ("rosenbrock", "powell_badly_scaled", "beale", "helical_valley", "bard", "gaussian", "box", "wood")
CONVERGES += ("kowalik_osborne", "variably_dimensioned", "brown_almost_linear", "broyden_tridiagonal")


@pytest.mark.parametrize("problem", [p for p in PROBLEMS if p.name in CONVERGES], ids=lambda p: p.name)
def test_standard_problems_end_at_a_minimum(problem):
    found, infos = run(objective_of(problem.function), problem.start, steps=300)
    residual, _ = problem.function(found)
    assert infos[-1].stopped is not None
    assert min(abs(residual @ residual - minimum) / max(minimum, 1e-12) for minimum in problem.minima) < 1e-6


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"rcond": 1.0}, "rcond"),
        ({"halvings": -1}, "halvings"),
        ({"tolerance": 1.0}, "tolerance"),
        ({"damping": 1.0}, "has no option 'damping'; it has rcond, halvings, tolerance"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, expected):
    with pytest.raises(ValueError, match=expected):
        GaussNewton(**options)


# Odd features, which it serves.


def test_odd_features_are_the_odd_part_summed_otherwise():
    features = RandomFeatures(1, 30, scale=3.0, seed=2)
    torch.nn.init.normal_(features.coefficient, generator=torch.Generator().manual_seed(0))
    x = torch.linspace(-2, 2, 21, dtype=torch.float64)[:, None]
    u = OddFeatures(features)
    torch.testing.assert_close(u(x), Odd(features)(x), rtol=0, atol=1e-13)
    assert torch.equal(u(-x), -u(x)) and u(x).abs().max() > 0.1
    with pytest.raises(ValueError, match="came Linear: write OddFeatures"):
        OddFeatures(torch.nn.Linear(1, 1))


def test_odd_features_are_linear_in_their_coefficients_to_rounding_and_the_jacobian_knows():
    problem, gaps = problems.selfsimilar_burgers(3), []
    points = problem.sample(interior=20)
    for make in (OddFeatures, Odd):
        network = make(RandomFeatures(1, 40, scale=10.0))
        objective = Objective(problem, network, TangentProp(backend="taylor"), points)
        plan, linear_part = objective.plan, lambda jet, coefficients: jet["x"]
        flat = 1e6 * torch.randn(40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        columns = objective(objective.vector).jacobian_of(plan, linear_part).detach()
        # Coefficients that build next to nothing of large features.
        _, _, right = torch.linalg.svd(columns)
        flat = 1e6 * right[-1]
        objective.vector.copy_(flat)
        gaps.append(float((plan(network)["x"].detach()[:, 0] - columns @ flat).abs().max()))
    assert gaps[0] < gaps[1] / 3
