"""Series of several directions taken apart: each direction all its orders, as functions of one direction take them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from solvers.layout import Layout


def by_direction(function: Callable[..., Tensor], layout: Layout, *coefficients: Tensor) -> Tensor:
    """Return a function of series, computed one group at a time from stacks of single directions.

    Args:
        function: (N + 1, directions, ...) for each operand -> the same shape, with row 0 of the value alone.
        layout: of the operands.
        *coefficients: (rows, ...) each.

    Returns:
        (rows, ...).

    Cost: copies of the operands, which `products` and `functions` do without.

    Example:
        >>> from solvers.layout import Group
        >>> two = Layout((Group(2, 1),))
        >>> by_direction(lambda z: 3 * z, two, torch.tensor([1.0, 2.0, 4.0]))
        tensor([ 3.,  6., 12.])
    """
    if layout.is_single:
        return function(*coefficients)
    stacks = [function(*stacks) for stacks in zip(*(_stacks(c, layout) for c in coefficients), strict=True)]
    rows = [stacks[0][:1, 0]]
    for group, stack in zip(layout.groups, stacks, strict=True):
        if group.collapsed:
            rows += [stack[1:-1].flatten(0, 1), stack[-1:].sum(1)]
        else:
            rows += [stack[1:].flatten(0, 1)]
    return torch.cat(rows)


def _stacks(coefficients: Tensor, layout: Layout) -> list[Tensor]:
    """Give every direction of a group all orders: (N + 1, K, *shape) for each group.

    The highest coefficients enter every operation as y_N = s_0 z_N + (lower orders), with the same s_0 for all
    directions. Only their sum matters, so that of a collapsed group each direction may take an equal share.
    """
    stacks = []
    for start, group in zip(layout.starts, layout.groups, strict=True):
        k, shape = group.directions, coefficients.shape[1:]
        rows = coefficients[start : start + group.rows]
        blocks = [coefficients[:1, None].expand(1, k, *shape)]
        if group.collapsed:
            top = (rows[-1:, None] / k).expand(1, k, *shape)
            blocks += [rows[:-1].unflatten(0, (group.order - 1, k)), top]
        else:
            blocks += [rows.unflatten(0, (group.order, k))]
        stacks.append(torch.cat(blocks))
    return stacks
