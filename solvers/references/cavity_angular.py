"""Functions of the polar angle that flows in a corner are made of: powers of the angle times sines and cosines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Angular:
    """f(a) = Re sum_jk c_jk a^j exp(i k a): derivatives, products and integrals are exact.

    Args:
        c: (powers, 2 K + 1) complex, columns k = -K ... K.

    Example:
        >>> round(float((COSINE * COSINE).derivative(0.5)), 6), round(float(-np.sin(1.0)), 6)
        (-0.841471, -0.841471)
    """

    c: np.ndarray

    @property
    def waves(self) -> np.ndarray:
        """The wavenumbers k of the columns."""
        half = self.c.shape[1] // 2
        return np.arange(-half, half + 1)

    def padded(self, powers: int, half: int) -> np.ndarray:
        """Return the coefficients in a larger array.

        Args:
            powers: rows wanted, at least as many as there are.
            half: K wanted, at least as large as it is.

        Returns:
            (powers, 2 half + 1) complex.
        """
        rows, columns = self.c.shape
        out = np.zeros((powers, 2 * half + 1), dtype=complex)
        start = half - columns // 2
        out[:rows, start : start + columns] = self.c
        return out

    def __add__(self, other: Angular) -> Angular:
        powers = max(len(self.c), len(other.c))
        half = max(self.c.shape[1], other.c.shape[1]) // 2
        return Angular(self.padded(powers, half) + other.padded(powers, half))

    def __mul__(self, other: Angular | float) -> Angular:
        if not isinstance(other, Angular):
            return Angular(self.c * other)
        rows, columns = other.c.shape
        out = np.zeros((len(self.c) + rows - 1, self.c.shape[1] + columns - 1), dtype=complex)
        for (j, k), factor in np.ndenumerate(self.c):
            out[j : j + rows, k : k + columns] += factor * other.c
        return Angular(out)

    __rmul__ = __mul__

    def __sub__(self, other: Angular) -> Angular:
        return self + -1.0 * other

    @property
    def derivative(self) -> Angular:
        """df/da."""
        out = 1j * self.waves * self.c
        out[:-1] += np.arange(1, len(self.c))[:, None] * self.c[1:]
        return Angular(out)

    @property
    def integral(self) -> Angular:
        """An antiderivative: the one whose coefficient of 1 is zero."""
        out = np.zeros((len(self.c) + 1, self.c.shape[1]), dtype=complex)
        waving = self.waves != 0
        for j in reversed(range(len(self.c))):
            # By parts: int a^j e^{ika} = (a^j e^{ika} - j int a^(j-1) e^{ika}) / (i k), the highest power first.
            above = (j + 1) * out[j + 1, waving] if j + 1 < len(self.c) else 0.0
            out[j, waving] = (self.c[j, waving] - above) / (1j * self.waves[waving])
            out[j + 1, ~waving] = self.c[j, ~waving] / (j + 1)
        return Angular(out)

    def __call__(self, angle: np.ndarray | float) -> np.ndarray:
        """Return f.

        Args:
            angle: of any shape.

        Returns:
            Of the same shape, real.
        """
        angle = np.asarray(angle, dtype=float)
        waves = np.exp(1j * angle[..., None] * self.waves)
        total = np.zeros(angle.shape, dtype=complex)
        for row in self.c[::-1]:
            total = total * angle + waves @ row
        return total.real


COSINE = Angular(np.array([[0.5, 0.0, 0.5]], dtype=complex))
SINE = Angular(np.array([[0.5j, 0.0, -0.5j]], dtype=complex))
