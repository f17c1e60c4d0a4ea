"""The evaluation that a step ended with and the next one begins with: what is counted already is not counted again."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from solvers.evaluation import Evaluation
from solvers.objective import Objective
from solvers.unheard import unheard


def shared_state(objective: Objective) -> dict[str, object] | None:
    """Return what the objective knows of the loss at its present vector, where the next step will not ask anew.

    Args:
        objective: between two steps.

    Returns:
        Whether the gradient was taken, and the numbers where it was; None where the next step evaluates.
    """
    version, evaluation = objective._latest or (None, None)
    if objective.attention is not None or version != objective.parameters.version:
        return None
    known = vars(evaluation)
    if "residual" not in known and "_elimination" not in known:
        return None
    if "gradient" not in known:
        return {"gradient": None}
    return {
        "gradient": evaluation.gradient.clone(),
        "full": evaluation._full_gradient.clone(),
        "norm": evaluation.gradient_norm,
        "residual": evaluation.residual.detach().clone(),
        "conditions": [residual.detach().clone() for residual in evaluation.condition_residuals],
        "raw": evaluation.raw.clone(),
        "weighted": evaluation._losses[1].detach().clone(),
        "value": evaluation.value.detach().clone(),
    }


def restore_shared(objective: Objective, state: Mapping | None) -> None:
    """Evaluate the loss at the present vector as far as it had been, without counting it.

    The numbers are then those that were stored: a network that draws random numbers would give others. Where the
    gradient was not taken yet it will be asked of the evaluation made here.

    Args:
        objective: at the stored vector.
        state: from `shared_state`.
    """
    objective._latest = None
    if state is None:
        return
    counted = objective.evaluations
    with unheard(objective.network):
        evaluation = objective(objective.vector)
        # Of the unknown coefficients too, whose elimination is counted as the residual is.
        _ = evaluation.residual
        if state["gradient"] is not None:
            _ = evaluation.gradient
            _put(evaluation, state)
    objective.evaluations = counted
    objective._history.clear()


def _put(evaluation: Evaluation, state: Mapping) -> None:
    device = evaluation.gradient.device
    moved = {name: each.to(device) for name, each in state.items() if isinstance(each, torch.Tensor)}
    vars(evaluation).update(
        gradient=moved["gradient"],
        _full_gradient=moved["full"],
        residual=moved["residual"],
        condition_residuals=[each.to(device) for each in state["conditions"]],
        _losses=(moved["raw"], moved["weighted"]),
        value=moved["value"],
    )
    evaluation.gradient_norm = state["norm"]
