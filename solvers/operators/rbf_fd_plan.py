"""Space derivatives on nodes as one stacked matrix, ready for a network."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from solvers.jet import NORMAL, TIME, Jet, canonical, parse_partial
from solvers.operators.node_set import NodeSet, SpaceOperator
from solvers.operators.operator import Network, Plan
from solvers.operators.places import places_and_times
from solvers.operators.sparse_product import SparseProduct
from solvers.points import Points
from solvers.stencils import Recipe

if TYPE_CHECKING:
    from solvers.operators.rbf_fd import RBFFD

NOISY = 1e-4
"""Round-off of a derivative, per unit of u, from which single precision is warned about."""


@dataclass(eq=False)
class RBFFDPlan:
    """Rows, stencils and the stacked matrix, ready for a network.

    Args:
        points: the rows.
        operator: that made the plan.
        forms: canonical partial -> partial in time -> operator in space.
        recipe: of the stencils.
        nodes: that the stencils reach.
        inner: evaluates the network at the nodes.
    """

    points: Points
    operator: RBFFD
    forms: Mapping[str, Mapping[str, SpaceOperator]]
    recipe: Recipe
    nodes: NodeSet
    inner: Plan = field(init=False)

    def __post_init__(self):
        rows = self.points.rows.detach()
        targets, self.times, self._order = places_and_times(rows, self.points.axes)
        self.at = self.nodes.find(targets)
        self.count = len(targets)
        if self.times is None and TIME in self.points.axes:
            self._plan_scattered(rows, targets)
            return
        derivatives = sorted({_key(own) for form in self.forms.values() for own in form.values()} - {self._value})
        if self.at is None:
            derivatives.insert(0, self._value)
        self._columns = len(self.nodes.nodes)
        self._matrices: dict[tuple, scipy.sparse.csr_array] = {}
        if derivatives:
            wanted = [dict(key) for key in derivatives]
            index, weights = self.nodes.weights(targets, self.at, self.recipe, wanted, self._cache)
            self._matrices = {
                key: _csr(index, own, self._columns) for key, own in zip(derivatives, weights, strict=True)
            }
        self.inner = self.nodes.inner(self.operator.time, self.in_time, self.times, rows)
        self._warn(rows.dtype)

    def _plan_scattered(self, rows: Tensor, targets: np.ndarray) -> None:
        """Plan rows at times of their own: each evaluates the network at its own stencil, at its own time."""
        wanted = sorted({_key(own) for form in self.forms.values() for own in form.values()} | {self._value})
        index, weights = self.nodes.weights(targets, None, self.recipe, [dict(key) for key in wanted], self._cache)
        size = index.shape[1]
        evaluated = rows.repeat_interleave(size, dim=0)
        evaluated[:, self.nodes.space] = torch.from_numpy(self.nodes.nodes[index.ravel()]).to(rows)
        own = np.arange(index.size, dtype=np.int32).reshape(index.shape)
        self._columns, self.at = index.size, None
        self._matrices = {key: _csr(own, each, index.size) for key, each in zip(wanted, weights, strict=True)}
        self.inner = self.operator.time.plan(Points(evaluated, axes=self.points.axes), sorted(self.in_time))

    def __repr__(self) -> str:
        return (
            f"RBFFDPlan({', '.join(map(repr, self.forms))} at {sum(self.points.counts)} points, stencils of "
            f"{self.recipe.size} among {len(self.nodes.nodes)} nodes)"
        )

    @property
    def _value(self) -> tuple:
        return (((0,) * len(self.nodes.space), 1.0),)

    @property
    def _cache(self) -> Path | None:
        return None if self.operator.cache is None else Path(self.operator.cache)

    @cached_property
    def in_time(self) -> frozenset[str]:
        """The partials in time that the network is asked for at the nodes."""
        return frozenset(name for form in self.forms.values() for name in form)

    @property
    def _steps(self) -> int:
        return 1 if self.times is None else len(self.times)

    def _keys(self, name: str) -> list[tuple]:
        keys = {_key(form[name]) for form in self.forms.values() if name in form}
        return sorted(key for key in keys if key in self._matrices)

    def stacked(self, name: str) -> scipy.sparse.csr_array | None:
        """Return the matrices that one partial in time is multiplied by, one below the other.

        Args:
            name: of the partial in time, "" for the value.

        Returns:
            (matrices * rows of one time, nodes), or None where only the nodes' own values are asked for.
        """
        keys = self._keys(name)
        return scipy.sparse.vstack([self._matrices[key] for key in keys], format="csr") if keys else None

    @cached_property
    def _products(self) -> dict[str, SparseProduct | None]:
        matrices = {name: self.stacked(name) for name in self.in_time}
        like, backend = self.points.interior, self.operator.backend
        return {
            name: None if matrix is None else SparseProduct(matrix, like, backend) for name, matrix in matrices.items()
        }

    def __call__(self, network: Network) -> Jet:
        """Return the jet of a network.

        Args:
            network: maps (n, axes) to (n, components), also at the ghost nodes.

        Returns:
            The jet, differentiable in the network's parameters where gradients are enabled.
        """
        return self.of(self.inner(network))

    def of(self, inner: Jet) -> Jet:
        """Return the jet from the network's values at the nodes.

        Args:
            inner: of the plan `inner`.

        Returns:
            The jet at this plan's points.
        """
        values = {name: self.nodal(inner[name]) for name in self.in_time}
        products = self._products
        blocks = {name: products[name] and products[name](value) for name, value in values.items()}
        return self.jet(values, blocks)

    def nodal(self, values: Tensor) -> Tensor:
        """Return values as the matrices take them.

        Args:
            values: (times * nodes, components), time slowest.

        Returns:
            (nodes, times * components).
        """
        if self._steps == 1:
            return values
        return values.reshape(self._steps, self._columns, -1).transpose(0, 1).reshape(self._columns, -1)

    def _parts(self, name: str, values: Tensor, block: Tensor | None) -> Mapping[tuple, Tensor]:
        """Return each space operator applied to one partial in time, (n, components) each."""
        parts = {} if block is None else dict(zip(self._keys(name), block.split(self.count), strict=True))
        if self._value not in parts and self.at is not None:
            parts[self._value] = values[self._place]
        if self._steps > 1:
            grids = {key: part.reshape(self.count, self._steps, -1) for key, part in parts.items()}
            parts = {key: grid.transpose(0, 1).flatten(0, 1) for key, grid in grids.items()}
        return parts if self._order is None else {key: part[self._order] for key, part in parts.items()}

    @cached_property
    def _place(self) -> slice | Tensor:
        """Where the rows are among the nodes: a slice costs nothing."""
        first = int(self.at[0])
        if np.array_equal(self.at, np.arange(first, first + len(self.at))):
            return slice(first, first + len(self.at))
        return torch.from_numpy(self.at).to(self.points.rows.device)

    def jet(self, values: Mapping[str, Tensor], blocks: Mapping[str, Tensor | None]) -> Jet:
        """Return the jet from what the matrices gave.

        Args:
            values: partial in time -> from `nodal`.
            blocks: partial in time -> `stacked` times it; None where there is no matrix.

        Returns:
            The jet.
        """
        parts = {name: self._parts(name, value, blocks[name]) for name, value in values.items()}
        partials = {}
        for name, form in self.forms.items():
            terms = [parts[time][_key(own)] for time, own in form.items()]
            partials[name] = sum(terms[1:], terms[0])
        return Jet(self.points.axes, partials, self.points.counts, self.points.normals)

    def with_inner(self, inner: Plan) -> RBFFDPlan:
        """Return the same plan with another evaluation of the network.

        Args:
            inner: a plan at the same points as `self.inner`.

        Returns:
            Shares the matrices.
        """
        plan = object.__new__(RBFFDPlan)
        plan.__dict__.update(self.__dict__, inner=inner)
        return plan

    def matrix(self, name: str) -> scipy.sparse.csr_array:
        """Return the matrix of a partial in space.

        Args:
            name: one of the partials planned, or a sum of such; "n" on boundary rows with normals.

        Returns:
            (rows, nodes) CSR: rows interior, boundary; columns interior, boundary, ghost nodes. Where the points are
            nodes x times, one time's.

        Raises:
            KeyError: a partial that was not planned, or one in t.

        Example:
            >>> from solvers.operators import RBFFD
            >>> points = Points(np.linspace(0, 1, 9)[:, None], axes=("x",))
            >>> RBFFD(order=2).plan(points, ["xx"]).matrix("xx").shape
            (9, 9)
        """
        if name == NORMAL:
            return self.combine({axis: self._normals[:, i] for i, axis in enumerate(self._space)})
        form = self._form(name)
        if set(form) != {""}:
            raise KeyError(f"{name!r} has a derivative in t, which no matrix on the nodes gives")
        return self._space_matrix(form[""]).copy()

    def _space_matrix(self, own: SpaceOperator) -> scipy.sparse.csr_array:
        key = _key(own)
        if key in self._matrices:
            return self._matrices[key]
        # A node is its own value.
        data = np.ones(self.count)
        return scipy.sparse.csr_array((data, self.at, np.arange(self.count + 1)), shape=(self.count, self._columns))

    @property
    def width(self) -> int:
        """Number of values that the inner plan gives: nodes x times."""
        return self._columns * self._steps

    def matrices(self, name: str) -> dict[str, scipy.sparse.csr_array]:
        """Return the matrices that make a planned partial from the network's values and time derivatives.

        Args:
            name: canonical, as in `forms`.

        Returns:
            Partial in time -> (rows of the plan, nodes * times), time slowest.
        """
        found = {}
        for time, own in self.forms[name].items():
            matrix = self._space_matrix(own)
            whole = scipy.sparse.kron(scipy.sparse.eye_array(self._steps), matrix, format="csr")
            found[time] = whole if self._order is None else whole[self._order.cpu().numpy()]
        return found

    def combine(self, terms: Mapping[str, float | np.ndarray]) -> scipy.sparse.csr_array:
        """Return the matrix of a sum of partials with coefficients that vary from row to row.

        Args:
            terms: partial -> number, or (rows,) array: {"n": alpha, "": beta} is a Robin condition.

        Returns:
            (rows, nodes) CSR.

        Raises:
            KeyError: a partial that was not planned.
            ValueError: coefficients that are not one a row.
        """
        total = scipy.sparse.csr_array((self.count, self._columns))
        for name, coefficient in terms.items():
            values = np.asarray(coefficient, dtype=np.float64)
            if values.shape not in ((), (self.count,)):
                raise ValueError(f"{name!r}: expected one coefficient, or {self.count}, came shape {values.shape}")
            total = total + scipy.sparse.diags_array(np.broadcast_to(values, self.count)) @ self.matrix(name)
        return scipy.sparse.csr_array(total)

    @property
    def _space(self) -> list[str]:
        return [axis for axis in self.points.axes if axis != TIME]

    @property
    def _normals(self) -> np.ndarray:
        interior, _, initial = self.points.counts
        if not len(self.points.normals) or interior or initial or self._order is not None:
            raise KeyError("'n' exists on boundary rows with normals only: plan points.only('boundary')")
        return self.points.normals[: self.count, self.nodes.space].cpu().double().numpy()

    def _form(self, name: str) -> Mapping[str, SpaceOperator]:
        parts = parse_partial(name, self.points.axes)
        whole = canonical(parts)
        if whole in self.forms:
            return self.forms[whole]
        raise KeyError(f"partial {name!r} was not planned; expected one of {sorted(self.forms)}: add it to the plan")

    @property
    def roundoff(self) -> dict[str, float]:
        """Error of each partial from rounding u, per unit of u: eps times the largest sum of |w| over a row."""
        eps = torch.finfo(self.points.interior.dtype).eps
        sums = {key: float(abs(matrix).sum(axis=1).max()) for key, matrix in self._matrices.items()}
        return {
            name: eps * sum(sums.get(_key(own), 1.0) for own in form.values())
            for name, form in self.forms.items()
            if name
        }

    def _warn(self, dtype: torch.dtype) -> None:
        if dtype != torch.float32 or not self.roundoff:
            return
        name, noise = max(self.roundoff.items(), key=lambda item: item[1])
        if noise > NOISY:
            warnings.warn(
                f"RBF-FD in float32: rounding u changes {name!r} by up to {noise:.1g} per unit of u; in float64 by "
                f"{noise * 2**-29:.1g}: use dtype=torch.float64",
                RuntimeWarning,
                stacklevel=5,
            )


def _key(operator: SpaceOperator) -> tuple:
    return tuple(sorted(operator.items()))


def _csr(index: np.ndarray, weights: np.ndarray, columns: int) -> scipy.sparse.csr_array:
    count, size = index.shape
    starts = np.arange(0, count * size + 1, size)
    return scipy.sparse.csr_array((weights.ravel(), index.ravel(), starts), shape=(count, columns))
