"""The integrator of the references: order four, exact in the linear part, real and complex."""

import math

import numpy as np
import pytest

from solvers.references.etdrk4 import etdrk4


@pytest.mark.parametrize("stiffness", [0.5, 20.0])
def test_etdrk4_converges_to_order_four_on_a_stiff_system(stiffness):
    """u' = -u by the nonlinear part, v' = -k v + (k - 2) u^2: u = e^-t, v = u^2 + (v_0 - 1) e^(-k t)."""

    def error(steps):
        linear = np.array([0.0, -stiffness])
        *_, last = etdrk4(
            linear, lambda s: np.array([-s[0], (stiffness - 2) * s[0] ** 2]), np.array([1.0, 3.0]), 1 / steps, steps
        )
        return np.abs(last - [math.exp(-1), math.exp(-2) + 2 * math.exp(-stiffness)]).max()

    counts = np.array([10, 20, 40, 80])
    errors = np.array([error(int(steps)) for steps in counts])
    assert -np.polyfit(np.log(counts), np.log(errors), 1)[0] > 3.7
    assert errors[-1] < 1e-8


def test_etdrk4_is_exact_in_the_linear_part_however_stiff():
    linear = np.array([-1e6, -1.0, 0.0, 2.0])
    states = list(etdrk4(linear, np.zeros_like, np.ones(4), 0.5, 4))
    assert len(states) == 5
    assert np.allclose(states[-1], np.exp(2 * linear), rtol=1e-14)


def test_etdrk4_integrates_a_constant_exactly():
    """v' = L v + 1 from 0 is (e^{L t} - 1) / L: the coefficients near z = 0 and far from it."""
    linear = np.array([-400.0, -1.0, -1e-9])
    *_, last = etdrk4(linear, np.ones_like, np.zeros(3), 0.1, 10)
    assert np.allclose(last, np.expm1(linear) / linear, rtol=1e-12)


def test_etdrk4_takes_a_complex_linear_part():
    """v' = i w v + 1 from 0 is (e^(i w t) - 1) / (i w), near w = 0 and far from it; v' = i w v - i v turns at w - 1."""
    linear = 1j * np.array([500.0, 1.0, 1e-9])
    *_, last = etdrk4(linear, np.ones_like, np.zeros(3, complex), 0.1, 10)
    assert np.allclose(last, np.expm1(linear) / linear, rtol=0, atol=1e-13)
    errors = []
    for steps in (10, 20, 40):
        *_, last = etdrk4(1j * np.array([3.0]), lambda v: -1j * v, np.ones(1, complex), 1 / steps, steps)
        errors.append(abs(last[0] - np.exp(2j)))
    assert math.log2(errors[1] / errors[2]) == pytest.approx(4.0, abs=0.2)


def test_etdrk4_keeps_real_states_real():
    *_, last = etdrk4(np.array([-1.0, 2.0]), np.sin, np.ones(2), 0.1, 2)
    assert last.dtype == np.float64
