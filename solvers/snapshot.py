"""The whole state of a training between two steps: taken without a trace, put back to the last bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from solvers.objective import Objective
from solvers.random_state import random_state, set_random_state
from solvers.shared_evaluation import restore_shared, shared_state

if TYPE_CHECKING:
    from solvers.loop import Loop


def take_snapshot(loop: Loop, state: Any, stopped: str | None) -> dict[str, object]:
    """Return copies of everything that the steps to come depend on.

    Args:
        loop: between two steps.
        state: of its optimizer.
        stopped: why the optimizer wants to end, or None.

    Returns:
        Nested values, for `solvers.nested_arrays.pack`.

    Raises:
        ValueError: an optimizer whose state cannot be written as arrays.
    """
    if not hasattr(state, "to_arrays"):
        raise ValueError(
            f"expected an optimizer with from_arrays, whose state has to_arrays, as those of solvers.optimizers, "
            f"came {type(loop.optimizer).__name__}: give it both, or train with checkpoint=None"
        )
    objective = loop.objective
    weights = loop.attention_weights
    return {
        "stopped": stopped,
        "rel_l2": loop.rel_l2,
        "evaluations": objective.evaluations,
        "vector": objective.vector.clone(),
        "network": {name: tensor.detach().clone() for name, tensor in untrained(objective).items()},
        "optimizer": state.to_arrays(),
        "attention": None if weights is None else weights.clone(),
        "shared": shared_state(objective),
        "random": random_state(objective.vector.device),
    }


def untrained(objective: Objective) -> dict[str, Tensor]:
    """Return what a network holds beside the parameters in the flat vector: buffers and frozen parameters.

    Args:
        objective: whose network it is.

    Returns:
        Tensors by name.
    """
    network, trained = objective.network, set(objective.parameters.names)
    frozen = {name: p for name, p in network.named_parameters() if name not in trained}
    return frozen | dict(network.named_buffers())


def restore_network(loop: Loop, snapshot: Mapping) -> Any:
    """Give network and optimizer the stored values.

    Args:
        loop: of the same training, made anew.
        snapshot: from `take_snapshot`.

    Returns:
        The optimizer's state.
    """
    objective = loop.objective
    with torch.no_grad():
        for name, tensor in untrained(objective).items():
            tensor.copy_(snapshot["network"][name])
    objective.vector.copy_(snapshot["vector"])
    return loop.optimizer.from_arrays(snapshot["optimizer"], objective.vector)


def restore_moment(loop: Loop, snapshot: Mapping) -> None:
    """Put everything else to where it stood between the two steps; the next thing must be the step itself.

    Args:
        loop: whose network and optimizer have been restored.
        snapshot: from `take_snapshot`.
    """
    objective, weights = loop.objective, snapshot["attention"]
    loop.rel_l2 = snapshot["rel_l2"]
    loop.attention_weights = None if weights is None else weights.to(objective.vector.device)
    attended = loop.use_attention and weights is not None
    objective.attention = loop.rule.factor(loop.attention_weights) if attended else None
    objective.evaluations = snapshot["evaluations"]
    restore_shared(objective, snapshot["shared"])
    set_random_state(snapshot["random"], objective.vector.device)
