"""The Korteweg-de Vries equation from a cosine, by Fourier modes and exponential time differences."""

from __future__ import annotations

import math

import numpy as np
from scipy.fft import dct, irfft, rfft

from solvers.references.etdrk4 import etdrk4
from solvers.references.kdv_solution import KdVSolution
from solvers.references.recipe import Column, Recipe, grid

MODES = 448
STEPS = 24_000
LEVELS = 400
ORDERS = 256
STENCIL = 12
FLOOR = 2e-12
GRAIN = 2.0**-51
"""Coefficients are kept as multiples of it, so that the file is small: 2e-14 of the solution, far below its floor."""


def march(
    dispersion: float, modes: int, steps: int, levels: int = LEVELS, precision: type[np.floating] = np.float64
) -> np.ndarray:
    """Return the solution of u_t + u u_x + mu^2 u_xxx = 0, u(x, 0) = cos(pi x), at equidistant times up to 1.

    Args:
        dispersion: mu.
        modes: points of the periodic grid, as many Fourier modes; even.
        steps: of ETDRK4; a multiple of `levels`.
        levels: times that are kept, besides 0.
        precision: float64, or longdouble, where that is more.

    Returns:
        (levels + 1, modes / 2 + 1) complex: c with u(x, j / levels) = Re sum_k c_jk exp(i k pi x).
    """
    wave = 4 * np.arctan(precision(1)) * np.arange(modes // 2 + 1).astype(precision)
    # The mode of the highest frequency is a cosine on the grid: it has no odd derivative there.
    wave[-1] = 0
    turn = 1j * precision(dispersion) ** 2 * wave**3
    start = np.zeros(modes // 2 + 1, turn.dtype)
    start[1] = precision(1) / 2

    def steepening(state: np.ndarray) -> np.ndarray:
        return -0.5j * wave * rfft(irfft(state, norm="forward") ** 2, norm="forward")

    every = steps // levels
    states = etdrk4(turn, steepening, start, precision(1) / steps, steps)
    kept = np.array([state for number, state in enumerate(states) if number % every == 0])
    # Every mode but the first and the last has a conjugate.
    kept[:, 1:-1] *= 2
    return kept


def extrapolated(coarse: np.ndarray, fine: np.ndarray) -> np.ndarray:
    """Return the limit of a method of order 4, from steps and steps half as long.

    Args:
        coarse: of the long steps.
        fine: of the short ones.

    Returns:
        Of the same shape.
    """
    return fine + (fine - coarse) / 15


def chebyshev_in_time(levels: np.ndarray, orders: int = ORDERS) -> np.ndarray:
    """Return the Chebyshev coefficients in time of functions that are known at equidistant levels.

    Between the levels runs the polynomial through the 12 nearest, which adds 6e-15.

    Args:
        levels: (levels, modes) complex, at equidistant times from 0 to 1.
        orders: how many polynomials.

    Returns:
        (orders, modes) complex: c with f(t) = sum_n c_n T_n(2t - 1).
    """
    nodes = (1 + np.cos(np.pi * (np.arange(orders) + 0.5) / orders)) / 2
    place = nodes * (len(levels) - 1)
    first = np.clip(np.floor(place).astype(int) - STENCIL // 2 + 1, 0, len(levels) - STENCIL)
    away = (place - first)[:, None] - np.arange(STENCIL)
    # Barycentric weights of equidistant nodes are binomials with alternating signs; no Chebyshev node is a level.
    weights = np.array([(-1) ** j * math.comb(STENCIL - 1, j) for j in range(STENCIL)]) / away
    weights /= weights.sum(axis=1, keepdims=True)
    states = np.einsum("ns,nsk->nk", weights, levels[first[:, None] + np.arange(STENCIL)])
    coefficients = (dct(states.real, axis=0) + 1j * dct(states.imag, axis=0)) / orders
    coefficients[0] /= 2
    return coefficients


def packed(coefficients: np.ndarray) -> np.ndarray:
    """Return complex coefficients as rounded pairs of numbers, without the orders and modes that are zero.

    Args:
        coefficients: (orders, modes) complex.

    Returns:
        (fewer orders, fewer modes, 2) float64.
    """
    pairs = np.round(np.stack([coefficients.real, coefficients.imag], axis=-1) / GRAIN) * GRAIN
    orders, modes = (np.flatnonzero(pairs.any(axis=axes)) for axes in ((1, 2), (0, 2)))
    return pairs[: orders[-1] + 1, : modes[-1] + 1] + 0.0


def kdv_recipe(dispersion: float = 0.022) -> Recipe:
    """Return how the solution of u_t + u u_x + mu^2 u_xxx = 0, 2-periodic, u(x, 0) = cos(pi x), is computed.

    ETDRK4 with 12,000 and 24,000 steps, extrapolated. At mu = 0.022 that is 1.2e-12 from the same in extended
    precision: most of it from the rounding of exp(i mu^2 k^3 pi^3 step), which adds up, so shorter steps gain nothing.
    448 modes are enough by far: the last ones are below 1e-16, those of 256 below 1e-11. About 3 s, 90 kB.

    Args:
        dispersion: mu.

    Returns:
        The recipe; its array `coefficients` is for `KdVSolution`.

    Example:
        >>> kdv_recipe().name
        'kdv'
    """

    def compute() -> dict[str, Column]:
        levels = extrapolated(*(march(dispersion, MODES, steps) for steps in (STEPS // 2, STEPS)))
        attributes = {
            "units": "1",
            "long_name": "c in u(x, t) = Re sum_nk (c_nk0 + i c_nk1) T_n(2t - 1) exp(i k pi x)",
        }
        return {"coefficients": (("order", "mode", "part"), packed(chebyshev_in_time(levels)), attributes)}

    def refine():
        from solvers.references.kdv_refinement import refine_kdv

        return refine_kdv(dispersion)

    return Recipe(
        "kdv",
        {"dispersion": float(dispersion)},
        compute,
        f"{MODES} Fourier modes, ETDRK4 of {STEPS // 2} and {STEPS} steps, extrapolated",
        FLOOR,
        "extended precision, 1.3e-12 away; DOP853 agrees to its own 1e-11",
        refine,
        sampled=lambda arrays: KdVSolution(arrays["coefficients"])(*grid((-1.0, 1.0), (0.0, 1.0))),
    )
