"""RBF-FD: space derivatives as sparse matrices on scattered nodes, time derivatives by another operator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from solvers.jet import NORMAL, TIME, axes_of, canonical, parse_partial, single_partials
from solvers.operators.node_set import NodeSet
from solvers.operators.operator import Operator
from solvers.operators.rbf_fd_plan import RBFFDPlan
from solvers.operators.sparse_product import BACKENDS
from solvers.operators.tangent_prop import TangentProp
from solvers.points import Points
from solvers.stencils import Recipe

MAX_SPACE_ORDER = 4
"""Highest derivative in space: the plate's."""

MAX_ORDER = 12
"""Of accuracy: above, stencils of a plane have more than 200 nodes."""


@dataclass(frozen=True)
class RBFFD:
    r"""Polyharmonic splines r^m with polynomials of degree l = p + theta - 1, on stencils of 2 C(l + d, d) + 1 nodes.

    $$ \begin{pmatrix} A & P \\ P^T & 0 \end{pmatrix} \begin{pmatrix} w \\ \lambda \end{pmatrix}
       = \begin{pmatrix} \mathcal{L} \phi \\ \mathcal{L} q \end{pmatrix}, \qquad
       (\mathcal{L} u)(x_i) \approx \sum_k w_k u(x_k) $$

    for a derivative of order theta, error O(h^p) (Sharma and Shankar, arXiv 2205.09332, eqs. 9 to 11; m = max(5, odd
    l)). All derivatives of one plan share the stencils of its highest. The weights are found once; a jet then costs the
    network at the nodes and one sparse product. Points with ghost nodes have centred stencils at the boundary, points
    without have one-sided ones. Partials in t come from the operator `time`, on nodes x times.

    Args:
        order: p, of accuracy.
        time: evaluates the network at the nodes and differentiates it in t; exact operators only.
        cache: folder in which weights are kept between processes, or None.
        backend: of the sparse product, "auto", "scipy", "cupy" or "torch".
        least: theta at least; `suited_to` sets it for a problem. `least=2` gives the conditions of a second-order
            equation its own stencils: on the disk the error is 1.5 to 6 times smaller at orders 3 and 5, up to 2 times
            larger at 4 and 6.

    Raises:
        ValueError: an order that is no integer from 1 to 12, an operator for the time that has stencils itself, or an
            unknown backend.

    Example:
        >>> import torch
        >>> line = torch.linspace(-1, 1, 11, dtype=torch.float64)
        >>> points = Points(torch.cartesian_prod(line, line), axes=("x", "y"))
        >>> plan = RBFFD(order=2).plan(points, ["laplacian"])
        >>> round(plan(lambda x: x[:, :1] ** 2 + x[:, 1:] ** 3)["laplacian"][0].item(), 6)
        -4.0
    """

    order: int = 5
    time: Operator = field(default_factory=TangentProp)
    cache: str | Path | None = None
    backend: str = "auto"
    least: int = 0

    def __post_init__(self):
        if isinstance(self.order, bool) or not isinstance(self.order, int) or not 1 <= self.order <= MAX_ORDER:
            raise ValueError(f"expected an order of accuracy from 1 to {MAX_ORDER}, came {self.order!r}")
        if not getattr(self.time, "exact", False):
            raise ValueError(
                f"expected an exact operator for the time, TangentProp() or AutoDiff(), came {self.time!r}"
            )
        if self.backend not in BACKENDS:
            raise ValueError(f"expected a backend of {', '.join(BACKENDS)}, came {self.backend!r}")

    @property
    def max_partial(self) -> int:
        """Fourth derivatives in space."""
        return MAX_SPACE_ORDER

    @property
    def exact(self) -> bool:
        """False: the error is O(h^order)."""
        return False

    def suited_to(self, partials: Sequence[str], axes: tuple[str, ...]) -> RBFFD:
        """Return the operator whose conditions keep pace with an equation.

        The slope in the conditions of a plate, on stencils made for a first derivative, is of the same order as the
        equation, but its error is multiplied by h^-2 on the way to u: errors then jump by tens between node sets. One
        order below the equation's own theta is enough.

        Args:
            partials: of the equation.
            axes: of the problem.

        Returns:
            This operator with `least` of at least theta - 1.
        """
        return replace(self, least=max(self.least, _highest(_forms(partials, axes))[1] - 1))

    def plan(self, points: Points, partials: Sequence[str]) -> RBFFDPlan:
        """Find the stencils' weights and stack them to one matrix.

        Args:
            points: where; they, or the `nodes` that they were taken from, are the nodes of the stencils.
            partials: which, by axis letters.

        Returns:
            A plan; call it with a network.

        Raises:
            ValueError: no points, unknown letters, more than four derivatives in space, points scattered in time,
                stencils that have too few nodes or no unique weights.
        """
        if not sum(points.counts):
            raise ValueError("expected at least one point to differentiate at, came none")
        if isinstance(partials, str):
            raise ValueError(f"expected a list of partials, came the text {partials!r}: write [{partials!r}]")
        forms = _forms(partials, points.axes)
        worst, highest = _highest(forms)
        if highest > MAX_SPACE_ORDER:
            raise ValueError(
                f"RBFFD reaches derivatives up to order {MAX_SPACE_ORDER}, {worst!r} has order {highest} in space: use "
                f"TangentProp()"
            )
        space = [axis for axis in points.axes if axis != TIME]
        recipe = Recipe.of(order=self.order, derivative=max(highest, self.least), dimension=len(space))
        return RBFFDPlan(points, self, forms, recipe, NodeSet.of(points))


def _highest(forms) -> tuple[str, int]:
    """Return the partial with the most derivatives in space, and their number."""
    orders = {name: max(sum(powers) for own in form.values() for powers in own) for name, form in forms.items()}
    worst = max(orders, key=orders.get)
    return worst, orders[worst]


def _forms(partials: Sequence[str], axes: tuple[str, ...]) -> dict[str, dict[str, dict[tuple[int, ...], float]]]:
    """Split partials into those in time and operators in space; "n" needs every first derivative, "" is always kept."""
    space = [i for i, axis in enumerate(axes) if axis != TIME]
    names = {"": {"": 1.0}}
    for partial in partials:
        singles = single_partials([NORMAL], axes)[1:] if partial == NORMAL else [partial]
        for single in singles:
            parts = parse_partial(single, axes)
            names[canonical(parts)] = parts
    forms: dict[str, dict[str, dict[tuple[int, ...], float]]] = {}
    for name, parts in names.items():
        form = forms.setdefault(name, {})
        for letters, coefficient in parts.items():
            along = axes_of(letters, axes)
            in_time = TIME * sum(i not in space for i in along)
            powers = tuple(along.count(i) for i in space)
            form.setdefault(in_time, {})[powers] = coefficient
    return forms
