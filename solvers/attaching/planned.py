"""Which measurements an attachment makes at the points that it was given."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from solvers.attaching.at_points import Solution, exact_at, field_at
from solvers.attaching.attention_at import AttentionAt
from solvers.attaching.block_gradients import Residuals
from solvers.attaching.layers import Chosen, layers_at
from solvers.attaching.measurement import Measurement
from solvers.attaching.owned import OwnedParameters
from solvers.attaching.residual_at import ResidualAt
from solvers.attaching.spread import homogeneity, point_values


def of_model(
    model: nn.Module, points: Tensor, solution: Solution | None, chosen: Chosen, raw: bool
) -> list[Measurement]:
    """Return the measurements of the model alone.

    Args:
        model: trained.
        points: (n, axes).
        solution: exact values, or None.
        chosen: modules whose outputs are the hidden layers.
        raw: whether their raw activations are wanted.

    Returns:
        First output and hidden layers; none where the model is not called with the points alone, such as a
        `forward(x, t)`, an `nn.ModuleList`, or one that differentiates by its points.

    Raises:
        ValueError: a solution or raw activations of such a model, or what is wrong with either.

    Cost: a forward pass.

    Example:
        >>> [len(of_model(model, torch.ones(2, 1), None, None, False)) for model in (nn.Tanh(), nn.ModuleList())]
        [2, 0]
    """
    if _takes(model, points):
        return [of_field(model, points, solution), *of_layers(model, points, chosen, raw)]
    if solution is not None or raw:
        raise ValueError(
            f"expected a model that is called with the points alone, for solution= and raw activations, came "
            f"{type(model).__name__} that is not: leave them out, and pass errors="
        )
    return []


def _takes(model: nn.Module, points: Tensor) -> bool:
    """Return whether a model is called with the points alone, and without a graph."""
    try:
        with torch.no_grad():
            model(points)
    except (TypeError, NotImplementedError):
        return False
    except RuntimeError:
        # Either it differentiates by its points, or the points are wrong: then this call says so.
        model(points.clone().requires_grad_(True))
        return False
    return True


def of_field(model: nn.Module, points: Tensor, solution: Solution | None) -> Measurement:
    """Return the measurement of the model's first output.

    Args:
        model: trained.
        points: (n, axes).
        solution: exact values, or None.

    Returns:
        The measurement, whose values join the series.

    Raises:
        ValueError: a solution, or an output to compare with it, of another shape.

    Example:
        >>> of_field(nn.Identity(), torch.ones(2, 1), lambda x: x).measure(None)["max_error"]
        0.0
    """
    exact = None if solution is None else exact_at(solution, points)
    if exact is not None and not field_at(model, points):
        raise ValueError(
            f"expected a model that maps the points to (n, outputs), to compare with the solution, came "
            f"{type(model).__name__} that does not: leave solution= out, and pass errors="
        )
    attrs = {} if exact is None else {"solution_max": float(exact.abs().max())}
    return Measurement("field", lambda moment: field_at(model, points, exact), None, attrs)


def of_points(
    owned: OwnedParameters,
    model: nn.Module,
    points: Tensor,
    residuals: Residuals | None,
    attention: AttentionAt | None,
    blocks: int,
) -> list[Measurement]:
    """Return the measurements of residual and attention.

    Args:
        owned: parameters of the optimizer.
        model: trained.
        points: (n, axes).
        residuals: of the user, or None.
        attention: weights of the points, or None.
        blocks: of the gradients.

    Returns:
        The streams residuals, homogeneity and, with residuals, gradients; none without both.

    Raises:
        ValueError: what is wrong with the residuals.

    Example:
        >>> layer, points = nn.Linear(1, 1), torch.ones(2, 1)
        >>> owned = OwnedParameters(torch.optim.SGD(layer.parameters()), layer)
        >>> [each.name for each in of_points(owned, layer, points, lambda model, x: model(x), None, 2)]
        ['residuals', 'homogeneity', 'gradients']
    """
    residual = None if residuals is None else ResidualAt(residuals, model, points)
    weights = {} if attention is None else {"attention": attention.of}
    if residual is None:
        return [point_values(weights), homogeneity(weights, points)] if weights else []
    return [
        point_values({"residual": residual.values, **weights}),
        homogeneity({**weights, "residual": residual.sizes}, points),
        *residual.gradients(owned, blocks, attention),
    ]


def of_layers(model: nn.Module, points: Tensor, chosen: Chosen, raw: bool) -> list[Measurement]:
    """Return the measurements of the hidden layers.

    Args:
        model: trained.
        points: (n, axes).
        chosen: modules.
        raw: whether their raw activations are wanted.

    Returns:
        The streams compression and, where wanted, activations.

    Example:
        >>> [each.name for each in of_layers(nn.Sequential(nn.Linear(1, 2), nn.Tanh()), torch.ones(2, 1), None, False)]
        ['compression']
    """
    return [each for each in layers_at(model, points, chosen) if raw or each.name != "activations"]
