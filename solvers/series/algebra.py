"""Multiplication of truncated Taylor series in any layout: the arithmetic below autograd, row blocks in place.

The value is shared by all directions, so that every product starts with whole-tensor operations, a_0 b_k + a_k b_0.
What remains couples orders inside a group, all its directions at once; of a collapsed group, the highest coefficients
enter as a_0 b_N alone, and the rest of order N is summed over directions into one row. Nothing is copied or expanded.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from solvers.layout import Layout

LONG = 10
"""Order from which one direction goes by a call an order, on all higher orders together, and not by a call a pair."""

FEW = 20_000
"""Products of two numbers below which one direction goes by sliding windows: four calls, whatever the order."""


class Step(NamedTuple):
    """How lower orders of one group enter its order k.

    Args:
        target: block of order k, each block being the directions of one order; block 0 is the value.
        pairs: blocks of orders i and k - i, and i/k, for i from 1 to k - 1.
        halves: blocks of orders i <= k - i, and how often they occur: 2, or 1 where they are the same.
        summed: order k is one row for the sum over directions.
        last: no higher order of the group follows.
    """

    target: int
    pairs: tuple[tuple[int, int, float], ...]
    halves: tuple[tuple[int, int, int], ...]
    summed: bool
    last: bool


class Algebra:
    """Products of series that have the same layout; no graph is kept, and no temporary is larger than the result.

    Args:
        layout: of all operands.

    Example:
        >>> import torch
        >>> Algebra.single(3).product(torch.tensor([1.0, 2.0, 0.0]), torch.tensor([3.0, 4.0, 0.0]))
        tensor([ 3., 10.,  8.])
    """

    def __init__(self, layout: Layout):
        self.rows = layout.rows
        sizes, steps = [1], []
        for group in layout.groups:
            before, top = len(sizes) - 1, group.order
            for k in range(1, top + 1):
                steps.append(
                    Step(
                        target=before + k,
                        pairs=tuple((before + i, before + k - i, i / k) for i in range(1, k)),
                        halves=tuple((before + i, before + k - i, 1 + (2 * i < k)) for i in range(1, k // 2 + 1)),
                        summed=group.collapsed and k == top,
                        last=k == top,
                    )
                )
                sizes.append(1 if steps[-1].summed else group.directions)
        self.sizes, self.steps = sizes, tuple(steps)
        self.coupled = tuple(step for step in steps if step.pairs)
        self.single = layout.is_single
        self.long = self.single and layout.order >= LONG

    @staticmethod
    @lru_cache(maxsize=256)
    def of(layout: Layout) -> Algebra:
        """Return the algebra of a layout.

        Args:
            layout: any.

        Returns:
            The same object for equal layouts.
        """
        return Algebra(layout)

    @staticmethod
    @lru_cache(maxsize=256)
    def single(rows: int) -> Algebra:
        """Return the algebra of one direction.

        Args:
            rows: N + 1.

        Returns:
            The same object each time.
        """
        return Algebra.of(Layout.single(rows - 1))

    def blocks(self, z: Tensor) -> tuple[Tensor, ...]:
        """Return views of the value and of every order of every group.

        Args:
            z: (rows, ...).

        Returns:
            (1, ...), then (directions, ...) an order, or (1, ...) where it is collapsed.
        """
        return z.split(self.sizes)

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        """Return c_k = sum_{j <= k} a_j b_{k-j}.

        Args:
            a: (rows, ...).
            b: the same shape.

        Returns:
            The same shape.
        """
        if self._few(b):
            return _windows(b, before=True).mul(a.flip(0).movedim(0, -1)).sum(-1)
        result = a[:1] * b
        if self.long:
            for j in range(1, self.rows):
                result[j:].addcmul_(a[j], b[:-j])
            return result
        if self.rows > 1:
            result[1:].addcmul_(a[1:], b[:1])
        if self.coupled:
            left, right, into = self.blocks(a), self.blocks(b), self.blocks(result)
            for step in self.coupled:
                for i, j, _ in step.pairs:
                    add_product(into[step.target], left[i], right[j], step)
        return result

    def _few(self, z: Tensor) -> bool:
        """Return whether calls cost more than numbers: then all sums are one product with sliding windows."""
        return self.single and self.rows > 3 and self.rows * z.numel() <= FEW

    def square(self, z: Tensor, factor: float = 1.0, constant: float = 0.0, linear: float = 0.0) -> Tensor:
        """Return constant + linear z + factor z^2, for half the multiplications of a product.

        Args:
            z: (rows, ...).
            factor: of the square.
            constant: added to the value.
            linear: of z itself.

        Returns:
            The same shape.
        """
        value = z[:1]
        if self.long:
            result = self.product(z, z).mul_(factor)
            result[0] += constant
            return result.add_(z, alpha=linear) if linear else result
        slope = value * (2 * factor)
        result = z * (slope + linear if linear else slope)
        head = result[:1].mul_(0.5)
        if linear:
            head.add_(value, alpha=linear / 2)
        if constant:
            head.add_(constant)
        if self.coupled:
            parts, into = self.blocks(z), self.blocks(result)
            for step in self.coupled:
                for i, j, times in step.halves:
                    add_product(into[step.target], parts[i], parts[j], step, factor * times)
        return result

    def correlate(self, s: Tensor, y: Tensor) -> Tensor:
        """Return the adjoint of multiplication by s, r_j = sum_{k >= j} s_{k-j} y_k, the value's summed over all rows.

        Args:
            s: (rows, ...).
            y: the same shape.

        Returns:
            The same shape.
        """
        if self._few(y):
            return _windows(y, before=False).mul(s.movedim(0, -1)).sum(-1)
        result = s[:1] * y
        if self.long:
            for i in range(1, self.rows):
                result[:-i].addcmul_(s[i], y[i:])
            return result
        if self.rows > 1:
            value = result[0]
            for factor, row in zip(s.unbind()[1:], y.unbind()[1:], strict=True):
                value.addcmul_(factor, row)
        if self.coupled:
            left, right, into = self.blocks(s), self.blocks(y), self.blocks(result)
            for step in self.coupled:
                for i, j, _ in step.pairs:
                    into[i].addcmul_(left[j], right[step.target])
        return result

    def integrate(self, value: Tensor, z: Tensor, s: Tensor | None = None) -> Tensor:
        """Return y with y' = s z', so that k y_k = sum_{i=1..k} i z_i s_{k-i}.

        Args:
            value: y_0, of the shape of one row.
            z: (rows, ...).
            s: the same shape; y itself by default.

        Returns:
            The same shape.
        """
        result = z * (value if s is None else s[:1])
        result[0] = value
        if self.coupled:
            into, inner = self.blocks(result), self.blocks(z)
            slopes = into if s is None else self.blocks(s)
            for step in self.coupled:
                for i, j, weight in step.pairs:
                    add_product(into[step.target], inner[i], slopes[j], step, weight)
        return result


def add_product(into: Tensor, a: Tensor, b: Tensor, step: Step, factor: float = 1.0) -> None:
    """Add factor a b in place, summed over directions where the step's order is collapsed.

    Args:
        into: block of the step's order.
        a: block of a lower order.
        b: the same shape.
        step: whose order.
        factor: any number.
    """
    if step.summed:
        for x, y in zip(a.unbind(), b.unbind(), strict=True):
            into.addcmul_(x, y, value=factor)
    else:
        into.addcmul_(a, b, value=factor)


def _windows(z: Tensor, before: bool) -> Tensor:
    """Return a view (rows, ..., rows), entry [k, ..., i] being row k + i of z with rows - 1 zeros before or behind.

    Behind, it is z_{k+i}; before, z_{k-j} where i = rows - 1 - j.
    """
    zeros = z.new_zeros(len(z) - 1, *z.shape[1:])
    return torch.cat([zeros, z] if before else [z, zeros]).unfold(0, len(z), 1)
