"""Residual-based attention: the formula, its bounds and its fixed point."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers.attention import ResidualBasedAttention


def test_one_update_is_the_formula():
    rule = ResidualBasedAttention(gamma=0.9, eta=0.2)
    before = torch.tensor([0.5, 0.0, 1.0], dtype=torch.float64)
    residual = torch.tensor([[-4.0], [1.0], [2.0]], dtype=torch.float64)
    expected = torch.tensor([0.9 * 0.5 + 0.2, 0.2 * 0.25, 0.9 + 0.2 * 0.5], dtype=torch.float64)
    assert torch.allclose(rule.update(before, residual), expected, rtol=1e-15)
    assert before.tolist() == [0.5, 0.0, 1.0]


def test_a_system_counts_with_the_sum_of_its_absolute_components():
    rule = ResidualBasedAttention(gamma=0.0, eta=1.0)
    residual = torch.tensor([[1.0, -3.0], [2.0, 0.0], [-1.0, 1.0]])
    assert rule.update(rule.start(residual), residual).tolist() == [1.0, 0.5, 0.5]


@settings(max_examples=50, deadline=None)
@given(
    gamma=st.floats(0, 0.95),
    eta=st.floats(1e-6, 10),
    seed=st.integers(0, 2**31),
    scale=st.floats(1e-100, 1e100),
    steps=st.integers(1, 30),
)
def test_weights_stay_between_zero_and_their_bound(gamma, eta, seed, scale, steps):
    rule, rng = ResidualBasedAttention(gamma, eta), np.random.default_rng(seed)
    weights = rule.start(torch.zeros(6, 2, dtype=torch.float64))
    assert weights.shape == (6,)
    for _ in range(steps):
        weights = rule.update(weights, torch.from_numpy(scale * rng.standard_normal((6, 2))))
        assert (weights >= 0).all()
        assert (weights <= eta / (1 - gamma) * (1 + 1e-12)).all()


def test_the_bound_is_reached_where_the_residual_is_always_largest():
    rule = ResidualBasedAttention(gamma=0.8, eta=0.1)
    residual = torch.tensor([[3.0], [-1.5]], dtype=torch.float64)
    weights = rule.start(residual)
    for _ in range(200):
        weights = rule.update(weights, residual)
    assert torch.allclose(weights, torch.tensor([0.5, 0.25], dtype=torch.float64), rtol=1e-12)


def test_a_zero_residual_lets_the_weights_decay():
    rule = ResidualBasedAttention(gamma=0.5, eta=1.0)
    assert rule.update(torch.tensor([1.0, 2.0]), torch.zeros(2, 1)).tolist() == [0.5, 1.0]


def test_no_graph_is_kept_and_the_dtype_stays():
    residual = torch.ones(2, 1, requires_grad=True)
    weights = ResidualBasedAttention().update(torch.zeros(2), 2 * residual)
    assert not weights.requires_grad
    assert weights.dtype == torch.float32


@pytest.mark.parametrize(
    ("gamma", "eta"), [(1.0, 0.1), (-0.1, 0.1), (0.9, 0.0), (float("nan"), 0.1), (0.9, float("nan"))]
)
def test_settings_without_a_bound_are_refused(gamma, eta):
    with pytest.raises(ValueError, match="0 <= gamma < 1 and eta > 0"):
        ResidualBasedAttention(gamma, eta)
