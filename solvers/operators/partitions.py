"""Faa di Bruno's formula, the composition rule of the n-TangentProp paper, kept to compare with the recurrences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache, partial

import torch
from torch import Tensor

from solvers.series import Series
from solvers.series.directionwise import by_direction
from solvers.series.functions import function_of

MAX_ORDER = 14
"""135 partitions at order 14; beyond, the formula takes seconds where the recurrences take milliseconds."""


class PartitionSeries(Series):
    """A series whose smooth functions go by sums over partitions (arXiv 2412.09752, Eq. 5 and Algorithm 1).

    y_k = sum over partitions p of k of f_m m!/prod_j p_j! prod_j z_j^{p_j}, m = sum_j p_j, with normalised
    coefficients and f_m = f^(m)(z_0)/m!. The cost grows like exp(pi sqrt(2k/3)), that of a recurrence like k^2.
    """

    def _apply(self, name: str, *parameters: float) -> Series:
        rule = partial(compose, function_of(name, parameters))
        return self._like(by_direction(rule, self.layout, self.coefficients))


def compose(function, z: Tensor) -> Tensor:
    """Return the series of f(z) by Faa di Bruno's formula.

    Args:
        function: maps a stack of coefficients of one direction to that of f.
        z: (N + 1, ...), normalised.

    Returns:
        The same shape.
    """
    if len(z) == 1:
        return function(z)
    # The derivatives of f at z_0 are the coefficients of f(z_0 + t).
    line = torch.cat([z[:1], torch.ones_like(z[:1]), torch.zeros_like(z[2:])])
    f = function(line)
    rows = [f[0]]
    for order in range(1, len(z)):
        total = 0.0
        for parts, coefficient in partitions(order):
            term = coefficient * f[sum(power for _, power in parts)]
            for part, power in parts:
                term = term * z[part] ** power if power > 1 else term * z[part]
            total = total + term
        rows.append(total)
    return torch.stack(rows)


@lru_cache
def partitions(order: int) -> tuple[tuple[tuple[tuple[int, int], ...], int], ...]:
    """Return the partitions of an integer with their multinomial coefficients.

    Args:
        order: k, 1 or above.

    Returns:
        For each partition its (part, multiplicity) pairs and m!/prod multiplicity!.

    Example:
        >>> partitions(3)
        ((((3, 1),), 1), (((2, 1), (1, 1)), 2), (((1, 3),), 1))
    """
    found = []
    for parts in _descending(order, order):
        counts = Counter(parts)
        coefficient = math.factorial(len(parts)) // math.prod(math.factorial(c) for c in counts.values())
        found.append((tuple(counts.items()), coefficient))
    return tuple(found)


def _descending(total: int, largest: int) -> Iterator[tuple[int, ...]]:
    if total == 0:
        yield ()
    for part in range(min(total, largest), 0, -1):
        for rest in _descending(total - part, part):
            yield (part, *rest)
