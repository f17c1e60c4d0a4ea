"""Which equation the values on a grid obey, and with which coefficient: differences and weighted least squares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import correlate1d

HALF_WIDTH = 4
"""Of the central stencils of even derivatives and of u_t: order 8."""
BLOCKS = (4, 6)
"""Parts of the grid in x and t that are left out in turn for the bar."""
ROUNDS = 4
FEWEST = (13, 5)
"""Points and times for the stencils."""


@dataclass(frozen=True)
class Form:
    """u_t = c g(u) + r h(u), with c the coefficient that makes a variant and r the rate that all have.

    Args:
        symbol: of c, as the papers write it.
        of_coefficient: g as text.
        of_rate: h as text.
        rate: r.
        derivative: order of the x-derivative in g; g is minus the derivative where it is odd.
    """

    symbol: str
    of_coefficient: str
    of_rate: str
    rate: float
    derivative: int


FORMS = {
    "burgers": Form("nu", "u_xx", "(-u u_x)", 1.0, 2),
    "allen-cahn": Form("D", "u_xx", "(u - u^3)", 5.0, 2),
    "kdv": Form("mu^2", "(-u_xxx)", "(-u u_x)", 1.0, 3),
}


@dataclass(frozen=True)
class Fit:
    """How well one equation fits.

    Args:
        problem: key of `FORMS`.
        coefficient: c, fitted.
        bar: what c may be off by: the larger of three jackknife errors and of its change with the order of
            the differences.
        rate: r, fitted.
        rate_bar: of r, likewise.
        misfit: rms of u_t - c g - r h over that of u_t, weighted by what the differences can tell.
    """

    problem: str
    coefficient: float
    bar: float
    rate: float
    rate_bar: float
    misfit: float

    @property
    def text(self) -> str:
        """The equation with its numbers."""
        form = FORMS[self.problem]
        return f"u_t = {self.coefficient:.4g} {form.of_coefficient} + {self.rate:.4g} {form.of_rate}"


def fits(x: np.ndarray, t: np.ndarray, u: np.ndarray) -> list[Fit]:
    """Fit every equation of `FORMS` to values on a uniform grid, the best first.

    Derivatives are central differences of order 8 in x and t; their distance from those of order 6 says where they can
    be believed, and weights each point: a shock or a kink that the grid does not resolve counts for nothing.

    Args:
        x: (nx,) uniform.
        t: (nt,) uniform.
        u: (nx, nt).

    Returns:
        One fit an equation, by misfit.

    Raises:
        ValueError: fewer than 13 points or 5 times, or values that do not change.

    Example:
        >>> x, t = np.linspace(-1, 1, 41), np.linspace(0, 0.1, 21)
        >>> best = fits(x, t, 0.5 - 2 * np.tanh(x[:, None] - t / 2))[0]
        >>> best.problem, round(best.coefficient, 6)
        ('burgers', 1.0)
    """
    if len(x) < FEWEST[0] or len(t) < FEWEST[1]:
        raise ValueError(
            f"expected at least 13 points and 5 times to tell an equation by its derivatives, came {len(x)} and "
            f"{len(t)}: take a finer file, or pass --problem NAME"
        )
    fine, coarse = _derivatives(x, t, u, 0), _derivatives(x, t, u, 1)
    if not np.any(fine["t"]):
        raise ValueError("u does not change in time: expected the solution of an equation with u_t in it")
    return sorted((_fit(name, fine, coarse) for name in FORMS), key=lambda fit: fit.misfit)


def _derivatives(x: np.ndarray, t: np.ndarray, u: np.ndarray, lower: int) -> dict[str, np.ndarray]:
    """Return u, u_t, u_x, u_xx, u_xxx inside; `lower` takes the stencils so many points narrower to each side."""
    in_time = min(HALF_WIDTH, (len(t) - 1) // 2)
    dx, dt = (x[-1] - x[0]) / (len(x) - 1), (t[-1] - t[0]) / (len(t) - 1)
    inside = np.s_[HALF_WIDTH + 1 : -HALF_WIDTH - 1, in_time:-in_time]
    found = {"": u, "t": correlate1d(u, _weights(1, in_time - lower) / dt, axis=1)}
    for order, half in ((1, HALF_WIDTH), (2, HALF_WIDTH), (3, HALF_WIDTH + 1)):
        found["x" * order] = correlate1d(u, _weights(order, half - lower) / dx**order, axis=0)
    return {name: values[inside] for name, values in found.items()}


def _weights(order: int, half: int) -> np.ndarray:
    """Return the central difference weights of a derivative on 2 half + 1 points of spacing 1."""
    offsets = np.arange(-half, half + 1.0)
    moments = np.zeros(len(offsets))
    moments[order] = np.prod(np.arange(1, order + 1))
    return np.linalg.solve(np.vander(offsets, increasing=True).T, moments)


def _terms(name: str, jet: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    g = jet["xx"] if FORMS[name].derivative == 2 else -jet["xxx"]
    h = jet[""] - jet[""] ** 3 if name == "allen-cahn" else -jet[""] * jet["x"]
    return g, h


def _fit(name: str, fine: dict[str, np.ndarray], coarse: dict[str, np.ndarray]) -> Fit:
    (g, h), (coarse_g, coarse_h) = _terms(name, fine), _terms(name, coarse)
    least = 1e-9 * np.sqrt(np.mean(fine["t"] ** 2)) + 1e-300
    values = np.array([0.0, FORMS[name].rate])
    for _ in range(ROUNDS):
        doubt = np.abs(fine["t"] - coarse["t"])
        doubt += np.abs(values[0] * (g - coarse_g)) + np.abs(values[1] * (h - coarse_h)) + least
        sums = _sums(fine["t"], g, h, 1 / doubt**2)
        values = _solve(sums.sum(axis=(0, 1)))
    total = sums.sum(axis=(0, 1))
    without = np.array([_solve(total - part) for part in sums.reshape(-1, *sums.shape[2:])])
    jackknife = np.sqrt((len(without) - 1) * np.mean((without - without.mean(axis=0)) ** 2, axis=0))
    lower = _solve(_sums(coarse["t"], coarse_g, coarse_h, 1 / doubt**2).sum(axis=(0, 1)))
    bars = np.maximum(3 * jackknife, np.abs(values - lower))
    rest = fine["t"] - values[0] * g - values[1] * h
    misfit = np.sqrt(np.sum((rest / doubt) ** 2) / np.sum((fine["t"] / doubt) ** 2))
    return Fit(name, *(float(number) for number in (values[0], bars[0], values[1], bars[1], misfit)))


def _sums(left: np.ndarray, g: np.ndarray, h: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return (blocks in x, blocks in t, 2, 3): the normal equations of each part of the grid."""
    products = np.array([[g * g, g * h, g * left], [g * h, h * h, h * left]]) * weight
    edges = [np.linspace(0, size, blocks + 1).astype(int)[:-1] for size, blocks in zip(left.shape, BLOCKS, strict=True)]
    summed = np.add.reduceat(np.add.reduceat(products, edges[0], axis=2), edges[1], axis=3)
    return np.moveaxis(summed, (2, 3), (0, 1))


def _solve(sums: np.ndarray) -> np.ndarray:
    # The two unknowns differ by orders of magnitude: scaled to a unit diagonal first.
    scale = np.sqrt(np.diag(sums[:, :2])) + 1e-300
    matrix, right = sums[:, :2] / np.outer(scale, scale), sums[:, 2] / scale
    return np.linalg.lstsq(matrix, right, rcond=1e-13)[0] / scale
