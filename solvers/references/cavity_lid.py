"""How the lid of a cavity moves, and what its two corners do to the flow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import comb
from types import MappingProxyType
from typing import TypeVar

import numpy as np
from numpy.polynomial import Polynomial

from solvers.references.cavity_corner import Term, corner_pressure, inertial_term, stokes_term

Value = TypeVar("Value")

CUT_OFF = (Polynomial([1.0]) - Polynomial([0.0, 1.0]) ** 4) ** 2
"""(1 - s^4)^2: 1 near the corner up to s^4, 0 with its slope at the far wall, a polynomial."""


@dataclass(frozen=True)
class Lid:
    """A lid at y = 1 that moves along x.

    Args:
        name: of the variant.
        formula: its speed, as text.
        speed: x -> u, made of + - * alone: for numbers, arrays and tensors.
        degree: m of the stream function r^m f(a) at its corners that no polynomial is, None where there is none.
        strength: c where u = c r^(m - 1) at a corner.
    """

    name: str
    formula: str
    speed: Callable[[Value], Value]
    degree: int | None = None
    strength: float = 0.0


LIDS: Mapping[str, Lid] = MappingProxyType(
    {
        lid.name: lid
        for lid in (
            Lid("classical", "1", lambda x: 0 * x + 1.0, 1, 1.0),
            Lid("regularised", "16 x^2 (1 - x)^2", lambda x: 16.0 * (x * (1 - x)) * (x * (1 - x))),
            Lid("parabolic", "4 x (1 - x)", lambda x: 4.0 * x * (1 - x), 2, 4.0),
        )
    }
)
"""Name -> lid."""


class CornerFlow:
    """The singular part of a cavity's flow: the first terms of both upper corners, each cut off at the far walls.

    With a uniform lid the stream function is r f_1(a) + Re r^2 f_2(a) + O(Re^2 r^3), where Re r^2 f_2 is the first
    effect of inertia (O. Botella and R. Peyret, Computers & Fluids 27 (1998), take off the same two); with
    u = 4 x (1 - x) it begins with r^2 and inertia comes with r^4. At the corners themselves the velocity is that of the
    lid, and the pressure is not finite (a uniform lid's is infinite like 1/r, beside it like log r).

    Args:
        reynolds: Re.
        lid: the lid.
    """

    def __init__(self, reynolds: float, lid: Lid):
        self._sides: list[tuple[bool, list[Term], list[Term]]] = []
        for right in (False, True):
            if lid.degree is None:
                continue
            # Depth, seen from the lid, turns the sign of d psi / dy; the axes are left-handed on the left.
            signed = reynolds if right else -reynolds
            stream = [stokes_term(lid.degree, -lid.strength)]
            inertial = inertial_term(stream[0], signed) if lid.degree == 1 else None
            pressure = corner_pressure(stream[0], inertial, signed)
            self._sides.append((right, stream if inertial is None else [*stream, inertial], pressure))

    def partial(self, x: np.ndarray, y: np.ndarray, i: int, j: int) -> np.ndarray:
        """Return a partial of the stream function.

        Args:
            x: places in [0, 1].
            y: places in [0, 1], of a shape that broadcasts with x.
            i: order of the derivative in x.
            j: order of the derivative in y.

        Returns:
            The sum of both corners; infinite or NaN at a corner where the partial is.
        """
        return self._sum(x, y, i, j, 1)

    def pressure(self, x: np.ndarray, y: np.ndarray, i: int = 0, j: int = 0) -> np.ndarray:
        """Return the pressure, or a first derivative of it.

        Args:
            x: places in [0, 1].
            y: places in [0, 1], of a shape that broadcasts with x.
            i: order of the derivative in x.
            j: order of the derivative in y; i + j <= 1.

        Returns:
            The sum of both corners; infinite or NaN at a corner where it is.
        """
        return self._sum(x, y, i, j, 2)

    def _sum(self, x, y, i: int, j: int, which: int) -> np.ndarray:
        """Return a partial of the sum over the corners of cut-off times terms, by Leibniz' rule."""
        total = np.zeros(np.broadcast_shapes(np.shape(x), np.shape(y)))
        for side in self._sides:
            along, depth = (1 - x if side[0] else x), 1 - y
            r, angle = np.hypot(along, depth), np.arctan2(depth, along)
            sign = (-1) ** (j + i * side[0])
            for a in range(i + 1):
                for b in range(j + 1):
                    cut = sign * comb(i, a) * comb(j, b) * _slope(i - a)(along) * _slope(j - b)(depth)
                    with np.errstate(divide="ignore", invalid="ignore"):
                        total += cut * sum(_at(term, a, b, r, angle) for term in side[which])
        return total

    def lid_left(self, lid: Lid, x: np.ndarray) -> np.ndarray:
        """Return the part of the lid's speed that the corners leave: a polynomial with double zeros at both ends.

        Args:
            lid: the lid.
            x: places in [0, 1].

        Returns:
            Of the shape of x.
        """
        if lid.degree is None:
            return lid.speed(x)
        near, far = (lid.strength * s ** (lid.degree - 1) * CUT_OFF(s) for s in (x, 1 - x))
        return lid.speed(x) - near - far


@lru_cache(maxsize=8)
def _slope(order: int) -> Polynomial:
    return CUT_OFF.deriv(order) if order else CUT_OFF


def _at(term: Term, i: int, j: int, r: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Return a partial of a term; with a logarithm its gradient is of degree -1."""
    if not term.logarithm or i + j == 0:
        return _partial(term, i, j)(r, angle)
    radial = np.cos(angle) if i else np.sin(angle)
    return _partial(Term(term.degree, term.f), i, j)(r, angle) + term.logarithm * radial / r


def _partial(term: Term, i: int, j: int) -> Term:
    return term.partial(i, j) if i + j else term
