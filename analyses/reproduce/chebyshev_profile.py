"""Self-similar Burgers profiles without a network: Chebyshev polynomials with the local exponent, and without it.

Run as `python -m analyses.reproduce.chebyshev_profile [--largest K] [--nodes N] [--odd N]`; 5 s, all but 0.1 s of
them without the exponent.

With the exponent of smoothness at the origin built in, Newton's method finds lambda to the last digit. Without it,
least squares leave at k = 3 a residual of 1e-14 at a lambda that is wrong by 2e-3, as a network does: at every lambda
the odd profile X = -U - sign(U) |U|^(1 + 1/lambda) solves the equation on either side of 0, its derivatives to order
2k + 1 are continuous, and polynomials approximate it ever better as k grows. It is the condition of smoothness that
selects lambda. At k = 0 alone, where the kink is of the lowest order, least squares can find it: with 60 polynomials
to 6e-8, in 635 steps.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import typer
from scipy.optimize import least_squares

from analyses.terminal import say, table
from solvers.problems.self_similar_profile import SelfSimilarProfile

ORDERS = tuple(range(7))

NODES = 160
"""Degree in X^2: at k = 6 the singularities nearest to [0, 4] leave 4e-15, at k = 0 half as many would do."""

ODD = 120
"""Odd polynomials of the least squares, degrees 1 to 239: enough for residuals of 1e-12 from k = 2 on."""

TEST_POINTS = np.linspace(0.0, 2.0, 2001)

NEWTON_STEPS = 30

EVALUATIONS = 60
"""Of the least squares' residual: from k = 2 on, 30 reach rounding errors; at k = 0 and 1 it creeps on for hundreds."""


@dataclass(frozen=True)
class ChebyshevProfile:
    """A profile found without a network.

    Args:
        k: which profile.
        n: degree in X^2 with the local exponent, odd polynomials without it.
        lam: found.
        lam_error: |lam - 1/(2k + 2)|.
        u_error: max |U - exact| on 2001 points of [0, 2].
        steps: Newton steps, or evaluations of the least squares.
        seconds: CPU seconds of the solution alone.
        residual: max |-lam U + ((1 + lam) X + U) U'| there.
    """

    k: int
    n: int
    lam: float
    lam_error: float
    u_error: float
    steps: int
    seconds: float
    residual: float


def with_exponent(k: int, n: int = NODES, start: float | None = None) -> ChebyshevProfile:
    """Solve by collocation and Newton's method, with the local exponent built in.

    An odd U that is smooth at 0 and is no straight line is -X + u_m X^m + ..., m = 2k + 3: all lower coefficients
    vanish. So with s = X^2, q = s/(1 + s), kappa = k + 1 let U = -X + X q^kappa g(s). By s q' = q/(1 + s), and with
    d = kappa g/(1 + s) + s g',

        R / (X q^kappa) = 2 lam d + g (q^kappa (g + 2 d) - 1),

    which at s = 0 reads (2 kappa lam - 1) g(0) = 0. It is asked for at the n + 1 Chebyshev points of [0, 4], together
    with U(2) = -1, that is q(4)^kappa g(4) = 1/2: as many equations as unknowns g, lam. The start is the constant g
    that meets U(2) = -1.

    Args:
        k: which profile.
        n: degree of g in s; the error falls with it as r^-n, by the nearest singularity, r = 1.47 at k = 0.
        start: of lam; the middle of [1/(2k + 3), 1/(2k + 1)] by default.

    Returns:
        The profile.

    Raises:
        ValueError: k < 0, n < 8, no convergence in 30 steps, or convergence to g(0) = 0, which leaves lam free.

    Example:
        >>> with_exponent(0, 60).lam_error < 1e-15
        True
    """
    _check(k, n, 8)
    begun = time.process_time()
    angle, kappa = np.pi * np.arange(n + 1) / n, k + 1
    s = 4 * np.sin(angle / 2) ** 2
    slope = _differentiation(angle)
    d_of = s[:, None] * slope + np.diag(kappa / (1 + s))
    weight = (s / (1 + s)) ** kappa
    unknowns = np.append(np.full(n + 1, 0.5 / weight[-1]), _middle(k) if start is None else start)
    moved, steps = np.inf, 0
    while steps < NEWTON_STEPS:
        steps += 1
        change = np.linalg.solve(*_linearised(unknowns, weight, d_of))
        unknowns = unknowns - change
        moved, before = float(abs(change).max() / abs(unknowns).max()), moved
        # Rounding in s g' leaves steps of some n^2 eps that fall no further.
        if moved < 1e-14 or 0.1 * before < moved < 1e-9:
            break
    # At s = 0, g = 0 solves the equation too, at any lambda.
    if not (moved < 1e-9 and abs(unknowns[0]) > 1e-6 * abs(unknowns).max()):
        raise ValueError(
            f"expected Newton's method to converge in {NEWTON_STEPS} steps to g(0) != 0, the last moved {moved:.1g} "
            f"and g(0) = {unknowns[0]:.1g}: take more nodes than n = {n}, or start lambda in the middle of "
            f"1/{2 * k + 3} .. 1/{2 * k + 1}"
        )
    seconds = time.process_time() - begun
    g, g_slope = _interpolated(TEST_POINTS**2, s, np.stack([unknowns[:-1], slope @ unknowns[:-1]], axis=1)).T
    x, at = TEST_POINTS, TEST_POINTS**2
    h = (at / (1 + at)) ** kappa
    derivative = -1 + h * (g + 2 * (kappa * g / (1 + at) + at * g_slope))
    return _judged(k, n, float(unknowns[-1]), -x + x * h * g, derivative, steps, seconds)


def without_exponent(k: int, n: int = ODD) -> ChebyshevProfile:
    """Solve by least squares in odd Chebyshev polynomials, lam bounded: all that a network without smoothness has.

    U = sum_i c_i T_{2i + 1}(X/2); mean R^2 over 2n Chebyshev points of (0, 2] + (U(2) + 1)^2, lam in
    [1/(2k + 3), 1/(2k + 1)], by scipy's trust region from U = -X/2 and the middle lam.

    Args:
        k: which profile.
        n: number of polynomials.

    Returns:
        The profile, whose lam is wrong.

    Raises:
        ValueError: k < 0 or n < 2.

    Example:
        >>> found = without_exponent(2, 20)
        >>> found.residual < 1e-3, found.lam_error > 1e-2
        (True, True)
    """
    _check(k, n, 2)
    begun = time.process_time()
    x = 2 * np.cos(np.pi * (np.arange(2 * n) + 0.5) / (4 * n))
    values, slopes = _odd_polynomials(x, n)
    scale = 1 / np.sqrt(len(x))

    def residual(unknowns):
        u, v, lam = values @ unknowns[:-1], slopes @ unknowns[:-1], unknowns[-1]
        return np.append(scale * (-lam * u + ((1 + lam) * x + u) * v), unknowns[:-1].sum() + 1)

    def jacobian(unknowns):
        u, v, lam = values @ unknowns[:-1], slopes @ unknowns[:-1], unknowns[-1]
        rows = (v - lam)[:, None] * values + ((1 + lam) * x + u)[:, None] * slopes
        return np.vstack([scale * np.column_stack([rows, x * v - u]), np.append(np.ones(n), 0.0)])

    start, bound = np.zeros(n + 1), np.full(n + 1, np.inf)
    start[0], start[-1] = -1.0, _middle(k)
    low, high = np.append(-bound[1:], 1 / (2 * k + 3)), np.append(bound[1:], 1 / (2 * k + 1))
    tight = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15}
    found = least_squares(residual, start, jacobian, bounds=(low, high), max_nfev=EVALUATIONS, **tight)
    seconds = time.process_time() - begun
    values, slopes = _odd_polynomials(TEST_POINTS, n)
    u, v = values @ found.x[:-1], slopes @ found.x[:-1]
    return _judged(k, n, float(found.x[-1]), u, v, int(found.nfev), seconds)


def show(rows: Sequence[tuple[str, ChebyshevProfile]]) -> None:
    """Print profiles as a table.

    Args:
        rows: pairs of what tells the method and what it found.
    """
    lines = [
        (
            str(found.k),
            method,
            str(found.n),
            f"{found.lam:.7f}",
            f"{found.lam_error:.1e}",
            f"{found.u_error:.1e}",
            f"{found.residual:.1e}",
            str(found.steps),
            f"{found.seconds:.2f}",
        )
        for method, found in rows
    ]
    header = ("k", "exponent", "n", "lambda", "error", "U error", "max |R|", "steps", "CPU s")
    table("Chebyshev polynomials in place of a network", header, lines)


def measure(orders: Sequence[int] = ORDERS, n: int = NODES, odd: int = ODD) -> list[tuple[str, ChebyshevProfile]]:
    """Solve for several profiles with and without the exponent.

    Args:
        orders: values of k.
        n: degree with it.
        odd: polynomials without it.

    Returns:
        Rows of `show`, both methods of a profile one after the other.
    """
    return [row for k in orders for row in (("built in", with_exponent(k, n)), ("none", without_exponent(k, odd)))]


def _check(k: int, n: int, least: int) -> None:
    if k < 0 or n < least:
        raise ValueError(f"expected k >= 0 and n >= {least}, came {k = }, {n = }: k = 0, 1, 2 .. are the profiles")


def _middle(k: int) -> float:
    return 0.5 * (1 / (2 * k + 3) + 1 / (2 * k + 1))


def _differentiation(angle: np.ndarray) -> np.ndarray:
    """Return d/ds at s = 2 - 2 cos(angle); by sums of rows, as constants have slope 0 (Baltensperger, Trummer)."""
    weight = (-1.0) ** np.arange(len(angle))
    weight[[0, -1]] *= 2
    difference = 4 * np.sin((angle[:, None] + angle) / 2) * np.sin((angle[:, None] - angle) / 2)
    np.fill_diagonal(difference, 1.0)
    matrix = np.outer(weight, 1 / weight) / difference
    np.fill_diagonal(matrix, 0.0)
    return matrix - np.diag(matrix.sum(axis=1))


def _linearised(unknowns: np.ndarray, weight: np.ndarray, d_of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the Jacobian of the scaled equation and U(2) = -1, and their residual."""
    g, lam = unknowns[:-1], unknowns[-1]
    d = d_of @ g
    bracket = weight * (g + 2 * d) - 1
    residual = np.append(2 * lam * d + g * bracket, weight[-1] * g[-1] - 0.5)
    matrix = np.zeros((len(unknowns), len(unknowns)))
    matrix[:-1, :-1] = (2 * (lam + weight * g))[:, None] * d_of + np.diag(bracket + weight * g)
    matrix[:-1, -1] = 2 * d
    matrix[-1, -2] = weight[-1]
    return matrix, residual


def _interpolated(at: np.ndarray, nodes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return polynomials through values at Chebyshev points, by the barycentric formula."""
    weight = (-1.0) ** np.arange(len(nodes))
    weight[[0, -1]] *= 0.5
    difference = at[:, None] - nodes
    met = difference == 0
    kernel = np.where(met.any(axis=1, keepdims=True), met, weight / np.where(met, 1.0, difference))
    return kernel @ values / kernel.sum(axis=1, keepdims=True)


def _odd_polynomials(x: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return T_1, T_3, .. at x/2 and their derivatives in x, the latter 2 sin(j t) / (4 sin t) j at x = 2 cos t."""
    angle, degrees = np.arccos(x / 2)[:, None], 2 * np.arange(n) + 1
    # At t = 0, where x = 2, the quotient of sines is j.
    sine = np.where(angle == 0, 1.0, np.sin(angle))
    ratio = np.where(angle == 0, degrees, np.sin(degrees * angle) / sine)
    return np.cos(degrees * angle), 0.5 * degrees * ratio


def _judged(k: int, n: int, lam: float, u: np.ndarray, v: np.ndarray, steps: int, seconds: float) -> ChebyshevProfile:
    residual = float(abs(-lam * u + ((1 + lam) * TEST_POINTS + u) * v).max())
    error = float(abs(u - SelfSimilarProfile.smooth(k)(TEST_POINTS)).max())
    return ChebyshevProfile(k, n, lam, abs(lam - 1 / (2 * k + 2)), error, steps, seconds, residual)


def main(
    largest: Annotated[int, typer.Option(min=0, help="Profiles k = 0 .. K.", metavar="K")] = ORDERS[-1],
    nodes: Annotated[int, typer.Option(min=8, help="Degree in X^2 with the exponent.", metavar="N")] = NODES,
    odd: Annotated[int, typer.Option(min=2, help="Odd polynomials without it.", metavar="N")] = ODD,
) -> None:
    """Solve and print the table.

    Args:
        largest: last k.
        nodes: degree with the exponent.
        odd: polynomials without it.
    """
    show(measure(range(largest + 1), nodes, odd))
    say("The condition of smoothness at 0 selects lambda: without it a small residual says nothing about lambda.")


if __name__ == "__main__":
    typer.run(main)
