"""Runtimes looked up by method and network, and how many times faster than nested differentiation they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analyses.reproduce.n_tangentprop_runtimes import Runtime
from analyses.reproduce.n_tangentprop_settings import BATCH, NESTED, STANDARD, Shape, named


def by_order(records: Sequence[Runtime], method: str, shape: Shape = STANDARD, batch: int = BATCH) -> list[Runtime]:
    """Return the timed records of a method on one network, lowest order first.

    Args:
        records: any.
        method: its name in `METHODS`.
        shape: of the network.
        batch: number of points.

    Returns:
        Records that were not left out.
    """
    own = [r for r in records if (r.setting.method, r.setting.shape, r.setting.batch) == (method, shape, batch)]
    return sorted((r for r in own if not r.skipped), key=lambda r: r.setting.order)


def gains(
    records: Sequence[Runtime], method: str, part: str, shape: Shape = STANDARD, batch: int = BATCH
) -> Mapping[int, list[float]]:
    """Return how many times faster a method is than nested differentiation.

    Args:
        records: any.
        method: its name in `METHODS`.
        part: "forward", "backward" or "total".
        shape: of the network.
        batch: number of points.

    Returns:
        Order -> a ratio a round, for the orders that both were timed at.
    """
    own, nested = (
        {r.setting.order: r.part(part) for r in by_order(records, name, shape, batch)} for name in (method, NESTED)
    )
    common = sorted(own.keys() & nested.keys())
    return {n: [a / b for a, b in zip(nested[n], own[n], strict=False)] for n in common}


def left_out(records: Sequence[Runtime], method: str, shape: Shape = STANDARD, batch: int = BATCH) -> list[str]:
    """Return what was not timed, and why.

    Args:
        records: any.
        method: its name in `METHODS`.
        shape: of the network.
        batch: number of points.

    Returns:
        One line an order.
    """
    own = [r for r in records if (r.setting.method, r.setting.shape, r.setting.batch) == (method, shape, batch)]
    return [f"{method}, {named(shape)}, batch {batch:,}: {r.skipped}" for r in own if r.skipped]
