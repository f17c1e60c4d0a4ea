"""Exact derivatives of any order in one pass: Taylor series along a few directions, carried through the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from solvers.jet import Jet
from solvers.operators.autodiff import AutoDiff
from solvers.operators.chain import Chain, find_chain, is_plain
from solvers.operators.combination import Combination
from solvers.operators.compiled import MAX_ORDER, MAX_ROWS, CompiledSeries, compilable, propagate, within_reach
from solvers.operators.directions import Directions, choose_directions
from solvers.operators.operator import Network, reachable_partials
from solvers.operators.partitions import MAX_ORDER as MAX_PARTITION_ORDER
from solvers.operators.partitions import PartitionSeries
from solvers.operators.rules import has_rules, rules_applied
from solvers.points import Points
from solvers.series import Series

if TYPE_CHECKING:
    from solvers.kernels.perceptron import Kept, Kernel

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
        return {"partitions": MAX_PARTITION_ORDER, "nested": AutoDiff().max_partial}.get(self._fixed, 30)

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
        if self._fixed in ("fused", "layerwise") and not within_reach(directions.layout):
            raise ValueError(
                f"backend {self._fixed!r} reaches order {MAX_ORDER} and {MAX_ROWS} rows, came order "
                f"{directions.layout.order} and {directions.layout.rows} rows: use backend='auto' or 'taylor'"
            )
        return TangentPropPlan(points, tuple(partials), singles, self._fixed, directions)


@dataclass(eq=False)
class TangentPropPlan:
    """Points, directions and combinations, ready for a network.

    Args:
        points: where.
        partials: as they were asked for.
        singles: the single derivatives behind them.
        requested: the operator's backend.
        directions: rows of the series, and what they combine to.
        backend: the one that the last call used; "auto" before.
    """

    points: Points
    partials: tuple[str, ...]
    singles: tuple[str, ...]
    requested: str
    directions: Directions
    backend: str = field(default="", init=False)

    def __post_init__(self):
        self.backend = self.requested
        self._extended: dict[tuple[int, str], TangentPropPlan] = {}
        self.rows = self.points.rows.detach().contiguous()
        self.vectors = torch.from_numpy(np.array(self.directions.vectors)).to(self.rows)
        self.names = tuple(self.directions.combinations)
        self.combination = Combination(np.stack(list(self.directions.combinations.values())), self.rows)

    @property
    def layout(self):
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
        self.backend, chain = self.choose(network)
        if self.backend == "nested":
            return AutoDiff().plan(self.points, self.singles)(network)
        if chain is not None:
            partials = propagate(chain, self.rows, self.vectors, self.layout, self.combination)
        else:
            partials = self.combination.partials(self.coefficients(network))
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
        usable = (forced or within_reach(self.layout)) and compilable(self.rows)
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
        if chain.weights[0].dtype != self.rows.dtype:
            raise ValueError(
                f"{type(network).__name__} is in {chain.weights[0].dtype}, the points are in {self.rows.dtype}: "
                f"use network.to(dtype) or points.to(dtype=dtype)"
            )

    def coefficients(self, network: Network) -> Tensor:
        """Return the network's series at the points, by passing a series through it.

        Args:
            network: maps (n, axes) to (n, components).

        Returns:
            (rows, n, components), normalised.

        Raises:
            ValueError: values that are not (n, components).
        """
        kind = {"layerwise": CompiledSeries, "partitions": PartitionSeries}.get(self.backend, Series)
        with rules_applied(network):
            values = network(kind.along(self.rows, self.vectors, self.layout))
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
        return Jet(self.points.axes, values, self.points.counts, self.points.normals)

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
        if (order, axis) not in self._extended:
            partials = tuple(letters + axis * j for letters in self.singles for j in range(order + 1))
            self._extended[order, axis] = TangentProp(backend=self.requested).plan(self.points, partials)
        inner = self._extended[order, axis]
        jet = inner(network)
        self.backend = inner.backend
        scale = [1.0]
        for j in range(1, order + 1):
            scale.append(scale[-1] / j)
        values = {
            letters: Series(torch.stack([jet[letters + axis * j] * scale[j] for j in range(order + 1)]))
            for letters in self.singles
        }
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

    def value_and_grad(self, network: nn.Module, loss: Callable[[Jet], Tensor]) -> tuple[Tensor, Tensor]:
        """Return a loss of the jet and its gradient, without an autograd graph of the network.

        Args:
            network: a module.
            loss: jet -> scalar.

        Returns:
            The loss, and its gradient to the trainable parameters, flat, in the order of `network.parameters()`.

        Raises:
            ValueError: a network without trainable parameters.
        """
        detached = self.detached(network)
        # A chain knows its parameters, in the network's order; walking the modules takes longer than a small network.
        known = network.parameters() if detached is None else detached.chain.in_order()
        parameters = [p for p in known if p.requires_grad]
        if not parameters:
            raise ValueError(f"{type(network).__name__} has no trainable parameter")
        if detached is None:
            value = loss(self(network))
            gradients = torch.autograd.grad(value, parameters, materialize_grads=True)
            return value.detach(), torch.cat([g.reshape(-1) for g in gradients])
        value = loss(detached.jet)
        cotangents = torch.autograd.grad(value, detached.leaves, materialize_grads=True)
        if len(parameters) == len(detached.chain.parameters):
            return value.detach(), detached.gradient(cotangents)
        sizes = [p.numel() for p in parameters]
        starts = dict(zip(parameters, accumulate(sizes[:-1], initial=0), strict=True))
        flat = cotangents[0].new_zeros(sum(sizes))
        detached.pull_back(cotangents, flat, starts)
        return value.detach(), flat

    def detached(self, network: Network) -> Detached | None:
        """Return the jet cut from the network, with the adjoint that leads back to its parameters, or None.

        Args:
            network: maps (n, axes) to (n, components).

        Returns:
            None unless the backend is "fused" and weights and biases are parameters themselves, trainable or frozen.
        """
        self.backend, chain = self.choose(network)
        if chain is None or not all(p.is_leaf and p.is_contiguous() for p in chain.parameters):
            return None
        from solvers.kernels.perceptron import kernel

        compiled = kernel(chain.activation, self.layout, self.rows.dtype)
        rows, kept = compiled.forward(self.rows, self.vectors, chain.weights, chain.biases, True)
        leaves = [partial.requires_grad_(True) for partial in self.combination.partials(rows)]
        return Detached(self.jet(leaves), leaves, chain, self.combination, compiled, kept)


@dataclass(frozen=True, eq=False)
class Detached:
    """A jet of leaves: it depends on nothing before, and an adjoint leads on from it to the network's parameters.

    Args:
        jet: partials.
        leaves: the same, in the plan's order.
        chain: the network.
        combination: of the series' rows to partials.
        kernel: compiled program.
        kept: what its backward pass needs.
    """

    jet: Jet
    leaves: Sequence[Tensor]
    chain: Chain
    combination: Combination
    kernel: Kernel
    kept: Kept

    def gradient(self, cotangents: Sequence[Tensor]) -> Tensor:
        """Return the gradient in the order of `network.parameters()`, all of them trainable and used once.

        Args:
            cotangents: of the leaves.

        Returns:
            1-D.
        """
        return self.kernel.gradients(self.kept, self.combination.adjoint(cotangents), layer_by_layer=True)

    def pull_back(
        self,
        cotangents: Sequence[Tensor],
        flat: Tensor,
        starts: Mapping[Tensor, int],
        part: tuple[int, int] | None = None,
    ) -> None:
        """Add the parameters' gradients into a flat buffer.

        Args:
            cotangents: of the leaves.
            flat: the buffer, contiguous.
            starts: parameter -> its first element there; gradients of others are dropped.
            part: first point and end of the points that count; all by default.
        """
        rows, kept = self.combination.adjoint(cotangents), self.kept
        if part is not None:
            rows, kept = rows[:, slice(*part)].contiguous(), kept.part(*part)
        parameters = self.chain.parameters
        if kept.room.threads == 1 and all(parameter in starts for parameter in parameters):
            self.kernel.add_gradients(kept, rows, flat, [starts[parameter] for parameter in parameters])
            return
        own = self.kernel.gradients(kept, rows)
        for parameter, piece in zip(parameters, own.split([p.numel() for p in parameters]), strict=True):
            if parameter in starts:
                flat[starts[parameter] : starts[parameter] + len(piece)] += piece
