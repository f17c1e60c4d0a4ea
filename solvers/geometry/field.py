"""A scalar field and its gradient, checked, and Newton's projection onto its zeros."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

CENTRAL = np.array([45.0, -9.0, 1.0]) / 60
"""Weights of f(x + k h) - f(x - k h), k = 1..3, over h: the first derivative, of order 6."""
STEP = 2e-3
STEPS = 30
ROUNDING = 1e-13


@dataclass(frozen=True, eq=False)
class Field:
    """f(x) with its gradient.

    Args:
        function: (n, d) -> (n,).
        derivative: (n, d) -> (n, d), or None for central differences of order 6 with step 0.002 of the size.
        size: of the domain, a length.
    """

    function: Callable
    derivative: Callable | None
    size: float

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return f.

        Args:
            x: (n, d).

        Returns:
            (n,).

        Raises:
            ValueError: values of another shape, or not finite.
        """
        values = np.asarray(self.function(x), dtype=np.float64)
        if values.shape != (len(x),) or not np.isfinite(values).all():
            raise ValueError(
                f"level set: expected one finite value a point, shape ({len(x)},), came {values.shape}"
                f"{'' if values.shape != (len(x),) else ' with nan or infinity'}: return f(x) of x (n, d) as (n,)"
            )
        return values

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """Return the gradient.

        Args:
            x: (n, d).

        Returns:
            (n, d).

        Raises:
            ValueError: values of another shape, or not finite.
        """
        if self.derivative is not None:
            values = np.asarray(self.derivative(x), dtype=np.float64)
            if values.shape != x.shape or not np.isfinite(values).all():
                raise ValueError(f"gradient: expected finite values of shape {x.shape}, came {values.shape}")
            return values
        slopes, step = np.empty_like(x), STEP * self.size
        for axis in range(x.shape[1]):
            shift = np.zeros(x.shape[1])
            shift[axis] = step
            slopes[:, axis] = sum(w * (self(x + k * shift) - self(x - k * shift)) for k, w in enumerate(CENTRAL, 1))
        return slopes / step

    def normals(self, x: np.ndarray) -> np.ndarray:
        """Return grad f / |grad f|.

        Args:
            x: (n, d).

        Returns:
            (n, d).

        Raises:
            ValueError: a gradient that vanishes.
        """
        slopes = self.gradient(x)
        length = np.linalg.norm(slopes, axis=1, keepdims=True)
        if (length <= 1e-10 * float(np.median(length))).any():
            where = x[int(np.argmin(length))].tolist()
            raise ValueError(
                f"the level set's gradient vanishes on its zero contour near {where}: expected a function that "
                f"changes sign with a slope; choose another function, or move it by a constant"
            )
        return slopes / length

    def project(self, x: np.ndarray) -> np.ndarray:
        """Return points of f = 0 by x <- x - f grad f / |grad f|^2.

        Args:
            x: (n, d), next to the zeros.

        Returns:
            (n, d), |f| / |grad f| <= 1e-13 size; points that do not get there come back as nan.
        """
        x, left = x.copy(), np.arange(len(x))
        for _ in range(STEPS):
            at = x[left]
            values, slopes = self(at), self.gradient(at)
            square = np.maximum((slopes**2).sum(axis=1), 1e-300)
            step = values / square
            length = np.abs(values) / np.sqrt(square)
            step *= np.minimum(1.0, 0.05 * self.size / np.maximum(length, 1e-300))
            x[left] = at - step[:, None] * slopes
            left = left[length > ROUNDING * self.size]
            if not len(left):
                return x
        # Where the function itself is known to fewer digits, Newton's method wanders at that size.
        x[left[length[length > ROUNDING * self.size] > 1e3 * ROUNDING * self.size]] = np.nan
        return x
