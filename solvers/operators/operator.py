"""The one contract of derivative operators: `plan(points, partials) -> Plan`, then `plan(network) -> Jet`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from solvers.jet import Jet, axes_of, single_partials
from solvers.points import Points

Network = Callable[[Tensor], Tensor]
"""Anything that maps (n, axes) points to (n, components) values: a module, or a function."""


HIGHEST = 30
"""Order that Taylor propagation reaches along one axis."""


class Plan(Protocol):
    """Everything that can be prepared before the network is known; call it with a network for its jet."""

    points: Points

    def __call__(self, network: Network) -> Jet:
        """Return the network's values and partials, differentiable in its parameters.

        Args:
            network: maps (n, axes) to (n, components).

        Returns:
            The jet at the plan's points.
        """
        ...


@runtime_checkable
class Operator(Protocol):
    """A way to differentiate a network: frozen, stateless, stating what it can do.

    `order` is the order of accuracy (None if exact), `max_partial` the highest derivative it offers, `exact` whether
    the only error is round-off.
    """

    @property
    def order(self) -> int | None:
        """Order of accuracy in the step, None if exact."""
        ...

    @property
    def max_partial(self) -> int:
        """Highest derivative offered."""
        ...

    @property
    def exact(self) -> bool:
        """Whether the only error is round-off."""
        ...

    def plan(self, points: Points, partials: Sequence[str]) -> Plan:
        """Prepare the partials at the points.

        Args:
            points: where.
            partials: which, by axis letters.

        Returns:
            A plan to be called with a network.
        """
        ...


def reachable_partials(operator: Operator, points: Points, partials: Sequence[str]) -> tuple[str, ...]:
    """Return the single derivatives behind `partials`, refusing what the operator cannot reach.

    Args:
        operator: states `max_partial`.
        points: states the axes.
        partials: as the user wrote them.

    Returns:
        Canonical letters, the value first.

    Raises:
        ValueError: a derivative above the operator's highest, or an empty set of points.
    """
    if not sum(points.counts):
        raise ValueError("expected at least one point to differentiate at, came none")
    if isinstance(partials, str):
        raise ValueError(f"expected a list of partials, came the text {partials!r}: write [{partials!r}]")
    singles = single_partials(partials, points.axes)
    highest = max(singles, key=lambda letters: len(axes_of(letters, points.axes)))
    order = len(axes_of(highest, points.axes))
    if order > operator.max_partial:
        advice = "use TangentProp()" if order <= HIGHEST else "no operator here reaches that"
        raise ValueError(
            f"{type(operator).__name__} reaches derivatives up to order {operator.max_partial}, "
            f"{highest!r} has order {order}: {advice}"
        )
    return singles
