"""The nodes that stencils reach, and the weights known so far: every matrix of one set of points comes from here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from solvers.jet import TIME
from solvers.operators.operator import Operator, Plan
from solvers.points import Points
from solvers.stencils import Recipe, nearest, stencil_weights

SpaceOperator = Mapping[tuple[int, ...], float]
"""Powers of the space derivatives -> constant coefficient: {(2, 0): 1.0, (0, 2): 1.0} is the Laplacian."""

AT_NODE = 1e-12
"""A row this close to a node, in units of the nodes' extent, is at the node."""

_KNOWN: WeakKeyDictionary[Points, NodeSet] = WeakKeyDictionary()


class NodeSet:
    """Nodes in space, in the order interior, boundary, ghost, and what has been computed on them.

    Args:
        support: points that nothing was left out of; where they are nodes x times, one time's.

    Raises:
        ValueError: a time axis without a time grid, nodes that move in time, or fewer than two nodes.
    """

    def __init__(self, support: Points):
        self.axes = support.axes
        self.space = [i for i, axis in enumerate(support.axes) if axis != TIME]
        kinds = {kind: self._one_time(support, kind) for kind in ("interior", "boundary", "ghost")}
        self.counts = {kind: len(rows) for kind, rows in kinds.items()}
        self.nodes = np.ascontiguousarray(np.concatenate(list(kinds.values())))
        if len(self.nodes) < 2:
            raise ValueError(
                f"expected nodes for the stencils, came {len(self.nodes)}: give Points(interior=, boundary=)"
            )
        self.tree = cKDTree(self.nodes)
        self._index: dict[int, np.ndarray | None] = {}
        self._weights: dict[tuple, np.ndarray] = {}
        self._known: dict[tuple, np.ndarray] = {}
        self._inner: dict[tuple, list[tuple[frozenset[str], Plan]]] = {}

    @classmethod
    def of(cls, points: Points) -> NodeSet:
        """Return the node set that the points were taken from, made once for all of its parts.

        Args:
            points: of a plan.

        Returns:
            The set.
        """
        support = points.support
        if support not in _KNOWN:
            _KNOWN[support] = cls(support)
        return _KNOWN[support]

    def _one_time(self, support: Points, kind: str) -> np.ndarray:
        rows = getattr(support, kind).detach().cpu().double()
        if TIME not in support.axes or not len(rows):
            return rows[:, self.space].numpy()
        if support.times is None:
            raise ValueError(
                "expected points that are nodes x times, came points scattered in time: draw them with "
                "problem.sample(times=...), or give Points(times=...) with the time slowest"
            )
        times, at = len(support.times), support.axes.index(TIME)
        block = rows.reshape(times, -1, rows.shape[1]) if len(rows) % times == 0 else rows[None]
        same = len(block) == times and torch.equal(
            block[:, :, self.space], block[:1, :, self.space].expand(times, -1, -1)
        )
        if not same or not torch.equal(block[:, :, at], support.times.cpu().double()[:, None].expand(block.shape[:2])):
            raise ValueError(
                f"expected the {kind} points to be the same nodes at each of the {times} times, time slowest, came "
                f"{len(rows)} rows in another order"
            )
        return block[0][:, self.space].numpy()

    def label(self, index: int) -> str:
        """Return what a node is called in messages.

        Args:
            index: of the node.

        Returns:
            Kind and number among its kind.
        """
        for kind, count in self.counts.items():
            if index < count:
                return f"{kind} node {index}"
            index -= count
        return f"target {index}"

    def find(self, targets: np.ndarray) -> np.ndarray | None:
        """Return which node each target is, or None where one is none.

        Args:
            targets: (n, d).

        Returns:
            (n,) indices.
        """
        distance, index = self.tree.query(targets)
        extent = np.ptp(self.nodes, axis=0).max()
        return index if np.all(distance <= AT_NODE * extent) else None

    def weights(
        self,
        targets: np.ndarray,
        at: np.ndarray | None,
        recipe: Recipe,
        operators: Sequence[SpaceOperator],
        cache: Path | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return stencils and weights at targets; those at nodes are computed once.

        Args:
            targets: (n, d).
            at: (n,) the nodes that the targets are, or None.
            recipe: of the stencils.
            operators: K of them, from one factorisation.
            cache: folder in which weights are kept between processes, or None.

        Returns:
            Indices (n, size) of the nodes, int32, and weights (K, n, size).
        """
        if at is None:
            stencils = self._nearest(targets, recipe.size)
            return stencil_weights(self.nodes, targets, recipe, operators, stencils, cache=cache)
        keys = [(recipe, tuple(sorted(operator.items()))) for operator in operators]
        count, size = len(self.nodes), recipe.size
        for key in keys:
            if key not in self._known:
                self._known[key] = np.zeros(count, bool)
                self._weights[key] = np.empty((count, size))
        if size not in self._index:
            # Of all nodes at once: stencils must not depend on which rows were asked for first.
            self._index[size] = self._nearest(self.nodes, size)
        index = self._index[size]
        missing = np.unique(at[~np.all([self._known[key][at] for key in keys], axis=0)])
        if len(missing):
            stencils = None if index is None else index[missing]
            _, found = stencil_weights(
                self.nodes,
                self.nodes[missing],
                recipe,
                operators,
                stencils,
                lambda row: self.label(int(missing[row])),
                cache=cache,
            )
            for key, own in zip(keys, found, strict=True):
                self._weights[key][missing] = own
                self._known[key][missing] = True
        return index[at], np.stack([self._weights[key][at] for key in keys])

    def _nearest(self, targets: np.ndarray, size: int) -> np.ndarray | None:
        """Return the stencils of targets; None where there are too few nodes, which `stencil_weights` refuses."""
        return nearest(self.nodes, targets, size, self.label) if size <= len(self.nodes) else None

    def inner(self, operator: Operator, names: frozenset[str], times: Tensor | None, like: Tensor) -> Plan:
        """Return the plan that evaluates the network, and its time derivatives, at the nodes; shared where it can be.

        Args:
            operator: of the time derivatives.
            names: partials in time that are needed.
            times: (steps,), or None without a time axis.
            like: for dtype and device.

        Returns:
            A plan at nodes x times, time slowest.
        """
        key = (operator, None if times is None else tuple(times.tolist()), like.dtype, like.device)
        plans = self._inner.setdefault(key, [])
        for planned, plan in plans:
            if names <= planned:
                return plan
        rows = self.rows(times, like)
        plan = operator.plan(Points(rows, axes=self.axes), sorted(names))
        plans.append((names | {""}, plan))
        return plan

    def rows(self, times: Tensor | None, like: Tensor) -> Tensor:
        """Return the nodes as points of the problem.

        Args:
            times: (steps,), or None without a time axis.
            like: for dtype and device.

        Returns:
            (steps * nodes, axes), time slowest.
        """
        nodes = torch.from_numpy(self.nodes).to(like)
        if times is None:
            return nodes
        rows = like.new_empty(len(times), len(nodes), len(self.axes))
        rows[:, :, self.space] = nodes
        rows[:, :, self.axes.index(TIME)] = times.to(like)[:, None]
        return rows.flatten(0, 1)
