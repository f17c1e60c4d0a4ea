"""Truncated Taylor series that behave as tensors: a function written for tensors, called with one, differentiates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from solvers.layout import Layout, orders
from solvers.series import functions, products
from solvers.series.arithmetic import Arithmetic
from solvers.series.dispatch import Dispatched
from solvers.series.elementary import ElementaryFunctions


class Series(Dispatched, Arithmetic, ElementaryFunctions):
    """Truncated Taylor series along directions, z(t) = sum_k z_k t^k with normalised coefficients z_k = z^(k)/k!.

    Arithmetic, smooth functions and linear maps act on it as on a tensor of the shape that one row has: + - * / ** @,
    the methods below, the torch functions of the same names, modules made of them. Everything can be differentiated
    as often as wanted in the coefficients. A function costs O(N^2) multiplications an entry, a linear map N + 1 rows.

    Args:
        coefficients: (layout.rows, *shape), floating point; row 0 is the value.
        layout: which row is what; one direction by default, row k being order k.

    Raises:
        ValueError: coefficients that do not fit the layout.

    Example:
        >>> x = Series.variable(torch.tensor([[0.0]]), order=3)
        >>> torch.tanh(x).derivatives().flatten()
        tensor([ 0.,  1.,  0., -2.])
    """

    # numpy would otherwise take a series apart, entry by entry.
    __array_ufunc__ = None

    def __init__(self, coefficients: Tensor, layout: Layout | None = None):
        if not coefficients.is_floating_point() or not coefficients.dim():
            raise ValueError(
                f"expected floating-point coefficients with one row an order, came {coefficients.dtype} of shape "
                f"{tuple(coefficients.shape)}: give (rows, *shape)"
            )
        layout = Layout.single(len(coefficients) - 1) if layout is None else layout
        if len(coefficients) != layout.rows:
            raise ValueError(
                f"expected {layout.rows} rows for {layout}, came {len(coefficients)}: give coefficients of shape "
                f"(layout.rows, *shape)"
            )
        self.coefficients = coefficients
        self.layout = layout

    @classmethod
    def variable(cls, points: Tensor, order: int, direction: Tensor | Sequence[float] | None = None) -> Series:
        """Return the straight line x + t v.

        Args:
            points: x, (n, d).
            order: N, 0 or above.
            direction: v, (d,); 1 by default, where d is 1 or the order 0.

        Returns:
            A series of one direction, of shape (n, d).

        Raises:
            ValueError: points that are no matrix, or a direction that is missing or does not fit.

        Example:
            >>> (Series.variable(torch.tensor([[3.0]]), 2) ** 2).coefficients.flatten()
            tensor([9., 6., 1.])
        """
        layout = Layout.single(order)
        if direction is None and order and points.dim() == 2 and points.shape[1] != 1:
            raise ValueError(
                f"expected a direction for points of {points.shape[1]} coordinates, came None: "
                f"give direction=(v_1, ..., v_{points.shape[1]})"
            )
        direction = torch.as_tensor([1.0] * points.shape[-1] if direction is None else direction).to(points)
        return cls.along(points, direction.expand(layout.directions(), *direction.shape), layout)

    @classmethod
    def along(cls, points: Tensor, directions: Tensor, layout: Layout) -> Series:
        """Return straight lines x + t v in every direction of a layout.

        Args:
            points: x, (n, d).
            directions: v, (layout.directions(), d), group after group.
            layout: the rows that are wanted.

        Returns:
            A series of shape (n, d): points, directions, then zeros.

        Raises:
            ValueError: points that are no matrix, or directions that do not fit points and layout.

        Example:
            >>> from solvers.layout import Group
            >>> layout = Layout((Group(2, 2, collapsed=True),))
            >>> x = Series.along(torch.tensor([[1.0, 2.0]]), torch.eye(2), layout)
            >>> (x * x).sum(-1).derivatives().flatten()
            tensor([5., 2., 4., 4.])
        """
        if points.dim() != 2:
            raise ValueError(f"expected points of shape (n, d), came {tuple(points.shape)}: add the missing dimension")
        n, d = points.shape
        if directions.shape != (layout.directions(), d):
            raise ValueError(
                f"expected directions of shape {(layout.directions(), d)} for {layout} and points of {d} coordinates, "
                f"came {tuple(directions.shape)}: give one row a direction, group after group"
            )
        blocks, lines = [points[None]], directions.to(points)[:, None].expand(-1, n, d)
        for group in layout.groups:
            blocks += [lines[: group.directions]]
            if group.order > 1:
                blocks += [points.new_zeros(group.rows - group.directions, n, d)]
            lines = lines[group.directions :]
        return cls(torch.cat(blocks), layout)

    recording: bool | None = None
    """Whether gradients were recorded when the series set out through a network; None where nobody asks."""

    def _like(self, coefficients: Tensor, layout: Layout | None = None) -> Series:
        if self.recording is not None and self.recording != torch.is_grad_enabled():
            raise TypeError(
                "a part of the network switches the recording of gradients (torch.no_grad, or an autograd.Function of "
                "its own), and what is constant then cannot be told: use AutoDiff(), or give the module that does it "
                "a rule by solvers.register_rule(ModuleType, rule)"
            )
        result = object.__new__(type(self))
        result.__dict__.update(self.__dict__)
        result.coefficients = coefficients
        if layout is not None:
            result.layout = layout
        return result

    def _constant(self, value: Tensor) -> Series:
        return self._like(torch.cat([value[None], value.new_zeros(self.layout.rows - 1, *value.shape)]))

    @property
    def value(self) -> Tensor:
        """Row 0, of shape `shape`."""
        return self.coefficients[0]

    @property
    def order(self) -> int:
        """Highest order N of any direction."""
        return self.layout.order

    @property
    def shape(self) -> torch.Size:
        """Shape of one row, which is what a function written for tensors sees."""
        return self.coefficients.shape[1:]

    @property
    def ndim(self) -> int:
        """Number of dimensions of one row."""
        return self.coefficients.dim() - 1

    @property
    def dtype(self) -> torch.dtype:
        """Type of the coefficients."""
        return self.coefficients.dtype

    @property
    def device(self) -> torch.device:
        """Device of the coefficients."""
        return self.coefficients.device

    @property
    def requires_grad(self) -> bool:
        """Whether the coefficients carry a graph."""
        return self.coefficients.requires_grad

    @property
    def T(self) -> Series:
        """Every row transposed."""
        return self.transpose(0, 1)

    def dim(self) -> int:
        """Return the number of dimensions of one row.

        Returns:
            A count.
        """
        return self.ndim

    def size(self, dim: int | None = None) -> torch.Size | int:
        """Return the shape of one row, or one of its sizes.

        Args:
            dim: which, or None for all.

        Returns:
            The shape, or a length.
        """
        return self.shape if dim is None else self.shape[dim]

    def __len__(self) -> int:
        return len(self.value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(order={self.order}, rows={self.layout.rows}, shape={tuple(self.shape)})"

    def __getitem__(self, index: Any) -> Series:
        index = index if isinstance(index, tuple) else (index,)
        if sum(isinstance(part, Tensor | Sequence) for part in index) > 1:
            # Several index tensors may put their dimension first, before the rows: number the entries, and index those.
            entries = torch.arange(self.shape.numel(), device=self.device).view(self.shape)[index]
            return self._like(self.coefficients.flatten(1)[:, entries])
        return self._like(self.coefficients[(slice(None), *index)])

    def __iter__(self):
        return iter(self.unbind())

    def derivatives(self) -> Tensor:
        """Return the derivatives z^(k) = k! z_k.

        Returns:
            (rows, *shape), in the order of the rows.

        Example:
            >>> Series(torch.tensor([1.0, 1.0, 1.0, 1.0])).derivatives()
            tensor([1., 1., 2., 6.])
        """
        factorials = torch.tensor([math.factorial(k) for k in orders(self.layout)], dtype=self.dtype)
        return self.coefficients * factorials.to(self.device).view(-1, *[1] * self.ndim)

    def d(self) -> Series:
        """Return the derivative along the direction, z'_k = (k + 1) z_{k+1}.

        Returns:
            A series of order N - 1.

        Raises:
            ValueError: order 0, or more than one direction.

        Example:
            >>> Series(torch.tensor([1.0, 1.0, 1.0, 1.0])).d().coefficients
            tensor([1., 2., 3.])
        """
        self._single("d()")
        if self.order == 0:
            raise ValueError(
                "expected a series of order 1 or above, came order 0: start from a variable of higher order"
            )
        k = torch.arange(1, self.order + 1, dtype=self.dtype, device=self.device)
        return self._like(self.coefficients[1:] * k.view(-1, *[1] * self.ndim), Layout.single(self.order - 1))

    def truncate(self, order: int) -> Series:
        """Return the series without the terms above an order.

        Args:
            order: 0 to N.

        Returns:
            A series of that order.

        Raises:
            ValueError: an order that the series does not have, or more than one direction.

        Example:
            >>> Series(torch.tensor([1.0, 2.0, 3.0])).truncate(1).coefficients
            tensor([1., 2.])
        """
        self._single("truncate")
        if not 0 <= order <= self.order:
            raise ValueError(f"expected an order from 0 to {self.order}, came {order}: start from a higher order")
        return self._like(self.coefficients[: order + 1], Layout.single(order))

    def compose(self, inner: Series) -> Series:
        """Return f(g(t)), where this is the series of f about g(0), by Horner's rule in g(t) - g(0).

        Args:
            inner: g, of one direction.

        Returns:
            A series of the lower of both orders, for N products.

        Raises:
            ValueError: more than one direction.

        Example:
            >>> f, g = Series(torch.tensor([0.0, 1.0, 1.0])), Series(torch.tensor([5.0, 2.0, 1.0]))
            >>> f.compose(g).coefficients
            tensor([0., 2., 5.])
        """
        self._single("compose")
        inner._single("compose")
        order = min(self.order, inner.order)
        step = inner.truncate(order) - inner.value
        result = step._constant(self.coefficients[order])
        for k in reversed(range(order)):
            result = step * result + self.coefficients[k]
        return result

    def _single(self, what: str) -> None:
        if not self.layout.is_single:
            raise ValueError(
                f"expected one direction for {what}, came {self.layout}: take a series of one direction at a time"
            )

    def _apply(self, name: str, *parameters: float) -> Series:
        return self._like(functions.apply(name, self.coefficients, *parameters, layout=self.layout))

    def linear(self, weight: Tensor, bias: Tensor | None = None) -> Series:
        """Return z W^T + b, one matrix product for all rows; b enters the value alone.

        Args:
            weight: W, (outputs, inputs).
            bias: b, (outputs,).

        Returns:
            A series of shape (n, outputs).

        Example:
            >>> z = Series(torch.tensor([[[1.0]], [[1.0]]]))
            >>> z.linear(torch.tensor([[2.0]]), torch.ones(1)).coefficients.flatten()
            tensor([3., 2.])
        """
        return self._like(products.affine(self.coefficients, weight, bias))
