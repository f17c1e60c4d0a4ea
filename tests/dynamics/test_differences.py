"""Central differences as numbers: weights against sympy, the predicted floor against drawn noise, the best step."""

import math

import numpy as np
import pytest
import sympy

from dynamics.differences import HIGHEST, ORDERS, Central, best_step, central_weights, predict_floor


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("derivative", range(HIGHEST + 1))
def test_weights_and_error_constant_are_those_of_sympy(derivative, order):
    offsets, weights, constant = central_weights(derivative, order)
    exact = sympy.finite_diff_weights(derivative, list(offsets), 0)[derivative][-1]
    assert weights == tuple(float(w) for w in exact)
    assert list(offsets) == sorted(-j for j in offsets), "central"
    power = derivative + order
    moment = sum(w * sympy.Integer(j) ** power for w, j in zip(exact, offsets, strict=True))
    assert constant == float(moment / sympy.factorial(power)) if derivative else constant == 0
    for below in range(derivative, power):
        moment = sum(w * sympy.Integer(j) ** below for w, j in zip(exact, offsets, strict=True))
        assert moment == (math.factorial(derivative) if below == derivative else 0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("derivative", "order", "h"), [(1, 2, 1e-3), (2, 2, 1e-2), (2, 4, 0.1), (4, 2, 0.1)])
def test_the_floor_is_the_norm_of_independently_rounded_values(derivative, order, h, dtype):
    rng = np.random.default_rng(3)
    shape, amplitude = (300, 120), 7.0
    offsets, weights, _ = central_weights(derivative, order)
    # One unit in the last place of a value of size a is a eps, its rounding uniform in +-1/2 of that.
    rounding = rng.uniform(-0.5, 0.5, (len(offsets), *shape)) * amplitude * np.finfo(dtype).eps
    noise = np.tensordot(weights, rounding, axes=1) / h**derivative
    measured = np.linalg.norm(noise, 2)
    assert predict_floor(h, order, derivative, dtype, amplitude, shape) == pytest.approx(measured, rel=0.1)


def test_the_floor_of_a_mixed_partial_is_that_of_the_product_stencil():
    rng = np.random.default_rng(4)
    weights = np.outer([1, -2, 1], [1, -2, 1]).ravel()
    rounding = rng.uniform(-0.5, 0.5, (9, 400, 200)) * np.finfo(np.float64).eps
    measured = np.linalg.norm(np.tensordot(weights, rounding, axes=1), 2) / 0.1**4
    assert predict_floor(0.1, 2, (2, 2), shape=(400, 200)) == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize(("derivative", "order"), [(1, 2), (2, 2), (2, 4), (4, 2), ((2, 2), 4)])
@pytest.mark.parametrize("wavenumber", [1.0, 30.0])
def test_the_best_step_is_the_least_of_both_errors(derivative, order, wavenumber):
    central = Central.of(derivative, order)
    best = best_step(order, derivative, np.float32, wavenumber)

    def total(h):
        truncation = central.constant * h**order * wavenumber ** (central.power + order)
        return truncation + np.finfo(np.float32).eps * central.absolute / h**central.power

    assert all(total(best) < total(best * factor) for factor in (0.9, 1.1))


def test_the_best_step_balances_what_a_sine_suffers():
    """The error of a real second difference of sin(k x), over steps, is least within a factor 2 of the best step."""
    x, k = np.linspace(0, 1, 500), 5.0
    steps = np.logspace(-6, -1, 101)
    errors = [
        np.abs((np.sin(k * (x + h)) - 2 * np.sin(k * x) + np.sin(k * (x - h))) / h**2 + k**2 * np.sin(k * x)).max()
        for h in steps
    ]
    found = steps[int(np.argmin(errors))]
    assert 0.5 < found / best_step(2, 2, wavenumber=k) < 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"h": 0.0}, "positive finite step"),
        ({"h": math.nan}, "positive finite step"),
        ({"amplitude": -1.0}, "amplitude"),
        ({"order": 3}, "order 2, 4, 6, 8"),
        ({"derivative": 9}, "0 to 8"),
        ({"derivative": -1}, "0 to 8"),
        ({"derivative": "xx"}, "one order an axis, came 'xx'"),
        ({"dtype": "int64"}, "floating type"),
        ({"dtype": "nonsense"}, "floating type"),
        ({"shape": (0, 3)}, "rows, columns"),
    ],
)
def test_impossible_differences_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        predict_floor(**{"h": 1e-2, "order": 2, "derivative": 2} | arguments)


def test_impossible_steps_are_refused():
    with pytest.raises(ValueError, match="values need no step"):
        best_step(2, 0)
    with pytest.raises(ValueError, match="positive finite wavenumber"):
        best_step(2, 2, wavenumber=-1.0)


def test_types_of_torch_and_numpy_are_the_same():
    import torch

    expected = predict_floor(1e-2, 2, 2, np.float32)
    assert predict_floor(1e-2, 2, 2, torch.float32) == predict_floor(1e-2, 2, 2, "float32") == expected
    assert predict_floor(1e-2, 2, np.array([1, 1])) == predict_floor(1e-2, 2, (1, 1))
