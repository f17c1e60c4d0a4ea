"""The baseline without a network: to the last digit with the local exponent, wrong at rounding errors without it."""

import itertools

import numpy as np
import pytest

from analyses.reproduce import chebyshev_profile
from analyses.reproduce.chebyshev_profile import measure, show, with_exponent, without_exponent


@pytest.mark.parametrize("k", range(7))
def test_with_the_exponent_newton_finds_lambda_and_the_profile_to_the_last_digits(k):
    found = with_exponent(k)
    assert (found.k, found.n) == (k, 160) and found.lam == pytest.approx(1 / (2 * k + 2), abs=2e-16)
    assert found.lam_error <= 2e-16 and found.u_error < 3e-14 and found.residual < 1e-10
    assert 5 <= found.steps <= 10 and 0 <= found.seconds < 5


def test_the_error_falls_as_the_nearest_singularity_says():
    # s = -|X_s|^2 at k = 0: on [0, 4] it lies on the ellipse of radius z + sqrt(z^2 - 1), z = 1 + |X_s|^2 / 2.
    z = 1 + 4 / 27 / 2
    ratio = z + np.sqrt(z**2 - 1)
    errors = [with_exponent(0, n).u_error for n in (20, 40, 60)]
    for coarse, fine in itertools.pairwise(errors):
        assert np.log(coarse / fine) / 20 == pytest.approx(np.log(ratio), rel=0.15)


@pytest.mark.parametrize(("k", "start"), [(0, 1.0), (1, 1 / 3), (3, 1 / 9), (3, 1 / 7)])
def test_lambda_may_start_at_an_end_of_its_interval(k, start):
    assert with_exponent(k, start=start).lam_error < 2e-16


@pytest.mark.parametrize(("k", "residual"), [(2, 1e-10), (3, 1e-12), (4, 1e-12)])
def test_without_the_exponent_a_residual_of_rounding_has_a_wrong_lambda(k, residual):
    found = without_exponent(k)
    low, high = 1 / (2 * k + 3), 1 / (2 * k + 1)
    assert low <= found.lam <= high and (found.k, found.n) == (k, 120)
    assert found.residual < residual and found.lam_error > 3e-4 and found.u_error > 3e-4
    assert found.lam_error == abs(found.lam - 1 / (2 * k + 2))


def test_the_jacobian_of_the_collocation_is_that_of_its_residual():
    angle = np.pi * np.arange(9) / 8
    s = 4 * np.sin(angle / 2) ** 2
    slope = chebyshev_profile._differentiation(angle)
    assert np.abs(slope @ s**3 - 3 * s**2).max() < 1e-12
    d_of, weight = s[:, None] * slope + np.diag(2 / (1 + s)), (s / (1 + s)) ** 2
    at, way = np.append(np.cos(s), 0.3), np.append(np.sin(1 + s), 1.0)
    matrix, _ = chebyshev_profile._linearised(at, weight, d_of)
    ahead, back = (chebyshev_profile._linearised(at + h * way, weight, d_of)[1] for h in (1e-5, -1e-5))
    assert np.allclose(matrix @ way, (ahead - back) / 2e-5, rtol=1e-7, atol=1e-7)


def test_the_odd_polynomials_have_their_slopes_at_the_end_too():
    x = np.array([0.0, 0.7, 2.0])
    values, slopes = chebyshev_profile._odd_polynomials(x, 2)
    assert np.allclose(values, np.stack([x / 2, 4 * (x / 2) ** 3 - 3 * x / 2], axis=1))
    assert np.allclose(slopes, np.stack([np.full(3, 0.5), 1.5 * x**2 - 1.5], axis=1))


def test_the_table_has_both_methods_of_every_profile(capsys):
    rows = measure((0, 3), 40, 20)
    assert [(method, found.k, found.n) for method, found in rows] == [
        ("built in", 0, 40),
        ("none", 0, 20),
        ("built in", 3, 40),
        ("none", 3, 20),
    ]
    show(rows)
    shown = capsys.readouterr().out
    assert "without" not in shown and shown.count("built in") == 2 and f"{rows[3][1].lam_error:.1e}" in shown
    chebyshev_profile.main(0, 40, 20)
    assert "condition of smoothness at 0 selects lambda" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: with_exponent(-1), "k >= 0 and n >= 8, came k = -1"),
        (lambda: with_exponent(0, 7), "came k = 0, n = 7"),
        (lambda: without_exponent(0, 1), "n >= 2, came k = 0, n = 1"),
        (lambda: with_exponent(6, 20), r"g\(0\) = .*take more nodes than n = 20"),
        (lambda: with_exponent(3, 160, 0.9), "start lambda in the middle of 1/9 .. 1/7"),
    ],
)
def test_what_has_no_answer_is_refused(call, expected):
    with pytest.raises(ValueError, match=expected):
        call()
