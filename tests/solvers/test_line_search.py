"""The line search: Wolfe's conditions on random functions, regions without values, rounding, lines without a bottom."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers.optimizers.line_search import StrongWolfe, Trial


class Counted:
    """A function of t with its derivative, as trials; keeps what it was asked."""

    def __init__(self, value, slope):
        self.value, self.slope, self.asked = value, slope, []

    def __call__(self, step):
        self.asked.append(step)
        return Trial(step, float(self.value(step)), float(self.slope(step)))

    def search(self, step, wolfe=None, **options):
        start = self(0.0)
        self.asked.clear()
        return start, (wolfe or StrongWolfe())(self, start, step, **options)


def wavy(seed):
    """A quadratic under a few sines, with its derivative; it falls at 0."""
    generator = np.random.default_rng(seed)
    amplitude, frequency, phase = generator.normal(size=(3, 4)) * [[1.0], [3.0], [3.0]]
    centre, curvature = generator.normal() * 3, 10 ** generator.uniform(-2, 2)

    def slope(t):
        return curvature * (t - centre) + float((amplitude * frequency * np.cos(frequency * t + phase)).sum())

    sign = -1.0 if slope(0.0) > 0 else 1.0
    value = lambda t: curvature * (t - centre) ** 2 / 2 + float((amplitude * np.sin(frequency * t + phase)).sum())  # noqa: E731
    return Counted(lambda t: value(sign * t), lambda t: sign * slope(sign * t))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**6), st.floats(-4, 3), st.sampled_from([(1e-4, 0.9), (1e-4, 0.1), (0.3, 0.4), (1e-3, 1e-3)]))
def test_both_conditions_hold_on_random_functions(seed, exponent, constants):
    line, (decrease, curvature) = wavy(seed), constants
    start, found = line.search(10**exponent, StrongWolfe(decrease, curvature, max_evaluations=60))
    trial = found.trial
    assert found.status == "wolfe" and trial.step > 0
    assert trial.value <= start.value + decrease * trial.step * start.slope
    assert abs(trial.slope) <= curvature * abs(start.slope)
    assert found.evaluations == len(line.asked) and trial.step == line.asked[-1]


def test_few_evaluations_are_enough_on_random_functions():
    counts = [wavy(seed).search(1.0)[1].evaluations for seed in range(300)]
    assert np.mean(counts) < 3.0 and max(counts) <= 12


def test_a_step_of_the_right_length_costs_one_evaluation():
    line = Counted(lambda t: (t - 1.0) ** 2, lambda t: 2 * (t - 1.0))
    assert line.search(0.9)[1].evaluations == 1
    assert line.asked == [0.9]


def test_a_cubic_is_minimised_by_one_interpolation():
    line = Counted(lambda t: t**3 / 3 - t, lambda t: t**2 - 1)
    _, found = line.search(2.5, StrongWolfe(curvature=1e-6))
    assert found.evaluations == 2 and found.trial.step == pytest.approx(1.0, rel=1e-12)


def test_a_cubic_is_minimised_by_one_extrapolation():
    line = Counted(lambda t: t**3 / 3 - t, lambda t: t**2 - 1)
    _, found = line.search(0.25, StrongWolfe(curvature=1e-6))
    assert found.evaluations == 2 and found.trial.step == pytest.approx(1.0, rel=1e-12)


def test_far_away_minima_are_reached_by_tenfold_steps():
    line = Counted(lambda t: (t / 1e6 - 1) ** 2, lambda t: 2e-6 * (t / 1e6 - 1))
    _, found = line.search(1.0, StrongWolfe(curvature=0.1))
    assert found.status == "wolfe" and found.evaluations == 7
    assert line.asked[:4] == [1.0, 10.0, 100.0, 1000.0]


@pytest.mark.parametrize("beyond", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("edge", [0.5, 1e-6, 3.0])
def test_a_region_without_finite_values_is_left(beyond, edge):
    line = Counted(
        lambda t: (t / edge - 0.6) ** 2 if t < edge else beyond,
        lambda t: 2 * (t / edge - 0.6) / edge if t < edge else 0.0,
    )
    start, found = line.search(10.0, StrongWolfe(curvature=0.1))
    assert found.status == "wolfe" and found.trial.value < start.value
    assert 0.5 * edge < found.trial.step < 0.7 * edge
    # Tenfold shorter steps, not halves, lead out of it.
    assert found.evaluations <= 12


def test_a_slope_that_is_not_finite_counts_like_a_value():
    line = Counted(lambda t: (t - 0.3) ** 2, lambda t: 2 * (t - 0.3) if t < 0.5 else math.nan)
    _, found = line.search(0.55)
    assert found.status == "wolfe" and found.trial.step < 0.5 and found.evaluations == 2


def test_a_line_without_a_bottom_gives_its_lowest_point():
    line = Counted(lambda t: -t, lambda t: -1.0)
    _, found = line.search(1.0, StrongWolfe(max_evaluations=6))
    assert (found.status, found.evaluations, found.trial.step) == ("decrease", 6, 1e5)


def test_a_wrong_slope_fails_at_the_start():
    line = Counted(lambda t: t, lambda t: -1.0)
    start, found = line.search(1.0)
    assert (found.trial, found.status, found.evaluations) == (start, "failed", 25)
    _, sooner = line.search(1.0, smallest=1e-3)
    assert sooner.status == "failed" and sooner.evaluations < 12
    assert line.asked[-2] >= 1e-3 / 2 > line.asked[-1] / 2


def test_the_lowest_point_is_kept_where_the_search_ends_too_soon():
    line = Counted(lambda t: -t if t < 2 else t, lambda t: -1.0 if t < 2 else 1.0)
    _, found = line.search(1.0, StrongWolfe(max_evaluations=2))
    assert line.asked == [1.0, 10.0]
    assert (found.status, found.trial) == ("decrease", Trial(1.0, -1.0, -1.0))


def drowned(error):
    """A parabola of height 1e-14 on a level of 1, with an error in every value but the first."""
    return Counted(lambda t: 1.0 + (error if t > 0 else 0.0), lambda t: 2e-14 * (t - 1.0))


def test_slopes_decide_where_values_are_drowned_in_rounding():
    assert drowned(5e-13).search(0.7)[1].status == "failed"
    _, found = drowned(5e-13).search(0.7, StrongWolfe(noise=1e-10))
    assert (found.status, found.trial.step) == ("approximate", 0.7)
    assert drowned(5e-10).search(0.7, StrongWolfe(noise=1e-10))[1].status == "failed"


def test_the_approximate_condition_asks_for_a_slope_that_has_not_turned():
    # Past twice the distance of the minimum a parabola is higher than at the start.
    _, found = drowned(5e-13).search(2.5, StrongWolfe(noise=1e-10, curvature=0.3))
    assert found.status == "approximate" and found.trial.step == pytest.approx(1.0, rel=1e-9)
    assert found.evaluations == 2


def test_the_approximate_condition_is_sufficient_decrease_of_the_parabola():
    # On it phi(t) <= phi(0) + c_1 t phi'(0) says t <= 2 (1 - c_1) times the minimiser's distance, here 1.4.
    for step, evaluations in ((1.39, 1), (1.41, 2)):
        line = drowned(5e-13)
        _, found = line.search(step, StrongWolfe(decrease=0.3, curvature=0.9, noise=1e-10))
        assert (found.status, found.evaluations) == ("approximate", evaluations)
