"""Arithmetic of truncated Taylor series, with each other and with tensors and numbers."""

from __future__ import annotations

from numbers import Real
from typing import Self

import torch
from torch import Tensor

from solvers.layout import Layout
from solvers.series import products


class Arithmetic:
    """The operators + - * / ** @, for a class that has coefficients, a layout, `_like` and elementary functions."""

    def _align(self, *others: Self) -> tuple[Layout, list[Tensor]]:
        series = (self, *others)
        if all(s.layout == self.layout for s in others):
            return self.layout, [s.coefficients for s in series]
        if all(s.layout.is_single for s in series):
            layout = Layout.single(min(s.order for s in series))
            return layout, [s.coefficients[: layout.rows] for s in series]
        raise ValueError(
            f"expected series of the same layout, came {' and '.join(str(s.layout) for s in series)}: "
            f"build all of them by Series.along with the same layout"
        )

    def _multiply(self, other: Arithmetic) -> Self:
        layout, operands = self._align(other)
        if self.shape != other.shape:
            shape = torch.broadcast_shapes(self.shape, other.shape)
            operands = [lift(c, len(shape)).expand(-1, *shape) for c in operands]
        return self._like(products.product(*operands, layout), layout)

    def __add__(self, other: Arithmetic | Tensor | float) -> Self:
        if isinstance(other, Arithmetic):
            layout, (a, b) = self._align(other)
            ndim = max(self.ndim, other.ndim)
            return self._like(lift(a, ndim) + lift(b, ndim), layout)
        if not isinstance(other, Tensor | Real):
            return NotImplemented
        coefficients = self._lifted(other)
        value = coefficients[:1] + other
        return self._like(torch.cat([value, coefficients[1:].expand(-1, *value.shape[1:])]))

    def __mul__(self, other: Arithmetic | Tensor | float) -> Self:
        if isinstance(other, Arithmetic):
            return self._multiply(other)
        return self._like(self._lifted(other) * other) if isinstance(other, Tensor | Real) else NotImplemented

    def __truediv__(self, other: Arithmetic | Tensor | float) -> Self:
        if isinstance(other, Arithmetic):
            return self._multiply(other.reciprocal())
        return self._like(self._lifted(other) / other) if isinstance(other, Tensor | Real) else NotImplemented

    def __pow__(self, exponent: Arithmetic | Tensor | float) -> Self:
        if isinstance(exponent, Tensor) and not exponent.dim() and not exponent.requires_grad:
            exponent = exponent.item()
        if isinstance(exponent, Tensor) and not exponent.requires_grad and _are_natural(exponent):
            # A power is exact where the value is 0 or below, which a logarithm is not.
            return sum((exponent == e).to(self.dtype) * self ** float(e) for e in exponent.unique())
        if isinstance(exponent, Arithmetic | Tensor):
            return (self.log() * exponent).exp()
        if not isinstance(exponent, Real):
            return NotImplemented
        if exponent == int(exponent) and exponent >= 0:
            return self._natural_power(int(exponent))
        named = {-1.0: "reciprocal", 0.5: "sqrt"}.get(float(exponent))
        return self._apply(named) if named else self._apply("power", float(exponent))

    def _natural_power(self, exponent: int) -> Self:
        # By products alone: exact where the value is 0, which the recurrence of a general power divides by.
        result, square = None, self
        while exponent:
            if exponent & 1:
                result = square if result is None else result * square
            exponent >>= 1
            square = square * square if exponent else square
        return self._constant(torch.ones_like(self.value)) if result is None else result

    def __sub__(self, other: Arithmetic | Tensor | float) -> Self:
        return self + -other if isinstance(other, Arithmetic | Tensor | Real) else NotImplemented

    def __rsub__(self, other: Tensor | float) -> Self:
        return -self + other

    def __rtruediv__(self, other: Tensor | float) -> Self:
        return self.reciprocal() * other

    def __rpow__(self, base: Tensor | float) -> Self:
        return (self * torch.as_tensor(base, dtype=self.dtype, device=self.device).log()).exp()

    def __neg__(self) -> Self:
        return self._like(-self.coefficients)

    def __pos__(self) -> Self:
        return self

    __radd__ = __add__
    __rmul__ = __mul__

    def __matmul__(self, other: Arithmetic | Tensor) -> Self:
        if isinstance(other, Arithmetic):
            return _matrix_product(self, other)
        if not isinstance(other, Tensor):
            return NotImplemented
        if other.dim() == 1:
            return self.linear(other[None]).squeeze(-1)
        if other.dim() == 2:
            return self.linear(other.T)
        if self.ndim == 1:
            return (self.unsqueeze(0) @ other).squeeze(-2)
        return self._like(self._lifted(other) @ other)

    def __rmatmul__(self, other: Tensor) -> Self:
        if self.ndim == 1:
            return self.unsqueeze(-1).__rmatmul__(other).squeeze(-1)
        return self._like(other @ self._lifted(other))

    def _lifted(self, other: Tensor | float) -> Tensor:
        return lift(self.coefficients, other.dim()) if isinstance(other, Tensor) else self.coefficients


def lift(coefficients: Tensor, ndim: int) -> Tensor:
    """Return coefficients whose rows have enough dimensions: the missing ones go behind the dimension of the rows.

    Args:
        coefficients: (rows, *shape).
        ndim: of one row, at least.

    Returns:
        (rows, 1, ..., 1, *shape); broadcasting alone would put the ones before the rows.
    """
    missing = ndim - (coefficients.dim() - 1)
    if missing <= 0:
        return coefficients
    return coefficients.view(len(coefficients), *[1] * missing, *coefficients.shape[1:])


def _matrix_product(a: Arithmetic, b: Arithmetic) -> Arithmetic:
    if a.ndim < 2 or b.ndim < 2:
        raise ValueError(
            f"expected two series of matrices, came shapes {tuple(a.shape)} and {tuple(b.shape)}: "
            f"write vectors as (a * b).sum(-1)"
        )
    return (a.unsqueeze(-1) * b.unsqueeze(-3)).sum(-2)


def _are_natural(exponent: Tensor) -> bool:
    return bool(((exponent == exponent.round()) & (exponent >= 0)).all()) and exponent.numel() > 0
