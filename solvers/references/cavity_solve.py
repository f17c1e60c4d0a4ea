"""Solving a lid-driven cavity: from creeping flow to the Reynolds number wanted, then from a few modes to many."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from solvers.references.cavity_basis import ClampedBasis
from solvers.references.cavity_flow import CavityFlow
from solvers.references.cavity_galerkin import Cavity, Known
from solvers.references.cavity_lid import LIDS, CornerFlow

COARSE = 28
"""Degree of the continuation in the Reynolds number."""

GROWTH = 2.0
"""Ratio of successive Reynolds numbers."""


def solve_cavity(reynolds: float, lid: str, degree: int) -> CavityFlow:
    """Return the steady flow that continues from creeping flow.

    Args:
        reynolds: Re.
        lid: of `LIDS`.
        degree: N of the polynomials; (N - 3)^2 unknowns. 64 takes 1.5 s, 96 takes 15 s and 0.7 GB.

    Returns:
        The flow.

    Example:
        >>> flow = solve_cavity(10.0, "regularised", 16)
        >>> round(float(flow.velocity(np.array([0.5]), np.array([1.0]))[0, 0]), 12)
        1.0
    """
    flow, steps = None, list(_continuation(reynolds, degree))
    for number, coarse in steps:
        flow = _solved(number, lid, coarse, flow, last=(number, coarse) == steps[-1])
    return flow


def _continuation(reynolds: float, degree: int) -> Iterator[tuple[float, int]]:
    """Yield Reynolds numbers with a low degree, then the last of them with the degree wanted."""
    coarse = min(degree, COARSE)
    number = min(reynolds, 60.0)
    while number < reynolds:
        yield number, coarse
        number *= GROWTH
    yield reynolds, coarse
    if degree > coarse:
        yield reynolds, degree


def _solved(reynolds: float, lid: str, degree: int, start: CavityFlow | None, last: bool) -> CavityFlow:
    """Return the flow by Newton's method from another flow, or from rest; the last one with its pressure."""
    basis = ClampedBasis(degree)
    corners = CornerFlow(reynolds, LIDS[lid])
    across = np.meshgrid(basis.x, basis.x, indexing="ij")
    lift = basis.interpolated(corners.lid_left(LIDS[lid], basis.x), basis.x**2 * (basis.x - 1))
    known = _known(corners, lift, reynolds, across)
    unknown = np.zeros((basis.size, basis.size))
    if start is not None:
        before = start.stream(*map(np.ravel, across)).reshape(across[0].shape)
        unknown = basis.projected(before - corners.partial(*across, 0, 0) - basis.field(lift, 0, 0))
    cavity = Cavity(reynolds, basis, known)
    stream = cavity.stream(cavity.solved(unknown))
    pressure = _pressure(reynolds, basis, stream, corners, across) if last else np.zeros_like(stream)
    return CavityFlow(reynolds, lid, stream, pressure)


def _known(corners: CornerFlow, lift: np.ndarray, reynolds: float, across: list[np.ndarray]) -> Known:
    def at(i: int, j: int) -> np.ndarray:
        return corners.partial(*across, i, j)

    slopes = (at(1, 0), at(0, 1), at(2, 0) + at(0, 2))
    return Known(lift, slopes, (at(4, 0) + 2 * at(2, 2) + at(0, 4)) / reynolds)


def _pressure(
    reynolds: float, basis: ClampedBasis, stream: np.ndarray, corners: CornerFlow, across: list[np.ndarray]
) -> np.ndarray:
    """Return the coefficients of the polynomial that is nearest to the pressure, in the L2 norm of its gradient."""

    def at(i: int, j: int) -> np.ndarray:
        return basis.field(stream, i, j) + corners.partial(*across, i, j)

    x, y, xy = at(1, 0), at(0, 1), at(1, 1)
    force_x = (at(2, 1) + at(0, 3)) / reynolds - (y * xy - x * at(0, 2))
    force_y = -(at(3, 0) + at(1, 2)) / reynolds + (y * at(2, 0) - x * xy)
    weights = np.outer(basis.weights, basis.weights)
    force_x = weights * (force_x - corners.pressure(*across, 1, 0))
    force_y = weights * (force_y - corners.pressure(*across, 0, 1))
    value, slope = basis.legendre[:2]
    norms = np.sqrt(2 * np.arange(basis.degree + 1) + 1)
    value, slope = value * norms, slope * norms
    work = slope.T @ force_x @ value + value.T @ force_y @ slope
    # With orthonormal polynomials the normal equations are S P + P S = work: diagonal in the eigenvectors of S.
    sizes, modes = np.linalg.eigh((slope * basis.weights[:, None]).T @ slope)
    total = sizes[:, None] + sizes
    total[0, 0] = np.inf
    pressure = norms[:, None] * (modes @ ((modes.T @ work @ modes) / total) @ modes.T) * norms
    return _centred(pressure, corners)


def _centred(pressure: np.ndarray, corners: CornerFlow) -> np.ndarray:
    """Return the pressure that is zero at the centre."""
    middle = np.array([0.5])
    even = CavityFlow(1.0, "regularised", pressure, pressure).pressure(middle, middle)
    pressure[0, 0] -= (even + corners.pressure(middle, middle))[0]
    return pressure
