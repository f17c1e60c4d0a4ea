"""Singular values known to be right: to every digit in exact arithmetic, or between rigorous bounds in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

UNIT = 2.0**-53
"""Largest relative error of one rounding in float64."""

LONGEST_DENOMINATOR = 4096
"""Bits of a common denominator up to which fractions are taken as they are."""

MOST_DIGITS = 800
"""Digits at which entries that never suffice are given up."""


def certified_singular_values(matrix, digits: int = 50) -> np.ndarray:
    r"""Compute all singular values of a matrix, each right to float64's relative precision, however small.

    $$ \sigma_k = \sqrt{\lambda_k}, \qquad \det(\lambda I - A^T A) = 0 $$

    in exact arithmetic: entries become integers (times a power of two, or over a common denominator), A^T A and its
    characteristic polynomial are exact, and its roots are isolated in balls that are proven to hold one root each. So
    zeros and repeated values come out as such, and squaring loses nothing. Entries that are balls themselves, or
    fractions without a short common denominator, are rounded to `digits` digits; a value is then returned only if that
    perturbation's Frobenius norm is below 2^-53 of it (Weyl), otherwise digits are doubled.

    Args:
        matrix: (m, n), of float64, int, str, Fraction, mpmath's mpf, python-flint's fmpz, fmpq or arb (balls included),
            or a function digits -> such a matrix, called again with more digits until every value is certain.
        digits: decimal digits of the first attempt, where entries are not exact numbers.

    Returns:
        (min(m, n),) float64, largest first.

    Raises:
        ImportError: If python-flint is missing.
        ValueError: If the matrix is empty, not 2-D, complex or not finite, or its balls are too wide to tell a value.

    Cost: O(n^4 bits), n = min(m, n): 0.1 s for 100 x 50, 1 s for 200 x 100, 40 s for 256 x 256 of float64.

    Example:
        >>> certified_singular_values([["1", "0"], ["0", "1e-40"]]).tolist()
        [1.0, 1e-40]
    """
    flint = _flint()
    while True:
        rows = _rows(matrix(digits) if callable(matrix) else matrix, flint)
        integers, scale, perturbation = _integers(rows, digits, flint)
        values = _values(integers, flint)
        if perturbation == 0 or perturbation * 2**54 < values[-1]:
            return np.array([_nearest(value, scale, flint) for value in values])
        balls = any(radius != 0 for row in rows for _, _, radius in row)
        if (balls and not callable(matrix)) or 2 * digits > MOST_DIGITS:
            raise ValueError(
                f"expected entries known to better than 2^-54 sigma_min, got them to "
                f"{(perturbation * scale).str(3, radius=False)} (2-norm) with sigma_min near "
                f"{(values[-1] * scale).str(3, radius=False)} at {digits} digits; pass exact entries, or a function of "
                "digits that recomputes them"
            )
        digits *= 2


def _nearest(value, scale, flint) -> float:
    with flint.ctx.workprec(128):
        mantissa, exponent = (value * scale).mid().man_exp()
    return math.ldexp(float(int(mantissa)), int(exponent))


def _flint():
    try:
        import flint
    except ImportError as error:
        raise ImportError(
            "expected python-flint for certified singular values, which is not installed: "
            "pip install 'pinnscope[certified]'"
        ) from error
    return flint


def _values(integers, flint) -> list:
    """Return the singular values of an integer matrix as balls of 128 bits, largest first."""
    if integers.nrows() < integers.ncols():
        integers = integers.transpose()
    polynomial = (integers.transpose() * integers).charpoly()
    with flint.ctx.workprec(128):
        roots = [(root.real, count) for root, count in polynomial.complex_roots()]
        roots.sort(key=lambda pair: pair[0].mid(), reverse=True)
        return [root.sqrt() for root, count in roots for _ in range(count)]


def _integers(rows: list, digits: int, flint):
    """Return integers, the number that they are to be multiplied by, and a bound of what rounding them changed.

    The bound is a Frobenius norm, in the unit of the integers.
    """
    numbers = [entry for row in rows for entry in row]
    denominator = 1
    for below in {entry[1] for entry in numbers}:
        denominator = math.lcm(denominator, below)
        if denominator.bit_length() > LONGEST_DENOMINATOR:
            break
    with flint.ctx.workprec(128):
        perturbation = sum((entry[2] ** 2 for entry in numbers), flint.arb(0)).sqrt()
        if denominator.bit_length() <= LONGEST_DENOMINATOR:
            scaled = [above * (denominator // below) for above, below, _ in numbers]
            unit = 1 / flint.arb(denominator)
            perturbation /= unit
        else:
            largest = max(abs(Fraction(above, below)) for above, below, _ in numbers)
            bits = math.ceil(digits * math.log2(10)) + 4
            shift = bits - largest.numerator.bit_length() + largest.denominator.bit_length()
            scaled = [round(Fraction(above, below) * Fraction(2) ** shift) for above, below, _ in numbers]
            unit = flint.arb(2) ** -shift
            perturbation = perturbation / unit + flint.arb(len(numbers)).sqrt() / 2
    return flint.fmpz_mat(len(rows), len(rows[0]), scaled), unit, perturbation


def _rows(matrix, flint) -> list[list[tuple]]:
    """Return (numerator, denominator, radius) of every entry."""
    rows = matrix.tolist() if hasattr(matrix, "tolist") else matrix
    if not isinstance(rows, list | tuple) or not all(isinstance(row, Sequence) for row in rows):
        raise ValueError(f"expected a 2-D matrix, got {type(matrix).__name__} of shape {np.shape(matrix)}; pass rows")
    rows = [list(row) for row in rows]
    if not rows or not isinstance(rows[0], list) or not rows[0] or any(len(row) != len(rows[0]) for row in rows):
        raise ValueError(f"expected a 2-D matrix with entries, got {np.shape(matrix)}; pass rows of equal length")
    return [[_entry(entry, flint) for entry in row] for row in rows]


def _entry(entry, flint) -> tuple:
    if isinstance(entry, str):
        try:
            entry = Fraction(entry)
        except (ValueError, ZeroDivisionError):
            raise ValueError(f"expected a number such as '1e-40' or '1/3', got {entry!r}") from None
    if isinstance(entry, flint.arb) and entry.is_finite():
        mantissa, exponent = (int(part) for part in entry.mid().man_exp())
        return *_shifted(mantissa, exponent), entry.rad()
    if isinstance(entry, (flint.fmpz, flint.fmpq)):
        entry = flint.fmpq(entry)
        return int(entry.p), int(entry.q), 0
    if hasattr(entry, "_mpf_") and (entry._mpf_[1] or not entry):
        sign, mantissa, exponent, _ = entry._mpf_
        return *_shifted(-int(mantissa) if sign else int(mantissa), int(exponent)), 0
    try:
        return *entry.as_integer_ratio(), 0
    except (AttributeError, OverflowError, ValueError, TypeError):
        raise ValueError(
            f"expected finite real entries, got {entry!r}; pass floats, integers, fractions, mpf or arb"
        ) from None


def _shifted(mantissa: int, exponent: int) -> tuple[int, int]:
    return (mantissa << exponent, 1) if exponent >= 0 else (mantissa, 1 << -exponent)


def singular_value_bounds(matrix) -> tuple[np.ndarray, np.ndarray]:
    r"""Enclose all singular values of a float64 matrix rigorously, in float64 arithmetic alone.

    With computed factors U (m, n), S, V (n, n) of A, m >= n, which need not be orthogonal or right,

    $$ \|U^T U - I\| \le \alpha, \quad \|V^T V - I\| \le \beta, \quad
       \|A - U S V^T\| \le \sqrt{1+\beta} \, \|A V - U S\| + \beta \|A\|_F =: \rho $$
    $$ \sqrt{(1-\alpha)(1-\beta)} \, s_k - \rho \le \sigma_k \le \sqrt{(1+\alpha)(1+\beta)} \, s_k + \rho. $$

    What makes it rigorous: each factor is split as X = X_1 + X_2 exactly, X_1 with so few bits that products of first
    parts are sums of integers below 2^53 (times a power of two) and hence free of rounding in any order; for the
    other products, small by a factor of 2^-20, |fl(x^T y) - x^T y| <= n u |x|^T |y| holds for any order of summation
    and with fused operations, in rounding to nearest; the final scalars are rounded outwards. It assumes that BLAS
    multiplies by sums of products (no Strassen), as OpenBLAS and MKL do.

    Args:
        matrix: (m, n), real, finite; m times n below 2^31.

    Returns:
        Lower (never below 0) and upper bounds, (min(m, n),) each, largest first; about 4 min(m, n) eps sigma_1 apart.

    Raises:
        ValueError: If the matrix is not 2-D, is empty, complex or not finite.

    Source: S. M. Rump, "Verified bounds for singular values, in particular for the spectral norm of a matrix and its
    inverse", BIT 51 (2011); C.-P. Jeannerod and S. M. Rump, "Improved error bounds for inner products in floating-point
    arithmetic", SIAM J. Matrix Anal. Appl. 34 (2013); the splitting: K. Ozaki et al., Numer. Algorithms 59 (2012).

    Cost: one SVD with vectors and eight products.

    Example:
        >>> lower, upper = singular_value_bounds([[3.0, 0.0], [0.0, 4.0]])
        >>> bool((lower <= [4.0, 3.0]).all() and (upper >= [4.0, 3.0]).all() and (upper - lower).max() < 1e-13)
        True
    """
    entries = np.asarray(matrix)
    if entries.ndim != 2 or entries.size == 0 or entries.dtype.kind not in "fiub":
        raise ValueError(
            f"expected a real 2-D matrix, got {entries.dtype} of shape {entries.shape}; pass (m, n) floats"
        )
    exact = entries.astype(np.float64)
    rounded = (exact != entries) | ((entries.dtype.kind in "iu") & (np.abs(exact) > 2.0**53))
    if not np.isfinite(exact).all() or rounded.any():
        raise ValueError("expected finite entries that float64 holds, got others; use certified_singular_values")
    tall = exact if exact.shape[0] >= exact.shape[1] else exact.T
    largest = np.abs(tall).max()
    if largest == 0:
        return np.zeros(tall.shape[1]), np.zeros(tall.shape[1])
    # A power of two: exact, but for entries that fall below the normal numbers, which the last term of rho allows for.
    exponent = int(np.frexp(largest)[1])
    scaled = np.ldexp(tall, -exponent)
    left, values, right = np.linalg.svd(scaled, full_matrices=False)
    right = right.T
    identity = np.eye(tall.shape[1])
    alpha = _residual_norm(left.T, left, identity)
    beta = _residual_norm(right.T, right, identity)
    product = left * values
    # fl(U S) differs from U S by at most u |U S| in each entry, and by a subnormal.
    rounding = UNIT * _frobenius(product) * (1 + 4 * UNIT)
    rho = (_residual_norm(scaled, right, product) + rounding) * (1 + beta) + beta * _frobenius(scaled)
    rho = rho * (1 + 16 * UNIT) + tall.size * 2.0**-1000
    if max(alpha, beta) >= 0.5:
        raise np.linalg.LinAlgError("expected nearly orthogonal singular vectors, got others; the SVD has failed")
    # sqrt(1 +- alpha) is replaced by the looser 1 +- alpha on the lower side and 1 + alpha / 2 on the upper.
    lower = np.maximum(values * ((1 - alpha) * (1 - beta) * (1 - 8 * UNIT)) - rho * (1 + 8 * UNIT), 0.0)
    upper = values * ((1 + alpha / 2) * (1 + beta / 2) * (1 + 8 * UNIT)) + rho * (1 + 8 * UNIT)
    lower = np.nextafter(np.ldexp(lower, exponent), -np.inf)
    return np.maximum(lower, 0.0), np.nextafter(np.ldexp(upper, exponent), np.inf)


def _frobenius(matrix: np.ndarray) -> float:
    """Return an upper bound of the Frobenius norm: sums of k non-negative terms err by a factor below 1 + k u."""
    total = float(np.sum(matrix * matrix))
    return math.sqrt(total) * (1 + (matrix.size + 4) * UNIT) + 2.0**-500


def _split(matrix: np.ndarray, inner: int) -> tuple[np.ndarray, np.ndarray]:
    """Split |entries| <= 1 exactly into multiples of 2^-q and a rest of at most 2^-(q + 1), `inner` products exact."""
    bits = (52 - math.ceil(math.log2(inner + 1))) // 2
    high = np.ldexp(np.rint(np.ldexp(matrix, bits)), -bits)
    return high, matrix - high


def _residual_norm(first: np.ndarray, second: np.ndarray, target: np.ndarray) -> float:
    """Return an upper bound of the 2-norm of `first @ second - target`, for entries of the factors up to about 1."""
    inner = first.shape[1]
    high_1, low_1 = _split(first, inner)
    high_2, low_2 = _split(second, inner)
    rest_1, rest_2 = high_1 @ low_2, low_1 @ second
    exact = high_1 @ high_2 - target
    residual = exact + (rest_1 + rest_2)
    size = _frobenius(high_1) * _frobenius(low_2) + _frobenius(low_1) * _frobenius(second)
    # In turn: the products' rounding, and those of the three sums, each at most u times what it rounds.
    rounding = inner * UNIT * size + UNIT * (_frobenius(exact) + _frobenius(rest_1 + rest_2) + _frobenius(residual))
    return (_frobenius(residual) + rounding * 1.01) * (1 + 16 * UNIT) + residual.size * inner * 2.0**-1000
