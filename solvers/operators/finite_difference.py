"""Central finite differences through the network: evaluate it at x +- h and combine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from dynamics.differences import Central, best_step, central_weights
from solvers.jet import Jet, axes_of
from solvers.operators.operator import Network, reachable_partials
from solvers.points import Points

WORST_ROUNDOFF = 0.1
"""Round-off of a derivative, for values and derivatives of order 1, above which not one digit is right."""


@dataclass(frozen=True)
class FiniteDifference:
    """Central differences of the whole network, ansatz included, at x +- h, also outside the domain.

    Error = C h^order u^(m + order) + O(eps / h^m) for a derivative of order m. Needs no autograd in x: a step
    costs a forward and backward pass over (stencil points) x n rows.

    Args:
        step: h, for every partial; None balances truncation and round-off for each derivative order and the points'
            dtype, h = (m eps sum|w| / (order |C|))^(1 / (m + order)).
        order: of accuracy, 2 or 4.

    Raises:
        ValueError: another order, or a step that is not a positive finite number.

    Example:
        >>> plan = FiniteDifference(step=1e-2).plan(Points([[0.5]], axes="x"), ["xx"])
        >>> round(plan(lambda x: x**4)["xx"].item() - 3.0, 6)
        0.0002
    """

    step: float | None = None
    order: int = 2

    def __post_init__(self):
        if self.order not in (2, 4) or not isinstance(self.order, int):
            raise ValueError(f"expected a central scheme of order 2 or 4, came {self.order}")
        if self.step is not None and not (isinstance(self.step, int | float) and 0 < self.step < math.inf):
            raise ValueError(f"expected a positive finite step, or None for the best one, came {self.step!r}")

    @classmethod
    def of_grid(cls, points: Points, order: int = 2) -> FiniteDifference:
        """Return the scheme whose step is the spacing of a uniform grid, so that x +- h are the neighbouring nodes.

        h = (x_last - x_first) / (nodes - 1), the same along every axis: classical finite differences of the nodes'
        values, with a network's own values where a stencil leaves the grid.

        Args:
            points: whose interior is a uniform grid, as `sample(..., method="grid")` draws it.
            order: of accuracy, 2 or 4.

        Returns:
            The operator.

        Raises:
            ValueError: points that are no uniform grid, or spacings that differ between axes.

        Example:
            >>> from solvers.problems import poisson_1d
            >>> round(FiniteDifference.of_grid(poisson_1d().sample(interior=19, method="grid")).step, 12)
            0.1
        """
        spacings = []
        for axis, values in zip(points.axes, points.interior.T, strict=True):
            nodes = torch.unique(values.double())
            reach = 1e-6 * float(nodes[-1] - nodes[0]) if len(nodes) > 1 else 0.0
            nodes = nodes[torch.cat([nodes.new_ones(1), nodes.diff()]) > reach]
            gaps = nodes.diff()
            if len(nodes) < 2 or float(gaps.max() - gaps.min()) > 1e-6 * float(gaps.max()):
                raise ValueError(
                    f"expected interior points on a uniform grid, came {len(nodes)} places along {axis!r} that are not "
                    f"equally spaced: draw them with method='grid', or give FiniteDifference(step=...)"
                )
            spacings.append(float(nodes[-1] - nodes[0]) / (len(nodes) - 1))
        if max(spacings) - min(spacings) > 1e-6 * max(spacings):
            raise ValueError(
                f"expected the same spacing along every axis, came {spacings} for {', '.join(points.axes)}: one step "
                f"serves all axes, give FiniteDifference(step=...)"
            )
        return cls(step=spacings[0], order=order)

    @property
    def max_partial(self) -> int:
        """Fourth derivatives: above, round-off leaves too few digits in float64."""
        return 4

    @property
    def exact(self) -> bool:
        """False: truncation and round-off both matter."""
        return False

    def plan(self, points: Points, partials: Sequence[str]) -> FiniteDifferencePlan:
        """Choose steps, stencils and shifted points for the partials.

        Args:
            points: where; one or two axes in a partial.
            partials: which, by axis letters.

        Returns:
            A plan with `steps`, `truncation` and `roundoff`, each single derivative -> value.

        Raises:
            ValueError: no points, unknown letters, an order above 4, or a step that leaves no digit above round-off.
        """
        singles = reachable_partials(self, points, partials)
        stencils = {letters: self._stencil(letters, points) for letters in singles}
        shifts = sorted({shift for stencil in stencils.values() for shift in stencil.weights})
        weights = [[stencils[letters].weights.get(shift, 0.0) for shift in shifts] for letters in singles]
        like = points.interior
        offsets = torch.tensor(shifts, dtype=like.dtype, device=like.device)
        rows = (points.rows[None] + offsets[:, None]).reshape(-1, len(points.axes))
        return FiniteDifferencePlan(points, singles, rows, like.new_tensor(weights), stencils)

    def _stencil(self, letters: str, points: Points) -> Stencil:
        along = axes_of(letters, points.axes)
        if len(set(along)) > 2:
            raise ValueError(f"FiniteDifference mixes at most two axes in a partial, came {letters!r}: use AutoDiff()")
        orders = [along.count(axis) for axis in range(len(points.axes))]
        central = Central.of(orders, self.order)
        power, eps = central.power, torch.finfo(points.interior.dtype).eps
        step = (self.step or best_step(self.order, orders, _name(points.interior.dtype))) if power else 0.0
        roundoff = eps * central.absolute / step**power if power else eps
        reach = float(points.rows.abs().max())
        least = 1.1 * max((eps * central.absolute / WORST_ROUNDOFF) ** (1 / power), eps * reach) if power else 0.0
        if roundoff >= WORST_ROUNDOFF or (power and step <= eps * reach):
            raise ValueError(
                f"step {step:g} is below round-off for {letters!r} in {_name(points.interior.dtype)}: "
                f"an O(1) derivative would carry an error of {roundoff:.1g}; expected at least {least:.2g}, "
                f"step=None for the best one, or AutoDiff()"
            )
        weights = {}
        for combination in product(*(_line(along, self.order) for along in orders)):
            shift = tuple(step * offset for offset, _ in combination)
            weights[shift] = math.prod(w for _, w in combination) / (step**power if power else 1.0)
        return Stencil(step, {s: w for s, w in weights.items() if w}, central.constant * step**self.order, roundoff)


@dataclass(frozen=True)
class Stencil:
    """Shifts and weights of one partial, its step, and its two errors per unit of what they multiply.

    `truncation` multiplies the derivative of order m + order of u, `roundoff` multiplies the size of u.
    """

    step: float
    weights: Mapping[tuple[float, ...], float]
    truncation: float
    roundoff: float


@dataclass(frozen=True, eq=False)
class FiniteDifferencePlan:
    """Shifted points (shift slowest) and the weights that turn their values into partials."""

    points: Points
    singles: tuple[str, ...]
    rows: Tensor
    weights: Tensor
    stencils: Mapping[str, Stencil]

    @property
    def steps(self) -> dict[str, float]:
        """The step h of each single derivative."""
        return {letters: stencil.step for letters, stencil in self.stencils.items() if letters}

    @property
    def truncation(self) -> dict[str, float]:
        """|C| h^order of each single derivative: times the derivative of order m + order it is the error."""
        return {letters: stencil.truncation for letters, stencil in self.stencils.items() if letters}

    @property
    def roundoff(self) -> dict[str, float]:
        """Error of each single derivative from rounding u, per unit of u: eps sum|w| / h^m.

        Far from the origin, rounding x +- h itself comes on top.
        """
        return {letters: stencil.roundoff for letters, stencil in self.stencils.items() if letters}

    def __call__(self, network: Network) -> Jet:
        """Return the jet of a network.

        Args:
            network: maps (n, axes) to (n, components), also outside the domain.

        Returns:
            The jet, differentiable in the network's parameters.

        Raises:
            ValueError: the network is finite at the points but not at a shifted point.
        """
        count = sum(self.points.counts)
        values = network(self.rows)
        components = values.shape[1]
        shifted = values.reshape(-1, count * components)
        partials = (self.weights @ shifted).reshape(-1, count, components)
        if not torch.isfinite(partials.detach().sum()):
            self._refuse_outside(shifted.detach())
        jet = dict(zip(self.singles, partials.unbind(), strict=True))
        return Jet(self.points.axes, jet, self.points.counts, self.points.normals)

    def _refuse_outside(self, shifted: Tensor) -> None:
        """Raise where only shifted points are not finite; a network finite nowhere has diverged, which is data."""
        finite = torch.isfinite(shifted).all(dim=1)
        centre = (self.rows.reshape(len(shifted), -1, len(self.points.axes))[:, 0] == self.points.rows[0]).all(dim=1)
        if finite[centre].all() and not finite.all():
            bad = ~torch.isfinite(shifted).reshape(len(self.rows), -1).all(dim=1)
            where = self.rows[bad][0].tolist()
            raise ValueError(
                f"the network is not finite at a shifted point such as {where}; finite differences evaluate it outside "
                f"the domain and expect finite values there: use AutoDiff(), a smaller step, or another ansatz"
            )


def _line(derivative: int, order: int) -> list[tuple[int, float]]:
    offsets, weights, _ = central_weights(derivative, order)
    return list(zip(offsets, weights, strict=True))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
