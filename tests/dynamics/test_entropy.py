import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamics.entropy import count_kept, effective_rank, truncated_entropy

spectra = st.lists(st.floats(1e-9, 1e3), min_size=2, max_size=12)


def slow_entropy(values, a):
    """The definition, one value at a time."""
    values = sorted(values, reverse=True)
    kept = [value for value in values if value / values[0] >= a]
    if len(kept) == 1:
        return 0.0, 1
    shares = [value / math.fsum(kept) for value in kept]
    return -math.fsum(p * math.log(p) for p in shares) / math.log(len(kept)), len(kept)


@pytest.mark.parametrize("k", [2, 3, 17])
def test_equal_values_have_entropy_one(k):
    entropy, kept = truncated_entropy([5.0] * k + [1e-13] * 3, 1e-10)
    assert entropy == pytest.approx(1.0, abs=1e-14) and kept == k
    assert truncated_entropy([5.0] * k, 1e-10, normalize=None)[0] == pytest.approx(math.log(k), abs=1e-14)


def test_one_kept_value_has_entropy_zero():
    assert truncated_entropy([1.0, 1e-9], 1e-3) == (0.0, 1)
    assert truncated_entropy([3.0], 1.0) == (0.0, 1)


def test_noise_floor_lowers_the_entropy_and_raises_the_count():
    clean = 10.0 ** -np.arange(0, 16, 2.0)
    noisy = np.maximum(np.concatenate((clean, np.zeros(50))), 1e-11)
    exact, differences = truncated_entropy(clean, 1e-12), truncated_entropy(noisy, 1e-12)
    assert exact[1] == 7 and differences[1] == 58
    assert differences[0] < 0.6 * exact[0]
    undivided = [truncated_entropy(s, 1e-12, normalize=None)[0] for s in (clean, noisy)]
    assert undivided[0] == pytest.approx(undivided[1], rel=1e-5)


@settings(max_examples=100, deadline=None)
@given(values=spectra, a=st.sampled_from([1e-8, 1e-4, 0.1, 1.0]))
def test_against_the_slow_definition(values, a):
    entropy, kept = truncated_entropy(values, a)
    expected, count = slow_entropy(values, a)
    assert kept == count
    assert entropy == pytest.approx(expected, abs=1e-12)
    assert -1e-14 <= entropy <= 1 + 1e-14


@settings(max_examples=50, deadline=None)
@given(values=spectra, exponent=st.integers(-40, 40))
def test_scale_invariant(values, exponent):
    scaled = np.asarray(values) * 2.0**exponent  # exact, so that no value crosses the cut
    assert truncated_entropy(scaled, 1e-6) == truncated_entropy(values, 1e-6)
    assert effective_rank(scaled) == effective_rank(values)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_invariant_under_rotation(seed):
    generator = np.random.default_rng(seed)
    matrix = generator.standard_normal((7, 5))
    rotation = np.linalg.qr(generator.standard_normal((7, 7)))[0]
    first, second = (truncated_entropy(np.linalg.svd(m, compute_uv=False), 1e-12) for m in (matrix, rotation @ matrix))
    assert first[0] == pytest.approx(second[0], abs=1e-12) and first[1] == second[1]


def test_broadcasts_over_leading_axes_and_cuts():
    values = np.array([[[1.0, 0.1, 1e-3], [1.0, 1.0, 1.0]]])
    entropy, kept = truncated_entropy(values, [[0.5, 1e-2], [1e-4, 1.0]])
    assert entropy.shape == kept.shape == (1, 2, 2, 2)
    assert kept[0, 0].tolist() == [[1, 2], [3, 1]]
    assert entropy[0, 0, 1, 0] == truncated_entropy([1e-3, 1.0, 0.1], 1e-4)[0]


def test_absolute_threshold():
    entropy, kept = truncated_entropy([20.0, 20.0, 1.0], [10.0, 0.5, 50.0], threshold="absolute")
    assert kept.tolist() == [2, 3, 0]
    assert entropy[0] == pytest.approx(1.0) and np.isnan(entropy[2])


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        ([1.0], {"a": 0.0}, "a > 0"),
        ([1.0], {"a": float("nan")}, "a > 0"),
        ([1.0], {"a": 2.0}, "absolute"),
        ([1.0, -1.0], {"a": 0.1}, ">= 0"),
        ([1.0, np.nan], {"a": 0.1}, "finite"),
        ([], {"a": 0.1}, "at least one"),
        ([0.0, 0.0], {"a": 0.1}, "zeros"),
        ([1.0], {"a": 0.1, "normalize": "rank"}, "log_kept"),
        ([1.0], {"a": 0.1, "threshold": "energy"}, "relative.*absolute"),
    ],
)
def test_refuses(values, options, said):
    with pytest.raises(ValueError, match=said):
        truncated_entropy(values, **options)


def test_effective_rank():
    assert effective_rank([3.0] * 4 + [0.0] * 2) == pytest.approx(4.0)
    assert effective_rank([[1.0, 0.0], [1.0, 1.0]]) == pytest.approx([1.0, 2.0])
    assert effective_rank([3.0, 1.0]) == pytest.approx(4 / 3**0.75)  # by hand: exp(-sum p log p), p = 3/4, 1/4


@pytest.mark.parametrize("cut", [-1.0, 0.0, 1e-3, 0.1, 2.0])
def test_the_count_takes_any_cut(cut):
    rows = [[1.0, 0.1, 1e-3], [0.0, 1.0, 0.05]]
    assert count_kept(rows, cut).tolist() == [len([value for value in row if value >= cut]) for row in rows]
