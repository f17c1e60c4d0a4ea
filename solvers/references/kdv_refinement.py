"""How good the reference of the Korteweg-de Vries equation is: by modes, steps, arithmetic and another method."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
from scipy.fft import irfft, rfft
from scipy.integrate import solve_ivp

from solvers.references.kdv import MODES, STEPS, extrapolated, march
from solvers.references.recipe import Refinement

TENTHS = 10
"""Times at which solutions are compared: 0.1, 0.2, ..., 1."""


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the relative L2 distance of two solutions.

    Args:
        first: (times, modes) complex.
        second: (times, modes) complex; modes that one of them lacks are zero in it.

    Returns:
        Over all times and x, by Parseval's theorem.

    Example:
        >>> distance(np.array([[0.0, 3.0]]), np.array([[0.0, 3.0, 4.0]]))
        0.8
    """
    both = np.zeros((2, len(first), max(first.shape[1], second.shape[1])), np.result_type(first, second))
    both[0, :, : first.shape[1]], both[1, :, : second.shape[1]] = first, second
    return float(np.linalg.norm(both[0] - both[1]) / np.linalg.norm(second))


def integrating_factor(dispersion: float, modes: int, tolerance: float) -> np.ndarray:
    """Return the solution at tenths of the time by the explicit Runge-Kutta method of order 8 of Dormand and Prince.

    The linear part is turned away: v = exp(-i mu^2 k^3 pi^3 t) c. Only the modes are shared with ETDRK4: the order is
    another, the steps vary, and phases come from the time itself, so that their rounding does not add up.

    Args:
        dispersion: mu.
        modes: points of the periodic grid.
        tolerance: relative, of a step.

    Returns:
        (10, modes / 2 + 1) complex.
    """
    wave = np.pi * np.arange(modes // 2 + 1)
    wave[-1] = 0
    turn = dispersion**2 * wave**3

    def slope(t: float, v: np.ndarray) -> np.ndarray:
        phase = np.exp(1j * turn * t)
        return phase.conj() * (-0.5j * wave * rfft(irfft(phase * v, norm="forward") ** 2, norm="forward"))

    state, found = np.zeros(modes // 2 + 1, complex), []
    state[1] = 0.5
    for tenth in range(1, TENTHS + 1):
        span = ((tenth - 1) / TENTHS, tenth / TENTHS)
        state = solve_ivp(slope, span, state, method="DOP853", rtol=tolerance, atol=1e-4 * tolerance).y[:, -1]
        found.append(state * np.exp(1j * turn * span[1]))
    kept = np.array(found)
    kept[:, 1:-1] *= 2
    return kept


def refine_kdv(dispersion: float) -> Iterator[Refinement]:
    """Compute the solution coarser, in extended precision, and by another method; about 40 s.

    Args:
        dispersion: mu.

    Yields:
        Rows; the last two bear the floor. Where long double is float64, the one of extended precision is missing.
    """

    def steps(number: int, modes: int = MODES, precision: type[np.floating] = np.float64) -> np.ndarray:
        return march(dispersion, modes, number, TENTHS, precision)[1:]

    def timed(work: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
        begun = time.process_time()
        return work(), time.process_time() - begun

    marches = {number: timed(lambda number=number: steps(number)) for number in (STEPS // 4, STEPS // 2, STEPS)}
    kept = extrapolated(marches[STEPS // 2][0], marches[STEPS][0])
    for number, (found, seconds) in marches.items():
        yield Refinement(f"{MODES} modes, {number} steps", distance(found, kept), "kept", seconds)
    for modes in (128, 192, 256):
        found, seconds = timed(lambda modes=modes: steps(STEPS // 4, modes))
        told = f"{modes} modes, {STEPS // 4} steps"
        yield Refinement(told, distance(found, marches[STEPS // 4][0]), f"{MODES} modes", seconds)
    if np.finfo(np.longdouble).eps < 1e-18:
        numbers = (STEPS // 2, STEPS)
        found, seconds = timed(lambda: extrapolated(*(steps(n, MODES, np.longdouble) for n in numbers)))
        told = f"extended precision, {numbers[0]} and {numbers[1]} steps, extrapolated"
        yield Refinement(told, distance(found.astype(complex), kept), "kept", seconds)
    for tolerance in (1e-11, 1e-13):
        found, seconds = timed(lambda tolerance=tolerance: integrating_factor(dispersion, MODES, tolerance))
        told = f"DOP853 with an integrating factor, tolerance {tolerance:.0e}"
        yield Refinement(told, distance(found, kept), "kept", seconds)
