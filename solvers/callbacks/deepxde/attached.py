"""The attachment to a DeepXDE model: with all that its data give, or with less where that cannot be measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import deepxde as dde
import torch
from torch import Tensor

from dynamics.recorder import Recorder
from solvers.attaching.attach import attach
from solvers.attaching.attachment import Attachment
from solvers.attaching.block_gradients import Residuals
from solvers.attaching.layers import Chosen
from solvers.cadence import Cadence, Every
from solvers.callbacks.deepxde import problem

LONG = 100
"""Iterations of an L-BFGS in one step from which each step is measured; DeepXDE's own makes 1000."""


@dataclass(frozen=True)
class Wanted:
    """What the user asks for.

    Args:
        residuals: in place of those of the data, or None.
        points: in place of a sample of the data's, or None.
        every: cadences, or None.
        activations: hidden layers, or None.
        blocks: of the gradients.
        strict: raise what goes wrong.
    """

    residuals: Residuals | None
    points: Tensor | None
    every: Cadence | Mapping[str, Cadence] | None
    activations: Chosen
    blocks: int
    strict: bool


def copied(points: Tensor | Any) -> Tensor | None:
    """Return a copy of the user's points.

    Args:
        points: (n, axes), a tensor or an array; or None.

    Returns:
        The copy, or None.
    """
    return None if points is None else torch.as_tensor(points).detach().clone()


def attached(
    recorder: Recorder,
    model: dde.Model,
    wanted: Wanted,
    points: Tensor | None,
    variables: Mapping[str, Tensor],
    warn: Callable[[str], None],
) -> Attachment:
    """Attach to the optimizer of a model.

    Args:
        recorder: open.
        model: compiled.
        wanted: by the user.
        points: of the measurements, or None.
        variables: unknown coefficients, by name.
        warn: told what the data give, but cannot be measured.

    Returns:
        The attachment.

    Raises:
        Exception: what the user gave cannot be measured; or, where strict, what the data give.
    """
    options = {
        "every": Every(1) if wanted.every is None and _long_steps(model.opt) else wanted.every,
        "activations": wanted.activations,
        "scheduler": model.lr_scheduler,
        "coefficients": dict(variables) or None,
        "strict": wanted.strict,
    }
    own = wanted.residuals is not None or wanted.points is not None
    found, *less = problem.choices(model, wanted.residuals, points, wanted.blocks)
    try:
        return attach(recorder, model.opt, model.net, **options, **found)
    except Exception as error:
        # What a user's equation raises is of any kind.
        if wanted.strict or own or not less:
            raise
        reason = next(iter(str(error).splitlines()), type(error).__name__)
    try:
        attachment = attach(recorder, model.opt, model.net, **options, **less[0])
    except Exception:
        attachment = attach(recorder, model.opt, model.net, **options, **less[1])
    warn(f"no residuals are recorded: {reason}")
    return attachment


def _long_steps(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether a step is so many iterations that measuring at each costs nothing."""
    return isinstance(optimizer, torch.optim.LBFGS) and optimizer.param_groups[0]["max_iter"] >= LONG
