"""The conditions that problems share: Dirichlet, clamped, Robin, initial value, periodic."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from solvers.problems.problem import Condition


def dirichlet(
    value: Callable[[Tensor], Tensor] | float = 0.0, *, name: str = "boundary", where="boundary"
) -> Condition:
    """Return the condition u = value on the boundary.

    Args:
        value: a function of x (n, axes) -> (n, 1), or a constant.
        name: of the loss term.
        where: the boundary or its parts.

    Returns:
        The condition.

    Example:
        >>> dirichlet().partials
        ('',)
    """
    return Condition(name, where, ("",), lambda jet, x, normals, coefficients: jet[""] - _at(value, x))


def initial_value(value: Callable[[Tensor], Tensor]) -> Condition:
    """Return the condition u = value at the initial time.

    Args:
        value: a function of x (n, axes) -> (n, 1).

    Returns:
        The condition.

    Example:
        >>> initial_value(lambda x: x[:, :1]).where
        'initial'
    """
    return dirichlet(value, name="initial", where="initial")


def normal_slope(
    value: Callable[[Tensor], Tensor] | float = 0.0, *, name: str = "slope", where="boundary"
) -> Condition:
    """Return the condition du/dn = value on the boundary, n the outward normal.

    Args:
        value: a function of x (n, axes) -> (n, 1), or a constant.
        name: of the loss term.
        where: the boundary or its parts.

    Returns:
        The condition.

    Example:
        >>> normal_slope().partials
        ('n',)
    """
    return Condition(name, where, ("n",), lambda jet, x, normals, coefficients: jet["n"] - _at(value, x))


def robin(
    value: Callable[[Tensor], Tensor] | float = 0.0,
    *,
    alpha: Callable[[Tensor], Tensor] | float = 1.0,
    beta: Callable[[Tensor], Tensor] | float = 1.0,
    name: str = "boundary",
    where="boundary",
) -> Condition:
    """Return the condition alpha du/dn + beta u = value on the boundary, n the outward normal.

    Args:
        value: a function of x (n, axes) -> (n, 1), or a constant.
        alpha: of the slope; a function of x, or a constant.
        beta: of the value; a function of x, or a constant.
        name: of the loss term.
        where: the boundary or its parts.

    Returns:
        The condition.

    Example:
        >>> robin(alpha=2.0).partials
        ('', 'n')
    """

    def residual(jet, x, normals, coefficients):
        return _at(alpha, x) * jet["n"] + _at(beta, x) * jet[""] - _at(value, x)

    return Condition(name, where, ("", "n"), residual)


def periodic(axis: str, partial: str = "") -> Condition:
    """Return the condition that a partial agrees on the two faces of a periodic axis, point by paired point.

    Args:
        axis: the periodic axis.
        partial: which derivative must agree: "" for the value, the axis itself for the slope.

    Returns:
        The condition.

    Example:
        >>> periodic("x", "x").name
        'periodic_x'
    """

    def residual(jet, x, normals, coefficients):
        lower, upper = jet[partial].chunk(2)
        return upper - lower

    name = f"periodic_{partial}" if partial else "periodic"
    return Condition(name, (f"{axis}-", f"{axis}+"), (partial,), residual)


def _at(value, x: Tensor):
    return value(x) if callable(value) else value
