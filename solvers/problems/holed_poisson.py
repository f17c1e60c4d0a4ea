"""Poisson's equation on a flower with a round hole: an irregular domain with two kinds of conditions."""

from __future__ import annotations

import numpy as np

from solvers.geometry import Curve, Disk, Region
from solvers.problems.closed_form import CLOSED_FORM, phase_floor
from solvers.problems.conditions import dirichlet
from solvers.problems.exact_robin import exact_robin
from solvers.problems.manufactured_wave import Wave
from solvers.problems.problem import Problem

DEPTH = 0.15
"""Of the petals: the outline is r = 1 + 0.15 cos(petals angle)."""


def holed_poisson(
    frequency: float = 1.0, petals: int = 5, center: tuple[float, float] = (0.2, -0.1), radius: float = 0.3
) -> Problem:
    """Return u_xx + u_yy = f inside r = 1 + 0.15 cos(petals angle) and outside a disk, u = 1 + sin(k x) cos(k y).

    k = frequency pi. On the flower ("outer") u is given, on the disk's rim ("hole") du/dn + (2 + x + y) u is, with n
    out of the domain and into the hole.

    Args:
        frequency: positive.
        petals: 1 to 12; 0 makes a round outline.
        center: of the hole.
        radius: of the hole.

    Returns:
        The problem.

    Raises:
        ValueError: a number out of its range, a frequency above 21, more than the test grid resolves, or a hole that
            does not lie inside the flower.

    Example:
        >>> holed_poisson().domain.faces
        ('outer', 'hole')
    """
    wave = Wave(frequency).resolved(1 + DEPTH, 101)
    if isinstance(petals, bool) or not isinstance(petals, int) or not 0 <= petals <= 12:
        raise ValueError(f"expected an integer number of petals from 0 to 12, came {petals!r}")

    def flower(t: np.ndarray) -> np.ndarray:
        angle = 2 * np.pi * t
        return (1 + DEPTH * np.cos(petals * angle))[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)

    def beta(x):
        return 2 + x[:, 0:1] + x[:, 1:2]

    def residual(jet, x, coefficients):
        return jet["laplacian"] - wave.laplacian(x)

    return Problem(
        "holed-poisson",
        Region(Curve(flower) - Disk(center, radius)),
        ("laplacian",),
        residual,
        (
            dirichlet(wave, name="outer", where="outer"),
            exact_robin(wave, wave.gradient, 1.0, beta, name="hole", where="hole"),
        ),
        solution=wave,
        solution_floor=phase_floor(wave.wavenumber * (1 + DEPTH)),
        floor_origin=CLOSED_FORM,
        equation=f"u_xx + u_yy = f, frequency {frequency:.4g}",
        settings={"frequency": frequency, "petals": petals, "center": tuple(center), "radius": radius},
    )
