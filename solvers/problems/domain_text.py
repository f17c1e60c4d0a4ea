"""A domain in words, short enough for a column of a table."""

from __future__ import annotations

import math

from solvers.domain import Box
from solvers.geometry import Ball, Cuboid, Difference, Interval, Region, Shape
from solvers.jet import TIME


def domain_text(domain: Box | Region) -> str:
    """Return where a problem lives; axes with the same limits stand together, and shapes have their names.

    Args:
        domain: a box, or a region of any shape.

    Returns:
        One line of plain text, 30 characters or fewer for limits of two digits.

    Example:
        >>> domain_text(Box(("x", "t"), (-1.0, 0.0), (1.0, 1.0)))
        'x in [-1, 1], t in [0, 1]'
        >>> domain_text(Box(tuple("abcde"), (0.0,) * 5, (1.0,) * 5))
        'a to e in [0, 1]'
        >>> from solvers.geometry import Disk
        >>> domain_text(Region(Disk(radius=2.0), time=(0.0, 1.0)))
        'disk of radius 2, t in [0, 1]'
    """
    if isinstance(domain, Region) and not isinstance(domain.shape, Cuboid | Interval):
        shape = _shape(domain.shape)
        return shape if domain.time is None else f"{shape}, {TIME} in {_interval(*domain.time)}"
    groups: dict[tuple[str, bool], list[str]] = {}
    for axis, low, high in zip(domain.axes, domain.lower, domain.upper, strict=True):
        groups.setdefault((_interval(low, high), axis == TIME), []).append(axis)
    return ", ".join(f"{_axes(axes)} in {limits}" for (limits, _), axes in groups.items())


def _axes(axes: list[str]) -> str:
    return ", ".join(axes) if len(axes) <= 3 else f"{axes[0]} to {axes[-1]}"


def _interval(low: float, high: float) -> str:
    return f"[{_number(low)}, {_number(high)}]"


def _number(value: float) -> str:
    """Return a number, as a multiple of pi where it is one."""
    turns = round(value / math.pi)
    if turns and value == turns * math.pi:
        return {1: "pi", -1: "-pi"}.get(turns, f"{turns} pi")
    return f"{value:.4g}"


def _shape(shape: Shape) -> str:
    if isinstance(shape, Difference):
        return f"{_shape(shape.outer)} with {len(shape.holes)} hole{'s'[: len(shape.holes) - 1]}"
    name = type(shape).__name__.lower()
    return name if not isinstance(shape, Ball) or shape.radius == 1 else f"{name} of radius {_number(shape.radius)}"
