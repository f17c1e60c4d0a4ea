"""The flow in a corner between a moving lid and a wall, term by term in the distance from the corner."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from solvers.references.cavity_angular import COSINE, SINE, Angular


@dataclass(frozen=True, eq=False)
class Term:
    """r^degree f(a), and log r times `logarithm` where the degree is 0.

    Args:
        degree: of r.
        f: of the angle, measured from the lid into the fluid.
        logarithm: factor of log r.
    """

    degree: int
    f: Angular
    logarithm: float = 0.0

    def partial(self, i: int, j: int) -> Term:
        """Return the i-th derivative along the lid and the j-th into the fluid, of a term without logarithm.

        Args:
            i: along the lid, away from the corner.
            j: along the wall, away from the corner.

        Returns:
            A term of degree - i - j.
        """
        degree, f = self.degree, self.f
        for along_lid in [True] * i + [False] * j:
            first, second = (COSINE, -1.0 * SINE) if along_lid else (SINE, COSINE)
            f, degree = degree * (first * f) + second * f.derivative, degree - 1
        return Term(degree, f)

    def __call__(self, r: np.ndarray, angle: np.ndarray) -> np.ndarray:
        """Return the term.

        Args:
            r: distances from the corner.
            angle: from the lid, of the same shape.

        Returns:
            Of the same shape.
        """
        value = r ** float(self.degree) * self.f(angle)
        return value + self.logarithm * np.log(r) if self.logarithm else value


def laplacian(term: Term) -> Term:
    """Return the Laplacian of a term, r^(m - 2) (m^2 f + f'').

    Args:
        term: of degree m, without logarithm.

    Returns:
        A term of degree m - 2.
    """
    return Term(term.degree - 2, term.degree**2 * term.f + term.f.derivative.derivative)


def stokes_term(degree: int, speed: float) -> Term:
    """Return the creeping flow r^m f(a) in a right angle whose lid moves away from it with speed r^(m - 1).

    Biharmonic, f(0) = f(pi/2) = f'(pi/2) = 0, f'(0) = speed; for m = 1 this is G. I. Taylor's scraper (1962).

    Args:
        degree: m, 1 or 2.
        speed: of the lid at r = 1, d psi / d y with y into the fluid.

    Returns:
        The term.

    Example:
        >>> wall = (math.pi / 2) ** 2
        >>> exact = math.sin(0.3) * (wall - 0.3 * math.pi / 2) - 0.3 * math.cos(0.3) * wall  # (wall - 1) f, by hand
        >>> round(float(stokes_term(1, 1.0).f(0.0)), 12), round(float(stokes_term(1, 1.0).f.derivative(0.0)), 12)
        (0.0, 1.0)
    """
    return _solved(degree, Angular(np.zeros((1, 1), dtype=complex)), speed)


def inertial_term(stokes: Term, reynolds: float) -> Term:
    """Return the first correction of a creeping flow by its own inertia.

    Biharmonic psi_2 = Re (psi_y d/dx - psi_x d/dy) Laplacian psi, of degree 2 m; psi_2 and its slope vanish on both
    walls.

    Args:
        stokes: of degree m.
        reynolds: Re, negative where the axes along lid and wall are left-handed.

    Returns:
        The term.
    """
    spin = laplacian(stokes)
    turning = spin.degree * (spin.f * stokes.f.derivative) - stokes.degree * (stokes.f * spin.f.derivative)
    return _solved(2 * stokes.degree, reynolds * turning, 0.0)


def _solved(degree: int, forcing: Angular, slope: float) -> Term:
    """Return r^m f with (d^2 + (m - 2)^2) (d^2 + m^2) f = forcing, f'(0) = slope, f(0) = f(pi/2) = f'(pi/2) = 0."""
    # Resonance raises the power of the angle: by one for each of the two factors.
    powers, half = len(forcing.c) + 2, max(degree, forcing.c.shape[1] // 2)
    columns = []
    for unit in np.eye(powers * (2 * half + 1)):
        f = Angular(unit.reshape(powers, -1).astype(complex))
        columns.append(np.concatenate([laplacian(laplacian(Term(degree, f))).f.c.ravel(), *_ends(f)]))
    wanted = np.concatenate([forcing.padded(powers, half).ravel(), [0.0, slope, 0.0, 0.0]])
    found = np.linalg.lstsq(np.array(columns).T, wanted, rcond=1e-12)[0]
    return Term(degree, Angular(found.reshape(powers, -1)))


def _ends(f: Angular) -> Iterator[list[complex]]:
    """Yield the complex values of f and f' at the lid and at the wall, of which `Angular` takes the real part."""
    for angle in (0.0, math.pi / 2):
        basis = angle ** np.arange(len(f.c))[:, None] * np.exp(1j * angle * f.waves)
        yield [(basis * f.c).sum(), (basis * f.derivative.c).sum()]


def corner_pressure(stokes: Term, inertial: Term | None, reynolds: float) -> list[Term]:
    """Return the pressure of the first two terms of the flow, from the momentum equations.

    p_x = psi_yxx / Re + psi_yyy / Re - (psi_y psi_xy - psi_x psi_yy) and the same for p_y; the first term is 1/r for a
    lid of uniform speed.

    Args:
        stokes: of degree m.
        inertial: of degree 2 m, or None for the creeping flow alone.
        reynolds: Re, signed as in `inertial_term`.

    Returns:
        One term a term.
    """
    forces = [_viscous(stokes, reynolds)]
    if inertial is not None:
        x, y = _viscous(inertial, reynolds)
        (px, py), (pxx, pxy, pyy) = ([stokes.partial(*ij).f for ij in order] for order in (FIRST, SECOND))
        forces.append((x - (py * pxy - px * pyy), y + (py * pxx - px * pxy)))
    return [_potential((number + 1) * stokes.degree, *force) for number, force in enumerate(forces)]


FIRST = ((1, 0), (0, 1))
SECOND = ((2, 0), (1, 1), (0, 2))


def _viscous(term: Term, reynolds: float) -> tuple[Angular, Angular]:
    spin = laplacian(term)
    return spin.partial(0, 1).f * (1 / reynolds), spin.partial(1, 0).f * (-1 / reynolds)


def _potential(degree: int, x: Angular, y: Angular) -> Term:
    """Return the p whose gradient is r^(degree - 3) (x, y)."""
    outward, round_ = COSINE * x + SINE * y, COSINE * y - SINE * x
    if degree == 2:
        return Term(0, round_.integral, float(outward(math.pi / 4)))
    return Term(degree - 2, outward * (1 / (degree - 2)))
