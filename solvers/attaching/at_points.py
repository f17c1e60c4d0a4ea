"""A user's points, and the model's first output there: how large it is, and how far from the exact one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Solution = Callable[[Tensor], Tensor] | Tensor
"""points (n, axes) -> (n,) or (n, outputs), or these values themselves."""


def checked_points(points: Tensor, model: nn.Module) -> Tensor:
    """Return a copy of the points: what the caller does to them later changes no measurement.

    Args:
        points: (n, axes).
        model: that will be called with them.

    Returns:
        The copy, without a graph.

    Raises:
        ValueError: no points, or not on the model's device or in its dtype.

    Example:
        >>> import torch
        >>> checked_points(torch.zeros(3, 2), nn.Linear(2, 1)).shape
        torch.Size([3, 2])
    """
    if not isinstance(points, Tensor) or points.ndim != 2 or not len(points):
        came = f"shape {tuple(points.shape)}" if isinstance(points, Tensor) else type(points).__name__
        raise ValueError(f"expected points as a tensor (n, axes), came {came}: stack the axes as columns")
    parameter = next(model.parameters())
    if (points.device, points.dtype) != (parameter.device, parameter.dtype):
        raise ValueError(
            f"expected points on {parameter.device} in {parameter.dtype}, where the model is, came {points.device} and "
            f"{points.dtype}: pass points.to({str(parameter.device)!r}, {parameter.dtype})"
        )
    return points.detach().clone()


def exact_at(solution: Solution, points: Tensor) -> Tensor:
    """Return the exact values of the model's first output.

    Args:
        solution: function of the points, or its values there.
        points: (n, axes).

    Returns:
        (n,) float64.

    Raises:
        ValueError: not one row a point, or not finite.

    Example:
        >>> exact_at(lambda x: 2 * x, torch.ones(3, 1)).tolist()
        [2.0, 2.0, 2.0]
    """
    values = solution(points.clone()) if callable(solution) else solution
    if not isinstance(values, Tensor) or values.ndim not in (1, 2) or len(values) != len(points) or not values.numel():
        came = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(
            f"expected the solution at points= as a tensor of shape ({len(points)},) or ({len(points)}, outputs), came "
            f"{came}: pass a function of the points, or its values there"
        )
    values = values.detach().reshape(len(points), -1)[:, 0].to(points.device, torch.float64, copy=True)
    if not values.isfinite().all():
        raise ValueError("expected finite values of the solution, came others: leave out the points where it has none")
    return values


def field_at(model: nn.Module, points: Tensor, exact: Tensor | None = None) -> dict[str, float]:
    r"""Return mean and standard deviation of the model's first output u, which tell a trivial solution, and its errors.

    $$ \mathrm{rel\_l2} = \|u - u^*\| / \|u^*\|, \qquad \mathrm{max\_error} = \max_i |u_i - u^*_i| $$

    Args:
        model: trained.
        points: (n, axes).
        exact: (n,) float64 u*, or None.

    Returns:
        Variables of the series; none of a model whose output is no tensor (n, ...).

    Example:
        >>> field_at(nn.Identity(), torch.tensor([[1.0], [3.0]]), torch.tensor([1.0, 2.0]).double())
        {'field_mean': 2.0, 'field_std': 1.0, 'rel_l2': 0.4472135954999579, 'max_error': 1.0}
    """
    output = model(points)
    if not isinstance(output, Tensor) or not output.ndim or len(output) != len(points):
        return {}
    field = output.detach().reshape(len(points), -1)[:, 0].double()
    found = {"field_mean": float(field.mean()), "field_std": float(field.std(correction=0))}
    if exact is None:
        return found
    error = field - exact
    relative = torch.linalg.vector_norm(error) / torch.linalg.vector_norm(exact)
    return {**found, "rel_l2": float(relative), "max_error": float(error.abs().max())}
