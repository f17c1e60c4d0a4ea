"""The loss of a DeepXDE model, term by term."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import deepxde as dde
import torch
from torch import Tensor

REGULARIZATION = "l1 regularization"


def term_names(data: Any, count: int) -> list[str]:
    """Return names of the losses in DeepXDE's order: equations first, then conditions.

    Args:
        data: of the model.
        count: of the losses.

    Returns:
        Such as "pde 1", "bc 1 DirichletBC"; "loss 1" where the data know no conditions.

    Example:
        >>> term_names(None, 2)
        ['loss 1', 'loss 2']
    """
    problem = data.pde if isinstance(data, dde.data.PDEOperator | dde.data.PDEOperatorCartesianProd) else data
    conditions = [type(each).__name__ for each in getattr(problem, "bcs", ())]
    equations = count - len(conditions)
    if not isinstance(problem, dde.data.PDE) or equations < 0:
        return [f"loss {place}" for place in range(1, count + 1)]
    named = [f"bc {place} {kind}" for place, kind in enumerate(conditions, 1)]
    return [*(f"pde {place}" for place in range(1, equations + 1)), *named]


def term_labels(model: dde.Model, names: Sequence[str] | None) -> list[str]:
    """Return a name for each term of the loss.

    Args:
        model: compiled and tested once, as it is when its training begins.
        names: of the user, or None.

    Returns:
        Names of the losses, and one of the regularization where it is a term.

    Raises:
        ValueError: not as many names as losses, or one twice.
    """
    regularized = [REGULARIZATION] if _absolute(model) else []
    count = len(model.train_state.loss_train) - len(regularized)
    derived = term_names(model.data, count)
    given = derived if names is None else list(names)
    if len(set(given)) != count or len(given) != count:
        raise ValueError(
            f"expected {count} different names of the losses, came {len(given)} ({', '.join(given)}): name them in "
            f"DeepXDE's order, which is {', '.join(derived)}"
        )
    return [*given, *regularized]


def told(
    model: dde.Model, labels: Sequence[str], losses: Sequence[Tensor]
) -> tuple[dict[str, Tensor], dict[str, float | Tensor]]:
    """Return the terms of the loss and their weights of now.

    Args:
        model: compiled.
        labels: from `term_labels`.
        losses: raw, of DeepXDE's data.

    Returns:
        Raw losses and weights, by name.
    """
    given = 1.0 if model.loss_weights is None else model.loss_weights
    weights = list(given) if isinstance(given, list | tuple) else torch.as_tensor(given).reshape(-1).tolist()
    weights = weights * len(losses) if len(weights) == 1 else weights
    raw = [each.detach() for each in losses]
    if _absolute(model):
        # DeepXDE adds this behind the weights. (Its L2 regularization is the optimizer's, and no term.)
        raw.append(torch.stack([parameter.detach().abs().sum() for parameter in model.net.parameters()]).sum())
        weights.append(model.net.regularizer[1])
    return dict(zip(labels, raw, strict=True)), dict(zip(labels, weights, strict=True))


def _absolute(model: dde.Model) -> bool:
    return model.net.regularizer is not None and model.net.regularizer[0] == "l1"
