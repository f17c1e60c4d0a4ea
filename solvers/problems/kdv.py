"""The Korteweg-de Vries equation from a cosine, which breaks into solitons, with a reference computed here."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from scipy.fft import irfft, rfft
from torch import Tensor

from solvers.domain import Box
from solvers.functions import cos
from solvers.problems.conditions import initial_value, periodic
from solvers.problems.etdrk4 import etdrk4
from solvers.problems.problem import Problem

MODES = 512
LEVELS = 400
STEPS = 60
STENCIL = 12


class KdVReference:
    """Solution of u_t + u u_x + mu^2 u_xxx = 0, 2-periodic, u(x, 0) = cos(pi x), by Fourier modes and ETDRK4.

    Off the grid: the trigonometric interpolant in x; in t, the polynomial through the 12 levels around it, which adds
    6e-15. The error is that of the time steps and grows to t = 1, where it is 1.1e-11 at mu = 0.022 (against steps half
    as long in extended precision); shorter steps gain little more, since the rounding of exp(i mu^2 k^3 step) adds up.
    512 modes are enough by far: the last ones are below 1e-16, those of 256 below 1e-11.

    Args:
        dispersion: mu.
        modes: points of the periodic grid, as many Fourier modes; even.
        levels: number of states kept up to t = 1.
        steps: time steps from one level to the next.
    """

    def __init__(self, dispersion: float, modes: int = MODES, levels: int = LEVELS, steps: int = STEPS):
        wave = np.pi * np.arange(modes // 2 + 1)
        # The mode of the highest frequency is a cosine on the grid: it has no odd derivative there.
        wave[-1] = 0
        self.wave = wave
        self.levels = levels
        start = rfft(np.cos(np.pi * np.arange(-modes // 2, modes // 2) * 2 / modes))

        def steepening(state: np.ndarray) -> np.ndarray:
            return -0.5j * wave * rfft(irfft(state) ** 2)

        march = etdrk4(1j * dispersion**2 * wave**3, steepening, start, 1 / (levels * steps), levels * steps)
        states = np.array([state for number, state in enumerate(march) if number % steps == 0])
        self.coefficients = _centred(states / modes)

    def __call__(self, x: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Return u.

        Args:
            x: positions, 1-D; 2-periodic.
            t: times in [0, 1], of the same shape.

        Returns:
            u, of the same shape.
        """
        solution = np.empty(len(x))
        times, group = np.unique(t, return_inverse=True)
        order = np.argsort(group, kind="stable")
        ends = np.searchsorted(group[order], np.arange(len(times) + 1))
        for index, time in enumerate(times):
            rows = order[ends[index] : ends[index + 1]]
            waves = np.exp(1j * np.outer(x[rows], self.wave))
            solution[rows] = (waves @ self.at(time)).real
        return solution

    def at(self, time: float) -> np.ndarray:
        """Return c with u(x, time) = Re sum_k c_k exp(i k pi x).

        Args:
            time: in [0, 1].

        Returns:
            (modes / 2 + 1,) complex.
        """
        place = time * self.levels
        first = min(max(math.floor(place) - STENCIL // 2 + 1, 0), self.levels + 1 - STENCIL)
        away = place - first - np.arange(STENCIL)
        nearest = int(np.abs(away).argmin())
        if abs(away[nearest]) < 1e-9:
            return self.coefficients[first + nearest]
        # Barycentric weights of equidistant nodes are binomials with alternating signs.
        weights = np.array([(-1) ** j * math.comb(STENCIL - 1, j) for j in range(STENCIL)]) / away
        return (weights / weights.sum()) @ self.coefficients[first : first + STENCIL]


def _centred(states: np.ndarray) -> np.ndarray:
    """Return (levels, modes / 2 + 1) coefficients of exp(i k pi x) on x in [-1, 1), whose real part is the sum."""
    # The grid begins at x = -1, where exp(i k pi x) is (-1)^k; every mode but the first and the last has a conjugate.
    states[:, 1::2] *= -1
    states[:, 1:-1] *= 2
    return states


@lru_cache(maxsize=4)
def _reference(dispersion: float) -> KdVReference:
    return KdVReference(dispersion)


def kdv(dispersion: float = 0.022) -> Problem:
    """Return u_t + u u_x + mu^2 u_xxx = 0 on (-1, 1) x (0, 1), periodic, u(x, 0) = cos(pi x).

    The cosine steepens as in Burgers' equation until t = 1/pi; then dispersion breaks it into a train of solitons. Mass
    and energy, the integrals of u and u^2, stay what they were. The reference is computed at its first use (2 s).

    Args:
        dispersion: mu, not squared; 0.022 is that of N. J. Zabusky and M. D. Kruskal, Phys. Rev. Lett. 15 (1965), and
            of the PINN papers.

    Returns:
        The problem.

    Raises:
        ValueError: dispersion below 0.022, where the solitons are too thin for the stated floor, or above 0.1, where
            400 levels no longer follow the dispersion in time.

    Example:
        >>> [condition.name for condition in kdv().conditions]
        ['periodic', 'periodic_x', 'periodic_xx', 'initial']
    """
    if not 0.022 <= dispersion <= 0.1:
        raise ValueError(
            f"expected dispersion in [0.022, 0.1], where the reference's floor was measured, came {dispersion}; the "
            f"equation has its square before u_xxx"
        )

    def residual(jet, x, coefficients):
        return jet["t"] + jet[""] * jet["x"] + dispersion**2 * jet["xxx"]

    def solution(x: Tensor) -> Tensor:
        points = x.double().numpy()
        return torch.from_numpy(_reference(dispersion)(points[:, 0], points[:, 1]))[:, None]

    return Problem(
        "kdv",
        Box(("x", "t"), (-1.0, 0.0), (1.0, 1.0), periodic=("x",)),
        ("", "x", "xxx", "t"),
        residual,
        (
            periodic("x"),
            periodic("x", "x"),
            periodic("x", "xx"),
            initial_value(lambda x: cos(math.pi * x[:, 0:1])),
        ),
        solution=solution,
        solution_floor=1e-11,
        test_shape=(201, 51),
        settings={"dispersion": dispersion},
    )
