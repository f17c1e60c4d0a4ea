"""Derivatives of the residual as a condition of their own: Sobolev terms, smoothness at a point."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from solvers.affine import Affine
from solvers.jet import Jet
from solvers.problems.problem import Condition, Residual
from solvers.series import Series


def residual_derivatives(
    name: str,
    where: str,
    residual: Residual,
    partials: Sequence[str],
    orders: Sequence[int],
    *,
    axes: Sequence[str] = ("x",),
    along: str = "x",
    normalised: bool = True,
    weight: float = 1.0,
) -> Condition:
    r"""Return the condition that derivatives of the equation's residual vanish, all orders from one pass.

    $$ \sum_{j \in orders} \mathrm{mean}\, (R^{(j)} / j!)^2, \qquad R^{(j)} = d^j R / dx^j $$

    The residual's own code is run on Taylor series made of the network's partials, so it is correct for every order
    and every operator that reaches the partials. Normalised orders are Taylor coefficients of R; without it the ninth
    weighs (9!)^2 = 1.3e11 times the value.

    Args:
        name: of the loss term.
        where: points, such as "interior", or the name of a set.
        residual: of the problem, R(jet, x, coefficients); one equation or several.
        partials: what it reads from the jet.
        orders: which derivatives, 1 or above.
        axes: the axis letters of the domain.
        along: letter of the axis to differentiate along.
        normalised: divide the order j by j!.
        weight: factor of the mean square.

    Returns:
        A condition whose residual has a column for each order (and equation), lowest first.

    Raises:
        ValueError: no order, an order below 1, or an axis that is not there.

    Source: Sobolev training, W. M. Czarnecki et al., NeurIPS 2017; the smoothness term, Y. Wang et al.,
        Phys. Rev. Lett. 130 (2023) 244002.

    Cost: partials of order max(orders) higher than the equation's own, and the residual's arithmetic on series.

    Example:
        >>> condition = residual_derivatives("slope", "interior", lambda jet, x, c: jet["x"] - jet[""], ["", "x"], [1])
        >>> condition.partials
        ('', 'x', 'xx')
    """
    orders = tuple(sorted(set(orders)))
    if not orders or orders[0] < 1:
        raise ValueError(
            f"expected derivatives of order 1 or above, came {orders}: the equation itself is its own term"
        )
    if along not in axes:
        raise ValueError(f"expected one of the axes {', '.join(axes)} to differentiate along, came {along!r}")
    highest, axis = orders[-1], tuple(axes).index(along)
    all_of_them = orders == tuple(range(1, highest + 1))
    factorials = [float(math.factorial(j)) for j in orders]

    def columns(series: Any) -> Any:
        if not isinstance(series, Series):
            # It does not depend on x: no derivative, of any order and equation.
            return series.new_zeros(len(series), series.shape[1] * len(orders)) if isinstance(series, Tensor) else 0.0
        chosen = series.coefficients[1:] if all_of_them else series.coefficients[list(orders)]
        if not normalised:
            chosen = chosen * chosen.new_tensor(factorials)[:, None, None]
        return chosen.movedim(0, 1).flatten(1)

    def condition(jet: Jet, x: Tensor, normals: Tensor, coefficients: Mapping[str, Tensor]) -> Tensor | Affine:
        lifted = {letters: jet.series(letters, along, highest) for letters in partials}
        direction = x.new_zeros(len(axes))
        direction[axis] = 1.0
        found = residual(Jet(jet.axes, lifted, jet.counts), Series.variable(x, highest, direction), coefficients)
        return found.map(columns) if isinstance(found, Affine) else columns(found)

    needed = tuple(dict.fromkeys(letters + along * j for j in range(highest + 1) for letters in partials))
    return Condition(name, where, needed, condition, weight)
