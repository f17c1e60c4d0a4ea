"""Exact derivatives by nested automatic differentiation: the reference that every other operator is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from solvers.jet import Jet, axes_of
from solvers.operators.operator import Network, reachable_partials
from solvers.points import Points

FORWARD_ABOVE = 4
"""Components above which forward mode is cheaper: reverse mode pays one sweep a component, forward mode one an axis."""


@dataclass(frozen=True)
class AutoDiff:
    """Nested automatic differentiation, exact to round-off.

    Reverse over reverse for up to four components, nested forward mode (`torch.func.jvp`) above, so that the columns of
    a random-feature matrix come in one pass. Cost grows exponentially with the order: about 3x a step per derivative.

    Example:
        >>> plan = AutoDiff().plan(Points([[0.5]], axes="x"), ["xx"])
        >>> plan(lambda x: x**3)["xx"].item()
        3.0
    """

    @property
    def order(self) -> None:
        """Exact: no order of accuracy."""
        return None

    @property
    def max_partial(self) -> int:
        """No limit but patience; ten is where memory ends."""
        return 10

    @property
    def exact(self) -> bool:
        """True: the only error is round-off."""
        return True

    def plan(self, points: Points, partials: Sequence[str]) -> AutoDiffPlan:
        """Prepare partials at points; nothing but the list of derivatives is kept.

        Args:
            points: where.
            partials: which, by axis letters.

        Returns:
            A plan; call it with a network.

        Raises:
            ValueError: no points, unknown letters, or an order above `max_partial`.
        """
        return AutoDiffPlan(points, reachable_partials(self, points, partials), points.rows)


@dataclass(frozen=True, eq=False)
class AutoDiffPlan:
    """Points and single derivatives, ready for a network."""

    points: Points
    singles: tuple[str, ...]
    rows: Tensor

    def __call__(self, network: Network) -> Jet:
        """Return the jet of a network.

        Args:
            network: maps (n, axes) to (n, components).

        Returns:
            The jet, differentiable in the network's parameters where gradients are enabled.
        """
        differentiable = torch.is_grad_enabled()
        with torch.enable_grad():
            values = self._differentiate(network)
        if not differentiable:
            values = {letters: value.detach() for letters, value in values.items()}
        return Jet(self.points.axes, values, self.points.counts, self.points.normals)

    def _differentiate(self, network: Network) -> dict[str, Tensor]:
        rows = self.rows.detach().requires_grad_(True)
        value = network(rows)
        if self.singles == ("",):
            return {"": value}
        if value.shape[1] > FORWARD_ABOVE:
            return {letters: self._forward(network, letters) for letters in self.singles}
        return self._reverse(value, rows)

    def _reverse(self, value: Tensor, rows: Tensor) -> dict[str, Tensor]:
        known, gradients = {"": value}, {}

        def partial(letters: str) -> Tensor:
            if letters not in known:
                *before, last = axes_of(letters, self.points.axes)
                parent = "".join(self.points.axes[i] for i in before)
                if parent not in gradients:
                    gradients[parent] = _gradient(partial(parent), rows)
                known[letters] = gradients[parent][:, last]
            return known[letters]

        return {letters: partial(letters) for letters in self.singles}

    def _forward(self, network: Network, letters: str) -> Tensor:
        function = network
        for axis in axes_of(letters, self.points.axes):
            direction = torch.zeros_like(self.rows)
            direction[:, axis] = 1.0
            function = _directional(function, direction)
        return function(self.rows)


def _gradient(value: Tensor, rows: Tensor) -> Tensor:
    """Return d value / d rows, (n, axes, components); points do not see each other, so columns can be summed."""
    if not value.requires_grad:
        return rows.new_zeros(*rows.shape, value.shape[1])
    columns = [
        torch.autograd.grad(column.sum(), rows, create_graph=True, materialize_grads=True)[0]
        for column in value.unbind(dim=1)
    ]
    return torch.stack(columns, dim=2)


def _directional(function: Network, direction: Tensor) -> Network:
    return lambda rows: torch.func.jvp(function, (rows,), (direction,))[1]
