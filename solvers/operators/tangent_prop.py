"""Exact derivatives of any order in one pass: Taylor series along a few directions, carried through the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

import numpy as np
import torch
from torch import Tensor, nn

from solvers.jet import Jet
from solvers.layout import Layout
from solvers.operators.autodiff import AutoDiff
from solvers.operators.chain import Chain, find_chain, is_plain
from solvers.operators.combination import Combination
from solvers.operators.compiled import MAX_ROWS, CompiledSeries, compilable, highest_order, propagate, within_reach
from solvers.operators.detached import Detached, flat_gradient, flat_starts
from solvers.operators.directions import Directions, choose_directions
from solvers.operators.operator import HIGHEST, Network, reachable_partials
from solvers.operators.partitions import MAX_ORDER as MAX_PARTITION_ORDER
from solvers.operators.partitions import PartitionSeries
from solvers.operators.rules import has_rules, rules_applied
from solvers.points import Points
from solvers.series import Series

_HOOKS = attrgetter("_backward_hooks")

BACKENDS = ("auto", "fused", "layerwise", "taylor", "partitions", "nested")
RULES = ("recurrence", "partitions")
EXPECTED = {
    "fused": "a chain Linear, activation, ..., Linear on the CPU with llvmlite installed",
    "layerwise": "a network on the CPU with llvmlite installed or on a CUDA device with Triton installed",
}


@dataclass(frozen=True)
class TangentProp:
    """Exact derivatives by propagating truncated Taylor series (n-TangentProp, arXiv 2412.09752).

    A partial is a combination of a few directional derivatives, a directional derivative of order k is k! times a
    coefficient of the network's Taylor series, and a series costs one pass of its N + 1 rows: the price of an ordinary
    step on N + 1 times the points, where nested differentiation pays about 3^N. Laplacian and bilaplacian sum their
    directions before propagation.

    Args:
        rule: "recurrence", O(N^2) an activation; "partitions" is the paper's Algorithm 1, kept to compare with.
        backend: "fused" carries a chain of linear layers and one activation through in compiled code, cache by cache;
            "layerwise" compiles the activations of any network, on CUDA devices by Triton; "taylor" is torch alone, on
            any device and differentiable as often as wanted; "nested" is `AutoDiff`; "auto" takes the fastest that
            applies.

    Raises:
        ValueError: an unknown rule or backend, or both given.

    Example:
        >>> plan = TangentProp().plan(Points([[0.5]], axes="x"), ["xx"])
        >>> plan(lambda x: x**3)["xx"].item()
        3.0
    """

    rule: str = "recurrence"
    backend: str = "auto"

    def __post_init__(self):
        if self.rule not in RULES:
            raise ValueError(f"expected a rule of {', '.join(RULES)}, came {self.rule!r}")
        if self.backend not in BACKENDS:
            raise ValueError(f"expected a backend of {', '.join(BACKENDS)}, came {self.backend!r}")
        if self.rule == "partitions" and self.backend not in ("auto", "partitions"):
            raise ValueError(f"rule 'partitions' has its own backend, came backend={self.backend!r}: leave it out")

    @property
    def order(self) -> None:
        """Exact: no order of accuracy."""
        return None

    @property
    def max_partial(self) -> int:
        """Thirty for one axis, where float32 still holds the coefficients; six for mixed partials."""
        return {"partitions": MAX_PARTITION_ORDER, "nested": AutoDiff().max_partial}.get(self._fixed, HIGHEST)

    @property
    def exact(self) -> bool:
        """True: the only error is round-off."""
        return True

    @property
    def _fixed(self) -> str:
        return "partitions" if self.rule == "partitions" else self.backend

    def plan(self, points: Points, partials: Sequence[str]) -> TangentPropPlan:
        """Choose directions, and how their rows give the partials.

        Args:
            points: where.
            partials: which, by axis letters.

        Returns:
            A plan; call it with a network.

        Raises:
            ValueError: no points, unknown letters, an order out of reach, or points that are neither float32 nor
                float64.
        """
        singles = reachable_partials(self, points, partials)
        if points.rows.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"expected points in float32 or float64, came {points.rows.dtype}: use points.to()")
        directions = choose_directions(tuple(partials) or ("",), points.axes)
        layout, rows = directions.layout, points.rows
        if self._fixed in ("fused", "layerwise") and not within_reach(layout, rows):
            raise ValueError(
                f"backend {self._fixed!r} reaches order {highest_order(layout, rows)} and {MAX_ROWS} rows, came order "
                f"{layout.order} and {layout.rows} rows: use backend='auto' or 'taylor'"
            )
        return TangentPropPlan(points, singles, self._fixed, directions)


@dataclass(eq=False)
class TangentPropPlan:
    """Points, directions and combinations, ready for a network.

    Args:
        points: where.
        singles: the single derivatives behind them.
        requested: the operator's backend.
        directions: rows of the series, and what they combine to.
        backend: the one that the last call used; "auto" before.
    """

    points: Points
    singles: tuple[str, ...]
    requested: str
    directions: Directions
    backend: str = field(default="", init=False)

    def __post_init__(self):
        self.backend = self.requested
        self._extended: dict[tuple[int, str], TangentPropPlan] = {}
        self._counts, self._within_reach = self.points.counts, within_reach(self.layout, self.points.rows)
        self.rows = self.points.rows.detach().contiguous()
        self.vectors = torch.from_numpy(np.array(self.directions.vectors)).to(self.rows)
        self.names = tuple(self.directions.combinations)
        self.combination = Combination(np.stack(list(self.directions.combinations.values())), self.rows)

    def __repr__(self) -> str:
        return f"TangentPropPlan({self.layout.rows} rows at {len(self.rows)} points, backend={self.backend!r})"

    @property
    def layout(self) -> Layout:
        """Rows of the series that is propagated."""
        return self.directions.layout

    def __call__(self, network: Network) -> Jet:
        """Return the jet of a network.

        Args:
            network: maps (n, axes) to (n, components).

        Returns:
            The jet, differentiable in the network's parameters where gradients are enabled.

        Raises:
            ValueError: a network that does not fit the points, or that the backend asked for cannot take.
            TypeError: a module that a series cannot pass; the message names it and says what to do.
        """
        network = _unwrapped(network)
        self.backend, chain = self.choose(network)
        if chain is None and isinstance(network, nn.Module):
            self._check_dtype(network, next(network.parameters(), None))
        if self.backend == "nested":
            return AutoDiff().plan(self.points, self.singles)(network)
        if chain is not None:
            partials = propagate(chain, self.rows, self.vectors, self.layout, self.combination)
        else:
            kind = {"layerwise": CompiledSeries, "partitions": PartitionSeries}.get(self.backend, Series)
            partials = self.combination.partials(self.coefficients(network, kind.along(*self.line)))
        return self.jet(partials)

    def choose(self, network: Network) -> tuple[str, Chain | None]:
        """Return the backend that a network gets, and the chain that it is, where it is one.

        Args:
            network: maps (n, axes) to (n, components).

        Returns:
            Backend and chain.

        Raises:
            ValueError: the backend asked for cannot take this network.
        """
        if self.requested not in ("auto", "fused", "layerwise"):
            return self.requested, None
        forced = self.requested != "auto"
        usable = (forced or self._within_reach) and compilable(self.rows)
        possible = usable and is_plain(self.rows) and self.requested != "layerwise"
        chain = find_chain(network) if possible and not has_rules(network) else None
        if chain is not None and not is_plain(chain.weights[0]):
            chain = None
        if chain is not None:
            self._check_fit(network, chain)
            return "fused", chain
        if self.requested == "fused" or (forced and not usable):
            raise ValueError(
                f"backend {self.requested!r} expects "
                f"{EXPECTED[self.requested]}, in float32 or float64, came {type(network).__name__} on "
                f"{self.rows.device}: use backend='auto'"
            )
        return "layerwise" if usable else "taylor", None

    def _check_fit(self, network: Network, chain: Chain) -> None:
        inputs, axes = chain.weights[0].shape[1], self.rows.shape[1]
        if inputs != axes:
            raise ValueError(
                f"{type(network).__name__} takes {inputs} inputs, the points have the {axes} axes "
                f"{', '.join(self.points.axes)}: give them the same number"
            )
        self._check_dtype(network, chain.weights[0])

    def _check_dtype(self, network: Network, parameter: Tensor | None) -> None:
        if parameter is not None and parameter.dtype != self.rows.dtype:
            raise ValueError(
                f"{type(network).__name__} is in {parameter.dtype}, the points are in {self.rows.dtype}: "
                f"use network.to(dtype) or points.to(dtype=dtype)"
            )

    @property
    def line(self) -> tuple[Tensor, Tensor, Layout]:
        """Points, directions and layout: what a series needs to begin with."""
        return self.rows, self.vectors, self.layout

    def coefficients(self, network: Network, series: Series) -> Tensor:
        """Return the network's series at the points, by passing a series through it.

        Args:
            network: maps (n, axes) to (n, components).
            series: the points' own, of any kind.

        Returns:
            (rows, n, components), normalised.

        Raises:
            ValueError: values that are not (n, components).
        """
        series.recording = torch.is_grad_enabled()
        with rules_applied(network):
            values = network(series)
        expected = len(self.rows)
        if not isinstance(values, Series | Tensor) or len(values.shape) != 2 or len(values) != expected:
            came = tuple(values.shape) if isinstance(values, Series | Tensor) else type(values).__name__
            raise ValueError(f"expected values of shape ({expected}, components), came {came}: one row a point")
        if isinstance(values, Series):
            return values.coefficients
        # It does not depend on the points.
        return torch.cat([values[None], values.new_zeros(self.layout.rows - 1, *values.shape)])

    def jet(self, partials: Sequence[Tensor]) -> Jet:
        """Return the jet of what was planned.

        Args:
            partials: (n, components) each, in the order of `names`.

        Returns:
            The jet.
        """
        values = dict(zip(self.names, partials, strict=True))
        return Jet(self.points.axes, values, self._counts, self.points.normals)

    def series(self, network: Network, order: int, along: str | None = None) -> Jet:
        """Return the jet with each partial as a Taylor series along an axis, up to `order`.

        A residual written with + - * / ** and `solvers.functions` then comes out as a series itself, whose
        derivatives d^m R / dx^m (Sobolev losses, smoothness conditions) cost no automatic differentiation.

        Args:
            network: maps (n, axes) to (n, components).
            order: m, highest derivative of the residual.
            along: axis letter; the only axis by default.

        Returns:
            A jet of `Series`, each of shape (n, components).

        Raises:
            ValueError: several axes and none given, or an order out of reach.

        Example:
            >>> plan = TangentProp().plan(Points([[2.0]], axes="x"), ["", "x"])
            >>> jet, x = plan.series(lambda x: x**3, order=2), plan.variable(order=2)
            >>> (x * jet["x"] - 3 * jet[""]).derivatives().flatten().tolist()
            [0.0, 0.0, 0.0]
        """
        axis = self._axis(along)
        if order < 0:
            raise ValueError(f"expected an order of 0 or above, came {order}")
        if (order, axis) not in self._extended:
            partials = tuple(letters + axis * j for letters in self.singles for j in range(order + 1))
            self._extended[order, axis] = TangentProp(backend=self.requested).plan(self.points, partials)
        inner = self._extended[order, axis]
        jet = inner(network)
        self.backend = inner.backend
        values = {letters: jet.series(letters, axis, order) for letters in self.singles}
        return Jet(jet.axes, values, jet.counts, jet.normals)

    def variable(self, order: int, along: str | None = None) -> Series:
        """Return the points as a series along an axis, the x that belongs to `series`.

        Args:
            order: m.
            along: axis letter; the only axis by default.

        Returns:
            Of shape (n, axes), rows interior, boundary, initial.

        Raises:
            ValueError: several axes and none given.
        """
        axis = self.points.axes.index(self._axis(along))
        direction = torch.eye(len(self.points.axes))[axis].to(self.rows)
        return Series.variable(self.rows, order, direction)

    def _axis(self, along: str | None) -> str:
        axes = self.points.axes
        if (along is None and len(axes) > 1) or (along is not None and along not in axes):
            raise ValueError(f"expected one of the axes {', '.join(axes)} to differentiate along, came {along!r}")
        return along or axes[0]

    def value_and_grad(
        self, network: nn.Module, loss: Callable[[Jet], Tensor], parameters: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return a loss of the jet and its gradient, without an autograd graph of the network's derivatives.

        Args:
            network: a module.
            loss: jet -> scalar; it may use the network in other ways too.
            parameters: in whose order; those of `network.parameters()` that are trained by default. Walking a module
                takes about 30 us: hand the list over where that matters.

        Returns:
            The loss, and its gradient, flat.

        Raises:
            TypeError: no module, and no parameters given.
            ValueError: nothing to train.
        """
        if parameters is None:
            if not isinstance(network, nn.Module):
                raise TypeError(
                    f"expected a module, came {type(network).__name__}: give parameters=[...] for a function"
                )
            parameters = [p for p in network.parameters() if p.requires_grad]
        if not parameters:
            raise ValueError(f"{type(network).__name__} has no trainable parameter")
        with torch.enable_grad():
            detached = self.detached(network)
            value = loss(self(network) if detached is None else detached.jet)
            flat = flat_gradient(value, [detached] if detached else [], flat_starts(parameters))
        return value.detach(), flat

    def detached(self, network: Network) -> Detached | None:
        """Return the jet cut from the network, with the adjoint that leads back to its parameters, or None.

        Args:
            network: maps (n, axes) to (n, components).

        Returns:
            None unless the backend is "fused" and weights and biases are parameters themselves, trainable or frozen.
        """
        self.backend, chain = self.choose(_unwrapped(network))
        if chain is None or not chain.detachable or any(map(_HOOKS, chain.parameters)):
            return None
        from solvers.kernels.perceptron import kernel

        compiled = kernel(chain.activation, self.layout, self.rows.dtype)
        rows, kept = compiled.forward(self.rows, self.vectors, chain.linears, True, chain.odd)
        return Detached(self.combination.stacked(rows), self.jet, chain, self.combination, compiled, kept)


def _unwrapped(network: Network) -> Network:
    """Return what torch.compile wraps, the same network: a series cannot pass the wrapper."""
    return network._orig_mod if type(network).__name__ == "OptimizedModule" else network
