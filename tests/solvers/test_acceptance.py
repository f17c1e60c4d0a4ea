"""Acceptance of trained profiles: exact coefficients pass, and no trap does, however small its loss."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers.acceptance import LOSS, PROBE_LOSS, judge
from solvers.problems.self_similar_profile import SelfSimilarProfile


def interval(k):
    return 1 / (2 * k + 3), 1 / (2 * k + 1)


def residual(series, lam):
    """R_j of -lam U + ((1 + lam) X + U) U', as products of polynomials."""
    slope = np.append(np.arange(1, len(series)) * series[1:], 0.0)
    product = np.convolve(series, slope)[: len(series)]
    return ((1 + lam) * np.arange(len(series)) - lam) * series + product


def judged(k, lam, series, loss=1e-12, **changed):
    series = np.asarray(series, float)
    given = {"interval": interval(k), "loss": loss, "residual": residual(series, lam), "largest": 1.0}
    return judge(k, lam, series=series, **{**given, **changed})


def rounded_kink(k, lam, width):
    """A smooth odd function next to X = -U - sign(U) |U|^(1 + 1/lam): u of X = -U - U (U^2 + width^2)^(1/(2 lam))."""
    order = 2 * k + 3
    power, bracket = 1 / (2 * lam), np.zeros(order + 1)
    factor = width ** (2 * power)
    for i in range(0, order + 1, 2):
        bracket[i] = factor
        factor *= (power - i // 2) / (i // 2 + 1) / width**2
    x_of = np.zeros(order + 1)
    x_of[1:] = bracket[:-1]
    x_of[1] += 1
    found = np.zeros(order + 1)
    for j in range(1, order + 1):
        rest, power_of = np.zeros(order + 1), np.eye(order + 1)[0]
        for i in range(1, order + 1):
            power_of = np.convolve(power_of, found)[: order + 1]
            rest += x_of[i] * power_of
        found[j] = ((j == 1) - rest[j]) / x_of[1]
    return -found


@pytest.mark.parametrize("k", range(7))
def test_exact_profiles_are_accepted_with_a_bar_of_rounding(k):
    U = SelfSimilarProfile.smooth(k)
    series = U.coefficients(0.0, 2 * k + 3)
    found = judged(k, U.lam, series)
    assert found.accepted and found.reasons == () and 0 < found.bar < 1e-14


@pytest.mark.parametrize("k", range(5))
def test_a_lambda_beside_the_exact_one_has_its_error_as_bar(k):
    U = SelfSimilarProfile.smooth(k)
    series = U.coefficients(0.0, 2 * k + 3)
    for error in (1e-9, -1e-6):
        found = judged(k, U.lam + error, series)
        assert found.accepted and found.bar == pytest.approx(abs(error), rel=1e-5)
    wide = 0.06 * (interval(k)[1] - interval(k)[0]) / 2
    assert [reason[:12] for reason in judged(k, U.lam + wide, series).reasons] == ["bar too wide"]


@settings(max_examples=200, deadline=None)
@given(k=st.integers(0, 6), share=st.floats(0.0, 1.0), seed=st.integers(0, 10**6), size=st.floats(-12, 1))
def test_the_bar_holds_for_every_odd_function(k, share, seed, size):
    low, high = interval(k)
    lam = low + share * (high - low)
    series = np.zeros(2 * k + 4)
    series[1::2] = 10**size * np.random.default_rng(seed).standard_normal(k + 2)
    series[1] -= 1
    series[-1] += 1
    found = judged(k, min(max(lam, low), high), series)
    assert abs(lam - 1 / (2 * k + 2)) <= found.bar


@pytest.mark.parametrize("k", range(6))
@pytest.mark.parametrize("share", [0.0, 0.03, 0.2, 0.7, 0.97, 1.0])
@pytest.mark.parametrize("width", [0.3, 0.03])
def test_rounded_kinks_are_refused_at_any_loss(k, share, width):
    low, high = interval(k)
    lam = min(low + share * (high - low), high)
    found = judged(k, lam, rounded_kink(k, lam, width), loss=1e-30)
    reasons = " / ".join(found.reasons)
    assert not found.accepted and "bar too wide" in reasons
    assert ("trapped at the lower end" in reasons) == (share < 0.05)
    assert ("trapped at the upper end" in reasons) == (share > 0.95)


@pytest.mark.parametrize("k", range(6))
@pytest.mark.parametrize("end", [0, 1])
@pytest.mark.parametrize("top", [1.0, 1e-4, -1e-9, 1e-200, 0.0])
def test_a_straight_line_near_0_leaves_half_the_interval_to_lambda(k, end, top):
    series = np.zeros(2 * k + 4)
    series[1], series[-1] = -1.0, top
    low, high = interval(k)
    found = judged(k, (low, high)[end], series, loss=1e-30)
    assert not found.accepted and found.bar >= 0.5 * (1 - low) * 0.5 * (high - low)
    assert len(found.reasons) == 2


def test_the_trivial_solution_is_named_by_its_size_or_its_slope():
    series = SelfSimilarProfile.smooth(0).coefficients(0.0, 3)
    small = judged(0, 0.5, 1e-3 * series, loss=1.0, largest=1e-3)
    assert small.reasons[0] == "the trivial solution U = 0: max |U| = 1.0e-03, U'(0) = -1.0e-03"
    assert "loss too high" in small.reasons[1]
    assert "trivial" in judged(0, 0.5, series, largest=0.05).reasons[0]
    assert "trivial" in judged(0, 0.5, [0.0, 0.01, 0.0, 1.0]).reasons[0]


def test_the_loss_has_one_limit_for_a_start_and_another_for_a_result():
    U = SelfSimilarProfile.smooth(1)
    series = U.coefficients(0.0, 5)
    assert judged(1, U.lam, series, loss=LOSS).accepted
    refused = judged(1, U.lam, series, loss=1e-6)
    assert refused.reasons == ("loss too high: 1.0e-06, at most 1e-08 is accepted",)
    assert judged(1, U.lam, series, loss=1e-6, loss_limit=PROBE_LOSS).accepted


def test_what_is_not_finite_is_no_solution():
    series = SelfSimilarProfile.smooth(0).coefficients(0.0, 3)
    for changed in ({"loss": np.nan}, {"largest": np.inf}, {"residual": [0, 0, 0, np.nan]}):
        found = judged(0, 0.5, series, **changed)
        assert not found.accepted and found.bar == np.inf and found.reasons[0].startswith("not finite")


def test_an_interval_without_a_smooth_profile_is_said_to_have_none():
    series = [0.0, -1.0, 0.0, 1e-3, 0.0, 1e-3]
    none = judged(1, 0.3, series, loss=2e-6, interval=(0.26, 0.45))
    assert not none.accepted and len(none.reasons) == 1
    assert none.reasons[0].startswith("no smooth profile in this interval: [0.26, 0.45] holds none of 1/2, 1/4, 1/6")
    assert none.reasons[0].endswith("this run ended at lambda = 0.3 with loss 2.0e-06")
    assert "none of 1/2" in judged(1, 0.7, series, interval=(0.6, 3.0)).reasons[0]
    other = judged(1, 0.45, series, interval=(0.4, 0.6)).reasons[0]
    assert "does not hold 1/(2k + 2) = 0.25, but the profiles k = 0" in other
    assert "k = 2 .. 4" in judged(1, 0.15, series, interval=(0.1, 0.2)).reasons[0]
    assert judged(1, 0.25, SelfSimilarProfile.smooth(1).coefficients(0.0, 5), interval=(0.15, 0.7)).accepted


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"k": -1}, "expected k = 0, 1, 2, ..., came -1"),
        ({"interval": (0.0, 1.0)}, r"0 < low < high, came \(0.0, 1.0\): give \(1/\(2k\+3\)"),
        ({"interval": (0.6, 0.4)}, "0 < low < high"),
        ({"lam": 1.5}, "came 1.5: give the interval that it was trained in"),
        ({"series": [0.0, -1.0, 0.0]}, r"came 4 of the residual and 3 of U: take jets to order 3 = 2k \+ 3"),
        ({"residual": [0.0]}, "came 1 of the residual and 4 of U"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(changed, expected):
    given = {"k": 0, "lam": 0.5, "interval": interval(0), "loss": 0.0, "largest": 1.0}
    series = {"series": [0.0, -1.0, 0.0, 1.0], "residual": [0.0] * 4}
    with pytest.raises(ValueError, match=expected):
        judge(**{**given, **series, **changed})
