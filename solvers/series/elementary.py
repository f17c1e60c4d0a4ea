"""Elementary functions of truncated Taylor series, under the names that they have for tensors."""

from __future__ import annotations

from typing import Self

import torch


def _smooth(name: str):
    def method(self: Self) -> Self:
        return self._apply(name)

    method.__name__ = name
    method.__qualname__ = f"ElementaryFunctions.{name}"
    method.__doc__ = f"""Return the series of {name}(z).

    Returns:
        The same layout and shape, for one to four products of series.
    """
    return method


class ElementaryFunctions:
    """Functions z -> f(z), for a class that has coefficients, a layout, `_like`, `_apply` and arithmetic."""

    exp = _smooth("exp")
    expm1 = _smooth("expm1")
    log = _smooth("log")
    log1p = _smooth("log1p")
    sqrt = _smooth("sqrt")
    reciprocal = _smooth("reciprocal")
    sin = _smooth("sin")
    cos = _smooth("cos")
    tan = _smooth("tan")
    sinh = _smooth("sinh")
    cosh = _smooth("cosh")
    tanh = _smooth("tanh")
    sigmoid = _smooth("sigmoid")
    silu = _smooth("silu")
    atan = _smooth("atan")
    erf = _smooth("erf")
    gaussian = _smooth("gaussian")

    def square(self) -> Self:
        """Return z^2.

        Returns:
            The same layout and shape.
        """
        return self * self

    def rsqrt(self) -> Self:
        """Return 1/sqrt(z).

        Returns:
            The same layout and shape.
        """
        return self**-0.5

    def gelu(self, approximate: str = "none") -> Self:
        """Return z Phi(z), Phi being the normal distribution function.

        Args:
            approximate: "none", or "tanh" for torch's approximation of that name.

        Returns:
            The same layout and shape.
        """
        return self._apply("gelu" if approximate == "none" else "gelu_tanh")

    def softplus(self, beta: float = 1.0, threshold: float = 20.0) -> Self:
        """Return log(1 + exp(beta z))/beta.

        Args:
            beta: sharpness.
            threshold: 20 or above, where torch's softplus turns linear and is 2e-9 off; this one stays smooth.

        Returns:
            The same layout and shape.

        Raises:
            TypeError: a lower threshold, a function with a kink.
        """
        if threshold < 20:
            raise TypeError(
                f"expected a softplus with a threshold of 20 or above, came {threshold}: it has a kink there"
            )
        return self._apply("softplus") if beta == 1 else (self * beta)._apply("softplus") / beta

    def softmax(self, dim: int = -1) -> Self:
        """Return exp(z_i) / sum_j exp(z_j).

        Args:
            dim: dimension of one row that i and j run over.

        Returns:
            The same layout and shape.
        """
        weights = (self - self.value.detach().amax(dim, keepdim=True)).exp()
        return weights / weights.sum(dim, keepdim=True)

    def relu(self) -> Self:
        """Return max(z, 0), to first order.

        Returns:
            The same layout and shape.

        Raises:
            TypeError: a layout of order 2 or above.
        """
        return self._kinked("relu", 0.0)

    def leaky_relu(self, negative_slope: float = 0.01) -> Self:
        """Return z where it is positive, and a multiple of it elsewhere, to first order.

        Args:
            negative_slope: the multiple.

        Returns:
            The same layout and shape.

        Raises:
            TypeError: a layout of order 2 or above.
        """
        return self._kinked("leaky_relu", negative_slope)

    def _kinked(self, name: str, slope: float) -> Self:
        if self.layout.order > 1:
            raise TypeError(
                f"expected a smooth activation for derivatives of order {self.layout.order}, came {name}: the second "
                f"derivative of ReLU is zero almost everywhere and not defined at 0, so that a residual of order 2 "
                f"would silently lose its terms; use tanh, silu, gelu or softplus"
            )
        # Not NaN: it is neither positive nor negative, and stays.
        below = self.coefficients * slope if slope else torch.zeros_like(self.coefficients)
        return self._like(torch.where(self.coefficients[:1] <= 0, below, self.coefficients))
