"""Loops in a program that is being written, with values carried in registers from one turn to the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from llvmlite import ir

from solvers.kernels.vectors import INT

Body = Callable[..., Sequence[ir.Value] | None]


def integer(number: int) -> ir.Constant:
    """Return a constant index.

    Args:
        number: any.

    Returns:
        The constant.
    """
    return ir.Constant(INT, number)


def loop(
    builder: ir.IRBuilder, start, stop, step: int, body: Body, carried: Sequence[ir.Value] = ()
) -> Sequence[ir.Value]:
    """Append `for i in range(start, stop, step): carried = body(i, *carried)`.

    Args:
        builder: where.
        start: first index.
        stop: end, excluded.
        step: constant increment.
        body: appends the body; gets the index and the carried values, returns the next ones.
        carried: values before the first turn.

    Returns:
        The values after the last turn.
    """
    before = builder.block
    head, inside, after = (builder.append_basic_block(name) for name in ("head", "body", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    index = builder.phi(INT)
    index.add_incoming(start, before)
    values = [builder.phi(value.type) for value in carried]
    for phi, value in zip(values, carried, strict=True):
        phi.add_incoming(value, before)
    builder.cbranch(builder.icmp_signed("<", index, stop), inside, after)
    builder.position_at_end(inside)
    following = body(index, *values) or ()
    end = builder.block
    for phi, value in zip(values, following, strict=True):
        phi.add_incoming(value, end)
    index.add_incoming(builder.add(index, integer(step)), end)
    builder.branch(head)
    builder.position_at_end(after)
    return values


def blocks(builder: ir.IRBuilder, count, largest: int, body: Callable[[ir.Value, int], None]) -> None:
    """Append a loop over `count` items, `largest` at a time, then half as many, down to one at a time.

    Args:
        builder: where.
        count: number of items.
        largest: items a turn at first, a power of two.
        body: appends the work on a first index and a number of items.
    """
    start, size = integer(0), largest
    while size:
        whole = builder.sub(count, builder.srem(builder.sub(count, start), integer(size)))
        loop(builder, start, whole, size, partial(_turn, body, size))
        start, size = whole, size // 2


def _turn(body: Callable[[ir.Value, int], None], size: int, index: ir.Value) -> None:
    body(index, size)
