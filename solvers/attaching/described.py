"""What a file says of a training that is not ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dynamics.recorder import Recorder
from solvers.attaching.attention_at import AttentionAt
from solvers.attaching.log import log_of
from solvers.attaching.spread import box
from solvers.description import describe_network

AXES = ("x", "y", "z")


def describe_attached(
    recorder: Recorder,
    optimizer: torch.optim.Optimizer,
    model: nn.Module,
    points: Tensor | None,
    scheduler: Any,
    attention: AttentionAt | None = None,
) -> None:
    """Add model, optimizer and points to the file; what is there already stays.

    Args:
        recorder: open.
        optimizer: attached.
        model: trained.
        points: (n, axes) of the measurements, or None.
        scheduler: of the rates, or None.
        attention: in the loss, or None.
    """
    if recorder.committed:
        return
    parameter = next(model.parameters())
    config = {
        "network": describe_network(model),
        **({} if scheduler is None else {"scheduler": type(scheduler).__name__}),
        **({} if points is None else {"points": {"interior": len(points)}}),
        **({} if attention is None else {"attention": attention.rule}),
    }
    log_of(recorder).optimizers.append(f"{type(optimizer).__name__}({plain(optimizer.defaults)})")
    attrs = {"dtype": str(parameter.dtype).removeprefix("torch."), "device": str(parameter.device)}
    try:
        recorder.configure(config, attrs)
        if points is not None:
            _store(recorder, points)
    except ValueError:
        # Of the first attachment to this recorder, or of the user: that stays.
        return


def plain(options: Mapping[str, object]) -> str:
    """Return options as they would be written in a call.

    Args:
        options: by name.

    Returns:
        Text.

    Example:
        >>> plain({"lr": 0.1, "foreach": None})
        'lr=0.1'
    """
    return ", ".join(f"{name}={value!r}" for name, value in options.items() if value is not None)


def _store(recorder: Recorder, points: Tensor) -> None:
    rows = points.double().cpu().numpy()
    lower, upper = box(rows)
    count = rows.shape[1]
    names = list(AXES[:count]) if count <= len(AXES) else [f"x{axis}" for axis in range(1, count + 1)]
    attrs = {"lower": lower.tolist(), "upper": upper.tolist()}
    recorder.store("points", coords={"axis": names}, attrs=attrs, interior=(("interior_point", "axis"), rows))
