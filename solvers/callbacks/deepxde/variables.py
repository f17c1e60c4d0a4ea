"""The variables that a DeepXDE model trains beside the network, and which of them a file can hold as coefficients."""

from __future__ import annotations

from collections.abc import Sequence

import deepxde as dde
from torch import Tensor


def variables_of(model: dde.Model, names: Sequence[str] | None) -> dict[str, Tensor]:
    """Return the external trainable variables of one number.

    Args:
        model: compiled.
        names: of all of them, or None.

    Returns:
        Tensors by name.

    Raises:
        ValueError: not as many names as variables.
    """
    variables = model.external_trainable_variables
    given = [f"variable {place}" for place in range(1, len(variables) + 1)] if names is None else list(names)
    if len(given) != len(variables) or len(set(given)) != len(given):
        raise ValueError(
            f"expected {len(variables)} different names of the external trainable variables, came {len(given)}: name "
            "them in the order of compile(external_trainable_variables=[...])"
        )
    return {name: each for name, each in zip(given, variables, strict=True) if each.numel() == 1}


def recordable(
    model: dde.Model, variables: dict[str, Tensor], before: Sequence[str] | None
) -> tuple[dict[str, Tensor], list[str]]:
    """Return the variables that the training that begins can record.

    Args:
        model: compiled.
        variables: from `variables_of`.
        before: names of those that the file holds, None for a new file.

    Returns:
        Those that the optimizer moves, none where the file holds others; and what there is to be said of the rest.
    """
    moved = {id(each) for group in model.opt.param_groups for each in group["params"]}
    found = {name: each for name, each in variables.items() if id(each) in moved}
    said = []
    if still := [name for name in variables if name not in found]:
        said.append(
            f"the optimizer does not move {', '.join(still)}, not recorded as coefficients: one that is made before "
            "compile() needs the variables among its own parameters"
        )
    if before is not None and list(found) != list(before):
        said.append(
            f"expected the coefficients that the file began with, {', '.join(before) or 'none'}, came "
            f"{', '.join(found) or 'none'}, no coefficients are recorded in this training: give the same "
            "external_trainable_variables to each compile(), or this training a TrajectoryCallback of its own"
        )
        found = {}
    return found, said
